//! HTTP to KMS and STS, and what their error codes mean.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use jiff::Timestamp;
use keyferry_provider_core::{Blame, BuildContext, Calls, Error, ErrorKind, Room, SecretBytes};
use keyferry_provider_http::{Way, retry_after, shared};
use reqwest::header::{HeaderName, HeaderValue};

use crate::answers;
use crate::sign::{self, AccessKey};

/// A request.
pub struct Call {
    /// What is done: the name of the API's operation, which metrics have, too.
    pub action: &'static str,
    /// The version of the API.
    pub version: &'static str,
    /// What is asked for.
    pub query: Vec<(&'static str, String)>,
    /// A form, where what is asked for must be in no log of URLs.
    pub form: SecretBytes,
}

impl Call {
    /// A call of KMS.
    pub fn kms(action: &'static str, query: Vec<(&'static str, String)>) -> Self {
        Self { action, version: "2016-01-20", query, form: SecretBytes::default() }
    }
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
    pub fn new(way: &Way, ctx: &BuildContext) -> Result<Self, Error> {
        let http = way.client(way.client_builder(&ctx.addresses)?, None, None)?;
        Ok(Self { http, way: way.clone(), calls: ctx.calls.clone(), room: ctx.room.clone() })
    }

    /// Makes one call, signed where there is a key. Every status is an answer; an error is about the way to the server.
    pub async fn send(&self, call: &Call, key: Option<&AccessKey>) -> Result<Response, Error> {
        let start = Instant::now();
        let answer = self.exchange(call, key).await;
        let ok = answer.as_ref().is_ok_and(|answer| matches!(answer.status, 200..300 | 404));
        self.calls.record("Alibaba/KMS", call.action, ok, start.elapsed());
        answer
    }

    async fn exchange(&self, call: &Call, key: Option<&AccessKey>) -> Result<Response, Error> {
        let query = sign::query(&call.query);
        let mut url = self.way.server.clone();
        url.set_path("/");
        url.set_query((!query.is_empty()).then_some(&query));
        let mut request = self.http.post(url);
        for (name, value) in headers(call, key, &self.authority(), &query)? {
            request = request.header(name, value);
        }
        let response = request.body(shared(&call.form)).send().await.map_err(|error| self.way.error(&error))?;
        Ok(Response {
            status: response.status().as_u16(),
            retry_after: retry_after(&response),
            body: self.way.read_body(response, &*self.room).await?,
        })
    }

    /// The value of `Host`, as the HTTP client sends it: it is signed.
    fn authority(&self) -> String {
        let host = self.way.server.host_str().unwrap_or_default();
        match self.way.server.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// The error for an answer that is no success, to a request about `what`. Codes are the vendor's; their texts go
    /// nowhere.
    pub fn refusal(&self, answer: &Response, what: &dyn fmt::Display) -> Error {
        match answers::code(&answer.body) {
            Some(code) => self.of_code(answer.status, &code, what).with_retry_after(answer.retry_after),
            None => self.of_status(answer).with_retry_after(answer.retry_after),
        }
    }

    /// The error that a code stands for.
    pub fn of_code(&self, status: u16, code: &str, what: &dyn fmt::Display) -> Error {
        let host = self.way.host();
        let error = Error::new;
        let family = code.split('.').next().unwrap_or_default();
        match (code, family, status) {
            ("Forbidden.ResourceNotFound", ..) => error(ErrorKind::NotFound, format!("there is no {what}")),
            ("Rejected.ResourceInDeleteWindow", ..) => {
                error(ErrorKind::NotFound, format!("{what} is deleted, and can still be restored in KMS"))
            }
            ("Rejected.Throttling", ..) | (_, "Throttling", _) | (_, _, 429) => {
                error(ErrorKind::Throttled, format!("{host} asks for fewer requests"))
            }
            (
                _,
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "IncompleteSignature"
                | "InvalidSecurityToken"
                | "MissingSecurityToken"
                | "AuthenticationFail"
                | "IllegalTimestamp"
                | "InvalidTimeStamp",
                _,
            ) => error(ErrorKind::Unauthenticated, format!("{host} does not accept the store's access key")),
            (_, "InvalidAction" | "InvalidVersion", _) => {
                error(ErrorKind::Unsupported, format!("{host} can't do what was asked of {what}"))
            }
            (_, "Forbidden" | "NoPermission", _) | (_, _, 403) => {
                error(ErrorKind::Denied, format!("{host} does not let us use {what}: allow it to the RAM user or role"))
            }
            (_, _, 500..) => error(ErrorKind::Unavailable, format!("{host} has a problem (status {status})")),
            _ => error(ErrorKind::Invalid, format!("{host} does not take what was asked of {what}"))
                .with_blame(Blame::Request),
        }
    }

    fn of_status(&self, answer: &Response) -> Error {
        let host = self.way.host();
        match answer.status {
            429 => Error::new(ErrorKind::Throttled, format!("{host} asks for fewer requests")),
            408 | 504 => Error::new(ErrorKind::Timeout, format!("no answer from {host} in time")),
            status @ 500..600 => Error::new(ErrorKind::Unavailable, format!("{host} has a problem (status {status})")),
            _ => self.malformed(answer),
        }
    }

    /// The error for an answer that can't be read.
    pub fn malformed(&self, answer: &Response) -> Error {
        let (host, server, status) = (self.way.host(), self.way.fields.server, answer.status);
        Error::new(
            ErrorKind::Malformed,
            format!("{host} does not answer as Alibaba Cloud does (status {status}): check {server}"),
        )
    }
}

/// The headers of a call, its signature among them.
fn headers(
    call: &Call,
    key: Option<&AccessKey>,
    host: &str,
    query: &str,
) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
    let hash = sign::hash(call.form.expose());
    let (date, nonce) = (
        Timestamp::try_from(SystemTime::now()).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        nonce()?,
    );
    let mut headers: Vec<(&'static str, &[u8])> = vec![
        ("host", host.as_bytes()),
        ("x-acs-action", call.action.as_bytes()),
        ("x-acs-content-sha256", hash.as_bytes()),
        ("x-acs-date", date.as_bytes()),
        ("x-acs-signature-nonce", nonce.as_bytes()),
        ("x-acs-version", call.version.as_bytes()),
    ];
    if !call.form.is_empty() {
        headers.push(("content-type", b"application/x-www-form-urlencoded"));
    }
    if let Some(token) = key.and_then(|key| key.token.as_ref()) {
        headers.push(("x-acs-security-token", token.expose()));
    }
    let signature = key.map(|key| sign::authorization(key, query, &headers, &hash));
    let signature = signature.unwrap_or_default();
    if !signature.is_empty() {
        headers.push(("authorization", signature.expose()));
    }
    let header = |(name, value): (&'static str, &[u8])| {
        let mut value = HeaderValue::from_bytes(value)
            .map_err(|_| Error::invalid("the access key or its token holds what can't stand in a request"))?;
        value.set_sensitive(matches!(name, "authorization" | "x-acs-security-token"));
        Ok((HeaderName::from_static(name), value))
    };
    headers.into_iter().map(header).collect()
}

fn nonce() -> Result<String, Error> {
    let mut bytes = [0; 16];
    let random = SystemRandom::new().fill(&mut bytes);
    random
        .map_err(|_| Error::new(ErrorKind::Unavailable, "there are no random numbers").with_blame(Blame::Keyferry))?;
    Ok(sign::hex(&bytes))
}
