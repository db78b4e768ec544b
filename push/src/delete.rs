//! What is undone: entries that were pushed and are not wanted any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _};
use keyferry_crds::{PushData, PushSecret, Pushed};
use keyferry_limits::PUSH_RECORD;
use keyferry_provider_core::{Error, Reach, SecretBytes};
use keyferry_sync::audit::Action;
use keyferry_sync::outcome::Retry;
use keyferry_sync::store::{Store, StoreId};
use keyferry_sync::told;
use keyferry_sync::told::{Spec, Told};

use crate::audited;
use crate::chosen::is_theirs;
use crate::each::AT_ONCE;
use crate::expand::{self, overlapping, record_bytes, remote};
use crate::ledger::Ledger;
use crate::look::{Look, World};
use crate::nameable::Nameable;
use crate::outcome::retry_of;
use crate::places::{Leaving, Likeness, Sites};
use crate::plan::unusable;
use crate::ports::Opened;
use crate::record;
use crate::refers::{found_in, namespace, store_of};
use crate::source::Layout;

/// What deleting came to.
#[derive(Default)]
pub struct Deleted {
    /// What is deleted: by store, the places.
    pub deleted: Vec<(String, String)>,
    /// What stays there, and is forgotten.
    pub left: Vec<(String, String)>,
    /// What stays there as long as it may be what is wanted through another store, and stays recorded: nobody else may ever
    /// delete it.
    pub kept: Vec<(String, String)>,
    /// What could not be.
    pub failed: Vec<(Told, Retry)>,
}

/// So many bytes of what stays apart are recorded: beside what is pushed, and was before, a status has no room for more.
const KEPT: usize = PUSH_RECORD.size() / 2;

/// What stays in stores: by store, the places.
pub type Left = BTreeMap<String, Vec<Told>>;

/// What is recorded and not wanted. Where it is not known what is wanted in a store, nothing of it is among them.
pub fn unwanted(recorded: &Pushed, layout: &Layout, namespace: &str) -> Pushed {
    let mut unwanted = Pushed::new();
    let is_known = layout.values().all(|wanted| wanted.unknown.is_empty());
    for (store, places) in recorded.iter().filter(|_| is_known) {
        let wanted = store_of(store, namespace).and_then(|id| layout.get(&id));
        let places = places.iter().filter(|(place, _)| !wanted.is_some_and(|wanted| wanted.is_wanted(place)));
        let places: BTreeMap<String, PushData> = places.map(|(place, data)| (place.clone(), data.clone())).collect();
        if !places.is_empty() {
            unwanted.insert(store.clone(), places);
        }
    }
    unwanted
}

/// Takes out of what is unwanted what can't be deleted without taking from what is wanted. It is forgotten where what is
/// wanted is there instead, and ours to delete one day.
pub fn keep_overlapping(
    world: &World,
    ps: &PushSecret,
    names: &Nameable,
    ledger: &mut Ledger,
    unwanted: &mut Pushed,
    layout: &Layout,
) {
    unwanted.retain(|store, places| {
        let Some(wanted) = store_of(store, namespace(ps)).and_then(|id| layout.get(&id)) else { return true };
        let found = found_in(Some(&ledger.status), store).to_vec();
        places.retain(|place, data| {
            let Some(by) = overlapping(data, wanted) else { return true };
            let recorded = ledger.status.synced_push_secrets.get(store);
            if recorded.is_some_and(|recorded| recorded.contains_key(by)) && !found.iter().any(|theirs| theirs == by) {
                ledger.remove(store, place);
                if data.property().is_none() && !found.contains(place) {
                    world.ports.journal.note(ps, record::left_whole(store, names.place(ps, store, place, data)));
                }
            }
            false
        });
        !places.is_empty()
    });
}

/// Takes out of what is recorded what nobody can delete any more, since its store is not there: by store, the places.
/// ClusterSecretStores that are not looked after may be there all the same.
pub fn stranded(world: &World, look: &Look, names: &Nameable, recorded: &mut Pushed) -> Left {
    let mut stranded = Left::new();
    recorded.retain(|key, places| {
        let id = store_of(key, namespace(&look.ps));
        let is_unseen = id.as_ref().is_some_and(|id| id.namespace.is_none()) && !world.settings.cluster_stores;
        let stays = is_unseen || id.is_some_and(|id| look.stores.contains_key(&id));
        if !stays {
            stranded.insert(key.clone(), ours(look, names, key, places));
        }
        stays
    });
    stranded.retain(|_, places: &mut Vec<Told>| !places.is_empty());
    stranded
}

