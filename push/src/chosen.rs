//! Which stores a push is about: those that it fills, and those in which it may undo what it did. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyferry_crds::PushDeletionPolicy;
use keyferry_sync::settings::Settings;
use keyferry_sync::store::Store;

use crate::look::Look;
use crate::places::{Likeness, Sites};
use crate::refers::{named_stores, namespace, store_key, store_of, wants};

/// The stores that are pushed into: selected, of our class, and not about to go.
pub fn active<'a>(settings: &'a Settings, look: &'a Look) -> impl Iterator<Item = &'a Arc<Store>> {
    let stores = look.stores.values().map(|(store, _)| store);
    stores.filter(|store| {
        wants(&look.ps, store) && store.is_of_class(&settings.class) && store.metadata.deletion_timestamp.is_none()
    })
}

/// Whether a store, as the status calls it, is left to another controller: it is of another class.
pub fn is_theirs(settings: &Settings, look: &Look, key: &str) -> bool {
    let known = store_of(key, namespace(&look.ps)).and_then(|id| look.stores.get(&id));
    known.is_some_and(|(store, _)| !store.is_of_class(&settings.class))
}

/// Whether all stores that it wants, and all that are recorded, are left to other controllers, and there are some.
pub fn all_is_theirs(settings: &Settings, look: &Look) -> bool {
    let named = named_stores(&look.ps).iter().all(|id| look.stores.contains_key(id));
    let mut wanted = look.stores.values().map(|(store, _)| store).filter(|store| wants(&look.ps, store)).peekable();
    let mut recorded = look.ps.status.iter().flat_map(|status| status.synced_push_secrets.keys());
    named
        && wanted.peek().is_some()
        && wanted.all(|store| !store.is_of_class(&settings.class))
        && recorded.all(|key| is_theirs(settings, look, key))
}

/// Whether what was pushed into a store, as the status calls it, may be taken for unwanted. What goes into a store of
/// another class is for another controller to say, and a store that is about to go may come back: while the spec wants
/// it, so is what is in it.
pub fn may_undo(settings: &Settings, look: &Look, key: &str) -> bool {
    let known = store_of(key, namespace(&look.ps)).and_then(|id| look.stores.get(&id));
    let is_going = |store: &Store| wants(&look.ps, store) && store.metadata.deletion_timestamp.is_some();
    !is_theirs(settings, look, key) && !known.is_some_and(|(store, _)| is_going(store))
}

/// Whether all that is recorded of a store which is not filled any more stays there, since a store that is filled may lead to
/// the same place, in which it is wanted: as far as what is recorded tells, all of it as it was left before.
fn is_kept(settings: &Settings, look: &Look, key: &str) -> bool {
    let known = store_of(key, namespace(&look.ps)).and_then(|id| look.stores.get(&id));
    let places = look.ps.status.as_ref().and_then(|status| status.synced_push_secrets.get(key));
    let (Some((store, _)), Some(places)) = (known, places) else { return false };
    if look.ps.spec.deletion_policy != PushDeletionPolicy::Delete || places.is_empty() {
        return false;
    }
    let sites = Sites::recorded(look, active(settings, look));
    let leaving = sites.leaving(store);
    let stays = |likeness: Option<(_, Likeness)>| matches!(likeness, Some((_, Likeness::Unclear)));
    places.iter().all(|(place, data)| stays(leaving.wanted_through(place, data)))
}

/// Whether all stores are recorded, and no others that are there to be undone.
pub fn all_are_recorded(settings: &Settings, look: &Look) -> bool {
    let Some(status) = &look.ps.status else { return false };
    let is_there = |key: &str| store_of(key, namespace(&look.ps)).is_some_and(|id| look.stores.contains_key(&id));
    let left = |key: &&String| is_there(key) && may_undo(settings, look, key) && !is_kept(settings, look, key);
    let active: BTreeSet<String> = active(settings, look).map(|store| store_key(&store.id)).collect();
    active.iter().all(|key| status.synced_push_secrets.contains_key(key))
        && status.synced_push_secrets.keys().filter(left).all(|key| active.contains(key))
}

/// Whether a store has come to be selected since, or is not any more.
pub fn stores_changed(settings: &Settings, look: &Look) -> bool {
    let active: BTreeSet<String> = active(settings, look).map(|store| store_key(&store.id)).collect();
    let Some(status) = &look.ps.status else { return !active.is_empty() };
    let recorded = &status.synced_push_secrets;
    let is_left = |key: &String| may_undo(settings, look, key) && !is_kept(settings, look, key);
    active.iter().any(|key| !recorded.contains_key(key))
        || recorded.keys().filter(|key| !active.contains(*key)).any(is_left)
}
