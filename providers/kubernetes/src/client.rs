//! HTTP to the API server, and what its statuses mean.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_provider_core::{Blame, BuildContext, Calls, Error, ErrorKind, Room, SecretBytes};
use keyferry_provider_http::path::encode;
use keyferry_provider_http::{Way, certificates, identity, retry_after, shared};
use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};

use crate::answers;
use crate::config::{Access, Identity};

/// How many objects a page of a list has.
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
    method: Method,
    body: Option<SecretBytes>,
}

/// What the server answered.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: SecretBytes,
    retry_after: Option<Duration>,
}

impl Call {
    /// Reads one object.
    pub fn get(name: &'static str, path: String) -> Self {
        Self { name, path, query: Vec::new(), accept: PLAIN, method: Method::GET, body: None }
    }

    /// Reads a page of the names below a path.
    pub fn list(name: &'static str, path: String, selector: &str, next: Option<&str>) -> Self {
        let mut query = vec![("limit", PAGE.to_string())];
        if !selector.is_empty() {
            query.push(("labelSelector", selector.to_owned()));
        }
        query.extend(next.map(|token| ("continue", token.to_owned())));
        Self { name, path, query, accept: METADATA_ONLY, method: Method::GET, body: None }
    }

    /// Asks for a review.
    pub fn review(name: &'static str, path: &str, body: &serde_json::Value) -> Self {
        Self::write(name, Method::POST, path.to_owned(), SecretBytes::new(body.to_string().into_bytes()))
    }

    /// Sends an object.
    pub fn write(name: &'static str, method: Method, path: String, body: SecretBytes) -> Self {
        Self { name, path, query: Vec::new(), accept: PLAIN, method, body: Some(body) }
    }
}

/// The way to one API server.
pub struct Client {
    http: reqwest::Client,
    way: Way,
    calls: Arc<dyn Calls>,
    room: Arc<dyn Room>,
}

impl Client {
    /// Prepares all that a call needs. Connects nowhere yet.
    pub fn new(access: &Access, ctx: &BuildContext) -> Result<Self, Error> {
        let way = access.way.clone();
        let mut builder = way.client_builder(&ctx.addresses)?; // an API server sends nobody elsewhere
        if access.insecure {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        let ca = access.ca.as_deref().map(|pem| certificates(pem, way.fields.ca)).transpose()?;
        let shown = match &access.identity {
            Identity::Certificate { cert, key } => Some(identity(cert, key, way.fields.identity)?),
            Identity::Token(_) | Identity::ServiceAccount { .. } => None,
        };
        let http = way.client(builder, ca, shown)?;
        Ok(Self { http, way, calls: ctx.calls.clone(), room: ctx.room.clone() })
    }

    /// The server as `host:port`, for messages.
    pub fn host(&self) -> String {
        self.way.host()
    }

    /// Makes one call. Every status is an answer; an error is about the way to the server.
    pub async fn send(&self, call: &Call, token: Option<&HeaderValue>) -> Result<Response, Error> {
        let start = Instant::now();
        let answer = self.exchange(call, token).await;
        let ok = answer.as_ref().is_ok_and(|answer| (200..300).contains(&answer.status));
        self.calls.record("Kubernetes", call.name, ok, start.elapsed());
        answer
    }

    async fn exchange(&self, call: &Call, token: Option<&HeaderValue>) -> Result<Response, Error> {
        let mut url = self.way.server.clone();
        url.set_path(&format!("{}/{}", url.path().trim_end_matches('/'), encode(&call.path)));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = self.http.request(call.method.clone(), url).header(ACCEPT, call.accept);
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, PLAIN).body(shared(body));
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let response = request.send().await.map_err(|error| self.way.error(&error))?;
        Ok(Response {
            status: response.status().as_u16(),
            retry_after: retry_after(&response),
            body: self.way.read_body(response, &*self.room).await?,
        })
    }

    /// The error for an answer to a request for the Secret `name` that is no success; `what` is what messages call it.
    pub fn refusal_of_secret(&self, answer: &Response, name: &str, what: &str) -> Error {
        // Only an API server's own word about this Secret counts: its 404 for a path that it does not know, and a
        // gateway's for anything, say nothing of it.
        if answer.status == 404 && answers::is_missing(&answer.body, "secrets", name) {
            Error::new(ErrorKind::NotFound, format!("there is no {what}"))
        } else {
            self.refusal(answer, what, "get secrets")
        }
    }

    /// The error for an answer that is no success, to a request about `what` that needs leave to do `verb`.
    pub fn refusal(&self, answer: &Response, what: &str, verb: &str) -> Error {
        let host = self.way.host();
        let (kind, message) = match answer.status {
            // A list in pages is of one moment, which the server remembers for some minutes.
            410 => (ErrorKind::Unavailable, format!("the list of {what} took so long that it is out of date")),
            401 => (
                ErrorKind::Unauthenticated,
                format!(
                    "the API server at {host} does not accept the store's credentials: they are wrong, or have expired"
                ),
            ),
            403 => (ErrorKind::Denied, format!("the API server at {host} does not let us {verb}: allow it on {what}")),
            // The next try looks again.
            409 => (ErrorKind::Unavailable, format!("somebody else changed the {what} at the same time")),
            422 => (
                ErrorKind::Invalid,
                format!("the API server at {host} does not take the {what} as it would be: is it immutable?"),
            ),
            429 => (ErrorKind::Throttled, format!("the API server at {host} asks for fewer requests")),
            408 | 504 => (ErrorKind::Timeout, format!("no answer from {host} in time (status {})", answer.status)),
            500..600 => {
                (ErrorKind::Unavailable, format!("the API server at {host} has a problem (status {})", answer.status))
            }
            status => (
                ErrorKind::Malformed,
                format!(
                    "{host} does not answer as an API server does (status {status}): check {}",
                    self.way.fields.server
                ),
            ),
        };
        let error = Error::new(kind, message).with_retry_after(answer.retry_after);
        if answer.status == 422 { error.with_blame(Blame::Request) } else { error }
    }

    /// The error for an answer that can't be read.
    pub fn malformed(&self) -> Error {
        let Way { fields, .. } = &self.way;
        let message = format!("{} does not answer as an API server does: check {}", self.way.host(), fields.server);
        Error::new(ErrorKind::Malformed, message)
    }
}
