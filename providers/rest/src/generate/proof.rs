//! What requests carry, and what tokens tell of themselves.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyferry_provider_core::{Error, SecretBuf, SecretBytes, json};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use serde::Deserialize;

use crate::login;
use crate::object::{at, base64};

/// Reads a generator's spec. Nulls are taken as absent, as the API server leaves them.
pub fn read<'a, T: Deserialize<'a>>(spec: &'a serde_json::Value, kind: &str) -> Result<T, Error> {
    // The parser's own error would quote what it stumbles over.
    T::deserialize(spec).map_err(|_| Error::invalid(format!("spec is not of the form that a {kind} has")))
}

/// A header of this prefix and secret; `field` is where the secret comes from.
pub fn header(name: HeaderName, prefix: &str, secret: &SecretBytes, field: &str) -> Result<HeaderMap, Error> {
    Ok(HeaderMap::from_iter([(name, login::header(prefix, secret, field)?)]))
}

/// A user and password, as HTTP has them.
pub fn basic(user: &str, password: &SecretBytes, field: &str) -> Result<HeaderMap, Error> {
    header(AUTHORIZATION, "Basic ", &pair(user, password), field)
}

/// A user and password in base64, with a colon between.
pub fn pair(user: &str, password: &SecretBytes) -> SecretBytes {
    let mut plain = SecretBuf::with_capacity(user.len() + password.len() + 1);
    plain.extend(user.as_bytes());
    plain.push(b':');
    plain.extend(password.expose());
    base64(&plain.into())
}

/// A text of an answer that is a secret.
pub fn secret_at(body: &SecretBytes, name: &str) -> Option<SecretBytes> {
    Some(json::to_bytes(at(body.expose(), &[name])?)).filter(|text| !text.is_empty())
}

/// A number of an answer.
pub fn number_at(body: &[u8], name: &str) -> Option<i64> {
    at(body, &[name])?.get().parse().ok()
}

/// When a JWT ends, by its own word: as a time, and as the number that it has.
pub fn end_of(token: &SecretBytes) -> Option<(SystemTime, u64)> {
    let claims = token.expose_str()?.split('.').nth(1)?;
    let claims = SecretBytes::new(URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?);
    let end = u64::try_from(number_at(claims.expose(), "exp")?).ok()?;
    Some((SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end))?, end))
}

/// Values by key.
pub fn values<const N: usize>(values: [(&str, SecretBytes); N]) -> BTreeMap<String, SecretBytes> {
    values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jwt_says_when_it_ends() {
        let token = |claims: &str| SecretBytes::from(format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims)).as_str());
        let end = end_of(&token(r#"{"exp":1700000000,"x":1}"#)).unwrap();
        assert_eq!(end, (SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), 1_700_000_000));
        for claims in ["{}", r#"{"exp":"soon"}"#, r#"{"exp":-1}"#, "no JSON"] {
            assert_eq!(end_of(&token(claims)), None, "{claims}");
        }
        assert_eq!(end_of(&"no token".into()), None);
    }

    #[test]
    fn a_user_and_password_are_one_in_base64() {
        assert_eq!(pair("u", &"p:é".into()).expose(), b"dTpwOsOp");
    }
}
