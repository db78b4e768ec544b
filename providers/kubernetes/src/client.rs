//! HTTP to the API server, and the errors of the way.

use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_provider_core::address::is_link_local;
use keyferry_provider_core::{BuildContext, Calls, Error, ErrorKind, SecretBuf, SecretBytes, json};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Identity as TlsIdentity, Method, Url, redirect, retry};
use rustls::CertificateError;

use crate::config::{Access, Identity, invalid};

/// How long a connection, and a request as a whole, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer that is read: a page of Secrets' metadata stays far below.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// How many Secrets a page of a list has.
const PAGE: usize = 500;

/// Lists tell names and labels only: no value is read that nobody asked for.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const PLAIN: &str = "application/json";

/// A request.
pub struct Call {
    /// The name that External Secrets Operator's metric uses for it.
    name: &'static str,
    path: String,
    query: Vec<(&'static str, String)>,
    accept: &'static str,
    body: Option<String>,
}

/// What the server answered.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: SecretBytes,
    retry_after: Option<Duration>,
}

impl Call {
    /// Reads one object.
    pub fn get(name: &'static str, path: String) -> Self {
        Self { name, path, query: Vec::new(), accept: PLAIN, body: None }
    }

    /// Reads a page of the Secrets of a namespace.
    pub fn list(name: &'static str, namespace: &str, selector: &str, next: Option<&str>) -> Self {
        let mut query = vec![("limit", PAGE.to_string())];
        if !selector.is_empty() {
            query.push(("labelSelector", selector.to_owned()));
        }
        query.extend(next.map(|token| ("continue", token.to_owned())));
        let path = format!("api/v1/namespaces/{namespace}/secrets");
        Self { name, path, query, accept: METADATA_ONLY, body: None }
    }

    /// Asks for a review.
    pub fn review(name: &'static str, path: &str, body: &serde_json::Value) -> Self {
        let body = Some(body.to_string());
        Self { name, path: path.to_owned(), query: Vec::new(), accept: PLAIN, body }
    }
}

/// The way to one API server.
pub struct Client {
    http: reqwest::Client,
    server: Url,
    calls: Arc<dyn Calls>,
}

impl Client {
    /// Prepares all that a call needs. Connects nowhere yet.
    pub fn new(access: &Access, ctx: &BuildContext) -> Result<Self, Error> {
        if !ctx.allow_link_local && leads_to_link_local(&access.server) {
            return Err(link_local());
        }
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("keyferry/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .redirect(redirect::Policy::none()) // an API server sends nobody elsewhere
            .referer(false)
            .retry(retry::never())
            .no_proxy() // the operator's environment is not the store's
            .dns_resolver(Resolver { allow_link_local: ctx.allow_link_local });
        if let Some(ca) = &access.ca {
            let certificates = Certificate::from_pem_bundle(ca).ok().filter(|certificates| !certificates.is_empty());
            http = http.tls_certs_only(
                certificates
                    .ok_or_else(|| invalid("the store's CA bundle holds no PEM certificate that can be read"))?,
            );
        }
        if access.insecure {
            http = http.tls_danger_accept_invalid_certs(true);
        }
        if let Identity::Certificate { cert, key } = &access.identity {
            let mut pem = SecretBuf::with_capacity(cert.len() + 1 + key.len());
            pem.extend(cert.expose());
            pem.push(b'\n');
            pem.extend(key.expose());
            let unusable =
                |_| invalid("the store's client certificate and key are not a PEM certificate and its PEM private key");
            http = http.identity(TlsIdentity::from_pem(pem.expose()).map_err(unusable)?);
        }
        // What is left to go wrong are certificates. The error's text is the parser's.
        let http = http.build().map_err(|_| {
            invalid(match (&access.ca, &access.identity) {
                (_, Identity::Certificate { .. }) => {
                    "the store's client certificate, its key or the CA bundle can't be used"
                }
                (Some(_), _) => "the store's CA bundle holds a certificate that can't be used",
                (None, _) => {
                    "there are no system certificates: set spec.provider.kubernetes.server.caBundle or caProvider"
                }
            })
        })?;
        Ok(Self { http, server: access.server.clone(), calls: ctx.calls.clone() })
    }

    /// Makes one call. Every status is an answer; an error is about the way to the server.
    pub async fn send(&self, call: &Call, token: Option<&HeaderValue>) -> Result<Answer, Error> {
        let start = Instant::now();
        let answer = self.exchange(call, token).await;
        let ok = answer.as_ref().is_ok_and(|answer| (200..300).contains(&answer.status));
        self.calls.record("Kubernetes", call.name, ok, start.elapsed());
        answer
    }

    async fn exchange(&self, call: &Call, token: Option<&HeaderValue>) -> Result<Answer, Error> {
        let mut url = self.server.clone();
        url.set_path(&format!("{}/{}", self.server.path().trim_end_matches('/'), call.path));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = match &call.body {
            Some(body) => self.http.request(Method::POST, url).header(CONTENT_TYPE, PLAIN).body(body.clone()),
            None => self.http.request(Method::GET, url),
        };
        request = request.header(ACCEPT, call.accept);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let mut response = request.send().await.map_err(|error| self.transport_error(&error))?;
        let status = response.status().as_u16();
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let capacity = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let mut body = SecretBuf::with_capacity(capacity.min(MAX_BODY));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport_error(&error))? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(Error::new(ErrorKind::Malformed, "the API server's answer is larger than 16 MiB"));
            }
            body.extend(&chunk);
        }
        Ok(Answer { status, body: body.into(), retry_after: seconds.map(Duration::from_secs) })
    }

    /// The error for an answer that is no success, to a request about `what` that needs leave to do `verb`.
    pub fn refusal(&self, answer: &Answer, what: &str, verb: &str) -> Error {
        let host = self.host();
        let of_api = json::object(answer.body.expose())
            .and_then(|status| status.get("kind").map(|kind| json::to_bytes(kind)))
            .is_some_and(|kind| kind.expose_str() == Some("Status"));
        let (kind, message) = match answer.status {
            // Only an API server's own word counts: a gateway's 404 says nothing of the Secret.
            404 if of_api => (ErrorKind::NotFound, format!("there is no {what}")),
            401 => (
                ErrorKind::Unauthenticated,
                format!(
                    "the API server at {host} does not accept the store's credentials: they are wrong, or have expired"
                ),
            ),
            403 => (ErrorKind::Denied, format!("the API server at {host} does not let us {verb}: allow it on {what}")),
            429 => (ErrorKind::Throttled, format!("the API server at {host} asks for fewer requests")),
            408 | 504 => (ErrorKind::Timeout, format!("no answer from {host} in time (status {})", answer.status)),
            500..600 => {
                (ErrorKind::Unavailable, format!("the API server at {host} has a problem (status {})", answer.status))
            }
            status => (
                ErrorKind::Malformed,
                format!("{host} does not answer as an API server does (status {status}): check the store's server URL"),
            ),
        };
        Error::new(kind, message).with_retry_after(answer.retry_after)
    }

    /// The error for an answer that can't be read.
    pub fn malformed(&self) -> Error {
        let message = format!("{} does not answer as an API server does: check the store's server URL", self.host());
        Error::new(ErrorKind::Malformed, message)
    }

    fn host(&self) -> String {
        let port = self.server.port_or_known_default().unwrap_or(0);
        format!("{}:{port}", self.server.host_str().unwrap_or_default())
    }

    /// The error table of the way to the server. Only known causes are worded, by their type: the text of foreign
    /// errors goes nowhere.
    fn transport_error(&self, error: &reqwest::Error) -> Error {
        let host = self.host();
        for cause in causes(error) {
            if let Some(own) = cause.downcast_ref::<Error>() {
                return own.clone(); // our resolver's
            }
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return tls_error(tls, &host);
            }
        }
        if error.is_timeout() {
            return Error::new(ErrorKind::Timeout, format!("no answer from {host} in time"));
        }
        let kind = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
        let message = match kind {
            Some(io::ErrorKind::ConnectionRefused) => format!("{host} refuses connections: nothing listens there"),
            Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                format!("{host} can't be reached: there is no way to its network")
            }
            _ if error.is_connect() => format!("no connection to {host} could be made"),
            _ => format!("{host} closed the connection or does not speak HTTP: check the store's server URL"),
        };
        Error::new(ErrorKind::Unavailable, message)
    }
}

