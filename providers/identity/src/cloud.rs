//! A call to a cloud, on the way to a login: to its token service, to its metadata server. These are few, one or two a
//! login, so that none of their connections is kept.

use std::collections::BTreeMap;
use std::time::Instant;

use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, Error, ErrorKind, SecretBytes, SecretRef, ServiceAccountRef};
use keyferry_provider_http::{Fields, Way, retry_after, server_url};
use reqwest::header::HeaderValue;
use reqwest::{Client, RequestBuilder, Url};

/// What a login shows: where the spec says so, and where it is to be had.
pub struct Shown<'a> {
    /// The field of the login method.
    pub field: &'a str,
    /// What the provider was built with.
    pub ctx: &'a BuildContext,
    /// Whether it is shown to a server that the spec names, and not to the vendor's own at its known address.
    pub is_to_named_server: bool,
}

impl Shown<'_> {
    /// Refuses to show whom a cloud takes the operator for to a server that the author of a store of a namespace chose: it
    /// could show that to others in turn, who would take it for the operator. Whoever may lead anywhere is trusted with that,
    /// too: a store of the cluster, and all that somebody runs by hand over manifests of their own.
    ///
    /// # Errors
    /// `Denied`.
    pub fn check_server(&self) -> Result<(), Error> {
        if !self.is_to_named_server || self.ctx.caller.is_of_cluster() || self.ctx.addresses.are_anywhere() {
            return Ok(());
        }
        let (who, hint) = if self.ctx.caller.is_of_generator() {
            ("a generator", "name credentials in it: one in a ClusterGenerator may do no more")
        } else {
            ("a store of a namespace", "name credentials in the store, or use a ClusterSecretStore")
        };
        let message =
            format!("{} logs in as the operator itself, which is not shown to a server that {who} names", self.field);
        Err(Error::new(ErrorKind::Denied, message).with_hint(hint))
    }

    /// The value of a secret that this field of the method names.
    ///
    /// # Errors
    /// Those of the port.
    pub async fn secret(&self, reference: &SecretRef, key: Option<&str>, field: &str) -> Result<SecretBytes, Error> {
        self.ctx.credentials.secret(reference, key).await.map_err(|error| error.context(self.at(field)))
    }

    /// A token of a ServiceAccount that this field of the method names.
    ///
    /// # Errors
    /// Those of the port.
    pub async fn token(
        &self,
        account: &ServiceAccountRef,
        audiences: &[&str],
        field: &str,
    ) -> Result<SecretBytes, Error> {
        let token = self.ctx.credentials.service_account_token(account, audiences).await;
        token.map(|token| token.secret).map_err(|error| error.context(self.at(field)))
    }

    /// The annotations of a ServiceAccount that this field of the method names, but for empty ones.
    ///
    /// # Errors
    /// Those of the port.
    pub async fn annotations(
        &self,
        account: &ServiceAccountRef,
        field: &str,
    ) -> Result<BTreeMap<String, String>, Error> {
        let annotations = self.ctx.credentials.service_account_annotations(account).await;
        let mut annotations = annotations.map_err(|error| error.context(self.at(field)))?;
        annotations.retain(|_, text| !text.is_empty());
        Ok(annotations)
    }

    /// A credential as text.
    ///
    /// # Errors
    /// `Invalid` where it is none.
    pub fn text<'s>(&self, secret: &'s SecretBytes) -> Result<&'s str, Error> {
        secret.expose_str().ok_or_else(|| Error::invalid(format!("{}: a credential is not UTF-8", self.field)))
    }

    /// A field of the method.
    pub fn at(&self, field: &str) -> String {
        format!("{}.{field}", self.field)
    }
}

/// A service of a cloud.
pub struct Service<'a> {
    /// What it is called, for messages.
    pub name: &'static str,
    /// What metrics call it.
    pub metric: &'static str,
    /// Where it is.
    pub url: Url,
    /// Whether it is the operator's own settings that say so, and not a spec: those may lead anywhere.
    pub is_of_operator: bool,
    /// What the provider was built with.
    pub ctx: &'a BuildContext,
}

/// An answer of a service.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: SecretBytes,
    /// The error for a status that means the same of every service, or is unknown.
    pub error: Error,
}

impl<'a> Service<'a> {
    /// A service at `url`, or where the first of these environment variables that is set leads.
    ///
    /// # Errors
    /// `Invalid` where that is no URL.
    pub fn new(
        (name, metric): (&'static str, &'static str),
        url: &str,
        variables: &[&str],
        ctx: &'a BuildContext,
    ) -> Result<Self, Error> {
        let set = |name| Some((name, (ctx.environment)(name).filter(|text: &String| !text.is_empty())?));
        let of_operator = variables.iter().copied().find_map(set);
        let (field, text) = of_operator.as_ref().map_or((name, url), |(name, text)| (*name, text));
        let url = server_url(text, field, url)?;
        Ok(Self { name, metric, url, is_of_operator: of_operator.is_some(), ctx })
    }

    /// Asks for `path`, which begins with a slash.
    ///
    /// # Errors
    /// Those of the way. Every status is an answer.
    pub async fn ask(
        &self,
        call: &'static str,
        path: &str,
        request: impl FnOnce(&Client, String) -> RequestBuilder,
    ) -> Result<Answer, Error> {
        let begun = Instant::now();
        let answer = self.exchange(path, request).await;
        let ok = answer.as_ref().is_ok_and(|answer| answer.status == 200);
        self.ctx.calls.record(self.metric, call, ok, begun.elapsed());
        answer
    }

    async fn exchange(
        &self,
        path: &str,
        request: impl FnOnce(&Client, String) -> RequestBuilder,
    ) -> Result<Answer, Error> {
        let fields = Fields {
            server: "the network and the operator's settings",
            ca: "the certificates of the operator's system",
            identity: "the settings of the service",
        };
        let way = Way::new(self.url.clone(), fields);
        let anywhere = Addresses::anywhere();
        let addresses = if self.is_of_operator { &anywhere } else { &self.ctx.addresses };
        let client = way.client(way.client_builder(addresses)?, None, None)?;
        let url = format!("{}{path}", self.url.as_str().trim_end_matches('/'));
        let response = request(&client, url).send().await.map_err(|error| way.error(&error))?;
        let (status, wait) = (response.status().as_u16(), retry_after(&response));
        let body = way.read_body(response, &*self.ctx.room).await?;
        let name = self.name;
        let (kind, what) = match status {
            429 => (ErrorKind::Throttled, "asks us to slow down"),
            408 | 504 => (ErrorKind::Timeout, "did not answer in time"),
            500.. => (ErrorKind::Unavailable, "has an internal error"),
            _ => (ErrorKind::Malformed, "gives an answer that is none of such a service"),
        };
        let error = Error::new(kind, format!("{name} {what} (status {status})")).with_retry_after(wait);
        Ok(Answer { status, body, error })
    }

    /// The host as a request names it.
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The error for an answer without what it should hold.
    pub fn malformed(&self) -> Error {
        Error::new(ErrorKind::Malformed, format!("the answer of {} does not hold what was asked for", self.name))
    }
}

/// The value of a header, which no log shows.
///
/// # Errors
/// `Invalid` where a request can't carry it; `field` is where it comes from.
pub fn header_value(bytes: &[u8], field: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_bytes(bytes)
        .map_err(|_| Error::invalid(format!("{field} holds control characters, which a request can't carry")))?;
    value.set_sensitive(true);
    Ok(value)
}
