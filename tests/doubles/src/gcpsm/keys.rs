//! Cloud KMS (REST, version 1): keys that encrypt and decrypt, as its own clients ask for it.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::secrets::crc32c;
use super::{Asked, Said, error};

/// The keys of all projects, by the names of their resources.
#[derive(Default)]
pub(super) struct Keys {
    all: BTreeMap<String, LessSafeKey>,
    pub denied: BTreeSet<String>,
    pub damages: bool,
}

impl Keys {
    /// A new key in place of the one of this name.
    pub fn make(&mut self, name: &str) {
        let key = UnboundKey::new(&AES_256_GCM, &rand::random::<[u8; 32]>()).expect("32 bytes");
        self.all.insert(name.to_owned(), LessSafeKey::new(key));
    }

    /// Answers what is asked of a key; `None` where something else is asked.
    pub fn answer(&self, asked: &Asked) -> Option<Said> {
        let (name, verb) = asked.path.strip_prefix("/v1/")?.rsplit_once(':')?;
        if asked.method != "POST" || !name.contains("/cryptoKeys/") {
            return None;
        }
        let denied = || {
            let message = format!("Permission 'canary' denied on resource '{name}' (or it may not exist).");
            error(403, "PERMISSION_DENIED", &message)
        };
        if self.denied.contains(verb) {
            return Some(denied());
        }
        let Some(key) = self.all.get(name) else {
            return Some(error(404, "NOT_FOUND", &format!("CryptoKey {name} not found: canary")));
        };
        let body = asked.json();
        let bytes = |field: &str| STANDARD.decode(body[field].as_str().unwrap_or_default()).unwrap_or_default();
        Some(match verb {
            "encrypt" => {
                let nonce: [u8; NONCE_LEN] = rand::random();
                let mut sealed = bytes("plaintext");
                let along = Aad::from(bytes("additionalAuthenticatedData"));
                key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), along, &mut sealed)
                    .expect("it seals");
                let ciphertext = [nonce.to_vec(), sealed].concat();
                let version = format!("{name}/cryptoKeyVersions/1");
                let sum = crc32c(&ciphertext).to_string();
                (200, json!({"name": version, "ciphertext": STANDARD.encode(ciphertext), "ciphertextCrc32c": sum}))
            }
            "decrypt" => {
                let ciphertext = bytes("ciphertext");
                let opened = ciphertext.split_at_checked(NONCE_LEN).and_then(|(nonce, sealed)| {
                    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
                    let mut sealed = sealed.to_vec();
                    let along = Aad::from(bytes("additionalAuthenticatedData"));
                    Some(key.open_in_place(nonce, along, &mut sealed).ok()?.to_vec())
                });
                let Some(mut plain) = opened else {
                    return Some(error(
                        400,
                        "INVALID_ARGUMENT",
                        "Decryption failed: the ciphertext is invalid: canary",
                    ));
                };
                let sum = crc32c(&plain).to_string();
                if self.damages {
                    plain[0] ^= 1;
                }
                (200, json!({"plaintext": STANDARD.encode(plain), "plaintextCrc32c": sum, "usedPrimary": true}))
            }
            _ => error(404, "NOT_FOUND", "The requested URL was not found on this server."),
        })
    }
}
