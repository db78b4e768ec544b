//! Keys in JSON.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use super::{
    der::Bytes,
    keys::{self, CURVES, Curve, PrivateKey, Rsa},
    pem,
};
use crate::{
    env::Context,
    error::Failure,
    value::{Str, Value},
};

/// What computing the public part of a key may cost, in steps.
const OPERATION: u64 = 2_000;

/// `jwkPublicKeyPem`
pub(super) fn public(context: &mut Context<'_, '_>, text: &Str) -> Result<Value, Failure> {
    let key = Key::parse(context, text)?;
    if key.is_private() {
        return Err(Failure::new("the key is a private one"));
    }
    let unsupported = || Failure::new("unsupported key");
    let bytes = match key.kind()? {
        Kind::Rsa => keys::public_rsa(&key.bytes("n")?, &key.bytes("e")?),
        Kind::Ec(curve) => keys::public_ec(curve, &key.bytes("x")?, &key.bytes("y")?).ok_or_else(unsupported)?,
        Kind::Ed25519 => keys::public_ed25519(&key.bytes("x")?),
        Kind::Other => return Err(unsupported()),
    };
    Ok(Value::str(pem::text("PUBLIC KEY", &bytes)))
}

/// `jwkPrivateKeyPem`
pub(super) fn private(context: &mut Context<'_, '_>, text: &Str) -> Result<Value, Failure> {
    let key = Key::parse(context, text)?;
    if !key.is_private() {
        return Err(Failure::new("the key is not a private one"));
    }
    let private = match key.kind()? {
        Kind::Rsa => {
            let (n, e, d) = (key.bytes("n")?, key.bytes("e")?, key.bytes("d")?);
            Rsa::new(&n, &e, &d, &key.bytes("p")?, &key.bytes("q")?).map(|key| PrivateKey::Rsa(Box::new(key)))
        }
        Kind::Ec(curve) => PrivateKey::ec_with_point(curve, &key.bytes("d")?, &key.bytes("x")?, &key.bytes("y")?),
        Kind::Ed25519 => PrivateKey::ed25519(&key.bytes("d")?, &key.bytes("x")?),
        Kind::Other => None,
    };
    let bytes = private.and_then(|key| key.to_pkcs8()).ok_or(Failure::new("invalid or unsupported key"))?;
    Ok(Value::str(pem::text("PRIVATE KEY", &bytes)))
}

struct Key(Map<String, Json>);

enum Kind {
    Rsa,
    Ec(&'static Curve),
    Ed25519,
    /// Known to JWK, but without a PEM form.
    Other,
}

impl Key {
    fn parse(context: &mut Context<'_, '_>, text: &Str) -> Result<Self, Failure> {
        context.spend(OPERATION + text.len() as u64 / 16)?;
        context.work(PrivateKey::work(text.len()))?;
        match serde_json::from_slice(text) {
            Ok(Json::Object(fields)) => Ok(Self(fields)),
            _ => Err(Failure::new("not a key in JSON")),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Json::as_str)
    }

    fn is_private(&self) -> bool {
        self.0.contains_key("d")
    }

    fn kind(&self) -> Result<Kind, Failure> {
        match (self.text("kty"), self.text("crv")) {
            (Some("RSA"), _) => Ok(Kind::Rsa),
            (Some("OKP"), Some("Ed25519")) => Ok(Kind::Ed25519),
            (Some("EC"), Some(name)) => match CURVES.iter().find(|curve| curve.name == name) {
                Some(curve) => Ok(Kind::Ec(curve)),
                None => Ok(Kind::Other),
            },
            (Some("OKP" | "oct" | "EC"), _) => Ok(Kind::Other),
            _ => Err(Failure::new("unknown type of key")),
        }
    }

    /// A number or a key; both alphabets of base64 are taken, padded or not.
    fn bytes(&self, name: &'static str) -> Result<Bytes, Failure> {
        let wrong = || Failure::new(format!("the key has no valid {name:?}"));
        let text = self.text(name).ok_or_else(wrong)?;
        let plain: String = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
        URL_SAFE_NO_PAD.decode(plain).map(Zeroizing::new).map_err(|_| wrong())
    }
}
