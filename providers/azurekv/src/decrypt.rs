//! Keys that never leave the vault, which documents of others are encrypted with. One call, by the logins of this store.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyferry_provider_core::{
    BuildContext, Error, ErrorKind, KeyService, KeyServiceRegistration, SecretBytes, Wrapped, json,
};
use reqwest::{Method, Url};
use serde_json::Value;

use crate::client::{Call, Client, Word};
use crate::config::Config;

/// How the registry knows it.
pub const KEYS: KeyServiceRegistration = KeyServiceRegistration {
    name: "azurekv",
    build: |spec, ctx| Box::pin(async move { Ok(Arc::new(Keys::new(spec, &ctx).await?) as Arc<dyn KeyService>) }),
};

struct Keys {
    client: Client,
}

impl Keys {
    async fn new(spec: &Value, ctx: &BuildContext) -> Result<Self, Error> {
        Ok(Self { client: Client::new(&Config::new(spec)?, ctx).await? })
    }

    /// The path of a key, which a document gives as the URL that the vault calls it by. Its vault is the store's, or it is
    /// not asked: a token goes with the call.
    fn path(&self, named: &str) -> Result<String, Error> {
        let wrong = || Error::invalid(format!("{named:?} is not the URL of a key of Azure Key Vault"));
        let url = Url::parse(named).map_err(|_| wrong())?;
        if !self.client.is_here(&url) {
            return Err(Error::invalid(format!(
                "the key {named:?} is of another vault than {}, which is the one that is asked: set {} to its vault",
                self.client.host(),
                self.client.field()
            )));
        }
        path(&url).ok_or_else(wrong)
    }
}

/// `keys/NAME/VERSION`, or without a version, which stands for the current one.
fn path(url: &Url) -> Option<String> {
    let is_name =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let parts: Vec<&str> = url.path().split('/').skip(1).filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["keys", name] if is_name(name) => Some(format!("keys/{name}")),
        ["keys", name, version] if is_name(name) && is_name(version) => Some(format!("keys/{name}/{version}")),
        _ => None,
    }
}

#[async_trait]
impl KeyService for Keys {
    async fn unwrap(&self, wrapped: &Wrapped) -> Result<SecretBytes, Error> {
        let path = self.path(&wrapped.key)?;
        let ciphertext = wrapped.ciphertext.expose_str().unwrap_or_default();
        let body = serde_json::json!({"alg": "RSA-OAEP-256", "value": ciphertext}).to_string();
        let call = Call::get("Decrypt", &format!("{path}/decrypt")).by(Method::POST).with(body.as_str().into());
        let answer = self.client.send(&call).await?;
        match (answer.status, Word::of(&answer)) {
            (200, _) => plaintext(&answer.body).ok_or_else(|| self.client.malformed(&answer)),
            (404, Some(Word::NotFound)) | (400, Some(_)) => Err(Error::invalid(format!(
                "{} does not decrypt with {path}: there is no such key, or the document was not encrypted with it",
                self.client.host()
            ))),
            (403, Some(Word::Other)) => Err(Error::new(
                ErrorKind::Denied,
                format!(
                    "{} does not let us use {path}: give our identity the role Key Vault Crypto User, or an access \
                     policy with the key permission decrypt; or the key is switched off",
                    self.client.host()
                ),
            )),
            _ => Err(self.client.refusal(&answer, &path).no_reason_to_delete()),
        }
    }

    async fn check(&self) -> Result<(), Error> {
        self.client.check().await
    }

    fn identity_note(&self) -> Option<String> {
        self.client.note()
    }
}

fn plaintext(answer: &SecretBytes) -> Option<SecretBytes> {
    let body = json::object(answer.expose())?;
    let encoded = json::to_bytes(body.get("value")?);
    Some(SecretBytes::new(URL_SAFE_NO_PAD.decode(encoded.expose().trim_ascii_end()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_its_url_and_leads_to_no_other_call() {
        let of = |text: &str| path(&Url::parse(text).unwrap());
        let here = "https://v.vault.azure.net";
        assert_eq!(of(&format!("{here}/keys/sops-key/0123abcd")).as_deref(), Some("keys/sops-key/0123abcd"));
        assert_eq!(of(&format!("{here}/keys/sops-key/")).as_deref(), Some("keys/sops-key"));
        for wrong in ["", "/keys", "/secrets/a", "/keys/a/b/sign", "/keys/a%2Fb", "/keys/../secrets/a/b", "/keys/a/.."]
        {
            let path = of(&format!("{here}{wrong}"));
            assert_eq!(path, None, "{wrong}");
        }
    }
}
