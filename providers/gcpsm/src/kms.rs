//! Cloud KMS: keys that never leave it, which documents of others are encrypted with. One call, by the logins of this store.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{
    Blame, BuildContext, Error, ErrorKind, KeyService, KeyServiceRegistration, SecretBytes, Wrapped, json,
};
use keyferry_provider_gcp_common::endpoints::GOOGLE;
use keyferry_provider_gcp_common::{Api, Auth, AuthSpec, Call, Host, Login, Word, endpoint};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::checksum::crc32c;

/// How the registry knows it.
pub const KMS: KeyServiceRegistration = KeyServiceRegistration {
    name: "gcpsm",
    build: |spec, ctx| Box::pin(async move { Ok(Arc::new(Kms::new(spec, &ctx).await?) as Arc<dyn KeyService>) }),
};

/// What metrics call it.
const PROVIDER: &str = "GCP/KMS";

/// Of a store's spec only who logs in: a key says itself whose project and which location it is of.
#[derive(Deserialize)]
struct Spec {
    auth: Option<AuthSpec>,
}

struct Kms {
    host: Host,
    login: Login,
}

impl Kms {
    async fn new(spec: &Value, ctx: &BuildContext) -> Result<Self, Error> {
        // The parser's own error would quote what it stumbles over.
        let spec = Spec::deserialize(spec)
            .map_err(|_| Error::invalid("spec.provider.gcpsm.auth is not of the form that the documentation gives"))?;
        let auth = Auth::new(spec.auth, "spec.provider.gcpsm.auth")?;
        let host = Host::new(endpoint(Api::Keys, None, &ctx.environment)?, GOOGLE, &ctx.addresses, ctx, PROVIDER)?;
        let login = Login::new(auth, ctx, &host, PROVIDER).await?;
        Ok(Self { host, login })
    }
}

#[async_trait]
impl KeyService for Kms {
    async fn unwrap(&self, wrapped: &Wrapped) -> Result<SecretBytes, Error> {
        let key = &wrapped.key;
        if !is_key(key) {
            return Err(Error::invalid(format!("{key:?} is not the resource name of a key of Google Cloud KMS")));
        }
        let body = serde_json::json!({"ciphertext": wrapped.ciphertext.expose_str().unwrap_or_default()}).to_string();
        let call = Call::with_json("Decrypt", Method::POST, format!("v1/{key}:decrypt"), body.as_str().into());
        let answer = self.login.send(&self.host, &call).await?;
        match (answer.status, answer.word()) {
            (200, _) => {
                plaintext(&answer.body).ok_or_else(|| self.host.malformed(&answer)).and_then(|plain| match plain {
                    Plain::Whole(plain) => Ok(plain),
                    Plain::Damaged => {
                        let message = format!("what {key:?} decrypted was damaged on its way: its checksum differs");
                        Err(Error::new(ErrorKind::Unavailable, message).with_blame(Blame::Way))
                    }
                })
            }
            (400, Some(Word::InvalidArgument | Word::FailedPrecondition)) | (404, Some(Word::NotFound)) => {
                Err(Error::invalid(format!(
                    "{} does not decrypt with {key:?}: there is no such key, it is switched off, or the document was \
                     not encrypted with it",
                    self.host.name()
                )))
            }
            _ => {
                let what = format!("key {key:?}");
                let refusal = self.host.refusal(&answer, &what, "cloudkms.cryptoKeyVersions.useToDecrypt");
                Err(refusal.no_reason_to_delete())
            }
        }
    }

    async fn check(&self) -> Result<(), Error> {
        self.login.token().await.map(drop)
    }

    fn identity_note(&self) -> Option<String> {
        self.login.note()
    }
}

/// Whether a text names a key and nothing else: it becomes the path of a call.
fn is_key(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let is_part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.len() <= 128 && part.bytes().all(fits);
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        ["projects", project, "locations", location, "keyRings", ring, "cryptoKeys", key] => {
            // A colon begins the verb of a call; ids of domains alone have one.
            is_part(project) && [location, ring, key].iter().all(|part| is_part(part) && !part.contains(':'))
        }
        _ => false,
    }
}

enum Plain {
    Whole(SecretBytes),
    /// It is not what was sent.
    Damaged,
}

fn plaintext(answer: &SecretBytes) -> Option<Plain> {
    let body = json::object(answer.expose())?;
    let encoded = json::to_bytes(body.get("plaintext")?);
    let plain = SecretBytes::new(STANDARD.decode(encoded.expose()).ok()?);
    let sum = body.get("plaintextCrc32c").map(|raw| json::to_bytes(raw));
    let is_whole =
        sum.is_none_or(|sum| sum.expose_str().and_then(|sum| sum.parse().ok()) == Some(crc32c(plain.expose())));
    Some(if is_whole { Plain::Whole(plain) } else { Plain::Damaged })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_whole_and_leads_nowhere_else() {
        let good = "projects/example.com:p-1/locations/europe-west1/keyRings/r_1/cryptoKeys/k-1";
        assert!(is_key(good));
        for wrong in [
            "",
            "projects/p/locations/l/keyRings/r/cryptoKeys/",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k:encrypt",
            "projects/p/locations/l/keyRings/r/cryptoKeys/..",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            "projects/p/locations/l/keyRings/r?x/cryptoKeys/k",
            "projects/p/secrets/s/versions/latest/x/y",
        ] {
            assert!(!is_key(wrong), "{wrong}");
        }
    }

    #[test]
    fn what_was_damaged_is_not_taken() {
        let answer = |sum: &str| format!(r#"{{"plaintext":"MTIzNDU2Nzg5"{sum}}}"#);
        let is_whole = |text: String| plaintext(&text.as_str().into()).map(|plain| matches!(plain, Plain::Whole(_)));
        assert_eq!(is_whole(answer(r#","plaintextCrc32c":"3808858755""#)), Some(true));
        assert_eq!(is_whole(answer("")), Some(true));
        assert_eq!(is_whole(answer(r#","plaintextCrc32c":"1""#)), Some(false));
        assert_eq!(is_whole("{}".to_owned()), None);
    }
}
