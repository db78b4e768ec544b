//! A proxy on loopback: it writes down what goes through it, and knows names that nobody else does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// What is asked of a proxy may not be larger.
const MAX_HEAD: usize = 64 << 10;

/// What somebody asked the proxy for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// `CONNECT`, or the method of a request in the clear.
    pub method: String,
    /// `host:port` that a connection was asked to; the URL of a request in the clear.
    pub target: String,
    /// Whether it was let through.
    pub passed: bool,
}

/// A running proxy, with a thread of its own; clones are handles of the same one, which ends with the last.
#[derive(Clone)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Mutex<State>>,
    _end: Arc<oneshot::Sender<()>>,
}

#[derive(Default)]
struct State {
    /// Where `host:port` leads.
    names: BTreeMap<String, String>,
    /// The header of whoever may pass.
    login: Option<String>,
    passages: Vec<Passage>,
}

impl Proxy {
    /// One that lets everybody pass, and leads nowhere yet.
    ///
    /// # Panics
    /// Where there is no loopback network.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Mutex::new(State::default()));
        let (end, ended) = oneshot::channel();
        let serving = shared.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, serving) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, shared, _end: Arc::new(end) }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has `name`, a `host:port`, lead to this server, a URL or `host:port`.
    pub fn leads(&self, name: &str, server: &str) {
        let to = server.split_once("://").map_or(server, |(_, rest)| rest).trim_end_matches('/');
        lock(&self.shared).names.insert(name.to_owned(), to.to_owned());
    }

    /// Lets only this user with this password pass from now on.
    pub fn wants(&self, user: &str, password: &str) {
        let login = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        lock(&self.shared).login = Some(login);
    }

    /// What was asked of it since the last time.
    pub fn take(&self) -> Vec<Passage> {
        std::mem::take(&mut lock(&self.shared).passages)
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Mutex<State>>) {
    let listener = TcpListener::from_std(listener).expect("a socket");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = shared.clone();
        // What ends a connection is the affair of those at its ends.
        tokio::spawn(async move { pass(stream, &shared).await.ok() });
    }
}

/// One connection: a tunnel, or one request in the clear, after which it ends.
async fn pass(mut client: TcpStream, shared: &Mutex<State>) -> std::io::Result<()> {
    let _ = client.set_nodelay(true);
    let (head, rest) = read_head(&mut client).await?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let (host, path) = split(method, target);
    let (server, refusal) = {
        let mut state = lock(shared);
        let header = headers.iter().filter_map(|line| line.split_once(':'));
        let mut login = header.filter(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"));
        let is_known = state.login.is_none() || state.login.as_deref() == login.next().map(|(_, value)| value.trim());
        let server = state.names.get(&host).cloned().filter(|_| is_known);
        let passed = server.is_some();
        state.passages.push(Passage { method: method.to_owned(), target: target.to_owned(), passed });
        (server, if is_known { "502 Bad Gateway" } else { "407 Proxy Authentication Required" })
    };
    let connected = match server {
        Some(server) => TcpStream::connect(server).await.ok(),
        None => None,
    };
    let Some(mut server) = connected else {
        let answer = format!("HTTP/1.1 {refusal}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return client.write_all(answer.as_bytes()).await;
    };
    let _ = server.set_nodelay(true);
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    } else {
        let is_for_us = |line: &&&str| {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            name.starts_with("proxy-") || name == "connection"
        };
        let kept: Vec<&str> = headers.iter().filter(|line| !is_for_us(line)).copied().collect();
        let head = format!("{method} {path} HTTP/1.1\r\n{}\r\nconnection: close\r\n\r\n", kept.join("\r\n"));
        server.write_all(head.as_bytes()).await?;
    }
    server.write_all(&rest).await?;
    copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}

/// The host with its port, and the path of a request in the clear.
fn split(method: &str, target: &str) -> (String, String) {
    if method == "CONNECT" {
        return (target.to_owned(), String::new());
    }
    let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    (host, if path.is_empty() { "/".to_owned() } else { path.to_owned() })
}

/// The head of a request without the empty line at its end, and what came behind it.
async fn read_head(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&read[..end]).into_owned(), rest));
        }
        if read.len() > MAX_HEAD || client.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
