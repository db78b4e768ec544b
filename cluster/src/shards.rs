//! Shards: parts of all objects, each with a Lease of its own, so that several replicas work at once.
//!
//! The rule by which no two ever write for one object, whatever they run with:
//!
//! - The Lease of an operator without shards is held by all replicas of as many shards together: its holder is their
//!   number, and each of them renews it. Who runs without shards, or with another number, finds it held, and stands by.
//! - A shard is worked on by who holds the shard's own Lease, and only while the one of all is known to be held: what
//!   a replica writes, it writes under both.
//! - The Lease of all is never given back: the last replica may not be the last. A rollout to another number, or to none,
//!   goes on when it has lasted out.
//!
//! In its annotations each replica tells that it lives; [`division`](crate::division) says who takes what. They hold, too,
//! which stores are split, and so who has an ExternalSecret of theirs: who holds the first shard changes that, a step at a
//! time, once each replica has told that it took the step before. Who can't be heard of can't write any more either, since
//! its hold on the Lease of all, in which it would tell, has run out.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams, ObjectMeta};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::division::{Division, moves};
use crate::leader::{Attempt, Election, GIVING_BACK, LastSeen, Lead, Leadership, holder, try_acquire};
use crate::problem::{ApiProblem, timely};

/// The shards that are held, and until when may be written for each.
pub type Held = BTreeMap<u32, Lead>;

/// The shard of what is not divided, and the only one where there are none.
pub const FIRST: u32 = 0;

/// What is ours, by which division.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Our shards.
    pub held: Held,
    /// Which stores are split among all shards.
    pub division: Arc<Division>,
}

impl From<Held> for Part {
    /// Of these shards, no store being split.
    fn from(held: Held) -> Self {
        Self { held, division: Arc::default() }
    }
}

/// What whoever works on shards tells of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// The shards that are worked on: one that is given up is, until what is under way has ended.
    pub shards: BTreeSet<u32>,
    /// The number of the division that was taken last: nothing is under way any more by one before it.
    pub taken: u64,
    /// The stores that are to be split, by all objects there are.
    pub wanted: Option<BTreeSet<String>>,
}

/// How long what is under way in a shard may take to end before the shard is given up all the same.
const GRACE: Duration = Duration::from_secs(20);

/// How often the Lease of all is tried to be renewed at once, where others renew it at the same time.
const TRIES: usize = 5;

/// What the annotation begins with by which a replica tells that it lives.
const REPLICA: &str = "keyferry.io/replica-";

/// The annotation that holds which stores are split.
const DIVISION: &str = "keyferry.io/division";

/// How long which stores are split stays as it is: a change costs all replicas a list of the targets.
const BETWEEN_CHANGES: Duration = Duration::from_secs(300);

/// What the holder of the Lease of all ends with.
const TOGETHER: &str = "-shards";

/// The holder of the Lease of all, where they are so many.
fn together(count: u32) -> String {
    format!("{count}{TOGETHER}")
}

/// Of how many shards the replicas are that hold this Lease together; `None` where one replica holds it by itself.
pub fn count_of(holder: &str) -> Option<u32> {
    holder.strip_suffix(TOGETHER)?.parse().ok()
}

/// The name of a shard's Lease, where the one of all has this name.
pub fn lease_of(all: &str, shard: u32) -> String {
    format!("{all}-shard-{shard}")
}

