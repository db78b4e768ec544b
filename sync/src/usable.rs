//! Which stores may be used now, from a namespace: who is admitted, and what gates the others. Pure.

use std::collections::BTreeSet;

use crate::data::StringMap;
use crate::store::{KnownStores, Readiness, StoreId};

/// Whether stores may be used.
#[derive(Debug, PartialEq, Eq)]
pub enum Usable {
    /// All of them.
    Yes,
    /// One is still being checked, or the namespace has not been seen yet: either will wake who waits.
    NotYet,
    /// No, because of this.
    No(Vec<String>),
}

/// Whether `namespace`, whose `labels` are known once it has been seen, may use all stores `ids` now. Behind a flood gate
/// a store must be Ready first.
pub fn usable(
    ids: &BTreeSet<StoreId>,
    stores: &KnownStores,
    namespace: &str,
    labels: Option<&StringMap>,
    flood_gate: bool,
) -> Usable {
    let no_labels = StringMap::new();
    let known = labels.unwrap_or(&no_labels);
    let mut causes: Vec<String> = Vec::new();
    let mut unchecked = false;
    for id in ids {
        match stores.get(id) {
            None => causes.push(match &id.namespace {
                Some(namespace) => {
                    format!("{id} does not exist in namespace {namespace:?}: create it, or correct the reference")
                }
                None => format!("{id} does not exist: create it, or correct the reference"),
            }),
            Some((store, _)) if store.asks_for_labels() && labels.is_none() => unchecked = true,
            Some((store, _)) if !store.allows(namespace, known) => causes.push(format!(
                "using cluster store {:?} is not allowed from namespace {namespace:?}: denied by spec.condition",
                id.name
            )),
            Some((_, Readiness::Ready)) => {}
            Some(_) if !flood_gate => {}
            Some((_, Readiness::Unchecked)) => unchecked = true,
            Some((_, Readiness::NotReady(why))) => causes.push(format!("{id} is not ready: {why}")),
        }
    }
    if !causes.is_empty() {
        return Usable::No(causes);
    }
    if unchecked { Usable::NotYet } else { Usable::Yes }
}
