//! What the specs of these stores share: how they are read, and what logs in.

use keyferry_provider_core::{Credentials, Error, SecretBytes, SecretRef, filled};
use serde::Deserialize;

/// Reads what stands under `spec.provider.KEY`. Nulls are taken as absent, as the API server leaves them.
///
/// # Errors
/// `Invalid`, and never with a part of the spec: the parser's own error would quote what it stumbles over.
pub fn read<'a, T: Deserialize<'a>>(spec: &'a serde_json::Value, key: &str) -> Result<T, Error> {
    T::deserialize(spec)
        .map_err(|_| Error::invalid(format!("spec.provider.{key} is not of the form that the documentation gives")))
}

/// What must be there.
///
/// # Errors
/// `Invalid`, with the name of the field.
pub fn needed<T>(value: Option<T>, field: &str) -> Result<T, Error> {
    value.ok_or_else(|| Error::invalid(format!("{field} is missing")))
}

/// A text that must be there, and not be empty.
///
/// # Errors
/// `Invalid`, with the name of the field.
pub fn needed_text(text: Option<String>, field: &str) -> Result<String, Error> {
    needed(filled(text), field)
}

/// A text that logs in, without white space around it: files that secrets were made from often end with a line.
///
/// # Errors
/// Those of the port, and `Invalid` where it is not text or empty; each with the name of the field.
pub async fn secret(
    credentials: &dyn Credentials,
    reference: &SecretRef,
    default_key: Option<&str>,
    field: &str,
) -> Result<SecretBytes, Error> {
    let value = credentials.secret(reference, default_key).await.map_err(|error| error.context(field))?;
    match value.expose_str().map(str::trim) {
        Some("") => Err(Error::invalid(format!("{field}: the secret is empty"))),
        Some(text) => Ok(SecretBytes::from(text)),
        None => Err(Error::invalid(format!("{field}: the secret is not text"))),
    }
}

/// A text that a spec gives as it is, or names a secret for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GivenSpec {
    value: Option<String>,
    secret_ref: Option<SecretRef>,
}

/// See [`GivenSpec`]; which of the two is known.
#[derive(Clone, Deserialize)]
#[serde(try_from = "GivenSpec")]
pub enum Given {
    /// It stands in the spec.
    Plain(SecretBytes),
    /// It is in a secret.
    Kept(SecretRef),
}

impl TryFrom<GivenSpec> for Given {
    type Error = &'static str;

    fn try_from(spec: GivenSpec) -> Result<Self, Self::Error> {
        match (filled(spec.value), spec.secret_ref) {
            (Some(value), None) => Ok(Self::Plain(value.trim().into())),
            (None, Some(reference)) => Ok(Self::Kept(reference)),
            // The reader says in its own words that this is not the form.
            (Some(_), Some(_)) | (None, None) => Err("one of value and secretRef"),
        }
    }
}

impl Given {
    /// The text.
    ///
    /// # Errors
    /// Those of [`secret`].
    pub async fn text(&self, credentials: &dyn Credentials, field: &str) -> Result<SecretBytes, Error> {
        match self {
            Self::Plain(text) => Ok(text.clone()),
            Self::Kept(reference) => secret(credentials, reference, None, field).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let words = |result: Result<String, Error>| result.unwrap_err().message().to_owned();
        assert_eq!(words(needed_text(None, "the.field")), "the.field is missing");
        assert_eq!(words(needed_text(Some(String::new()), "the.field")), "the.field is missing");
        let form = read::<GivenSpec>(&serde_json::json!({"value": ["canary"]}), "x").map(drop).unwrap_err();
        assert_eq!(form.message(), "spec.provider.x is not of the form that the documentation gives");
    }
}
