//! What subjects have in common. A subject is all objects of one kind that are looked after: it knows what they depend
//! on, how to look at one (to reconcile it), and what the end of a look changes. It knows no other subject; what they
//! tell each other goes through [`Shared`]. The loop knows subjects, and none of them by name.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use keyferry_cluster::shards::FIRST;
use keyferry_sync::copies::{CopierId, CopierKind, Seen};
use keyferry_sync::data::StringMap;
use keyferry_sync::dependency::{Dependency, Kind, Name};
use keyferry_sync::ports::Notices;
use keyferry_sync::store::{KnownStores, Readiness, Store, StoreId};
use keyferry_sync::{record, told};
use kube::api::ObjectMeta;
use kube::core::ApiResource;

use super::change::Target;
use super::copies::Copies;
use super::generated::Generated;
use super::index::{Index, Item, Role, SubjectKind};
use super::kept::Refused;
use super::queue::{Queue, Urgency};
use super::relist::Update;
use super::shards::{Place, Shards};
use super::sight::Sighting;
use crate::metrics::Metrics;

/// How many looks are under way at once that are due, and as many again that somebody asked for. Most of them wait for a
/// store, where they fill each other's batches: those of all stores that are asked at once, and each takes kilobytes. What
/// they ask of the API server is bounded apart.
pub const LOOKS_AT_ONCE: usize = 2000;

/// One kind of objects that is looked after.
pub trait Subject: Send {
    /// An object, as its watch tells of it.
    type Object: Send + 'static;

    /// What a look comes to.
    type Looked: Send + 'static;

    /// The names of all.
    fn names(&self) -> Vec<Name>;

    /// The names of those that the labels of this namespace may concern.
    fn concerned_by(&self, namespace: &str) -> Vec<Name>;

    /// Takes an object: it is new, or has changed.
    fn put(&mut self, name: &Name, object: Self::Object, shared: &mut Shared);

    /// Forgets an object. It has gone.
    fn remove(&mut self, name: &Name, shared: &mut Shared);

    /// There are none but these.
    fn listed(&mut self, _: &HashSet<Name>, _: &mut Shared) {}

    /// Takes how the list at start has what one of ours writes, and whether that is as it was left.
    fn examined(&mut self, name: &Name, target: &Target);

    /// A watch told of an object that one of ours depends on. Answers whether, and how urgently, that is to be looked at.
    fn concern(&mut self, name: &Name, role: Role, sighting: &Sighting, shared: &mut Shared) -> Option<Urgency>;

    /// A watch told of an object that bears these labels, or that has gone. The names of those that had not known of it,
    /// and select by such.
    fn noticed(&mut self, _: &Dependency, _: Option<&StringMap>) -> Vec<Name> {
        Vec::new()
    }

    /// The names of those that select stores by labels, and this one now where they did not before, or no longer.
    fn chosen(&self, _: &StoreId, _: &Shared) -> Vec<Name> {
        Vec::new()
    }

    /// Whether one may wait for a store that it uses, or for its namespace; `is_looked_at` says whether a look is under
    /// way.
    fn may_wait(&self, name: &Name, is_looked_at: bool) -> bool;

    /// A look at one, with all that it takes along from here; `None` where there is none to look at. It says already now
    /// what it may ask of stores.
    fn look(&mut self, name: &Name, now: Timestamp, shared: &Shared) -> Option<BoxFuture<'static, Self::Looked>>;

    /// Takes what a look came to, and how long it took.
    fn end(&mut self, name: &Name, report: Self::Looked, took: Duration, shared: &mut Shared) -> Next;

    /// Lets go of what nobody needs any more: now and then.
    fn prune(&mut self, shared: &Shared);

    /// The shard of one, or `None` while it is on its way to another. What must be looked after by one replica is in the
    /// first.
    fn shard(&self, _: &Name, _: &Shards) -> Option<u32> {
        Some(FIRST)
    }

    /// How many of these are where each store is, and could be divided.
    fn weights(&self) -> Vec<(Arc<StoreId>, usize)> {
        Vec::new()
    }

