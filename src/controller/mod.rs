//! The controller: takes what the watches tell, keeps the queue, and runs one look at a time per object.
//!
//! Modules, in reading order: [`watch`] what changes, told as [`relist`] has it; [`index`] who depends on what, with
//! [`sight`] how that was last seen; [`queue`] what is next; then what is looked after: [`external_secret`] and
//! [`store`] with its [`check`], and the [`objects`] that these depend on. The loop here owns all of them; looks run beside it, each with a
//! copy of what it needs, and report back.

pub mod watch;

pub mod relist;

pub mod index;
pub mod sight;

pub mod queue;

pub mod external_secret;
pub mod store;
pub mod check;

mod objects;

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::stream::{SelectAll, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use keyferry_cluster::events::Events;
use keyferry_cluster::target::ClusterTargets;
use keyferry_crds::ExternalSecret;
use keyferry_stores::pool::Pool;
use keyferry_sync::data::StringMap;
use keyferry_sync::dependency::{Kind, Name, name_of};
use keyferry_sync::look::Looked;
use keyferry_sync::ports::Ports;
use keyferry_sync::store::{Store, StoreId};
use keyferry_sync::time::later;
use kube::api::ObjectMeta;
use tokio::sync::{mpsc, watch as signal};
use tokio::task::JoinSet;

use self::external_secret::ExternalSecrets;
use self::index::{Index, Item};
use self::objects::Watches;
use self::queue::{Queue, Urgency};
use self::relist::Update;
use self::store::Stores;
use self::watch::{Change, Changes};
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
    /// Where targets are written.
    pub targets: ClusterTargets,
    /// Where events go.
    pub events: Events,
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

/// The end of a look, and how long it took.
enum Ended {
    Sync(Name, Arc<ExternalSecret>, Box<Looked>, Duration),
    Check(StoreId, Arc<Store>, check::Report, Duration),
    /// A bug of ours.
    Panicked(Item),
}

/// The first lists that are awaited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Awaited {
    ExternalSecrets,
    SecretStores,
    ClusterSecretStores,
    Namespaces,
    Objects(Kind),
}

/// The controller.
pub struct Controller {
    context: Arc<Context>,
    settings: Settings,
    metrics: Arc<Metrics>,
    index: Arc<Index>,
    external_secrets: ExternalSecrets,
    stores: Stores,
    /// The labels of each namespace.
    namespaces: HashMap<String, StringMap>,
    queue: Queue<Item>,
    looks: JoinSet<Ended>,
    awaited: HashSet<Awaited>,
    watches: Watches,
    /// Watches that are to join the others.
    joining: Vec<Changes>,
    /// ExternalSecrets that do not decode, as they were when that was told.
    undecodable: HashMap<Name, ObjectMeta>,
    /// Set once everything was listed and targets were examined: before, nothing is looked at.
    started: bool,
    ready: signal::Sender<bool>,
    /// Stores whose condition has more to say than before.
    news: mpsc::UnboundedReceiver<StoreId>,
    pruned: Instant,
    /// The wall clock, and the one that nobody sets, when they were last read.
    clock: (Timestamp, Instant),
}

impl Controller {
    /// A controller. What stores log in with shows in `index`; `ready` is told when all is listed and the work begins;
    /// `news` tells of stores whose condition has more to say than before.
    pub fn new(
        context: Arc<Context>,
        settings: Settings,
        metrics: Arc<Metrics>,
        index: Arc<Index>,
        ready: signal::Sender<bool>,
        news: mpsc::UnboundedReceiver<StoreId>,
    ) -> Self {
        Self {
            context,
            settings,
            metrics,
            index,
            external_secrets: ExternalSecrets::default(),
            stores: Stores::default(),
            namespaces: HashMap::new(),
            queue: Queue::default(),
            looks: JoinSet::new(),
            awaited: HashSet::new(),
            watches: Watches::new(),
            joining: Vec::new(),
            undecodable: HashMap::new(),
            started: false,
            ready,
            news,
            pruned: Instant::now(),
            clock: (clock::now(), Instant::now()),
        }
    }

