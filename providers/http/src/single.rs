//! One connection and no other: for logins that hold for the connection by which they were made.
//!
//! The library's pool gives a connection back when the answer before was read to its end, and makes another one where none
//! came back yet. Here that other one is never made: whoever asks waits for the first to come back, for a moment, and is
//! told that it is gone where it does not.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use keyferry_provider_core::{Blame, Error, ErrorKind};
use tower_layer::Layer;
use tower_service::Service;

use crate::proxy::BoxError;

/// How long the connection may take to come back. It is there at once, unless the server closed it or nobody has a turn.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Around what makes connections: lets one through.
#[derive(Clone)]
pub(crate) struct Once {
    made: Arc<AtomicBool>,
    host: String,
    patience: Duration,
}

impl Once {
    /// For connections to this host.
    pub fn to(host: String, patience: Duration) -> Self {
        Self { made: Arc::default(), host, patience }
    }

    fn gone(&self) -> Error {
        let message = format!("{} closed the connection that was to be logged in", self.host);
        let hint = "it, and whatever stands before it, must keep a connection between two requests";
        Error::new(ErrorKind::Unavailable, message).with_blame(Blame::Way).with_hint(hint)
    }
}

impl<S> Layer<S> for Once {
    type Service = Connecting<S>;

    fn layer(&self, inner: S) -> Connecting<S> {
        Connecting { once: self.clone(), inner }
    }
}

#[derive(Clone)]
pub(crate) struct Connecting<S> {
    once: Once,
    inner: S,
}

impl<S, R> Service<R> for Connecting<S>
where
    S: Service<R, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        if !self.once.made.swap(true, Ordering::Relaxed) {
            return Box::pin(self.inner.call(request));
        }
        let once = self.once.clone();
        Box::pin(async move {
            tokio::time::sleep(once.patience).await;
            Err(once.gone().into())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use keyferry_provider_core::address::Addresses;
    use reqwest::{Client, Url};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::{FIELDS, Way};

    /// A server that answers requests of one piece with this and keeps the connection, or closes it after each; how many
    /// connections it had; and a client for it of one connection.
    async fn served(head: &'static str, keeps: bool) -> (Way, Client, Arc<AtomicUsize>) {
        _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    while let Ok(1..) = stream.read(&mut request).await {
                        _ = stream.write_all(head.as_bytes()).await;
                        if !keeps {
                            return;
                        }
                    }
                });
            }
        });
        let way = Way::new(server, FIELDS);
        let builder = way.client_builder(&Addresses::anywhere()).unwrap();
        let builder = builder.connector_layer(Once::to(way.host(), Duration::from_millis(300)));
        let client = way.client(builder, None, None).unwrap();
        (way, client, connections)
    }

    #[tokio::test]
    async fn all_requests_go_out_on_one_connection() {
        for head in [
            "HTTP/1.1 401 x\r\ncontent-length: 4\r\n\r\nbody",
            "HTTP/1.1 401 x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
            "HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n",
        ] {
            let (way, client, connections) = served(head, true).await;
            for _ in 0..50 {
                let answer = client.get(way.server.clone()).send().await.unwrap();
                way.read_body(answer, &()).await.unwrap();
            }
            assert_eq!(connections.load(Ordering::Relaxed), 1, "{head}");
        }
    }

    #[tokio::test]
    async fn where_it_is_closed_there_is_no_other() {
        for head in [
            "HTTP/1.1 401 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.0 401 x\r\ncontent-length: 0\r\n\r\n",
        ] {
            let (way, client, connections) = served(head, false).await;
            let answer = client.get(way.server.clone()).send().await.unwrap();
            way.read_body(answer, &()).await.unwrap();
            let error = way.error(&client.get(way.server.clone()).send().await.unwrap_err());
            // Where nobody said so, the request may have been on its way when it was closed.
            let told = error.message().contains("closed the connection");
            assert!(error.kind() == ErrorKind::Unavailable && told, "{head}: {error}");
            assert_eq!(connections.load(Ordering::Relaxed), 1, "{head}");
        }
    }
}
