//! HTTP to the vault, and what its statuses mean.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_provider_azure_common::Login;
use keyferry_provider_core::{Blame, BuildContext, Calls, Error, ErrorKind, Room, SecretBytes, json};
use keyferry_provider_http::path::encode;
use keyferry_provider_http::{Way, retry_after, shared};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use serde_json::value::RawValue;

use crate::config::Config;

/// What metrics call us: External Secrets Operator's name.
pub const PROVIDER: &str = "Azure/KeyVault";

/// The version of the API, which every cloud has.
const VERSION: &str = "api-version=7.4";

/// A request.
pub struct Call {
    /// What metrics call it: the name that External Secrets Operator uses, where it makes such a call.
    pub name: &'static str,
    method: Method,
    path: String,
    query: String,
    body: Option<SecretBytes>,
}

impl Call {
    /// A request for what is at this path below the vault's URL. Nothing that a user wrote is in the path but what was
    /// found fit for one, or is encoded here.
    pub fn get(name: &'static str, path: &str) -> Self {
        Self { name, method: Method::GET, path: encode(path), query: VERSION.to_owned(), body: None }
    }

    /// The same with another method.
    pub fn by(self, method: Method) -> Self {
        Self { method, ..self }
    }

    /// The same with a body.
    pub fn with(self, body: SecretBytes) -> Self {
        Self { body: Some(body), ..self }
    }

    /// The same for one piece of a list, as its query says: that of a former answer, or how long it is.
    pub fn page(self, query: Page<'_>) -> Self {
        let query = match query {
            Page::Next(query) => query.to_owned(),
            Page::First(length) => format!("{VERSION}&maxresults={length}"),
        };
        Self { query, ..self }
    }
}

/// A piece of a list.
pub enum Page<'a> {
    /// The first, of at most so many.
    First(usize),
    /// One that a former answer led to, by its query.
    Next(&'a str),
}

/// What the vault answered.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: SecretBytes,
    retry_after: Option<Duration>,
}

/// One vault, logged in to.
pub struct Client {
    http: reqwest::Client,
    way: Way,
    login: Login,
    calls: Arc<dyn Calls>,
    room: Arc<dyn Room>,
}

impl Client {
    /// Logs in.
    pub async fn new(config: &Config, ctx: &BuildContext) -> Result<Self, Error> {
        config.check_identity(&ctx.caller)?;
        let way = config.way.clone();
        let http = way.client(way.client_builder(&ctx.addresses)?, None, None)?;
        let login = Login::new(&config.identity, &config.audience, ctx).await?;
        Ok(Self { http, way, login, calls: ctx.calls.clone(), room: ctx.room.clone() })
    }

    /// What the store's status should say about whom it is used as.
    pub fn note(&self) -> Option<String> {
        self.login.note()
    }

    /// The vault, for messages.
    pub fn host(&self) -> String {
        self.way.host()
    }

