//! One server, and what it answers.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Blame, BuildContext, Calls, Error, ErrorKind, Room, SecretBytes, json};
use keyferry_provider_http::{Fields, Way, retry_after, shared};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Url};

/// A server, and the pool of connections that leads there.
#[derive(Clone)]
pub struct Host {
    http: reqwest::Client,
    way: Way,
    addresses: Addresses,
    provider: &'static str,
    calls: Arc<dyn Calls>,
    room: Arc<dyn Room>,
}

/// A request, but for the token that it is made with.
pub struct Call {
    /// What metrics call it: the name that External Secrets Operator uses, where it has one.
    pub name: &'static str,
    /// The method.
    pub method: Method,
    /// The path behind the server's URL, encoded.
    pub path: String,
    /// The query, not encoded.
    pub query: Vec<(&'static str, String)>,
    /// Headers beside the token.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body, which may hold values, and what it is.
    pub body: Option<(SecretBytes, &'static str)>,
}

impl Call {
    /// The form of a login by OAuth.
    pub const FORM: &'static str = "application/x-www-form-urlencoded";
    /// All else.
    pub const JSON: &'static str = "application/json";

    /// A question.
    pub fn get(name: &'static str, path: impl Into<String>) -> Self {
        Self { name, method: Method::GET, path: path.into(), query: Vec::new(), headers: Vec::new(), body: None }
    }

    /// A request with a JSON body.
    pub fn with_json(name: &'static str, method: Method, path: impl Into<String>, body: SecretBytes) -> Self {
        Self { method, body: Some((body, Self::JSON)), ..Self::get(name, path) }
    }

    /// The same with this in its query.
    pub fn ask(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }
}

/// An answer, whatever its status.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: SecretBytes,
    /// Whether the server is one that tells a machine about itself.
    pub is_metadata: bool,
    retry_after: Option<Duration>,
}

/// What Google's servers say is wrong, as one that we know: the text beside it goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// `NOT_FOUND`
    NotFound,
    /// `ALREADY_EXISTS`
    AlreadyExists,
    /// `FAILED_PRECONDITION`
    FailedPrecondition,
    /// `INVALID_ARGUMENT`
    InvalidArgument,
    /// `PERMISSION_DENIED`, since the API is not switched on in the project.
    ServiceDisabled,
    /// `PERMISSION_DENIED` for any other reason.
    PermissionDenied,
    /// Something else, in the form of Google's APIs or of OAuth.
    Other,
}

impl Host {
    /// The server at `server`, for `provider` in metrics. Connects nowhere yet.
    ///
    /// # Errors
    /// `Invalid` where it is at an address that the store must not lead to.
    pub fn new(
        server: Url,
        fields: Fields,
        addresses: &Addresses,
        ctx: &BuildContext,
        provider: &'static str,
    ) -> Result<Self, Error> {
        let way = Way::new(server, fields);
        let http = way.client(way.client_builder(addresses)?, None, None)?;
        let (calls, room) = (ctx.calls.clone(), ctx.room.clone());
        Ok(Self { http, way, addresses: addresses.clone(), provider, calls, room })
    }

    /// Another server, by the same pool of connections and under the same rules.
    ///
    /// # Errors
    /// `Invalid` where it is at an address that the store must not lead to.
    pub fn beside(&self, server: Url, fields: Fields) -> Result<Self, Error> {
        let way = Way::new(server, fields);
        // It is asked for the check of the address alone: names are the matter of the pool.
        let _builder = way.client_builder(&self.addresses)?;
        Ok(Self { way, ..self.clone() })
    }

    /// The server's URL.
    pub fn server(&self) -> &Url {
        &self.way.server
    }

    /// The server, for messages.
    pub fn name(&self) -> String {
        self.way.host()
    }

    /// Makes one call. Every status is an answer; an error is about the way to the server.
    ///
    /// # Errors
    /// Those of [`Way::error`].
    pub async fn send(&self, call: &Call, token: Option<&HeaderValue>) -> Result<Response, Error> {
        let start = Instant::now();
        let answer = self.exchange(call, token).await;
        // "Not there" is an answer like any other.
        let ok = answer.as_ref().is_ok_and(|answer| matches!(answer.status, 200..300 | 404));
        self.calls.record(self.provider, call.name, ok, start.elapsed());
        answer
    }

