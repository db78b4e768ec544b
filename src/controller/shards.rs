//! Shards: which one an object is in, which are ours, and what happens when one comes or goes, or when objects go from one
//! to another.
//!
//! A shard that comes is taken up as all is after a start: its objects are listed, then their targets once, and each is looked
//! at, of which most are not due. One that goes is let go of: nothing is remembered that another may have changed since, and
//! of what is another's next to nothing is kept. The same with objects alone where a store is split, or is whole again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use keyferry_cluster::division::{Division, split};
use keyferry_cluster::leader::Lead;
use keyferry_cluster::shards::{FIRST, Held, Part, Work};
use keyferry_crds::ExternalSecret;
use keyferry_sync::dependency::{Name, name_of};
use keyferry_sync::request::pattern;
use keyferry_sync::store::StoreId;
use tokio::sync::watch as signal;
use tokio::time::Instant;

use super::change::{Change, Changes, Cursor, Target, Watches};
use super::index::{Item, SubjectKind};
use super::{Controller, LIST_RETRY};

/// How often it is asked which stores are to be split.
pub(super) const WEIGH_EVERY: Duration = Duration::from_secs(2);

/// How all objects are divided, and which part is ours.
#[derive(Clone, Debug)]
pub struct Shards {
    count: u32,
    held: Held,
    division: Arc<Division>,
    /// The stores whose ExternalSecrets are in all shards.
    split: BTreeSet<StoreId>,
    /// Those whose ExternalSecrets are in none, since that is about to change.
    moving: BTreeSet<StoreId>,
}

/// What decides in which shard an ExternalSecret is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The store that it asks above all.
    pub store: Option<Arc<StoreId>>,
    /// Where it is of that store's, where they are divided: with all of its namespace that ask for the same key.
    part: u64,
}

impl Place {
    /// Where an ExternalSecret is that asks this store above all.
    pub fn of(es: &ExternalSecret, store: Option<Arc<StoreId>>) -> Self {
        let (namespace, name) = name_of(&es.metadata);
        let key = first_key(es).unwrap_or(&name);
        let words = store.as_deref().map_or([""; 3], words_of);
        Self { part: hash(words.into_iter().chain([&*namespace, key])), store }
    }
}

/// The key that its first entry asks for, or where its first search looks.
fn first_key(es: &ExternalSecret) -> Option<&str> {
    let data = es.spec.data.iter().map(|entry| entry.remote_ref.key.as_str());
    let data_from = es.spec.data_from.iter().filter_map(|entry| match (&entry.extract, &entry.find) {
        (Some(remote), _) => Some(remote.key.as_str()),
        (None, Some(find)) => find.path.as_deref().or_else(|| pattern(find)),
        (None, None) => None,
    });
    data.chain(data_from).find(|key| !key.is_empty())
}

fn words_of(store: &StoreId) -> [&str; 3] {
    [store.kind(), store.namespace.as_deref().unwrap_or_default(), &store.name]
}

