//! HTTP to a Vault: one request, one answer. Nothing is retried and nobody but the configured server is spoken to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_provider_core::{BuildContext, Calls, Error, ErrorKind, Room, SecretBytes, json};
use keyferry_provider_http::path::encode;
use keyferry_provider_http::{Way, identity, retry_after, shared};
use keyferry_provider_identity::cloud::header_value;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url, redirect};

use crate::config::{Config, HeaderSource};
use crate::product::Product;

const MAX_REDIRECTS: usize = 3;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");
const INDEX: HeaderName = HeaderName::from_static("x-vault-index");

/// A connection pool to one server, with what every request to it carries.
pub struct Client {
    http: reqwest::Client,
    way: Way,
    /// Which server it is.
    pub product: Product,
    /// The server's API, up to and with `/v1/`.
    base: String,
    calls: Arc<dyn Calls>,
    room: Arc<dyn Room>,
}

/// One call. The token is apart, so that the same call can be made again with another.
#[derive(Clone)]
pub struct Call {
    /// The name for metrics.
    pub name: &'static str,
    /// The method.
    pub method: Method,
    /// The body, where there is one.
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
pub struct Response {
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
    /// The secret has another version than the one that was to be written over.
    Moved,
    /// The server knows no token of this accessor.
    NoAccessor,
    /// The engine wants to be told which version is to be written over.
    NoVersionTold,
    /// Something else.
    Other,
    /// There is no list of errors: this is not Vault speaking, or it speaks of something else.
    NotAList,
}

impl Client {
    /// A client for the server of `config`, with CA, client certificate and headers resolved.
    pub async fn new(config: &Config, ctx: &BuildContext) -> Result<Self, Error> {
        let way = Way::new(config.server.clone(), config.product.fields());
        let product = config.product;
        let builder = way
            .client_builder(&ctx.addresses)?
            .default_headers(headers(config, ctx).await?)
            .redirect(redirect::Policy::custom(move |attempt| follow(product, attempt)));
        let ca = config.ca.certificates(&*ctx.credentials).await?;
        let shown = match &config.identity {
            Some((cert, key)) => {
                let (cert, key) = tokio::try_join!(
                    ctx.credentials.secret(cert, Some("tls.crt")),
                    ctx.credentials.secret(key, Some("tls.key")),
                )
                .map_err(|error| error.context(way.fields.identity))?;
                Some(identity(&cert, &key, way.fields.identity)?)
            }
            None => None,
        };
        let http = way.client(builder, ca, shown)?;
        let base = format!("{}/v1/", way.server.as_str().trim_end_matches('/'));
        Ok(Self { http, way, product: config.product, base, calls: ctx.calls.clone(), room: ctx.room.clone() })
    }

    /// Makes one call. Every status is an answer; an error is about the way to the server.
    pub async fn send(&self, call: &Call, ticket: &Ticket) -> Result<Response, Error> {
        let start = Instant::now();
        let answer = self.exchange(call, ticket).await;
        // "Not there" is an answer like any other.
        let ok = answer.as_ref().is_ok_and(|answer| matches!(answer.status, 200..300 | 404));
        self.calls.record(self.product.metric(), call.name, ok, start.elapsed());
        answer
    }

    async fn exchange(&self, call: &Call, ticket: &Ticket) -> Result<Response, Error> {
        let mut url = format!("{}{}", self.base, encode(&call.path));
        if let Some(query) = &call.query {
            url.push_str(&format!("?{query}"));
        }
        let mut request = self.http.request(call.method.clone(), url);
        if let Some(body) = &call.body {
            request = request.body(shared(body));
        }
        for (name, value) in [(TOKEN, &ticket.token), (INDEX, &ticket.index), (NAMESPACE, &call.namespace)] {
            if let Some(value) = value {
                request = request.header(name, value.clone());
            }
        }
        let response = request.send().await.map_err(|error| self.way.error(&error))?;
        Ok(Response {
            status: response.status().as_u16(),
            retry_after: retry_after(&response),
            index: response.headers().get(INDEX).cloned(),
            body: self.way.read_body(response, &*self.room).await?,
        })
    }