    async fn exchange(&self, call: &Call, token: Option<&HeaderValue>) -> Result<Response, Error> {
        let mut url = self.way.server.clone();
        if !call.path.is_empty() {
            url.set_path(&format!("{}/{}", url.path().trim_end_matches('/'), call.path));
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = self.http.request(call.method.clone(), url);
        for (name, value) in &call.headers {
            request = request.header(name, value.clone());
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if let Some((body, form)) = &call.body {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static(form)).body(shared(body));
        }
        let response = request.send().await.map_err(|error| self.way.error(&error))?;
        Ok(Response {
            status: response.status().as_u16(),
            retry_after: retry_after(&response),
            is_metadata: response.headers().get("metadata-flavor").is_some_and(|flavor| flavor == "Google"),
            body: self.way.read_body(response, &*self.room).await?,
        })
    }

    /// The error for an answer that is no success, to a request about `what`; `permission` is the one that it takes. Only
    /// Google's own word makes it "not found": deletionPolicy acts on that, and a gateway's 404 says nothing of a secret.
    pub fn refusal(&self, answer: &Response, what: &dyn fmt::Display, permission: &str) -> Error {
        let host = self.name();
        let new = |kind, message| Error::new(kind, message);
        let error = match (answer.status, answer.word()) {
            (404, Some(Word::NotFound)) => new(ErrorKind::NotFound, format!("there is no {what}")),
            (400, Some(Word::FailedPrecondition)) => {
                new(ErrorKind::Invalid, format!("{host} can't do this with {what} as it is")).with_blame(Blame::Store)
            }
            (400, Some(_)) => new(
                ErrorKind::Invalid,
                format!("{host} does not take the request for {what}: check its name, and what is to be written"),
            )
            .with_blame(Blame::Request),
            (401, _) => new(ErrorKind::Unauthenticated, format!("{host} does not accept the access token")),
            (403, Some(Word::ServiceDisabled)) => {
                new(ErrorKind::Denied, format!("the API at {host} is not switched on in the project: enable it there"))
            }
            (403, _) => new(
                ErrorKind::Denied,
                format!("{host} does not let us use {what}: grant a role with {permission}, or check the project"),
            ),
            // Somebody wrote in between: whoever tries again sees what is there now.
            (409, Some(_)) => new(ErrorKind::Unavailable, format!("{what} was changed by somebody else meanwhile")),
            _ => return self.problem(answer),
        };
        error.with_retry_after(answer.retry_after)
    }

    /// The error for an answer whose status means the same wherever it occurs.
    pub fn problem(&self, answer: &Response) -> Error {
        let host = self.name();
        let (kind, message) = match answer.status {
            429 => {
                (ErrorKind::Throttled, format!("{host} asks for fewer requests: the quota of the project is used up"))
            }
            408 | 504 => (ErrorKind::Timeout, format!("no answer from {host} in time")),
            status @ 500..600 => (ErrorKind::Unavailable, format!("{host} has a problem (status {status})")),
            _ => return self.malformed(answer),
        };
        Error::new(kind, message).with_retry_after(answer.retry_after)
    }

    /// The error for an answer that can't be read.
    pub fn malformed(&self, answer: &Response) -> Error {
        let (host, server, status) = (self.name(), self.way.fields.server, answer.status);
        Error::new(
            ErrorKind::Malformed,
            format!("{host} does not answer as Google does (status {status}): check {server}"),
        )
    }
}

impl Response {
    /// What the server says is wrong; `None` where it does not speak as Google does.
    pub fn word(&self) -> Option<Word> {
        let body = json::object(self.body.expose())?;
        let error = body.get("error")?;
        // OAuth says it in one word.
        let Some(error) = json::object(error.get().as_bytes()) else { return Some(Word::Other) };
        let status = json::to_bytes(error.get("status")?);
        Some(match status.expose_str()? {
            "NOT_FOUND" => Word::NotFound,
            "ALREADY_EXISTS" => Word::AlreadyExists,
            "FAILED_PRECONDITION" => Word::FailedPrecondition,
            "INVALID_ARGUMENT" => Word::InvalidArgument,
            "PERMISSION_DENIED" if self.has_reason("SERVICE_DISABLED") => Word::ServiceDisabled,
            "PERMISSION_DENIED" => Word::PermissionDenied,
            _ => Word::Other,
        })
    }

    fn has_reason(&self, reason: &str) -> bool {
        let details = || {
            let body = json::object(self.body.expose())?;
            let error = json::object(body.get("error")?.get().as_bytes())?;
            let details = json::array(error.get("details")?.get().as_bytes())?;
            let is_it = |detail: &&serde_json::value::RawValue| {
                json::object(detail.get().as_bytes())
                    .and_then(|detail| detail.get("reason").map(|found| json::to_bytes(found)))
                    .is_some_and(|found| found.expose() == reason.as_bytes())
            };
            details.iter().find(|detail| is_it(detail)).map(|_| ())
        };
        details().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Response {
        Response { status, body: body.into(), is_metadata: false, retry_after: None }
    }

    #[test]
    fn words_are_known_and_all_else_is_not() {
        let disabled = r#"{"error":{"status":"PERMISSION_DENIED","details":[{"reason":"OTHER"},{"@type":"x"},
            {"reason":"SERVICE_DISABLED"}]}}"#;
        for (body, expected) in [
            (r#"{"error":{"code":404,"status":"NOT_FOUND","message":"canary"}}"#, Some(Word::NotFound)),
            (r#"{"error":{"status":"ALREADY_EXISTS"}}"#, Some(Word::AlreadyExists)),
            (r#"{"error":{"status":"FAILED_PRECONDITION"}}"#, Some(Word::FailedPrecondition)),
            (r#"{"error":{"status":"INVALID_ARGUMENT"}}"#, Some(Word::InvalidArgument)),
            (r#"{"error":{"status":"PERMISSION_DENIED"}}"#, Some(Word::PermissionDenied)),
            (disabled, Some(Word::ServiceDisabled)),
            (r#"{"error":{"status":"ABORTED"}}"#, Some(Word::Other)),
            (r#"{"error":"invalid_grant","error_description":"canary"}"#, Some(Word::Other)),
            (r#"{"error":{"code":404}}"#, None),
            (r#"{"message":"not found"}"#, None),
            ("<html>404", None),
            ("", None),
        ] {
            assert_eq!(answer(404, body).word(), expected, "{body}");
        }
    }
}
