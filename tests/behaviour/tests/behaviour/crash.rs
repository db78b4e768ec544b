//! kill -9 at any moment loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use keyferry_behaviour_tests::{Operator, Rig};
use keyferry_seed::Seed;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt as _};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

tests![kill_9_at_any_moment_loses_nothing];

/// How often the operator is killed.
const KILLS: u32 = 9;
const MOST_KILLS: u32 = 30;

/// How many ExternalSecrets there are at first, and in the end.
const FIRST: usize = 4;
const LAST: usize = 14;

/// Every version of every target that was ever to be seen.
#[derive(Default)]
struct History {
    /// The UID and the keys of the last version of each.
    last: BTreeMap<String, (String, BTreeSet<String>)>,
    versions: usize,
    /// What must never be.
    faults: Vec<String>,
}

impl History {
    fn saw(&mut self, secret: &Secret) {
        let name = secret.name_any();
        let keys: BTreeSet<String> = secret.data.iter().flatten().map(|(key, _)| key.clone()).collect();
        let uid = secret.uid().unwrap_or_default();
        self.versions += 1;
        match self.last.insert(name.clone(), (uid.clone(), keys.clone())) {
            Some((before, _)) if before != uid => self.faults.push(format!("{name} was made anew")),
            Some((_, before)) if !before.is_subset(&keys) => self.faults.push(format!("{name} lost a key: {keys:?}")),
            _ => {}
        }
    }
}

/// Follows all targets of a namespace for as long as the test runs.
fn follow(rig: &Rig) -> Arc<Mutex<History>> {
    let history = Arc::new(Mutex::new(History::default()));
    let secrets: Api<Secret> = Api::namespaced(rig.cluster.client(), rig.namespace());
    let targets = watcher::Config::default().labels("reconcile.external-secrets.io/managed=true");
    let seen = history.clone();
    tokio::spawn(async move {
        let mut events = watcher(secrets, targets).boxed();
        while let Some(event) = events.next().await {
            if event.is_err() {
                // Without a pause it would spin when the API server goes, and could not be cancelled.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let mut seen = seen.lock().unwrap();
            match event {
                Ok(Event::Apply(secret) | Event::InitApply(secret)) => seen.saw(&secret),
                Ok(Event::Delete(secret)) => seen.faults.push(format!("{} went", secret.name_any())),
                Ok(Event::Init | Event::InitDone) | Err(_) => {}
            }
        }
    });
    history
}

async fn put_external_secret(rig: &Rig, n: usize) {
    let secret = format!("app-{n}");
    rotate(rig, n).await;
    let spec = json!({"refreshInterval": "1s", "data": rig.data(&secret, &["user", "pass"])});
    rig.external_secret(&format!("e{n}"), spec).await;
}

async fn rotate(rig: &Rig, n: usize) {
    let (user, pass) = (rig.canaries.value("user"), rig.canaries.value("pass"));
    rig.put(&format!("app-{n}"), json!({"user": user, "pass": pass})).await;
}

async fn kill_9_at_any_moment_loses_nothing() {
    let seed = Seed::new("moments to kill at");
    let mut random = StdRng::seed_from_u64(seed.number());
    let mut rig = Rig::idle("kill9").await;
    let history = follow(&rig);
    rig.vault_store("s").await;
    for n in 0..FIRST {
        put_external_secret(&rig, n).await;
    }
    let over = AtomicBool::new(false);
    let (args, log) = (rig.args(&[]), rig.log_file());
    let kill = async {
        let worked = || history.lock().unwrap().versions >= FIRST;
        // On a busy machine it must live longer to get anything done at all.
        for n in (0..MOST_KILLS).take_while(|n| *n < KILLS || !worked()) {
            let mut operator = Operator::spawn(&rig.testbed, &args, &[], &log).expect("it starts");
            let life = random.random_range(100..2500 + 500 * u64::from(n.saturating_sub(KILLS)));
            tokio::time::sleep(Duration::from_millis(life)).await;
            operator.process().kill9();
        }
        over.store(true, Ordering::Relaxed);
    };
    let rotate_all = async {
        for turn in 0.. {
            rotate(&rig, turn % FIRST).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
            if over.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    let create = async {
        for n in FIRST..LAST {
            put_external_secret(&rig, n).await;
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    };
    tokio::join!(kill, rotate_all, create);
    rig.killed = MOST_KILLS as usize;
    let killed_at_work = history.lock().unwrap().versions;
    assert!(killed_at_work >= FIRST, "it lived long enough to do something: {killed_at_work} writes");

    // In the end all is as the store has it, and each has its one target.
    rig.start(&[]).await;
    for n in 0..LAST {
        let held = rig.vault.get(&rig.key(&format!("app-{n}"))).await.expect("OpenBao").expect("a secret");
        let name = format!("e{n}");
        rig.until_texts(&name, held).await;
        rig.until_synced(&name).await;
        let es = rig.cluster.get("ExternalSecret", &name).await.unwrap();
        let secret = rig.cluster.get("Secret", &name).await.unwrap();
        let owners = secret["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        assert_eq!(owners.len(), 1, "{name}");
        assert_eq!(owners[0]["uid"], es["metadata"]["uid"], "{name}");
    }
    let targets = rig.cluster.list("Secret").await;
    let managed = targets.iter().filter(|s| s["metadata"]["labels"]["reconcile.external-secrets.io/managed"] == "true");
    assert_eq!(managed.count(), LAST);
    let faults = std::mem::take(&mut history.lock().unwrap().faults);
    assert!(faults.is_empty(), "{faults:#?}");
    rig.finish().await;
}