    /// One is another replica's to look at: forgets what came of our looks, as if there had been none.
    fn let_go(&mut self, name: &Name, shared: &mut Shared);

    /// One has gone: so go its series.
    fn forget(&self, name: &Name, metrics: &Metrics);

    /// What these are in the API.
    fn resource(&self) -> ApiResource;

    /// The reason in the condition of one that does not decode, or finds no room.
    fn reason_undecodable(&self) -> &'static str;
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Then.
    At(Timestamp),
    /// When something changes.
    OnChange,
    /// Never: the object went while it was looked at.
    Gone,
}

impl From<Option<Timestamp>> for Next {
    fn from(next: Option<Timestamp>) -> Self {
        next.map_or(Self::OnChange, Self::At)
    }
}

/// What a subject asks of the loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To wake whoever uses this store and may wait for it.
    UsersOf(StoreId),
    /// To watch objects of this kind, where nobody does yet.
    Watch(Kind),
}

/// What all subjects share.
pub struct Shared {
    /// Who depends on what.
    pub index: Arc<Index>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// The stores, and how far each is.
    pub stores: BTreeMap<StoreId, (Arc<Store>, Readiness)>,
    /// What generators made.
    pub generated: Generated,
    /// The labels of each namespace.
    pub namespaces: HashMap<String, Arc<StringMap>>,
    /// Which namespaces get copies of what, and which copies there are.
    pub copies: Copies,
    /// Which part of all is ours.
    pub shards: Shards,
    /// What is to be ours once it is listed, with what it writes; `None` where nothing is to come.
    pub(super) coming: Option<Shards>,
    /// Set once everything was listed, and targets were examined of what is ours: before, nothing is looked at.
    pub started: bool,
    /// What is next.
    pub(super) queue: Queue<Item>,
    pub(super) asks: Vec<Ask>,
    notices: Arc<dyn Notices>,
}

impl Shared {
    /// Nothing is known yet. `notices` is where an object is told that it does not decode.
    pub fn new(index: Arc<Index>, metrics: Arc<Metrics>, notices: Arc<dyn Notices>, now: fn() -> Timestamp) -> Self {
        Self {
            index,
            metrics,
            now,
            stores: BTreeMap::new(),
            generated: Generated::default(),
            namespaces: HashMap::new(),
            copies: Copies::default(),
            shards: Shards::new(1),
            coming: None,
            started: false,
            queue: Queue::new(LOOKS_AT_ONCE),
            asks: Vec::new(),
            notices,
        }
    }

    /// The same, where all is divided into so many shards.
    pub fn divided(self, shards: u32) -> Self {
        Self { shards: Shards::new(shards), ..self }
    }

    /// Has an object looked at now.
    pub fn wake(&mut self, item: &Item, urgency: Urgency) {
        self.queue.add(item, (self.now)(), urgency);
    }

    /// An object of a kind that is copied is there, as `of` describes it: wakes those that this concerns.
    pub fn saw_copy(&mut self, kind: CopierKind, name: &Name, of: impl FnOnce() -> Seen) {
        let concerned = self.copies.saw(kind, name, of);
        self.wake_copiers(concerned);
    }

    /// An object of a kind that is copied has gone: wakes those that this concerns.
    pub fn copy_gone(&mut self, kind: CopierKind, name: &Name) {
        let concerned = self.copies.gone(kind, name);
        self.wake_copiers(concerned);
    }

    /// Has these looked at now: something they select or made has changed.
    pub fn wake_copiers(&mut self, concerned: BTreeSet<CopierId>) {
        for id in concerned {
            self.wake(&Item::copier(&id), Urgency::Asked);
        }
    }

    /// Asks something of the loop, which does it next.
    pub fn ask(&mut self, ask: Ask) {
        self.asks.push(ask);
    }

    /// Whether a look is under way.
    pub fn is_looked_at(&self, item: &Item) -> bool {
        self.queue.is_running(item)
    }

    /// Whether the look at one that is under way was asked for.
    pub fn is_asked_for(&self, item: &Item) -> bool {
        self.queue.is_asked_for(item)
    }

