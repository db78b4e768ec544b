//! What the tests of stores share: counting what they do, on the wire and as they report it.

mod aws;
pub mod desk;
mod front;
mod kubernetes;
mod moto;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyferry_provider_core::{BuildContext, Calls, Credentials};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

pub use aws::{AWS_SECRET, aws_context, aws_context_at, aws_keys, aws_spec, build_aws};
pub use front::front;
pub use kubernetes::Kubernetes;
pub use moto::{Moto, REGION, acm, kms};

/// What a provider is built with in tests.
pub fn context(credentials: impl Credentials + 'static, calls: Arc<dyn Calls>) -> BuildContext {
    BuildContext::new(Arc::new(credentials), calls).trusted()
}

/// Counts the calls that a provider reports, failed ones with `!` before the name.
#[derive(Default)]
pub struct Counter(Mutex<BTreeMap<String, usize>>);

impl Counter {
    /// What was counted since the last time.
    pub fn take(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Calls for Counter {
    fn record(&self, provider: &'static str, call: &'static str, ok: bool, _: Duration) {
        let name = format!("{}{provider} {call}", if ok { "" } else { "!" });
        *self.0.lock().unwrap().entry(name).or_default() += 1;
    }
}

/// Stands before a plain-http server, passes everything on, and notes each request line.
pub struct Relay {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    /// A relay to `server`, which is `host:port`.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (server, log) = (server.to_owned(), requests.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pump(from_client, to_server, Some(log.clone())));
                tokio::spawn(pump(from_server, to_client, None));
            }
        });
        Self { address, requests }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests since the last time, as `GET /path`.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

/// Passes bytes on. A request is known by a line of this form; the bodies that tests send hold none.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, log: Option<Arc<Mutex<Vec<String>>>>) {
    let (mut buffer, mut line) = ([0; 16384], Vec::new());
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        for &byte in buffer[..length].iter().filter(|_| log.is_some()) {
            match byte {
                b'\n' => {
                    // The body of the request before stands on the same line.
                    let text = String::from_utf8_lossy(&line);
                    let start = ["GET /", "POST /"].iter().find_map(|method| text.rfind(method));
                    let request = start.and_then(|start| text[start..].trim_end().strip_suffix(" HTTP/1.1"));
                    if let (Some(request), Some(log)) = (request, &log) {
                        log.lock().unwrap().push(request.to_owned());
                    }
                    line.clear();
                }
                _ => line.push(byte),
            }
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
