//! One look (a reconcile) at an ExternalSecret: what is known when it begins, and what it leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::{AbortHandle, AbortRegistration};
use jiff::Timestamp;
use keyferry_crds::{CreationPolicy, ExternalSecret, ExternalSecretStatus};
use keyferry_limits::Budget;

use crate::content::{Made, MadeFrom};
use crate::data::StringMap;
use crate::dependency::{Dependency, Version};
use crate::outcome::{Outcome, SyncResult, Synced};
use crate::plan::{LastSync, TargetState};
use crate::ports::{Observed, Versions};
use crate::states::{KnownState, MadeFor};
use crate::store::KnownStores;

/// One look at one ExternalSecret: everything known when it began.
pub struct Look {
    /// The ExternalSecret.
    pub es: Arc<ExternalSecret>,
    /// The stores that it names.
    pub stores: KnownStores,
    /// When it began: looks of one round of the controller begin at once, so that their refreshes stay together.
    pub began: Timestamp,
    /// Whether somebody asked for it, by an edit say: then it goes before what is merely due.
    pub is_asked_for: bool,
    /// The labels of its namespace, where that has been seen.
    pub namespace_labels: Option<Arc<StringMap>>,
    /// Its target, as the watches see it.
    pub seen: Seen,
    /// The objects that its templates are taken from, as the watches see them; `None` where they have not yet.
    pub sources: BTreeMap<Dependency, Option<Option<Version>>>,
    /// What is remembered.
    pub memory: Memory,
    /// The states of what generators made for it, as the watch sees them.
    pub states: Vec<KnownState>,
    /// What it may take.
    pub budget: Arc<Budget>,
    /// Ends what it waits for until it begins to write; nothing does where nobody cancels it.
    pub cancelled: Option<AbortRegistration>,
}

/// An ExternalSecret as it is looked at where files are made of it: what says that no Secret is made of it says nothing of files,
/// nor does that it is being deleted while somebody's finalizer holds it. Its status tells of Secrets.
pub fn as_files(mut es: ExternalSecret) -> ExternalSecret {
    (es.metadata.deletion_timestamp, es.metadata.finalizers) = (None, None);
    if es.spec.target.creation_policy == CreationPolicy::None {
        es.spec.target.creation_policy = CreationPolicy::Owner;
    }
    es.status = None;
    es
}

/// Cancels a look that nobody needs any more: its object has changed, or is gone.
#[derive(Clone, Debug)]
pub struct Cancel {
    waiting: AbortHandle,
    computing: Arc<Budget>,
}

impl Cancel {
    /// Of a look that is about to begin, and what that takes along.
    pub fn new() -> (Self, Arc<Budget>, Option<AbortRegistration>) {
        let (waiting, registration) = AbortHandle::new_pair();
        let computing = Arc::<Budget>::default();
        (Self { waiting, computing: computing.clone() }, computing, Some(registration))
    }

    /// Which part of what it may take the look has taken, from 0 to 1.
    pub fn used(&self) -> f64 {
        self.computing.used()
    }

    /// Ends what it waits for and what it computes. What it has begun to write, it finishes.
    pub fn cancel(&self) {
        self.waiting.abort();
        self.computing.stop();
    }
}

/// What the watches know of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Unknown,
    /// There is none.
    Absent,
    /// It is there, in this state.
    At(Version),
}

/// What is remembered of an ExternalSecret between syncs, beside what its status says.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The last successful sync. The status may tell of an earlier one: its time is not written every time.
    pub last: Option<LastSync>,
    /// Failures since.
    pub failures: u32,
    /// The target as it was last written or found intact, and what it was made from.
    pub target: Option<Remembered>,
    /// Whether the last sync left no target on purpose.
    pub absence_is_fine: bool,
    /// The objects that templates were taken from, as they were then.
    pub sources: Versions,
    /// The states of what generators made for the last sync, where that was ours.
    pub made: MadeFor,
    /// By when the first of what has no state is to be replaced.
    pub made_ends: Option<Timestamp>,
    /// By when what the target holds is to be replaced, where a generator made it and it is refreshed by time.
    pub replace_by: Option<Timestamp>,
    /// A sync whose status could not be written: what it came to, of which version, and when it began.
    pub untold: Option<Box<(Synced, String, Timestamp)>>,
}

/// A target that is known without reading it.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Its state then.
    pub version: Version,
    /// Whether it was as its writer left it.
    pub intact: bool,
    /// What it was made from, where we made it: while neither this nor the version changes, there is nothing to do.
    pub made: Option<Made>,
}

