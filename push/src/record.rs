//! From an outcome to the status, with its conditions, and the events that tell of it. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use keyferry_crds::{PushSecret, PushSecretStatus, PushUpdatePolicy};
use keyferry_limits::REFRESH_RATE;
use keyferry_sync::record::{Note, Severity, set_ready};
use keyferry_sync::store::StoreId;
use keyferry_sync::time::seconds;
use keyferry_sync::told;
use keyferry_sync::told::Told;

use crate::outcome::{Done, NAMED_CAUSES, Outcome};
use crate::schedule;

/// The reason of one that is in its stores.
pub const SYNCED: &str = "Synced";
/// The reason of one that is not, or not whole.
pub const ERRORED: &str = "Errored";
/// The reason of one whose source has gone.
pub const SOURCE_DELETED: &str = "SourceDeleted";

/// The condition that an outcome stands for: its status, reason and message. `None` where it says nothing new.
fn verdict(ps: &PushSecret, outcome: &Outcome) -> Option<(bool, &'static str, Told)> {
    let (ready, reason, message) = judge(ps, outcome)?;
    if ready && schedule::is_slowed_down(ps) {
        return Some((ready, reason, told!("{}; spec.refreshInterval: {}", message, REFRESH_RATE)));
    }
    Some((ready, reason, message))
}

fn judge(ps: &PushSecret, outcome: &Outcome) -> Option<(bool, &'static str, Told)> {
    match outcome {
        Outcome::Waiting(_) | Outcome::Holding | Outcome::Ignored | Outcome::Released => None,
        Outcome::Done(_) if ps.spec.update_policy == PushUpdatePolicy::IfNotExists => {
            Some((true, SYNCED, "PushSecret synced successfully. Existing secrets in providers unchanged.".into()))
        }
        Outcome::Done(_) => Some((true, SYNCED, "PushSecret synced successfully".into())),
        Outcome::SourceGone => {
            Some((false, SOURCE_DELETED, "source secret deleted; provider secrets cleaned up".into()))
        }
        Outcome::Failed(failure) => Some((false, ERRORED, failure.told())),
    }
}

/// The status after `outcome` of a look that began at `began`, where it has to be written: `before` is what is stored,
/// `after` the same with what is in the stores now, which where all is well is so since `refreshed`.
pub fn status(
    ps: &PushSecret,
    before: Option<&PushSecretStatus>,
    mut after: PushSecretStatus,
    outcome: &Outcome,
    version: &str,
    began: Timestamp,
    refreshed: Timestamp,
) -> Option<PushSecretStatus> {
    if let Some((ready, reason, message)) = verdict(ps, outcome) {
        set_ready(&mut after.conditions, ready, reason, message, began);
    }
    let written = after.refresh_time.as_ref().map(|time| time.0);
    let mut is_stale = false;
    if let Outcome::Done(done) = outcome {
        is_stale = *done != Done::default() || schedule::writes_time(ps, written, began);
        after.synced_resource_version = Some(version.to_owned());
    }
    let is_changed = before.map_or(after != PushSecretStatus::default(), |before| *before != after);
    if matches!(outcome, Outcome::Done(_)) {
        after.refresh_time = Some(Time(seconds(refreshed)));
    }
    (is_changed || is_stale).then_some(after)
}

/// The event that tells what stays in a store that is gone, since the PushSecret goes.
pub fn left_behind(store: &str, places: &[Told]) -> Note {
    let store = Told::without_values(store.to_owned());
    let places = named(places);
    let message = told!("{} does not exist: what was pushed there stays, delete it yourself: {}", store, places);
    Note::new(Severity::Warning, ERRORED, message)
}

/// The event that tells what stays in a store of another controller class, since the PushSecret goes.
pub fn left_to_others(store: &str, places: &[Told]) -> Note {
    let store = Told::without_values(store.to_owned());
    let message = told!(
        "{} is of another controller class: what was pushed there stays, where the controller of that class does not delete \
         it: {}",
        store,
        named(places)
    );
    Note::new(Severity::Warning, ERRORED, message)
}

/// The first of these places, and how many more there are.
pub fn named(places: &[Told]) -> Told {
    let named = Told::join(places.iter().take(NAMED_CAUSES).cloned(), ", ");
    let more = match places.len().checked_sub(NAMED_CAUSES) {
        None | Some(0) => Told::from(""),
        Some(more) => told!(", and {} more", more),
    };
    told!("{}{}", named, more)
}

/// The event that tells that something is not deleted since it is wanted in another store, which may lead to the same place.
pub fn may_be_wanted(store: &str, other: &StoreId, places: &[Told]) -> Note {
    let message = told!(
        "what was pushed through {} stays, since {} may lead to the same place, where it is wanted; it goes with the PushSecret, \
         or once it is wanted nowhere: {}",
        Told::without_values(store.to_owned()),
        other,
        named(places)
    );
    Note::new(Severity::Warning, ERRORED, message)
}

/// The event that tells that something is not deleted for the same reason, and forgotten, since too much is.
pub fn left_unrecorded(store: &str, places: &[Told]) -> Note {
    let message = told!(
        "what was pushed through {} stays, since another store may lead to the same place, and there is no room in the status \
         to record more of it: delete it yourself, where no store of the PushSecret leads there: {}",
        Told::without_values(store.to_owned()),
        named(places)
    );
    Note::new(Severity::Warning, ERRORED, message)
}

/// The event that tells that a secret which was pushed as a whole stays, since a property of it is wanted now.
pub fn left_whole(store: &str, place: Told) -> Note {
    let store = Told::without_values(store.to_owned());
    let message = told!(
        "{} in {} was pushed as a whole, and only properties of it are wanted now: what else it holds stays, delete that \
         yourself",
        place,
        store
    );
    Note::new(Severity::Warning, ERRORED, message)
}

/// The events that tell of an outcome. What was so already is not told again.
pub fn notes(ps: &PushSecret, outcome: &Outcome) -> Vec<Note> {
    let Some((ready, reason, message)) = verdict(ps, outcome) else { return Vec::new() };
    let is_said = ps.ready().and_then(|condition| condition.message.as_deref()) == Some(message.as_str());
    let is_news = matches!(outcome, Outcome::Done(done) if *done != Done::default());
    if is_said && !is_news {
        return Vec::new();
    }
    vec![Note::new(if ready { Severity::Normal } else { Severity::Warning }, reason, message)]
}
