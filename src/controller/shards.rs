//! Shards: which one an object is in, which are ours, and what happens when one comes or goes.
//!
//! A shard that comes is taken up as all is after a start: its targets are listed once, and each of its objects is looked
//! at, of which most are not due. One that goes is let go of: nothing is remembered that another may have changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use keyferry_cluster::leader::Lead;
use keyferry_cluster::shards::{FIRST, Held};
use keyferry_sync::dependency::Name;
use keyferry_sync::store::StoreId;
use tokio::sync::watch as signal;

use super::change::{Change, Changes, Cursor, Target, Watches};
use super::{Controller, LIST_RETRY};

/// How all objects are divided, and which part is ours.
#[derive(Debug)]
pub struct Shards {
    count: u32,
    held: Held,
}

impl Shards {
    /// So many, of which none is ours yet.
    pub fn new(count: u32) -> Self {
        Self { count: count.max(1), held: Held::new() }
    }

    /// The shard of a store, and of all that uses it: they share its calls.
    pub fn of_store(&self, store: &StoreId) -> u32 {
        self.of([store.kind(), store.namespace.as_deref().unwrap_or_default(), &store.name])
    }

    /// The shard of an object that nothing keeps together with others.
    pub fn of_object(&self, name: &Name) -> u32 {
        self.of(["", &name.0, &name.1])
    }

    /// By FNV-1a, and MurmurHash's last step, since names often differ by their ends alone: the same in every replica, on
    /// every machine, in every version.
    fn of(&self, words: [&str; 3]) -> u32 {
        let bytes = words.iter().flat_map(|word| word.bytes().chain([0]));
        let mut hash =
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
        }
        hash ^= hash >> 33;
        u32::try_from(hash % u64::from(self.count)).unwrap_or(FIRST)
    }

    /// Whether there is but one.
    pub fn are_one(&self) -> bool {
        self.count == 1
    }

    /// Until when we may write in a shard; `None` where it is not ours.
    pub fn lead(&self, shard: u32) -> Option<&Lead> {
        self.held.get(&shard)
    }

    /// Whether another replica may look after what is not divided.
    pub fn leave_the_first_to_others(&self) -> bool {
        !self.are_one() && !self.held.contains_key(&FIRST)
    }
}

/// Shards on their way, as the loop knows of them.
pub(super) struct Moving {
    /// Those that are ours by their Leases, and whether others are since that was read.
    ours: signal::Receiver<Held>,
    has_news: bool,
    /// Of these, those whose targets are being listed; `None` where no list is under way.
    examined: Option<Held>,
    /// Looks under way, by shard.
    looks: BTreeMap<u32, usize>,
    /// Told which shards are worked on.
    worked_on: signal::Sender<BTreeSet<u32>>,
}

impl Moving {
    /// None has come yet.
    pub(super) fn new(ours: signal::Receiver<Held>, worked_on: signal::Sender<BTreeSet<u32>>) -> Self {
        Self { ours, has_news: true, examined: None, looks: BTreeMap::new(), worked_on }
    }

    /// Waits until others are ours.
    pub(super) async fn changed(&mut self) {
        if self.ours.changed().await.is_err() {
            // Nobody is left to say so.
            std::future::pending::<()>().await;
        }
        self.has_news = true;
    }

    /// A look begins.
    pub(super) fn begins(&mut self, shard: u32) {
        *self.looks.entry(shard).or_default() += 1;
    }

    /// A look has ended.
    pub(super) fn ended(&mut self, shard: u32, shards: &Shards) {
        let Some(looks) = self.looks.get_mut(&shard) else { return };
        *looks -= 1;
        if *looks == 0 {
            self.looks.remove(&shard);
            self.tell(shards);
        }
    }

    /// Tells which shards are worked on: those that are ours, and those where something is under way.
    fn tell(&self, shards: &Shards) {
        self.worked_on.send_if_modified(|told| {
            let now: BTreeSet<u32> = shards.held.keys().chain(self.looks.keys()).copied().collect();
            let is_changed = *told != now;
            *told = now;
            is_changed
        });
    }
}

