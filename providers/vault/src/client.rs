//! HTTP to a Vault: one request, one answer. Nothing is retried and nobody but the configured server is spoken to.

use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keyferry_provider_core::address::is_link_local;
use keyferry_provider_core::{BuildContext, Calls, Error, ErrorKind, SecretBuf, SecretBytes, json};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Identity, Method, Url, redirect, retry};
use rustls::{AlertDescription, CertificateError};

use crate::config::{Ca, Config, HeaderSource, header_value, invalid};
use crate::path;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_BODY: usize = 16 << 20;
const MAX_REDIRECTS: usize = 3;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");
const INDEX: HeaderName = HeaderName::from_static("x-vault-index");

/// A connection pool to one server, with what every request to it carries.
pub struct Client {
    http: reqwest::Client,
    server: Url,
    /// The server's API, up to and with `/v1/`.
    base: String,
    calls: Arc<dyn Calls>,
}

/// One call. The token is apart, so that the same call can be made again with another.
#[derive(Clone)]
pub struct Call {
    /// The name for metrics.
    pub name: &'static str,
    /// POST where there is a body, else GET.
    pub body: Option<SecretBytes>,
    /// The path below `/v1/`, not encoded.
    pub path: String,
    /// The query, encoded.
    pub query: Option<String>,
    /// The namespace it is made in.
    pub namespace: Option<HeaderValue>,
}

/// What shows the server who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// The token, where we have one.
    pub token: Option<HeaderValue>,
    /// The state that a server must have reached before it answers, so that it knows the token.
    pub index: Option<HeaderValue>,
}

/// An answer of the server, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// How long to wait, where the server says so in seconds.
    pub retry_after: Option<Duration>,
    /// The server's state, to hand back with the next request.
    pub index: Option<HeaderValue>,
    /// The body; nothing where an error's body is absurdly large.
    pub body: SecretBytes,
}

/// What the list of errors in an answer says, as far as it is known to mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// The list is there and empty: this is how "no such thing" looks.
    Nothing,
    /// There is no engine or login method at this path.
    NoRoute,
    /// There is no such namespace.
    NoNamespace,
    /// The token is known, and its policies do not allow this. A token that is not known gets other words, so where
    /// these are missing nothing is known.
    Policies,
    /// An engine of version 2 is young, and busy with setting itself up.
    Upgrading,
    /// Something else.
    Other,
    /// There is no list of errors: this is not Vault speaking, or it speaks of something else.
    NotAList,
}

