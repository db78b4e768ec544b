//! `/healthz`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::Metrics;

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
    serve(listener, router).await;
}

/// Serves `/metrics`.
pub async fn metrics(listener: TcpListener, metrics: Arc<Metrics>) {
    let text = move || {
        let metrics = metrics.clone();
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.text()).into_response() }
    };
    serve(listener, Router::new().route("/metrics", get(text))).await;
}

async fn serve(listener: TcpListener, router: Router) {
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(kind = %error.kind(), "the HTTP server stopped");
    }
}
