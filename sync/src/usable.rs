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
            // Ready for who mounts, who says so. Nobody else logs in, whatever stands of its check.
            Some((store, _)) if store.is_for_mounts() => {
                causes.push(format!("{id} has spec.loginBy: Mount: only pods that mount of it log in, as themselves"))
            }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyferry_builders::store;
    use serde_json::json;

    use super::*;
    use crate::store::Store;

    #[test]
    fn nobody_but_who_mounts_logs_in_to_a_store_for_mounts_whatever_its_check_says() {
        let of = |spec, readiness: Readiness, flood_gate| {
            let store = Store::namespaced(store(spec));
            let (id, namespace) = (store.id.clone(), store.id.namespace.clone().unwrap());
            let stores: KnownStores = [(id.clone(), (Arc::new(store), readiness))].into();
            usable(&[id].into(), &stores, &namespace, None, flood_gate)
        };
        let for_mounts = || json!({"provider": {"fake": {}}, "loginBy": "Mount"});
        for flood_gate in [true, false] {
            for readiness in [Readiness::Unchecked, Readiness::NotReady("why".to_owned())] {
                let Usable::No(causes) = of(for_mounts(), readiness, flood_gate) else { panic!("it is used") };
                assert!(causes[0].contains("spec.loginBy: Mount"), "{causes:?}");
            }
            assert_eq!(of(for_mounts(), Readiness::Ready, flood_gate), Usable::Yes, "for who mounts");
        }
        let other = || json!({"provider": {"fake": {}}});
        assert_eq!(of(other(), Readiness::Unchecked, false), Usable::Yes);
        assert_eq!(of(other(), Readiness::Unchecked, true), Usable::NotYet);
    }
}
