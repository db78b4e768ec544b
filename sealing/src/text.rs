//! keyferry's own form of a sealed value, which says of itself for whom it is: `sealed:KEY:NAMESPACE[/SERVICEACCOUNT]:BASE64`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_limits::DOCUMENT_SIZE;
use keyferry_provider_core::names::{is_label, is_name};
use keyferry_provider_core::{Error, ErrorKind, Scope};

use crate::envelope::seal;
use crate::keys::PublicKey;

/// What such a text begins with.
pub const PREFIX: &str = "sealed:";

/// A sealed value. What it says of itself is checked when it is opened: another namespace opens nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Which key sealed it.
    pub key: String,
    /// For whom: a namespace, or a ServiceAccount.
    pub scope: Scope,
    /// What is sealed.
    pub bytes: Vec<u8>,
}

impl Sealed {
    /// Seals a value.
    pub fn new(key: &PublicKey, scope: Scope, plain: &[u8]) -> Result<Self, Error> {
        Ok(Self { key: key.id().to_owned(), bytes: seal(key, &scope, plain)?, scope })
    }
}

/// `NAMESPACE` or `NAMESPACE/SERVICEACCOUNT`.
///
/// # Errors
/// What is wrong with it.
pub fn scope(text: &str) -> Result<Scope, String> {
    let (namespace, account) = match text.split_once('/') {
        Some((namespace, account)) => (namespace, Some(account)),
        None => (text, None),
    };
    if !is_label(namespace) || account.is_some_and(|account| !is_name(account)) {
        return Err(format!("{text:?} is neither NAMESPACE nor NAMESPACE/SERVICEACCOUNT"));
    }
    let namespace = namespace.to_owned();
    Ok(match account {
        Some(account) => Scope::ServiceAccount(namespace, account.to_owned()),
        None => Scope::Namespace(namespace),
    })
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = match &self.scope {
            Scope::ServiceAccount(namespace, name) | Scope::Secret(namespace, name) => format!("{namespace}/{name}"),
            Scope::Namespace(namespace) | Scope::Secrets(namespace) => namespace.clone(),
            Scope::AnySecret => String::new(),
        };
        write!(f, "{PREFIX}{}:{whom}:{}", self.key, STANDARD.encode(&self.bytes))
    }
}

impl FromStr for Sealed {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > 2 * DOCUMENT_SIZE.size() {
            return Err(Error::limit(&DOCUMENT_SIZE));
        }
        let wrong = || {
            Error::new(
                ErrorKind::Malformed,
                "it is not of the form that `keyferry seal --for` prints: sealed:KEY:NAMESPACE:BASE64",
            )
        };
        let mut parts = text.trim().strip_prefix(PREFIX).ok_or_else(wrong)?.splitn(3, ':');
        let (Some(key), Some(whom), Some(bytes)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        let is_id = key.len() == 8 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        let scope = scope(whom).map_err(|_| wrong())?;
        let bytes = STANDARD.decode(bytes).map_err(|_| wrong())?;
        if is_id { Ok(Self { key: key.to_owned(), scope, bytes }) } else { Err(wrong()) }
    }
}

/// Where such texts stand in a file: they end where base64 does.
pub fn find(text: &str) -> Vec<std::ops::Range<usize>> {
    let is_of_one = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=:-.".contains(&byte);
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(PREFIX).map(|at| from + at) {
        let length = text.as_bytes()[at..].iter().take_while(|byte| is_of_one(**byte)).count();
        let is_whole_word = !text[..at].ends_with(|before: char| before.is_ascii_alphanumeric());
        if is_whole_word && text[at..at + length].parse::<Sealed>().is_ok() {
            found.push(at..at + length);
        }
        from = at + length.max(PREFIX.len());
    }
    found
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
