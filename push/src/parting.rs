//! What has lost its Secret: one of several that are selected is not there any more, or does not bear the labels. Who replaces
//! a Secret deletes it first, so what was pushed of it stays for a moment.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use keyferry_crds::{PushDeletionPolicy, Pushed};
use keyferry_sync::time::later;

use crate::look::Look;
use crate::refers::{namespace, source_selector, store_of};

/// How long a source is missing before what was pushed of it is deleted.
pub const GONE_FOR_GOOD: Duration = Duration::from_secs(60);

/// Whether something has been without its Secret for long enough.
pub fn is_due(look: &Look) -> bool {
    look.memory.parting.values().any(|since| later(*since, GONE_FOR_GOOD) <= look.began)
}

/// When that is so next.
pub fn next(look: &Look) -> Option<Timestamp> {
    let ends = look.memory.parting.values().map(|since| later(*since, GONE_FOR_GOOD));
    ends.filter(|end| *end > look.began).min()
}

/// Notes which of the places that are recorded and `unwanted` have lost their Secret, `there` being the names of those that are
/// selected now, and since when. Of what a process before this one pushed it is not known, and taken to be so.
pub fn note(look: &mut Look, unwanted: &Pushed, there: &BTreeSet<String>) {
    let known = std::mem::take(&mut look.memory.parting);
    let deletes = look.ps.spec.deletion_policy == PushDeletionPolicy::Delete;
    if !deletes || source_selector(&look.ps).is_none() {
        return;
    }
    for (store, places) in unwanted {
        let held = store_of(store, namespace(&look.ps)).and_then(|id| look.memory.stores.get(&id));
        for place in places.keys() {
            let from = held.and_then(|held| held.held.get(place)).map(|held| held.from.as_str());
            let key = (store.clone(), place.clone());
            // That stays, however long it has been so.
            if look.memory.kept_apart.contains(&key) {
                continue;
            }
            let is_parting = from.is_none_or(|from| !there.contains(from));
            // What is unwanted for any other reason goes at once.
            let first = if is_parting { look.began } else { Timestamp::MIN };
            let since = known.get(&key).copied().unwrap_or(first);
            look.memory.parting.insert(key, since);
        }
    }
}

/// Leaves out of what is unwanted what has lost its Secret a moment ago.
pub fn keep(look: &Look, unwanted: &mut Pushed) {
    unwanted.retain(|store, places| {
        places.retain(|place, _| {
            let since = look.memory.parting.get(&(store.clone(), place.clone()));
            since.is_none_or(|since| later(*since, GONE_FOR_GOOD) <= look.began)
        });
        !places.is_empty()
    });
}
