//! What is written: bodies of requests, and what a push says of them. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use keyferry_keys::{Bundle, Jwk, Meter as _, PrivateKey, Steps, pem};
use keyferry_provider_core::{Blame, Error, Remote, SecretBuf, SecretBytes, filled, json};
use serde::Deserialize;

use crate::answers::{Found, MARK};

/// How much work a file may ask for: some tenths of a second, a hundred times what usual files take.
const MOST_STEPS: u64 = 2_000_000;

/// What a PushSecret says to this store (`metadata`).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// When the secret ends, in seconds of 1970.
    pub expires: Option<i64>,
    /// What its text is.
    pub content_type: Option<String>,
    /// Its tags, beside the mark.
    pub tags: BTreeMap<String, String>,
}

/// What metadata may say.
const SAID: [&str; 3] = ["expirationDate", "contentType", "tags"];

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SaidSpec {
    expiration_date: Option<String>,
    content_type: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}

impl Said {
    /// Reads the metadata of a push.
    ///
    /// # Errors
    /// `Invalid` where it is of another form.
    pub fn new(remote: &Remote) -> Result<Self, Error> {
        let spec: SaidSpec = remote.metadata_spec(&SAID)?;
        let wrong = |problem: &str| Error::invalid(format!("the metadata {problem}")).with_blame(Blame::Request);
        let date = |text: String| {
            let time = text.parse::<Timestamp>();
            time.map_err(|_| wrong("has an expirationDate that is no time like 2030-12-31T20:00:00Z"))
        };
        let tags = spec.tags.unwrap_or_default();
        if tags.contains_key(MARK.0) {
            return Err(wrong("must not set the tag managed-by, which is ours"));
        }
        Ok(Self {
            expires: filled(spec.expiration_date).map(date).transpose()?.map(Timestamp::as_second),
            content_type: filled(spec.content_type),
            tags,
        })
    }

    fn write_tags(&self, out: &mut SecretBuf) {
        out.extend(b"\"tags\":{");
        let own = (MARK.0.to_owned(), MARK.1.to_owned());
        let all: BTreeMap<String, String> = self.tags.clone().into_iter().chain([own]).collect();
        for (n, (name, value)) in all.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            json::write_string(name, out);
            out.push(b':');
            json::write_string(value, out);
        }
        out.push(b'}');
    }
}

/// The body that sets a secret; `None` where `there` is the same and ours.
pub fn secret(value: &SecretBytes, said: &Said, there: Option<&Found>) -> Result<Option<SecretBytes>, Error> {
    // What nobody says stays as it is.
    let content_type = said.content_type.as_ref().or(there.and_then(|found| found.content_type.as_ref()));
    let is_same = |found: &Found| {
        found.is_ours()
            && found.value == *value
            && found.expires() == said.expires
            && found.content_type.as_ref() == content_type
    };
    if there.is_some_and(is_same) {
        return Ok(None);
    }
    let mut out = SecretBuf::with_capacity(value.len() + 256);
    out.extend(b"{\"value\":");
    json::write_plain_string(text(value)?, &mut out);
    out.extend(b",\"attributes\":{\"enabled\":true");
    if let Some(end) = said.expires {
        out.extend(format!(",\"exp\":{end}").as_bytes());
    }
    out.extend(b"},");
    if let Some(content_type) = content_type {
        out.extend(b"\"contentType\":");
        json::write_string(content_type, &mut out);
        out.push(b',');
    }
    said.write_tags(&mut out);
    out.push(b'}');
    Ok(Some(out.into()))
}

