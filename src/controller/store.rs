//! Stores: what is known of each, the checks, and whom their news concerns.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_sync::store::{KnownStores, Readiness, Store, StoreId};

use super::index::Item;
use super::queue::Urgency;
use super::relist::Update;
use super::{Awaited, Controller, Ended, check};

/// A store that is looked after.
pub struct Known {
    /// As last seen.
    pub store: Arc<Store>,
    /// Whether it can be used.
    pub readiness: Readiness,
    /// Failed checks in a row.
    pub failures: u32,
}

impl Known {
    fn has_spec_of(&self, store: &Store) -> bool {
        self.store.uid() == store.uid() && self.store.generation() == store.generation()
    }
}

/// All stores.
#[derive(Default)]
pub struct Stores(HashMap<StoreId, Known>);

impl Stores {
    /// Takes a store. Answers whether it has to be checked: it is new, or its spec changed.
    pub fn put(&mut self, store: Store) -> bool {
        let same = self.0.remove(&store.id).filter(|known| known.has_spec_of(&store));
        let changed = same.is_none();
        let (readiness, failures) = same.map_or((Readiness::Unchecked, 0), |known| (known.readiness, known.failures));
        self.0.insert(store.id.clone(), Known { store: Arc::new(store), readiness, failures });
        changed
    }

    /// A store.
    pub fn get(&self, id: &StoreId) -> Option<&Known> {
        self.0.get(id)
    }

    /// Their names.
    pub fn ids(&self) -> impl Iterator<Item = &StoreId> {
        self.0.keys()
    }

    /// Those of `ids` that exist, and whether they can be used.
    pub fn known(&self, ids: BTreeSet<StoreId>) -> KnownStores {
        let known = ids.into_iter().filter_map(|id| {
            let known = self.get(&id)?;
            Some((id, (known.store.clone(), known.readiness.clone())))
        });
        known.collect()
    }
}

impl Controller {
    /// Takes what the watch of SecretStores, or of ClusterSecretStores, tells.
    pub(super) fn take_store(&mut self, list: Awaited, update: Update<Store>) {
        match update {
            Update::Put(store) => self.put_store(store),
            Update::Gone(store) => self.remove_store(&store.id),
            Update::Listed(listed) => {
                let of_list = |id: &&StoreId| id.namespace.is_some() == (list == Awaited::SecretStores);
                let is_listed =
                    |id: &StoreId| listed.contains(&(id.namespace.clone().unwrap_or_default(), id.name.clone()));
                let known = self.stores.ids().filter(of_list);
                let gone: Vec<StoreId> = known.filter(|id| !is_listed(id)).cloned().collect();
                for id in gone {
                    self.remove_store(&id);
                }
                self.awaited.remove(&list);
            }
        }
    }

    /// Whether this store is ours to check.
    fn checks(&self, store: &Store) -> bool {
        store.is_of_class(&self.context.settings.class) && (self.settings.secret_stores || store.id.namespace.is_none())
    }

    fn put_store(&mut self, store: Store) {
        let id = store.id.clone();
        let checked = self.checks(&store);
        // Where another process checks stores, its word counts.
        let told = (!checked).then(|| store.readiness_told());
        let changed = self.stores.put(store);
        let mut news = false;
        if let (Some(told), Some(known)) = (told, self.stores.0.get_mut(&id)) {
            news = known.readiness != told;
            known.readiness = told;
        }
        if changed && checked {
            self.wake(Item::Store(id.clone()), Urgency::Asked);
        }
        if changed || news {
            // One that was missing is there now.
            self.wake_users_of(&id);
        }
    }

    fn remove_store(&mut self, id: &StoreId) {
        self.stores.0.remove(id);
        self.context.pool.forget(id);
        self.index.keep_logins(|store| store != id);
        self.queue.remove(&Item::Store(id.clone()));
        self.metrics.forget_store(id);
        self.wake_users_of(id);
    }

    /// Begins the check of a store, where there is one that is ours to check.
    pub(super) fn begin_check(&mut self, id: &StoreId) -> bool {
        let Some(known) = self.stores.get(id).filter(|known| self.checks(&known.store)) else { return false };
        let (context, every) = (self.context.clone(), self.settings.store_every);
        let (id, store, failures) = (id.clone(), known.store.clone(), known.failures);
        self.look(Item::Store(id.clone()), async move {
            let began = Instant::now();
            let report = check::run(&context, &store, failures, every).await;
            Ended::Check(id, store, report, began.elapsed())
        });
        true
    }

    pub(super) fn end_check(&mut self, id: &StoreId, store: &Store, report: check::Report, took: Duration) {
        self.metrics.checked(store, &report.readiness, took);
        let item = Item::Store(id.clone());
        let Some(known) = self.stores.0.get_mut(id).filter(|known| known.has_spec_of(store)) else {
            // Gone, or changed meanwhile: then another check is in the queue.
            if self.stores.get(id).is_none() {
                self.metrics.forget_store(id);
            }
            return self.queue.done(&item, None);
        };
        known.failures = if report.readiness == Readiness::Ready { 0 } else { known.failures.saturating_add(1) };
        let news = known.readiness != report.readiness;
        known.readiness = report.readiness;
        if let Some(status) = report.status {
            known.store = Arc::new(known.store.with_status(status));
        }
        self.queue.done(&item, Some(report.next));
        if news {
            self.wake_users_of(id);
        }
    }
}
