//! Which places may be told: not those whose names `spec.template` may have made of a value. Pure.

use std::collections::{BTreeMap, BTreeSet};

use keyferry_crds::{PushData, PushSecret, Pushed};
use keyferry_provider_core::SecretBytes;
use keyferry_sync::data::Data;
use keyferry_sync::told;
use keyferry_sync::told::{Name, Told};

use crate::convert::reversed;
use crate::memory::Memory;
use crate::refers::store_key;

/// What is known of the names of places.
pub struct Nameable {
    /// Places, by store, whose key the template made when they were pushed.
    made: BTreeSet<(String, String)>,
    /// The keys that the sources have by themselves, as each strategy reads them; `None` while they are not read.
    own: Option<BTreeSet<String>>,
}

impl Nameable {
    /// By what is remembered of the places that are held.
    pub fn of(memory: &Memory) -> Self {
        let places = memory.stores.iter().flat_map(|(id, known)| known.held.iter().map(move |held| (id, held)));
        let made = places.filter(|(_, (_, held))| held.made.is_some());
        Self { made: made.map(|(id, (place, _))| (store_key(id), place.clone())).collect(), own: None }
    }

    /// Takes what the sources hold, as it was read.
    pub fn read<'a>(&mut self, sources: impl Iterator<Item = &'a Data>) {
        let keys = sources.flat_map(BTreeMap::keys).flat_map(|key| [reversed(key), key.clone()]);
        self.own = Some(keys.collect());
    }

    /// A place of a store, of which this is recorded.
    pub fn place(&self, ps: &PushSecret, store: &str, place: &str, data: &PushData) -> Told {
        self.untold(ps, store, place, data).unwrap_or_else(|| told!("{}", Name(place)))
    }

    /// What is told of a place in place of its name, where that may not be.
    pub fn untold(&self, ps: &PushSecret, store: &str, place: &str, data: &PushData) -> Option<Told> {
        let is_untold = !self.may_be_told(ps, store, place, data);
        is_untold.then(|| "what dataTo pushed by a key that spec.template made".into())
    }

    /// The names of what is recorded that may not be told, whoever tells them.
    pub fn all_untold(&self, ps: &PushSecret, recorded: &Pushed) -> Vec<SecretBytes> {
        let all =
            recorded.iter().flat_map(|(store, places)| places.iter().map(move |(place, data)| (store, place, data)));
        let untold = all.filter(|(store, place, data)| !self.may_be_told(ps, store, place, data));
        let texts = untold.flat_map(|(_, _, data)| [data.secret_key(), data.matched.remote_ref.remote_key.as_str()]);
        texts.map(SecretBytes::from).collect()
    }

    fn may_be_told(&self, ps: &PushSecret, store: &str, place: &str, data: &PushData) -> bool {
        let key = data.secret_key();
        // Both stand in the spec.
        let is_written = || ps.spec.data.iter().any(|entry| entry.matched == data.matched);
        if key.is_empty() || is_written() {
            return true;
        }
        if self.made.contains(&(store.to_owned(), place.to_owned())) {
            return false;
        }
        ps.spec.template.is_none() || self.own.as_ref().is_some_and(|own| own.contains(key))
    }
}
