//! What the operator has done, seen through two watches that are open all the time: looking costs no request.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, GroupVersionKind, ObjectMeta};
use kube::core::Object;
use kube::runtime::watcher::{Config, Error, Event, watcher};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::fleet::Fleet;

/// Namespace and name.
pub type Name = (String, String);

/// The `Ready` condition of an ExternalSecret.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Whether it is True.
    pub is: bool,
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// When it was first seen to be True.
    pub since: Option<Instant>,
}

/// What is there now.
#[derive(Default)]
pub struct Seen {
    /// When ExternalSecrets were first seen.
    pub born: HashMap<Name, Instant>,
    /// Conditions of ExternalSecrets.
    pub ready: HashMap<Name, Ready>,
    /// What Secrets hold.
    pub data: HashMap<Name, BTreeMap<String, Vec<u8>>>,
    /// What became of Secrets so far.
    pub history: History,
}

/// What must never be is kept, and how often Secrets were written.
#[derive(Default)]
pub struct History {
    /// UID and resource version of the last version seen.
    last: HashMap<Name, (String, String)>,
    /// How many versions of each were seen.
    pub versions: HashMap<Name, usize>,
    /// A Secret that was deleted, made anew, or written without a change, or that lost a key.
    pub faults: Vec<String>,
}

impl History {
    /// Takes a version that comes after one that held `before`, if there was one.
    fn saw(&mut self, name: &Name, secret: &Secret, before: Option<&BTreeMap<String, Vec<u8>>>) {
        let metadata = &secret.metadata;
        let now = (metadata.uid.clone().unwrap_or_default(), metadata.resource_version.clone().unwrap_or_default());
        let Some((uid, version)) = self.last.insert(name.clone(), now.clone()) else {
            _ = self.versions.insert(name.clone(), 1);
            return;
        };
        // A watch that begins anew shows what it showed before.
        if version == now.1 {
            return;
        }
        *self.versions.entry(name.clone()).or_default() += 1;
        let empty = BTreeMap::new();
        let (before, data) = (before.unwrap_or(&empty), secret.data.as_ref());
        let has = |key: &String| data.is_some_and(|data| data.contains_key(key));
        let is_same =
            |(key, value): (&String, &Vec<u8>)| data.and_then(|d| d.get(key)).is_some_and(|is| is.0 == *value);
        let fault = if uid != now.0 {
            "was made anew"
        } else if !before.keys().all(has) {
            "lost a key"
        } else if before.len() == data.map_or(0, BTreeMap::len) && before.iter().all(is_same) {
            "was written without a change"
        } else {
            return;
        };
        self.faults.push(format!("{}/{} {fault}", name.0, name.1));
    }
}

/// The watches; they end with this.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    news: Arc<Notify>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct NoSpec {}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

impl Watch {
    /// Watches the whole cluster; both lists are there when this returns, so that nothing of it is counted later.
    pub async fn open(client: &Client) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let news = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("external-secrets.io", "v1", "ExternalSecret"));
        let external_secrets: Api<Object<NoSpec, Status>> = Api::all_with(client.clone(), &resource);
        let secrets: Api<Secret> = Api::all(client.clone());
        let listed = Arc::new(tokio::sync::Semaphore::new(0));
        let follow = (seen.clone(), news.clone(), listed.clone());
        tasks.spawn(follow_all(watcher(external_secrets, Config::default()), follow.clone(), take_external_secret));
        tasks.spawn(follow_all(watcher(secrets, Config::default()), follow, take_secret));
        let both = tokio::time::timeout(Duration::from_secs(180), listed.acquire_many(2)).await;
        both.map_err(|_| anyhow!("the watches do not begin"))??.forget();
        Ok(Self { seen, news, _tasks: tasks })
    }

    /// Asks what is there.
    pub fn look<T>(&self, ask: impl FnOnce(&Seen) -> T) -> T {
        ask(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `missing` is zero; gives when that was. Says on stderr every few seconds how much is missing.
    pub async fn until(
        &self,
        what: &str,
        limit: Duration,
        mut check: impl FnMut() -> Result<()>,
        missing: impl Fn(&Seen) -> usize,
    ) -> Result<Instant> {
        let begun = Instant::now();
        let mut told = begun;
        loop {
            let news = self.news.notified();
            let left = self.look(&missing);
            if left == 0 {
                return Ok(Instant::now());
            }
            check()?;
            if begun.elapsed() > limit {
                return Err(anyhow!("{left} are not {what} within {limit:?}"));
            }
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                crate::report::progress(&format!("{left} not yet {what} after {} s", begun.elapsed().as_secs()));
            }
            // Not at each of thousands of events: the count is over all objects.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = tokio::time::timeout(Duration::from_secs(1), news).await;
        }
    }
}

impl Seen {
    /// How many of a fleet are not Ready, or do not hold the values of a round.
    pub fn missing(&self, fleet: &Fleet, round: usize) -> usize {
        (0..fleet.objects).filter(|n| !self.is_synced(fleet, *n, round)).count()
    }

    /// Whether one of a fleet is Ready and holds the values of a round.
    pub fn is_synced(&self, fleet: &Fleet, n: usize, round: usize) -> bool {
        let name = (fleet.namespace(n).to_owned(), fleet.name(n));
        let is_ready = self.ready.get(&name).is_some_and(|ready| ready.is);
        is_ready && self.data.get(&name).is_some_and(|data| holds(data, &fleet.data(n, round)))
    }
}

/// Whether a Secret holds exactly these texts.
pub fn holds(data: &BTreeMap<String, Vec<u8>>, texts: &BTreeMap<String, String>) -> bool {
    data.len() == texts.len() && data.iter().zip(texts).all(|((a, is), (b, text))| a == b && is == text.as_bytes())
}

type Follow = (Arc<Mutex<Seen>>, Arc<Notify>, Arc<tokio::sync::Semaphore>);

async fn follow_all<K>(
    events: impl Stream<Item = Result<Event<K>, Error>>,
    (seen, news, listed): Follow,
    take: fn(&mut Seen, K, bool),
) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        // It begins anew by itself, and at once: without a pause it would spin while the API server is away, and could
        // not even be cancelled.
        if event.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => take(&mut seen, object, true),
            Ok(Event::Delete(object)) => take(&mut seen, object, false),
            Ok(Event::InitDone) => listed.add_permits(1),
            Ok(Event::Init) | Err(_) => {}
        }
        news.notify_waiters();
    }
}

fn take_external_secret(seen: &mut Seen, object: Object<NoSpec, Status>, is_there: bool) {
    let name = name_of(&object.metadata);
    seen.born.entry(name.clone()).or_insert_with(Instant::now);
    let conditions = object.status.map(|status| status.conditions).unwrap_or_default();
    let ready = conditions.into_iter().find(|condition| condition.kind == "Ready").filter(|_| is_there);
    match ready {
        None => _ = seen.ready.remove(&name),
        Some(Condition { status, reason, message, .. }) => {
            let is = status == "True";
            let before = seen.ready.get(&name).and_then(|before| before.since);
            let since = before.or_else(|| is.then(Instant::now));
            seen.ready.insert(name, Ready { is, reason, message, since });
        }
    }
}

fn take_secret(seen: &mut Seen, secret: Secret, is_there: bool) {
    let name = name_of(&secret.metadata);
    if is_there {
        seen.history.saw(&name, &secret, seen.data.get(&name));
        let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        seen.data.insert(name, data.collect());
    } else {
        seen.data.remove(&name);
        seen.history.faults.push(format!("{}/{} was deleted", name.0, name.1));
    }
}

fn name_of(metadata: &ObjectMeta) -> Name {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}
