//! How stores are put to the proof.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use keyferry_behaviour_tests::Rig;
use keyferry_behaviour_tests::operator::series;
use keyferry_behaviour_tests::rig::Ready;
use keyferry_doubles::Server;
use serde_json::json;
use tokio::time::sleep;

use crate::{Counterpart, stores};

/// How long it is between two values of a store, and between two credentials.
const VALUE: Duration = Duration::from_secs(5);
const CREDENTIAL: Duration = Duration::from_secs(30);

/// How long the credential before stays good once a new one is in its place: no store has two at once.
const OVERLAP: Duration = Duration::from_secs(10);

/// Within this time a value arrives.
const ARRIVES: Duration = Duration::from_secs(60);

/// What is shorter than this in a credential is a word, as the kind of a login is one.
const SECRET: usize = 16;

/// What came of it.
#[derive(Debug, Default)]
pub struct Proof {
    /// The stores that took part.
    pub stores: Vec<&'static str>,
    /// How many values arrived.
    pub values: usize,
    /// How many credentials there were.
    pub credentials: usize,
    /// The longest that a value took.
    pub slowest: Duration,
    /// How many calls the stores got.
    pub calls: f64,
}

/// Runs all stores for so long. An error, with all that went wrong, where anything did.
pub async fn prove(rig: &mut Rig, lasting: Duration) -> Result<Proof> {
    let all = stores::all(rig).await;
    for store in &all {
        put(rig, &**store, "begin").await?;
        give_credential(rig, &**store).await?;
        let provider = store.provider(&secret_of(&**store));
        let spec = json!({"provider": provider, "refreshInterval": 10});
        rig.apply(store.kind(), &store_of(rig, &**store), json!({ "spec": spec })).await;
        rig.env.extend(store.environment());
    }
    let args: Vec<String> = all.iter().flat_map(|store| store.args()).collect();
    rig.start(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for store in &all {
        rig.until_ready(store.kind(), &store_of(rig, &**store), "True", "Valid", &[]).await;
        ask(rig, &**store).await;
        rig.until(format!("the first value of {}", store.name()), async |rig: &Rig| match shown(rig, &**store).await {
            Some(value) if value == "begin" => Ok(()),
            other => bail!("{other:?}"),
        })
        .await;
    }
    let mut proof = Proof { stores: all.iter().map(|store| store.name()).collect(), ..Proof::default() };
    let end = Instant::now() + lasting;
    let (mut next, mut round) = (Instant::now() + CREDENTIAL, 0);
    while Instant::now() < end {
        round += 1;
        change_values(rig, &all, &format!("round {round}"), &mut proof).await?;
        if Instant::now() >= next {
            change_credentials(rig, &all, &mut proof).await?;
            next = Instant::now() + CREDENTIAL;
        }
        sleep(VALUE).await;
    }
    let metrics = rig.metrics().await;
    proof.calls = series(&metrics, CALLS, &[]);
    let failed = failed(&metrics, &all);
    if failed.is_empty() { Ok(proof) } else { Err(anyhow!("calls failed:\n{}", failed.join("\n"))) }
}

/// Calls that failed, as the operator tells it, and as servers of ours have seen it: a call that was made again is no
/// success.
fn failed(metrics: &str, all: &[Box<dyn Counterpart>]) -> Vec<String> {
    let is_failure =
        |line: &&str| line.starts_with(CALLS) && line.contains("status=\"error\"") && !line.ends_with(" 0");
    let mut failed: Vec<String> = metrics.lines().filter(is_failure).map(str::to_owned).collect();
    for store in all {
        let calls = store.server().map(Server::calls).unwrap_or_default();
        for call in calls.iter().filter(|call| !(200..400).contains(&call.status) && !store.is_wanted(call)) {
            failed.push(format!("{}: {} {}: {}", store.name(), call.method, call.path, call.status));
        }
    }
    failed
}

/// The metric of calls.
const CALLS: &str = "externalsecret_provider_api_calls_count";

fn secret_of(store: &dyn Counterpart) -> String {
    format!("{}-login", store.name())
}

/// What the store is called: those of a cluster stand beside those of other tests.
fn store_of(rig: &Rig, store: &dyn Counterpart) -> String {
    if store.kind() == "SecretStore" {
        store.name().to_owned()
    } else {
        format!("{}-{}", rig.namespace(), store.name())
    }
}

/// The Secret that is pushed, where the store can only be written.
fn source_of(store: &dyn Counterpart) -> String {
    format!("{}-source", store.name())
}

/// Has the value that the store holds fetched, or one pushed into it.
async fn ask(rig: &Rig, store: &dyn Counterpart) {
    let reference = json!({"name": store_of(rig, store), "kind": store.kind()});
    if store.is_write_only() {
        let data = json!([{"match": {"secretKey": "value", "remoteRef": store.remote()}}]);
        let selector = json!({"secret": {"name": source_of(store)}});
        let spec = json!({"refreshInterval": "1s", "secretStoreRefs": [reference], "selector": selector, "data": data});
        rig.apply("PushSecret", store.name(), json!({ "spec": spec })).await;
    } else {
        let data = json!([{"secretKey": "value", "remoteRef": store.remote()}]);
        let spec = json!({"refreshInterval": "1s", "secretStoreRef": reference, "data": data});
        rig.external_secret(store.name(), spec).await;
    }
}

/// Writes a value to where it is taken from.
async fn put(rig: &Rig, store: &dyn Counterpart, value: &str) -> Result<()> {
    if store.is_write_only() {
        rig.secret(&source_of(store), json!({ "value": value })).await;
        return Ok(());
    }
    store.put(value).await
}

/// The value that has arrived.
async fn shown(rig: &Rig, store: &dyn Counterpart) -> Option<String> {
    if store.is_write_only() {
        return store.held();
    }
    let mut texts = rig.texts(store.name()).await.filter(|texts| texts.len() == 1)?;
    texts.remove("value")
}

async fn give_credential(rig: &Rig, store: &dyn Counterpart) -> Result<()> {
    let credential = store.credential().await?;
    let texts = credential.as_object().into_iter().flat_map(|texts| texts.values()).filter_map(|text| text.as_str());
    for text in texts.filter(|text| text.len() >= SECRET) {
        rig.canaries.add("a credential of a store", text);
    }
    // A webhook takes no Secrets but those that are labelled for it; nobody else minds.
    let metadata = json!({"labels": {"external-secrets.io/type": "webhook"}});
    rig.apply("Secret", &secret_of(store), json!({"metadata": metadata, "stringData": credential})).await;
    Ok(())
}

/// A new value everywhere, and all of them arrive, while everything stays Ready.
async fn change_values(rig: &Rig, all: &[Box<dyn Counterpart>], value: &str, proof: &mut Proof) -> Result<()> {
    for store in all {
        let before = store.remote();
        put(rig, &**store, value).await?;
        if store.remote() != before {
            ask(rig, &**store).await;
        }
    }
    let began = Instant::now();
    loop {
        let mut open = Vec::new();
        for store in all {
            look(rig, &**store).await?;
            if shown(rig, &**store).await.as_deref() != Some(value) {
                open.push(store.name());
            }
        }
        if open.is_empty() {
            break;
        }
        if began.elapsed() > ARRIVES {
            return Err(anyhow!("{value:?} has not arrived within {ARRIVES:?} from {}", open.join(", ")));
        }
        sleep(Duration::from_millis(200)).await;
    }
    proof.values += all.len();
    proof.slowest = proof.slowest.max(began.elapsed());
    Ok(())
}

/// A new credential everywhere; the one before ends after a while.
async fn change_credentials(rig: &Rig, all: &[Box<dyn Counterpart>], proof: &mut Proof) -> Result<()> {
    for store in all {
        give_credential(rig, &**store).await?;
    }
    sleep(OVERLAP).await;
    for store in all {
        store.retire().await?;
    }
    proof.credentials += all.len();
    Ok(())
}

/// An error where the store or its ExternalSecret is anything but Ready.
async fn look(rig: &Rig, store: &dyn Counterpart) -> Result<()> {
    let asks = if store.is_write_only() { "PushSecret" } else { "ExternalSecret" };
    for (kind, name) in [(store.kind(), store_of(rig, store)), (asks, store.name().to_owned())] {
        match rig.ready(kind, &name).await {
            Some(Ready { status, reason, message, .. }) if status != "True" => {
                return Err(anyhow!("{kind} {name}: {reason}: {message}"));
            }
            _ => {}
        }
    }
    Ok(())
}