    /// The server as `host:port`, for messages.
    pub fn host(&self) -> String {
        self.way.host()
    }

    /// The error for an answer whose status means the same wherever it occurs.
    pub fn status_error(&self, answer: &Response) -> Error {
        let (host, product, name) = (self.host(), self.product, self.product.name());
        let status = answer.status;
        let (kind, message) = match status {
            429 => (ErrorKind::Throttled, format!("{host} asks us to slow down (status 429)")),
            // A gateway in front of Vault may answer 503 too, but Vault itself only in these two cases.
            503 => (ErrorKind::Unavailable, format!("the {name} at {host} is sealed or in maintenance (status 503)")),
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
                format!("something in front of the {name} at {host} asks for a login (status 401)"),
            ),
            // What Go's TLS listener says to plain http.
            400 if self.way.server.scheme() == "http" && answer.complaint() == Complaint::NotAList => {
                (ErrorKind::Tls, format!("{host} does not take plain http: {product}.server may need https://"))
            }
            _ => (
                ErrorKind::Malformed,
                format!("{host} does not answer as a {name} does (status {status}): check {product}.server"),
            ),
        };
        Error::new(kind, message).with_retry_after(answer.retry_after)
    }
}

impl Response {
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
            Some(text) if text.contains("check-and-set parameter did not match") => Complaint::Moved,
            Some(text) if text.contains("invalid accessor") => Complaint::NoAccessor,
            Some(text) if text.contains("check-and-set parameter required") => Complaint::NoVersionTold,
            Some(_) => Complaint::Other,
        }
    }
}

async fn headers(config: &Config, ctx: &BuildContext) -> Result<HeaderMap, Error> {
    // An agent may be told to insist on this header, as a guard against requests that somebody was tricked into.
    let mut headers = HeaderMap::from_iter([(REQUEST, HeaderValue::from_static("true"))]);
    for (name, source) in &config.headers {
        let value = match source {
            HeaderSource::Plain(value) => value.clone(),
            HeaderSource::Ref(reference) => {
                let field = format!("{}.headers[{:?}]", config.product, name.as_str());
                let secret = ctx.credentials.secret(reference, None).await.map_err(|error| error.context(&field))?;
                header_value(secret.expose(), &field)?
            }
        };
        headers.insert(name.clone(), value);
    }
    Ok(headers)
}

/// At most three redirects, and none to anybody else: the token would go along.
fn follow(product: Product, attempt: redirect::Attempt<'_>) -> redirect::Action {
    let origin = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    let same = attempt.previous().first().is_some_and(|first| origin(first) == origin(attempt.url()));
    let refusal = match attempt.previous().len() {
        _ if !same => format!(
            "the server redirects to another address, which is not followed since the token would go along: set \
             {product}.server to the address of the active server"
        ),
        count if count > MAX_REDIRECTS => format!("the server redirects in circles: check {product}.server"),
        _ => return attempt.follow(),
    };
    attempt.error(Error::invalid(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Response {
        Response { status: 404, retry_after: None, index: None, body: body.into() }
    }

    #[test]
    fn complaints_are_known_by_their_words() {
        for (body, expected) in [
            (r#"{"errors":[]}"#, Complaint::Nothing),
            (r#"{"errors":["no handler for route \"x\". route entry not found."]}"#, Complaint::NoRoute),
            (r#"{"errors":["namespace not found"]}"#, Complaint::NoNamespace),
            (r#"{"errors":["1 error occurred:\n\t* no handler for route 'x'\n\n"]}"#, Complaint::NoRoute),
            (r#"{"errors":["Upgrading from non-versioned to versioned data. Wait."]}"#, Complaint::Upgrading),
            (r#"{"errors":["check-and-set parameter did not match the current version"]}"#, Complaint::Moved),
            (r#"{"errors":["check-and-set parameter required for this call"]}"#, Complaint::NoVersionTold),
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
}
