//! ExternalSecrets: what is known of each, what a look at one takes along, and what its end changes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use keyferry_cluster::shards::FIRST;
use keyferry_crds::{ExternalSecret, ExternalSecretStatus};
use keyferry_sync::copies::{self, CopierKind};
use keyferry_sync::dependency::{Dependency, Name, is_earlier};
use keyferry_sync::look::{Cancel, Look, Looked, Memory, Remembered, Seen};
use keyferry_sync::outcome::{Outcome, SyncResult, Synced, TargetChange};
use keyferry_sync::request::{sources_of, store_of, stores_of};
use keyferry_sync::store::StoreId;
use kube::api::ObjectMeta;
use kube::core::ApiResource;

use super::change::Target;
use super::index::{Item, References, Role, SubjectKind};
use super::others::Others;
use super::packed::Packed;
use super::queue::Urgency;
use super::rotated::Teller;
use super::shards::{Place, Shards};
use super::sight::Sighting;
use super::subject::{Ask, Next, Shared, Subject};
use crate::metrics::Metrics;

/// Carries out a look. What it may ask of stores is said when this is called, not only when the future first runs.
pub type Sync = Box<dyn Fn(Look) -> BoxFuture<'static, Looked> + Send>;

/// How the last look at an ExternalSecret left it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// Not looked at yet.
    #[default]
    New,
    /// Well, or nothing to do with us.
    Well,
    /// It waits for the check of a store.
    Held,
    /// It failed.
    Failed,
}

/// What is known of one.
struct Known {
    /// As last seen.
    es: Packed,
    /// What decides whose it is.
    place: Place,
    /// What is remembered of it.
    memory: Memory,
    /// How it stands.
    standing: Standing,
    /// Whether a list has left its target out since the look under way began: how that leaves it is old news.
    overtaken: bool,
    /// Cancels the look under way.
    cancel: Option<Cancel>,
}

impl Known {
    fn new(es: ExternalSecret, place: Place) -> Self {
        Self {
            es: Packed::of(es),
            place,
            memory: Memory::default(),
            standing: Standing::default(),
            overtaken: false,
            cancel: None,
        }
    }

    /// Takes the same ExternalSecret as a watch tells of it now. Answers whether it changed in more than its status.
    fn put(&mut self, before: &ExternalSecret, mut es: ExternalSecret) -> bool {
        let is_changed = !is_same_but_for_status(&before.metadata, &es.metadata);
        // News from before our own last word on its status.
        if is_earlier_version(&es.metadata.resource_version, &before.metadata.resource_version) {
            es.status.clone_from(&before.status);
            es.metadata.resource_version.clone_from(&before.metadata.resource_version);
        }
        if !asks_for_the_same(&before.metadata, &es.metadata) {
            self.cancel();
        }
        if Dependency::target_of(before) != Dependency::target_of(&es) {
            self.memory.target = None;
        }
        self.es = Packed::of(es);
        is_changed
    }

    /// Takes the status that a look wrote, with its resourceVersion. The watch will bring the same, or has brought what
    /// came after it; a look before it does must not judge by the old status.
    fn put_status(&mut self, es: Arc<ExternalSecret>, status: ExternalSecretStatus, version: Option<String>) {
        if is_earlier_version(&version, &es.metadata.resource_version) {
            return;
        }
        let mut newer = Arc::unwrap_or_clone(es);
        (newer.status, newer.metadata.resource_version) = (Some(status), version);
        self.es = Packed::of(newer);
    }

    /// What the look under way comes to is not wanted any more.
    fn cancel(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel.cancel();
        }
    }

    fn stand(&mut self, outcome: &Outcome) {
        self.standing = match outcome {
            // Whose class it is, and who logs in, may change with its store.
            Outcome::Holding | Outcome::Ignored | Outcome::MountOnly => Standing::Held,
            Outcome::Failed(_) => Standing::Failed,
            Outcome::Waiting(_) if self.standing == Standing::Failed => Standing::Failed,
            Outcome::Waiting(_) | Outcome::Released | Outcome::Synced(_) | Outcome::Settled { .. } => Standing::Well,
        };
    }
}

