//! Several replicas, each on its part: every ExternalSecret is one replica's, whoever comes and goes, and what moves costs
//! nothing before it is due.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keyferry_bench::bed::create;
use keyferry_bench::fleet::STORE;
use keyferry_bench::subject::Subject;
use keyferry_bench::{Fleet, StoreKind};
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::stage::{SOON, Stage};

const OBJECTS: usize = 80;
const STORES: usize = 16;
const SHARDS: usize = 4;
const LEASE: Duration = Duration::from_secs(15);

/// How long after that the others have taken what one held who was killed.
const GRACE: Duration = Duration::from_secs(2);

/// What a busy machine takes beside, of which no replica knows.
const BUSY_MACHINE: Duration = Duration::from_secs(10);

/// How often it is looked: so much later is it seen.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One in so many refreshes all the time; the others are not due for the whole test.
const BUSY: usize = 5;

fn is_busy(n: usize) -> bool {
    n.is_multiple_of(BUSY)
}

struct Replicas {
    stage: Stage,
    folder: tempfile::TempDir,
    running: BTreeMap<&'static str, Subject>,
}

impl Replicas {
    /// Of so many ExternalSecrets, of which there are none yet, and so many stores more.
    async fn new(objects: usize, interval: u64, stores: usize) -> Self {
        let stage = Stage::new(StoreKind::Aws, objects, interval, &["a", "b"]).await;
        let spec = stage.bed.api("ClusterSecretStore", None).get(STORE).await.unwrap().data["spec"].clone();
        for n in 0..stores {
            let metadata = json!({"name": format!("{STORE}-{n}")});
            let kind = "ClusterSecretStore";
            let store =
                json!({"apiVersion": "external-secrets.io/v1", "kind": kind, "metadata": metadata, "spec": spec});
            create(stage.bed.client(), &store).await.unwrap();
        }
        Self { stage, folder: tempfile::tempdir().unwrap(), running: BTreeMap::new() }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&mut self, name: &'static str, args: &[&str]) {
        let log = format!("--audit-log={}", self.log(name).display());
        let args: Vec<&str> = args.iter().copied().chain([log.as_str()]).collect();
        let subject = Subject::start(self.stage.bed.testbed(), &self.stage.double, None, &args).unwrap();
        self.running.insert(name, subject);
    }

    fn check(&mut self) {
        for (name, subject) in &mut self.running {
            subject.check().unwrap_or_else(|error| panic!("{name}: {error:#}"));
        }
    }

    /// Waits until all of these hold the values of a round.
    async fn until_synced(&mut self, round: usize, which: fn(usize) -> bool) {
        let fleet = self.stage.fleet.clone();
        let missing = move |seen: &keyferry_bench::watch::Seen| {
            (0..fleet.objects).filter(|n| which(*n) && !seen.is_synced(&fleet, *n, round)).count()
        };
        let Self { stage, running, .. } = self;
        let check = || running.values_mut().try_for_each(Subject::check);
        if let Err(error) = stage.watch.until("synced", SOON, check, missing).await {
            let logs: Vec<String> = running.values().map(Subject::log_end).collect();
            panic!("round {round}: {error:#}\n{}", logs.join("\n\n"));
        }
    }

    /// New values for those that refresh all the time arrive.
    async fn goes_on(&mut self, round: usize) {
        for n in (0..OBJECTS).filter(|n| is_busy(*n)) {
            let value = json!(self.stage.fleet.data(n, round)).to_string();
            self.stage.double.set(&self.stage.fleet.key(n), &value);
        }
        self.until_synced(round, is_busy).await;
    }

    /// How many shards each holds, by the name of its Lease's holder.
    async fn held(&self) -> BTreeMap<String, usize> {
        let leases = self.stage.bed.api("Lease", Some("default")).list(&ListParams::default()).await.unwrap();
        let mut held = BTreeMap::new();
        for lease in leases.items {
            let name = lease.metadata.name.unwrap_or_default();
            let holder = lease.data["spec"]["holderIdentity"].as_str().unwrap_or_default();
            if name.starts_with("external-secrets-controller-shard-") && !holder.is_empty() {
                *held.entry(holder.to_owned()).or_default() += 1;
            }
        }
        held
    }

