//! The tenant who behaves: a few ExternalSecrets whose values change all the time, one that somebody edits by hand, new ones,
//! and a workload that restarts. How long each change takes to arrive is what attacks must not touch.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use keyferry_bench::Double;
use keyferry_testkit::Testbed;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::api::{api, put};

/// His namespace.
pub const NAMESPACE: &str = "honest";

/// What he logs in with.
pub const TOKEN: &str = "the-token-of-the-honest-tenant-5f1c";

/// What his generator gives.
pub const GENERATED: &str = "the-value-of-the-honest-tenants-generator-77ab";

/// How long between the changes of one value.
const BETWEEN: Duration = Duration::from_secs(2);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where a Deployment has for which change it was restarted.
pub const RESTARTED_FOR: &str = "/spec/template/metadata/annotations/keyferry.io~1restarted-for";

/// How long it is waited for another change before anybody restarts: that is nobody's delay.
const QUIET: Duration = Duration::from_secs(10);

/// The tenant at work, until this is dropped.
pub struct Honest {
    changes: Arc<Changes>,
    /// Of these one takes ten seconds and more: nobody waits for the next.
    restarts: Arc<Changes>,
    _tasks: JoinSet<()>,
}

/// How changes fared since the last [`Honest::forget`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Service {
    /// The longest that a change took, or has been taking.
    pub slowest: Duration,
    /// How many arrived.
    pub arrived: usize,
    /// By how much a restart was late at most.
    pub restart: Duration,
}

#[derive(Default)]
struct Changes(Mutex<BTreeMap<String, Change>>);

#[derive(Default)]
struct Change {
    since: Option<Instant>,
    slowest: Duration,
    arrived: usize,
}

/// What the Secrets of the namespace hold.
#[derive(Clone, Default)]
struct Secrets(Arc<Mutex<HashMap<String, Held>>>);

/// The version of a Secret, and what it holds under `value`.
struct Held {
    version: u64,
    value: Option<String>,
}

/// A Secret holds a value, in a version behind this one.
struct Wanted {
    secret: String,
    value: String,
    behind: u64,
}

/// One who changes something, over and over.
#[derive(Clone)]
struct Hand {
    client: Client,
    double: Double,
}

