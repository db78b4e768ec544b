//! HTTP to the Connect server, and what its statuses mean.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_provider_core::{Blame, BuildContext, Calls, Error, ErrorKind, Room, SecretBuf, SecretBytes, json};
use keyferry_provider_http::path::encode;
use keyferry_provider_http::{Way, retry_after, shared};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use tokio::time::sleep;

use crate::config::{Config, TOKEN};

/// After which pauses a refusal is doubted: Connect servers refuse now and then what they let pass a moment later.
const REFUSED_AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(250)];

/// A request.
pub struct Call {
    /// What metrics call it.
    pub name: &'static str,
    /// The method.
    pub method: Method,
    /// The segments of the path below `v1`, not encoded.
    pub path: Vec<String>,
    /// The filter of a list, not encoded.
    pub filter: Option<String>,
    /// The body, which may hold values.
    pub body: Option<SecretBytes>,
}

impl Call {
    /// Reads what is there.
    pub fn get<'a>(name: &'static str, path: impl IntoIterator<Item = &'a str>) -> Self {
        Self { name, method: Method::GET, path: owned(path), filter: None, body: None }
    }

    /// Changes what is there.
    pub fn change<'a>(
        name: &'static str,
        method: Method,
        path: impl IntoIterator<Item = &'a str>,
        body: Option<SecretBytes>,
    ) -> Self {
        Self { name, method, path: owned(path), filter: None, body }
    }
}

fn owned<'a>(path: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    path.into_iter().map(str::to_owned).collect()
}

/// What the server answered.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: SecretBytes,
    retry_after: Option<Duration>,
}

impl Response {
    /// Whether the server itself says that what was named is not there: a gateway's 404 says nothing of an item.
    pub fn says_not_there(&self) -> bool {
        let own_word = || {
            let fields = json::object(self.body.expose())?;
            let is_404 = fields.get("status")?.get() == "404";
            Some(is_404 && fields.get("message")?.get().starts_with('"'))
        };
        self.status == 404 && own_word().unwrap_or(false)
    }
}

/// The way to one Connect server, with its token.
pub struct Client {
    http: reqwest::Client,
    way: Way,
    token: HeaderValue,
    calls: Arc<dyn Calls>,
    room: Arc<dyn Room>,
}

impl Client {
    /// Prepares all that a call needs. Connects nowhere yet.
    pub async fn new(config: &Config, ctx: &BuildContext) -> Result<Self, Error> {
        let way = config.way.clone();
        let http = way.client(way.client_builder(&ctx.addresses)?, None, None)?;
        let token = ctx.credentials.secret(&config.token, None).await.map_err(|error| error.context(TOKEN))?;
        let token = bearer(&token)?;
        Ok(Self { http, way, token, calls: ctx.calls.clone(), room: ctx.room.clone() })
    }

    /// Makes one call. Every status is an answer; an error is about the way to the server.
    pub async fn send(&self, call: &Call) -> Result<Response, Error> {
        let mut answer = self.attempt(call).await?;
        for pause in REFUSED_AGAIN {
            if answer.status != 403 {
                break;
            }
            sleep(pause).await;
            answer = self.attempt(call).await?;
        }
        Ok(answer)
    }

    /// Makes one call that is to be a success; `what` is what it is about.
    pub async fn success(&self, call: &Call, what: &(dyn fmt::Display + Sync)) -> Result<Response, Error> {
        let answer = self.send(call).await?;
        if (200..300).contains(&answer.status) { Ok(answer) } else { Err(self.refusal(&answer, what)) }
    }

    async fn attempt(&self, call: &Call) -> Result<Response, Error> {
        let start = Instant::now();
        let answer = self.exchange(call).await;
        let ok = answer.as_ref().is_ok_and(|answer| (200..300).contains(&answer.status));
        self.calls.record("OnePassword", call.name, ok, start.elapsed());
        answer
    }

    async fn exchange(&self, call: &Call) -> Result<Response, Error> {
        let mut url = self.way.server.clone();
        let segments: Vec<String> = call.path.iter().map(|segment| encode(segment).replace('/', "%2F")).collect();
        url.set_path(&format!("{}/v1/{}", url.path().trim_end_matches('/'), segments.join("/")));
        if let Some(filter) = &call.filter {
            url.query_pairs_mut().append_pair("filter", filter);
        }
        let mut request = self.http.request(call.method.clone(), url).header(AUTHORIZATION, self.token.clone());
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(shared(body));
        }
        let response = request.send().await.map_err(|error| self.way.error(&error))?;
        Ok(Response {
            status: response.status().as_u16(),
            retry_after: retry_after(&response),
            body: self.way.read_body(response, &*self.room).await?,
        })
    }

    /// The error for an answer that is no success, to a request about `what`. It is never "not found": who looks for an
    /// item asks for more than one answer.
    pub fn refusal(&self, answer: &Response, what: &dyn fmt::Display) -> Error {
        let host = self.way.host();
        let error = match answer.status {
            400 => Error::invalid(format!("{host} takes {what} for nothing that could be there, or be written"))
                .with_blame(Blame::Request),
            401 => Error::new(
                ErrorKind::Unauthenticated,
                format!("{host} does not accept the token: renew what {TOKEN} names"),
            ),
            403 => Error::new(
                ErrorKind::Denied,
                format!(
                    "{host} does not let us use {what}: give the token access to the vault, to write too where it is pushed to"
                ),
            ),
            404 if answer.says_not_there() => {
                Error::new(ErrorKind::Unavailable, format!("{what} went away while it was used"))
            }
            409 | 412 => Error::new(ErrorKind::Unavailable, format!("{what} was changed by somebody else meanwhile")),
            413 => Error::invalid(format!("{what} is too large for {host}")).with_blame(Blame::Request),
            429 => Error::new(ErrorKind::Throttled, format!("{host} asks for fewer requests")),
            408 | 504 => Error::new(ErrorKind::Timeout, format!("no answer from {host} in time")),
            status @ 500..600 => Error::new(ErrorKind::Unavailable, format!("{host} has a problem (status {status})")),
            _ => return self.malformed(answer),
        };
        error.with_retry_after(answer.retry_after)
    }

    /// The error for an answer that can't be read.
    pub fn malformed(&self, answer: &Response) -> Error {
        let (host, server, status) = (self.way.host(), self.way.fields.server, answer.status);
        let message = format!("{host} does not answer as a Connect server does (status {status}): check {server}");
        Error::new(ErrorKind::Malformed, message)
    }
}

/// The header with the token.
fn bearer(token: &SecretBytes) -> Result<HeaderValue, Error> {
    let wrong = |problem: &str| Error::invalid(format!("{TOKEN}: the token {problem}")).with_blame(Blame::Credentials);
    // Files that tokens were read from often end with a line.
    let token = token.expose_str().map(str::trim).ok_or_else(|| wrong("is not text"))?;
    if token.is_empty() {
        return Err(wrong("is empty"));
    }
    let mut header = SecretBuf::default();
    header.extend(b"Bearer ");
    header.extend(token.as_bytes());
    let mut value = HeaderValue::from_bytes(header.expose()).map_err(|_| wrong("holds what no token does"))?;
    value.set_sensitive(true);
    Ok(value)
}
