//! Workloads restart when their Secret changed: who, when, and how often. Their pods start nowhere here, so that those that are
//! not to be waited for have none.

use std::time::Duration;

use anyhow::{Result, anyhow};
use keyferry_behaviour_tests::operator::series;
use keyferry_behaviour_tests::{Cluster, Rig};
use keyferry_testkit::{OPERATOR_ACCOUNT, OPERATOR_NAMESPACE};
use serde_json::{Value, json};

tests![
    a_rotation_restarts_who_consents_and_nobody_else,
    an_external_secret_asks_for_restarts,
    changes_in_quick_succession_restart_once,
    five_restart_at_once,
    who_may_not_restart_tells_and_does_when_it_may,
    a_change_is_made_good_by_the_next_operator,
];

const OWN: &str = "keyferry.io/restart";

/// Longer than it is waited for quiet.
const AFTERWARDS: Duration = Duration::from_secs(25);

/// Gives the operator the chart's rights over workloads, in one namespace.
async fn allow(cluster: &Cluster) {
    let (namespace, group) = (cluster.namespace(), "rbac.authorization.k8s.io");
    let of = |kind: &str, rest: Value| {
        let mut object = rest;
        object["apiVersion"] = json!(format!("{group}/v1"));
        object["kind"] = json!(kind);
        object["metadata"] = json!({"name": "restarts", "namespace": namespace});
        object
    };
    let resources = ["deployments", "statefulsets", "daemonsets"];
    let rule = json!({"apiGroups": ["apps"], "resources": resources, "verbs": ["get", "list", "patch"]});
    cluster.apply(&of("Role", json!({ "rules": [rule] }))).await;
    let subject = json!({"kind": "ServiceAccount", "name": OPERATOR_ACCOUNT, "namespace": OPERATOR_NAMESPACE});
    let role = json!({"apiGroup": group, "kind": "Role", "name": "restarts"});
    cluster.apply(&of("RoleBinding", json!({"roleRef": role, "subjects": [subject]}))).await;
}

/// How the pods of a workload use a Secret.
fn pods(way: &str, secret: &str) -> Value {
    let mut container = json!({"name": "app", "image": "localhost/none"});
    let mut volumes = json!([]);
    match way {
        "envFrom" => container["envFrom"] = json!([{"secretRef": {"name": secret}}]),
        "env" => {
            let from = json!({"secretKeyRef": {"name": secret, "key": "user"}});
            container["env"] = json!([{"name": "USER", "valueFrom": from}]);
        }
        "volume" => volumes = json!([{"name": "v", "secret": {"secretName": secret}}]),
        "projected" => {
            volumes = json!([{"name": "v", "projected": {"sources": [{"secret": {"name": secret}}]}}]);
        }
        _ => {}
    }
    json!({"containers": [container], "volumes": volumes})
}

/// A workload with as many pods, or on nodes of which there is none, that says this.
async fn workload(cluster: &Cluster, kind: &str, name: &str, pods: Value, replicas: u32, says: &[(&str, &str)]) {
    let labels = json!({"app": name});
    let annotations: serde_json::Map<String, Value> =
        says.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let mut spec = json!({
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pods},
    });
    if kind != "DaemonSet" {
        spec["replicas"] = json!(replicas);
    }
    let metadata = json!({"name": name, "namespace": cluster.namespace(), "annotations": annotations});
    cluster.apply(&json!({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec})).await;
}

async fn deployment(rig: &Rig, name: &str, way: &str, says: &[(&str, &str)]) {
    workload(&rig.cluster, "Deployment", name, pods(way, "e"), 0, says).await;
}

/// For which changes a workload was restarted, and its generation, which each restart moves by one.
async fn state(cluster: &Cluster, kind: &str, name: &str) -> (Option<String>, i64) {
    let object = cluster.get(kind, name).await.expect("it is there");
    let noted = object.pointer("/spec/template/metadata/annotations/keyferry.io~1restarted-for");
    (noted.and_then(Value::as_str).map(str::to_owned), object["metadata"]["generation"].as_i64().unwrap_or_default())
}