impl Honest {
    /// Makes his namespace and objects, and lets him begin.
    pub async fn start(testbed: &Testbed) -> Result<Self> {
        let client = testbed.kube_client().await;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        let hand = Hand { client: client.clone(), double: Double::start() };
        put(&client, NAMESPACE, &namespace).await?;
        for object in objects(&hand.double) {
            put(&client, NAMESPACE, &object).await?;
        }
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RESTARTS}});
        put(&client, RESTARTS, &namespace).await?;
        for object in objects_of_restarts(&hand.double) {
            put(&client, RESTARTS, &object).await?;
        }
        let (changes, restarts, secrets) = (Arc::<Changes>::default(), Arc::<Changes>::default(), Secrets::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(client, secrets.clone()));
        for n in 0..4 {
            tasks.spawn(go_on(format!("stored-{n}"), changes.clone(), secrets.clone(), hand.clone(), Hand::rotate));
        }
        tasks.spawn(go_on("fake-0".to_owned(), changes.clone(), secrets.clone(), hand.clone(), Hand::rewrite));
        tasks.spawn(go_on("edited-0".to_owned(), changes.clone(), secrets.clone(), hand.clone(), Hand::edit));
        tasks.spawn(restart(restarts.clone(), hand.clone()));
        tasks.spawn(go_on("fresh".to_owned(), changes.clone(), secrets, hand, Hand::add));
        Ok(Self { changes, restarts, _tasks: tasks })
    }

    /// How changes have fared.
    pub fn service(&self) -> Service {
        let arrived = self.changes.lock().values().map(|change| change.arrived).sum();
        Service { slowest: self.changes.slowest(), arrived, restart: self.restarts.slowest() }
    }

    /// Counts anew. What is on its way has been since before, and stays so.
    pub fn forget(&self) {
        for change in self.changes.lock().values_mut() {
            (change.slowest, change.arrived) = (Duration::ZERO, 0);
        }
        // One that waited while nobody ran is not held against who comes up.
        for change in self.restarts.lock().values_mut() {
            (change.slowest, change.since) = (Duration::ZERO, change.since.map(|since| since.max(Instant::now())));
        }
    }

    /// Waits until each of his changes has arrived at least once more and none is late.
    pub async fn until_served(&self, limit: Duration) -> Result<Duration> {
        let begun = Instant::now();
        let before: BTreeMap<String, usize> =
            self.changes.lock().iter().map(|(name, change)| (name.clone(), change.arrived)).collect();
        loop {
            let late = self.changes.late(&before);
            if late.is_empty() && !self.changes.lock().is_empty() {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > limit {
                return Err(anyhow!("not within {} s: {}", limit.as_secs(), late.join(", ")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Changes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Change>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The longest that one took, or has been taking.
    fn slowest(&self) -> Duration {
        let took = |change: &Change| change.slowest.max(change.since.map_or(Duration::ZERO, |since| since.elapsed()));
        self.lock().values().map(took).max().unwrap_or_default()
    }

    /// Those of which none arrived since they were so many, or of which one is under way for long.
    fn late(&self, before: &BTreeMap<String, usize>) -> Vec<String> {
        let is_late = |name: &str, change: &Change| {
            change.arrived <= before.get(name).copied().unwrap_or_default()
                || change.since.is_some_and(|since| since.elapsed() > Duration::from_secs(3))
        };
        let changes = self.lock();
        changes.iter().filter(|(name, change)| is_late(name, change)).map(|(name, _)| name.clone()).collect()
    }
}

impl Secrets {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, wanted: &Wanted) -> bool {
        let all = self.lock();
        let held = all.get(&wanted.secret);
        held.is_some_and(|held| held.version > wanted.behind && held.value.as_deref() == Some(&wanted.value))
    }
}

/// All that he has but for what comes and goes.
fn objects(double: &Double) -> Vec<Value> {
    double.set("still", &json!({"value": "as it should be"}).to_string());
    (0..4).for_each(|n| double.set(&format!("stored-{n}"), &value(0)));
    let login =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "stringData": {"token": TOKEN}});
    let vault = json!({"vault": {
        "server": double.url(), "path": "secret", "version": "v2",
        "auth": {"tokenSecretRef": {"name": "login", "key": "token"}},
    }});
    let generator = json!({
        "apiVersion": "generators.external-secrets.io/v1alpha1", "kind": "Fake", "metadata": {"name": "generator"},
        "spec": {"data": {"value": GENERATED}},
    });
    let mut all = vec![login, store("stored", &vault), store("fake", &fake(0)), generator];
    all.extend((0..4).map(|n| external_secret(&format!("stored-{n}"), "stored", &format!("stored-{n}"))));
    all.push(external_secret("fake-0", "fake", "value"));
    all.push(external_secret("edited-0", "stored", "still"));
    all
}

/// What restarts, its ExternalSecret, and their namespace: where other Secrets change all the time restarts wait for a minute.
const RESTARTS: &str = "honest-restarts";

/// All that is there.
fn objects_of_restarts(double: &Double) -> Vec<Value> {
    double.set(RESTARTS, &value(0));
    let mut all = objects(double);
    all.retain(|object| ["login", "stored"].iter().any(|name| object["metadata"]["name"] == *name));
    all.extend([external_secret(RESTARTS, "stored", RESTARTS), workload()]);
    all
}

/// A Deployment which restarts for its Secret, and which is not waited for: attackers may keep who would roll it out busy.
fn workload() -> Value {
    let labels = json!({"app": RESTARTS});
    let pods = json!({"containers": [{
        "name": "app", "image": "localhost/none", "envFrom": [{"secretRef": {"name": RESTARTS}}],
    }]});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": RESTARTS, "annotations": {"keyferry.io/restart": "true"}},
        "spec": {
            "replicas": 0, "paused": true, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pods},
        },
    })
}

fn store(name: &str, provider: &Value) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": name},
        "spec": {"provider": provider},
    })
}

fn fake(round: usize) -> Value {
    json!({"fake": {"data": [{"key": "value", "value": value(round)}]}})
}

fn value(round: usize) -> String {
    json!({"value": format!("round {round}")}).to_string()
}

fn external_secret(name: &str, store: &str, key: &str) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": name},
        "spec": {
            "refreshInterval": "1s", "secretStoreRef": {"name": store},
            "data": [{"secretKey": "value", "remoteRef": {"key": key, "property": "value"}}],
        },
    })
}

impl Hand {
    /// A value changes in a store that is asked over the network.
    async fn rotate(self, name: String, round: usize) -> Result<Wanted> {
        self.double.set(&name, &value(round));
        Ok(Wanted { secret: name, value: format!("round {round}"), behind: 0 })
    }

    /// A store that has its values in itself is written anew.
    async fn rewrite(self, name: String, round: usize) -> Result<Wanted> {
        put(&self.client, NAMESPACE, &store("fake", &fake(round))).await?;
        Ok(Wanted { secret: name, value: format!("round {round}"), behind: 0 })
    }