/// All ExternalSecrets; those of a namespace stand together.
pub struct ExternalSecrets {
    kind: SubjectKind,
    /// Those that are ours or are to be, which are all where there is but one shard. In boxes: a map that is filled in order is
    /// half empty, and what is known of one takes half a KiB.
    all: BTreeMap<Arc<Name>, Box<Known>>,
    /// The store that each of the others asks above all, which is all that is kept of them: they are listed anew where they come
    /// to be ours.
    others: Others<Arc<StoreId>>,
    /// How many ask each store above all.
    weights: BTreeMap<Arc<StoreId>, usize>,
    sync: Sync,
    /// Is told of Secrets that changed.
    restarts: Option<Teller>,
}

impl ExternalSecrets {
    /// None yet. `sync` carries out looks; `restarts` is told of Secrets that changed.
    pub fn new(sync: Sync, restarts: Option<Teller>) -> Self {
        Self::of_kind(SubjectKind::ExternalSecret, sync, restarts)
    }

    /// None yet, of objects of another kind that come to such.
    pub(super) fn of_kind(kind: SubjectKind, sync: Sync, restarts: Option<Teller>) -> Self {
        Self { kind, all: BTreeMap::new(), others: Others::default(), weights: BTreeMap::new(), sync, restarts }
    }

    /// One of its name, with which index and queue share that where it is known.
    fn item(&self, name: &Name) -> Item {
        let known = self.all.get_key_value(name).map(|(name, _)| name.clone());
        Item::new(self.kind, known.unwrap_or_else(|| Arc::new(name.clone())))
    }

    /// Where one is from now on, which it is counted by.
    fn place(&mut self, name: &Name, es: &ExternalSecret) -> Place {
        let store = store_of(es).map(|store| {
            let known = self.weights.get_key_value(&store).map(|(store, _)| store.clone());
            known.unwrap_or_else(|| Arc::new(store))
        });
        let former = self.all.get(name).map(|known| known.place.store.clone());
        if let Some(former) = former.unwrap_or_else(|| self.others.remove(name)) {
            self.leave_store(&former);
        }
        if let Some(store) = &store {
            *self.weights.entry(store.clone()).or_default() += 1;
        }
        Place::of(es, store)
    }

    /// One is another's to look at, and has its place there: its store is kept alone.
    fn pass_on(&mut self, name: &Name, place: Place, shared: &mut Shared) {
        self.drop_known(name, shared);
        if let Some(store) = place.store {
            self.others.put(name, store);
        }
    }

    /// Lets go of all that is known of one that is ours.
    fn drop_known(&mut self, name: &Name, shared: &mut Shared) -> Option<Place> {
        let mut known = self.all.remove(name)?;
        known.cancel();
        shared.index.refer(&self.item(name), &references(&known.es.unpack()), &References::default());
        Some(known.place)
    }

    fn leave_store(&mut self, store: &StoreId) {
        if let Some(weight) = self.weights.get_mut(store) {
            *weight -= 1;
            if *weight == 0 {
                self.weights.remove(store);
            }
        }
    }

    /// Whether they are ExternalSecrets, of which others have copies made, and metrics tell.
    fn are_themselves(&self) -> bool {
        self.kind == SubjectKind::ExternalSecret
    }

    /// The generation of one, as last seen.
    pub(super) fn generation(&self, name: &Name) -> Option<i64> {
        self.all.get(name)?.es.unpack().metadata.generation
    }

    /// The status of one that the next look compares with.
    #[cfg(test)]
    pub(super) fn status(&self, name: &Name) -> Option<keyferry_crds::ExternalSecretStatus> {
        self.all.get(name)?.es.unpack().status.clone()
    }

    /// All that is known of one, for a look that begins now.
    fn take_along(&mut self, name: &Name, now: Timestamp, shared: &Shared) -> Option<Look> {
        let is_asked_for = shared.is_asked_for(&self.item(name));
        let known = self.all.get_mut(name)?;
        known.overtaken = false;
        let (cancel, budget, cancelled) = Cancel::new();
        known.cancel = Some(cancel);
        let es = known.es.unpack();
        let References { target, sources, stores } = references(&es);
        let sources = sources.into_iter().map(|source| {
            let read = known.memory.sources.get(&source).and_then(Option::as_ref);
            let told = match shared.index.told(&source, read) {
                Seen::Unknown => None,
                Seen::Absent => Some(None),
                Seen::At(version) => Some(Some(version)),
            };
            (source, told)
        });
        Some(Look {
            stores: shared.known_stores(stores),
            began: now,
            is_asked_for,
            namespace_labels: shared.namespaces.get(&name.0).cloned(),
            seen: target.map_or(Seen::Unknown, |target| shared.index.now(&target)),
            sources: sources.collect(),
            memory: known.memory.clone(),
            states: shared.generated.of(name, es.metadata.uid.as_deref()),
            es,
            budget,
            cancelled,
        })
    }
}

