//! A server that answers as a test says, over loopback TCP: for answers that a real Vault gives too rarely, or never.

// Each test file is a program of its own and uses its part of this.
#![allow(dead_code, reason = "shared by several test programs")]

use std::sync::{Arc, Mutex};

use keyferry_provider_core::{BuildContext, Calls, Error, ErrorKind, Key, Provider};
use keyferry_provider_testkit::MapCredentials;
use keyferry_provider_vault::REGISTRATION;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Part of every value and credential of the tests.
pub const CANARY: &str = "canary-96aa1f";

/// What came in.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Method and path.
    pub line: String,
    /// Header lines, names in lower case.
    pub headers: Vec<String>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// What goes out.
pub enum Reply {
    /// A status, header lines, and a body.
    Http(u16, &'static str, Vec<u8>),
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, ever.
    Silence,
}

/// An answer with JSON.
pub fn answer(status: u16, body: Value) -> Reply {
    Reply::Http(status, "", body.to_string().into_bytes())
}

/// What an engine of version 2 answers for a value.
pub fn kv2(data: Value) -> Value {
    json!({"data": {"data": data, "metadata": {"version": 1, "destroyed": false, "deletion_time": ""}}})
}

pub struct Double {
    /// Without scheme.
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Double {
    pub async fn new(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with_tls(None, reply).await
    }

    pub async fn with_tls(tls: Option<TlsAcceptor>, reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        crypto();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (requests, reply) = (Arc::new(Mutex::new(Vec::new())), Arc::new(reply));
        let log = requests.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, log, reply) = (tls.clone(), log.clone(), reply.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &log, &*reply).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &log, &*reply).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, requests }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests since the last time.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    /// A store of version 2 at `secret` on this server.
    pub async fn store(&self, more: Value) -> Arc<dyn Provider> {
        store(&self.url(), more).await.unwrap()
    }

    /// The message of the error for the secret `app`.
    pub async fn error(&self) -> Error {
        fetch(&*self.store(json!({})).await, "app").await.unwrap_err()
    }
}

/// One connection. `None` when it ended.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    log: &Mutex<Vec<Request>>,
    reply: &(impl Fn(&Request) -> Reply + ?Sized),
) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            match buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => read(&mut stream, &mut buffer).await?,
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let mut lines = head.lines().filter(|line| !line.is_empty());
        let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| format!("{}: {}", name.to_ascii_lowercase(), value.trim()))
            .collect();
        let mut request = Request { line, headers, body: String::new() };
        let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        while buffer.len() < end + length {
            read(&mut stream, &mut buffer).await?;
        }
        request.body = String::from_utf8_lossy(&buffer[end..end + length]).into_owned();
        buffer.drain(..end + length);
        log.lock().unwrap().push(request.clone());
        match reply(&request) {
            Reply::Http(status, headers, body) => {
                // These two have no body, whatever the test says.
                let body = if matches!(status, 204 | 304) { vec![] } else { body };
                let head = format!("HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\n\r\n", body.len());
                // In one piece: two would wait for each other's acknowledgement.
                stream.write_all(&[head.into_bytes(), body].concat()).await.ok()?;
            }
            Reply::Raw(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                stream.shutdown().await.ok()?;
                return None;
            }
            Reply::Silence => std::future::pending().await,
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<()> {
    let length = stream.read_buf(buffer).await.ok()?;
    (length > 0).then_some(())
}

pub fn crypto() {
    // An error means that a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

pub fn context(credentials: MapCredentials) -> BuildContext {
    BuildContext::new(Arc::new(credentials), Arc::new(())).trusted()
}

pub fn context_with(credentials: MapCredentials, calls: Arc<dyn Calls>) -> BuildContext {
    BuildContext { calls, ..context(credentials) }
}

pub async fn build(spec: Value, credentials: MapCredentials) -> Result<Arc<dyn Provider>, Error> {
    crypto();
    (REGISTRATION.build)(&spec, context(credentials)).await.inspect_err(clean)
}

/// A store at `secret` with a token.
pub async fn store(url: &str, more: Value) -> Result<Arc<dyn Provider>, Error> {
    let mut spec =
        json!({"server": url, "path": "secret", "auth": {"tokenSecretRef": {"name": "token", "key": "key"}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    build(spec, MapCredentials::new().with("token/key", format!("{CANARY}-token"))).await
}

pub async fn fetch(provider: &dyn Provider, name: &str) -> Result<String, Error> {
    let key = Key { name: name.to_owned(), version: None, metadata: false };
    let result = provider.fetch(&[key]).await.and_then(|mut results| results.remove(0));
    Ok(result.inspect_err(clean)?.value.expose_str().unwrap().to_owned())
}

pub fn clean(error: &Error) {
    assert!(!error.message().contains(CANARY), "{error}");
    assert!(!error.message().chars().any(char::is_control), "{error}");
}

#[track_caller]
pub fn expect(error: &Error, kind: ErrorKind, words: &str) {
    clean(error);
    assert_eq!((error.kind(), error.message().contains(words)), (kind, true), "{words}: {error}");
}