impl Client {
    /// A client for the server of `config`, with CA, client certificate and headers resolved.
    pub async fn new(config: &Config, ctx: &BuildContext) -> Result<Self, Error> {
        if !ctx.allow_link_local && leads_to_link_local(&config.server) {
            return Err(link_local());
        }
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("keyferry/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(config, ctx).await?)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .redirect(redirect::Policy::custom(follow))
            .referer(false)
            .retry(retry::never())
            .no_proxy() // the operator's environment is not the store's
            .dns_resolver(Resolver { allow_link_local: ctx.allow_link_local });
        if let Some(ca) = &config.ca {
            http = http.tls_certs_only(certificates(ca, ctx).await?);
        }
        if let Some((cert, key)) = &config.identity {
            let (cert, key) = tokio::try_join!(
                ctx.credentials.secret(cert, Some("tls.crt")),
                ctx.credentials.secret(key, Some("tls.key")),
            )
            .map_err(|error| error.context("spec.provider.vault.tls"))?;
            http = http.identity(identity(&cert, &key)?);
        }
        // What is left to go wrong are certificates: those given, the client's own, or the system's that can't be
        // read. The error's text is the parser's.
        let http = http.build().map_err(|_| {
            let field = match (&config.ca, &config.identity) {
                (_, Some(_)) => {
                    "spec.provider.vault.tls or the CA bundle holds a certificate or key that can't be used"
                }
                (Some(_), None) => "the store's CA bundle holds a certificate that can't be used",
                (None, None) => "there are no system certificates: set spec.provider.vault.caBundle or caProvider",
            };
            invalid(field)
        })?;
        let base = format!("{}/v1/", config.server.as_str().trim_end_matches('/'));
        Ok(Self { http, server: config.server.clone(), base, calls: ctx.calls.clone() })
    }

    /// Makes one call. Every status is an answer; an error is about the way to the server.
    pub async fn send(&self, call: &Call, ticket: &Ticket) -> Result<Answer, Error> {
        let start = Instant::now();
        let answer = self.exchange(call, ticket).await;
        // "Not there" is an answer like any other.
        let ok = answer.as_ref().is_ok_and(|answer| matches!(answer.status, 200..300 | 404));
        self.calls.record("HashiCorp/Vault", call.name, ok, start.elapsed());
        answer
    }

    async fn exchange(&self, call: &Call, ticket: &Ticket) -> Result<Answer, Error> {
        let mut url = format!("{}{}", self.base, path::encode(&call.path));
        if let Some(query) = &call.query {
            url.push_str(&format!("?{query}"));
        }
        let mut request = match &call.body {
            Some(body) => self.http.request(Method::POST, url).body(shared(body)),
            None => self.http.request(Method::GET, url),
        };
        for (name, value) in [(TOKEN, &ticket.token), (INDEX, &ticket.index), (NAMESPACE, &call.namespace)] {
            if let Some(value) = value {
                request = request.header(name, value.clone());
            }
        }
        let mut response = request.send().await.map_err(|error| self.transport_error(&error))?;

        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let index = response.headers().get(INDEX).cloned();
        let capacity = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let mut body = SecretBuf::with_capacity(capacity.min(MAX_BODY));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport_error(&error))? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(Error::new(ErrorKind::Malformed, "the server's answer is larger than 16 MiB"));
            }
            body.extend(&chunk);
        }
        Ok(Answer { status, retry_after, index, body: body.into() })
    }

    /// The error table of the way to the server. Only known causes are worded, by their type: the text of foreign
    /// errors goes nowhere.
    fn transport_error(&self, error: &reqwest::Error) -> Error {
        let host = self.host();
        for cause in causes(error) {
            if let Some(own) = cause.downcast_ref::<Error>() {
                return own.clone(); // our resolver's or our redirect policy's
            }
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return tls_error(tls, &host);
            }
        }
        if error.is_timeout() {
            let message = match error.is_connect() {
                true => format!("no connection to {host} within {CONNECT_TIMEOUT:?}"),
                false => format!("no answer from {host} within {REQUEST_TIMEOUT:?}"),
            };
            return Error::new(ErrorKind::Timeout, message);
        }
        let kind = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
        let message = match kind {
            Some(io::ErrorKind::ConnectionRefused) => format!("{host} refuses connections: nothing listens there"),
            Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                format!("{host} can't be reached: there is no way to its network")
            }
            Some(io::ErrorKind::TimedOut) => return Error::new(ErrorKind::Timeout, format!("no connection to {host}")),
            _ if error.is_connect() => format!("no connection to {host} could be made"),
            // Reset, closed in the middle of an answer, or not HTTP at all. A plain-http request to a port that
            // speaks TLS may end so too.
            _ => format!("{host} closed the connection or does not speak HTTP: check spec.provider.vault.server"),
        };
        Error::new(ErrorKind::Unavailable, message)
    }

    /// The server as `host:port`, for messages.
    pub fn host(&self) -> String {
        let port = self.server.port_or_known_default().unwrap_or(0);
        format!("{}:{port}", self.server.host_str().unwrap_or_default())
    }

    /// The error for an answer whose status means the same wherever it occurs.
    pub fn status_error(&self, answer: &Answer) -> Error {
        let host = self.host();
        let status = answer.status;
        let (kind, message) = match status {
            429 => (ErrorKind::Throttled, format!("{host} asks us to slow down (status 429)")),
            // A gateway in front of Vault may answer 503 too, but Vault itself only in these two cases.
            503 => (ErrorKind::Unavailable, format!("the Vault at {host} is sealed or in maintenance (status 503)")),
            // Statuses of Vault's own for clusters that replicate.
            472 => {
                (ErrorKind::Unavailable, format!("{host} is a disaster recovery secondary, which serves no secrets"))
            }
            473 => {
                (ErrorKind::Unavailable, format!("{host} is a performance standby that can't serve this (status 473)"))
            }
            // A server that is behind and was asked to be consistent (readYourWrites).
            412 => (ErrorKind::Unavailable, format!("{host} has not caught up with our login yet (status 412)")),
            408 | 504 => (ErrorKind::Timeout, format!("no answer from {host} in time (status {status})")),
            500..600 => (ErrorKind::Unavailable, format!("{host} has an internal error (status {status})")),
            // Vault has no 401: somebody in front of it wants a login of their own.
            401 => (
                ErrorKind::Unauthenticated,
                format!("something in front of the Vault at {host} asks for a login (status 401)"),
            ),
            // What Go's TLS listener says to plain http.
            400 if self.server.scheme() == "http" && answer.complaint() == Complaint::NotAList => (
                ErrorKind::Tls,
                format!("{host} does not take plain http: spec.provider.vault.server may need https://"),
            ),
            _ => (
                ErrorKind::Malformed,
                format!("{host} does not answer as a Vault does (status {status}): check spec.provider.vault.server"),
            ),
        };
        Error::new(kind, message).with_retry_after(answer.retry_after)
    }
}