/// What an ExternalSecret refers to.
fn references(es: &ExternalSecret) -> References {
    References { target: Some(Dependency::target_of(es)), sources: sources_of(es), stores: stores_of(es) }
}

/// Status writes move the resourceVersion and nothing of this.
fn is_same_but_for_status(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    a.generation == b.generation
        && a.labels == b.labels
        && a.annotations == b.annotations
        && a.finalizers == b.finalizers
        && a.deletion_timestamp == b.deletion_timestamp
}

/// Labels and annotations are often touched by others, again and again: that must not keep a look from ending.
fn asks_for_the_same(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    a.generation == b.generation && a.deletion_timestamp == b.deletion_timestamp
}

fn is_earlier_version(a: &Option<String>, b: &Option<String>) -> bool {
    a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| is_earlier(a, b))
}

impl Subject for ExternalSecrets {
    type Object = ExternalSecret;
    type Looked = (Arc<ExternalSecret>, Looked);

    fn names(&self) -> Vec<Name> {
        self.all.keys().map(|name| (**name).clone()).collect()
    }

    fn concerned_by(&self, namespace: &str) -> Vec<Name> {
        let from = self.all.range((namespace.to_owned(), String::new())..);
        from.map(|(name, _)| &**name).take_while(|name| name.0 == namespace).cloned().collect()
    }

    fn put(&mut self, name: &Name, es: ExternalSecret, shared: &mut Shared) {
        if self.are_themselves() {
            shared.saw_copy(CopierKind::ClusterExternalSecret, name, || copies::Seen::external_secret(&es));
        }
        // Most of what a watch tells is what our own looks wrote.
        if self.all.get(name).is_some_and(|known| known.es.is_at(es.metadata.resource_version.as_deref())) {
            return;
        }
        let (item, place, is_known) = (self.item(name), self.place(name, &es), self.all.contains_key(name));
        if self.are_themselves() && !shared.keeps(name, &place, is_known) {
            self.pass_on(name, place, shared);
            return;
        }
        let before = self.all.get(name).map(|known| known.es.unpack());
        let is_new = before.is_none();
        let referred = before.as_ref().map(|before| references(before)).unwrap_or_default();
        shared.index.refer(&item, &referred, &references(&es));
        let before = before.filter(|before| before.metadata.uid == es.metadata.uid);
        let is_changed = match (before, self.all.get_mut(name)) {
            (Some(before), Some(known)) => {
                known.place = place;
                known.put(&before, es)
            }
            (_, former) => {
                former.into_iter().for_each(|former| former.cancel());
                self.all.insert(item.name.clone(), Box::new(Known::new(es, place)));
                true
            }
        };
        // What is yet to come is looked at when it has.
        if is_changed && (shared.shards.are_one() || shared.shards.lead(self.shard(name, &shared.shards)).is_some()) {
            // What is on the list at start is due, not asked for.
            let urgency = if is_new && !shared.started { Urgency::Due } else { Urgency::Asked };
            shared.wake(&item, urgency);
        }
    }

    fn remove(&mut self, name: &Name, shared: &mut Shared) {
        let known = self.drop_known(name, shared).map(|place| place.store);
        if let Some(store) = known.unwrap_or_else(|| self.others.remove(name)) {
            self.leave_store(&store);
        }
        if self.are_themselves() {
            shared.copy_gone(CopierKind::ClusterExternalSecret, name);
        }
    }

    fn listed(&mut self, listed: &HashSet<Name>, shared: &mut Shared) {
        for store in self.others.retain(listed).into_known() {
            self.leave_store(&store);
        }
        if self.are_themselves() {
            let concerned = shared.copies.listed(CopierKind::ClusterExternalSecret, listed);
            shared.wake_copiers(concerned);
        }
    }

    fn examined(&mut self, name: &Name, target: &Target) {
        if let Some(known) = self.all.get_mut(name) {
            let version = target.version.clone();
            known.memory.target = Some(Remembered { version, intact: target.is_intact, made: None });
            if let (Some(restarts), Some(at)) = (&self.restarts, target.rotated_at) {
                restarts.found(&known.es.unpack(), at);
            }
        }
    }

