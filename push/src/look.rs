//! One look (a reconcile) at a PushSecret: what is known when it begins, what it works with, and what it leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use keyferry_crds::{PushSecret, PushSecretStatus, names};
use keyferry_limits::Budget;
use keyferry_sync::data::StringMap;
use keyferry_sync::dependency::{Dependency, Version};
use keyferry_sync::hash::synced_resource_version;
use keyferry_sync::plan::LastSync;
use keyferry_sync::settings::Settings;
use keyferry_sync::states::KnownState;
use keyferry_sync::store::KnownStores;

use crate::memory::{MacKey, Memory};
use crate::outcome::Outcome;
use crate::ports::Ports;

/// What is the same for all looks of a process.
pub struct World {
    /// What is asked, and where it is told.
    pub ports: Ports,
    /// The flags.
    pub settings: Arc<Settings>,
    /// The key of what is remembered.
    pub key: MacKey,
}

/// One look at one PushSecret: everything known when it began.
pub struct Look {
    /// The PushSecret.
    pub ps: Arc<PushSecret>,
    /// The stores that it names, selects or has pushed into.
    pub stores: KnownStores,
    /// Whether its namespace has more stores than are compared with the labels that it selects by.
    pub has_many_stores: bool,
    /// When it began.
    pub began: Timestamp,
    /// The labels of its namespace, where that has been seen.
    pub namespace_labels: Option<StringMap>,
    /// The objects that it names or has read, as the watches see them; `None` where they have not yet.
    pub seen: BTreeMap<Dependency, Option<Option<Version>>>,
    /// Whether a Secret has come that it selects, or one has changed while it was read, which `seen` can't tell.
    pub has_new_source: bool,
    /// The states of what generators made for it, as the watch sees them.
    pub states: Vec<KnownState>,
    /// What is remembered.
    pub memory: Memory,
    /// What it may take.
    pub budget: Arc<Budget>,
}

/// What a look came to.
pub struct Looked {
    /// What it came to.
    pub outcome: Outcome,
    /// What to remember.
    pub memory: Memory,
    /// The status, where it was written, and the resourceVersion that it has been in since.
    pub status: Option<(PushSecretStatus, Option<String>)>,
    /// When to look again; `None` waits for a change.
    pub next: Option<Timestamp>,
}

/// The version of a PushSecret that `status.syncedResourceVersion` would name now. What we note on it ourselves is no part
/// of that.
pub fn version_of(ps: &PushSecret) -> String {
    let metadata = &ps.metadata;
    let generation = metadata.generation.unwrap_or_default();
    let annotations = metadata.annotations.as_ref();
    if annotations.is_some_and(|all| all.contains_key(names::ANNOTATION_GENERATED)) {
        let mut annotations = annotations.cloned().unwrap_or_default();
        annotations.remove(names::ANNOTATION_GENERATED);
        let annotations = Some(annotations).filter(|left| !left.is_empty());
        return synced_resource_version(generation, annotations.as_ref(), metadata.labels.as_ref());
    }
    synced_resource_version(generation, annotations, metadata.labels.as_ref())
}

impl Look {
    /// The last time that all was as it should be, as remembered or told by the status.
    pub fn last(&self) -> Option<LastSync> {
        let told = self.ps.status.as_ref().and_then(|status| {
            Some(LastSync {
                at: status.refresh_time.as_ref()?.0,
                version: status.synced_resource_version.clone().filter(|version| !version.is_empty())?,
            })
        });
        match (&self.memory.last, told) {
            (Some(own), Some(told)) if told.at > own.at => Some(told),
            (Some(own), _) => Some(own.clone()),
            (None, told) => told,
        }
    }

    /// Whether anything that was read has changed since.
    pub fn sources_changed(&self) -> bool {
        let Some(read) = &self.memory.read else { return false };
        let is_changed = |(object, seen): (&Dependency, &Option<Option<Version>>)| {
            seen.as_ref().is_some_and(|seen| read.get(object).is_some_and(|known| known != seen))
        };
        self.has_new_source || self.seen.iter().any(is_changed)
    }
}
