//! A certificate in the place of a client secret: a JWT that its key signs.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SystemRandom, fill};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PSS_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyferry_keys::{Bundle, Steps};
use keyferry_provider_core::{Error, SecretBuf, SecretBytes, json};

/// How long an assertion is good.
const LIFE: Duration = Duration::from_secs(600);

/// How much work a file may ask for: some tenths of a second, a hundred times what usual files take.
const MOST_STEPS: u64 = 2_000_000;

/// A key, and the certificate that Entra ID knows it by.
pub struct Signer {
    key: KeyPair,
    /// SHA-256 of the certificate, as base64.
    thumbprint: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer([redacted])")
    }
}

impl Signer {
    /// From a file with a certificate and its RSA key. It may compute for a moment.
    ///
    /// # Errors
    /// `Invalid`, in the words of `field`.
    pub fn new(file: &SecretBytes, field: &str) -> Result<Self, Error> {
        let wrong = |problem: &str| {
            Error::invalid(format!(
                "{field} must hold a certificate and its RSA key, as PEM or as PKCS #12 without a password: {problem}"
            ))
        };
        let bundle = Bundle::read(&mut Steps(MOST_STEPS), file.expose()).map_err(wrong)?;
        let key = bundle.key.as_ref().ok_or_else(|| wrong("there is no private key"))?;
        let pkcs8 = key.to_pkcs8().filter(|_| key.is_rsa()).ok_or_else(|| wrong("the key is not one of RSA"))?;
        let key =
            KeyPair::from_pkcs8(&pkcs8).map_err(|_| wrong("the key has less than 2048 or more than 8192 bits"))?;
        let certificate = bundle.own_certificate().ok_or_else(|| wrong("no certificate belongs to the key"))?;
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, certificate));
        Ok(Self { key, thumbprint })
    }

    /// Says to `audience` that we are `client`, for some minutes from `now`.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub fn sign(&self, audience: &str, client: &str, now: SystemTime) -> Result<SecretBytes, Error> {
        let failed = || Error::invalid("an assertion could not be signed");
        let mut id = [0; 16];
        fill(&mut id).map_err(|_| failed())?;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let header = format!(r#"{{"alg":"PS256","typ":"JWT","x5t#S256":"{}"}}"#, self.thumbprint);
        let mut claims = SecretBuf::default();
        for (name, text) in [("aud", audience), ("iss", client), ("sub", client)] {
            claims.push(if claims.is_empty() { b'{' } else { b',' });
            json::write_string(name, &mut claims);
            claims.push(b':');
            json::write_string(text, &mut claims);
        }
        let (from, until) = (now.as_secs(), (now + LIFE).as_secs());
        let id = URL_SAFE_NO_PAD.encode(id);
        claims.extend(format!(r#","jti":"{id}","nbf":{from},"iat":{from},"exp":{until}}}"#).as_bytes());
        let mut token = SecretBuf::with_capacity(1024);
        token.extend(URL_SAFE_NO_PAD.encode(header).as_bytes());
        token.push(b'.');
        token.extend(URL_SAFE_NO_PAD.encode(claims.expose()).as_bytes());
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), token.expose(), &mut signature).map_err(|_| failed())?;
        token.push(b'.');
        token.extend(URL_SAFE_NO_PAD.encode(signature).as_bytes());
        Ok(token.into())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
    use rcgen::{CertificateParams, KeyPair as TestKey, PKCS_RSA_SHA256, PublicKeyData as _};

    use super::*;

    #[test]
    fn what_is_signed_names_us_and_the_certificate_and_ends() {
        let key = TestKey::generate_for(&PKCS_RSA_SHA256).unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        let other = CertificateParams::default().self_signed(&TestKey::generate().unwrap()).unwrap();
        let file = format!("{}{}{}", other.pem(), certificate.pem(), key.serialize_pem());
        let signer = Signer::new(&file.as_str().into(), "the.field").unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let token = signer.sign("https://login/t/oauth2/v2.0/token", "client-1", now).unwrap();
        let token = token.expose_str().unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key.der_bytes())
            .verify(signed.as_bytes(), &signature)
            .unwrap();
        let [header, claims] = [0, 1].map(|part| -> serde_json::Value {
            let text = URL_SAFE_NO_PAD.decode(signed.split('.').nth(part).unwrap()).unwrap();
            serde_json::from_slice(&text).unwrap()
        });
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, certificate.der()));
        assert_eq!(header, serde_json::json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}));
        assert_eq!((&claims["iss"], &claims["sub"]), (&"client-1".into(), &"client-1".into()));
        assert_eq!(claims["aud"], "https://login/t/oauth2/v2.0/token");
        assert_eq!((&claims["nbf"], &claims["exp"]), (&1_700_000_000.into(), &1_700_000_600.into()));
        let again = signer.sign("https://login/t/oauth2/v2.0/token", "client-1", now).unwrap();
        assert!(again.expose_str() != Some(token), "each has an id of its own");
        assert_eq!(format!("{signer:?}"), "Signer([redacted])");
    }

    #[test]
    fn what_can_t_sign_is_said_without_a_word_of_it() {
        let rsa = TestKey::generate_for(&PKCS_RSA_SHA256).unwrap();
        let ec = TestKey::generate().unwrap();
        let of = |key: &TestKey| CertificateParams::default().self_signed(key).unwrap().pem();
        for (file, words) in [
            ("canary".to_owned(), "malformed"),
            (of(&rsa), "no private key"),
            (format!("{}{}", of(&ec), ec.serialize_pem()), "not one of RSA"),
            (format!("{}{}", of(&ec), rsa.serialize_pem()), "no certificate belongs"),
        ] {
            let error = Signer::new(&file.as_str().into(), "the.field").unwrap_err();
            assert!(error.message().starts_with("the.field must hold") && error.message().contains(words), "{error}");
            assert!(!error.message().contains("canary"), "{error}");
        }
    }
}