fn leads_to_link_local(server: &Url) -> bool {
    // A URL keeps an IPv6 address in brackets. Other spellings of IPv4 (hex, one number) are normal form by now.
    let host = server.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.trim_end_matches('.').parse::<IpAddr>().is_ok_and(is_link_local)
}

fn link_local() -> Error {
    invalid("the store's server leads to a link-local address, which is refused to stores of a namespace")
}

/// Resolves names like everybody, and drops link-local addresses where the store may not go there.
struct Resolver {
    allow_link_local: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_link_local = self.allow_link_local;
        Box::pin(async move {
            let host = name.as_str();
            let mut found: Vec<SocketAddr> = match tokio::net::lookup_host((host, 0)).await {
                Ok(found) => found.collect(),
                Err(_) => {
                    let message = format!("the name {host} can't be resolved: check the store's server URL");
                    return Err(Error::new(ErrorKind::Unavailable, message).into());
                }
            };
            found.retain(|address| allow_link_local || !is_link_local(address.ip()));
            match found.is_empty() {
                true => Err(link_local().into()),
                false => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

/// The error and everything below it.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| below(*error))
}

/// An [`io::Error`] hides what it wraps from [`StdError::source`].
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn tls_error(error: &rustls::Error, host: &str) -> Error {
    use rustls::Error as Tls;
    let message = match error {
        // A bad signature is what a CA looks like that was made anew under its old name.
        Tls::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => format!(
            "the certificate of {host} is signed by an unknown authority: set or renew \
             spec.provider.kubernetes.server.caBundle or caProvider"
        ),
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("the certificate of {host} is for another name: check the store's server URL"),
        Tls::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!("the certificate of {host} has expired")
        }
        Tls::InvalidCertificate(_) => format!("the certificate of {host} can't be accepted"),
        Tls::InvalidMessage(_) => format!("{host} does not speak TLS: the store's server URL may need http://"),
        Tls::AlertReceived(_) => {
            format!("{host} does not accept our side of TLS: check the store's client certificate")
        }
        _ => format!("the TLS handshake with {host} failed"),
    };
    Error::new(ErrorKind::Tls, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_servers_in_every_spelling() {
        for (server, expected) in [
            ("http://169.254.169.254", true),
            ("http://169.254.169.254.:80", true),
            ("http://0xa9fea9fe", true),
            ("http://2852039166:8200", true),
            ("http://[fe80::1]", true),
            ("http://[::ffff:169.254.169.254]:8200", true),
            ("http://127.0.0.1:8200", false),
            ("http://metadata.google.internal", false), // found out by the resolver
        ] {
            assert_eq!(leads_to_link_local(&Url::parse(server).unwrap()), expected, "{server}");
        }
    }
}
