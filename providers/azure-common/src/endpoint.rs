//! HTTP to whoever gives tokens, and what a token looks like.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, Calls, Error, ErrorKind, Room, SecretBuf, SecretBytes, json};
use keyferry_provider_http::{Way, retry_after};
use keyferry_provider_session::{Grant, Life};
use reqwest::RequestBuilder;
use reqwest::header::HeaderValue;

/// What metrics call a login.
const CALL: &str = "GetToken";

/// A server that gives tokens.
pub struct Endpoint {
    http: reqwest::Client,
    /// The way there.
    pub way: Way,
    calls: Arc<dyn Calls>,
    room: Arc<dyn Room>,
    provider: &'static str,
}

/// What it answered.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// How long to wait.
    pub retry_after: Option<Duration>,
    /// The body, which may hold a token.
    pub body: SecretBytes,
}

impl Endpoint {
    /// Prepares all that a call needs. Connects nowhere yet.
    pub fn new(way: Way, addresses: &Addresses, ctx: &BuildContext, provider: &'static str) -> Result<Self, Error> {
        let http = way.client(way.client_builder(addresses)?, None, None)?;
        Ok(Self { http, way, calls: ctx.calls.clone(), room: ctx.room.clone(), provider })
    }

    /// Asks for a token. Every status is an answer; an error is about the way.
    pub async fn ask(&self, request: impl FnOnce(&reqwest::Client) -> RequestBuilder) -> Result<Answer, Error> {
        let start = Instant::now();
        let answer = self.exchange(request(&self.http)).await;
        let ok = answer.as_ref().is_ok_and(|answer| answer.status == 200);
        self.calls.record(self.provider, CALL, ok, start.elapsed());
        answer
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Answer, Error> {
        let response = request.send().await.map_err(|error| self.way.error(&error))?;
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after: retry_after(&response),
            body: self.way.read_body(response, &*self.room).await?,
        })
    }

    /// The token in an answer, or the error of one that has none.
    pub fn token(&self, answer: &Answer) -> Result<Grant<HeaderValue>, Error> {
        grant(&answer.body).ok_or_else(|| self.malformed(answer))
    }

    /// The errors of statuses that mean the same whoever gives tokens; `None` where more is to be known.
    pub fn status_error(&self, answer: &Answer) -> Option<Error> {
        let host = self.way.host();
        let (kind, message) = match answer.status {
            429 => (ErrorKind::Throttled, format!("{host} asks for fewer logins")),
            408 | 504 => (ErrorKind::Timeout, format!("no answer from {host} in time")),
            status @ 500..600 => (ErrorKind::Unavailable, format!("{host} has a problem (status {status})")),
            _ => return None,
        };
        Some(Error::new(kind, message).with_retry_after(answer.retry_after))
    }

    /// The error for an answer that nobody who gives tokens would give.
    pub fn malformed(&self, answer: &Answer) -> Error {
        let (host, server, status) = (self.way.host(), self.way.fields.server, answer.status);
        let message = format!("{host} does not answer as who gives tokens (status {status}): check {server}");
        Error::new(ErrorKind::Malformed, message)
    }
}

/// Reads `{"access_token": "...", "expires_in": 3599}`. The machine's own service writes numbers as texts, and in App
/// Service there is only when it ends, `expires_on`.
fn grant(body: &SecretBytes) -> Option<Grant<HeaderValue>> {
    let fields = json::object(body.expose())?;
    let number = |name: &str| -> Option<u64> { json::to_bytes(fields.get(name)?).expose_str()?.parse().ok() };
    let life = match (number("expires_in"), number("expires_on")) {
        (Some(seconds), _) => Life::of(Duration::from_secs(seconds)),
        (None, Some(end)) => Life::until(SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end))?),
        (None, None) => return None,
    };
    let token = json::to_bytes(fields.get("access_token")?);
    if token.is_empty() {
        return None;
    }
    let mut header = SecretBuf::with_capacity(token.len() + 8);
    header.extend(b"Bearer ");
    header.extend(token.expose());
    let mut value = HeaderValue::from_bytes(header.expose()).ok()?;
    value.set_sensitive(true);
    Some(Grant { value, life })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_each_form() {
        for body in [
            r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"canary"}"#,
            r#"{"access_token":"canary","expires_in":"3599","expires_on":"1506484173","token_type":"Bearer"}"#,
        ] {
            let grant = grant(&body.into()).unwrap();
            assert_eq!(grant.life, Life::of(Duration::from_secs(3599)));
            assert_eq!(grant.value.as_bytes(), b"Bearer canary");
            assert!(grant.value.is_sensitive());
        }
        let over = grant(&r#"{"access_token":"canary","expires_on":"1506484173"}"#.into()).unwrap();
        assert_eq!(over.life, Life::of(Duration::ZERO));
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"access_token":"a"}"#,
            r#"{"access_token":"","expires_in":1}"#,
            r#"{"access_token":"a\nb","expires_in":1}"#,
            r#"{"access_token":"a","expires_in":"soon"}"#,
            r#"{"access_token":"a","expires_on":99999999999999999999}"#,
        ] {
            assert!(grant(&body.into()).is_none(), "{body}");
        }
    }
}
