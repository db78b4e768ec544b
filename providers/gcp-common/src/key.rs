//! Key files of service accounts, and what they sign.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{Error, SecretBuf, SecretBytes, json};

use crate::spec::is_account;
use crate::text;

/// How long an assertion is good: as long as Google takes one for.
const GOOD_FOR: Duration = Duration::from_secs(3600);

/// The universe that all of this is about.
const UNIVERSE: &str = "googleapis.com";

/// A key of a service account.
pub struct Key {
    /// Whose it is.
    pub email: String,
    /// Where it buys tokens, as the file says; Google's usual place where it does not.
    pub token_uri: String,
    id: Option<String>,
    signer: KeyPair,
}

/// Where keys buy tokens.
pub const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

impl Key {
    /// Reads a key file. `field` is where the spec names it, for messages.
    ///
    /// # Errors
    /// `Invalid`, and never with a part of the file.
    pub fn read(file: &SecretBytes, field: &str) -> Result<Self, Error> {
        let wrong = |problem: &str| Error::invalid(format!("{field}: {problem}"));
        if json::object(file.expose()).is_none() {
            return Err(wrong("the key is not the JSON file that Google gives for a service account"));
        }
        let get = |name: &str| text::field(file, name);
        match get("type").as_deref() {
            Some("service_account") => {}
            Some("external_account") => {
                return Err(wrong(
                    "the file describes a federation and holds no key: name it as \
                     workloadIdentityFederation.credConfig",
                ));
            }
            _ => return Err(wrong("the type of the key file is not service_account")),
        }
        if get("universe_domain").is_some_and(|universe| universe != UNIVERSE) {
            return Err(wrong("the key is of another universe than googleapis.com, and that is not supported"));
        }
        // It stands in messages.
        let email = get("client_email").filter(|email| is_account(email));
        let email = email.ok_or_else(|| wrong("the key file has no client_email of a service account"))?;
        let pem =
            json::object(file.expose()).and_then(|fields| fields.get("private_key").map(|raw| json::to_bytes(raw)));
        let pem = pem.ok_or_else(|| wrong("the key file has no private_key"))?;
        let signer = signer(&pem).ok_or_else(|| wrong("the private_key of the key file is no RSA key in PEM"))?;
        let token_uri = get("token_uri").unwrap_or_else(|| TOKEN_URI.to_owned());
        Ok(Self { email, token_uri, id: get("private_key_id"), signer })
    }

    /// What buys a token for `scope` at the place that the key file names.
    pub fn assertion(&self, scope: &str, now: SystemTime) -> Option<SecretBytes> {
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map(|since| since.as_secs()).ok();
        let (from, until) = (seconds(now)?, seconds(now + GOOD_FOR)?);
        let header = serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": self.id});
        let claims =
            serde_json::json!({"iss": self.email, "scope": scope, "aud": self.token_uri, "iat": from, "exp": until});
        let mut out = SecretBuf::with_capacity(2048);
        text::web_base64(header.to_string().as_bytes(), &mut out);
        out.push(b'.');
        text::web_base64(claims.to_string().as_bytes(), &mut out);
        let mut signature = vec![0; self.signer.public_modulus_len()];
        self.signer.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), out.expose(), &mut signature).ok()?;
        out.push(b'.');
        text::web_base64(&signature, &mut out);
        Some(out.into())
    }
}

/// The key in a PEM text: PKCS#8, as Google writes it, or PKCS#1.
fn signer(pem: &SecretBytes) -> Option<KeyPair> {
    let text = pem.expose_str()?;
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (inner, _) = rest.split_once("-----END ")?;
    let mut plain = SecretBuf::with_capacity(inner.len());
    inner.bytes().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| plain.push(byte));
    let der = SecretBytes::new(STANDARD.decode(plain.expose()).ok()?);
    match label {
        "PRIVATE KEY" => KeyPair::from_pkcs8(der.expose()).ok(),
        "RSA PRIVATE KEY" => KeyPair::from_der(der.expose()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::encoding::Pkcs8V1Der;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;

    const CANARY: &str = "canary-9e21";

    fn file(more: &Value) -> (KeyPair, SecretBytes) {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
        let mut file = json!({"type": "service_account", "client_email": "app@p-1.iam.gserviceaccount.com",
            "private_key_id": "k1", "private_key": pem, "universe_domain": "googleapis.com"});
        for (name, value) in more.as_object().unwrap() {
            file[name] = value.clone();
        }
        (pair, file.to_string().as_str().into())
    }

    #[test]
    fn an_assertion_says_who_asks_for_what_and_until_when() {
        let (pair, file) = file(&json!({"token_uri": "https://oauth2.googleapis.com/token"}));
        let key = Key::read(&file, "f").unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let assertion = key.assertion("s", now).unwrap();
        let [header, claims, signature] = assertion.expose_str().unwrap().split('.').collect::<Vec<_>>()[..] else {
            panic!("three parts")
        };
        let read = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(read(header), json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
        let expected = json!({"iss": "app@p-1.iam.gserviceaccount.com", "scope": "s", "aud": TOKEN_URI, "iat": 1000,
            "exp": 4600});
        assert_eq!(read(claims), expected);
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref().to_vec());
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        public.verify(format!("{header}.{claims}").as_bytes(), &signature).unwrap();
    }

    #[test]
    fn what_is_no_key_file_is_told_without_a_part_of_it() {
        let broken = format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n");
        for (text, words) in [
            (CANARY.to_owned(), "is not the JSON file"),
            (format!("[{CANARY:?}]"), "is not the JSON file"),
            (format!("{{\"type\":{CANARY:?}}}"), "the type of the key file"),
            (r#"{"type":"external_account"}"#.to_owned(), "credConfig"),
            (r#"{"type":"service_account"}"#.to_owned(), "no client_email"),
            (format!("{{\"type\":\"service_account\",\"client_email\":\"{CANARY}\\n\"}}"), "no client_email"),
            (format!("{{\"type\":\"service_account\",\"client_email\":{CANARY:?}}}"), "no private_key"),
            (
                json!({"type": "service_account", "client_email": CANARY, "private_key": broken}).to_string(),
                "is no RSA key",
            ),
            (file(&json!({"universe_domain": CANARY})).1.expose_str().unwrap().to_owned(), "another universe"),
        ] {
            let error = Key::read(&text.as_str().into(), "the.field").err().unwrap();
            let message = error.message();
            assert!(message.starts_with("the.field: ") && message.contains(words), "{error}");
            assert!(!message.contains(CANARY), "{error}");
        }
    }
}
