//! A server on loopback: it writes down its calls, and does wrong what it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use keyferry_seed::Seed;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::faults::Fault;
use crate::{Authority, Faults};

/// More is passed on to nobody.
const LARGEST: usize = 64 << 20;

/// A call that came in.
#[derive(Clone, Debug)]
pub struct Call {
    /// `GET`, `POST`, ...
    pub method: String,
    /// As it was sent, without its query.
    pub path: String,
    /// As it was sent; empty where there is none.
    pub query: String,
    /// The status of the answer; 0 where there was none.
    pub status: u16,
    /// When it came.
    pub at: Instant,
}

/// Somebody's certificate, among the extensions of a request: the DER of what a client logged in with.
#[derive(Clone, Debug)]
pub struct ClientCertificate(pub Vec<u8>);

/// A running server. It has a thread of its own, so that it serves any runtime; clones are handles of the same one,
/// which ends with the last.
#[derive(Clone)]
pub struct Server {
    address: SocketAddr,
    authority: Option<Arc<Authority>>,
    shared: Arc<Mutex<State>>,
    /// Told where a test fails that has a server.
    _seed: Arc<Seed>,
    _end: Arc<oneshot::Sender<()>>,
}

struct State {
    calls: Vec<Call>,
    faults: Faults,
    random: StdRng,
}

impl Server {
    /// Serves this by plain HTTP.
    ///
    /// # Panics
    /// Where there is no loopback network.
    pub fn start(router: Router) -> Self {
        Self::begin(router, None)
    }

    /// Serves this by TLS, with a certificate for `127.0.0.1`, `localhost` and `*.stores.test` by a CA of its own.
    ///
    /// # Panics
    /// Where there is no loopback network.
    pub fn start_tls(router: Router) -> Self {
        Self::begin(router, Some(Arc::new(Authority::new())))
    }

    fn begin(router: Router, authority: Option<Arc<Authority>>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it is bound");
        let seed = Seed::new("faults of a server");
        let random = StdRng::seed_from_u64(seed.number());
        let shared = Arc::new(Mutex::new(State { calls: Vec::new(), faults: Faults::default(), random }));
        let (end, ended) = oneshot::channel();
        let tls = authority.as_ref().map(|authority| TlsAcceptor::from(Arc::new(authority.server())));
        let serving = shared.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, tls, router, serving) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, authority, shared, _seed: Arc::new(seed), _end: Arc::new(end) }
    }

    /// Where it is, without a slash at the end.
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Its CA.
    ///
    /// # Panics
    /// Where it serves plain HTTP.
    pub fn authority(&self) -> &Authority {
        self.authority.as_deref().expect("a server with TLS")
    }

    /// Stands before another server that speaks plain HTTP at this URL: what is asked of this one is passed on to it.
    ///
    /// # Panics
    /// Where there is no loopback network.
    pub fn before(url: &str) -> Self {
        Self::before_shown(url, |_, _| {})
    }

    /// The same, and each request is shown first: its headers and its body.
    ///
    /// # Panics
    /// Where there is no loopback network.
    pub fn before_shown(url: &str, show: impl Fn(&HeaderMap, &[u8]) + Send + Sync + 'static) -> Self {
        let address = url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/').to_owned();
        let show = Arc::new(show);
        let pass = move |request: Request| {
            let (address, show) = (address.clone(), show.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = to_bytes(body, LARGEST).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
                show(&head.headers, &body);
                let request = Request::from_parts(head, Body::from(body));
                pass_on(&address, request).await.map_err(|_| StatusCode::BAD_GATEWAY)
            }
        };
        Self::start(Router::new().fallback(pass))
    }

    /// Does this wrong from now on.
    pub fn fail(&self, faults: Faults) {
        lock(&self.shared).faults = faults;
    }

    /// The same, and each time the same calls: those that fail follow from the seed.
    pub fn fail_seeded(&self, faults: Faults, seed: u64) {
        let mut state = lock(&self.shared);
        (state.faults, state.random) = (faults, StdRng::seed_from_u64(seed));
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared).calls.clone()
    }

    /// Begins to write down calls anew; gives those so far.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut lock(&self.shared).calls)
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: std::net::TcpListener, tls: Option<TlsAcceptor>, router: Router, shared: Arc<Mutex<State>>) {
    let listener = TcpListener::from_std(listener).expect("a socket");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Without this small answers wait for the acknowledgement of earlier ones.
        let _ = stream.set_nodelay(true);
        let (tls, router, shared) = (tls.clone(), router.clone(), shared.clone());
        tokio::spawn(async move {
            let Some(tls) = tls else { return connection(stream, None, router, shared).await };
            // Who does not trust us is no caller.
            let Ok(stream) = tls.accept(stream).await else { return };
            let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let certificate = certificate.map(|certificate| ClientCertificate(certificate.to_vec()));
            connection(stream, certificate, router, shared).await;
        });
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    certificate: Option<ClientCertificate>,
    router: Router,
    shared: Arc<Mutex<State>>,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(certificate) = certificate.clone() {
            request.extensions_mut().insert(certificate);
        }
        answer(request.map(Body::new), router.clone(), shared.clone())
    });
    // What ends a connection is the client's affair, or a fault that was asked for.
    let _ = auto::Builder::new(TokioExecutor::new()).http1_only().serve_connection(TokioIo::new(stream), service).await;
}

async fn pass_on(address: &str, request: Request) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TokioIo::new(tokio::net::TcpStream::connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?.map(Body::new))
}

/// An error ends the connection without an answer.
async fn answer(request: Request, router: Router, shared: Arc<Mutex<State>>) -> Result<Response, std::io::Error> {
    let mut call = Call {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        status: 0,
        at: Instant::now(),
    };
    let (fault, delay) = {
        let mut state = lock(&shared);
        let State { faults, random, .. } = &mut *state;
        (faults.draw(&call.method, &call.path, random), faults.delay)
    };
    tokio::time::sleep(delay).await;
    let is_unheard = matches!(fault, Some(Fault::Unheard));
    let answer = match fault {
        None | Some(Fault::Unheard) => hyper::service::Service::call(&TowerToHyperService::new(router), request)
            .await
            .map_err(|never| match never {}),
        Some(Fault::Answer(answer)) => Ok(answer),
        Some(Fault::Reset) => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
        Some(Fault::Hang) => {
            lock(&shared).calls.push(call);
            return std::future::pending().await;
        }
    };
    if is_unheard {
        lock(&shared).calls.push(call);
        return std::future::pending().await;
    }
    call.status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
    lock(&shared).calls.push(call);
    answer
}
