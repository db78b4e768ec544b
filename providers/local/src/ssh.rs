//! Pairs of SSH keys, in the forms that OpenSSH writes.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::encoding::{AsBigEndian as _, AsDer as _};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};
use aws_lc_rs::{error::Unspecified, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_keys::der::{self, Reader};
use keyferry_keys::pem;
use keyferry_provider_core::{
    BuildContext, Built, Error, ErrorKind, Generator, Keep, Made, SecretBuf, SecretBytes, State, Term,
};
use rand::Rng as _;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::Values;

/// RSA keys take long to make: one after the other, whoever asks.
static TURN: Semaphore = Semaphore::const_new(1);

/// The spec. Nulls are taken as absent, as the API server leaves them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    key_type: Option<String>,
    key_size: Option<i64>,
    comment: Option<String>,
}

/// A kind of keys.
#[derive(Clone, Copy)]
enum Kind {
    Rsa(KeySize),
    /// By OpenSSH's name of its curve.
    Ecdsa(&'static str, &'static EcdsaSigningAlgorithm),
    Ed25519,
}

struct Ssh {
    kind: Kind,
    comment: String,
}

/// Builds the generator.
pub fn build(spec: &serde_json::Value, _: BuildContext) -> Built {
    let spec = Spec::deserialize(spec).map_err(|_| Error::invalid("spec is not of the form that an SSHKey has"))?;
    let comment = spec.comment.unwrap_or_default();
    if comment.chars().any(char::is_control) {
        return Err(Error::invalid("spec.comment holds control characters, which would break the public key's line"));
    }
    Ok(Arc::new(Ssh { kind: kind(spec.key_type.as_deref().unwrap_or_default(), spec.key_size)?, comment }))
}

fn kind(name: &str, size: Option<i64>) -> Result<Kind, Error> {
    match (name, size) {
        ("" | "rsa", None | Some(2048)) => Ok(Kind::Rsa(KeySize::Rsa2048)),
        ("" | "rsa", Some(3072)) => Ok(Kind::Rsa(KeySize::Rsa3072)),
        ("" | "rsa", Some(4096)) => Ok(Kind::Rsa(KeySize::Rsa4096)),
        ("" | "rsa", Some(_)) => Err(Error::invalid("spec.keySize of an RSA key must be 2048, 3072 or 4096")),
        ("ecdsa", Some(384)) => Ok(Kind::Ecdsa("nistp384", &ECDSA_P384_SHA384_FIXED_SIGNING)),
        ("ecdsa", Some(521)) => Ok(Kind::Ecdsa("nistp521", &ECDSA_P521_SHA512_FIXED_SIGNING)),
        // As in External Secrets Operator, whatever else is asked for.
        ("ecdsa", _) => Ok(Kind::Ecdsa("nistp256", &ECDSA_P256_SHA256_FIXED_SIGNING)),
        ("ed25519", _) => Ok(Kind::Ed25519),
        _ => Err(Error::invalid("spec.keyType must be rsa, ecdsa or ed25519")),
    }
}

#[async_trait]
impl Generator for Ssh {
    async fn make(&self, _: &dyn Keep) -> Result<Made, Error> {
        let (kind, comment) = (self.kind, self.comment.clone());
        let _turn = match kind {
            Kind::Rsa(_) => TURN.acquire().await.ok(),
            Kind::Ecdsa(..) | Kind::Ed25519 => None,
        };
        let made = tokio::task::spawn_blocking(move || pair(kind, &comment)).await;
        let broken = || Error::new(ErrorKind::Unavailable, "no key could be made");
        Ok(made.map_err(|_| broken())?.ok_or_else(broken)?.into())
    }

    async fn revoke(&self, _: &State) -> Result<(), Error> {
        Ok(())
    }

    async fn renew(&self, _: &State) -> Result<Option<(State, Term)>, Error> {
        Ok(None)
    }
}

/// A pair, as it is written.
fn pair(kind: Kind, comment: &str) -> Option<Values> {
    let Halves { name, public, private } = halves(kind)?;
    let mut block = Wire::default();
    let check: u32 = rand::rng().random();
    block.number(check);
    block.number(check);
    block.text(name.as_bytes());
    block.0.extend(private.0.expose());
    block.text(comment.as_bytes());
    (1..=u8::MAX).take(block.0.len().next_multiple_of(8) - block.0.len()).for_each(|byte| block.0.push(byte));
    let mut whole = Wire::default();
    whole.0.extend(b"openssh-key-v1\0");
    for text in ["none", "none", ""] {
        whole.text(text.as_bytes());
    }
    whole.number(1);
    whole.text(public.0.expose());
    whole.text(block.0.expose());
    let private = SecretBytes::new(pem::text("OPENSSH PRIVATE KEY", whole.0.expose()).to_vec());
    let mut line = format!("{name} {}", STANDARD.encode(public.0.expose()));
    if !comment.is_empty() {
        line += &format!(" {comment}");
    }
    line.push('\n');
    Some([("privateKey".to_owned(), private), ("publicKey".to_owned(), SecretBytes::new(line.into_bytes()))].into())
}

