//! The controller: takes what the watches tell, keeps the queue, and runs one look at a time per object.
//!
//! Modules, in reading order: [`watch`] what changes, [`world`] what is known, [`queue`] what is next. The loop here
//! owns all three; looks run beside it, each with a copy of what it needs, and report back.

pub mod queue;
pub mod watch;
pub mod check;
pub mod world;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::stream::{AbortHandle, SelectAll, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use keyferry_cluster::client::{LiveSecret, Problem, timely};
use keyferry_cluster::events::Events;
use keyferry_cluster::target::desired;
use keyferry_cluster::target::kinds::Kinds;
use keyferry_crds::{ExternalSecret, Manifest, names};
use keyferry_stores::pool::Pool;
use keyferry_sync::dependency::{Dependency, Kind, Name, Tracker, version};
use keyferry_sync::look::{Report, Seen};
use keyferry_sync::outcome::{Change as Done, Outcome, SyncResult};
use keyferry_sync::ports::Ports;
use keyferry_sync::record;
use keyferry_sync::request::sources_of;
use keyferry_sync::store::{Readiness, Store, StoreId};
use keyferry_sync::time::later;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams};
use kube::core::{ApiResource, DeserializeGuard, DynamicObject};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt as _};
use serde_json::json;
use tokio::sync::{mpsc, watch as signal};
use tokio::task::JoinSet;

use self::queue::{Queue, Urgency};
use self::watch::{Change, Changes, Metadata};
use self::world::{Item, Standing, TargetId, Version, World, name_of};
use crate::clock;
use crate::metrics::Metrics;

/// What looks work with.
pub struct Context {
    /// The API server.
    pub client: kube::Client,
    /// What the life of a secret needs.
    pub ports: Ports,
    /// How it is led.
    pub settings: keyferry_sync::settings::Settings,
    /// The clients of stores.
    pub pool: Arc<Pool>,
    /// The kinds of targets that are not Secrets.
    pub kinds: Kinds,
    /// Where events go.
    pub events: Events,
    /// Where counts go.
    pub metrics: Arc<Metrics>,
}

/// How the controller works.
pub struct Settings {
    /// The one namespace to look after; all where there is none.
    pub scope: Option<String>,
    /// Whether SecretStores are checked; where not, their status is believed.
    pub secret_stores: bool,
    /// Whether ClusterSecretStores are looked after.
    pub cluster_stores: bool,
    /// How often a healthy store is checked.
    pub store_every: Duration,
}

/// The longest sleep: a wall clock that is set must not leave the queue asleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How many looks are under way at once. Most of them wait for a store, where they fill each other's batches; what they
/// ask of the API server is bounded apart.
const LOOKS_AT_ONCE: usize = 10_000;

/// How long looks under way may take to end when the controller stops.
const GRACE: Duration = Duration::from_secs(20);

/// How often what nobody refers to any more is let go.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// How long an object that made us panic is left alone.
const AFTER_PANIC: Duration = Duration::from_secs(300);

/// Seconds between attempts to tell that an object does not decode.
const TELLING: [u64; 5] = [1, 4, 15, 60, 60];

/// How many targets are read at once from the list at start.
const PAGE: u32 = 200;

/// The watch of a kind of targets.
struct Watch {
    /// Ends it.
    handle: AbortHandle,
    /// Whether it has listed what there is; before, it can't tell how a target stands.
    listed: bool,
}

/// The end of a look.
enum Ended {
    Sync(Name, Arc<ExternalSecret>, Box<Report>),
    Check(StoreId, Arc<Store>, check::Report),
    /// A bug of ours.
    Panicked(Item),
}

/// The kinds whose first list is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Listed {
    ExternalSecrets,
    SecretStores,
    ClusterSecretStores,
    Namespaces,
    Secrets,
    ConfigMaps,
}

