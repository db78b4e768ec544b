//! The life of the process: start, health, metrics, leases, the end.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use keyferry_behaviour_tests::operator::{get, series};
use keyferry_behaviour_tests::{Operator, Rig};
use keyferry_testkit::process::Signal;
use serde_json::{Value, json};

tests![
    sigterm_ends_it_well_and_gives_the_lease_back,
    a_second_one_stands_by_and_takes_over,
    a_crashed_leader_is_replaced_when_its_lease_ends,
    a_leader_that_stood_still_writes_nothing_when_it_wakes,
    health_and_metrics_answer,
    metrics_have_the_names_that_dashboards_know,
    what_is_gone_has_no_metrics,
    how_they_stand_is_told,
];

/// How a test elects. An operator that can't renew by the deadline ends, as it should: the deadline is long, because
/// machines are busy. Only who waits for a lease's end waits longer for that.
fn election(rig: &Rig) -> Vec<String> {
    vec![
        format!("--leader-election-id={}", rig.namespace()),
        format!("--leader-election-namespace={}", rig.namespace()),
        "--leader-election-lease-duration=15s".to_owned(),
        "--leader-election-renew-deadline=10s".to_owned(),
        "--leader-election-retry-period=1s".to_owned(),
    ]
}

/// One more operator for the namespace.
async fn another(rig: &Rig) -> Operator {
    let election = election(rig);
    let args: Vec<&str> = election.iter().map(String::as_str).collect();
    let started = Operator::start(&rig.testbed, &rig.args(&args), &[], &rig.log_file()).await;
    started.unwrap_or_else(|error| panic!("{error:#}"))
}

async fn elected(prefix: &str) -> Rig {
    let mut rig = Rig::idle(prefix).await;
    let first = another(&rig).await;
    rig.operator = Some(first);
    rig.vault_store("s").await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    rig.external_secret("e", json!({"refreshInterval": "1s", "data": rig.data("app", &["user"])})).await;
    rig.until_synced("e").await;
    rig
}

async fn lease(rig: &Rig) -> Value {
    rig.cluster.get("Lease", rig.namespace()).await.unwrap_or_default()
}

/// A new value arrives: somebody is at work.
async fn works(rig: &Rig) {
    let user = rig.canaries.value("rotated");
    rig.put("app", json!({ "user": user })).await;
    rig.until_texts("e", json!({ "user": user })).await;
}

async fn sigterm_ends_it_well_and_gives_the_lease_back() {
    let mut rig = elected("sigterm").await;
    assert_ne!(lease(&rig).await["spec"]["holderIdentity"], "");
    // It moved on since the last renewal, as it does when a renewal is under way: no reason to keep it.
    rig.cluster.patch("Lease", rig.namespace(), &json!({"metadata": {"annotations": {"touched": "1"}}})).await;
    let began = Instant::now();
    // It asserts the exit code.
    rig.stop().await;
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
    assert_eq!(lease(&rig).await["spec"]["holderIdentity"], "", "{}", lease(&rig).await["spec"]);
    rig.finish().await;
}

async fn a_second_one_stands_by_and_takes_over() {
    let mut rig = elected("stand-by").await;
    let mut second = another(&rig).await;
    let leader = lease(&rig).await["spec"]["holderIdentity"].clone();
    works(&rig).await;
    // It is ready, for a rollout must not fail, and does nothing.
    let metrics = second.metrics().await.unwrap();
    assert_eq!(series(&metrics, "keyferry_leader", &[]), 0.0);
    assert_eq!(series(&metrics, "externalsecret_sync_calls_total", &[]), 0.0);
    assert_eq!(series(&rig.metrics().await, "keyferry_leader", &[]), 1.0);
    assert_eq!(lease(&rig).await["spec"]["holderIdentity"], leader);
    assert_eq!(get(&second.live_url("/readyz")).await.unwrap().0, 200);
    // One that stands by ends as well as any other.
    second.stop().unwrap();
    let second = another(&rig).await;
    rig.stop().await;
    rig.operator = Some(second);
    works(&rig).await;
    assert_ne!(lease(&rig).await["spec"]["holderIdentity"], leader);
    assert_eq!(series(&rig.metrics().await, "keyferry_leader", &[]), 1.0);
    rig.finish().await;
}

async fn a_crashed_leader_is_replaced_when_its_lease_ends() {
    let mut rig = elected("crashed-leader").await;
    let second = another(&rig).await;
    rig.kill9();
    rig.operator = Some(second);
    works(&rig).await;
    rig.finish().await;
}

