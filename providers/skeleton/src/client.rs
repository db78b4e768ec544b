//! HTTP to the server, and what its statuses mean.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_provider_core::{Blame, BuildContext, Calls, Error, ErrorKind, Room, SecretBytes, json};
use keyferry_provider_http::{Way, retry_after, shared};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use crate::config::Config;

/// A request.
pub struct Call {
    /// What metrics call it: the name that External Secrets Operator uses.
    pub name: &'static str,
    /// The method.
    pub method: Method,
    /// The path below the server's URL.
    pub path: &'static str,
    /// The query, not encoded.
    pub query: Vec<(&'static str, String)>,
    /// The body, which may hold values.
    pub body: Option<SecretBytes>,
}

/// What the server answered.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: SecretBytes,
    retry_after: Option<Duration>,
}

/// The way to one server.
pub struct Client {
    http: reqwest::Client,
    way: Way,
    calls: Arc<dyn Calls>,
    room: Arc<dyn Room>,
}

impl Client {
    /// Prepares all that a call needs. Connects nowhere yet.
    pub fn new(config: &Config, ctx: &BuildContext) -> Result<Self, Error> {
        let way = config.way.clone();
        let http = way.client(way.client_builder(&ctx.addresses)?, None, None)?;
        Ok(Self { http, way, calls: ctx.calls.clone(), room: ctx.room.clone() })
    }

    /// Makes one call. Every status is an answer; an error is about the way to the server.
    pub async fn send(&self, call: &Call, token: Option<&HeaderValue>) -> Result<Response, Error> {
        let start = Instant::now();
        let answer = self.exchange(call, token).await;
        let ok = answer.as_ref().is_ok_and(|answer| (200..300).contains(&answer.status));
        self.calls.record("Cellar", call.name, ok, start.elapsed());
        answer
    }

    async fn exchange(&self, call: &Call, token: Option<&HeaderValue>) -> Result<Response, Error> {
        let mut url = self.way.server.clone();
        url.set_path(&format!("{}/{}", url.path().trim_end_matches('/'), call.path));
        url.query_pairs_mut().extend_pairs(&call.query);
        let mut request = self.http.request(call.method.clone(), url);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if let Some(body) = &call.body {
            request = request.body(shared(body));
        }
        let response = request.send().await.map_err(|error| self.way.error(&error))?;
        Ok(Response {
            status: response.status().as_u16(),
            retry_after: retry_after(&response),
            body: self.way.read_body(response, &*self.room).await?,
        })
    }

    /// The error for an answer that is no success, to a request about `what`. Only the server's own word makes it "not
    /// found": deletionPolicy acts on that, and a gateway's 404 says nothing of the secret.
    pub fn refusal(&self, answer: &Response, what: &dyn fmt::Display) -> Error {
        let host = self.way.host();
        let error = |kind, message| Error::new(kind, message);
        let error = match (answer.status, word(answer)) {
            (404, Some(Word::NoSecret)) => error(ErrorKind::NotFound, format!("there is no {what}")),
            (404, Some(Word::NoVersion)) => error(
                ErrorKind::NoVersion,
                format!("there is no such version of {what}: without a version the last is read"),
            ),
            (400, Some(_)) => error(ErrorKind::Invalid, format!("{host} takes {what} for nothing that could be there"))
                .with_blame(Blame::Request),
            (401, _) => error(ErrorKind::Unauthenticated, format!("{host} does not accept the store's key")),
            (403, Some(Word::Disabled)) => error(ErrorKind::Denied, format!("{what} is disabled: enable it in Cellar")),
            (403, _) => error(ErrorKind::Denied, format!("{host} does not let us use {what}: allow it to the key")),
            // Somebody wrote in between: whoever tries again sees what is there now.
            (409, _) => error(ErrorKind::Unavailable, format!("{what} was changed by somebody else meanwhile")),
            (429, _) => error(ErrorKind::Throttled, format!("{host} asks for fewer requests")),
            (408 | 504, _) => error(ErrorKind::Timeout, format!("no answer from {host} in time")),
            (status @ 500..600, _) => error(ErrorKind::Unavailable, format!("{host} has a problem (status {status})")),
            (status, _) => return self.malformed_with(status),
        };
        error.with_retry_after(answer.retry_after)
    }

    /// The error for an answer that can't be read.
    pub fn malformed(&self, answer: &Response) -> Error {
        self.malformed_with(answer.status)
    }

    fn malformed_with(&self, status: u16) -> Error {
        let (host, server) = (self.way.host(), self.way.fields.server);
        Error::new(
            ErrorKind::Malformed,
            format!("{host} does not answer as Cellar does (status {status}): check {server}"),
        )
    }
}

/// What the server says is wrong.
enum Word {
    NoSecret,
    NoVersion,
    Disabled,
    Other,
}

/// The server's own word, as one that we know: the text of an answer goes nowhere.
fn word(answer: &Response) -> Option<Word> {
    let text = json::to_bytes(json::object(answer.body.expose())?.get("error")?);
    Some(match text.expose_str()? {
        "no-secret" => Word::NoSecret,
        "no-version" => Word::NoVersion,
        "disabled" => Word::Disabled,
        _ => Word::Other,
    })
}
