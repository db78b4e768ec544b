//! Through a proxy, where the environment of the process names one for the server.
//!
//! A proxy resolves names itself, out of sight of our [`Resolver`](crate::address). Where a store may not lead to all
//! addresses, the server's name is resolved and judged here first, each time that a connection is made, and nobody but
//! that server is reached through the proxy.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use keyferry_provider_core::Error;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::proxy::Proxy;
use keyferry_way::{Fault, Tunnel, causes};
use reqwest::{ClientBuilder, Url};
use tokio::net::TcpStream;
use tower_layer::Layer;
use tower_service::Service;

use crate::Fields;
use crate::address::Resolver;

/// The proxy that requests to `server` go through.
pub(crate) fn of_server<'a>(server: &Url, addresses: &'a Addresses) -> Option<&'a Proxy> {
    addresses.proxies().of_url(server.as_str())
}

/// What is wrong with a proxy to which there is no way.
pub(crate) const CANT_BE_REACHED: &str = "can't be reached";

/// Connects to a proxy, whose name is the operator's affair.
pub(crate) async fn knock(proxy: &Proxy) -> Result<(), Error> {
    let url = Url::parse(proxy.url()).map_err(|_| proxy.unreachable("is no URL"))?;
    let host = proxy.name().trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or(80);
    match TcpStream::connect((host, port)).await {
        Ok(_) => Ok(()),
        Err(problem) => Err(match Fault::of(&problem) {
            Some(Fault::Refused) => proxy.unreachable("refuses connections"),
            Some(Fault::NoName) => proxy.unreachable("has a name that can't be resolved"),
            _ => proxy.unreachable(CANT_BE_REACHED),
        }),
    }
}

/// Has the client of `builder` go through the proxies that `addresses` name.
pub(crate) fn through(builder: ClientBuilder, server: &Url, addresses: &Addresses, fields: Fields) -> ClientBuilder {
    let proxy = of_server(server, addresses).cloned();
    let builder = match (addresses.are_anywhere(), &proxy) {
        (true, _) if addresses.proxies().is_none() => builder,
        (true, _) => {
            let addresses = addresses.clone();
            builder.proxy(reqwest::Proxy::custom(move |url| Some(of_server(url, &addresses)?.url().to_owned())))
        }
        (false, None) => builder,
        (false, Some(proxy)) => {
            let (origin, url) = (server.origin(), proxy.url().to_owned());
            builder.proxy(reqwest::Proxy::custom(move |to| (to.origin() == origin).then(|| url.clone())))
        }
    };
    let Some(proxy) = proxy else { return builder };
    // The proxy's own name is not the store's, and so not judged, unless the store names it too.
    let judge = Resolver { addresses: addresses.clone(), fields, proxy: None };
    builder.connector_layer(Hop { proxy, host: server.host_str().unwrap_or_default().to_owned(), judge })
}

/// Around what makes connections: judges the server before, and says what is wrong with the proxy after.
#[derive(Clone)]
struct Hop {
    proxy: Proxy,
    host: String,
    judge: Resolver,
}

impl<S> Layer<S> for Hop {
    type Service = Hopping<S>;

    fn layer(&self, inner: S) -> Hopping<S> {
        Hopping { hop: self.clone(), inner }
    }
}

#[derive(Clone)]
struct Hopping<S> {
    hop: Hop,
    inner: S,
}

/// What goes wrong on the way to a connection.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<S, R> Service<R> for Hopping<S>
where
    S: Service<R, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let hop = self.hop.clone();
        // The one that was asked whether it is ready is the one to call.
        let fresh = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, fresh);
        Box::pin(async move {
            if !hop.judge.addresses.are_anywhere() {
                hop.judge.judge(&hop.host).await?;
            }
            ready.call(request).await.map_err(|error| hop.said(error))
        })
    }
}

impl Hop {
    /// What is the proxy's fault in words about the proxy; the rest as it is, since behind it stands the server.
    fn said(&self, error: BoxError) -> BoxError {
        if causes(&*error).any(|cause| cause.is::<Error>()) {
            return error;
        }
        let proxy = &self.proxy;
        let own = match (Tunnel::of(&*error), Fault::of(&*error)) {
            (Some(Tunnel::NoLogin), _) => proxy.wants_login(),
            (Some(Tunnel::Refused), _) => proxy.refuses(&self.host),
            (None, Some(Fault::NoName)) => proxy.unreachable("has a name that can't be resolved"),
            (None, Some(Fault::Refused)) => proxy.unreachable("refuses connections"),
            (None, Some(Fault::NoRoute | Fault::Timeout)) => proxy.unreachable(CANT_BE_REACHED),
            (None, _) => return error,
        };
        own.into()
    }
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::ErrorKind;
    use keyferry_provider_core::proxy::Proxies;

    use super::*;
    use crate::FIELDS;

    /// A connection that must not be made.
    #[derive(Clone)]
    struct Never;

    impl Service<()> for Never {
        type Response = ();
        type Error = BoxError;
        type Future = std::future::Ready<Result<(), BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            panic!("the server was not judged")
        }
    }

    #[tokio::test]
    async fn the_server_is_judged_before_each_connection() {
        let proxies = Proxies::of(&|_| Some("http://proxy:1".to_owned())).unwrap();
        let proxy = proxies.all().next().unwrap().clone();
        for (host, kind, words) in [
            ("localhost", ErrorKind::Invalid, "the.server leads to"),
            ("[::1]", ErrorKind::Invalid, "a loopback address"),
            ("169.254.169.254", ErrorKind::Invalid, "a link-local address"),
            ("no-such-host.invalid", ErrorKind::Unavailable, "can't be resolved"),
        ] {
            let judge = Resolver { addresses: Addresses::default(), fields: FIELDS, proxy: None };
            let hop = Hop { proxy: proxy.clone(), host: host.to_owned(), judge };
            let error = hop.layer(Never).call(()).await.unwrap_err();
            let error = error.downcast_ref::<Error>().unwrap();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(words), "{error}");
        }
    }
}