/// What every write of an operator moves.
async fn revisions(rig: &Rig, names: &[String]) -> Vec<Value> {
    let mut revisions = Vec::new();
    for (kind, name) in ["ExternalSecret", "Secret"].iter().flat_map(|kind| names.iter().map(move |name| (kind, name)))
    {
        let object = rig.cluster.get(kind, name).await.unwrap_or_default();
        revisions.push(object["metadata"]["resourceVersion"].clone());
    }
    revisions
}

async fn a_leader_that_stood_still_writes_nothing_when_it_wakes() {
    let mut rig = elected("stood-still").await;
    let names: Vec<String> = (0..10).map(|n| format!("e{n}")).collect();
    let data = rig.data("app", &["user"]);
    let every = |interval: &str| json!({"refreshInterval": interval, "data": data});
    for name in &names {
        rig.external_secret(name, every("1s")).await;
        rig.until_synced(name).await;
    }
    rig.operator().process().signal(Signal::STOP).unwrap();
    // Another leads, and is done for an hour.
    let mut second = another(&rig).await;
    works(&rig).await;
    for name in names.iter().map(String::as_str).chain(["e"]) {
        rig.respec(name, every("1h")).await;
        rig.until_synced(name).await;
    }
    let before = revisions(&rig, &names).await;
    assert!(before.iter().all(Value::is_string), "{before:?}");
    let leader = lease(&rig).await["spec"]["holderIdentity"].clone();
    // What the first would write: to it, all have been due for long.
    rig.put("app", json!({"user": rig.canaries.value("later")})).await;
    let mut first = rig.operator.take().expect("it runs");
    first.process().signal(Signal::CONT).unwrap();
    let ended = tokio::task::spawn_blocking(move || first.process().wait(Duration::from_secs(60))).await.unwrap();
    assert_eq!(ended.expect("it ends").code(), Some(1));
    assert_eq!(revisions(&rig, &names).await, before);
    assert_eq!(lease(&rig).await["spec"]["holderIdentity"], leader);
    assert!(second.process().exited().unwrap().is_none());
    rig.operator = Some(second);
    rig.finish().await;
}

async fn health_and_metrics_answer() {
    let mut rig = Rig::new("health").await;
    let operator = rig.operator();
    let urls = [operator.live_url("/healthz"), operator.live_url("/readyz"), operator.metrics_url("/metrics")];
    for url in urls {
        assert_eq!(get(&url).await.unwrap().0, 200, "{url}");
    }
    assert_eq!(get(&operator.live_url("/nothing")).await.unwrap().0, 404);
    rig.finish().await;
}

/// Names, types and labels as External Secrets Operator has them: what dashboards and alerts ask for.
const KNOWN: &[(&str, &str, &[&str])] = &[
    ("externalsecret_sync_calls_total", "counter", &["name", "namespace"]),
    ("externalsecret_sync_calls_error", "counter", &["name", "namespace"]),
    ("externalsecret_status_condition", "gauge", &["condition", "name", "namespace", "status"]),
    ("externalsecret_reconcile_duration", "gauge", &["name", "namespace"]),
    ("externalsecret_provider_api_calls_count", "counter", &["call", "provider", "status"]),
    ("secretstore_status_condition", "gauge", &["condition", "name", "namespace", "status"]),
    ("secretstore_reconcile_duration", "gauge", &["name", "namespace"]),
    ("clustersecretstore_status_condition", "gauge", &["condition", "name", "namespace", "status"]),
    ("clustersecretstore_reconcile_duration", "gauge", &["name", "namespace"]),
];

async fn metrics_have_the_names_that_dashboards_know() {
    let rig = Rig::new("metrics").await;
    rig.vault_store("s").await;
    let mut vault = rig.vault_spec("s-token");
    vault["auth"]["tokenSecretRef"]["namespace"] = json!(rig.namespace());
    rig.apply("ClusterSecretStore", rig.namespace(), json!({"spec": {"provider": {"vault": vault}}})).await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    rig.external_secret("e", json!({"data": rig.data("app", &["user"])})).await;
    rig.external_secret("bad", json!({"data": rig.data("gone", &["user"])})).await;
    rig.until_synced("e").await;
    rig.until_failed("bad", &[]).await;
    rig.until_ready("ClusterSecretStore", rig.namespace(), "True", "Valid", &[]).await;
    let text = rig
        .until("all have been told".into(), async |rig: &Rig| {
            let text = rig.metrics().await;
            let missing: Vec<&str> =
                KNOWN.iter().map(|known| known.0).filter(|name| !text.contains(&format!("# TYPE {name} "))).collect();
            if missing.is_empty() { Ok(text) } else { Err(anyhow!("{missing:?} are missing")) }
        })
        .await;
    for (name, kind, labels) in KNOWN {
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is no {kind}");
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{"))).expect("a series");
        assert_eq!(labels_of(line), *labels, "{line}");
    }
    let value = |name: &str, labels: &[(&str, &str)]| series(&text, name, labels);
    let ready = |name, status| [("name", name), ("condition", "Ready"), ("status", status)];
    assert_eq!(value("externalsecret_status_condition", &ready("e", "True")), 1.0);
    assert_eq!(value("externalsecret_status_condition", &ready("e", "False")), 0.0);
    assert_eq!(value("externalsecret_status_condition", &ready("bad", "False")), 1.0);
    assert_eq!(value("secretstore_status_condition", &ready("s", "True")), 1.0);
    assert_eq!(value("clustersecretstore_status_condition", &ready(rig.namespace(), "True")), 1.0);
    let read = [("provider", "HashiCorp/Vault"), ("call", "ReadSecretData"), ("status", "success")];
    assert!(value("externalsecret_provider_api_calls_count", &read) >= 1.0);
    // Nanoseconds: a look takes longer than a thousand of them.
    assert!(value("externalsecret_reconcile_duration", &[("name", "e")]) > 1000.0);
    rig.finish().await;
}

fn labels_of(line: &str) -> Vec<&str> {
    let inside = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inside, _)| inside);
    let mut labels: Vec<&str> =
        inside.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name).collect();
    labels.sort_unstable();
    labels
}

