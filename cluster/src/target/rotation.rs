//! When the data of a Secret change between two syncs of ours: noted in the Secret itself, by the write that changes them, so
//! that whoever restarts workloads for it learns of it even if we go down right after. Pure.

use jiff::{SignedDuration, Timestamp, Unit};
use keyferry_crds::{ExternalSecret, names};
use keyferry_sync::hash;
use kube::core::ObjectMeta;

use super::ownership::{self, Desired, OwnedFields, data_hash_of};
use crate::client::LiveSecret;

/// Tells the time.
pub type Clock = fn() -> Timestamp;

/// Notes when data change, for the target of one ExternalSecret.
#[derive(Clone, Copy, Debug)]
pub struct Rotations {
    now: Clock,
    /// Whether this process has synced the ExternalSecret before.
    was_synced: bool,
}

impl Rotations {
    /// By this clock.
    pub fn new(now: Clock) -> Self {
        Self { now, was_synced: false }
    }

    /// This process has synced the ExternalSecret before.
    pub fn was_synced(&mut self) {
        self.was_synced = true;
    }

    /// Notes in what is to be written under this field manager whether data of ours make room for others. What is written for
    /// the first time by us, though another operator may have written it before, was never rotated.
    pub fn note(
        &self,
        es: &ExternalSecret,
        manager: &str,
        existing: Option<&LiveSecret>,
        desired: &mut Desired<LiveSecret>,
    ) {
        let (next, is_adopted) = match desired {
            Desired::Create(next) => (next, false),
            Desired::Update { object, adopted } => (object, adopted.is_some()),
            Desired::Keep | Desired::Missing => return,
        };
        let before = existing.map(|existing| noted(&existing.get().metadata)).unwrap_or_default();
        if before.is_some() && !existing.is_some_and(|existing| changes(es, existing, next)) {
            return;
        }
        let had_written = existing.is_some_and(|existing| {
            let owned = OwnedFields::of(&existing.get().metadata, manager);
            (owned.type_ || !owned.data.is_empty()) && changes(es, existing, next)
        });
        let value = if had_written && !is_adopted && (self.was_synced || before.is_some()) {
            // A later one than the last, whatever the clock says: who was restarted for that was not for this.
            let after = before.and_then(parse).and_then(|last| last.checked_add(SignedDuration::from_millis(1)).ok());
            let now = (self.now)().round(Unit::Millisecond).unwrap_or_else(|_| (self.now)());
            after.map_or(now, |after| after.max(now)).to_string()
        } else if let Some(before) = before {
            before.to_owned()
        } else {
            names::NEVER_ROTATED.to_owned()
        };
        let annotations = next.get_mut().metadata.annotations.get_or_insert_default();
        annotations.insert(names::ANNOTATION_ROTATED_AT.to_owned(), value);
    }
}

/// Whether other data are written than the last writer left. What somebody edited is put back where nobody looks: that alone is
/// no change.
fn changes(es: &ExternalSecret, existing: &LiveSecret, next: &LiveSecret) -> bool {
    let (was, is) = (&existing.get().metadata, &next.get().metadata);
    match ownership::merges(es, true) {
        // What others put there counts in the hash, too: an edit of theirs looks like a change of ours.
        Some(true) => {
            let is_intact = ownership::is_intact(was, &hash::data_hash(existing.data()));
            is_intact && existing.get().data != next.get().data
        }
        _ => data_hash_of(was).is_some() && data_hash_of(was) != data_hash_of(is),
    }
}

/// Leaves what is noted where it is.
pub fn keep(was: &ObjectMeta, is: &mut ObjectMeta) {
    if let Some(noted) = noted(was) {
        let annotations = is.annotations.get_or_insert_default();
        annotations.insert(names::ANNOTATION_ROTATED_AT.to_owned(), noted.to_owned());
    }
}

/// When the data of a Secret last changed between two syncs of ours.
pub fn at(metadata: &ObjectMeta) -> Option<Timestamp> {
    parse(noted(metadata)?)
}

fn noted(metadata: &ObjectMeta) -> Option<&str> {
    metadata.annotations.as_ref()?.get(names::ANNOTATION_ROTATED_AT).map(String::as_str)
}

fn parse(noted: &str) -> Option<Timestamp> {
    noted.parse().ok()
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