impl Answer {
    /// What the list of errors says.
    pub fn complaint(&self) -> Complaint {
        let body = json::object(self.body.expose()).unwrap_or_default();
        let Some(errors) = body.get("errors").and_then(|errors| json::array(errors.get().as_bytes())) else {
            return Complaint::NotAList;
        };
        // Read to be recognised, never to be shown.
        let first = errors.first().map(|error| json::to_bytes(error));
        match first.as_ref().map(|text| text.expose_str().unwrap_or_default()) {
            None => Complaint::Nothing,
            Some(text) if text.contains("no handler for route") => Complaint::NoRoute,
            Some(text) if text.contains("namespace not found") => Complaint::NoNamespace,
            Some(text) if text.starts_with("1 error occurred") && text.contains("* permission denied") => {
                Complaint::Policies
            }
            Some(text) if text.contains("from non-versioned to versioned data") => Complaint::Upgrading,
            Some(_) => Complaint::Other,
        }
    }
}

/// Lends a secret to the HTTP client without a copy; the bytes are zeroed when both are done with them.
pub fn shared(secret: &SecretBytes) -> Bytes {
    struct Owner(SecretBytes);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.expose()
        }
    }
    Bytes::from_owner(Owner(secret.clone()))
}

async fn headers(config: &Config, ctx: &BuildContext) -> Result<HeaderMap, Error> {
    // An agent may be told to insist on this header, as a guard against requests that somebody was tricked into.
    let mut headers = HeaderMap::from_iter([(REQUEST, HeaderValue::from_static("true"))]);
    for (name, source) in &config.headers {
        let value = match source {
            HeaderSource::Plain(value) => value.clone(),
            HeaderSource::Ref(reference) => {
                let field = format!("spec.provider.vault.headers[{:?}]", name.as_str());
                let secret = ctx.credentials.secret(reference, None).await.map_err(|error| error.context(&field))?;
                header_value(secret.expose(), &field)?
            }
        };
        headers.insert(name.clone(), value);
    }
    Ok(headers)
}

async fn certificates(ca: &Ca, ctx: &BuildContext) -> Result<Vec<Certificate>, Error> {
    let (pem, field) = match ca {
        Ca::Pem(pem) => (pem.clone(), "spec.provider.vault.caBundle"),
        Ca::Ref(reference) => {
            let field = "spec.provider.vault.caProvider";
            (ctx.credentials.ca_bundle(reference).await.map_err(|error| error.context(field))?, field)
        }
    };
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(invalid(format!("{field} holds no PEM certificate that can be read"))),
    }
}

fn identity(cert: &SecretBytes, key: &SecretBytes) -> Result<Identity, Error> {
    let mut pem = SecretBuf::with_capacity(cert.len() + 1 + key.len());
    pem.extend(cert.expose());
    pem.push(b'\n');
    pem.extend(key.expose());
    Identity::from_pem(pem.expose())
        .map_err(|_| invalid("spec.provider.vault.tls must name a PEM certificate and its PEM private key"))
}

/// At most three redirects, and none to anybody else: the token would go along.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let origin = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    let same = attempt.previous().first().is_some_and(|first| origin(first) == origin(attempt.url()));
    let refusal = match attempt.previous().len() {
        _ if !same => {
            "the server redirects to another address, which is not followed since the token would go along: set \
             spec.provider.vault.server to the address of the active server"
        }
        count if count > MAX_REDIRECTS => "the server redirects in circles: check spec.provider.vault.server",
        _ => return attempt.follow(),
    };
    attempt.error(invalid(refusal))
}

fn leads_to_link_local(server: &Url) -> bool {
    // A URL keeps an IPv6 address in brackets. Other spellings of IPv4 (hex, one number) are normal form by now.
    let host = server.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_ok_and(is_link_local)
}

fn link_local() -> Error {
    invalid("spec.provider.vault.server leads to a link-local address, which is refused to stores of a namespace")
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
            let found: Vec<SocketAddr> = match tokio::net::lookup_host((host, 0)).await {
                Ok(found) => found.collect(),
                Err(_) => {
                    let message = format!("the name {host} can't be resolved: check spec.provider.vault.server");
                    return Err(Error::new(ErrorKind::Unavailable, message).into());
                }
            };
            Ok(Box::new(permitted(found, allow_link_local)?.into_iter()) as Addrs)
        })
    }
}