/// The two halves of a key in OpenSSH's words; the private one without what goes around it.
struct Halves {
    name: String,
    public: Wire,
    private: Wire,
}

fn halves(kind: Kind) -> Option<Halves> {
    let (mut public, mut private) = (Wire::default(), Wire::default());
    let name = match kind {
        Kind::Rsa(_) => "ssh-rsa".to_owned(),
        Kind::Ecdsa(curve, _) => format!("ecdsa-sha2-{curve}"),
        Kind::Ed25519 => "ssh-ed25519".to_owned(),
    };
    public.text(name.as_bytes());
    match kind {
        Kind::Rsa(size) => {
            let pkcs8 = rsa::KeyPair::generate(size).and_then(|pair| pair.as_der().map_err(|_| Unspecified)).ok()?;
            let mut outer = Reader::only(pkcs8.as_ref(), der::SEQUENCE)?;
            outer.small()?;
            outer.sequence()?;
            let mut numbers = Reader::only(outer.take(der::OCTET_STRING)?, der::SEQUENCE)?;
            numbers.small()?;
            let mut next = || numbers.unsigned();
            let [n, e, d, p, q, _, _, inverse] =
                [next()?, next()?, next()?, next()?, next()?, next()?, next()?, next()?];
            [e, n].into_iter().for_each(|number| public.integer(number));
            [n, e, d, inverse, p, q].into_iter().for_each(|number| private.integer(number));
        }
        Kind::Ecdsa(curve, algorithm) => {
            let pair = EcdsaKeyPair::generate(algorithm).ok()?;
            let point = pair.public_key().as_ref();
            for half in [&mut public, &mut private] {
                half.text(curve.as_bytes());
                half.text(point);
            }
            private.integer(pair.private_key().as_be_bytes().ok()?.as_ref());
        }
        Kind::Ed25519 => {
            let pair = Ed25519KeyPair::generate().ok()?;
            let point = pair.public_key().as_ref();
            public.text(point);
            private.text(point);
            let mut both = SecretBuf::with_capacity(64);
            both.extend(pair.seed().ok()?.as_be_bytes().ok()?.as_ref());
            both.extend(point);
            private.text(both.expose());
        }
    }
    Some(Halves { name, public, private })
}

/// What SSH writes (RFC 4251).
#[derive(Default)]
struct Wire(SecretBuf);

impl Wire {
    fn number(&mut self, number: u32) {
        self.0.extend(&number.to_be_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend(text);
    }

    /// A number that is not negative, without zeros before it.
    fn integer(&mut self, number: &[u8]) {
        let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
        let digits = &number[first..];
        let needs_sign = digits.first().is_some_and(|byte| byte & 0x80 != 0);
        self.number(u32::try_from(digits.len() + usize::from(needs_sign)).unwrap_or(u32::MAX));
        if needs_sign {
            self.0.push(0);
        }
        self.0.extend(digits);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn texts(values: &Values) -> (&str, &str) {
        (values["privateKey"].expose_str().unwrap(), values["publicKey"].expose_str().unwrap())
    }

    #[test]
    fn openssh_reads_them() {
        let keygen = std::process::Command::new("ssh-keygen").arg("-?").output();
        for (name, size, begins) in [
            ("", None, "ssh-rsa "),
            ("ecdsa", None, "ecdsa-sha2-nistp256 "),
            ("ecdsa", Some(384), "ecdsa-sha2-nistp384 "),
            ("ecdsa", Some(521), "ecdsa-sha2-nistp521 "),
            ("ed25519", None, "ssh-ed25519 "),
        ] {
            let values = pair(kind(name, size).unwrap(), "me@here").unwrap();
            let (private, public) = texts(&values);
            assert!(private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"), "{name}");
            assert!(public.starts_with(begins) && public.ends_with(" me@here\n"), "{public}");
            // Its own tool is the judge, where the machine has it.
            if keygen.is_err() {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("key");
            std::fs::write(&file, private).unwrap();
            let mut permissions = std::fs::metadata(&file).unwrap().permissions();
            permissions.set_mode(0o600);
            std::fs::set_permissions(&file, permissions).unwrap();
            let told = std::process::Command::new("ssh-keygen").arg("-y").arg("-f").arg(&file).output().unwrap();
            assert!(told.status.success(), "{name} {size:?}");
            let told = String::from_utf8(told.stdout).unwrap();
            assert_eq!(
                told.trim().split(' ').take(2).collect::<Vec<_>>(),
                public.split(' ').take(2).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn what_can_not_be_made_is_told() {
        for (name, size) in [("rsa", Some(1024)), ("rsa", Some(100_000)), ("dsa", None)] {
            assert!(kind(name, size).is_err(), "{name} {size:?}");
        }
    }

    #[test]
    fn numbers_are_as_short_as_can_be_and_never_negative() {
        let written = |number: &[u8]| {
            let mut wire = Wire::default();
            wire.integer(number);
            wire.0.expose().to_vec()
        };
        assert_eq!(written(&[0, 0, 1]), [0, 0, 0, 1, 1]);
        assert_eq!(written(&[0x80]), [0, 0, 0, 2, 0, 0x80]);
        assert_eq!(written(&[0]), [0, 0, 0, 0]);
    }
}
