//! HTTP to bitwarden-sdk-server, and what its statuses mean.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_provider_core::{Blame, BuildContext, Calls, Error, ErrorKind, Room, SecretBytes};
use keyferry_provider_http::{Way, retry_after, shared};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::config::{Config, TOKEN};

/// A request.
pub struct Call {
    /// What metrics call it.
    pub name: &'static str,
    /// The method.
    pub method: Method,
    /// The path below the server's URL.
    pub path: &'static str,
    /// The body, which may hold values; a GET has one too.
    pub body: SecretBytes,
}

/// What the server answered.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: SecretBytes,
    retry_after: Option<Duration>,
}

/// The way to one server, with the token of a machine account.
pub struct Client {
    http: reqwest::Client,
    way: Way,
    headers: HeaderMap,
    calls: Arc<dyn Calls>,
    room: Arc<dyn Room>,
}

impl Client {
    /// Prepares all that a call needs. Connects nowhere yet.
    pub async fn new(config: &Config, ctx: &BuildContext) -> Result<Self, Error> {
        let way = config.way.clone();
        let ca = config.ca.certificates(&*ctx.credentials).await?;
        let http = way.client(way.client_builder(&ctx.addresses)?, ca, None)?;
        let token = ctx.credentials.secret(&config.token, None).await.map_err(|error| error.context(TOKEN))?;
        let mut headers = HeaderMap::new();
        headers.insert("warden-access-token", header(&token)?);
        for (name, value) in ["warden-api-url", "warden-identity-url"].into_iter().zip(&config.addresses) {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self { http, way, headers, calls: ctx.calls.clone(), room: ctx.room.clone() })
    }

    /// Makes one call that is to be a success; `what` is what it is about.
    pub async fn success(&self, call: &Call, what: &str) -> Result<SecretBytes, Error> {
        let start = Instant::now();
        let answer = self.exchange(call).await;
        self.calls.record(
            "Bitwarden",
            call.name,
            answer.as_ref().is_ok_and(|answer| answer.status == 200),
            start.elapsed(),
        );
        let answer = answer?;
        if answer.status == 200 { Ok(answer.body) } else { Err(self.refusal(&answer, what)) }
    }

    async fn exchange(&self, call: &Call) -> Result<Response, Error> {
        let mut url = self.way.server.clone();
        url.set_path(&format!("{}/rest/api/1/{}", url.path().trim_end_matches('/'), call.path));
        let request =
            self.http.request(call.method.clone(), url).headers(self.headers.clone()).body(shared(&call.body));
        let response = request.send().await.map_err(|error| self.way.error(&error))?;
        Ok(Response {
            status: response.status().as_u16(),
            retry_after: retry_after(&response),
            body: self.way.read_body(response, &*self.room).await?,
        })
    }

    /// The error for an answer that is no success, to a request about `what`. What Bitwarden itself answered counts where
    /// the server tells it: only that makes a secret "not found".
    fn refusal(&self, answer: &Response, what: &str) -> Error {
        let host = self.way.host();
        let error = match (answer.status, inner(&answer.body)) {
            (_, Inner::Login) | (401, Inner::Unknown) => Error::new(
                ErrorKind::Unauthenticated,
                format!("Bitwarden does not accept the token: renew what {TOKEN} names"),
            ),
            (_, Inner::Status(404)) => Error::new(ErrorKind::NotFound, format!("there is no {what}")),
            (_, Inner::Status(401 | 403)) => Error::new(
                ErrorKind::Denied,
                format!("Bitwarden does not let us use {what}: give the machine account access to the project"),
            ),
            (_, Inner::Status(429)) | (429, _) => {
                Error::new(ErrorKind::Throttled, "Bitwarden asks for fewer requests".to_owned())
            }
            (_, Inner::Status(408 | 504)) | (408 | 504, _) => {
                Error::new(ErrorKind::Timeout, format!("no answer from Bitwarden through {host} in time"))
            }
            (_, Inner::Status(status @ 500..600)) => {
                Error::new(ErrorKind::Unavailable, format!("Bitwarden has a problem (status {status})"))
            }
            (_, Inner::Status(status)) => {
                Error::invalid(format!("Bitwarden does not take the request for {what} (status {status})"))
                    .with_blame(Blame::Request)
            }
            (status @ (400 | 500..=599), Inner::Unknown) => Error::new(
                ErrorKind::Unavailable,
                format!("{host} or Bitwarden behind it has a problem (status {status}): see the logs of {host}"),
            ),
            (_, Inner::Unknown) => return self.malformed(answer.status),
        };
        error.with_retry_after(answer.retry_after)
    }

    /// The error for an answer that can't be read.
    pub fn malformed(&self, status: u16) -> Error {
        let (host, server) = (self.way.host(), self.way.fields.server);
        let message = format!("{host} does not answer as bitwarden-sdk-server does (status {status}): check {server}");
        Error::new(ErrorKind::Malformed, message)
    }
}

/// What went wrong at Bitwarden.
#[derive(Debug, PartialEq, Eq)]
enum Inner {
    /// The login.
    Login,
    /// A request was answered with this status.
    Status(u16),
    /// The server does not say.
    Unknown,
}

/// What the vendor's library said, as far as it is known: the text goes nowhere.
fn inner(body: &SecretBytes) -> Inner {
    let text = body.expose_str().unwrap_or_default();
    const ANSWERED: &str = "Received error message from server: [";
    let login = ["failed to login", "invalid_client", "invalid_grant", "Access token is not in a valid format"];
    if login.iter().any(|words| text.contains(words)) {
        return Inner::Login;
    }
    let status = text.find(ANSWERED).and_then(|at| text.get(at + ANSWERED.len()..at + ANSWERED.len() + 3));
    status.and_then(|status| status.parse().ok()).map_or(Inner::Unknown, Inner::Status)
}

/// A token as a header.
fn header(token: &SecretBytes) -> Result<HeaderValue, Error> {
    let wrong = |problem: &str| Error::invalid(format!("{TOKEN}: the token {problem}")).with_blame(Blame::Credentials);
    // Files that tokens were read from often end with a line.
    let token = token.expose_str().map(str::trim).ok_or_else(|| wrong("is not text"))?;
    if token.is_empty() {
        return Err(wrong("is empty"));
    }
    let mut value = HeaderValue::from_str(token).map_err(|_| wrong("holds what no token does"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bitwarden_answered_is_known_by_its_status_alone() {
        for (text, expected) in [
            ("API error: Received error message from server: [404 Not Found] {\"message\":\"x\"}", Inner::Status(404)),
            ("Received error message from server: [429 Too Many", Inner::Status(429)),
            ("Received error message from server: [40", Inner::Unknown),
            ("Received error message from server: [400 Bad Request] {\"error\":\"invalid_client\"}", Inner::Login),
            ("failed to login: canary", Inner::Login),
            ("<html>404", Inner::Unknown),
        ] {
            assert_eq!(inner(&text.into()), expected, "{text}");
        }
    }
}
