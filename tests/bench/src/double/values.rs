//! What the double keeps: versions of texts, for everybody or for one identity.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The versions of one key, oldest first; there is at least one.
pub(super) type Versions = Vec<Version>;

/// One version of a value.
#[derive(Clone, Debug)]
pub(super) struct Version {
    /// As Secrets Manager names versions; the same for all stores.
    pub id: String,
    pub text: Arc<str>,
}

#[derive(Default)]
pub(super) struct Values {
    everybody: BTreeMap<String, Versions>,
    by_identity: HashMap<String, BTreeMap<String, Versions>>,
    written: u64,
}

impl Values {
    pub fn set(&mut self, identity: Option<&str>, key: &str, text: &str) {
        let version = self.version(text);
        let values = match identity {
            None => &mut self.everybody,
            Some(identity) => self.by_identity.entry(identity.to_owned()).or_default(),
        };
        values.entry(key.to_owned()).or_default().push(version);
    }

    pub fn remove(&mut self, key: &str) {
        self.everybody.remove(key);
        self.by_identity.values_mut().for_each(|values| _ = values.remove(key));
    }

    pub fn rotate(&mut self, new: impl Fn(&str) -> String) {
        let keys: Vec<String> = self.everybody.keys().cloned().collect();
        keys.iter().for_each(|key| self.set(None, key, &new(key)));
    }

    /// The versions of a key as this identity sees them.
    pub fn get(&self, identity: &str, key: &str) -> Option<&Versions> {
        let own = self.by_identity.get(identity).and_then(|values| values.get(key));
        own.or_else(|| self.everybody.get(key))
    }

    /// The keys that this identity sees.
    pub fn keys(&self, identity: &str) -> Vec<String> {
        let own = self.by_identity.get(identity).into_iter().flat_map(BTreeMap::keys);
        let mut keys: Vec<String> = self.everybody.keys().chain(own).cloned().collect();
        keys.sort();
        keys.dedup();
        keys
    }

    fn version(&mut self, text: &str) -> Version {
        self.written += 1;
        Version { id: format!("00000000-0000-4000-8000-{:012x}", self.written), text: text.into() }
    }
}
