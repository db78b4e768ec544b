//! What is written down of what is in the stores, and when: what is about to be pushed before it is, what is deleted after.

use std::collections::{BTreeMap, BTreeSet};

use keyferry_crds::{PushData, PushSecret, PushSecretStatus, PushUpdatePolicy};
use keyferry_sync::ports::Problem;

use crate::each::Prepared;
use crate::expand::is_same_place;
use crate::look::World;
use crate::source::Layout;

/// The status of a PushSecret.
pub struct Ledger {
    /// As it is stored.
    pub stored: Option<PushSecretStatus>,
    /// As it is to be.
    pub status: PushSecretStatus,
    /// The resourceVersion since our last write, where there was one.
    pub written: Option<Option<String>>,
}

impl Ledger {
    /// As the PushSecret has it.
    pub fn of(ps: &PushSecret) -> Self {
        let stored = ps.status.clone();
        Self { status: stored.clone().unwrap_or_default(), stored, written: None }
    }

    /// What is recorded of a store.
    pub fn recorded(&self, store: &str) -> BTreeMap<String, PushData> {
        self.status.synced_push_secrets.get(store).cloned().unwrap_or_default()
    }

    /// Notes what is about to be pushed into a store, and what is there and stays, but for what is `ours` there.
    pub fn intend(
        &mut self,
        store: &str,
        prepared: &Prepared,
        layout: &crate::expand::Wanted,
        ours: &BTreeSet<String>,
    ) {
        let recorded = self.status.synced_push_secrets.entry(store.to_owned()).or_default();
        let unknown = |place: &str| prepared.problems.iter().any(|problem| problem.place == place);
        for (place, entry) in layout.entries.iter().filter(|(place, _)| !unknown(place)) {
            let before = recorded.insert(place.clone(), entry.data.clone());
            let is_new = before.is_none_or(|before| !is_same_place(&before, &entry.data, layout.own.as_deref()));
            if is_new && !ours.contains(place) && prepared.there().any(|there| there == place) {
                let found = self.status.found_push_secrets.entry(store.to_owned()).or_default();
                if !found.contains(place) {
                    found.push(place.clone());
                }
            }
        }
    }

    /// Notes what a store holds where the record of it was lost. What `IfNotExists` found, and what it made, nobody knows then:
    /// it counts as found.
    pub fn make_up(&mut self, store: &str, ps: &PushSecret) {
        let recorded = self.status.synced_push_secrets.entry(store.to_owned()).or_default();
        if !recorded.is_empty() {
            return;
        }
        recorded.extend(ps.spec.data.iter().map(|data| (data.status_key(), data.clone())));
        if ps.spec.update_policy == PushUpdatePolicy::IfNotExists && !recorded.is_empty() {
            self.status.found_push_secrets.insert(store.to_owned(), recorded.keys().cloned().collect());
        }
    }

    /// Notes that what is at a place is ours from now on.
    pub fn own(&mut self, store: &str, place: &str) {
        if let Some(found) = self.status.found_push_secrets.get_mut(store) {
            found.retain(|known| known != place);
        }
    }

    /// Takes a place out.
    pub fn remove(&mut self, store: &str, place: &str) {
        if let Some(places) = self.status.synced_push_secrets.get_mut(store) {
            places.remove(place);
        }
        self.own(store, place);
    }

    /// Leaves no store without places but those of `layout`, as External Secrets Operator does.
    pub fn tidy(&mut self, layout: &Layout) {
        let keys: Vec<String> = layout.keys().map(crate::refers::store_key).collect();
        self.status.synced_push_secrets.retain(|store, places| !places.is_empty() || keys.contains(store));
        for key in keys {
            self.status.synced_push_secrets.entry(key).or_default();
        }
        self.status.found_push_secrets.retain(|_, places| !places.is_empty());
    }

    /// Whether there is something to write.
    pub fn is_changed(&self) -> bool {
        self.stored.as_ref() != Some(&self.status)
    }

    /// Writes it down.
    pub async fn write(&mut self, world: &World, ps: &PushSecret) -> Result<(), Problem> {
        let revision = world.ports.journal.status(ps, self.stored.as_ref(), &self.status).await?;
        self.stored = Some(self.status.clone());
        self.written = Some(revision);
        Ok(())
    }
}
