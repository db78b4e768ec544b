//! HTTP to the server, and what its statuses mean.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Blame, BuildContext, Calls, Error, ErrorKind, Room, SecretBytes};
use keyferry_provider_http::path::{clean, segment};
use keyferry_provider_http::{Way, retry_after, shared};
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, Identity, Method};

use crate::answers::{self, Word};
use crate::config::Config;

/// A request.
pub struct Call {
    /// What metrics call it.
    pub name: &'static str,
    /// The method.
    pub method: Method,
    /// The path below the server's URL, encoded.
    pub path: String,
    /// The query, not encoded.
    pub query: Vec<(&'static str, String)>,
    /// The body and its type. It may hold values.
    pub body: Option<(SecretBytes, &'static str)>,
}

impl Call {
    /// A question.
    pub fn get(name: &'static str, path: String) -> Self {
        Self { name, method: Method::GET, path, query: Vec::new(), body: None }
    }

    /// A command.
    pub fn post(name: &'static str, path: String, body: SecretBytes, content_type: &'static str) -> Self {
        Self { name, method: Method::POST, path, query: Vec::new(), body: Some((body, content_type)) }
    }
}

/// What the server answered.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: SecretBytes,
    /// Whether the values in it are base64, as they were asked for.
    pub is_base64: bool,
    retry_after: Option<Duration>,
}

/// The way to one server.
pub struct Client {
    http: reqwest::Client,
    way: Way,
    addresses: Addresses,
    ca: Option<Vec<Certificate>>,
    /// The account.
    pub account: String,
    calls: Arc<dyn Calls>,
    room: Arc<dyn Room>,
}

impl Client {
    /// Prepares all that a call needs. Connects nowhere yet.
    pub async fn new(config: &Config, ctx: &BuildContext) -> Result<Self, Error> {
        let way = config.way.clone();
        let ca = config.ca.certificates(&*ctx.credentials).await?;
        Ok(Self {
            http: way.client(way.client_builder(&ctx.addresses)?, ca.clone(), None)?,
            way,
            addresses: ctx.addresses.clone(),
            ca,
            account: config.account.clone(),
            calls: ctx.calls.clone(),
            room: ctx.room.clone(),
        })
    }

    /// Makes one call. Every status is an answer; an error is about the way to the server.
    pub async fn send(&self, call: &Call, token: Option<&HeaderValue>) -> Result<Response, Error> {
        self.counted(&self.http, call, token).await
    }

    /// Makes one call without a token, and shows the server this certificate: on a connection of its own, since others
    /// are ours without it.
    pub async fn send_as(&self, call: &Call, identity: Identity) -> Result<Response, Error> {
        let builder = self.way.client_builder(&self.addresses)?;
        let http = self.way.client(builder, self.ca.clone(), Some(identity))?;
        self.counted(&http, call, None).await
    }

    async fn counted(
        &self,
        http: &reqwest::Client,
        call: &Call,
        token: Option<&HeaderValue>,
    ) -> Result<Response, Error> {
        let start = Instant::now();
        let answer = self.exchange(http, call, token).await;
        let ok = answer.as_ref().is_ok_and(|answer| matches!(answer.status, 200..300 | 404));
        self.calls.record("CyberArk/Conjur", call.name, ok, start.elapsed());
        answer
    }

    async fn exchange(
        &self,
        http: &reqwest::Client,
        call: &Call,
        token: Option<&HeaderValue>,
    ) -> Result<Response, Error> {
        let mut url = self.way.server.clone();
        url.set_path(&format!("{}/{}", url.path().trim_end_matches('/'), call.path));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = http.request(call.method.clone(), url);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if call.query.iter().any(|(name, _)| *name == BATCH) {
            // Else one value of a batch that is not text makes all of it fail.
            request = request.header(ACCEPT_ENCODING, "base64");
        }
        if let Some((body, content_type)) = &call.body {
            request = request.header(CONTENT_TYPE, *content_type).body(shared(body));
        }
        let response = request.send().await.map_err(|error| self.way.error(&error))?;
        Ok(Response {
            status: response.status().as_u16(),
            is_base64: response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "base64"),
            retry_after: retry_after(&response),
            body: self.way.read_body(response, &*self.room).await?,
        })
    }

    /// The error for an answer that is no success, to a request about `what`. Only the server's own word makes it "not
    /// found", which a gateway's 404 is not. What may not be seen is not found either, so that no fetch ends with that.
    pub fn refusal(&self, answer: &Response, what: &dyn fmt::Display) -> Error {
        let host = self.way.host();
        let error = Error::new;
        let refusal = match (answer.status, answers::word(&answer.body)) {
            (404, Some(Word::NotFound)) => {
                error(ErrorKind::NotFound, format!("there is no {what}, or the login may not see it"))
            }
            (401, _) => error(ErrorKind::Unauthenticated, format!("{host} does not accept the store's login")),
            (403, _) => error(ErrorKind::Denied, format!("{host} does not let the login use {what}: permit it there")),
            (422, Some(_)) => error(ErrorKind::Invalid, format!("{host} does not take what was asked of {what}"))
                .with_blame(Blame::Request),
            // Another policy is being loaded, or somebody wrote in between.
            (409, _) => error(ErrorKind::Unavailable, format!("{host} is busy with another change of {what}")),
            (429, _) => error(ErrorKind::Throttled, format!("{host} asks for fewer requests")),
            (408 | 504, _) => error(ErrorKind::Timeout, format!("no answer from {host} in time")),
            (status @ 500..600, _) => error(ErrorKind::Unavailable, format!("{host} has a problem (status {status})")),
            _ => return self.malformed(answer),
        };
        refusal.with_retry_after(answer.retry_after)
    }

    /// The error for an answer that can't be read.
    pub fn malformed(&self, answer: &Response) -> Error {
        let (host, server, status) = (self.way.host(), self.way.fields.server, answer.status);
        Error::new(
            ErrorKind::Malformed,
            format!("{host} does not answer as Conjur does (status {status}): check {server}"),
        )
    }
}

/// The parameter that names the variables of a batch.
pub const BATCH: &str = "variable_ids";

/// The same of what users write: what a server on the way could take for a path that leads elsewhere is refused.
pub fn named(text: &str) -> Result<String, Error> {
    if text.is_empty() {
        return Err(Error::invalid("the name of the variable is empty").with_blame(Blame::Request));
    }
    clean(text)?;
    // A segment that is nothing but a dot would be tidied away.
    if text == "." {
        return Err(Error::invalid("\".\" is no name of a variable").with_blame(Blame::Request));
    }
    Ok(segment(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_or_refused() {
        assert_eq!(named("apps/db pass").unwrap(), "apps%2Fdb%20pass");
        assert_eq!(named("a%2Fb..c").unwrap(), "a%252Fb..c");
        for name in ["", ".", "..", "a/../b", "a\nb"] {
            let error = named(name).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request), "{name:?}");
        }
    }
}