/// The controller.
pub struct Controller {
    context: Arc<Context>,
    settings: Settings,
    objects: Arc<Tracker>,
    world: World,
    queue: Queue<Item>,
    looks: JoinSet<Ended>,
    pending: HashSet<Listed>,
    listing: Listing,
    /// The kinds of targets besides Secrets that are watched.
    watched: HashMap<Manifest, Watch>,
    /// Watches that are to join the others.
    joining: Vec<Changes>,
    /// ExternalSecrets that do not decode, as they were when that was told.
    undecodable: HashMap<Name, ObjectMeta>,
    /// Set once everything was listed and targets were examined: before, nothing is looked at.
    started: bool,
    ready: signal::Sender<bool>,
    /// Stores whose condition has more to say than before.
    news: mpsc::UnboundedReceiver<StoreId>,
    pruned: std::time::Instant,
    /// The wall clock, and the one that nobody sets, when they were last read.
    clock: (Timestamp, std::time::Instant),
}

/// What the list under way of each kind has named so far: what it leaves out is gone.
#[derive(Default)]
struct Listing {
    external_secrets: HashSet<Name>,
    stores: HashSet<StoreId>,
    secrets: HashSet<Name>,
    config_maps: HashSet<Name>,
    others: HashMap<Manifest, HashSet<Name>>,
}

impl Controller {
    /// A controller; `ready` is told when all is listed and the work begins.
    pub fn new(
        context: Arc<Context>,
        settings: Settings,
        objects: Arc<Tracker>,
        ready: signal::Sender<bool>,
        news: mpsc::UnboundedReceiver<StoreId>,
    ) -> Self {
        Self {
            context,
            settings,
            objects,
            world: World::default(),
            queue: Queue::default(),
            looks: JoinSet::new(),
            pending: HashSet::new(),
            listing: Listing::default(),
            watched: HashMap::new(),
            joining: Vec::new(),
            undecodable: HashMap::new(),
            started: false,
            ready,
            news,
            pruned: std::time::Instant::now(),
            clock: (clock::now(), std::time::Instant::now()),
        }
    }

