//! `/healthz`, `/readyz` and `/metrics`: plain HTTP, or TLS. Whoever asks is bounded: how long its headers may take, how
//! long a connection lasts, and how many there are. Bodies are read by nobody here: [`crate::sealing::serve`] bounds its own. [`readers`] says who may read metrics, [`tls`] with
//! which certificate.

pub mod readers;
pub mod tls;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use self::readers::Readers;
use self::tls::Certificate;
use crate::metrics::Metrics;

/// How long a TLS handshake, or the headers of a request, may take.
const HEADERS: Duration = Duration::from_secs(10);

/// How long a connection lasts at most: who does not read its answer is not waited for.
const CONNECTION: Duration = Duration::from_secs(60);

/// How many connections a listener has. Who comes then takes the place of the oldest, so that nobody who holds them all
/// keeps the kubelet out; not that of one who is known.
const CONNECTIONS: usize = 64;

/// Headers of one request.
const HEADER_BYTES: usize = 16 << 10;

/// How long it is until the next try where no connection could be taken, for want of file descriptors, say.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// After so long without a connection the certificate is looked at all the same.
const UNASKED: Duration = Duration::from_secs(60);

/// Binds an address; the error names it and the flag that sets it.
pub async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("can't listen on {address} ({flag}): {}", error.kind()))
}

/// Serves `/healthz` and `/readyz`. Ready is who does its work or stands by for it: a replica that waits for the Lease
/// is ready, one that leads becomes so when everything is listed.
pub async fn health(listener: TcpListener, ready: watch::Receiver<bool>) {
    let readyz = move || {
        let ready = *ready.borrow();
        async move {
            if ready {
                (StatusCode::OK, "ok\n")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "still listing what is in the cluster\n")
            }
        }
    };
    let router = Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(readyz));
    serve(listener, router, None).await;
}

/// Serves `/metrics`: with TLS where there is a certificate, and only to those who may read it where somebody tells.
pub async fn metrics(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    certificate: Option<Certificate>,
    readers: Option<Readers>,
) {
    let (readers, writing) = (readers.map(Arc::new), Arc::new(Semaphore::new(1)));
    let answer = move |headers: HeaderMap| {
        let (metrics, readers, writing) = (metrics.clone(), readers.clone(), writing.clone());
        async move {
            if let Some(readers) = readers
                && let Err(refused) = readers.admit(&headers).await
            {
                return refused;
            }
            exposition(metrics, &writing).await
        }
    };
    serve(listener, Router::new().route("/metrics", get(answer)), certificate).await;
}

/// One at a time, and not on this thread: there may be a hundred thousand lines.
async fn exposition(metrics: Arc<Metrics>, writing: &Semaphore) -> Response {
    let _turn = writing.acquire().await;
    match tokio::task::spawn_blocking(move || metrics.text()).await {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A connection, for whoever answers on it: while it is held, it is not given up for another one.
#[derive(Clone, Default)]
pub(crate) struct Connection(Arc<AtomicBool>);

/// Holds a connection; ends when it is dropped.
pub(crate) struct Hold(Connection);

impl Connection {
    /// Holds it: who asks is known.
    pub(crate) fn hold(&self) -> Hold {
        self.0.store(true, Ordering::Relaxed);
        Hold(self.clone())
    }

    fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

/// Serves whatever `router` answers.
pub async fn serve(listener: TcpListener, router: Router, certificate: Option<Certificate>) {
    let certificate = certificate.map(Arc::new);
    let mut connections: VecDeque<(AbortHandle, Connection)> = VecDeque::new();
    loop {
        let Ok(accepted) = timeout(UNASKED, listener.accept()).await else {
            // It is told when the certificate ends, whether somebody asks or not.
            if let Some(certificate) = &certificate {
                certificate.acceptor();
            }
            continue;
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        connections.retain(|(connection, _)| !connection.is_finished());
        if connections.len() >= CONNECTIONS {
            let oldest = connections.iter().position(|(_, connection)| !connection.is_held());
            let Some((oldest, _)) = oldest.and_then(|n| connections.remove(n)) else { continue };
            oldest.abort();
        }
        let known = Connection::default();
        let (router, certificate) = (router.clone().layer(Extension(known.clone())), certificate.clone());
        let connection = tokio::spawn(async move {
            // What goes wrong with a connection is the client's to know.
            let _ = timeout(CONNECTION, converse(stream, router, certificate)).await;
        });
        connections.push_back((connection.abort_handle(), known));
    }
}

async fn converse(stream: TcpStream, router: Router, certificate: Option<Arc<Certificate>>) {
    match certificate {
        None => answer(stream, router).await,
        Some(certificate) => {
            if let Ok(Ok(stream)) = timeout(HEADERS, certificate.acceptor().accept(stream)).await {
                answer(stream, router).await;
            }
        }
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(HEADER_BYTES);
    let _ = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await;
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
