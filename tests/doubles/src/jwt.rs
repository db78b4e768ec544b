//! Service accounts of Google: a key, what it signs, and whether it did.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A service account, and its one key.
pub struct Account {
    email: String,
    pair: RsaKeyPair,
}

/// What a key is called.
const KEY_ID: &str = "key-1";

impl Account {
    /// One with a key of its own.
    ///
    /// # Panics
    /// Never: a key can be made.
    pub fn new(email: &str) -> Self {
        Self { email: email.to_owned(), pair: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key") }
    }

    /// The key as Google hands it out.
    ///
    /// # Panics
    /// Never: the key was made here.
    pub fn key_file(&self) -> String {
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&self.pair).expect("a key");
        let pem = crate::text::pem("PRIVATE KEY", der.as_ref());
        json!({"type": "service_account", "project_id": "p", "private_key_id": KEY_ID, "private_key": pem,
            "client_email": self.email, "client_id": "1", "token_uri": "https://oauth2.googleapis.com/token"})
        .to_string()
    }

    /// A JWT that says this.
    pub(crate) fn sign(&self, claims: &str) -> String {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": KEY_ID}).to_string();
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let signed = self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature);
        signed.expect("a key that signs");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// What a JWT says that this account signed and that is still good.
    pub(crate) fn read(&self, jwt: &str) -> Option<Value> {
        let (text, signature) = jwt.rsplit_once('.')?;
        let (header, claims) = text.split_once('.')?;
        let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        if header["alg"] != "RS256" || header["kid"] != KEY_ID {
            return None;
        }
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key().as_ref());
        key.verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let end = claims["exp"].as_u64()?;
        (now < end && end <= now + 900).then_some(claims)
    }
}

/// Whose JWT it claims to be, unchecked.
pub(crate) fn subject(jwt: &str) -> Option<String> {
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?).ok()?;
    let text = |name: &str| claims[name].as_str().map(str::to_owned);
    text("sub").filter(|sub| sub.contains('@')).or_else(|| text("email"))
}
