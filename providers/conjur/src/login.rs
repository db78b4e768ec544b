//! Who we are to the server. A login gives a token that is good for eight minutes; a session holds it, and has another
//! before it ends, or when the server refuses it.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{Credentials, Error, ErrorKind, SecretBuf, SecretBytes, SecretRef};
use keyferry_provider_http::identity;
use keyferry_provider_http::path::segment;
use keyferry_provider_session::{Grant, Held, Life, Session, Source};
use reqwest::header::HeaderValue;

use crate::answers;
use crate::client::{Call, Client, Response};
use crate::config::{Jwt, Method};

const FORM: &str = "application/x-www-form-urlencoded";

/// A client, logged in.
pub struct Login {
    client: Arc<Client>,
    session: Session<HeaderValue>,
}

/// Where tokens come from.
struct Authenticator {
    client: Arc<Client>,
    credentials: Arc<dyn Credentials>,
    method: Method,
}

impl Authenticator {
    /// The value of a credential that is text, without the end of the line that files often have.
    async fn text(&self, reference: &SecretRef, key: Option<&str>, field: &str) -> Result<SecretBytes, Error> {
        let field = format!("spec.provider.conjur.auth.{field}");
        let secret = self.credentials.secret(reference, key).await.map_err(|error| error.context(&field))?;
        let text = secret.expose_str().map(str::trim_end).filter(|text| !text.is_empty());
        text.map(SecretBytes::from).ok_or_else(|| Error::invalid(format!("{field}: the secret is empty or no text")))
    }

    /// The login by an API key.
    async fn by_key(&self, user: &SecretRef, key: &SecretRef) -> Result<Response, Error> {
        let (user, key) =
            tokio::try_join!(self.text(user, None, "apikey.userRef"), self.text(key, None, "apikey.apiKeyRef"))?;
        let account = segment(&self.client.account);
        let user = segment(user.expose_str().unwrap_or_default());
        let path = format!("authn/{account}/{user}/authenticate");
        self.client.send(&Call::post("Authenticate", path, key, "text/plain"), None).await
    }

    async fn by_token(&self, service: &str, host: Option<&str>, token: &Jwt) -> Result<Response, Error> {
        let token = match token {
            Jwt::ServiceAccount(reference) => {
                let token = self.credentials.service_account_token(reference, &[]).await;
                token.map_err(|error| error.context("spec.provider.conjur.auth.jwt.serviceAccountRef"))?.secret
            }
            Jwt::Secret(reference) => self.text(reference, Some("token"), "jwt.secretRef").await?,
        };
        let mut body = SecretBuf::with_capacity(token.len() + 4);
        body.extend(b"jwt=");
        body.extend(token.expose());
        let path = self.path("authn-jwt", service, host);
        self.client.send(&Call::post("Authenticate", path, body.into(), FORM), None).await
    }

    async fn by_certificate(
        &self,
        service: &str,
        host: Option<&str>,
        cert: &SecretRef,
        key: &SecretRef,
    ) -> Result<Response, Error> {
        let (cert, key) =
            tokio::try_join!(self.text(cert, None, "cert.clientCertRef"), self.text(key, None, "cert.clientKeyRef"))?;
        let identity = identity(&cert, &key, "spec.provider.conjur.auth.cert")?;
        let path = self.path("authn-cert", service, host);
        self.client.send_as(&Call::post("Authenticate", path, SecretBytes::default(), FORM), identity).await
    }

    /// The path of a login by an authenticator of this kind and name.
    fn path(&self, kind: &str, service: &str, host: Option<&str>) -> String {
        let host = host.map(|host| format!("{}/", segment(host))).unwrap_or_default();
        format!("{kind}/{}/{}/{host}authenticate", segment(service), segment(&self.client.account))
    }

    /// What messages call the way of logging in.
    fn field(&self) -> &'static str {
        match self.method {
            Method::ApiKey { .. } => "apikey",
            Method::Jwt { .. } => "jwt",
            Method::Cert { .. } => "cert",
        }
    }
}

#[async_trait]
impl Source<HeaderValue> for Authenticator {
    async fn get(&self) -> Result<Grant<HeaderValue>, Error> {
        let answer = match &self.method {
            Method::ApiKey { user, key } => self.by_key(user, key).await?,
            Method::Jwt { service, host, token } => self.by_token(service, host.as_deref(), token).await?,
            Method::Cert { service, host, cert, key } => {
                self.by_certificate(service, host.as_deref(), cert, key).await?
            }
        };
        let refused = |words: &str| {
            let field = self.field();
            let message = format!("the login is refused: {words} spec.provider.conjur.auth.{field} and its account");
            Err(Error::new(ErrorKind::Unauthenticated, message))
        };
        match answer.status {
            200 => grant(&answer).ok_or_else(|| self.client.malformed(&answer)),
            401 => refused("check what is named in"),
            403 => refused("Conjur knows us and does not let us use the authenticator of"),
            _ => Err(self.client.refusal(&answer, &"the login").no_reason_to_delete()),
        }
    }
}

/// The header that an answer's token is sent in, and for how long it is good.
fn grant(answer: &Response) -> Option<Grant<HeaderValue>> {
    let life = Life::of(answers::life(&answer.body)?);
    let mut encoded = SecretBuf::with_capacity(answer.body.len() * 4 / 3 + 32);
    encoded.extend(b"Token token=\"");
    encoded.extend(SecretBytes::new(STANDARD.encode(answer.body.expose()).into_bytes()).expose());
    encoded.push(b'"');
    let mut value = HeaderValue::from_bytes(encoded.expose()).ok()?;
    value.set_sensitive(true);
    Some(Grant { value, life })
}

impl Login {
    /// Logs in: a store whose credentials are wrong says so when it is built.
    pub async fn new(client: Client, credentials: Arc<dyn Credentials>, method: Method) -> Result<Self, Error> {
        let client = Arc::new(client);
        let session = Session::new(Authenticator { client: client.clone(), credentials, method });
        session.get().await?;
        Ok(Self { client, session })
    }

    /// The client, for its errors.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a call; where a token seems to have ended early, once more with another.
    pub async fn send(&self, call: &Call) -> Result<Response, Error> {
        let make = async |token: Held<HeaderValue>| self.client.send(call, Some(&token)).await;
        self.session.call(make, |answer| answer.status == 401).await
    }
}