    /// Whether all of an ExternalSecret is kept that has its place there: it is ours, or is to come. Of one that is on its way to
    /// another shard what is kept stays.
    pub fn keeps(&self, name: &Name, place: &Place, is_known: bool) -> bool {
        let is_to_come = |coming: &Shards| coming.lead(coming.of_external_secret(name, place)).is_some();
        match self.shards.of_external_secret(name, place) {
            _ if self.shards.are_one() => true,
            None if is_known => true,
            shard => self.shards.lead(shard).is_some() || self.coming.as_ref().is_some_and(is_to_come),
        }
    }

    /// The stores of a namespace, or of the cluster.
    pub fn stores_of(&self, namespace: Option<&str>) -> impl Iterator<Item = &Arc<Store>> {
        let first = StoreId { namespace: namespace.map(str::to_owned), name: String::new() };
        let from = self.stores.range(first..);
        from.take_while(move |(id, _)| id.namespace.as_deref() == namespace).map(|(_, (store, _))| store)
    }

    /// Those of `ids` that exist, and how far they are.
    pub fn known_stores(&self, ids: BTreeSet<StoreId>) -> KnownStores {
        ids.into_iter().filter_map(|id| Some((id.clone(), self.stores.get(&id)?.clone()))).collect()
    }
}

/// An object as a watch tells of it: `T`, or what is left of one that is not taken.
pub struct Told<T> {
    /// Its namespace and name.
    pub name: Name,
    /// What it is.
    pub object: Result<T, Refused>,
}

/// What only its subject knows the form of: an object of its own, or what a look at one came to.
pub type Own = Box<dyn Any + Send>;

impl<T: Send + 'static> Told<T> {
    /// The same, for the loop to pass on.
    pub fn pass_on(self) -> Told<Own> {
        Told { name: self.name, object: self.object.map(|object| Box::new(object) as Own) }
    }
}

/// A subject as the loop has it: all that is the same for every kind is done here.
pub trait Tend: Send {
    /// Takes what the watch tells.
    fn take(&mut self, update: Update<Told<Own>>, shared: &mut Shared);

    /// From now on what is seen in these shards may be told: tells what is not taken.
    fn begin(&self, shards: &BTreeSet<u32>, shared: &Shared);

    /// Has all looked at that are ours and were not `before`, and lets go of the others.
    fn wake_changed(&mut self, before: &Shards, shared: &mut Shared);

    /// Lets go of all of ours that are in another shard than `before`, or in none. Answers those of them at which looks are
    /// under way.
    fn leave(&mut self, before: &Shards, shared: &mut Shared) -> Vec<Item>;

    /// The shard of one.
    fn shard(&self, name: &Name, shards: &Shards) -> Option<u32>;

    /// How many of these are where each store is.
    fn weights(&self) -> Vec<(Arc<StoreId>, usize)>;

    /// One is another replica's to look at.
    fn let_go(&mut self, name: &Name, shared: &mut Shared);

    /// Takes how the list at start has what one writes.
    fn examined(&mut self, name: &Name, target: &Target);

    /// Wakes one that an object concerns of which a watch told.
    fn concern(&mut self, name: &Name, role: Role, sighting: &Sighting, shared: &mut Shared);

    /// Wakes those that select an object of which a watch told: it bears these labels, or has gone.
    fn noticed(&mut self, object: &Dependency, labels: Option<&StringMap>, shared: &mut Shared);

    /// Wakes those that select this store now, or no longer.
    fn chosen(&mut self, store: &StoreId, shared: &mut Shared);

    /// Wakes one that may wait for a store.
    fn help(&mut self, name: &Name, shared: &mut Shared);

    /// Wakes those that may wait for their namespace.
    fn help_in(&mut self, namespace: &str, shared: &mut Shared);

    /// A look at one, where there is one.
    fn look(&mut self, name: &Name, now: Timestamp, shared: &mut Shared) -> Option<BoxFuture<'static, Own>>;

    /// Takes what a look came to.
    fn end(&mut self, name: &Name, report: Own, took: Duration, shared: &mut Shared);