    /// Works until `stop`, then lets looks under way end.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let scope = self.settings.scope.clone();
        let client = self.context.client.clone();
        let mut changes: SelectAll<Changes> = SelectAll::new();
        self.pending = HashSet::from([Listed::ExternalSecrets]);
        self.pending.insert(Listed::SecretStores);
        if self.settings.cluster_stores {
            self.pending.extend([Listed::ClusterSecretStores, Listed::Namespaces]);
        }
        let streams = watch::looked_after(&client, scope.as_deref(), self.settings.cluster_stores);
        changes.extend(streams);
        let mut referred = false;
        let mut stop = std::pin::pin!(stop);
        loop {
            if self.pending.is_empty() && !self.started {
                if !referred {
                    // Only now is it known which Secrets matter; of the others nothing is kept.
                    referred = true;
                    self.pending = HashSet::from([Listed::Secrets, Listed::ConfigMaps]);
                    changes.extend(watch::referred_to(&client, scope.as_deref()));
                } else {
                    tokio::select! {
                        () = &mut stop => break,
                        () = self.begin() => {}
                    }
                }
            }
            self.prune();
            self.spawn();
            changes.extend(self.joining.drain(..));
            let sleep = self.sleep();
            tokio::select! {
                () = &mut stop => break,
                Some(change) = changes.next() => self.take(change),
                Some(store) = self.news.recv() => self.wake_store(&store),
                // An error is a look that was cancelled, which happens only as we end.
                Some(ended) = self.looks.join_next(), if !self.looks.is_empty() => if let Ok(ended) = ended {
                    self.end(ended);
                },
                () = tokio::time::sleep(sleep) => {}
            }
        }
        drop(changes);
        self.finish().await;
    }

    async fn finish(mut self) {
        if self.looks.is_empty() {
            return;
        }
        tracing::info!(looks = self.looks.len(), "waiting for what is under way");
        let all = async { while self.looks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!(seconds = GRACE.as_secs(), "some did not end in time; the next process takes them up");
        }
    }

    /// Stops following objects that nobody refers to any more, now and then.
    fn prune(&mut self) {
        if self.pruned.elapsed() < PRUNE_EVERY {
            return;
        }
        self.pruned = std::time::Instant::now();
        let (world, pool) = (&self.world, &self.context.pool);
        pool.keep(|store| world.store(store).is_some());
        self.objects.keep(|object| !world.readers_of(object).is_empty() || !pool.users_of(object).is_empty());
        let unused = self.watched.extract_if(|kind, _| !world.has_targets_of(kind));
        for (kind, watch) in unused {
            watch.handle.abort();
            self.context.kinds.forget(&kind);
        }
    }

    /// Watches the kind of a target, where nobody does yet. What that kind is, the look has found out.
    fn watch_kind(&mut self, es: &ExternalSecret) {
        let Some(kind) = es.target_manifest().filter(|kind| !self.watched.contains_key(*kind)) else { return };
        let Some(resource) = self.context.kinds.known(kind) else { return };
        let (changes, handle) = watch::targets(&self.context.client, self.settings.scope.as_deref(), kind, &resource);
        self.joining.push(changes);
        self.watched.insert(kind.clone(), Watch { handle, listed: false });
    }

    fn sleep(&self) -> Duration {
        let Some(earliest) = self.queue.earliest().filter(|_| self.started && self.has_room()) else {
            return LONGEST_SLEEP;
        };
        let wait = earliest.duration_since(clock::now());
        Duration::try_from(wait).unwrap_or_default().min(LONGEST_SLEEP)
    }

    fn has_room(&self) -> bool {
        self.looks.len() < LOOKS_AT_ONCE
    }

    /// Now, and whatever waits moved where the clock was set back since this was last asked.
    fn now(&mut self) -> Timestamp {
        let (wall, monotonic) = (clock::now(), std::time::Instant::now());
        let (wall_before, before) = std::mem::replace(&mut self.clock, (wall, monotonic));
        let back = later(wall_before, monotonic - before).duration_since(wall);
        if back > SignedDuration::from_secs(1) {
            tracing::warn!(seconds = back.as_secs(), "the clock was set back");
            self.queue.clock_was_set_back(back);
        }
        wall
    }

    fn spawn(&mut self) {
        let now = self.now();
        // Looks begin to run while others are still being started: without this the first would ask alone.
        let context = self.context.clone();
        let _planning = context.ports.stores.planning();
        while self.started && self.has_room() {
            let Some(item) = self.queue.next(now) else { return };
            let context = self.context.clone();
            match &item {
                Item::Store(id) => match self.world.store(id).filter(|known| self.checks(&known.store)) {
                    Some(known) => {
                        let (id, store, failures, every) =
                            (id.clone(), known.store.clone(), known.failures, self.settings.store_every);
                        self.look(item, async move {
                            let started = std::time::Instant::now();
                            let report = check::run(&context, &store, failures, every).await;
                            context.metrics.checked(&store, &report, started.elapsed());
                            Ended::Check(id, store, report)
                        });
                    }
                    None => self.queue.done(&item, None),
                },
                Item::ExternalSecret(name) => match self.world.look(name, now) {
                    Some(mut look) => {
                        let planning = context.ports.stores.planning();
                        let unwatched = |kind| !self.watched.get(kind).is_some_and(|watch| watch.listed);
                        if look.es.target_manifest().is_some_and(unwatched) {
                            look.seen = Seen::Unknown;
                        }
                        for (source, seen) in &mut look.sources {
                            *seen = self.objects.last(source);
                        }
                        let (name, es) = (name.clone(), look.es.clone());
                        self.look(item, async move {
                            let started = std::time::Instant::now();
                            let report = keyferry_sync::run(&context.ports, &context.settings, look, planning).await;
                            context.metrics.synced(&es, &report, started.elapsed());
                            Ended::Sync(name, es, Box::new(report))
                        });
                    }
                    None => self.queue.done(&item, None),
                },
            }
        }
    }

    /// Starts a look. One that panics is a bug of ours, and must not take the others with it.
    fn look(&mut self, item: Item, look: impl Future<Output = Ended> + Send + 'static) {
        self.looks.spawn(async move { AssertUnwindSafe(look).catch_unwind().await.unwrap_or(Ended::Panicked(item)) });
    }

    fn end(&mut self, ended: Ended) {
        match ended {
            Ended::Sync(name, es, report) => self.end_sync(&name, &es, *report),
            Ended::Check(id, store, report) => self.end_check(&id, &store, report),
            Ended::Panicked(item) => {
                tracing::error!(?item, "a bug of keyferry: this object is left alone for a while; please report it");
                if let Item::ExternalSecret(name) = &item
                    && let Some(subject) = self.world.subject_mut(name)
                {
                    subject.looking = false;
                }
                self.queue.done(&item, Some(later(clock::now(), AFTER_PANIC)));
            }
        }
        self.context.metrics.queue.set(self.queue.waiting() as i64);
    }

    fn end_sync(&mut self, name: &Name, es: &ExternalSecret, report: Report) {
        let item = Item::ExternalSecret(name.clone());
        let same = |uid: &Option<String>| *uid == es.metadata.uid;
        let Some(subject) = self.world.subject_mut(name).filter(|subject| same(&subject.es.metadata.uid)) else {
            self.context.metrics.forget_external_secret(name);
            // Where it came to be so during the look, that may have told otherwise at its end.
            self.tell_undecodable(name);
            return self.queue.done(&item, None);
        };
        let same_target = TargetId::of(&subject.es) == TargetId::of(es);
        subject.looking = false;
        subject.standing = match &report.outcome {
            // Whose class it is may change with its store.
            Outcome::Holding | Outcome::Ignored => Standing::Held,
            Outcome::Failed(_) => Standing::Failed,
            Outcome::Waiting(_) if subject.standing == Standing::Failed => Standing::Failed,
            Outcome::Waiting(_) | Outcome::Released | Outcome::Synced(_) | Outcome::Settled { .. } => Standing::Well,
        };
        subject.memory = report.memory;
        for (source, version) in &subject.memory.sources {
            self.objects.found(source, version);
        }
        let version = subject.memory.target.as_ref().map(|target| target.version.clone());
        if !same_target {
            subject.memory.target = None;
        }
        if let Some((status, version)) = report.status {
            self.world.put_status(name, status, version);
        }
        match &report.outcome {
            Outcome::Synced(synced) if synced.result == SyncResult::Deleted => self.world.left_target(es, None),
            // Written, or read and found as it should be.
            Outcome::Synced(synced) if synced.change != Done::Nothing || synced.result == SyncResult::Synced => {
                self.world.left_target(es, version.as_ref());
            }
            Outcome::Settled { .. } => self.world.left_target(es, version.as_ref()),
            _ => {}
        }
        self.queue.done(&item, report.next);
        if !matches!(report.outcome, Outcome::Failed(_)) {
            self.watch_kind(es);
        }
    }

    fn end_check(&mut self, id: &StoreId, store: &Store, report: check::Report) {
        let item = Item::Store(id.clone());
        let current = |known: &&mut world::Known| {
            known.store.uid() == store.uid() && known.store.generation() == store.generation()
        };
        let Some(known) = self.world.store_mut(id).filter(current) else {
            // Gone, or changed meanwhile: then another check is in the queue.
            if self.world.store(id).is_none() {
                self.context.metrics.forget_store(id);
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
            for name in self.world.troubled_users(id) {
                self.wake(&name, Urgency::Due);
            }
        }
    }

    fn wake(&mut self, name: &Name, urgency: Urgency) {
        self.queue.add(&Item::ExternalSecret(name.clone()), clock::now(), urgency);
    }

    fn wake_store(&mut self, id: &StoreId) {
        self.queue.add(&Item::Store(id.clone()), clock::now(), Urgency::Asked);
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::ExternalSecret(event) => self.take_external_secret(event),
            Change::SecretStore(event) => self.take_store(event, Listed::SecretStores, Store::namespaced),
            Change::ClusterSecretStore(event) => self.take_store(event, Listed::ClusterSecretStores, Store::cluster),
            Change::Namespace(event) => match event {
                Event::Apply(namespace) | Event::InitApply(namespace) => {
                    let name = namespace.name_any();
                    if self.world.put_namespace(name.clone(), namespace.metadata.labels.unwrap_or_default()) {
                        for troubled in self.world.troubled_in(&name) {
                            self.wake(&troubled, Urgency::Due);
                        }
                    }
                }
                Event::Delete(namespace) => self.world.remove_namespace(&namespace.name_any()),
                Event::Init => {}
                Event::InitDone => self.listed(Listed::Namespaces),
            },
            Change::Secret(event) => self.take_secret(event),
            Change::Other(kind, event) => self.take_other(&kind, event),
            Change::OtherFailed(kind, listed) => {
                if let Some(watch) = self.watched.get_mut(&kind) {
                    watch.listed &= listed;
                }
            }
            Change::ConfigMap(event) => match event {
                Event::Init => self.listing.config_maps.clear(),
                Event::InitApply(object) => {
                    self.listing.config_maps.insert(name_of(object.meta()));
                    self.saw(Kind::ConfigMap, object.meta(), true);
                }
                Event::Apply(object) => self.saw(Kind::ConfigMap, object.meta(), true),
                Event::Delete(object) => self.saw(Kind::ConfigMap, object.meta(), false),
                Event::InitDone => {
                    let listed = std::mem::take(&mut self.listing.config_maps);
                    self.lost_dependencies(Kind::ConfigMap, &listed);
                    self.listed(Listed::ConfigMaps);
                }
            },
        }
    }

    fn listed(&mut self, kind: Listed) {
        self.pending.remove(&kind);
    }

    fn take_external_secret(&mut self, event: Event<DeserializeGuard<ExternalSecret>>) {
        match event {
            Event::Init => self.listing.external_secrets.clear(),
            Event::InitApply(guarded) => {
                self.listing.external_secrets.insert(name_of(guarded.meta()));
                self.put_external_secret(guarded);
            }
            Event::Apply(guarded) => self.put_external_secret(guarded),
            Event::Delete(guarded) => self.remove_external_secret(&name_of(guarded.meta())),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing.external_secrets);
                for gone in self.world.external_secrets().difference(&listed) {
                    self.remove_external_secret(gone);
                }
                self.listed(Listed::ExternalSecrets);
            }
        }
    }

    fn put_external_secret(&mut self, guarded: DeserializeGuard<ExternalSecret>) {
        match guarded.0 {
            Ok(es) => {
                let name = name_of(&es.metadata);
                self.undecodable.remove(&name);
                let new = self.world.subject(&name).is_none();
                for source in sources_of(&es) {
                    self.objects.follow(&source);
                }
                if self.world.put_external_secret(es) {
                    // What is on the list at start is due, not asked for.
                    self.wake(&name, if new && !self.started { Urgency::Due } else { Urgency::Asked });
                }
            }
            Err(invalid) => {
                let metadata = ObjectMeta { annotations: None, managed_fields: None, ..invalid.metadata };
                let name = name_of(&metadata);
                let told = self.undecodable.get(&name);
                let told = told.is_some_and(|told| told.uid == metadata.uid && told.generation == metadata.generation);
                self.remove_external_secret(&name);
                self.undecodable.insert(name.clone(), metadata);
                if !told {
                    tracing::warn!(namespace = name.0, name = name.1, "the ExternalSecret does not decode");
                    self.tell_undecodable(&name);
                }
            }
        }
    }

    fn tell_undecodable(&self, name: &Name) {
        if let Some(metadata) = self.undecodable.get(name).cloned() {
            let context = self.context.clone();
            tokio::spawn(async move { tell_undecodable(&context, metadata).await });
        }
    }

    fn remove_external_secret(&mut self, name: &Name) {
        self.undecodable.remove(name);
        self.world.remove_external_secret(name);
        self.queue.remove(&Item::ExternalSecret(name.clone()));
        self.context.metrics.forget_external_secret(name);
    }

    fn take_store<K: Resource<DynamicType = ()>>(
        &mut self,
        event: Event<DeserializeGuard<K>>,
        kind: Listed,
        store: fn(K) -> Store,
    ) {
        let into = |guarded: DeserializeGuard<K>| match guarded.0 {
            Ok(object) => store(object),
            Err(invalid) => Store::undecodable(invalid.metadata),
        };
        match event {
            Event::Init => self.listing.stores.retain(|id| id.namespace.is_some() != (kind == Listed::SecretStores)),
            Event::InitApply(guarded) => {
                let store = into(guarded);
                self.listing.stores.insert(store.id.clone());
                self.put_store(store);
            }
            Event::Apply(guarded) => self.put_store(into(guarded)),
            Event::Delete(guarded) => self.remove_store(&into(guarded).id),
            Event::InitDone => {
                let of_kind = |id: &&StoreId| id.namespace.is_some() == (kind == Listed::SecretStores);
                let gone: Vec<StoreId> =
                    self.world.store_ids().difference(&self.listing.stores).filter(of_kind).cloned().collect();
                for id in gone {
                    self.remove_store(&id);
                }
                self.listed(kind);
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
        let changed = self.world.put_store(store);
        let news = self.world.store_mut(&id).is_some_and(|known| match told {
            Some(told) if known.readiness != told => {
                known.readiness = told;
                true
            }
            _ => false,
        });
        if changed && checked {
            self.wake_store(&id);
        }
        if changed || news {
            // One that was missing is there now.
            for name in self.world.troubled_users(&id) {
                self.wake(&name, Urgency::Due);
            }
        }
    }

    fn remove_store(&mut self, id: &StoreId) {
        self.world.remove_store(id);
        self.context.pool.forget(id);
        self.queue.remove(&Item::Store(id.clone()));
        self.context.metrics.forget_store(id);
        for name in self.world.troubled_users(id) {
            self.wake(&name, Urgency::Due);
        }
    }

    fn take_secret(&mut self, event: Event<Metadata<Secret>>) {
        match event {
            Event::Init => {
                self.listing.secrets.clear();
                if !self.started {
                    self.world.forget_sight_of_secrets();
                }
            }
            Event::InitApply(object) => {
                self.listing.secrets.insert(name_of(object.meta()));
                self.saw_secret(object.meta(), true);
            }
            Event::Apply(object) => self.saw_secret(object.meta(), true),
            Event::Delete(object) => self.saw_secret(object.meta(), false),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing.secrets);
                if !self.started {
                    self.world.saw_all_of(None);
                }
                for gone in self.world.targets_not_in(None, &listed) {
                    self.lost(&TargetId::secret(gone));
                }
                self.lost_dependencies(Kind::Secret, &listed);
                self.listed(Listed::Secrets);
            }
        }
    }

    fn saw_secret(&mut self, metadata: &ObjectMeta, there: bool) {
        self.saw(Kind::Secret, metadata, there);
        self.saw_target(&TargetId::secret(name_of(metadata)), metadata, there);
    }

    fn take_other(&mut self, kind: &Manifest, event: Event<Metadata<DynamicObject>>) {
        // A watch that was let go may have told something before it ended.
        if !self.watched.contains_key(kind) {
            return;
        }
        let id = |object: &Metadata<DynamicObject>| TargetId::other(kind, name_of(object.meta()));
        match event {
            Event::Init => _ = self.listing.others.insert(kind.clone(), HashSet::new()),
            Event::InitApply(object) => {
                self.listing.others.entry(kind.clone()).or_default().insert(name_of(object.meta()));
                self.saw_target(&id(&object), object.meta(), true);
            }
            Event::Apply(object) => self.saw_target(&id(&object), object.meta(), true),
            Event::Delete(object) => self.saw_target(&id(&object), object.meta(), false),
            Event::InitDone => {
                let listed = self.listing.others.remove(kind).unwrap_or_default();
                if let Some(watch) = self.watched.get_mut(kind) {
                    watch.listed = true;
                }
                self.world.saw_all_of(Some(kind));
                for gone in self.world.targets_not_in(Some(kind), &listed) {
                    self.lost(&TargetId::other(kind, gone));
                }
            }
        }
    }

    /// A list leaves a target out. It may be gone, or was written after the list was made.
    fn lost(&mut self, target: &TargetId) {
        for writer in self.world.lost_target(target) {
            self.wake(&writer, Urgency::Asked);
        }
    }

    /// A watch saw what may be a target, or its end.
    fn saw_target(&mut self, target: &TargetId, metadata: &ObjectMeta, there: bool) {
        let writers = match version(metadata).filter(|_| there) {
            Some(version) => self.world.saw_target(target, version),
            None => self.world.saw_end_of_target(target, metadata.uid.clone()),
        };
        for writer in writers {
            self.wake(&writer, Urgency::Asked);
        }
    }

    /// A watch saw an object that stores or templates may refer to, or its end.
    fn saw(&mut self, kind: Kind, metadata: &ObjectMeta, there: bool) {
        let (namespace, name) = name_of(metadata);
        let object = Dependency { kind, namespace, name };
        self.saw_dependency(&object, version(metadata).filter(|_| there));
    }

    /// A list leaves out what it does not name.
    fn lost_dependencies(&mut self, kind: Kind, listed: &HashSet<Name>) {
        for gone in self.objects.not_in(kind, listed) {
            self.saw_dependency(&gone, None);
        }
    }

    fn saw_dependency(&mut self, object: &Dependency, version: Option<Version>) {
        if self.objects.saw(object, version) {
            for reader in self.world.readers_of(object) {
                self.wake(&reader, Urgency::Due);
            }
            for store in self.context.pool.users_of(object) {
                self.wake_store(&store);
                for user in self.world.troubled_users(&store) {
                    self.wake(&user, Urgency::Due);
                }
            }
        }
    }

    /// Everything is listed: examines all targets, and begins.
    async fn begin(&mut self) {
        while let Err(problem) = self.examine_targets().await {
            tracing::warn!(%problem, "can't list the targets; trying again");
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        self.started = true;
        self.ready.send_replace(true);
        tracing::info!(
            external_secrets = self.world.external_secrets().len(),
            stores = self.world.store_ids().len(),
            "at work"
        );
    }

    /// Reads all targets once, page by page, and remembers of each whether it is as its writer left it, so that edits
    /// from while nobody ran are found without a read for each.
    async fn examine_targets(&mut self) -> Result<(), Problem> {
        let api: Api<Secret> = match &self.settings.scope {
            Some(namespace) => Api::namespaced(self.context.client.clone(), namespace),
            None => Api::all(self.context.client.clone()),
        };
        let mut page =
            ListParams::default().labels(&format!("{}={}", names::LABEL_MANAGED, names::MANAGED)).limit(PAGE);
        loop {
            let list = timely(api.list(&page)).await?;
            for secret in list.items {
                let secret = LiveSecret::new(secret);
                let metadata = &secret.get().metadata;
                let target = TargetId::secret(name_of(metadata));
                if let Some(version) = version(metadata).filter(|_| self.world.is_target(&target)) {
                    self.world.put_target(&target, &version, desired::is_intact(&secret));
                }
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(()),
            }
        }
    }
}

