//! The operator as users have it, in a pod that is given no more memory and processor than its values say, with a thousand
//! ExternalSecrets: counted as the bench counts them, and through a rollout of itself in the middle of their rotation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use keyferry_bench::report::progress;
use keyferry_bench::watch::Watch;
use keyferry_bench::{Bed, Double, Fleet, StoreKind};
use keyferry_node_driver_tests::rig::{Base, LONG};
use keyferry_testkit::{Testbed, eventually};
use kube::Api;
use kube::runtime::watcher::{Config, Event, watcher};
use tokio::task::JoinHandle;

use crate::chart::helm;
use crate::pods::alone;

const OBJECTS: usize = 1000;

/// As the store's batches are full: so many calls a refresh of all takes.
const CALLS: usize = OBJECTS / 20;

/// Longer than the first sync takes: its calls are counted before the next.
const INTERVAL: u64 = 20;

/// What the pod may have. The chart sets no limits of its own; this is twice and a half what docs/scaling.md has for so many, since the
/// program that tests build is not optimized.
const MEMORY_MIB: u64 = 128;
const LIMITS: &str = "resources.limits.memory=128Mi,resources.limits.cpu=1";

/// How long all of them may take, on a machine that does other things besides.
const SOON: Duration = Duration::from_secs(180);

/// How soon after its start a pod must be ready, in seconds: under five, where the machine has nothing else to do.
const READY: i64 = 15;

/// How soon one must end that is told to: after thirty it would be killed.
const END: i64 = 25;

/// What became of a pod.
#[derive(Clone, Debug, Default)]
struct Life {
    restarts: i32,
    /// How many seconds after its start it was ready first.
    ready: Option<i64>,
    /// The code and the reason it ended with.
    ended: Option<(i32, String)>,
    /// How many seconds after it was told to.
    took: Option<i64>,
}

/// What became of all of the operator's pods, seen by a watch that is open all the time: it forgets none that is gone.
struct Lives {
    all: Arc<Mutex<BTreeMap<String, Life>>>,
    watching: JoinHandle<()>,
}

impl Drop for Lives {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Lives {
    fn watch(pods: Api<Pod>) -> Self {
        let all = Arc::<Mutex<BTreeMap<String, Life>>>::default();
        let seen = all.clone();
        let of_release = Config::default().labels("app.kubernetes.io/instance=mounts");
        let watching = tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(pods, of_release));
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Apply(pod) | Event::InitApply(pod) | Event::Delete(pod)) => {
                        let name = pod.metadata.name.clone().unwrap_or_default();
                        saw(seen.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default(), &pod);
                    }
                    Ok(Event::Init | Event::InitDone) => {}
                    // It begins anew by itself, and at once.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Self { all, watching }
    }

    fn seen(&self) -> BTreeMap<String, Life> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An error where one was killed or ended by itself.
    fn check(&self) -> Result<()> {
        let all = self.seen();
        let is_well = |life: &Life| life.restarts == 0 && life.ended.as_ref().is_none_or(|(code, _)| *code == 0);
        if all.values().all(is_well) { Ok(()) } else { Err(anyhow!("a pod did not live through it: {all:?}")) }
    }
}

/// Takes note of a pod as it is now.
fn saw(life: &mut Life, pod: &Pod) {
    let status = pod.status.clone().unwrap_or_default();
    let Some(container) = status.container_statuses.into_iter().flatten().next() else { return };
    life.restarts = life.restarts.max(container.restart_count);
    let state = container.state.unwrap_or_default();
    let conditions = status.conditions.into_iter().flatten();
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready" && condition.status == "True");
    let ready = ready.find_map(|condition| condition.last_transition_time);
    let started = state.running.and_then(|running| running.started_at);
    if let (None, Some(ready), Some(started)) = (life.ready, ready, started) {
        life.ready = Some(ready.0.as_second() - started.0.as_second());
    }
    let Some(ended) = state.terminated else { return };
    // Its object is to go at that time.
    let told = pod.metadata.deletion_timestamp.as_ref().map(|at| at.0.as_second());
    let told = told.zip(pod.metadata.deletion_grace_period_seconds).map(|(at, grace)| at - grace);
    life.took = ended.finished_at.zip(told).map(|(at, told)| at.0.as_second() - told);
    life.ended = Some((ended.exit_code, ended.reason.unwrap_or_default()));
}

/// Everything that is there.
struct Stage {
    base: Base,
    bed: Bed,
    double: Double,
    fleet: Fleet,
    watch: Watch,
    lives: Lives,
}

impl Stage {
    /// All ExternalSecrets and the values that they ask for, and nobody who looks after them.
    async fn new(testbed: &'static Testbed) -> Self {
        let base = Base::new(testbed, "load", testbed.vault_url()).await;
        let bed = Bed::on(testbed.clone()).await.expect("connections");
        let double = Double::start();
        let namespaces = ["a", "b", "c"].map(|name| format!("{}-{name}", base.namespace.name())).to_vec();
        let fleet = Fleet { store: StoreKind::Aws, objects: OBJECTS, interval: INTERVAL, namespaces };
        fleet.put_store(&bed, &double).await.expect("a store");
        fleet.put_values(&bed, &double, 1).await.expect("values");
        bed.create(&fleet.external_secrets()).await.expect("ExternalSecrets");
        let watch = Watch::open(&bed.client()).await.expect("a watch");
        let lives = Lives::watch(base.namespace.api());
        Self { base, bed, double, fleet, watch, lives }
    }

