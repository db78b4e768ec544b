//! HTTP of the SDK's clients, through the proxies that the environment of the process names.
//!
//! Where requests go is not the store's choice: a region is a label of AWS's own names, and endpoints are the
//! operator's. So no name is judged before a proxy resolves it.

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use keyferry_provider_core::Error;
use keyferry_provider_core::proxy::{Proxies, Proxy};
use keyferry_way::{Fault, Tunnel, causes};

const TLS: tls::Provider = tls::Provider::Rustls(CryptoMode::AwsLc);

/// HTTP of one connection alone.
pub(crate) fn http_client(proxies: &Proxies) -> Result<SharedHttpClient, Error> {
    let direct = Builder::new().tls_provider(TLS).build_https();
    if proxies.is_none() {
        return Ok(direct);
    }
    let through =
        proxies.all().map(|proxy| Ok((proxy.clone(), client_through(proxy)?))).collect::<Result<_, Error>>()?;
    Ok(SharedHttpClient::new(Proxied { direct, through, proxies: proxies.clone() }))
}

/// A client all of whose requests go through `proxy`.
fn client_through(proxy: &Proxy) -> Result<SharedHttpClient, Error> {
    let config = ProxyConfig::all(proxy.url()).map_err(|_| proxy.unreachable("has a URL that can't be used"))?;
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut builder = Connector::builder();
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        builder.set_proxy_config(Some(config.clone()));
        builder.tls_provider(TLS).build()
    }))
}

/// A client for each way.
#[derive(Debug)]
struct Proxied {
    direct: SharedHttpClient,
    through: Vec<(Proxy, SharedHttpClient)>,
    proxies: Proxies,
}

impl HttpClient for Proxied {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let through = self.through.iter();
        SharedHttpConnector::new(Chosen {
            direct: self.direct.http_connector(settings, components),
            through: through
                .map(|(proxy, client)| (proxy.clone(), client.http_connector(settings, components)))
                .collect(),
            proxies: self.proxies.clone(),
        })
    }
}

/// What sends each request its way.
#[derive(Debug)]
struct Chosen {
    direct: SharedHttpConnector,
    through: Vec<(Proxy, SharedHttpConnector)>,
    proxies: Proxies,
}

impl HttpConnector for Chosen {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let chosen = self.proxies.of_url(request.uri());
        let found = chosen.and_then(|chosen| self.through.iter().find(|(proxy, _)| proxy == chosen));
        let Some((proxy, connector)) = found else { return self.direct.call(request) };
        let (proxy, host) = (proxy.clone(), host_of(request.uri()));
        let answer = connector.call(request);
        HttpConnectorFuture::new(async move { answer.await.map_err(|error| said(&proxy, &host, error)) })
    }
}

fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default().to_owned()
}

/// What is the proxy's fault in words about the proxy; the rest as it is, since behind it stands AWS.
fn said(proxy: &Proxy, host: &str, error: ConnectorError) -> ConnectorError {
    if causes(&error).any(|cause| cause.is::<Error>()) {
        return error;
    }
    let own = match (Tunnel::of(&error), Fault::of(&error)) {
        (Some(Tunnel::NoLogin), _) => proxy.wants_login(),
        (Some(Tunnel::Refused), _) => proxy.refuses(host),
        (None, Some(Fault::NoName)) => proxy.unreachable("has a name that can't be resolved"),
        (None, Some(Fault::Refused)) => proxy.unreachable("refuses connections"),
        (None, Some(Fault::NoRoute | Fault::Timeout)) => proxy.unreachable("can't be reached"),
        (None, _) => return error,
    };
    ConnectorError::other(own.into(), None)
}