    /// Lets go of what nobody needs any more.
    fn prune(&mut self, shared: &Shared);

    /// How many there are.
    fn count(&self) -> usize;
}

/// A subject, and its objects that do not decode, or find no room.
pub struct Tended<S> {
    kind: SubjectKind,
    subject: S,
    /// As they were when that was told.
    refused: HashMap<Name, Refused>,
}

impl<S: Subject> Tended<S> {
    /// Of objects of this kind.
    pub fn new(kind: SubjectKind, subject: S) -> Self {
        Self { kind, subject, refused: HashMap::new() }
    }

    fn item(&self, name: &Name) -> Item {
        Item::new(self.kind, name.clone())
    }

    fn remove(&mut self, name: &Name, shared: &mut Shared) {
        self.refused.remove(name);
        self.subject.remove(name, shared);
        shared.queue.remove(&self.item(name));
        self.subject.forget(name, &shared.metrics);
    }

    fn refuse(&mut self, name: Name, refused: Refused, shared: &mut Shared) {
        let metadata = ObjectMeta { annotations: None, managed_fields: None, ..*refused.metadata };
        let is_same = |told: &Refused| {
            let ObjectMeta { uid, generation, .. } = &*told.metadata;
            (uid, generation, told.limit) == (&metadata.uid, &metadata.generation, refused.limit)
        };
        let is_told = self.refused.get(&name).is_some_and(is_same);
        self.remove(&name, shared);
        self.refused.insert(name.clone(), Refused { metadata: Box::new(metadata), ..refused });
        if !is_told {
            let kind = self.subject.resource().kind;
            match refused.limit {
                None => tracing::warn!(namespace = name.0, name = name.1, "the {kind} does not decode"),
                Some(limit) => tracing::warn!(namespace = name.0, name = name.1, "the {kind} finds no room: {limit}"),
            }
            // Before, another may lead, and tell it.
            if shared.started {
                self.tell_refused(&name, shared);
            }
        }
    }

    fn tell_refused(&self, name: &Name, shared: &Shared) {
        let Some(Refused { metadata, limit, ready }) = self.refused.get(name).cloned() else { return };
        let Some(lead) = shared.shards.lead(self.shard(name, &shared.shards)).cloned() else { return };
        let (resource, mut conditions) = (self.subject.resource(), Vec::new());
        let message = told::Told::without_values(match limit {
            Some(limit) => format!("there is no room for the object: {limit}"),
            None => format!(
                "invalid spec: the object is not of the form that the CustomResourceDefinition gives: compare it with \
                 `kubectl explain {}.spec`",
                resource.kind.to_lowercase()
            ),
        });
        conditions.extend(ready.as_deref().cloned());
        record::set_ready(&mut conditions, false, self.subject.reason_undecodable(), message, (shared.now)());
        if conditions.first() == ready.as_deref() {
            return;
        }
        let notices = shared.notices.clone();
        tokio::spawn(lead.over(async move { notices.set_conditions(&resource, *metadata, conditions).await }));
    }
}

impl<S: Subject> Tend for Tended<S> {
    fn take(&mut self, update: Update<Told<Own>>, shared: &mut Shared) {
        match update {
            Update::Put(Told { name, object: Ok(object) }) => {
                self.refused.remove(&name);
                self.subject.put(&name, own(object), shared);
            }
            Update::Put(Told { name, object: Err(refused) }) => self.refuse(name, refused, shared),
            Update::Gone(told) => self.remove(&told.name, shared),
            Update::Listed(listed) => {
                let known = self.subject.names().into_iter().chain(self.refused.keys().cloned());
                let gone: Vec<Name> = known.filter(|name| !listed.contains(name)).collect();
                for name in gone {
                    self.remove(&name, shared);
                }
                self.subject.listed(&listed, shared);
            }
        }
    }

    fn begin(&self, shards: &BTreeSet<u32>, shared: &Shared) {
        let is_of_these = |name: &&Name| self.shard(name, &shared.shards).is_some_and(|shard| shards.contains(&shard));
        for name in self.refused.keys().filter(is_of_these) {
            self.tell_refused(name, shared);
        }
    }

