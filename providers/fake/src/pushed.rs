//! What was pushed: kept in memory, as External Secrets Operator does, and of that as much as a namespace may take.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use keyferry_limits::FAKE_PUSHED;
use keyferry_provider_core::{Blame, Error, SecretBytes};

/// What all stores of each namespace hold, in bytes.
static HELD: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

/// The values that were pushed into one store, by key.
pub struct Pushed {
    /// Whose share they take.
    namespace: String,
    values: Mutex<HashMap<String, SecretBytes>>,
}

impl Pushed {
    /// Nothing yet, in this namespace's share.
    pub fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), values: Mutex::default() }
    }

    /// The value of a key; `None` where none was pushed.
    pub fn get(&self, key: &str) -> Option<SecretBytes> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.values.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// Keeps a value in place of what there was.
    ///
    /// # Errors
    /// `Invalid` where the namespace would hold too much.
    pub fn put(&self, key: &str, value: SecretBytes) -> Result<(), Error> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let before = values.get(key).map_or(0, |there| size(key, there));
        self.hold(before, size(key, &value))?;
        values.insert(key.to_owned(), value);
        Ok(())
    }

    /// Forgets a key.
    pub fn remove(&self, key: &str) {
        let removed = self.values.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some(value) = removed {
            self.release(size(key, &value));
        }
    }

    /// Takes bytes of the namespace's share in place of others.
    fn hold(&self, before: usize, after: usize) -> Result<(), Error> {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let there = held.get(&self.namespace).copied().unwrap_or_default().saturating_sub(before);
        if there + after > FAKE_PUSHED.size() {
            return Err(Error::invalid(FAKE_PUSHED.to_string()).with_blame(Blame::Request));
        }
        held.insert(self.namespace.clone(), there + after);
        Ok(())
    }

    fn release(&self, bytes: usize) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = held.get_mut(&self.namespace) {
            *there = there.saturating_sub(bytes);
            if *there == 0 {
                held.remove(&self.namespace);
            }
        }
    }
}

impl Drop for Pushed {
    fn drop(&mut self) {
        let values = self.values.get_mut().unwrap_or_else(PoisonError::into_inner);
        let bytes = values.iter().map(|(key, value)| size(key, value)).sum();
        self.release(bytes);
    }
}

/// What a value takes: many small ones are not for nothing.
fn size(key: &str, value: &SecretBytes) -> usize {
    key.len() + value.expose().len() + 128
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: usize) -> SecretBytes {
        SecretBytes::new(vec![b'x'; bytes])
    }

    #[test]
    fn a_namespace_has_a_share_and_takes_none_of_others() {
        let (first, second) = (Pushed::new("share"), Pushed::new("share"));
        let most = FAKE_PUSHED.size();
        first.put("a", of(most / 2)).unwrap();
        let refused = second.put("a", of(most / 2)).unwrap_err();
        assert!(refused.message().contains("fake-pushed"), "{refused}");
        assert_eq!(second.get("a"), None);
        Pushed::new("other-share").put("a", of(most / 2)).unwrap();
        // What takes the place of another counts once, and what goes counts no more.
        first.put("a", of(most / 2 + 1)).unwrap();
        first.remove("a");
        second.put("a", of(most / 2)).unwrap();
        drop(second);
        first.put("b", of(most - 200)).unwrap();
        assert_eq!(first.keys(), ["b"]);
    }
}