/// Waits until a workload was restarted so many times since it was made.
async fn until_restarted(rig: &Rig, kind: &str, name: &str, times: i64) {
    rig.until(format!("{kind} {name} restarted {times} times"), async move |rig: &Rig| {
        match state(&rig.cluster, kind, name).await {
            (Some(_), generation) if generation == 1 + times => Ok(()),
            found => Err(anyhow!("{found:?}")),
        }
    })
    .await;
}

/// An error where a Deployment was restarted another number of times.
async fn restarted(rig: &Rig, name: &str, times: i64) -> Result<()> {
    match state(&rig.cluster, "Deployment", name).await {
        (noted, generation) if generation == 1 + times && noted.is_some() == (times > 0) => Ok(()),
        found => Err(anyhow!("{name}: {found:?}")),
    }
}

/// A rig whose ExternalSecret `e` is synced by an operator that restarts.
async fn synced(prefix: &str, args: &[&str], annotations: Value) -> Rig {
    let mut rig = Rig::idle(prefix).await;
    let mut all = vec!["--enable-restarts"];
    all.extend(args);
    rig.start(&all).await;
    rig.vault_store("s").await;
    let first = rig.canaries.value("first");
    rig.put("app", json!({"user": first})).await;
    let spec = json!({"refreshInterval": "2s", "secretStoreRef": {"name": "s"}, "data": rig.data("app", &["user"])});
    rig.apply("ExternalSecret", "e", json!({"metadata": {"annotations": annotations}, "spec": spec})).await;
    rig.until_texts("e", json!({"user": first})).await;
    rig.until_synced("e").await;
    rig
}

/// Changes the value at the store, and waits until the Secret has it.
async fn rotate(rig: &Rig, name: &str) {
    let value = rig.canaries.value(name);
    rig.put("app", json!({"user": value})).await;
    rig.until_texts("e", json!({"user": value})).await;
}

fn messages<'a>(events: &'a [Value], reason: &str) -> Vec<&'a str> {
    let of = events.iter().filter(|event| event["reason"] == reason);
    of.filter_map(|event| event["message"].as_str()).collect()
}

async fn a_rotation_restarts_who_consents_and_nobody_else() {
    // It looks after all namespaces, and may restart in the other, too.
    let rig = synced("restarts", &["--namespace="], json!({})).await;
    let twin = rig.testbed.namespace("restarts-twin").await;
    let twin = Cluster::new(twin.client(), twin.name());
    allow(&rig.cluster).await;
    allow(&twin).await;
    let auto = "reloader.stakater.com/auto";
    deployment(&rig, "web", "envFrom", &[(OWN, "true")]).await;
    deployment(&rig, "auto", "env", &[(auto, "true")]).await;
    deployment(&rig, "named", "not", &[("secret.reloader.stakater.com/reload", "x,e")]).await;
    let none = [
        ("silent", "env", vec![]),
        ("out", "env", vec![(OWN, "false"), (auto, "true")]),
        ("other", "not", vec![(OWN, "true")]),
        ("search", "env", vec![("reloader.stakater.com/search", "true")]),
        ("excluded", "env", vec![(auto, "true"), ("secrets.exclude.reloader.stakater.com/reload", "e")]),
    ];
    for (name, way, says) in &none {
        deployment(&rig, name, way, says).await;
    }
    workload(&rig.cluster, "StatefulSet", "db", pods("volume", "e"), 0, &[(OWN, "true")]).await;
    workload(&rig.cluster, "DaemonSet", "agent", pods("projected", "e"), 0, &[(OWN, "e")]).await;
    workload(&twin, "Deployment", "web", pods("envFrom", "e"), 0, &[(OWN, "true")]).await;
    rig.stays("the first sync restarts nobody", AFTERWARDS, async |rig: &Rig| restarted(rig, "web", 0).await).await;

    rotate(&rig, "second").await;
    for (kind, name) in [
        ("Deployment", "web"),
        ("Deployment", "auto"),
        ("Deployment", "named"),
        ("StatefulSet", "db"),
        ("DaemonSet", "agent"),
    ] {
        until_restarted(&rig, kind, name, 1).await;
    }
    rig.stays("each restarts once, and nobody else", AFTERWARDS, async |rig: &Rig| {
        restarted(rig, "web", 1).await?;
        for (name, ..) in &none {
            restarted(rig, name, 0).await?;
        }
        let (noted, _) = state(&twin, "Deployment", "web").await;
        if noted.is_some() { Err(anyhow!("one of another namespace restarted: {noted:?}")) } else { Ok(()) }
    })
    .await;
    let (noted, _) = state(&rig.cluster, "Deployment", "web").await;
    let secret = rig.cluster.get("Secret", "e").await.unwrap();
    let rotated = secret["metadata"]["annotations"]["keyferry.io/rotated-at"].as_str().unwrap();
    assert_eq!(noted, Some(format!("e={rotated}")));
    let events = rig.events("e").await;
    let told = messages(&events, "Restarted");
    assert!(told.contains(&"restarted Deployment \"web\", since Secret \"e\" changed"), "{told:?}");
    assert_eq!(told.len(), 5, "{told:?}");
    let events = rig.events("db").await;
    assert_eq!(messages(&events, "Restarted"), ["restarted, since Secret \"e\" changed"]);
    assert_eq!(series(&rig.metrics().await, "keyferry_restarts_total", &[("outcome", "restarted")]), 5.0);

    a_repair_is_no_change(&rig).await;
    rig.finish().await;
}