    fn wake_changed(&mut self, before: &Shards, shared: &mut Shared) {
        for name in self.subject.names() {
            let is_ours = |shards: &Shards| shards.lead(self.shard(&name, shards)).is_some();
            match (is_ours(before), is_ours(&shared.shards)) {
                (false, true) => shared.wake(&self.item(&name), Urgency::Due),
                // What is known of its target was told for it.
                (false, false) if shared.coming.as_ref().is_some_and(is_ours) => {}
                (_, false) => self.let_go(&name, shared),
                (true, true) => {}
            }
        }
    }

    fn leave(&mut self, before: &Shards, shared: &mut Shared) -> Vec<Item> {
        let mut leaving = Vec::new();
        for name in self.subject.names() {
            let (shard, item) = (self.shard(&name, before), self.item(&name));
            if shard == self.shard(&name, &shared.shards) {
                continue;
            }
            let is_looked_at = shared.is_looked_at(&item);
            if is_looked_at || before.lead(shard).is_some() {
                self.let_go(&name, shared);
            }
            leaving.extend(is_looked_at.then_some(item));
        }
        leaving
    }

    fn shard(&self, name: &Name, shards: &Shards) -> Option<u32> {
        if shards.are_one() { Some(FIRST) } else { self.subject.shard(name, shards) }
    }

    fn weights(&self) -> Vec<(Arc<StoreId>, usize)> {
        self.subject.weights()
    }

    fn let_go(&mut self, name: &Name, shared: &mut Shared) {
        self.subject.let_go(name, shared);
        self.subject.forget(name, &shared.metrics);
        shared.queue.remove(&self.item(name));
    }

    fn examined(&mut self, name: &Name, target: &Target) {
        self.subject.examined(name, target);
    }

    fn concern(&mut self, name: &Name, role: Role, sighting: &Sighting, shared: &mut Shared) {
        if let Some(urgency) = self.subject.concern(name, role, sighting, shared) {
            shared.wake(&self.item(name), urgency);
        }
    }

    fn noticed(&mut self, object: &Dependency, labels: Option<&StringMap>, shared: &mut Shared) {
        for name in self.subject.noticed(object, labels) {
            shared.wake(&self.item(&name), Urgency::Asked);
        }
    }

    fn chosen(&mut self, store: &StoreId, shared: &mut Shared) {
        for name in self.subject.chosen(store, shared) {
            shared.wake(&self.item(&name), Urgency::Due);
        }
    }

    fn help(&mut self, name: &Name, shared: &mut Shared) {
        let item = self.item(name);
        // Also while a look is under way: it may come to wait for, or to fail by, what has just changed.
        if self.subject.may_wait(name, shared.is_looked_at(&item)) {
            shared.wake(&item, Urgency::Due);
        }
    }

    fn help_in(&mut self, namespace: &str, shared: &mut Shared) {
        for name in self.subject.concerned_by(namespace) {
            self.help(&name, shared);
        }
    }

    fn look(&mut self, name: &Name, now: Timestamp, shared: &mut Shared) -> Option<BoxFuture<'static, Own>> {
        let look = self.subject.look(name, now, shared)?;
        Some(look.map(|report| Box::new(report) as Own).boxed())
    }

    fn end(&mut self, name: &Name, report: Own, took: Duration, shared: &mut Shared) {
        let item = self.item(name);
        match self.subject.end(name, own(report), took, shared) {
            Next::At(next) => shared.queue.done(&item, Some(next)),
            Next::OnChange => shared.queue.done(&item, None),
            Next::Gone => {
                self.subject.forget(name, &shared.metrics);
                // Where it came to be so during the look, that may have told otherwise at its end.
                self.tell_refused(name, shared);
                shared.queue.done(&item, None);
            }
        }
    }

    fn prune(&mut self, shared: &Shared) {
        self.subject.prune(shared);
    }

    fn count(&self) -> usize {
        self.subject.names().len()
    }
}

fn own<T: 'static>(own: Own) -> T {
    *own.downcast().expect("each subject is handed what was made for it: see watch.rs, and `look`")
}
