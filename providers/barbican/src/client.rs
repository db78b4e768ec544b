//! HTTP to Keystone and Barbican, and what statuses mean.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, Calls, Error, ErrorKind, Room, SecretBytes};
use keyferry_provider_http::{Way, retry_after, shared};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::answers;

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// A request.
pub struct Call {
    /// What metrics call it.
    pub name: &'static str,
    /// The path below the server's URL, encoded.
    pub path: String,
    /// The query, not encoded.
    pub query: Vec<(&'static str, String)>,
    /// What type of answer is taken.
    pub accept: &'static str,
    /// The body, JSON. It may hold a password.
    pub body: Option<SecretBytes>,
}

impl Call {
    /// A question that is answered by JSON.
    pub fn get(name: &'static str, path: String) -> Self {
        Self { name, path, query: Vec::new(), accept: "application/json", body: None }
    }
}

/// What the server answered.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: SecretBytes,
    /// The headers.
    pub headers: HeaderMap,
    retry_after: Option<Duration>,
}

impl Response {
    /// Whether it says that its body is of this type.
    pub fn is_of(&self, media_type: &str) -> bool {
        let told = self.headers.get(CONTENT_TYPE).and_then(|told| told.to_str().ok()).unwrap_or_default();
        told.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type)
    }
}

/// What every client of a store is made with.
#[derive(Clone)]
pub struct Means {
    addresses: Addresses,
    calls: Arc<dyn Calls>,
    room: Arc<dyn Room>,
}

impl Means {
    /// From what the store is built with.
    pub fn new(ctx: &BuildContext) -> Self {
        Self { addresses: ctx.addresses.clone(), calls: ctx.calls.clone(), room: ctx.room.clone() }
    }
}

/// The way to one server.
pub struct Client {
    http: reqwest::Client,
    way: Way,
    means: Means,
}

impl Client {
    /// Prepares all that a call needs. Connects nowhere yet.
    pub fn new(way: Way, means: Means) -> Result<Self, Error> {
        let http = way.client(way.client_builder(&means.addresses)?, None, None)?;
        Ok(Self { http, way, means })
    }

    /// Makes one call. Every status is an answer; an error is about the way to the server.
    pub async fn send(&self, call: &Call, token: Option<&HeaderValue>) -> Result<Response, Error> {
        let start = Instant::now();
        let answer = self.exchange(call, token).await;
        let ok = answer.as_ref().is_ok_and(|answer| matches!(answer.status, 200..300 | 404 | 406));
        self.means.calls.record("OpenStack/Barbican", call.name, ok, start.elapsed());
        answer
    }

    async fn exchange(&self, call: &Call, token: Option<&HeaderValue>) -> Result<Response, Error> {
        let mut url = self.way.server.clone();
        url.set_path(&format!("{}/{}", url.path().trim_end_matches('/'), call.path));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let method = if call.body.is_some() { Method::POST } else { Method::GET };
        let mut request = self.http.request(method, url).header(ACCEPT, call.accept);
        if let Some(token) = token {
            request = request.header(TOKEN, token.clone());
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(shared(body));
        }
        let response = request.send().await.map_err(|error| self.way.error(&error))?;
        Ok(Response {
            status: response.status().as_u16(),
            retry_after: retry_after(&response),
            headers: response.headers().clone(),
            body: self.way.read_body(response, &*self.means.room).await?,
        })
    }

    /// Ends a token by itself. What comes of it is for metrics.
    pub async fn end(&self, token: &HeaderValue) {
        let start = Instant::now();
        let mut url = self.way.server.clone();
        url.set_path(&format!("{}/auth/tokens", url.path().trim_end_matches('/')));
        let request = self.http.delete(url).header(TOKEN, token.clone()).header("x-subject-token", token.clone());
        let ok = request.send().await.is_ok_and(|answer| answer.status().is_success());
        self.means.calls.record("OpenStack/Barbican", "RevokeToken", ok, start.elapsed());
    }

    /// The error for an answer that is no success, to a request about `what`. Only the server's own word makes it "not
    /// found": deletionPolicy acts on that, and a gateway's 404 says nothing of the secret.
    pub fn refusal(&self, answer: &Response, what: &dyn fmt::Display) -> Error {
        let host = self.way.host();
        let error = Error::new;
        let refusal = match answer.status {
            404 if answers::says_not_found(&answer.body) => error(ErrorKind::NotFound, format!("there is no {what}")),
            401 => error(ErrorKind::Unauthenticated, format!("{host} does not accept the store's login")),
            403 => error(
                ErrorKind::Denied,
                format!("{host} does not let the login use {what}: give it a role in the project, or an ACL"),
            ),
            // Rate limits of OpenStack answer 413, of gateways 429.
            413 | 429 => error(ErrorKind::Throttled, format!("{host} asks for fewer requests")),
            408 | 504 => error(ErrorKind::Timeout, format!("no answer from {host} in time")),
            status @ 500..600 => error(ErrorKind::Unavailable, format!("{host} has a problem (status {status})")),
            _ => return self.malformed(answer),
        };
        refusal.with_retry_after(answer.retry_after)
    }

    /// The error for an answer that can't be read.
    pub fn malformed(&self, answer: &Response) -> Error {
        let (host, server, status) = (self.way.host(), self.way.fields.server, answer.status);
        Error::new(
            ErrorKind::Malformed,
            format!("{host} does not answer as OpenStack does (status {status}): check {server}"),
        )
    }
}