/// Takes out of what is recorded what is in stores of other controllers: by store, the places.
pub fn of_others(world: &World, look: &Look, names: &Nameable, recorded: &mut Pushed) -> Left {
    let mut theirs = Left::new();
    recorded.retain(|key, places| {
        let is_theirs = is_theirs(&world.settings, look, key);
        if is_theirs {
            theirs.insert(key.clone(), ours(look, names, key, places));
        }
        !is_theirs
    });
    theirs.retain(|_, places| !places.is_empty());
    theirs
}

/// The places of a store that did not hold anything before us.
fn ours(look: &Look, names: &Nameable, store: &str, places: &BTreeMap<String, PushData>) -> Vec<Told> {
    let not_ours = found_in(look.ps.status.as_ref(), store);
    let ours = places.iter().filter(|(place, _)| !not_ours.contains(place));
    ours.map(|(place, data)| names.place(&look.ps, store, place, data)).collect()
}

/// Tells what stays when a PushSecret goes: in stores that do not exist, and in those of other controllers.
pub fn tell_left(world: &World, ps: &PushSecret, stranded: &Left, theirs: &Left) {
    let (namespace, name) = (ps.metadata.namespace.as_deref(), ps.metadata.name.as_deref());
    for (store, places) in stranded {
        let told = record::named(places);
        tracing::warn!(namespace, name, store, places = %told, "the store does not exist: what was pushed there stays");
        world.ports.journal.note(ps, record::left_behind(store, places));
    }
    for (store, places) in theirs {
        tracing::warn!(
            namespace,
            name,
            store,
            places = %record::named(places),
            "the store is of another controller class: what was pushed there stays"
        );
        world.ports.journal.note(ps, record::left_to_others(store, places));
    }
}

/// Deletes these in their stores: all that is ours, and nothing else. What one store can't do keeps no other from it.
pub async fn delete(world: &World, look: &Look, names: &Nameable, places: Pushed, layout: &Layout) -> Deleted {
    let (sites, room) = (&Sites::of(look, layout), KEPT / places.len().max(1));
    let tasks = places
        .into_iter()
        .map(|(store, places)| in_store(world, look, names, store, places, (sites, room)).boxed())
        .collect::<Vec<_>>();
    let mut all = Deleted::default();
    let done: Vec<Deleted> = stream::iter(tasks).buffer_unordered(AT_ONCE).collect().await;
    for done in done {
        all.deleted.extend(done.deleted);
        all.left.extend(done.left);
        all.kept.extend(done.kept);
        all.failed.extend(done.failed);
    }
    all.failed.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
    all
}