    /// The field that names it.
    pub fn field(&self) -> &'static str {
        self.way.fields.server
    }

    /// Checks that the login is good.
    pub async fn check(&self) -> Result<(), Error> {
        self.login.get().await.map(drop)
    }

    /// Makes a call; where a token seems to have ended early, once more with another. Every status is an answer.
    pub async fn send(&self, call: &Call) -> Result<Response, Error> {
        let token = self.login.get().await?;
        let answer = self.once(call, &token).await?;
        if answer.status == 401 && self.login.refused(token.number()) {
            let token = self.login.get().await?;
            self.once(call, &token).await
        } else {
            Ok(answer)
        }
    }

    async fn once(&self, call: &Call, token: &HeaderValue) -> Result<Response, Error> {
        let start = Instant::now();
        let answer = self.exchange(call, token).await;
        // "Not there" is an answer like any other.
        let ok = answer.as_ref().is_ok_and(|answer| matches!(answer.status, 200..300 | 404));
        self.calls.record(PROVIDER, call.name, ok, start.elapsed());
        answer
    }

    async fn exchange(&self, call: &Call, token: &HeaderValue) -> Result<Response, Error> {
        let mut url = self.way.server.clone();
        url.set_path(&format!("{}/{}", url.path().trim_end_matches('/'), call.path));
        url.set_query(Some(&call.query));
        let mut request = self.http.request(call.method.clone(), url);
        request = request.header(reqwest::header::AUTHORIZATION, token.clone());
        if let Some(body) = &call.body {
            let json = HeaderValue::from_static("application/json");
            request = request.header(CONTENT_TYPE, json).body(shared(body));
        } else if call.method == Method::POST {
            request = request.body("");
        }
        let response = request.send().await.map_err(|error| self.way.error(&error))?;
        Ok(Response {
            status: response.status().as_u16(),
            retry_after: retry_after(&response),
            body: self.way.read_body(response, &*self.room).await?,
        })
    }

    /// Whether this leads to the vault.
    pub fn is_here(&self, url: &Url) -> bool {
        let place =
            |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
        place(url) == place(&self.way.server)
    }

    /// The query of the link that leads to the next piece of a list. Whatever it says besides, it leads to this vault:
    /// a token goes with it.
    pub fn next(&self, link: &str) -> Result<String, Error> {
        let wrong = || Error::new(ErrorKind::Malformed, format!("{} leads elsewhere for more", self.way.host()));
        let url = Url::parse(link).map_err(|_| wrong())?;
        let query = url.query().filter(|_| self.is_here(&url));
        query.map(str::to_owned).ok_or_else(wrong)
    }

    /// The error for an answer that is no success, to a request about `what`. Only the vault's own word makes it "not
    /// found": deletionPolicy acts on that, and a gateway's 404 says nothing of the secret.
    pub fn refusal(&self, answer: &Response, what: &dyn fmt::Display) -> Error {
        let (host, server) = (self.way.host(), self.way.fields.server);
        let error = |kind, message| Error::new(kind, message);
        let error = match (answer.status, Word::of(answer)) {
            (404, Some(Word::NotFound)) => error(ErrorKind::NotFound, format!("there is no {what} in {host}")),
            (404, Some(Word::NoVault)) => Error::invalid(format!("there is no vault at {host}: check {server}")),
            (400, Some(_)) => error(ErrorKind::Invalid, format!("{host} takes the request for {what} for none"))
                .with_blame(Blame::Request),
            (401, _) => error(
                ErrorKind::Unauthenticated,
                format!("{host} does not accept our token: the vault may belong to another tenant, or another cloud"),
            ),
            (403, Some(Word::Disabled)) => {
                error(ErrorKind::Denied, format!("the {what} is disabled: enable it in the vault"))
                    .with_blame(Blame::Store)
            }
            (403, Some(Word::Firewall)) => error(
                ErrorKind::Denied,
                format!(
                    "the firewall of {host} does not let us in: allow the operator's addresses, or a private endpoint"
                ),
            )
            .with_blame(Blame::Way),
            (403, Some(_)) => {
                error(ErrorKind::Denied, format!("{host} does not let us use the {what}: {}", self.rights()))
            }
            // Without the vault's own words it is somebody else who speaks, such as a proxy.
            (403, None) => error(ErrorKind::Denied, format!("something in front of {host} denies the {what}"))
                .with_blame(Blame::Way),
            // Somebody wrote, deleted or recovered it in between: whoever tries again sees what is there now.
            (409, _) => error(ErrorKind::Unavailable, format!("the {what} is being changed by somebody else")),
            (429, _) => error(ErrorKind::Throttled, format!("{host} asks for fewer requests")),
            (408 | 504, _) => error(ErrorKind::Timeout, format!("no answer from {host} in time")),
            (status @ 500..600, _) => error(ErrorKind::Unavailable, format!("{host} has a problem (status {status})")),
            (status, _) => return self.malformed_with(status),
        };
        error.with_retry_after(answer.retry_after)
    }

    fn rights(&self) -> &'static str {
        "give our identity the role Key Vault Secrets User (Certificate User, Crypto User; to push, the Officer), or an \
         access policy"
    }

    /// The error for an answer that can't be read.
    pub fn malformed(&self, answer: &Response) -> Error {
        self.malformed_with(answer.status)
    }

    fn malformed_with(&self, status: u16) -> Error {
        let (host, server) = (self.way.host(), self.way.fields.server);
        let message = format!("{host} does not answer as a Key Vault does (status {status}): check {server}");
        Error::new(ErrorKind::Malformed, message)
    }
}

