//! The transit engine: keys that never leave the server, which documents of others are encrypted with.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{
    BuildContext, Error, ErrorKind, KeyService, KeyServiceRegistration, SecretBytes, Wrapped, filled, json,
};
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::Value;

use crate::client::{Call, Client, Complaint, Response};
use crate::config::Config;
use crate::login::{Login, Logins};
use crate::product::Product;

/// How the registry knows it.
pub const TRANSIT: KeyServiceRegistration = KeyServiceRegistration {
    name: "vault",
    build: |spec, ctx| Box::pin(async move { Ok(Arc::new(Transit::new(spec, ctx).await?) as Arc<dyn KeyService>) }),
};

struct Transit {
    client: Arc<Client>,
    login: Login,
    namespace: Option<HeaderValue>,
    /// The one engine whose keys are asked for.
    engine: String,
}

impl Transit {
    async fn new(spec: &Value, ctx: BuildContext) -> Result<Self, Error> {
        let config = Config::new(Product::Vault, spec)?;
        let engine = filled(spec["path"].as_str().map(|path| path.trim_matches('/').to_owned()));
        let client = Arc::new(Client::new(&config, &ctx).await?);
        let login = Login::new(Logins {
            client: client.clone(),
            ctx,
            method: config.method,
            namespace: config.auth_namespace,
            read_your_writes: config.read_your_writes,
        });
        let login = login.await?;
        Ok(Self { client, login, namespace: config.namespace, engine: engine.unwrap_or_else(|| "transit".to_owned()) })
    }

    /// The name of a key, which a document gives as `engine/key`: another engine would take the same call for another.
    fn key<'a>(&self, named: &'a str) -> Result<&'a str, Error> {
        let product = self.client.product;
        let (engine, key) = named.rsplit_once('/').unwrap_or_default();
        if engine.trim_matches('/') != self.engine {
            return Err(Error::invalid(format!(
                "the key {named:?} is of another engine than {:?}, which is the one that is asked: set {product}.path to its mount",
                self.engine
            )));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if key.is_empty() || !key.bytes().all(is_name) || key.starts_with('.') {
            return Err(Error::invalid(format!("{named:?} is no name of a key of {}", product.name())));
        }
        Ok(key)
    }

    fn refusal(&self, answer: &Response, path: &str) -> Error {
        let host = self.client.host();
        match (answer.status, answer.complaint()) {
            (403, _) => Error::new(
                ErrorKind::Denied,
                format!(
                    "{host} does not let us use {path}: allow update on it in a policy of whom {}.auth stands for",
                    self.client.product
                ),
            ),
            (404, Complaint::NoRoute) => Error::invalid(format!(
                "{host} has no transit engine at {:?}: check {}.path",
                self.engine, self.client.product
            )),
            (400 | 404, complaint) if complaint != Complaint::NotAList => Error::invalid(format!(
                "{host} does not decrypt with {path}: there is no such key, or the document was not encrypted with it"
            )),
            _ => self.client.status_error(answer),
        }
    }
}

#[async_trait]
impl KeyService for Transit {
    async fn unwrap(&self, wrapped: &Wrapped) -> Result<SecretBytes, Error> {
        let path = format!("{}/decrypt/{}", self.engine, self.key(&wrapped.key)?);
        let ciphertext = wrapped.ciphertext.expose_str().unwrap_or_default();
        let body = serde_json::json!({ "ciphertext": ciphertext }).to_string();
        let call = Call {
            name: "Decrypt",
            method: Method::POST,
            body: Some(body.as_str().into()),
            path: path.clone(),
            query: None,
            namespace: self.namespace.clone(),
        };
        let answer = self.login.send(&call).await?;
        if answer.status != 200 {
            return Err(self.refusal(&answer, &path));
        }
        plaintext(&answer.body).ok_or_else(|| {
            let message = format!("{} answered {path} in a form that we don't know", self.client.host());
            Error::new(ErrorKind::Malformed, message)
        })
    }

    async fn check(&self) -> Result<(), Error> {
        self.login.check().await
    }

    fn identity_note(&self) -> Option<String> {
        let cloud = self.login.cloud_of_operator()?;
        Some(format!("it is used with the operator's own {cloud} identity, since it names no credentials"))
    }
}

fn plaintext(body: &SecretBytes) -> Option<SecretBytes> {
    let body = json::object(body.expose())?;
    let data = json::object(body.get("data")?.get().as_bytes())?;
    let encoded = json::to_bytes(data.get("plaintext")?);
    Some(SecretBytes::new(STANDARD.decode(encoded.expose()).ok()?))
}
