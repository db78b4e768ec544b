//! The controller: takes what the watches tell, keeps the queue, and runs one look (a reconcile) at a time per object.
//!
//! Modules, in reading order: [`change`] what changes, told as [`relist`] has it, of some only their [`metadata`], of the others what there is room for ([`kept`]), by [`watch`]; in [`few`] rows an [`index`] of who depends on
//! what, with [`sight`] how that was last seen, and [`copies`] which namespaces get copies; [`queue`] what is next; [`rotated`] what is told to whoever restarts workloads;
//! [`generated`] what generators made; in [`others`] of whom little is kept; [`subject`] what all that is looked after has in common, [`packed`] how what is looked after rests, then its kinds,
//! [`external_secret`], [`sealed_secret`], [`push_secret`], [`store`], [`generator_state`] and [`copier`]; the [`objects`] that these depend
//! on; and [`shards`], of which this process may have some. The loop here
//! owns all of them; looks run beside it, each with a copy of what it needs, and report back.
//!
//! A new subject is a file beside `store`, a `SubjectKind`, its watch in [`watch`], and its place in `verbs/run.rs`.

pub mod change;
pub mod relist;
pub mod metadata;
pub mod kept;
pub mod watch;

pub mod few;
pub mod index;
pub mod sight;

pub mod copies;
pub mod queue;
pub mod rotated;

pub mod generated;
pub mod others;
pub mod subject;
pub mod packed;
pub mod external_secret;
pub mod sealed_secret;
pub mod push_secret;
pub mod store;
pub mod generator_state;
pub mod copier;

mod objects;
pub mod shards;

#[cfg(test)]
mod loop_tests;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod rig_copies;
#[cfg(test)]
mod rig_looks;
#[cfg(test)]
mod rig_shards;
#[cfg(test)]
mod rig_watches;
#[cfg(test)]
mod samples;

