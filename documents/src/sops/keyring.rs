//! Who has the keys of a file, and joining what they hold.

use async_trait::async_trait;
use keyferry_limits::DOCUMENT_CALLS;
use keyferry_provider_core::{Error, ErrorKind, KeyService, SecretBytes};

use super::metadata::Key;
use super::shamir;
use crate::format::malformed;

/// Whoever has keys, for one document.
#[async_trait]
pub trait Keyring: Send {
    /// What a key holds: the data key, or a group's part of it. The error names the key.
    async fn unwrap(&mut self, key: &Key) -> Result<SecretBytes, Error>;
}

/// How often services may still be asked for one document.
#[derive(Debug)]
pub struct Calls(usize);

impl Default for Calls {
    fn default() -> Self {
        Self(DOCUMENT_CALLS.size())
    }
}

impl Calls {
    /// Asks the service that keeps a key.
    ///
    /// # Errors
    /// Those of the service, or the limit.
    pub async fn unwrap(&mut self, service: &dyn KeyService, key: &Key) -> Result<SecretBytes, Error> {
        let left = self.0.checked_sub(1);
        self.0 = left.ok_or_else(|| Error::new(ErrorKind::Denied, DOCUMENT_CALLS.to_string()))?;
        service.unwrap(&key.to_unwrap()).await
    }
}

/// Opens groups until as many are open as must be.
pub async fn data_key(groups: &[Vec<Key>], needed: usize, keyring: &mut dyn Keyring) -> Result<SecretBytes, Error> {
    let (mut parts, mut why) = (Vec::new(), Vec::new());
    for group in groups {
        if parts.len() == needed {
            break;
        }
        match part(group, keyring).await {
            Ok(part) => parts.push(part),
            Err(errors) => why.extend(errors),
        }
    }
    // Of all that were one too many it is told once.
    why.dedup();
    if parts.len() < needed {
        return Err(too_few(parts.len(), needed, groups.len(), &why));
    }
    let key = if groups.len() > 1 { shamir::combine(&parts) } else { parts.pop() };
    key.filter(|key| key.len() == 32).ok_or_else(|| {
        malformed("what its key groups hold does not come to a key: it was changed after it was encrypted")
    })
}

/// The part of a group: by any of its keys.
async fn part(group: &[Key], keyring: &mut dyn Keyring) -> Result<SecretBytes, Vec<Error>> {
    let mut why = Vec::new();
    for key in group {
        match keyring.unwrap(key).await {
            Ok(part) => return Ok(part),
            Err(error) => why.push(error),
        }
    }
    if why.is_empty() {
        why.push(Error::invalid("a key group without keys"));
    }
    Err(why)
}

/// Why a document stays shut: how many groups were opened, and why each of the others was not.
fn too_few(opened: usize, needed: usize, groups: usize, why: &[Error]) -> Error {
    let reasons = why.iter().map(|error| error.to_string()).collect::<Vec<_>>().join("; ");
    let message = if groups > 1 {
        format!("{opened} of its {groups} key groups open, and {needed} must: {reasons}")
    } else {
        format!("none of its keys opens it: {reasons}")
    };
    // What is down for a moment, or does not know us, is not a matter of keys.
    match why.iter().find(|error| error.kind().concerns_store()) {
        Some(error) => {
            Error::new(error.kind(), message).with_blame(error.blame()).with_retry_after(error.retry_after())
        }
        None => Error::new(ErrorKind::Denied, message),
    }
}
