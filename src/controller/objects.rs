//! Objects that somebody depends on: which kinds are watched, and whom a sighting concerns.

use std::collections::HashMap;

use futures::stream::{AbortHandle, StreamExt as _, abortable};
use keyferry_sync::data::StringMap;
use keyferry_sync::dependency::{Dependency, Kind, name_of, version};
use kube::api::ObjectMeta;

use super::Controller;
use super::change::List;
use super::relist::Update;
use super::sight::Sighting;

/// How the watches are ended of kinds that are watched only while somebody depends on an object of them.
pub(super) type Watched = HashMap<Kind, AbortHandle>;

impl Controller {
    /// Takes what the watch of a kind tells.
    pub(super) fn take_object(&mut self, kind: Kind, update: Update<ObjectMeta>) {
        // A watch that was let go may have told something before it ended.
        if matches!(kind, Kind::Other(_)) && !self.watched.contains_key(&kind) {
            return;
        }
        match update {
            Update::Put(metadata) => {
                let object = Dependency::new(kind, name_of(&metadata));
                if let Some(version) = version(&object.kind, &metadata) {
                    self.saw(&object, &Sighting::There(version));
                }
                self.noticed(&object, Some(&metadata.labels.unwrap_or_default()));
            }
            Update::Gone(metadata) => {
                let object = Dependency::new(kind, name_of(&metadata));
                self.saw(&object, &Sighting::Gone(metadata.uid));
                self.noticed(&object, None);
            }
            Update::Listed(listed) => {
                for object in self.shared.index.not_in(&kind, &listed) {
                    self.saw(&object, &Sighting::LeftOut);
                }
                self.shared.index.set_listed(&kind, true);
                self.awaited.remove(&List::Objects(kind));
            }
        }
    }

    fn saw(&mut self, object: &Dependency, sighting: &Sighting) {
        let concerned = self.shared.index.saw(object, sighting, |item| self.shared.is_looked_at(item));
        if !self.shared.started {
            // All waits for its first look.
            return;
        }
        for (item, role) in concerned {
            self.with(item.kind, |subject, shared| subject.concern(&item.name, role, sighting, shared));
        }
    }

    fn noticed(&mut self, object: &Dependency, labels: Option<&StringMap>) {
        if self.shared.started {
            for subject in self.subjects.values_mut() {
                subject.noticed(object, labels, &mut self.shared);
            }
        }
    }

    /// The watch of a kind failed that is not watched from the start.
    pub(super) fn watch_failed(&mut self, kind: &Kind, is_listed: bool) {
        if !is_listed {
            self.shared.index.set_listed(kind, false);
        }
    }

    /// Watches a kind, where nobody does yet.
    pub(super) fn watch_kind(&mut self, kind: &Kind) {
        if self.watched.contains_key(kind) {
            return;
        }
        let Some(changes) = self.watches.kind(kind) else { return };
        let (changes, handle) = abortable(changes);
        self.changes.push(changes.boxed());
        self.watched.insert(kind.clone(), handle);
    }

    /// Lets go of kinds that nobody depends on any more.
    pub(super) fn unwatch_kinds(&mut self) {
        let index = &self.shared.index;
        for (kind, handle) in self.watched.extract_if(|kind, _| !index.knows_any_of(kind)) {
            handle.abort();
            index.set_listed(&kind, false);
            self.watches.forget(&kind);
        }
    }
}
