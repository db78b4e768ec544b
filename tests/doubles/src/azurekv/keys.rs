//! What keys of the vault encrypt and decrypt: RSA with OAEP and SHA-256.

use std::collections::BTreeMap;

use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::vault::bad;
use super::{Asked, answer};

/// The keys, by name and version.
#[derive(Clone, Default)]
pub(crate) struct Keys(BTreeMap<(String, String), PrivateDecryptingKey>);

impl Keys {
    /// Makes one; gives its version.
    pub(crate) fn make(&mut self, name: &str) -> String {
        let version = format!("{:032x}", rand::random::<u128>());
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a key");
        self.0.insert((name.to_owned(), version.clone()), key);
        version
    }

    /// `None` where there is no such key.
    pub(crate) fn answer(&self, asked: &Asked, name: &str, version: &str, verb: &str) -> Option<Response> {
        let key = self.0.get(&(name.to_owned(), version.to_owned()))?;
        let body = asked.json();
        let value = URL_SAFE_NO_PAD.decode(body["value"].as_str().unwrap_or_default());
        let (Ok(value), Some("RSA-OAEP-256")) = (value, body["alg"].as_str()) else {
            return Some(bad("The parameter is incorrect: canary"));
        };
        let done = match verb {
            "encrypt" => {
                let key = OaepPublicEncryptingKey::new(key.public_key()).expect("a key");
                let mut out = vec![0; key.ciphertext_size()];
                key.encrypt(&OAEP_SHA256_MGF1SHA256, &value, &mut out, None).map(|out| out.to_vec()).ok()
            }
            _ => {
                let key = OaepPrivateDecryptingKey::new(key.clone()).expect("a key");
                let mut out = vec![0; key.min_output_size()];
                key.decrypt(&OAEP_SHA256_MGF1SHA256, &value, &mut out, None).map(|out| out.to_vec()).ok()
            }
        };
        let Some(done) = done else { return Some(bad("The parameter is incorrect: canary")) };
        let kid = format!("{}/keys/{name}/{version}", asked.base);
        Some(answer(200, &json!({"kid": kid, "value": URL_SAFE_NO_PAD.encode(done)})))
    }
}