/// By FNV-1a, and MurmurHash's last step, since names often differ by their ends alone: the same in every replica, on every
/// machine, in every version.
fn hash<'a>(words: impl IntoIterator<Item = &'a str>) -> u64 {
    let bytes = words.into_iter().flat_map(|word| word.bytes().chain([0]));
    let mut hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

/// A store as a division names it: no name has a slash.
fn named(store: &StoreId) -> String {
    format!("{}/{}", store.namespace.as_deref().unwrap_or_default(), store.name)
}

fn stores(named: &BTreeSet<String>) -> BTreeSet<StoreId> {
    let words = named.iter().filter_map(|named| named.split_once('/'));
    let namespace = |namespace: &str| Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
    words.map(|(of, name)| StoreId { namespace: namespace(of), name: name.to_owned() }).collect()
}

impl Shards {
    /// So many, of which none is ours yet.
    pub fn new(count: u32) -> Self {
        let (held, division, split, moving) = Default::default();
        Self { count: count.max(1), held, division, split, moving }
    }

    /// The shard of an ExternalSecret: that of its store, with whose others it shares calls, or its own where that store is
    /// split; `None` where that is about to change.
    pub fn of_external_secret(&self, name: &Name, place: &Place) -> Option<u32> {
        match &place.store {
            None => Some(self.of_object(name)),
            Some(store) if self.moving.contains(&**store) => None,
            Some(store) if self.split.contains(&**store) => Some(self.numbered(place.part)),
            Some(store) => Some(self.of_store(store)),
        }
    }

    /// The shard of a store that is not split, and of all that uses it.
    fn of_store(&self, store: &StoreId) -> u32 {
        self.numbered(hash(words_of(store)))
    }

    /// The shard of an object that nothing keeps together with others.
    pub fn of_object(&self, name: &Name) -> u32 {
        self.numbered(hash(["", &name.0, &name.1]))
    }

    fn numbered(&self, hash: u64) -> u32 {
        u32::try_from(hash % u64::from(self.count)).unwrap_or(FIRST)
    }

    /// From now on these stores are split.
    fn divide(&mut self, division: &Arc<Division>) {
        (self.split, self.moving) = (stores(&division.split), stores(&division.moving()));
        self.division = division.clone();
    }

    /// The same, of which these are ours.
    #[cfg(test)]
    pub fn holding(self, shards: &[u32]) -> Self {
        Self { held: shards.iter().map(|shard| (*shard, Lead::always())).collect(), ..self }
    }

    /// Whether there is but one.
    pub fn are_one(&self) -> bool {
        self.count == 1
    }

    /// Until when we may write in a shard; `None` where it is not ours, or there is none.
    pub fn lead(&self, shard: impl Into<Option<u32>>) -> Option<&Lead> {
        self.held.get(&shard.into()?)
    }

    /// Whether another replica may look after what is not divided.
    pub fn leave_the_first_to_others(&self) -> bool {
        !self.are_one() && !self.held.contains_key(&FIRST)
    }
}

/// Shards on their way, as the loop knows of them.
pub(super) struct Moving {
    /// Those that are ours by their Leases and how all is divided, and whether that is another since it was read.
    ours: signal::Receiver<Part>,
    has_news: bool,
    /// Whether what is to be ours waits for a list of all objects, before one of the targets.
    is_loading: bool,
    /// Looks under way, by shard.
    looks: BTreeMap<u32, usize>,
    /// Those of them at what is in another shard by now.
    leaving: HashSet<Item>,
    /// When it was last asked which stores are to be split.
    weighed: Option<Instant>,
    /// Told which shards are worked on, and by which division.
    work: signal::Sender<Work>,
}

impl Moving {
    /// None has come yet.
    pub(super) fn new(ours: signal::Receiver<Part>, work: signal::Sender<Work>) -> Self {
        let (is_loading, looks, leaving, weighed) = Default::default();
        Self { ours, has_news: true, is_loading, looks, leaving, weighed, work }
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

    /// A look has ended. Answers whether what it looked at stayed in this shard.
    pub(super) fn ended(&mut self, item: &Item, shard: u32, shards: &Shards) -> bool {
        let has_left = self.leaving.remove(item);
        if let Some(looks) = self.looks.get_mut(&shard) {
            *looks -= 1;
            if *looks == 0 {
                self.looks.remove(&shard);
            }
            if has_left || !self.looks.contains_key(&shard) {
                self.tell(shards);
            }
        }
        !has_left
    }

    /// Tells which shards are worked on: those that are ours, and those where something is under way; and by which division.
    fn tell(&self, shards: &Shards) {
        self.work.send_if_modified(|work| {
            let on: BTreeSet<u32> = shards.held.keys().chain(self.looks.keys()).copied().collect();
            let taken = if self.leaving.is_empty() { shards.division.number } else { work.taken };
            let now = Work { shards: on, taken, wanted: work.wanted.take() };
            let is_changed = (&work.shards, work.taken) != (&now.shards, now.taken);
            *work = now;
            is_changed
        });
    }
}

impl Controller {
    /// Takes up shards that are ours since, and lets go of those that are not any more; and the same with objects of stores
    /// that are split, or whole again. To be called once all is listed.
    pub(super) fn follow_shards(&mut self) {
        self.weigh();
        if !std::mem::take(&mut self.moving.has_news) {
            return;
        }
        let ours = self.moving.ours.borrow_and_update().clone();
        let is_ours = |shard: &u32, lead: &mut Lead| ours.held.get(shard).is_some_and(|now| now.is(lead));
        let before = self.shared.shards.clone();
        self.shared.shards.held.retain(is_ours);
        if let Some(coming) = &mut self.shared.coming {
            // What came since has its turn when this list is over.
            coming.held.retain(is_ours);
        }
        if self.shared.shards.held.len() < before.held.len() {
            self.wake_changed(&before);
        }
        self.follow_division(&ours.division);
        let shards = &self.shared.shards;
        let is_other =
            shards.division != ours.division || ours.held.keys().any(|shard| !shards.held.contains_key(shard));
        if self.shared.coming.is_none() && is_other {
            let mut coming = Shards { held: ours.held.clone(), ..shards.clone() };
            coming.divide(&ours.division);
            let are_all_kept = coming.are_one();
            self.shared.coming = Some(coming);
            if are_all_kept {
                self.changes.push(targets(self.watches.clone()));
            } else {
                self.moving.is_loading = true;
                self.watches.list_again();
            }
        }
        if ours.held.is_empty() && !self.shared.started && !self.ready.send_replace(true) {
            tracing::info!("standing by: all is listed");
        }
        self.tell_shards();
    }

    /// Takes a division at once by which nobody works on some, or all where nothing is ours; what comes by another waits for
    /// a list of the targets.
    fn follow_division(&mut self, division: &Arc<Division>) {
        let shards = &mut self.shared.shards;
        let is_at_once = division.next.is_some() || shards.held.is_empty();
        if shards.division == *division || !is_at_once {
            return;
        }
        let before = shards.clone();
        shards.divide(division);
        if let Some(coming) = &mut self.shared.coming {
            coming.divide(division);
        }
        for subject in self.subjects.values_mut() {
            self.moving.leaving.extend(subject.leave(&before, &mut self.shared));
        }
    }

    fn wake_changed(&mut self, before: &Shards) {
        for subject in self.subjects.values_mut() {
            subject.wake_changed(before, &mut self.shared);
        }
    }

    /// Tells, now and then, which stores are to be split.
    fn weigh(&mut self) {
        let shards = &self.shared.shards;
        if shards.are_one() || self.moving.weighed.is_some_and(|at| at.elapsed() < WEIGH_EVERY) {
            return;
        }
        self.moving.weighed = Some(Instant::now());
        let weights = self.subjects.values().flat_map(|subject| subject.weights());
        let weights: BTreeMap<String, usize> = weights.map(|(store, weight)| (named(&store), weight)).collect();
        let wanted = Some(split(&weights, shards.count, &self.moving.ours.borrow().division.split));
        self.moving.work.send_if_modified(|work| {
            let is_changed = work.wanted != wanted;
            work.wanted = wanted;
            is_changed
        });
    }

    /// All objects of a kind are listed: where what comes has waited for that, its targets are next.
    pub(super) fn are_listed(&mut self, kind: SubjectKind) {
        if kind == SubjectKind::ExternalSecret && std::mem::take(&mut self.moving.is_loading) {
            self.changes.push(targets(self.watches.clone()));
        }
    }

    /// Takes a page of the targets that there are: those of what has come are remembered as their writers left them or not.
    pub(super) fn take_targets(&mut self, targets: Vec<Target>) {
        let Some(coming) = self.shared.coming.take() else { return };
        for target in targets {
            for writer in self.shared.index.examined(&target.object, &target.version) {
                self.with(writer.kind, |subject, shared| {
                    let is_ours = shared.shards.lead(subject.shard(&writer.name, &shared.shards)).is_some();
                    let lead = coming.lead(subject.shard(&writer.name, &coming)).filter(|_| !is_ours);
                    if let Some(lead) = lead {
                        lead.clone().during(|| subject.examined(&writer.name, &target));
                    }
                });
            }
        }
        self.shared.coming = Some(coming);
    }

    /// All targets are listed: the work begins on what has come.
    pub(super) fn begin_shards(&mut self) {
        // Others may have come meanwhile.
        self.moving.has_news = true;
        let Some(coming) = self.shared.coming.take() else { return };
        let before = std::mem::replace(&mut self.shared.shards, coming);
        let shards = &self.shared.shards;
        let new: BTreeSet<u32> = shards.held.keys().filter(|shard| before.lead(**shard).is_none()).copied().collect();
        let is_first = !new.is_empty() && !std::mem::replace(&mut self.shared.started, true);
        // At first all waits for its look already; but what was another's was not asked for.
        if !self.shared.shards.are_one() {
            self.wake_changed(&before);
        }
        for subject in self.subjects.values_mut() {
            subject.begin(&new, &self.shared);
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
        self.rooms.divide(&shards.split, shards.held.len(), shards.count as usize);
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