/// What a look came to.
pub struct Looked {
    /// What it came to.
    pub outcome: Outcome,
    /// What to remember.
    pub memory: Memory,
    /// The status, where it was written, and the resourceVersion that it has been in since.
    pub status: Option<(ExternalSecretStatus, Option<String>)>,
    /// When to look again; `None` waits for a change.
    pub next: Option<Timestamp>,
}

impl Look {
    /// The last successful sync, as remembered or told by the status.
    pub fn last(&self) -> Option<LastSync> {
        // A status that tells of a later sync than we remember is that of another replica, or of the operator before us.
        let told = self.es.status.as_ref().and_then(|status| {
            Some(LastSync {
                at: status.refresh_time.as_ref()?.0,
                version: status.synced_resource_version.clone().filter(|v| !v.is_empty())?,
            })
        });
        match (&self.memory.last, told) {
            (Some(own), Some(told)) if told.at > own.at => Some(told),
            (Some(own), _) => Some(own.clone()),
            (None, told) => told,
        }
    }

    /// By when what the process before this one made is to be replaced, as the status has it: not one that a later sync,
    /// by somebody who does not know the field, has left there.
    pub fn told_ends(&self) -> Option<Timestamp> {
        let status = self.es.status.as_ref().filter(|_| self.memory.last.is_none())?;
        let (ends, at) = (status.refresh_by.as_ref()?.0, status.refresh_time.as_ref()?.0);
        (ends > at).then_some(ends)
    }

    /// What is known of the target without reading it.
    pub fn known_target(&self) -> TargetState {
        match (&self.seen, &self.memory.target) {
            (Seen::Absent, _) => TargetState::Absent,
            (Seen::At(seen), Some(known)) if known.version == *seen && known.intact => TargetState::Intact,
            (Seen::At(seen), Some(known)) if known.version == *seen => TargetState::Drifted,
            _ => TargetState::Unknown,
        }
    }

    /// Whether an object that its templates are taken from changed since they were.
    pub fn sources_changed(&self) -> bool {
        self.sources.iter().any(|(source, seen)| {
            seen.as_ref().is_some_and(|seen| self.memory.sources.get(source).is_some_and(|known| known != seen))
        })
    }

    /// The template sources as the watches see them; `None` where they have not seen all.
    pub fn seen_sources(&self) -> Option<Versions> {
        self.sources.iter().map(|(source, seen)| Some((source.clone(), seen.clone()?))).collect()
    }

    /// Whether the target is known to be there as it would be if it were made `from` this now.
    pub fn is_made_from(&self, from: impl FnOnce(&Versions) -> MadeFrom) -> bool {
        let (Some((_, made)), Some(sources)) = (self.made(), self.seen_sources()) else { return false };
        made.from == from(&sources)
    }

    /// The target where it is known to be as we made it: its version, and how.
    pub fn made(&self) -> Option<(&Version, &Made)> {
        let (Some(known), TargetState::Intact) = (&self.memory.target, self.known_target()) else { return None };
        Some((&known.version, known.made.as_ref()?))
    }
}

impl Memory {
    /// Takes how the target was found.
    pub fn observed(&mut self, read: &Observed) {
        let intact = read.intact;
        self.target = read.version.clone().map(|version| {
            // Another version may well hold other data, with the hash of those: a restored backup does.
            let known = self.target.take().filter(|known| intact && known.version == version);
            Remembered { version, intact, made: known.and_then(|known| known.made) }
        });
    }

    /// Takes what a look at `version` of the ExternalSecret came to, which began at `began`.
    pub fn came_to(&mut self, outcome: &Outcome, version: &str, began: Timestamp) {
        let last = |at| Some(LastSync { at, version: version.to_owned() });
        match outcome {
            Outcome::Synced(synced) => {
                self.failures = 0;
                self.last = last(began);
                self.absence_is_fine = matches!(synced.result, SyncResult::Deleted | SyncResult::Missing);
            }
            Outcome::Settled { at } => {
                self.failures = 0;
                self.last = last(*at);
                self.absence_is_fine = false;
            }
            Outcome::Failed(_) => self.failures = self.failures.saturating_add(1),
            // A failure from before is not one of who mounts.
            Outcome::MountOnly => self.failures = 0,
            Outcome::Waiting(_) | Outcome::Holding | Outcome::Ignored | Outcome::Released => {}
        }
    }
}
