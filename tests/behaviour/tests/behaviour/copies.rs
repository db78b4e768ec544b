//! ClusterExternalSecrets and ClusterPushSecrets: who gets a copy, when, and what is left where they go.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use futures::stream::{self, StreamExt as _};
use keyferry_behaviour_tests::operator::series;
use keyferry_behaviour_tests::{Rig, cluster};
use kube::Api;
use kube::api::{DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};

tests![
    a_relabelled_namespace_gets_or_loses_its_copy_within_a_second,
    what_is_in_the_way_is_left_alone_and_told,
    deleted_it_leaves_nothing_and_no_finalizer,
    what_changed_while_nobody_ran_is_made_up_for,
    a_hundred_namespaces_get_theirs_and_edits_reach_all,
    a_spec_that_no_namespace_would_take_is_refused,
    push_secrets_are_copied_too,
    metrics_of_the_cluster_kinds_have_the_names_that_dashboards_know,
];

/// An operator of a whole cluster, which is this test's alone, with a store for all namespaces.
async fn rig(prefix: &str) -> Rig {
    let start = tokio::task::spawn_blocking(|| cluster::private(&[]));
    let testbed = start.await.expect("it does not panic").expect("a testbed");
    let mut rig = Rig::on(&testbed, prefix).await;
    rig.start(&["--namespace="]).await;
    let data = json!([{"key": "k", "value": "of the fake store"}]);
    rig.apply("ClusterSecretStore", "s", json!({"spec": {"provider": {"fake": {"data": data}}}})).await;
    rig
}

fn spec(more: Value) -> Value {
    let mut spec = json!({
        "externalSecretSpec": {
            "refreshInterval": "1h",
            "secretStoreRef": {"name": "s", "kind": "ClusterSecretStore"},
            "data": [{"secretKey": "a", "remoteRef": {"key": "k"}}],
        },
        "namespaceSelectors": [{"matchLabels": {"team": "a"}}],
    });
    keyferry_behaviour_tests::rig::merge(&mut spec, &more);
    json!({ "spec": spec })
}

async fn namespace(rig: &Rig, name: &str, team: &str) {
    let metadata = json!({"name": name, "labels": {"team": team}});
    rig.cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).await;
}

async fn relabel(rig: &Rig, name: &str, team: &str) {
    rig.cluster.patch("Namespace", name, &json!({"metadata": {"labels": {"team": team}}})).await;
}

/// An object of the cluster, wherever it is.
async fn get(rig: &Rig, kind: &str, namespace: &str, name: &str) -> Option<Value> {
    let other = keyferry_behaviour_tests::Cluster::new(rig.cluster.client(), namespace);
    other.get(kind, name).await
}

/// Waits until a copy and its Secret are in a namespace, or are not; gives how long it took.
async fn until(rig: &Rig, kind: &str, namespace: &str, name: &str, is_there: bool) -> Duration {
    let began = Instant::now();
    rig.until(format!("{kind} {name} in {namespace}: {is_there}"), async |rig: &Rig| {
        let found = get(rig, kind, namespace, name).await;
        if found.is_some() == is_there { Ok(()) } else { Err(anyhow!("{found:?}")) }
    })
    .await;
    began.elapsed()
}

async fn status(rig: &Rig, kind: &str, name: &str) -> Value {
    rig.cluster.get(kind, name).await.map(|object| object["status"].clone()).unwrap_or_default()
}

/// Waits until a status tells of exactly these namespaces.
async fn until_told(rig: &Rig, kind: &str, name: &str, provisioned: &[&str], failed: &[&str]) {
    rig.until(format!("{name} tells of {provisioned:?}"), async |rig: &Rig| {
        let status = status(rig, kind, name).await;
        let list = |field: &str| status[field].as_array().cloned().unwrap_or_default();
        let named: Vec<Value> = list("failedNamespaces").iter().map(|failed| failed["namespace"].clone()).collect();
        let is_right = list("provisionedNamespaces") == provisioned && named == failed;
        if is_right && !status["conditions"].is_null() { Ok(()) } else { Err(anyhow!("{status}")) }
    })
    .await;
}