/// What is put back is no change; the next value is.
async fn a_repair_is_no_change(rig: &Rig) {
    let edit = json!({"data": {"user": "ZWRpdGVk"}});
    let before = rig.texts("e").await.map(|texts| json!(texts)).unwrap();
    rig.cluster.patch("Secret", "e", &edit).await;
    rig.until_texts("e", before).await;
    rig.stays("a repair restarts nobody", AFTERWARDS, async |rig: &Rig| restarted(rig, "web", 1).await).await;
    rotate(rig, "third").await;
    until_restarted(rig, "Deployment", "web", 2).await;
}

async fn an_external_secret_asks_for_restarts() {
    let rig = synced("asks", &["--restart-without-opt-in"], json!({ (OWN): "users" })).await;
    allow(&rig.cluster).await;
    deployment(&rig, "silent", "env", &[]).await;
    deployment(&rig, "named", "not", &[]).await;
    deployment(&rig, "out", "env", &[(OWN, "false")]).await;
    rotate(&rig, "second").await;
    until_restarted(&rig, "Deployment", "silent", 1).await;
    restarted(&rig, "named", 0).await.unwrap();
    let ask = async |asked: &str| {
        let annotations = json!({"metadata": {"annotations": { (OWN): asked }}});
        rig.cluster.patch("ExternalSecret", "e", &annotations).await;
    };
    ask("Deployment/named,Deployment/out").await;
    rotate(&rig, "third").await;
    until_restarted(&rig, "Deployment", "named", 1).await;
    ask("everybody").await;
    rotate(&rig, "fourth").await;
    rig.until("it is told what is not understood".into(), async |rig: &Rig| {
        let events = rig.events("e").await;
        let told = messages(&events, "RestartFailed");
        let is_told =
            told.iter().any(|why| why.contains("\"everybody\" is not understood: it is users, none, or a list"));
        if is_told { Ok(()) } else { Err(anyhow!("{told:?}")) }
    })
    .await;
    for (name, times) in [("silent", 1), ("named", 1), ("out", 0)] {
        restarted(&rig, name, times).await.unwrap();
    }
    rig.finish().await;
}