    /// A target is edited by hand, and repaired.
    async fn edit(self, name: String, round: usize) -> Result<Wanted> {
        let patch = Patch::Merge(json!({"stringData": {"value": format!("edited {round}")}}));
        let secrets = api(&self.client, NAMESPACE, "v1", "Secret");
        let edited = secrets.patch(&name, &PatchParams::default(), &patch).await?;
        let version = edited.metadata.resource_version.and_then(|version| version.parse().ok());
        let behind = version.context("no resourceVersion")?;
        Ok(Wanted { secret: name, value: "as it should be".to_owned(), behind })
    }

    /// An ExternalSecret is new; the one before goes.
    async fn add(self, name: String, round: usize) -> Result<Wanted> {
        let [new, old] = [round, round.saturating_sub(1)].map(|round| format!("{name}-{round}"));
        let all = api(&self.client, NAMESPACE, "external-secrets.io/v1", "ExternalSecret");
        // The first has none before it.
        let _ = all.delete(&old, &DeleteParams::default()).await;
        put(&self.client, NAMESPACE, &external_secret(&new, "stored", "still")).await?;
        Ok(Wanted { secret: new, value: "as it should be".to_owned(), behind: 0 })
    }
}

/// Changes something, waits until it has arrived, and so on.
async fn go_on<F: Future<Output = Result<Wanted>> + Send>(
    name: String,
    changes: Arc<Changes>,
    secrets: Secrets,
    hand: Hand,
    act: impl Fn(Hand, String, usize) -> F,
) {
    for round in 1.. {
        // What the API server has no time for is no fault of the operator's.
        let wanted = loop {
            match act(hand.clone(), name.clone(), round).await {
                Ok(wanted) => break wanted,
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        };
        let since = Instant::now();
        changes.lock().entry(name.clone()).or_default().since = Some(since);
        while !secrets.hold(&wanted) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let took = since.elapsed();
        if let Some(change) = changes.lock().get_mut(&name) {
            (change.since, change.slowest, change.arrived) = (None, change.slowest.max(took), change.arrived + 1);
        }
        tokio::time::sleep(BETWEEN.saturating_sub(took).max(Duration::from_millis(100))).await;
    }
}

/// Changes a value, waits until the workload has restarted for it, and so on.
async fn restart(restarts: Arc<Changes>, hand: Hand) {
    let workloads = api(&hand.client, RESTARTS, "apps/v1", "Deployment");
    let secrets = api(&hand.client, RESTARTS, "v1", "Secret");
    // For its first sync nobody restarts.
    while secrets.get(RESTARTS).await.is_err() {
        tokio::time::sleep(10 * LOOK_EVERY).await;
    }
    for round in 1.. {
        let before = loop {
            match noted(&workloads).await {
                Some(noted) => break noted,
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        hand.double.set(RESTARTS, &value(round));
        restarts.lock().entry(RESTARTS.to_owned()).or_default().since = Some(Instant::now() + QUIET);
        while noted(&workloads).await.is_none_or(|now| now == before) {
            tokio::time::sleep(10 * LOOK_EVERY).await;
        }
        if let Some(change) = restarts.lock().get_mut(RESTARTS) {
            let took = change.since.take().map_or(Duration::ZERO, |since| since.elapsed());
            (change.slowest, change.arrived) = (change.slowest.max(took), change.arrived + 1);
        }
    }
}

/// For which change the workload was restarted; `None` where the API server does not answer.
async fn noted(workloads: &Api<DynamicObject>) -> Option<Value> {
    let found = workloads.get(RESTARTS).await.ok()?;
    Some(found.data.pointer(RESTARTED_FOR).cloned().unwrap_or_default())
}

/// Keeps what the Secrets of the namespace hold.
async fn follow(client: Client, secrets: Secrets) {
    let api: Api<Secret> = Api::namespaced(client, NAMESPACE);
    let mut news = std::pin::pin!(watcher(api, Config::default()).default_backoff());
    while let Some(event) = news.next().await {
        match event {
            Ok(Event::Apply(secret) | Event::InitApply(secret)) => {
                let version = secret.metadata.resource_version.and_then(|version| version.parse().ok());
                let value = secret.data.and_then(|mut data| data.remove("value"));
                let value = value.and_then(|value| String::from_utf8(value.0).ok());
                let held = Held { version: version.unwrap_or_default(), value };
                secrets.lock().insert(secret.metadata.name.unwrap_or_default(), held);
            }
            Ok(Event::Delete(secret)) => _ = secrets.lock().remove(&secret.metadata.name.unwrap_or_default()),
            Ok(Event::Init | Event::InitDone) | Err(_) => {}
        }
    }
}