/// Waits until an event tells of an object of the cluster, from this component and no other.
async fn until_event(rig: &Rig, kind: &str, name: &str, component: &str) {
    let events = keyferry_behaviour_tests::Cluster::new(rig.cluster.client(), "default");
    rig.until(format!("an event tells of {name}"), async |_: &Rig| {
        let mut all = events.list("Event").await;
        all.retain(|event| event["involvedObject"]["kind"] == kind && event["involvedObject"]["name"] == name);
        assert!(all.iter().all(|event| event["source"]["component"] == component), "{all:?}");
        if all.is_empty() { Err(anyhow!("there is none")) } else { Ok(()) }
    })
    .await;
}

async fn a_relabelled_namespace_gets_or_loses_its_copy_within_a_second() {
    let rig = rig("relabel").await;
    for (name, team) in [("a1", "a"), ("b1", "b")] {
        namespace(&rig, name, team).await;
    }
    rig.apply("ClusterExternalSecret", "c", spec(json!({}))).await;
    until(&rig, "Secret", "a1", "c", true).await;
    until_told(&rig, "ClusterExternalSecret", "c", &["a1"], &[]).await;
    until_event(&rig, "ClusterExternalSecret", "c", "cluster-external-secret").await;
    // Machines are busy: the promise is one second, which the loop's own tests hold by their clock.
    let soon = Duration::from_secs(5);
    relabel(&rig, "b1", "a").await;
    assert!(until(&rig, "ExternalSecret", "b1", "c", true).await < soon);
    relabel(&rig, "b1", "b").await;
    assert!(until(&rig, "ExternalSecret", "b1", "c", false).await < soon);
    until(&rig, "Secret", "b1", "c", false).await;
    until_told(&rig, "ClusterExternalSecret", "c", &["a1"], &[]).await;
    assert!(get(&rig, "Namespace", "", "a1").await.unwrap()["metadata"]["finalizers"].is_null());
    // A copy that somebody edits is put right, and one that is deleted comes back.
    let a1 = keyferry_behaviour_tests::Cluster::new(rig.cluster.client(), "a1");
    a1.patch("ExternalSecret", "c", &json!({"metadata": {"labels": {"more": "x"}}, "spec": {"refreshInterval": "5m"}}))
        .await;
    rig.until("it is put right".to_owned(), async |rig: &Rig| {
        let copy = get(rig, "ExternalSecret", "a1", "c").await.ok_or_else(|| anyhow!("it is not there"))?;
        let is_right = copy["spec"]["refreshInterval"] == "1h" && copy["metadata"]["labels"].is_null();
        if is_right { Ok(()) } else { Err(anyhow!("{copy}")) }
    })
    .await;
    let uid = get(&rig, "ExternalSecret", "a1", "c").await.unwrap()["metadata"]["uid"].clone();
    a1.delete("ExternalSecret", "c").await;
    rig.until("it comes back".to_owned(), async |rig: &Rig| match get(rig, "ExternalSecret", "a1", "c").await {
        Some(copy) if copy["metadata"]["uid"] != uid => Ok(()),
        other => Err(anyhow!("{other:?}")),
    })
    .await;
    rig.finish().await;
}