async fn tell_undecodable(context: &Context, mut metadata: ObjectMeta) {
    let mut conditions = Vec::new();
    let message = "invalid spec: the object is not of the form that the CustomResourceDefinition gives: compare it with `kubectl explain externalsecret.spec`";
    record::set_ready(&mut conditions, false, "SecretSyncedError", message.to_owned(), clock::now());
    let name = metadata.name.clone().unwrap_or_default();
    // As an object of any form: the answer is the object itself, which is not of the form we know.
    let resource = ApiResource::erase::<ExternalSecret>(&());
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &resource);
    for wait in TELLING {
        // By its resourceVersion: the object may have been mended since, and synced.
        let seen = json!({"uid": metadata.uid, "resourceVersion": metadata.resource_version});
        let patch = Patch::Merge(json!({"metadata": seen, "status": {"conditions": conditions}}));
        let told = timely(api.patch_status(&name, &PatchParams::default(), &patch)).await;
        let Err(problem) = told else { return };
        tracing::warn!(namespace, name, %problem, "could not write the status");
        if problem.is_not_found() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(wait)).await;
        match timely(api.get_metadata_opt(&name)).await {
            Ok(Some(now)) if now.metadata.uid == metadata.uid && now.metadata.generation == metadata.generation => {
                metadata = now.metadata;
            }
            Ok(_) => return,
            Err(_) => {}
        }
    }
}