/// Which stores are split, by the annotations of the Lease of all; none where that is not there, or is not ours.
fn division_of(annotations: Option<&BTreeMap<String, String>>) -> Division {
    let text = annotations.and_then(|annotations| annotations.get(DIVISION));
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The replica's part in holding shards. It runs until it is stopped.
pub struct Shards {
    api: Api<Lease>,
    /// How Leases are used, by us; its name is that of the Lease of all.
    election: Election,
    count: u32,
    /// The Lease of all.
    all: Lead,
    ours: watch::Sender<Part>,
    work: watch::Receiver<Work>,
    division: Arc<Division>,
    /// Since when that is so; `None` where it was so when we came.
    divided: Option<Instant>,
    /// The number of the division of which we have told that we took it.
    has_told: Option<u64>,
    seen_all: LastSeen,
    seen: BTreeMap<u32, LastSeen>,
    /// What replicas told of themselves last, by annotation; `None` before it was first read.
    told: Option<BTreeMap<String, Told>>,
    /// Whether we know who lives, and have told that we do.
    has_joined: bool,
    /// How often we have told of ourselves.
    beats: u64,
    tenures: BTreeMap<u32, Tenure>,
    ends: JoinSet<u32>,
    /// When the first of the others' Leases lasts out that is not renewed.
    lasts_out: Instant,
    /// Who was said to keep us from working.
    said: Option<String>,
}

/// What a replica told of itself.
struct Told {
    /// Its last word.
    text: String,
    /// Since when that is known.
    since: Instant,
    /// Whether it was heard to say something new. Before, it may have been gone for long.
    has_moved: bool,
}

/// A shard that we hold.
struct Tenure {
    lead: Lead,
    /// Has it given up; gone where that has begun.
    give: Option<oneshot::Sender<Way>>,
}

/// How a shard is given up.
enum Way {
    /// Once nothing of it is under way any more.
    Drained,
    /// At once: nothing is.
    AtOnce,
}

impl Shards {
    /// Holds none yet. `all` tells until when the Lease of all is held; `ours` is told which shards we hold, and
    /// `work` tells what is done about that.
    pub fn new(
        client: kube::Client,
        election: Election,
        count: u32,
        all: Lead,
        ours: watch::Sender<Part>,
        work: watch::Receiver<Work>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, &election.namespace),
            election,
            count,
            all,
            ours,
            work,
            division: Arc::default(),
            divided: None,
            has_told: None,
            seen_all: None,
            seen: BTreeMap::new(),
            told: None,
            has_joined: false,
            beats: 0,
            tenures: BTreeMap::new(),
            ends: JoinSet::new(),
            lasts_out: Instant::now(),
            said: None,
        }
    }

    /// Holds what is our share, until `stop`; then gives it all back.
    pub async fn hold(mut self, stop: impl Future) {
        let mut stop = pin!(stop);
        loop {
            {
                let mut round = pin!(self.round());
                tokio::select! {
                    biased;
                    // What is being taken may be ours already: that is to be known.
                    _ = &mut stop => {
                        let _ = timeout(GIVING_BACK, round).await;
                        break;
                    }
                    () = &mut round => {}
                }
            }
            let mut pause = pin!(sleep(self.pause()));
            loop {
                tokio::select! {
                    _ = &mut stop => return self.leave().await,
                    Some(ended) = self.ends.join_next(), if !self.ends.is_empty() => {
                        self.tenures.remove(&ended.unwrap_or(u32::MAX));
                        self.publish();
                    }
                    // Others wait to hear of it.
                    Ok(()) = self.work.changed() => {
                        let taken = self.work.borrow_and_update().taken;
                        if self.has_told.is_some_and(|told| told != taken) {
                            break;
                        }
                    }
                    () = &mut pause => break,
                }
            }
        }
        self.leave().await;
    }

    /// How long until the next round: who is gone is not waited for longer than its Leases last.
    fn pause(&self) -> Duration {
        let now = Instant::now();
        let left = self.lasts_out.checked_duration_since(now).filter(|left| !left.is_zero());
        left.unwrap_or(self.election.retry_period).min(self.election.retry_period)
    }

    /// Tells that we live, looks who holds what, and takes or gives up what is to be.
    async fn round(&mut self) {
        // A second try goes where a first hangs, before the Lease is lost.
        let patience = self.election.renew_deadline / 4;
        if !self.hold_all(patience).await {
            return self.lose_all();
        }
        if !self.has_joined && self.knows_who_lives() {
            // Not before: what others give up for us we are to take at once, and nothing is to wait for who is gone.
            self.has_joined = true;
            if !self.hold_all(patience).await {
                return self.lose_all();
            }
        }
        let (everything, api) = (ListParams::default(), self.api.clone());
        let leases = timeout(patience, timely(api.list(&everything))).await.unwrap_or(Err(ApiProblem::NoAnswer));
        let leases = match leases {
            Ok(leases) => leases.items,
            Err(problem) => {
                let namespace = &self.election.namespace;
                return tracing::warn!(namespace, %problem, "can't list the Leases of shards; trying again");
            }
        };
        // Who has not joined yet sees already since when a Lease has not moved.
        let (holders, forgotten) = self.holders(leases);
        if !self.has_joined {
            return;
        }
        let moves = moves(&holders, &self.live(), &self.election.identity);
        for shard in moves.give {
            self.give(shard);
        }
        self.publish();
        self.take(forgotten.into_iter().chain(moves.take), patience).await;
    }

    /// Renews the Lease of all; answers whether it is known to be held.
    async fn hold_all(&mut self, patience: Duration) -> bool {
        match timeout(patience, self.beat()).await.unwrap_or(Err(ApiProblem::NoAnswer)) {
            Ok(None) => self.said = None,
            Ok(Some(holder)) => {
                if self.said.as_ref() != Some(&holder) {
                    let (lease, shards) = (&self.election.name, self.count);
                    tracing::info!(
                        lease,
                        holder,
                        shards,
                        "standing by: others hold the Lease, with another number of shards"
                    );
                    self.said = Some(holder);
                }
                return false;
            }
            Err(problem) => {
                let (lease, namespace) = (&self.election.name, &self.election.namespace);
                tracing::warn!(lease, namespace, %problem, "can't renew the Lease of all shards; trying again");
            }
        }
        self.all.check().is_ok()
    }

    /// Renews the Lease of all, or takes it, and tells that we live, once we know who else does; answers who else holds it.
    async fn beat(&mut self) -> Result<Option<String>, ApiProblem> {
        self.beats += 1;
        let all = Election { identity: together(self.count), ..self.election.clone() };
        let Work { taken, wanted, .. } = self.work.borrow().clone();
        let (own, told) = (self.annotation(), format!("{}/{}/{taken}", self.election.identity, self.beats));
        let (has_joined, divides) = (self.has_joined, self.has_joined && self.has_first());
        let wanted = wanted.filter(|_| self.divided.is_none_or(|since| since.elapsed() >= BETWEEN_CHANGES));
        for _ in 0..TRIES {
            let (gone, silent) = (self.gone(), self.silent(self.election.lease_duration));
            let mark = |metadata: &mut ObjectMeta| {
                let annotations = metadata.annotations.get_or_insert_default();
                annotations.retain(|name, text| gone.get(name).is_none_or(|last| last != text));
                let step = step(annotations, &silent, wanted.as_ref()).filter(|_| divides);
                annotations
                    .extend(step.and_then(|step| Some((DIVISION.to_owned(), serde_json::to_string(&step).ok()?))));
                if has_joined {
                    annotations.insert(own.clone(), told.clone());
                }
            };
            match try_acquire(&self.api, &all, &mut self.seen_all, mark).await? {
                Attempt::Ours(lease, sent) => {
                    self.all.renewed(sent, self.election.renew_deadline);
                    self.hear(&lease);
                    self.take_division(&lease, taken);
                    self.has_told = has_joined.then_some(taken);
                    return Ok(None);
                }
                Attempt::Theirs(holder, _) => return Ok(Some(holder)),
                Attempt::Conflict => {}
            }
        }
        // Others renewed it meanwhile: the next round does.
        Ok(None)
    }

    /// Whether the first shard is ours, and stays so.
    fn has_first(&self) -> bool {
        self.tenures.get(&FIRST).is_some_and(|tenure| tenure.give.is_some() && tenure.lead.check().is_ok())
    }

    /// Takes which stores are split now, where so many steps were taken. Who has missed one may work by what was before it
    /// while others work by what came after: it holds nothing any more.
    fn take_division(&mut self, lease: &Lease, taken: u64) {
        let found = division_of(lease.metadata.annotations.as_ref());
        if found == *self.division {
            return;
        }
        let goes_on = found.number == self.division.number + 1 && taken == self.division.number;
        let Division { number, split, next } = &found;
        tracing::info!(number, ?split, ?next, "stores that are split among all shards");
        self.divided = self.has_joined.then(Instant::now);
        self.division = Arc::new(found);
        if goes_on { self.publish() } else { self.lose_all() }
    }

    fn annotation(&self) -> String {
        let unique =
            self.election.identity.rsplit_once('_').map_or(self.election.identity.as_str(), |(_, unique)| unique);
        format!("{REPLICA}{unique}")
    }

    /// Takes what replicas tell of themselves.
    fn hear(&mut self, lease: &Lease) {
        let (now, known) = (Instant::now(), self.told.take());
        let told = lease.metadata.annotations.iter().flatten().filter(|(name, _)| name.starts_with(REPLICA));
        let told = told.map(|(name, text)| {
            let last = known.as_ref().and_then(|known| known.get(name));
            let same = last.filter(|last| last.text == *text);
            let since = same.map_or(now, |last| last.since);
            let has_moved = same.map_or(known.is_some(), |last| last.has_moved);
            (name.clone(), Told { text: text.clone(), since, has_moved })
        });
        let told = told.collect();
        self.told = Some(told);
    }

    /// Whether it is known of all who told of themselves that they live, or that they don't.
    fn knows_who_lives(&self) -> bool {
        let silent = self.election.renew_deadline;
        let mut told = self.told.iter().flat_map(BTreeMap::values);
        self.told.is_some() && told.all(|told| told.has_moved || told.since.elapsed() >= silent)
    }

    /// The replicas that live: a shard that nobody holds is theirs to take. Who can't renew its Leases is none of them.
    fn live(&self) -> BTreeSet<String> {
        let told = self.told.iter().flat_map(BTreeMap::values);
        let alive = told.filter(|told| told.since.elapsed() < self.election.renew_deadline);
        let identities = alive.filter_map(|told| Some(says(&told.text)?.0.to_owned()));
        identities.chain([self.election.identity.clone()]).collect()
    }

    /// The replicas of which nothing was heard for so long that they are forgotten, and what they told last.
    fn gone(&self) -> BTreeMap<String, String> {
        self.silent(2 * self.election.lease_duration)
    }

    /// Those of which nothing was heard for longer than this, and what they told last.
    fn silent(&self, time: Duration) -> BTreeMap<String, String> {
        let told = self.told.iter().flatten();
        let silent = told.filter(|(_, told)| told.since.elapsed() > time);
        silent.map(|(name, told)| (name.clone(), told.text.clone())).collect()
    }

    /// Who holds each shard; and those that we hold by their Leases and know nothing of, since an answer never came.
    fn holders(&mut self, leases: Vec<Lease>) -> (Vec<Option<String>>, Vec<u32>) {
        self.lasts_out = Instant::now() + self.election.lease_duration;
        let named = leases.into_iter().filter_map(|lease| Some((lease.metadata.name.clone()?, lease)));
        let mut named: BTreeMap<String, Lease> = named.collect();
        let (mut holders, mut forgotten) = (Vec::new(), Vec::new());
        for shard in 0..self.count {
            let lease = named.remove(&lease_of(&self.election.name, shard));
            let held = lease.and_then(|lease| holder(&lease, self.seen.entry(shard).or_default()));
            match &held {
                Some((holder, lasts_out)) if *holder != self.election.identity => {
                    self.lasts_out = self.lasts_out.min(*lasts_out);
                }
                Some(_) if !self.tenures.contains_key(&shard) => forgotten.push(shard),
                _ => {}
            }
            holders.push(held.map(|(holder, _)| holder));
        }
        (holders, forgotten)
    }

    /// Takes these, where nobody else does first.
    async fn take(&mut self, shards: impl Iterator<Item = u32>, patience: Duration) {
        let mut tries = JoinSet::new();
        for shard in shards {
            let election = Election { name: lease_of(&self.election.name, shard), ..self.election.clone() };
            let (api, mut seen) = (self.api.clone(), self.seen.remove(&shard).flatten());
            tries.spawn(async move {
                let taken = timeout(patience, try_acquire(&api, &election, &mut seen, |_| {})).await;
                (shard, election, seen, taken.unwrap_or(Err(ApiProblem::NoAnswer)))
            });
        }
        while let Some(tried) = tries.join_next().await {
            let Ok((shard, election, seen, taken)) = tried else { continue };
            self.seen.insert(shard, seen);
            match taken {
                // An answer that took so long is worth nothing: the next round renews what it finds of us.
                Ok(Attempt::Ours(_, sent)) if sent.elapsed() >= election.renew_deadline => {}
                Ok(Attempt::Ours(lease, sent)) => {
                    tracing::info!(shard, of = self.count, "took a shard");
                    let lead = Lead::until(sent, election.renew_deadline).within(&self.all);
                    let leadership = Leadership::new(self.api.clone(), election, *lease, sent, lead.clone());
                    let (give, given) = oneshot::channel();
                    self.tenures.insert(shard, Tenure { lead, give: Some(give) });
                    self.ends.spawn(tenure(shard, leadership, given, self.work.clone()));
                    self.publish();
                }
                Ok(Attempt::Theirs(..) | Attempt::Conflict) => {}
                Err(problem) => tracing::warn!(lease = election.name, %problem, "can't get the Lease; trying again"),
            }
        }
    }

    fn give(&mut self, shard: u32) {
        if let Some(give) = self.tenures.get_mut(&shard).and_then(|tenure| tenure.give.take()) {
            tracing::info!(shard, of = self.count, "gives up a shard: another replica holds fewer");
            let _ = give.send(Way::Drained);
        }
    }

    /// Another may work from soon on: nothing is written any more. The Leases last out, as what was begun needs time to end.
    fn lose_all(&mut self) {
        for (shard, tenure) in std::mem::take(&mut self.tenures) {
            tracing::error!(shard, of = self.count, "lost a shard: the Lease of all shards is not held any more");
            tenure.lead.lose();
        }
        self.ends = JoinSet::new();
        self.publish();
    }

    /// Tells which shards we hold and don't give up.
    fn publish(&self) {
        let ours = self.tenures.iter().filter(|(_, tenure)| tenure.give.is_some() && tenure.lead.check().is_ok());
        let ours: Held = ours.map(|(shard, tenure)| (*shard, tenure.lead.clone())).collect();
        let is_same = |a: &Held| a.len() == ours.len() && a.iter().zip(&ours).all(|(a, b)| a.0 == b.0 && a.1.is(b.1));
        self.ours.send_if_modified(|part| {
            let is_changed = !is_same(&part.held) || part.division != self.division;
            if is_changed {
                *part = Part { held: ours.clone(), division: self.division.clone() };
            }
            is_changed
        });
    }

    /// Gives back what we hold, and tells that we live no longer.
    async fn leave(mut self) {
        self.ours.send_modify(|part| part.held.clear());
        for tenure in self.tenures.values_mut() {
            if let Some(give) = tenure.give.take() {
                let _ = give.send(Way::AtOnce);
            }
        }
        let give_back = async {
            while self.ends.join_next().await.is_some() {}
            let all = Election { identity: together(self.count), ..self.election.clone() };
            let own = self.annotation();
            for _ in 0..TRIES {
                let mark = |metadata: &mut ObjectMeta| _ = metadata.annotations.get_or_insert_default().remove(&own);
                if !matches!(try_acquire(&self.api, &all, &mut self.seen_all, mark).await, Ok(Attempt::Conflict)) {
                    return;
                }
            }
        };
        // The others learn of it by and by.
        let _ = timeout(GIVING_BACK, give_back).await;
    }
}