/// What the vault says is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// There is nothing of this name, or no such version of it.
    NotFound,
    /// There is no such vault.
    NoVault,
    /// It is there, and disabled.
    Disabled,
    /// The vault is not for this address.
    Firewall,
    /// It was deleted, and its name is taken until it is recovered or purged.
    Deleted,
    /// It is being deleted or recovered.
    Busy,
    /// Something else.
    Other,
}

impl Word {
    /// The vault's own word, as one that we know: the text of an answer goes nowhere.
    pub fn of(answer: &Response) -> Option<Self> {
        let fields = json::object(answer.body.expose())?;
        let error = json::object(fields.get("error")?.get().as_bytes())?;
        let code = |raw: &RawValue| json::to_bytes(raw).expose_str().map(str::to_owned);
        let outer = code(error.get("code")?)?;
        let inner = error.get("innererror").and_then(|inner| json::object(inner.get().as_bytes()));
        let inner = inner.and_then(|inner| code(inner.get("code")?));
        Some(match (outer.as_str(), inner.as_deref().unwrap_or_default()) {
            ("SecretNotFound" | "KeyNotFound" | "CertificateNotFound", _) => Self::NotFound,
            ("VaultNotFound", _) => Self::NoVault,
            (_, "SecretDisabled" | "KeyDisabled" | "CertificateDisabled") => Self::Disabled,
            (_, "ForbiddenByFirewall" | "ForbiddenByConnection") => Self::Firewall,
            ("ObjectIsDeletedButRecoverable", _) | (_, "ObjectIsDeletedButRecoverable") => Self::Deleted,
            (_, "ObjectIsBeingDeleted" | "ObjectIsBeingRecovered") => Self::Busy,
            _ => Self::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vaults_own_words() {
        let word = |body: &str| Word::of(&Response { status: 400, body: body.into(), retry_after: None });
        for (body, expected) in [
            (r#"{"error":{"code":"SecretNotFound","message":"canary"}}"#, Some(Word::NotFound)),
            (r#"{"error":{"code":"KeyNotFound","message":"x"}}"#, Some(Word::NotFound)),
            (r#"{"error":{"code":"CertificateNotFound"}}"#, Some(Word::NotFound)),
            (r#"{"error":{"code":"Forbidden","innererror":{"code":"SecretDisabled"}}}"#, Some(Word::Disabled)),
            (r#"{"error":{"code":"Forbidden","innererror":{"code":"ForbiddenByFirewall"}}}"#, Some(Word::Firewall)),
            (r#"{"error":{"code":"Forbidden","innererror":{"code":"ForbiddenByRbac"}}}"#, Some(Word::Other)),
            (
                r#"{"error":{"code":"Conflict","innererror":{"code":"ObjectIsDeletedButRecoverable"}}}"#,
                Some(Word::Deleted),
            ),
            (r#"{"error":{"code":"ObjectIsDeletedButRecoverable"}}"#, Some(Word::Deleted)),
            (r#"{"error":{"code":"Conflict","innererror":{"code":"ObjectIsBeingRecovered"}}}"#, Some(Word::Busy)),
            (r#"{"error":{"code":"Conflict","innererror":null}}"#, Some(Word::Other)),
            (r#"{"error":{"code":404}}"#, Some(Word::Other)),
            (r#"{"error":"SecretNotFound"}"#, None),
            (r#"{"message":"SecretNotFound"}"#, None),
            ("<html>SecretNotFound", None),
            ("", None),
        ] {
            assert_eq!(word(body), expected, "{body}");
        }
    }
}