async fn what_is_in_the_way_is_left_alone_and_told() {
    let rig = rig("conflict").await;
    for name in ["a1", "a2"] {
        namespace(&rig, name, "a").await;
    }
    let a1 = keyferry_behaviour_tests::Cluster::new(rig.cluster.client(), "a1");
    let own = json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "taken"},
        "spec": spec(json!({}))["spec"]["externalSecretSpec"]});
    a1.apply(&own).await;
    rig.apply("ClusterExternalSecret", "c", spec(json!({"externalSecretName": "taken"}))).await;
    until_told(&rig, "ClusterExternalSecret", "c", &["a2"], &["a1"]).await;
    let told = status(&rig, "ClusterExternalSecret", "c").await;
    assert_eq!(told["failedNamespaces"][0]["reason"], "external secret already exists in namespace");
    assert_eq!(
        told["conditions"],
        json!([{"type": "Ready", "status": "False", "message": "one or more namespaces failed"}])
    );
    // When it is out of the way, the copy takes its place; renamed, the copies of the former name go.
    a1.delete("ExternalSecret", "taken").await;
    until_told(&rig, "ClusterExternalSecret", "c", &["a1", "a2"], &[]).await;
    rig.apply("ClusterExternalSecret", "c", spec(json!({"externalSecretName": "free"}))).await;
    for namespace in ["a1", "a2"] {
        until(&rig, "ExternalSecret", namespace, "free", true).await;
        until(&rig, "ExternalSecret", namespace, "taken", false).await;
    }
    rig.finish().await;
}

async fn deleted_it_leaves_nothing_and_no_finalizer() {
    let rig = rig("deletion").await;
    let long = "c".repeat(60);
    let whole = "externalsecrets.external-secrets.io/ces-c";
    // Too long for a finalizer: cut, with the beginning of its SHA-256.
    let cut = format!("externalsecrets.external-secrets.io/ces-{}-6b15af55", &long[..50]);
    let others = "externalsecrets.external-secrets.io/ces-other";
    namespace(&rig, "a1", "a").await;
    // As External Secrets Operator leaves it: finalizers on the namespace, and on the ClusterExternalSecret itself.
    rig.cluster.patch("Namespace", "a1", &json!({"metadata": {"finalizers": [whole, cut, others]}})).await;
    let mut left = spec(json!({}));
    left["metadata"]["finalizers"] = json!(["externalsecrets.external-secrets.io/clusterexternalsecret-cleanup"]);
    rig.apply("ClusterExternalSecret", "c", left).await;
    rig.apply("ClusterExternalSecret", &long, spec(json!({}))).await;
    for name in ["c", long.as_str()] {
        until(&rig, "Secret", "a1", name, true).await;
    }
    rig.until("only another's finalizer is left".to_owned(), async |rig: &Rig| {
        let namespace = get(rig, "Namespace", "", "a1").await.unwrap_or_default();
        let held = &namespace["metadata"]["finalizers"];
        if *held == json!([others]) { Ok(()) } else { Err(anyhow!("{held}")) }
    })
    .await;
    for name in ["c", long.as_str()] {
        rig.cluster.delete("ClusterExternalSecret", name).await;
        rig.until_gone("ClusterExternalSecret", name).await;
        until(&rig, "ExternalSecret", "a1", name, false).await;
        until(&rig, "Secret", "a1", name, false).await;
    }
    // A namespace that goes is waited for by nobody, and no failure.
    rig.cluster.patch("Namespace", "a1", &json!({"metadata": {"finalizers": null}})).await;
    namespace(&rig, "a2", "a").await;
    rig.apply("ClusterExternalSecret", "d", spec(json!({}))).await;
    until_told(&rig, "ClusterExternalSecret", "d", &["a1", "a2"], &[]).await;
    rig.cluster.delete("Namespace", "a2").await;
    rig.until_gone("Namespace", "a2").await;
    until_told(&rig, "ClusterExternalSecret", "d", &["a1"], &[]).await;
    rig.finish().await;
}

async fn what_changed_while_nobody_ran_is_made_up_for() {
    let mut rig = rig("restart").await;
    for (name, team) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        namespace(&rig, name, team).await;
    }
    rig.apply("ClusterExternalSecret", "c", spec(json!({}))).await;
    until_told(&rig, "ClusterExternalSecret", "c", &["a1", "a2"], &[]).await;
    let version =
        async |rig: &Rig| get(rig, "ExternalSecret", "a1", "c").await.unwrap()["metadata"]["generation"].clone();
    let before = version(&rig).await;
    rig.kill9();
    relabel(&rig, "a2", "b").await;
    relabel(&rig, "b1", "a").await;
    rig.start(&["--namespace="]).await;
    until(&rig, "ExternalSecret", "a2", "c", false).await;
    until(&rig, "Secret", "b1", "c", true).await;
    until_told(&rig, "ClusterExternalSecret", "c", &["a1", "b1"], &[]).await;
    assert_eq!(version(&rig).await, before, "what was right is left alone");
    rig.finish().await;
}