    fn concern(&mut self, name: &Name, role: Role, sighting: &Sighting, shared: &mut Shared) -> Option<Urgency> {
        let item = self.item(name);
        let known = self.all.get_mut(name)?;
        if role != Role::Writer {
            return Some(Urgency::Due);
        }
        let is_known = match sighting {
            Sighting::There(version) => {
                known.memory.target.as_ref().is_some_and(|target| target.version == *version && target.intact)
            }
            Sighting::Gone(_) => known.memory.absence_is_fine,
            Sighting::LeftOut => {
                known.overtaken |= shared.is_looked_at(&item);
                false
            }
        };
        (!is_known).then_some(Urgency::Asked)
    }

    fn may_wait(&self, name: &Name, is_looked_at: bool) -> bool {
        let standing = self.all.get(name).map(|known| known.standing);
        is_looked_at || matches!(standing, Some(Standing::Held | Standing::Failed))
    }

    fn look(&mut self, name: &Name, now: Timestamp, shared: &Shared) -> Option<BoxFuture<'static, Self::Looked>> {
        let look = self.take_along(name, now, shared)?;
        let es = look.es.clone();
        Some((self.sync)(look).map(|report| (es, report)).boxed())
    }

    fn end(&mut self, name: &Name, (es, report): Self::Looked, took: Duration, shared: &mut Shared) -> Next {
        if self.are_themselves() {
            let used = self.all.get(name).and_then(|known| known.cancel.as_ref()).map_or(0.0, Cancel::used);
            shared.metrics.synced(&es, &report, took, used);
        }
        if let (Some(restarts), Outcome::Synced(Synced { rotated: Some(at), .. })) = (&self.restarts, &report.outcome) {
            restarts.rotated(&es, *at);
        }
        let Some(known) = self.all.get_mut(name) else { return Next::Gone };
        let is_same = known.es.is_at(es.metadata.resource_version.as_deref());
        let now = if is_same { es.clone() } else { known.es.unpack() };
        if now.metadata.uid != es.metadata.uid {
            return Next::Gone;
        }
        known.cancel = None;
        let target = Dependency::target_of(&es);
        known.stand(&report.outcome);
        known.memory = report.memory;
        for (source, version) in &known.memory.sources {
            shared.index.found(source, version.as_ref());
        }
        let version = known.memory.target.as_ref().map(|target| target.version.clone());
        if Dependency::target_of(&now) != target {
            known.memory.target = None;
        }
        if let Some((status, version)) = report.status {
            known.put_status(now, status, version);
        }
        match &report.outcome {
            _ if known.overtaken => {}
            Outcome::Synced(synced) if synced.result == SyncResult::Deleted => shared.index.left(&target, None),
            // Written, or read and found as it should be.
            Outcome::Synced(synced)
                if synced.change != TargetChange::Nothing || synced.result == SyncResult::Synced =>
            {
                shared.index.left(&target, version.as_ref());
            }
            Outcome::Settled { .. } => shared.index.left(&target, version.as_ref()),
            _ => {}
        }
        if !matches!(report.outcome, Outcome::Failed(_)) {
            shared.ask(Ask::Watch(target.kind));
        }
        report.next.into()
    }

    fn prune(&mut self, _: &Shared) {}

    fn shard(&self, name: &Name, shards: &Shards) -> Option<u32> {
        if !self.are_themselves() {
            return Some(FIRST);
        }
        let known = self.all.get(name);
        known.map_or_else(|| Some(shards.of_object(name)), |known| shards.of_external_secret(name, &known.place))
    }

    fn weights(&self) -> Vec<(Arc<StoreId>, usize)> {
        self.weights.iter().map(|(store, weight)| (store.clone(), *weight)).collect()
    }

    fn let_go(&mut self, name: &Name, shared: &mut Shared) {
        let are_themselves = self.are_themselves();
        let Some(known) = self.all.get_mut(name) else { return };
        known.cancel();
        (known.memory, known.standing) = (Memory::default(), Standing::New);
        if are_themselves && !shared.keeps(name, &known.place, true) {
            let place = known.place.clone();
            self.pass_on(name, place, shared);
        }
    }

    fn forget(&self, name: &Name, metrics: &Metrics) {
        metrics.forget_external_secret(name);
    }

    fn resource(&self) -> ApiResource {
        ApiResource::erase::<ExternalSecret>(&())
    }

    fn reason_undecodable(&self) -> &'static str {
        "SecretSyncedError"
    }
}

#[cfg(test)]
#[path = "external_secret_tests.rs"]
mod tests;