use std::collections::{BTreeMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{SelectAll, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use keyferry_cluster::leader::Lead;
use keyferry_cluster::shards::{Part, Work};
use keyferry_stores::room::Rooms;
use keyferry_sync::copies::{CopierKind, Seen};
use keyferry_sync::dependency::{Name, name_of};
use keyferry_sync::time::later;
use kube::api::ObjectMeta;
use tokio::sync::watch as signal;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::change::{Change, Changes, List, Watches};
use self::copier::Copiers;
use self::index::{Item, SubjectKind};
use self::objects::Watched;
use self::queue::Urgency;
use self::relist::Update;
use self::shards::{Moving, WEIGH_EVERY};
use self::subject::{Ask, Own, Shared, Subject, Tend, Tended};

/// The longest sleep: a wall clock that is set must not leave the queue asleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How long looks under way may take to end when the controller stops.
const GRACE: Duration = Duration::from_secs(20);

/// How often what nobody refers to any more is let go.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// How often those are counted that are overdue.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// How long an object that made us panic is left alone.
const AFTER_PANIC: Duration = Duration::from_secs(300);

/// How long it is until a list of the targets that failed is tried again.
const LIST_RETRY: Duration = Duration::from_secs(2);

/// A look that is to begin.
struct Begun {
    item: Item,
    /// The shard of the item, and our lead in it.
    shard: u32,
    lead: Lead,
    look: BoxFuture<'static, Own>,
}

/// The end of a look: what it came to, which a bug of ours may have kept it from, and how long it took.
struct Ended {
    item: Item,
    shard: u32,
    lead: Lead,
    report: Option<(Own, Duration)>,
}

/// The controller.
pub struct Controller {
    shared: Shared,
    subjects: BTreeMap<SubjectKind, Box<dyn Tend>>,
    watches: Arc<dyn Watches>,
    changes: SelectAll<Changes>,
    /// First lists that have not come yet.
    awaited: HashSet<List>,
    /// Kinds that are watched while somebody depends on an object of them.
    watched: Watched,
    looks: JoinSet<Ended>,
    ready: signal::Sender<bool>,
    /// What of all is ours. Of what is not all is kept as it is, nothing is looked at and nothing written.
    moving: Moving,
    /// Told which part of what a store may be asked is ours to ask.
    rooms: Arc<Rooms>,
    pruned: Instant,
    /// When those were last counted that are overdue.
    counted: Instant,
    /// The wall clock, and the one that nobody sets, when they were last read.
    clock: (Timestamp, Instant),
}

impl Controller {
    /// A controller that looks after nothing yet. `ready` is told when all is listed: then the work begins on what `ours` says
    /// that is ours; `work` is told what is worked on.
    pub fn new(
        shared: Shared,
        watches: Arc<dyn Watches>,
        ready: signal::Sender<bool>,
        ours: signal::Receiver<Part>,
        work: signal::Sender<Work>,
    ) -> Self {
        let clock = ((shared.now)(), Instant::now());
        Self {
            shared,
            subjects: BTreeMap::new(),
            watches,
            changes: SelectAll::new(),
            awaited: HashSet::new(),
            watched: Watched::new(),
            looks: JoinSet::new(),
            ready,
            moving: Moving::new(ours, work),
            rooms: Arc::default(),
            pruned: Instant::now(),
            counted: Instant::now(),
            clock,
        }
    }

    /// Looks after these, too.
    pub fn tend(&mut self, kind: SubjectKind, subject: impl Subject + 'static) {
        self.subjects.insert(kind, Box::new(Tended::new(kind, subject)));
    }

    /// Looks after these, too, and keeps what they are concerned by.
    pub fn tend_copiers(&mut self, copiers: Copiers) {
        self.shared.copies.look_after(copiers.kind());
        self.tend(copiers.subject_kind(), copiers);
    }

    /// Has stores asked here as much as is our part, of those that other replicas ask, too.
    pub fn share(&mut self, rooms: Arc<Rooms>) {
        self.rooms = rooms;
    }

    /// Takes changes that are no watch's, too.
    pub fn hear(&mut self, changes: Changes) {
        self.changes.push(changes);
    }

    /// Works until `stop`, then lets looks under way end.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        self.await_lists(self.watches.looked_after());
        let mut are_referred_watched = false;
        loop {
            if self.awaited.is_empty() && !are_referred_watched {
                // Only now is it known which Secrets matter; of the others nothing is kept.
                are_referred_watched = true;
                self.await_lists(self.watches.referred_to());
            }
            let is_listed = self.awaited.is_empty();
            if is_listed {
                self.follow_shards();
            }
            self.prune();
            self.answer();
            self.spawn();
            self.tell_queue();
            let sleep = self.sleep();
            tokio::select! {
                () = &mut stop => break,
                Some(change) = self.changes.next() => self.take(change),
                // An error is a look that was cancelled, which happens only as we end.
                Some(ended) = self.looks.join_next(), if !self.looks.is_empty() => if let Ok(ended) = ended {
                    self.end(ended);
                },
                () = self.moving.changed(), if is_listed => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
        self.finish().await;
    }

    fn await_lists(&mut self, lists: Vec<(List, Changes)>) {
        for (list, changes) in lists {
            self.awaited.insert(list);
            self.changes.push(changes);
        }
    }

    async fn finish(mut self) {
        self.changes.clear();
        if self.looks.is_empty() {
            return;
        }
        tracing::info!(looks = self.looks.len(), "waiting for what is under way");
        let all = async { while self.looks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!(seconds = GRACE.as_secs(), "some did not end in time; the next process takes them up");
        }
    }

    /// Lets go of what nobody refers to any more, now and then.
    fn prune(&mut self) {
        if self.pruned.elapsed() < PRUNE_EVERY {
            return;
        }
        self.pruned = Instant::now();
        for subject in self.subjects.values_mut() {
            subject.prune(&self.shared);
        }
        self.shared.copies.prune();
        self.unwatch_kinds();
    }

    /// Does what subjects asked for.
    fn answer(&mut self) {
        for ask in std::mem::take(&mut self.shared.asks) {
            match ask {
                Ask::UsersOf(store) => {
                    for user in self.shared.index.users_of(&store) {
                        self.with(user.kind, |subject, shared| subject.help(&user.name, shared));
                    }
                    for subject in self.subjects.values_mut() {
                        subject.chosen(&store, &mut self.shared);
                    }
                }
                Ask::Watch(kind) => self.watch_kind(&kind),
            }
        }
    }

    fn sleep(&self) -> Duration {
        let longest = if self.shared.shards.are_one() { LONGEST_SLEEP } else { WEIGH_EVERY };
        let Some(earliest) = self.shared.queue.earliest().filter(|_| self.shared.started) else {
            return longest;
        };
        let wait = earliest.duration_since((self.shared.now)());
        Duration::try_from(wait).unwrap_or_default().min(longest)
    }

    /// Now, and whatever waits moved where the clock was set back since this was last asked.
    fn now(&mut self) -> Timestamp {
        let (wall, monotonic) = ((self.shared.now)(), Instant::now());
        let (wall_before, before) = std::mem::replace(&mut self.clock, (wall, monotonic));
        let back = later(wall_before, monotonic - before).duration_since(wall);
        if back > SignedDuration::from_secs(1) {
            tracing::warn!(seconds = back.as_secs(), "the clock was set back");
            self.shared.queue.clock_was_set_back(back);
        }
        wall
    }

    /// Starts the looks that are due.
    fn spawn(&mut self) {
        let now = self.now();
        // None runs before all have said what they may ask of stores: else the first would ask alone.
        let mut looks = Vec::new();
        while self.shared.started {
            let Some(item) = self.shared.queue.next(now) else { break };
            let begun = self.with(item.kind, |subject, shared| {
                let shard = subject.shard(&item.name, &shared.shards);
                let Some((shard, lead)) = shard.zip(shared.shards.lead(shard).cloned()) else {
                    subject.let_go(&item.name, shared);
                    return None;
                };
                let look = subject.look(&item.name, now, shared)?;
                Some(Begun { item: item.clone(), shard, lead, look })
            });
            match begun.flatten() {
                Some(begun) => looks.push(begun),
                None => self.shared.queue.done(&item, None),
            }
        }
        for begun in looks {
            self.moving.begins(begun.shard);
            self.looks.spawn(carry_out(begun));
        }
    }

    fn end(&mut self, Ended { item, shard, lead, report }: Ended) {
        let has_stayed = self.moving.ended(&item, shard, &self.shared.shards);
        let is_ours = has_stayed && self.shared.shards.lead(shard).is_some_and(|now| now.is(&lead));
        match report {
            Some((report, took)) if is_ours => {
                lead.during(|| {
                    self.with(item.kind, |subject, shared| subject.end(&item.name, report, took, shared));
                });
            }
            // What it came to is another's to judge.
            Some(_) => {
                self.with(item.kind, |subject, shared| subject.let_go(&item.name, shared));
                self.shared.queue.done(&item, None);
            }
            None => {
                tracing::error!(?item, "a bug of keyferry: this object is left alone for a while; please report it");
                self.shared.queue.done(&item, Some(later((self.shared.now)(), AFTER_PANIC)));
            }
        }
    }

    /// Tells how long the queue is. Who waits though its time has come does so since there are too many, or since the loop is
    /// slow: those are counted now and then.
    fn tell_queue(&mut self) {
        let (queue, metrics, now) = (&self.shared.queue, &self.shared.metrics.process, (self.shared.now)());
        metrics.queue.set(queue.waiting() as i64);
        metrics.looks.set(queue.running() as i64);
        let since = queue.overdue_since(now).filter(|_| self.shared.started);
        metrics.oldest.set(since.map_or(0.0, |since| now.duration_since(since).as_secs_f64()));
        if since.is_none() {
            metrics.due.set(0);
        } else if self.counted.elapsed() >= COUNT_EVERY {
            metrics.due.set(queue.overdue(now) as i64);
            self.counted = Instant::now();
        }
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Subject(kind, update) => {
                let is_listed = matches!(update, Update::Listed(_));
                self.with(kind, |subject, shared| subject.take(update, shared));
                if is_listed {
                    self.awaited.remove(&List::Subject(kind));
                    self.are_listed(kind);
                }
            }
            Change::Namespace(update) => self.take_namespace(update),
            Change::PushSecret(update) => self.take_push_secret(update),
            Change::Object(kind, update) => self.take_object(kind, update),
            Change::Failed(kind, is_listed) => self.watch_failed(&kind, is_listed),
            Change::Asked(item) => self.shared.wake(&item, Urgency::Asked),
            Change::Targets(targets) => self.take_targets(targets),
            Change::Examined => self.begin_shards(),
        }
    }

    fn take_namespace(&mut self, update: Update<ObjectMeta>) {
        match update {
            Update::Put(metadata) => {
                let concerned = self.shared.copies.put_namespace(&metadata);
                self.shared.wake_copiers(concerned);
                let (_, name) = name_of(&metadata);
                let labels = Arc::new(metadata.labels.unwrap_or_default());
                let before = self.shared.namespaces.insert(name.clone(), labels.clone());
                if before.is_none_or(|before| before != labels) {
                    for subject in self.subjects.values_mut() {
                        subject.help_in(&name, &mut self.shared);
                    }
                }
            }
            Update::Gone(metadata) => self.remove_namespace(&name_of(&metadata).1),
            Update::Listed(listed) => {
                let names = self.shared.namespaces.keys().cloned();
                let gone: Vec<String> = names.filter(|name| !listed.contains(&(String::new(), name.clone()))).collect();
                for name in gone {
                    self.remove_namespace(&name);
                }
                self.awaited.remove(&List::Namespaces);
            }
        }
    }

    fn remove_namespace(&mut self, name: &str) {
        self.shared.namespaces.remove(name);
        let concerned = self.shared.copies.remove_namespace(name);
        self.shared.wake_copiers(concerned);
    }

    /// Nobody looks after PushSecrets here; some are copies.
    fn take_push_secret(&mut self, update: Update<(Name, Seen)>) {
        const KIND: CopierKind = CopierKind::ClusterPushSecret;
        match update {
            Update::Put((name, seen)) => self.shared.saw_copy(KIND, &name, || seen),
            Update::Gone((name, _)) => self.shared.copy_gone(KIND, &name),
            Update::Listed(listed) => {
                let concerned = self.shared.copies.listed(KIND, &listed);
                self.shared.wake_copiers(concerned);
                self.awaited.remove(&List::PushSecrets);
            }
        }
    }

    /// Has the subject of this kind do something, where there is one.
    fn with<T>(&mut self, kind: SubjectKind, act: impl FnOnce(&mut dyn Tend, &mut Shared) -> T) -> Option<T> {
        self.subjects.get_mut(&kind).map(|subject| act(subject.as_mut(), &mut self.shared))
    }
}

/// A look that panics is a bug of ours, and must not take the others with it.
async fn carry_out(Begun { item, shard, lead, look }: Begun) -> Ended {
    let began = Instant::now();
    let report = AssertUnwindSafe(lead.clone().over(look)).catch_unwind().await.ok();
    Ended { item, shard, lead, report: report.map(|report| (report, began.elapsed())) }
}
