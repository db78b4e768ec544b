//! HTTP to the service, and what its statuses mean.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Blame, BuildContext, Calls, Error, ErrorKind, Room, SecretBytes};
use keyferry_provider_http::{Fields, Way, retry_after, shared};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Method, Url};

use crate::config::Config;

/// What messages call the fields that lead to the server.
pub const FIELDS: Fields = Fields {
    server: "spec.provider.webhook.url",
    ca: "spec.provider.webhook.caBundle or caProvider",
    identity: "spec.provider.webhook",
};

/// A request, rendered.
pub struct Call {
    /// The method.
    pub method: Method,
    /// The URL.
    pub url: SecretBytes,
    /// The headers.
    pub headers: Vec<(HeaderName, SecretBytes)>,
    /// The body.
    pub body: SecretBytes,
}

/// What the service answered.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: SecretBytes,
    host: String,
    retry_after: Option<Duration>,
}

/// A client for whatever server the URL leads to.
pub struct Client {
    addresses: Addresses,
    ca: Option<Vec<Certificate>>,
    timeout: Duration,
    /// The server that was called last, and the client for it: mostly there is one.
    last: Mutex<Option<(String, reqwest::Client)>>,
    calls: Arc<dyn Calls>,
    room: Arc<dyn Room>,
}

impl Client {
    /// Prepares all that a call needs. Connects nowhere yet.
    pub async fn new(config: &Config, ctx: &BuildContext) -> Result<Self, Error> {
        let ca = config.ca.certificates(&*ctx.credentials).await?;
        Ok(Self {
            addresses: ctx.addresses.clone(),
            ca,
            timeout: config.timeout,
            last: Mutex::default(),
            calls: ctx.calls.clone(),
            room: ctx.room.clone(),
        })
    }

    /// Where the URL may lead.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Makes one call. Every status is an answer; an error is about the way to the server.
    pub async fn send(&self, call: &Call) -> Result<Response, Error> {
        let start = Instant::now();
        let answer = self.exchange(call).await;
        let ok = answer.as_ref().is_ok_and(|answer| (200..300).contains(&answer.status));
        self.calls.record("Webhook", "HTTPRequest", ok, start.elapsed());
        answer
    }

    async fn exchange(&self, call: &Call) -> Result<Response, Error> {
        let way = Way { server: url(&call.url)?, fields: FIELDS };
        let http = self.client(&way)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &call.headers {
            let mut value = HeaderValue::from_bytes(value.expose()).map_err(|_| {
                Error::invalid(format!("spec.provider.webhook.headers: {name} renders what no header can hold"))
            })?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let mut request = http.request(call.method.clone(), way.server.clone()).headers(headers);
        if !call.body.is_empty() {
            request = request.body(shared(&call.body));
        }
        let response = request.send().await.map_err(|error| way.error(&error))?;
        Ok(Response {
            status: response.status().as_u16(),
            host: way.host(),
            retry_after: retry_after(&response),
            body: way.read_body(response, &*self.room).await?,
        })
    }

    /// The client for this server. One is kept, since making one reads certificates.
    fn client(&self, way: &Way) -> Result<reqwest::Client, Error> {
        let origin = way.server.origin().ascii_serialization();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = last.as_ref().filter(|(known, _)| *known == origin) {
            return Ok(client.clone());
        }
        let builder = way.client_builder(&self.addresses)?.timeout(self.timeout);
        let client = way.client(builder, self.ca.clone(), None)?;
        *last = Some((origin, client.clone()));
        Ok(client)
    }
}

/// A URL that was rendered, which may hold secrets.
pub fn url(text: &SecretBytes) -> Result<Url, Error> {
    let wrong = |problem: &str| Error::invalid(format!("{} {problem}", FIELDS.server));
    let url = text.expose_str().and_then(|text| Url::parse(text.trim()).ok());
    match url {
        Some(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        Some(_) => Err(wrong("must begin with https:// or http:// once it is rendered")),
        None => Err(wrong("does not render a URL")),
    }
}

impl Response {
    /// The error for an answer that is no success, to a request about `key`.
    pub fn refusal(&self, key: &str) -> Error {
        let host = &self.host;
        let error = match self.status {
            404 => Error::new(ErrorKind::NotFound, format!("{host} has no {key:?}")),
            304 => Error::invalid(format!(
                "{host} answers that nothing was modified, and nothing is kept here: take If-None-Match and \
                 If-Modified-Since out of spec.provider.webhook.headers"
            )),
            300..=399 => Error::invalid(format!(
                "{host} redirects (status {}), which is not followed since secrets would go along: correct {}",
                self.status, FIELDS.server
            )),
            401 | 407 => Error::new(
                ErrorKind::Unauthenticated,
                format!("{host} does not accept the login: check spec.provider.webhook.headers and secrets"),
            ),
            403 => Error::new(ErrorKind::Denied, format!("{host} does not let us use {key:?}")),
            429 => Error::new(ErrorKind::Throttled, format!("{host} asks for fewer requests")),
            408 | 504 => Error::new(ErrorKind::Timeout, format!("no answer from {host} in time")),
            status @ 500..600 => Error::new(ErrorKind::Unavailable, format!("{host} has a problem (status {status})")),
            status => Error::invalid(format!("{host} does not take the request for {key:?} (status {status})"))
                .with_blame(Blame::Request),
        };
        error.with_retry_after(self.retry_after)
    }
}