fn permitted(mut addresses: Vec<SocketAddr>, allow_link_local: bool) -> Result<Vec<SocketAddr>, Error> {
    addresses.retain(|address| allow_link_local || !is_link_local(address.ip()));
    match addresses.is_empty() {
        true => Err(link_local()),
        false => Ok(addresses),
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
            "the certificate of {host} is signed by an unknown authority: set or renew spec.provider.vault.caBundle \
             or caProvider"
        ),
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            format!("the certificate of {host} is for another name: check spec.provider.vault.server")
        }
        Tls::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!("the certificate of {host} has expired")
        }
        Tls::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            format!("the certificate of {host} is not valid yet")
        }
        Tls::InvalidCertificate(CertificateError::Revoked) => format!("the certificate of {host} is revoked"),
        Tls::InvalidCertificate(_) => format!("the certificate of {host} can't be accepted"),
        // The first bytes were no TLS record: most often the server speaks plain http there.
        Tls::InvalidMessage(_) => format!("{host} does not speak TLS: spec.provider.vault.server may need http://"),
        Tls::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied,
        ) => format!("{host} wants another client certificate: check spec.provider.vault.tls"),
        Tls::AlertReceived(_) | Tls::PeerIncompatible(_) => {
            format!(
                "{host} and we agree on no TLS version or cipher, or it wants a client certificate: see \
                 spec.provider.vault.tls"
            )
        }
        _ => format!("the TLS handshake with {host} failed"),
    };
    Error::new(ErrorKind::Tls, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        Answer { status: 404, retry_after: None, index: None, body: body.into() }
    }

    #[test]
    fn complaints_are_known_by_their_words() {
        for (body, expected) in [
            (r#"{"errors":[]}"#, Complaint::Nothing),
            (r#"{"errors":["no handler for route \"x\". route entry not found."]}"#, Complaint::NoRoute),
            (r#"{"errors":["namespace not found"]}"#, Complaint::NoNamespace),
            (r#"{"errors":["1 error occurred:\n\t* no handler for route 'x'\n\n"]}"#, Complaint::NoRoute),
            (r#"{"errors":["Upgrading from non-versioned to versioned data. Wait."]}"#, Complaint::Upgrading),
            (r#"{"errors":["permission denied"]}"#, Complaint::Other),
            (r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#, Complaint::Policies),
            (r#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#, Complaint::Other),
            (r#"{"errors":[{"no":"text"}]}"#, Complaint::Other),
            (r#"{"errors":null}"#, Complaint::NotAList),
            (r#"{"errors":"none"}"#, Complaint::NotAList),
            (r#"{"message":"no Route matched"}"#, Complaint::NotAList),
            ("404 page not found", Complaint::NotAList),
            ("", Complaint::NotAList),
            ("[]", Complaint::NotAList),
        ] {
            assert_eq!(answer(body).complaint(), expected, "{body}");
        }
    }

    #[test]
    fn link_local_servers_in_every_spelling() {
        for (server, expected) in [
            ("http://169.254.169.254", true),
            ("http://169.254.169.254.:80", true),
            ("http://0xa9fea9fe", true),
            ("http://2852039166:8200", true),
            ("http://0251.0376.0251.0376", true),
            ("http://[fe80::1]", true),
            ("http://[::ffff:169.254.169.254]:8200", true),
            ("http://[fd00:ec2::254]", true),
            ("http://127.0.0.1:8200", false),
            ("http://[::1]:8200", false),
            ("http://metadata.google.internal", false), // found out by the resolver
        ] {
            assert_eq!(leads_to_link_local(&Url::parse(server).unwrap()), expected, "{server}");
        }
    }

    #[test]
    fn link_local_answers_of_the_resolver_are_dropped() {
        let [good, bad] = ["10.0.0.1:0", "169.254.169.254:0"].map(|text| text.parse::<SocketAddr>().unwrap());
        assert_eq!(permitted(vec![bad, good], false).unwrap(), [good]);
        assert_eq!(permitted(vec![bad, good], true).unwrap(), [bad, good]);
        assert_eq!(permitted(vec![bad], false).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(permitted(vec![], true).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_lent_secret_is_the_same_bytes() {
        let secret = SecretBytes::from("value");
        assert_eq!(shared(&secret).as_ptr(), secret.expose().as_ptr());
    }
}