/// Creates namespaces of the team `a`, a few at a time.
async fn many(rig: &Rig, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|n| format!("many-{n:04}")).collect();
    let api = rig.cluster.api("Namespace");
    let object = |name: &String| -> DynamicObject {
        let metadata = json!({"name": name, "labels": {"team": "a"}});
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).unwrap()
    };
    let created = stream::iter(&names).map(|name| {
        let (api, object) = (api.clone(), object(name));
        async move { api.create(&PostParams::default(), &object).await.map(drop) }
    });
    let created: Vec<Result<(), kube::Error>> = created.buffer_unordered(16).collect().await;
    created.into_iter().collect::<Result<Vec<()>, _>>().unwrap();
    names
}

async fn a_hundred_namespaces_get_theirs_and_edits_reach_all() {
    let rig = rig("many").await;
    let names = many(&rig, 130).await;
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    rig.apply("ClusterExternalSecret", "c", spec(json!({}))).await;
    until_told(&rig, "ClusterExternalSecret", "c", &all, &[]).await;
    let copies: Api<DynamicObject> = rig.cluster.everywhere("ExternalSecret");
    let of_generation = async |generation: i64| {
        let listed = copies.list(&ListParams::default()).await.unwrap();
        listed.items.iter().filter(|copy| copy.metadata.generation == Some(generation)).count()
    };
    assert_eq!(of_generation(1).await, 130);
    rig.apply("ClusterExternalSecret", "c", spec(json!({"externalSecretSpec": {"refreshInterval": "2h"}}))).await;
    rig.until("all are changed once".to_owned(), async |_: &Rig| match of_generation(2).await {
        130 => Ok(()),
        count => Err(anyhow!("{count}")),
    })
    .await;
    rig.apply("ClusterExternalSecret", "c", spec(json!({"namespaceSelectors": [{"matchLabels": {"no": "where"}}]})))
        .await;
    until_told(&rig, "ClusterExternalSecret", "c", &[], &[]).await;
    rig.until("all are gone".to_owned(), async |_: &Rig| {
        match copies.list(&ListParams::default()).await?.items.len() {
            0 => Ok(()),
            count => Err(anyhow!("{count}")),
        }
    })
    .await;
    rig.finish().await;
}

async fn a_spec_that_no_namespace_would_take_is_refused() {
    let rig = rig("refused").await;
    let refusal = rig.try_apply("ClusterExternalSecret", "c", spec(json!({"externalSecretSpec": {"data": []}}))).await;
    assert!(refusal.unwrap_err().contains("nothing to fetch"));
    let wrong = json!({"namespaceSelectors": [{"matchExpressions": [{"key": "team", "operator": "Is"}]}]});
    rig.apply("ClusterExternalSecret", "c", spec(wrong)).await;
    rig.until("it is told".to_owned(), async |rig: &Rig| {
        let told = status(rig, "ClusterExternalSecret", "c").await["conditions"][0]["message"].clone();
        let is_told = told.as_str().is_some_and(|told| told.contains("\"Is\" is no operator"));
        if is_told { Ok(()) } else { Err(anyhow!("{told}")) }
    })
    .await;
    rig.finish().await;
}