/// The body that imports a key: a private one as PEM, or any other bytes as a symmetric one. `None` where `there` is the
/// same and ours.
pub fn key(value: &SecretBytes, said: &Said, there: Option<&Found>) -> Result<Option<SecretBytes>, Error> {
    let wrong =
        |problem: &str| Error::invalid(format!("the value is no key to import: {problem}")).with_blame(Blame::Request);
    let jwk = match pem::decode(value.expose()).0 {
        None => Jwk { kty: "oct", crv: None, members: vec![("k", value.expose().to_vec().into())] },
        Some(block) => {
            if !matches!(block.kind.as_slice(), b"PRIVATE KEY" | b"RSA PRIVATE KEY" | b"EC PRIVATE KEY") {
                return Err(wrong("its PEM block holds no private key"));
            }
            Steps(MOST_STEPS).check(block.bytes.len()).map_err(wrong)?;
            let key = PrivateKey::parse(&block.bytes).ok_or_else(|| wrong("its private key can't be read"))?;
            key.to_jwk().ok_or_else(|| wrong("Key Vault takes RSA and elliptic curves"))?
        }
    };
    let mut members: Vec<(&str, SecretBytes)> = vec![("kty", jwk.kty.into())];
    members.extend(jwk.crv.map(|crv| ("crv", crv.into())));
    let encoded = |bytes: &[u8]| SecretBytes::new(URL_SAFE_NO_PAD.encode(bytes).into_bytes());
    members.extend(jwk.members.iter().map(|(name, bytes)| (*name, encoded(bytes))));
    let is_same = |found: &Found| found.is_ours() && is_public_half(&found.value, &members);
    if there.is_some_and(is_same) {
        return Ok(None);
    }
    let mut out = SecretBuf::with_capacity(4096);
    for (n, (name, value)) in members.iter().enumerate() {
        out.extend(if n == 0 { b"{\"key\":{" } else { b"," });
        json::write_string(name, &mut out);
        out.push(b':');
        json::write_string(value.expose_str().unwrap_or_default(), &mut out);
    }
    out.extend(b"},\"attributes\":{\"enabled\":true},");
    said.write_tags(&mut out);
    out.push(b'}');
    Ok(Some(out.into()))
}

/// Whether a JWK in a vault is the public half of this key. Of a symmetric one it shows nothing.
fn is_public_half(jwk: &SecretBytes, members: &[(&str, SecretBytes)]) -> bool {
    let Some(there) = json::object(jwk.expose()) else { return false };
    let public = ["n", "e", "crv", "x", "y"];
    let mut shown = members.iter().filter(|(name, _)| public.contains(name)).peekable();
    shown.peek().is_some()
        && shown.all(|(name, value)| there.get(*name).is_some_and(|raw| json::to_bytes(raw) == *value))
}

/// The body that imports a certificate with its key: PKCS #12 without a password, or PEM. `None` where `there` is the same
/// certificate and ours. It may compute for a moment.
pub fn certificate(value: &SecretBytes, said: &Said, there: Option<&Found>) -> Result<Option<SecretBytes>, Error> {
    let wrong = |problem: &str| {
        Error::invalid(format!(
            "the value is no certificate to import, as PEM or as PKCS #12 without a password: {problem}"
        ))
        .with_blame(Blame::Request)
    };
    let bundle = Bundle::read(&mut Steps(MOST_STEPS), value.expose()).map_err(wrong)?;
    if bundle.key.is_none() {
        return Err(wrong("there is no private key"));
    }
    let own = bundle.own_certificate().ok_or_else(|| wrong("no certificate belongs to the key"))?;
    if there.is_some_and(|found| found.is_ours() && found.value.expose() == own) {
        return Ok(None);
    }
    let is_pem = pem::decode(value.expose()).0.is_some();
    let encoded = SecretBytes::new(STANDARD.encode(value.expose()).into_bytes());
    let mut out = SecretBuf::with_capacity(encoded.len() + 256);
    out.extend(b"{\"value\":\"");
    out.extend(encoded.expose());
    out.push(b'"');
    // Without it PEM is not taken for what it is.
    let form = if is_pem { "application/x-pem-file" } else { "application/x-pkcs12" };
    out.extend(format!(r#","policy":{{"secret_props":{{"contentType":"{form}"}}}},"#).as_bytes());
    said.write_tags(&mut out);
    out.push(b'}');
    Ok(Some(out.into()))
}

fn text(value: &SecretBytes) -> Result<&str, Error> {
    value.expose_str().ok_or_else(|| {
        Error::invalid("the value is not text, which is all that a secret of Key Vault holds: push it as base64")
            .with_blame(Blame::Request)
    })
}

#[cfg(test)]
#[path = "written_tests.rs"]
mod tests;