    /// Installs the operator, alone of the chart, under its limits.
    async fn install(&self) {
        let url = self.base.testbed.node().url(&self.double.url()).expect("a way to the store");
        let store = format!("extraEnv[0].name=AWS_SECRETSMANAGER_ENDPOINT,extraEnv[0].value={url}");
        let values = ["node.enabled=false,replicaCount=1", LIMITS, &store];
        helm(&self.base, "install", self.base.namespace.name(), &values).expect("it is installed");
        self.rolled_out().await;
    }

    /// Waits until the pod is the one that was asked for last, and ready.
    async fn rolled_out(&self) {
        let namespace = self.base.namespace.name();
        let args =
            ["rollout", "status", "deployment", "mounts-external-secrets", "--namespace", namespace, "--timeout=1s"];
        let status = || tokio::task::block_in_place(|| self.base.testbed.kubectl(&args, ""));
        eventually(LONG, || async { status().map_err(|error| format!("{error:#}; {:?}", self.lives.seen())) }).await;
    }

    /// Waits until all are Ready and hold the values of a round.
    async fn until_synced(&self, round: usize) {
        let missing = |seen: &keyferry_bench::watch::Seen| seen.missing(&self.fleet, round);
        let done = self.watch.until("synced", SOON, || self.lives.check(), missing).await;
        done.unwrap_or_else(|error| panic!("round {round}: {error:#}"));
    }

    async fn put(&self, round: usize) {
        self.fleet.put_values(&self.bed, &self.double, round).await.expect("values");
    }

    /// What the store was asked since it was told last, which is what so many refreshes of all take, and those that `more` may begin.
    fn counted(&self, what: &str, more: usize) {
        let counts = self.double.reset_counts();
        let rounds = counts.keys().div_ceil(OBJECTS) + more;
        assert!(counts.total() <= rounds * CALLS, "{what}: {} calls for {} keys", counts.total(), counts.keys());
    }

    /// The most memory that the pod which is there has had, and the most that the kernel lets it have, in MiB.
    async fn memory(&self) -> (u64, u64) {
        let pods: Api<Pod> = self.base.namespace.api();
        let all = pods.list(&kube::api::ListParams::default()).await.expect("pods").items;
        let pod = all.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).expect("a pod");
        let uid = pod.metadata.uid.expect("a UID");
        let container = pod.status.and_then(|status| status.container_statuses?.into_iter().next()?.container_id);
        let container = container.expect("a container");
        let id = container.trim_start_matches("containerd://");
        let read = |file: &str| {
            let path = format!("/sys/fs/cgroup/memory/kubepods/burstable/pod{uid}/{id}/memory.{file}");
            let text = self.base.testbed.node().run("cat", &[&path]).expect("the kernel's count");
            text.trim().parse::<u64>().expect("a number") >> 20
        };
        (read("max_usage_in_bytes"), read("limit_in_bytes"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_under_its_limits_keeps_a_thousand_current_through_a_rollout_of_itself() {
    let testbed = tokio::task::spawn_blocking(Testbed::with_node).await.expect("a testbed");
    let _alone = alone().await;
    testbed.node().keyferry().expect("the image");
    let stage = Stage::new(testbed).await;
    stage.install().await;
    stage.until_synced(1).await;
    stage.counted("the first sync", 0);
    let (first_peak, limit) = stage.memory().await;
    assert_eq!(limit, MEMORY_MIB, "it has the limit");

    // New values for all, and others again while it is replaced: it is in the middle of them when it is told to end.
    stage.put(2).await;
    let begun = |seen: &keyferry_bench::watch::Seen| usize::from(seen.missing(&stage.fleet, 2) == OBJECTS);
    stage.watch.until("rotated", SOON, || stage.lives.check(), begun).await.expect("they are rotated");
    stage.base.kubectl(&["rollout", "restart", "deployment", "mounts-external-secrets"], "");
    let mut round = 2;
    let rotating = async {
        loop {
            round += 1;
            stage.put(round).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = stage.rolled_out() => {}
        () = rotating => unreachable!("it goes on for ever"),
    }
    stage.until_synced(round).await;
    // Who takes over asks once more for what the other had under way, and spreads what is overdue, so that batches are not as full.
    stage.counted("the rotation", 2);

    let faults = stage.watch.look(|seen| seen.history.faults.clone());
    assert!(faults.is_empty(), "{faults:?}");
    let lives = eventually(LONG, || async {
        let lives = stage.lives.seen();
        let ended = lives.values().filter(|life| life.ended.is_some()).count();
        if (lives.len(), ended) == (2, 1) { Ok(lives) } else { Err(format!("{lives:?}")) }
    })
    .await;
    stage.lives.check().expect("none restarts");
    assert!(lives.values().any(|life| life.took.is_some_and(|took| took < END)), "SIGTERM ends it in time: {lives:?}");
    assert!(lives.values().any(|life| life.ready.is_some_and(|took| took < READY)), "ready in time: {lives:?}");
    let (peak, _) = stage.memory().await;
    progress(&format!("memory at most: {first_peak} MiB, then {peak} MiB, of {MEMORY_MIB}; {lives:?}"));
    helm(&stage.base, "uninstall", stage.base.namespace.name(), &["--timeout=60s"]).expect("it goes");
}