/// Takes out of these places of a store what stays there. Of what is not ours, and of what is wanted through another store that
/// leads there, the record goes; what is wanted through one that may lead there keeps it, and that is told once. Once its
/// store has gone, nobody can compare any more.
fn leave(
    world: &World,
    look: &Look,
    names: &Nameable,
    key: &str,
    (from, mut room): (Option<Leaving<'_>>, usize),
    places: &mut BTreeMap<String, PushData>,
) -> Deleted {
    let not_ours = found_in(look.ps.status.as_ref(), key);
    let mut done = Deleted::default();
    let (mut unclear, mut beyond, mut stranded) = (BTreeMap::<StoreId, Vec<Told>>::new(), Vec::new(), Vec::new());
    places.retain(|place, data| {
        let at = (key.to_owned(), place.clone());
        let is_ours = !not_ours.contains(place);
        let is_told = look.memory.kept_apart.contains(&at);
        let tell = || names.place(&look.ps, key, place, data);
        match from.as_ref().filter(|_| is_ours).and_then(|from| from.wanted_through(place, data)) {
            Some((other, Likeness::Unclear)) => {
                let left = room.checked_sub(record_bytes(place, data));
                match left {
                    Some(_) if is_told => {}
                    Some(_) => unclear.entry(other.clone()).or_default().push(tell()),
                    None => beyond.push(tell()),
                }
                if left.is_some() { &mut done.kept } else { &mut done.left }.push(at);
                room = left.unwrap_or(room);
            }
            Some(_) => done.left.push(at),
            None if !is_ours => done.left.push(at),
            None if from.is_none() && is_told => {
                stranded.push(tell());
                done.left.push(at);
            }
            None => return true,
        }
        false
    });
    for (other, places) in &unclear {
        world.ports.journal.note(&look.ps, record::may_be_wanted(key, other, places));
    }
    if !beyond.is_empty() {
        world.ports.journal.note(&look.ps, record::left_unrecorded(key, &beyond));
    }
    if !stranded.is_empty() {
        world.ports.journal.note(&look.ps, record::left_behind(key, &stranded));
    }
    done
}

async fn in_store(
    world: &World,
    look: &Look,
    names: &Nameable,
    key: String,
    mut places: BTreeMap<String, PushData>,
    (sites, room): (&Sites<'_>, usize),
) -> Deleted {
    let known = store_of(&key, namespace(&look.ps)).and_then(|id| look.stores.get(&id)).map(|(store, _)| store);
    let mut done = leave(world, look, names, &key, (known.map(|store| sites.leaving(store)), room), &mut places);
    if places.is_empty() {
        return done;
    }
    let opened = match open(world, look, &key, known, places.len()).await {
        Ok(opened) => opened,
        Err(failed) => {
            done.failed.push(failed);
            return done;
        }
    };
    let mut secrets: BTreeMap<String, Vec<(String, PushData)>> = BTreeMap::new();
    for (place, data) in places {
        secrets.entry(data.matched.remote_ref.remote_key.clone()).or_default().push((place, data));
    }
    let deletions = secrets.into_values().map(|entries| {
        let opened = &opened;
        async move {
            let mut results = Vec::with_capacity(entries.len());
            for (place, data) in entries {
                let deleted = opened.delete(&remote(&data), Reach::Ours).await;
                results.push((place, data, deleted));
            }
            results
        }
        .boxed()
    });
    let deletions: Vec<_> = deletions.collect();
    let results: Vec<_> = stream::iter(deletions).buffer_unordered(AT_ONCE).collect().await;
    for (place, data, result) in results.into_iter().flatten() {
        tell(world, look, names, (&key, &place, &data), &result);
        match result {
            Ok(()) => done.deleted.push((key.clone(), place)),
            Err(error) => {
                let place = names.place(&look.ps, &key, &place, &data);
                let cause = told!("{} in {}: {}", place, Told::without_values(key.clone()), error);
                done.failed.push((cause, retry_of(&error)));
            }
        }
    }
    done
}

/// Writes down that a place was deleted, or why not.
fn tell(
    world: &World,
    look: &Look,
    names: &Nameable,
    (key, place, data): (&str, &str, &PushData),
    result: &Result<(), Error>,
) {
    let made = names.untold(&look.ps, key, place, data);
    let untold = made.as_ref().map(|_| [data.secret_key(), &data.matched.remote_ref.remote_key].map(SecretBytes::from));
    let (at, object) = (expand::audited(data, made), audited::store(key, namespace(&look.ps)));
    audited::tell(world, &look.ps, Action::Unpushed, object, at, result, untold.as_ref().map_or(&[], |texts| texts));
}

/// Opens the store to delete in; why that can't be done.
async fn open(
    world: &World,
    look: &Look,
    key: &str,
    store: Option<&Arc<Store>>,
    count: usize,
) -> Result<Arc<dyn Opened>, (Told, Retry)> {
    let Some(store) = store else {
        let cause = told!(
            "could not get secrets client for store {}: it does not exist, so that {} of what was pushed there can't be \
             deleted: create it again, or delete the PushSecret to leave them",
            Spec(key),
            count
        );
        return Err((cause, Retry::Late));
    };
    let failed = |cause: Told| {
        told!("could not get secrets client for store {}: {}", Told::without_values(key.to_owned()), cause)
    };
    if let Some(cause) = unusable(&world.settings, look, store) {
        return Err((failed(cause), Retry::Soon));
    }
    let opened = world.ports.stores.open(store, namespace(&look.ps)).await;
    opened.map_err(|error| (failed(Told::from(&error)), retry_of(&error)))
}