async fn push_secrets_are_copied_too() {
    let rig = rig("push-copies").await;
    for (name, team) in [("a1", "a"), ("a2", "a")] {
        namespace(&rig, name, team).await;
    }
    let pushed = json!({
        "secretStoreRefs": [{"name": "s", "kind": "ClusterSecretStore"}],
        "selector": {"secret": {"name": "source"}},
        "data": [{"match": {"secretKey": "a", "remoteRef": {"remoteKey": "r"}}}],
    });
    let spec = json!({"pushSecretSpec": pushed, "pushSecretMetadata": {"labels": {"l": "x"}},
        "namespaceSelectors": [{"matchLabels": {"team": "a"}}]});
    rig.apply("ClusterPushSecret", "p", json!({ "spec": spec })).await;
    until_told(&rig, "ClusterPushSecret", "p", &["a1", "a2"], &[]).await;
    until_event(&rig, "ClusterPushSecret", "p", "cluster-push-secret").await;
    let copy = get(&rig, "PushSecret", "a1", "p").await.unwrap();
    assert_eq!(
        (&copy["metadata"]["labels"]["l"], &copy["metadata"]["ownerReferences"][0]["kind"]),
        (&json!("x"), &json!("ClusterPushSecret"))
    );
    assert_eq!(copy["spec"]["data"][0]["match"], pushed["data"][0]["match"]);
    assert_eq!(status(&rig, "ClusterPushSecret", "p").await["pushSecretName"], "p");
    relabel(&rig, "a2", "b").await;
    until(&rig, "PushSecret", "a2", "p", false).await;
    rig.cluster.delete("ClusterPushSecret", "p").await;
    until(&rig, "PushSecret", "a1", "p", false).await;
    rig.finish().await;
}

async fn metrics_of_the_cluster_kinds_have_the_names_that_dashboards_know() {
    let rig = rig("copier-metrics").await;
    namespace(&rig, "a1", "a").await;
    rig.apply("ClusterExternalSecret", "c", spec(json!({}))).await;
    let pushed = json!({
        "secretStoreRefs": [{"name": "s", "kind": "ClusterSecretStore"}], "selector": {"secret": {"name": "source"}},
        "data": [{"match": {"secretKey": "a", "remoteRef": {"remoteKey": "r"}}}],
    });
    let push = json!({"pushSecretSpec": pushed, "namespaceSelectors": [{"matchLabels": {"team": "a"}}]});
    rig.apply("ClusterPushSecret", "p", json!({ "spec": push })).await;
    until_told(&rig, "ClusterExternalSecret", "c", &["a1"], &[]).await;
    until_told(&rig, "ClusterPushSecret", "p", &["a1"], &[]).await;
    let kinds = [("clustersecretstore", "s"), ("clusterexternalsecret", "c"), ("clusterpushsecret", "p")];
    rig.until("all are told of".to_owned(), async |rig: &Rig| {
        let metrics = rig.metrics().await;
        for (kind, name) in kinds {
            // They are in no namespace, and the label is there all the same.
            let of = [("name", name), ("namespace", ""), ("condition", "Ready")];
            let with = |status| [&of[..], &[("status", status)]].concat();
            let condition = format!("{kind}_status_condition");
            let shown = ["True", "False"].map(|status| series(&metrics, &condition, &with(status)));
            let took = series(&metrics, &format!("{kind}_reconcile_duration"), &of[..2]);
            // In nanoseconds, as there.
            if shown != [1.0, 0.0] || took < 1000.0 {
                return Err(anyhow!("{kind}: {shown:?}, {took}"));
            }
        }
        Ok(())
    })
    .await;
    rig.cluster.delete("ClusterExternalSecret", "c").await;
    rig.cluster.delete("ClusterPushSecret", "p").await;
    rig.until("none of what is gone is".to_owned(), async |rig: &Rig| {
        let metrics = rig.metrics().await;
        let of = |kind: &str| metrics.lines().any(|line| line.starts_with(kind) && line.contains("name=\""));
        let left: Vec<&str> =
            ["clusterexternalsecret_", "clusterpushsecret_"].into_iter().filter(|kind| of(kind)).collect();
        if left.is_empty() { Ok(()) } else { Err(anyhow!("{left:?}")) }
    })
    .await;
    rig.finish().await;
}