async fn what_is_gone_has_no_metrics() {
    let rig = Rig::new("gone-metrics").await;
    rig.vault_store("s").await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    rig.external_secret("e", json!({"data": rig.data("app", &["user"])})).await;
    rig.until_synced("e").await;
    rig.cluster.delete("ExternalSecret", "e").await;
    rig.cluster.delete("SecretStore", "s").await;
    rig.until("no series tells of them".into(), async |rig: &Rig| {
        let text = rig.metrics().await;
        match text.lines().find(|line| line.contains("name=\"e\"") || line.contains("name=\"s\"")) {
            None => Ok(()),
            Some(line) => Err(anyhow!("{line}")),
        }
    })
    .await;
    rig.finish().await;
}

async fn how_they_stand_is_told() {
    let rig = Rig::new("status").await;
    rig.vault_store("s").await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    rig.external_secret("good", json!({"data": rig.data("app", &["user"])})).await;
    rig.external_secret("bad", json!({"data": rig.data("app", &["nobody"])})).await;
    rig.until_synced("good").await;
    let failed = rig.until_failed("bad", &["nobody"]).await;
    let tries = |text: &str| series(text, "keyferry_externalsecret_failed_attempts", &[("name", "bad")]);
    rig.until("the next try is known".into(), async |rig: &Rig| {
        let text = rig.metrics().await;
        let next = series(&text, "keyferry_externalsecret_next_try_timestamp_seconds", &[("name", "bad")]);
        if tries(&text) >= 1.0 && next > 1_700_000_000.0 {
            Ok(())
        } else {
            Err(anyhow!("{} tries, the next at {next}", tries(&text)))
        }
    })
    .await;
    let metrics = rig.metrics().await;
    let file = rig.log_file().with_file_name("metrics.txt");
    std::fs::write(&file, &metrics).unwrap();
    let status = |more: &[&str]| {
        let mut command = std::process::Command::new(keyferry_testkit::Operator::program().unwrap());
        command
            .arg("status")
            .arg("--kubeconfig")
            .arg(rig.testbed.kubeconfig())
            .args(["-n", rig.namespace()])
            .args(more);
        let said = command.output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    };
    let bare = status(&[]);
    for part in ["good", "Ready", "bad", "Failed", failed.message.as_str(), "2 ExternalSecrets, 1 failed"] {
        assert!(bare.contains(part), "{part} is not in\n{bare}");
    }
    let told = status(&["--failed", "--metrics", file.to_str().unwrap()]);
    assert!(!told.contains("good") && told.contains(" in ") && !told.contains('?'), "{told}");
    let json: Value = serde_json::from_str(&status(&["-o", "json", "--metrics", file.to_str().unwrap()])).unwrap();
    assert_eq!((&json[0]["name"], json[0]["tries"].as_f64()), (&json!("bad"), Some(tries(&metrics))));
    assert_eq!((&json[1]["status"], &json[1]["nextTry"]), (&json!("Ready"), &json!(null)));
    // When all is well there is no next try.
    rig.put("app", json!({"user": rig.canaries.value("user"), "nobody": rig.canaries.value("nobody")})).await;
    rig.force_sync("bad").await;
    rig.until_synced("bad").await;
    let name = "keyferry_externalsecret_next_try_timestamp_seconds{";
    rig.until("it is not said any more".into(), async |rig: &Rig| {
        if !rig.metrics().await.contains(name) { Ok(()) } else { Err(anyhow!("it is")) }
    })
    .await;
    rig.finish().await;
}