impl Controller {
    /// Takes up shards that are ours since, and lets go of those that are not any more. To be called once all is listed.
    pub(super) fn follow_shards(&mut self) {
        if !std::mem::take(&mut self.moving.has_news) {
            return;
        }
        let ours = self.moving.ours.borrow_and_update().clone();
        let is_ours = |shard: &u32, lead: &Lead| ours.get(shard).is_some_and(|now| now.is(lead));
        let held = &mut self.shared.shards.held;
        let lost: BTreeSet<u32> =
            held.extract_if(.., |shard, lead| !is_ours(shard, lead)).map(|(shard, _)| shard).collect();
        for subject in self.subjects.values_mut() {
            subject.wake_shards(&lost, &mut self.shared);
        }
        if let Some(examined) = &mut self.moving.examined {
            // What came since has its turn when this list is over.
            examined.retain(|shard, lead| is_ours(shard, lead));
        } else {
            let held = &self.shared.shards.held;
            let new: Held =
                ours.iter().filter(|(shard, _)| !held.contains_key(shard)).map(|(n, l)| (*n, l.clone())).collect();
            if !new.is_empty() {
                self.moving.examined = Some(new);
                self.changes.push(targets(self.watches.clone()));
            }
        }
        if ours.is_empty() && !self.shared.started && !self.ready.send_replace(true) {
            tracing::info!("standing by: all is listed");
        }
        self.tell_shards();
    }

    /// Takes a page of the targets that there are: those of the shards that have come are remembered as their writers left
    /// them or not.
    pub(super) fn take_targets(&mut self, targets: Vec<Target>) {
        let Some(examined) = self.moving.examined.clone() else { return };
        for target in targets {
            for writer in self.shared.index.examined(&target.object, &target.version) {
                self.with(writer.kind, |subject, shared| {
                    if let Some(lead) = examined.get(&subject.shard(&writer.name, shared)) {
                        lead.clone().during(|| subject.examined(&writer.name, &target));
                    }
                });
            }
        }
    }

    /// All targets are listed: the work begins on the shards that have come.
    pub(super) fn begin_shards(&mut self) {
        let new = self.moving.examined.take().unwrap_or_default();
        // Others may have come meanwhile.
        self.moving.has_news = true;
        if new.is_empty() {
            return;
        }
        let numbers: BTreeSet<u32> = new.keys().copied().collect();
        self.shared.shards.held.extend(new);
        let is_first = !std::mem::replace(&mut self.shared.started, true);
        for subject in self.subjects.values_mut() {
            // At first all waits for its look already; but what was another's was not asked for.
            if !self.shared.shards.are_one() {
                subject.wake_shards(&numbers, &mut self.shared);
            }
            subject.begin(&numbers, &self.shared);
        }
        if is_first {
            self.ready.send_replace(true);
            let counts: BTreeMap<_, _> = self.subjects.iter().map(|(kind, subject)| (kind, subject.count())).collect();
            tracing::info!(objects = ?counts, "at work");
        }
        self.tell_shards();
    }

    fn tell_shards(&self) {
        let (metrics, shards) = (&self.shared.metrics.process, &self.shared.shards);
        metrics.leader.set(i64::from(!shards.held.is_empty()));
        metrics.shards.set(i64::from(shards.count));
        metrics.shards_held.set(shards.held.len() as i64);
        self.moving.tell(shards);
    }
}

/// All targets, page by page, so that edits from while nobody looked are found without a read for each.
fn targets(watches: Arc<dyn Watches>) -> Changes {
    let pages = stream::unfold(Some(Some(Cursor::default())), move |next| {
        let watches = watches.clone();
        async move {
            let Some(cursor) = next? else { return Some((Change::Examined, None)) };
            loop {
                match watches.targets(cursor.clone()).await {
                    Ok((targets, next)) => return Some((Change::Targets(targets), Some(next))),
                    Err(problem) => tracing::warn!(%problem, "can't list the targets; trying again"),
                }
                tokio::time::sleep(LIST_RETRY).await;
            }
        }
    });
    pages.boxed()
}

#[cfg(test)]
#[path = "shards_tests.rs"]
mod tests;