    /// Waits until the shards are held in such parts; answers by whom.
    async fn until_held(&mut self, what: &str, parts: &[usize]) -> BTreeSet<String> {
        let begun = Instant::now();
        loop {
            let held = self.held().await;
            let mut now: Vec<usize> = held.values().copied().collect();
            now.sort_unstable();
            if now == parts {
                return held.into_keys().collect();
            }
            self.check();
            assert!(begun.elapsed() < SOON, "{what}: {held:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Which of them each replica has written so far, by its audit log.
    fn written(&self, name: &str) -> BTreeSet<(String, String)> {
        written(&self.log(name), 0)
    }

    /// How many lines the audit log of one has.
    fn lines(&self, name: &str) -> usize {
        std::fs::read_to_string(self.log(name)).unwrap_or_default().lines().count()
    }

    /// Waits until these have told that they wrote so many Secrets: a Secret is there a moment before that is told.
    async fn until_written(&self, names: &[&str], count: usize) {
        let begun = Instant::now();
        let all = || names.iter().map(|name| self.written(name).len()).sum::<usize>();
        while all() < count && begun.elapsed() < BUSY_MACHINE {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        assert_eq!(all(), count, "Secrets written by {names:?}");
    }

    /// Waits until this store is split, and all replicas know.
    async fn until_split(&mut self, store: &str) {
        let begun = Instant::now();
        loop {
            let lease = self.stage.bed.api("Lease", Some("default")).get("external-secrets-controller").await.unwrap();
            let told = lease.metadata.annotations.unwrap_or_default();
            let division: Value =
                told.get("keyferry.io/division").map(|text| text.parse().unwrap()).unwrap_or_default();
            let taken = format!("/{}", division["number"]);
            let have_taken = told.iter().filter(|(name, text)| name.contains("/replica-") && text.ends_with(&taken));
            let is_over = division["next"].is_null() && division["split"] == json!([store]);
            if is_over && have_taken.count() == self.running.len() {
                return;
            }
            self.check();
            assert!(begun.elapsed() < SOON, "{told:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The versions of all that is not due: of ExternalSecrets, and of their Secrets.
    async fn at_rest(&self) -> Vec<String> {
        let mut versions = Vec::new();
        for kind in ["ExternalSecret", "Secret"] {
            for namespace in ["a", "b"] {
                let listed = self.stage.bed.api(kind, Some(namespace)).list(&ListParams::default()).await.unwrap();
                let named = listed.items.into_iter().filter_map(|object| {
                    let name = object.metadata.name?;
                    let n: usize = name.strip_prefix("es-")?.parse().ok()?;
                    Some((n, format!("{kind} {name} {}", object.metadata.resource_version?)))
                });
                versions.extend(named.filter(|(n, _)| !is_busy(*n)).map(|(_, version)| version));
            }
        }
        versions
    }

    /// The keys of what is not due that were asked for.
    fn asked_at_rest(&self) -> Vec<String> {
        let (counts, fleet) = (self.stage.double.counts(), &self.stage.fleet);
        let at_rest: BTreeSet<String> = (0..OBJECTS).filter(|n| !is_busy(*n)).map(|n| fleet.key(n)).collect();
        let asked = counts.log().iter().flat_map(|call| call.keys.iter());
        asked.filter(|key| at_rest.contains(*key)).cloned().collect()
    }
}

fn external_secret(fleet: &Fleet, n: usize) -> Value {
    let mut es = fleet.external_secret(n, if is_busy(n) { "3s" } else { "1h" });
    // Of each store some refresh all the time, and others are not due.
    es["spec"]["secretStoreRef"]["name"] = json!(format!("{STORE}-{}", (n / BUSY) % STORES));
    es
}

/// What was written by this log since it had so many lines.
fn written(log: &Path, before: usize) -> BTreeSet<(String, String)> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines = text.lines().skip(before).filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let written = lines.filter(|line| line["action"] == "written" && line["outcome"] == "done");
    let name = |line: &Value, field: &str| line["object"][field].as_str().unwrap_or_default().to_owned();
    written.map(|line| (name(&line, "namespace"), name(&line, "name"))).collect()
}

/// How replicas share.
const SHARDED: [&str; 4] = [
    "--shards=4",
    "--leader-election-lease-duration=15s",
    "--leader-election-renew-deadline=10s",
    "--leader-election-retry-period=2s",
];

pub async fn test() {
    let mut replicas = Replicas::new(OBJECTS, 3600, STORES).await;
    all_is_divided(&mut replicas).await;
    let (before, calls) = (replicas.at_rest().await, replicas.asked_at_rest().len());
    one_is_killed(&mut replicas).await;
    assert_eq!(replicas.asked_at_rest().len(), calls, "nothing is asked before it is due");
    assert_eq!(replicas.at_rest().await, before, "nothing is written");
    another_joins_and_one_ends(&mut replicas).await;
    and_back(&mut replicas).await;
    assert_eq!(replicas.asked_at_rest().len(), calls, "nothing is asked before it is due");
    assert_eq!(replicas.at_rest().await, before, "nothing is written");
    replicas.stage.watch.look(|seen| {
        assert!(seen.history.faults.is_empty(), "{:#?}", seen.history.faults);
        for (name, versions) in &seen.history.versions {
            let n: usize = name.1.strip_prefix("es-").and_then(|n| n.parse().ok()).unwrap_or_default();
            let most = if is_busy(n) { 7 } else { 1 };
            assert!(*versions <= most, "{name:?} was written {versions} times");
        }
    });
    replicas.running.remove("alone").unwrap().stop().unwrap();
}

async fn all_is_divided(replicas: &mut Replicas) {
    replicas.start("first", &SHARDED);
    replicas.start("second", &SHARDED);
    replicas.until_held("two replicas", &[2, 2]).await;
    let all: Vec<Value> = (0..OBJECTS).map(|n| external_secret(&replicas.stage.fleet, n)).collect();
    replicas.stage.bed.create(&all).await.unwrap();
    replicas.until_synced(1, |_| true).await;
    let mut asked = replicas.asked_at_rest();
    let count = asked.len();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!((asked.len(), count), (OBJECTS - OBJECTS / BUSY, OBJECTS - OBJECTS / BUSY), "each key once");
    replicas.goes_on(2).await;
    replicas.until_written(&["first", "second"], OBJECTS).await;
    let (first, second) = (replicas.written("first"), replicas.written("second"));
    assert!(first.is_disjoint(&second), "both wrote: {:?}", first.intersection(&second).collect::<Vec<_>>());
    assert_eq!(first.len() + second.len(), OBJECTS);
    assert!(!first.is_empty() && !second.is_empty(), "each has its part");
}

async fn one_is_killed(replicas: &mut Replicas) {
    let holders: BTreeSet<String> = replicas.held().await.into_keys().collect();
    replicas.running.remove("first").unwrap().kill();
    let killed = Instant::now();
    let left = replicas.until_held("after the kill", &[SHARDS]).await;
    let took = killed.elapsed();
    assert!(left.is_subset(&holders), "{left:?} of {holders:?}");
    assert!(took <= LEASE + GRACE + BUSY_MACHINE, "the other took its shards after {took:?}");
    replicas.goes_on(3).await;
}

async fn another_joins_and_one_ends(replicas: &mut Replicas) {
    replicas.start("third", &SHARDED);
    replicas.until_held("a third one", &[2, 2]).await;
    replicas.goes_on(4).await;
    assert!(!replicas.written("third").is_empty(), "it has some");
    replicas.running.remove("second").unwrap().stop().unwrap();
    replicas.until_held("the second one ended", &[SHARDS]).await;
    replicas.goes_on(5).await;
}

/// One without shards waits for the last with shards, and then has all.
async fn and_back(replicas: &mut Replicas) {
    replicas.start("alone", &["--leader-election-retry-period=2s"]);
    tokio::time::sleep(LEASE + 2 * GRACE).await;
    replicas.goes_on(6).await;
    assert_eq!(replicas.written("alone"), BTreeSet::new(), "it writes nothing beside others");
    replicas.running.remove("third").unwrap().stop().unwrap();
    replicas.goes_on(7).await;
    replicas.until_written(&["alone"], OBJECTS / BUSY).await;
}

/// So many that one store is split among two shards, which refresh so often.
const MANY: usize = 240;
const INTERVAL: u64 = 30;
const BATCH: usize = 20;

/// How far the calls of one tick are apart at most: the next is a second and a half later.
const TICK: Duration = Duration::from_millis(300);

/// How long until all that is looked at has been, once a part has come.
const LOOKED_AT: Duration = Duration::from_secs(3);

/// One ClusterSecretStore, which all use: each replica asks it for its part, a part-filled batch more than one alone would at
/// most, and of no key that the other asks for.
pub async fn one_store() {
    let mut replicas = Replicas::new(MANY, INTERVAL, 0).await;
    replicas.stage.create_all().await;
    let args = [&["--shards=2"][..], &SHARDED[1..]].concat();
    replicas.start("first", &args);
    replicas.start("second", &args);
    replicas.until_held("two replicas", &[1, 1]).await;
    replicas.until_synced(1, |_| true).await;
    replicas.until_split(&format!("/{STORE}")).await;
    tokio::time::sleep(LOOKED_AT).await;
    let before = ["first", "second"].map(|name| replicas.lines(name));
    replicas.stage.double.reset_counts();
    replicas.stage.fleet.put_values(&replicas.stage.bed, &replicas.stage.double, 2).await.unwrap();
    replicas.until_synced(2, |_| true).await;
    let (begun, mut parts) = (Instant::now(), Vec::<BTreeSet<_>>::new());
    while parts.iter().map(BTreeSet::len).sum::<usize>() < MANY && begun.elapsed() < BUSY_MACHINE {
        tokio::time::sleep(LOOK_EVERY).await;
        let written = |(name, before)| written(&replicas.log(name), before);
        parts = ["first", "second"].into_iter().zip(before).map(written).collect();
    }
    let [first, second] = parts.as_slice() else { panic!("{parts:?}") };
    assert!(first.is_disjoint(second), "both wrote: {:?}", first.intersection(second).collect::<Vec<_>>());
    assert_eq!(first.len() + second.len(), MANY);
    assert!(first.len().abs_diff(second.len()) < MANY / 4, "about a half each: {} and {}", first.len(), second.len());
    asked_in_full_batches(&replicas.stage, first);
    replicas.stage.watch.look(|seen| {
        assert!(seen.history.faults.is_empty(), "{:#?}", seen.history.faults);
        let twice = seen.history.versions.iter().filter(|(name, _)| name.1.starts_with("es-"));
        let more: Vec<_> = twice.filter(|(_, versions)| **versions != 2).collect();
        assert!(more.is_empty(), "written once for each value: {more:?}");
    });
    for (_, subject) in std::mem::take(&mut replicas.running) {
        subject.stop().unwrap();
    }
}

/// Checks all calls, where one replica had these ExternalSecrets and another had the others.
fn asked_in_full_batches(stage: &Stage, first: &BTreeSet<(String, String)>) {
    let (counts, fleet) = (stage.double.counts(), &stage.fleet);
    let name = |n: usize| (fleet.namespace(n).to_owned(), fleet.name(n));
    let is_of_first: BTreeMap<String, bool> = (0..MANY).map(|n| (fleet.key(n), first.contains(&name(n)))).collect();
    let (mut asked, mut part_filled) = (BTreeMap::<&String, Instant>::new(), BTreeMap::<bool, Instant>::new());
    for call in counts.log().iter().filter(|call| !call.keys.is_empty()) {
        let whose: BTreeSet<bool> = call.keys.iter().map(|key| is_of_first[key]).collect();
        assert_eq!(whose.len(), 1, "each asks for its own alone: {}", counts.story());
        for key in &call.keys {
            let last = asked.insert(key, call.at);
            let is_next = last.is_none_or(|last| call.at - last > Duration::from_secs(INTERVAL / 2));
            assert!(is_next, "{key} was asked twice: {}", counts.story());
        }
        if call.keys.len() < BATCH {
            let last = whose.first().and_then(|whose| part_filled.insert(*whose, call.at));
            assert!(last.is_none_or(|last| call.at - last > TICK), "two were part-filled: {}", counts.story());
        }
    }
    assert_eq!(asked.len(), MANY, "each key");
}
