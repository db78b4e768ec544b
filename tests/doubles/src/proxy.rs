//! A proxy on loopback: it writes down what goes through it, and knows names that nobody else does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::http::header::PROXY_AUTHORIZATION;
use axum::http::{Method, Request, Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

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
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let shared = shared.clone();
            async move { Ok::<_, Infallible>(answer(request, &shared).await) }
        });
        // What ends a connection is the affair of those at its ends.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());
    }
}

/// A tunnel, or the answer to a request in the clear.
async fn answer(request: Request<Incoming>, shared: &Mutex<State>) -> Response<Body> {
    let is_tunnel = request.method() == Method::CONNECT;
    let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let host = if host.contains(':') { host } else { format!("{host}:80") };
    let (server, refusal) = {
        let mut state = lock(shared);
        let login = request.headers().get(PROXY_AUTHORIZATION).and_then(|login| login.to_str().ok());
        let is_known = state.login.is_none() || state.login.as_deref() == login;
        let server = state.names.get(&host).cloned().filter(|_| is_known);
        let (method, target) = (request.method().to_string(), request.uri().to_string());
        state.passages.push(Passage { method, target, passed: server.is_some() });
        (server, if is_known { StatusCode::BAD_GATEWAY } else { StatusCode::PROXY_AUTHENTICATION_REQUIRED })
    };
    let stream = match server {
        Some(server) => TcpStream::connect(server).await.ok(),
        None => None,
    };
    let answer = match stream {
        Some(stream) if is_tunnel => {
            tokio::spawn(tunnel(request, stream));
            return Response::new(Body::empty());
        }
        Some(stream) => pass_on(request, stream).await.ok(),
        None => None,
    };
    answer.unwrap_or_else(|| {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = refusal;
        answer
    })
}

async fn tunnel(request: Request<Incoming>, mut server: TcpStream) {
    let _ = server.set_nodelay(true);
    if let Ok(client) = hyper::upgrade::on(request).await {
        let _ = copy_bidirectional(&mut TokioIo::new(client), &mut server).await;
    }
}

/// Asks the server as its client would have asked it without a proxy.
async fn pass_on(
    mut request: Request<Incoming>,
    server: TcpStream,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    request.headers_mut().remove(PROXY_AUTHORIZATION);
    *request.uri_mut() = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(server)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?.map(Body::new))
}