    /// Works until `stop`, then lets looks under way end.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let scope = self.settings.scope.clone();
        let client = self.context.client.clone();
        let mut changes: SelectAll<Changes> = SelectAll::new();
        self.awaited = HashSet::from([Awaited::ExternalSecrets, Awaited::SecretStores]);
        if self.settings.cluster_stores {
            self.awaited.extend([Awaited::ClusterSecretStores, Awaited::Namespaces]);
        }
        changes.extend(watch::looked_after(&client, scope.as_deref(), self.settings.cluster_stores));
        let mut referred = false;
        let mut stop = std::pin::pin!(stop);
        loop {
            if self.awaited.is_empty() && !self.started {
                if !referred {
                    // Only now is it known which Secrets matter; of the others nothing is kept.
                    referred = true;
                    self.awaited = HashSet::from([Kind::Secret, Kind::ConfigMap].map(Awaited::Objects));
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
                Some(store) = self.news.recv() => self.wake(Item::Store(store), Urgency::Asked),
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

    /// Everything is listed: examines all targets, and begins.
    async fn begin(&mut self) {
        while let Err(problem) = self.examine_targets().await {
            tracing::warn!(%problem, "can't list the targets; trying again");
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        self.started = true;
        self.ready.send_replace(true);
        let (external_secrets, stores) = (self.external_secrets.names().count(), self.stores.ids().count());
        tracing::info!(external_secrets, stores, "at work");
    }

    /// Lets go of what nobody refers to any more, now and then.
    fn prune(&mut self) {
        if self.pruned.elapsed() < PRUNE_EVERY {
            return;
        }
        self.pruned = Instant::now();
        let stores = &self.stores;
        self.context.pool.keep(|store| stores.get(store).is_some());
        self.index.keep_logins(|store| stores.get(store).is_some());
        self.unwatch_kinds();
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
        let (wall, monotonic) = (clock::now(), Instant::now());
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
            let began = match &item {
                Item::Store(id) => self.begin_check(id),
                Item::ExternalSecret(name) => self.begin_sync(name, now),
            };
            if !began {
                self.queue.done(&item, None);
            }
        }
    }

    /// Starts a look. One that panics is a bug of ours, and must not take the others with it.
    fn look(&mut self, item: Item, look: impl Future<Output = Ended> + Send + 'static) {
        self.looks.spawn(async move { AssertUnwindSafe(look).catch_unwind().await.unwrap_or(Ended::Panicked(item)) });
    }

    fn end(&mut self, ended: Ended) {
        match ended {
            Ended::Sync(name, es, report, took) => self.end_sync(&name, &es, *report, took),
            Ended::Check(id, store, report, took) => self.end_check(&id, &store, report, took),
            Ended::Panicked(item) => {
                tracing::error!(?item, "a bug of keyferry: this object is left alone for a while; please report it");
                self.queue.done(&item, Some(later(clock::now(), AFTER_PANIC)));
            }
        }
        self.metrics.queue.set(self.queue.waiting() as i64);
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::ExternalSecret(update) => self.take_external_secret(update),
            Change::SecretStore(update) => self.take_store(Awaited::SecretStores, update),
            Change::ClusterSecretStore(update) => self.take_store(Awaited::ClusterSecretStores, update),
            Change::Namespace(update) => self.take_namespace(update),
            Change::Object(kind, update) => self.take_object(kind, update),
            Change::Failed(kind, listed) => self.watch_failed(&kind, listed),
        }
    }

    fn take_namespace(&mut self, update: Update<ObjectMeta>) {
        match update {
            Update::Put(metadata) => {
                let (_, name) = name_of(&metadata);
                let labels = metadata.labels.unwrap_or_default();
                if self.namespaces.insert(name.clone(), labels.clone()).is_none_or(|before| before != labels) {
                    for troubled in self.external_secrets.in_namespace(&name) {
                        self.wake_if_troubled(Item::ExternalSecret(troubled));
                    }
                }
            }
            Update::Gone(metadata) => _ = self.namespaces.remove(&name_of(&metadata).1),
            Update::Listed(listed) => {
                self.namespaces.retain(|name, _| listed.contains(&(String::new(), name.clone())));
                self.awaited.remove(&Awaited::Namespaces);
            }
        }
    }

    fn wake(&mut self, item: Item, urgency: Urgency) {
        self.queue.add(&item, clock::now(), urgency);
    }

    /// Wakes those that use a store and wait for it, or failed the last time.
    fn wake_users_of(&mut self, store: &StoreId) {
        for user in self.index.users_of(store) {
            self.wake_if_troubled(user);
        }
    }

    /// Also while a look is under way: it may come to wait for, or to fail by, what has just changed.
    fn wake_if_troubled(&mut self, item: Item) {
        let is_troubled = match &item {
            Item::ExternalSecret(name) => self.external_secrets.is_troubled(name) || self.queue.is_running(&item),
            Item::Store(_) => false,
        };
        if is_troubled {
            self.wake(item, Urgency::Due);
        }
    }
}