async fn changes_in_quick_succession_restart_once() {
    let rig = synced("quick", &[], json!({})).await;
    allow(&rig.cluster).await;
    deployment(&rig, "web", "envFrom", &[(OWN, "true")]).await;
    rotate(&rig, "second").await;
    rotate(&rig, "third").await;
    until_restarted(&rig, "Deployment", "web", 1).await;
    rig.stays("one restart is for both", AFTERWARDS, async |rig: &Rig| restarted(rig, "web", 1).await).await;
    rig.finish().await;
}

async fn five_restart_at_once() {
    let rig = synced("five", &[], json!({})).await;
    allow(&rig.cluster).await;
    let names: Vec<String> = (0..6).map(|n| format!("w{n}")).collect();
    for name in &names {
        workload(&rig.cluster, "Deployment", name, pods("env", "e"), 1, &[(OWN, "true")]).await;
    }
    let begun = async |rig: &Rig| {
        let mut begun = Vec::new();
        for name in &names {
            if state(&rig.cluster, "Deployment", name).await.0.is_some() {
                begun.push(name.clone());
            }
        }
        begun
    };
    let wanted = async |rig: &Rig, wanted: usize| match begun(rig).await.len() {
        found if found == wanted => Ok(()),
        found => Err(anyhow!("{found} restarted")),
    };
    rotate(&rig, "second").await;
    rig.until("five restart".into(), async |rig: &Rig| wanted(rig, 5).await).await;
    rig.stays("the sixth waits for one of them", AFTERWARDS, async |rig: &Rig| wanted(rig, 5).await).await;
    let one = begun(&rig).await.remove(0);
    rig.cluster.patch("Deployment", &one, &json!({"spec": {"replicas": 0}})).await;
    rig.until("the sixth restarts".into(), async |rig: &Rig| wanted(rig, 6).await).await;
    rig.finish().await;
}

async fn who_may_not_restart_tells_and_does_when_it_may() {
    let rig = synced("norights", &[], json!({})).await;
    deployment(&rig, "web", "envFrom", &[(OWN, "true")]).await;
    rotate(&rig, "second").await;
    let told = async |rig: &Rig| {
        let events = rig.events("e").await;
        messages(&events, "RestartFailed").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    rig.until("it is told what is missing".into(), async |rig: &Rig| match told(rig).await {
        told if told.len() == 3 => Ok(()),
        told => Err(anyhow!("{told:?}")),
    })
    .await;
    for why in told(&rig).await {
        assert!(why.starts_with("can't list "), "{why}");
        assert!(why.contains("the API server forbids it: check keyferry's RBAC"), "{why}");
        assert!(why.contains("restarts.enabled of the chart"), "{why}");
    }
    assert!(series(&rig.metrics().await, "keyferry_restarts_total", &[("outcome", "failed")]) >= 3.0);
    allow(&rig.cluster).await;
    until_restarted(&rig, "Deployment", "web", 1).await;
    assert_eq!(told(&rig).await.len(), 3, "it is told once");
    rig.finish().await;
}

async fn a_change_is_made_good_by_the_next_operator() {
    let mut rig = synced("between", &[], json!({})).await;
    allow(&rig.cluster).await;
    deployment(&rig, "web", "envFrom", &[(OWN, "true")]).await;
    rotate(&rig, "second").await;
    // Nobody restarts yet: it is waited for quiet.
    rig.kill9();
    restarted(&rig, "web", 0).await.unwrap();
    rig.start(&["--enable-restarts"]).await;
    until_restarted(&rig, "Deployment", "web", 1).await;
    rig.stop().await;
    rig.start(&["--enable-restarts"]).await;
    rig.stays("who has restarted does not again", AFTERWARDS, async |rig: &Rig| restarted(rig, "web", 1).await).await;
    // Nor is what changes while nobody runs forgotten.
    rig.stop().await;
    let third = rig.canaries.value("third");
    rig.put("app", json!({"user": third})).await;
    rig.start(&["--enable-restarts"]).await;
    until_restarted(&rig, "Deployment", "web", 2).await;
    rig.finish().await;
}