/// Who tells something, and the number of the division that it has taken.
fn says(text: &str) -> Option<(&str, u64)> {
    let (told, taken) = text.rsplit_once('/')?;
    let (identity, _) = told.rsplit_once('/')?;
    Some((identity, taken.parse().ok()?))
}

/// The next step in which stores are split, by the annotations of the Lease of all: where each replica has told that it took
/// the one before, or is among the `silent`, by what they told last.
fn step(
    annotations: &BTreeMap<String, String>,
    silent: &BTreeMap<String, String>,
    wanted: Option<&BTreeSet<String>>,
) -> Option<Division> {
    let division = division_of(Some(annotations));
    let has_taken = |text: &str| says(text).is_some_and(|(_, taken)| taken == division.number);
    let mut told = annotations.iter().filter(|(name, _)| name.starts_with(REPLICA));
    let all_have = told.all(|(name, text)| has_taken(text) || silent.get(name) == Some(text));
    division.step(wanted).filter(|_| all_have)
}

/// Holds a shard until it is lost or given up.
async fn tenure(
    shard: u32,
    mut leadership: Leadership,
    given: oneshot::Receiver<Way>,
    mut work: watch::Receiver<Work>,
) -> u32 {
    let way = tokio::select! { () = leadership.hold() => return shard, way = given => way };
    if let Ok(Way::Drained) = way {
        let drained = timeout(GRACE, work.wait_for(|work| !work.shards.contains(&shard)));
        let is_drained =
            tokio::select! { () = leadership.hold() => return shard, drained = drained => drained.is_ok() };
        if !is_drained {
            // No write is begun any more; what was has as long to end as where a Lease is lost.
            leadership.lead().lose();
            sleep(leadership.margin()).await;
        }
    }
    leadership.release().await;
    shard
}

#[cfg(test)]
#[path = "shards_tests.rs"]
mod tests;
