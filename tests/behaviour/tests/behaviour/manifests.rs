//! Targets that are not Secrets.

use std::time::Duration;

use anyhow::{bail, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keyferry_behaviour_tests::operator::series;
use keyferry_behaviour_tests::{Rig, cluster};
use kube::Api;
use serde_json::{Value, json};

tests![
    a_config_map_is_made_repaired_and_removed,
    a_custom_resource_is_made_of_paths_and_merged_into,
    what_can_not_be_a_target_says_why,
    a_kind_that_comes_late,
    a_kind_that_must_not_be_watched,
    what_is_generated_stays,
    a_renamed_one_replaces_the_old_one,
];

const A_WHILE: Duration = Duration::from_millis(2500);

/// An operator that may write ConfigMaps and Widgets.
async fn rig(prefix: &str) -> Rig {
    let mut rig = Rig::idle(prefix).await;
    let kinds = json!([
        {"apiGroup": "", "resources": ["configmaps"]},
        {"apiGroup": "keyferry.test", "resources": ["widgets", "latecomers"]},
        {"apiGroup": "keyferry.test", "resources": ["unseens"], "verbs": ["get", "create", "update"]},
    ]);
    rig.testbed.allow_targets("generic-targets", &kinds).unwrap();
    rig.start(&["--unsafe-allow-generic-targets"]).await;
    rig.vault_store("s").await;
    rig
}

fn manifest(api_version: &str, kind: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind})
}

/// A kind of our own, of which nobody but the test knows.
async fn install(rig: &Rig, kind: &str) {
    let singular = kind.to_lowercase();
    let open = |properties: Value| json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": properties});
    // The API server adds a field of its own.
    let schema = open(json!({"spec": open(json!({"mode": {"type": "string", "default": "auto"}}))}));
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{singular}s.keyferry.test")},
        "spec": {
            "group": "keyferry.test", "scope": "Namespaced",
            "names": {"kind": kind, "plural": format!("{singular}s"), "singular": singular},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}},
            }],
        },
    });
    cluster::put_crd(&Api::<CustomResourceDefinition>::all(rig.cluster.client()), &crd).await;
}

/// Waits until a part of an object is this.
async fn until_part(rig: &Rig, kind: &str, part: &str, wanted: Value) {
    rig.until(format!("{kind} t has {wanted} at {part}"), async |rig: &Rig| {
        let object = rig.cluster.get(kind, "t").await;
        let found = object.as_ref().and_then(|object| object.pointer(part)).cloned().unwrap_or_default();
        ensure!(found == wanted, "{found}; {:?}", rig.ready("ExternalSecret", "e").await);
        Ok(())
    })
    .await;
}

async fn until_reason(rig: &Rig, reason: &str, message: &str) {
    rig.until_ready("ExternalSecret", "e", "True", reason, &[message]).await;
}

async fn a_config_map_is_made_repaired_and_removed() {
    let rig = rig("config-map").await;
    rig.put("app", json!({"host": "one.example", "port": "5432"})).await;
    // With a template the annotation that forces a sync does not go onto the target.
    let template = json!({"data": {"host": "{{ .host }}", "port": "{{ .port }}"}});
    let manifest = manifest("v1", "ConfigMap");
    let target = json!({"name": "t", "manifest": manifest, "deletionPolicy": "Delete", "template": template});
    let spec = json!({"refreshInterval": "1h", "data": rig.data("app", &["host", "port"]), "target": target});
    rig.external_secret("e", spec).await;
    until_part(&rig, "ConfigMap", "/data", json!({"host": "one.example", "port": "5432"})).await;
    until_reason(&rig, "ResourceSynced", "resource synced").await;
    assert!(rig.cluster.get("Secret", "t").await.is_none());
    let made = rig.cluster.get("ConfigMap", "t").await.unwrap();
    assert_eq!(made["metadata"]["ownerReferences"][0]["name"], "e");
    assert_eq!(made["metadata"]["labels"]["reconcile.external-secrets.io/managed"], "true");
    // The event comes after the status.
    rig.until("it is told".into(), async |rig: &Rig| {
        let told = rig.events("e").await;
        ensure!(told.iter().any(|event| event["message"] == "Created ConfigMap t"), "{told:?}");
        Ok(())
    })
    .await;

    // Edited, stripped of a key, deleted: the interval is an hour, so that it is repaired because it was seen.
    rig.cluster.patch("ConfigMap", "t", &json!({"data": {"host": "evil.example", "port": null}})).await;
    until_part(&rig, "ConfigMap", "/data", json!({"host": "one.example", "port": "5432"})).await;
    rig.cluster.delete("ConfigMap", "t").await;
    until_part(&rig, "ConfigMap", "/data/host", json!("one.example")).await;
    // Somebody else's label is no reason to write.
    rig.cluster.patch("ConfigMap", "t", &json!({"metadata": {"labels": {"theirs": "1"}}})).await;
    let version = |object: Value| object["metadata"]["resourceVersion"].clone();
    let before = version(rig.cluster.get("ConfigMap", "t").await.unwrap());
    rig.force_sync("e").await;
    rig.stays("nothing is written", A_WHILE, async |rig: &Rig| {
        let after = rig.cluster.get("ConfigMap", "t").await.map(version);
        ensure!(after.as_ref() == Some(&before), "{after:?}");
        Ok(())
    })
    .await;

    rig.put("app", json!({"host": "two.example", "port": "5433"})).await;
    rig.force_sync("e").await;
    until_part(&rig, "ConfigMap", "/data/host", json!("two.example")).await;
    until_part(&rig, "ConfigMap", "/metadata/labels/theirs", json!("1")).await;
    rig.remove("app").await;
    rig.force_sync("e").await;
    rig.until_gone("ConfigMap", "t").await;
    until_reason(&rig, "ResourceDeleted", "resource deleted due to DeletionPolicy=Delete").await;
    rig.put("app", json!({"host": "three.example", "port": "1"})).await;
    rig.force_sync("e").await;
    until_part(&rig, "ConfigMap", "/data/host", json!("three.example")).await;
    rig.cluster.delete("ExternalSecret", "e").await;
    rig.until_gone("ConfigMap", "t").await;
    rig.finish().await;
}

async fn a_custom_resource_is_made_of_paths_and_merged_into() {
    let rig = rig("widget").await;
    install(&rig, "Widget").await;
    rig.put("app", json!({"host": "one.example", "size": "3"})).await;
    let template = json!({
        "metadata": {"labels": {"made": "here"}},
        "templateFrom": [
            {"target": "Spec", "literal": "size: {{ .size }}\nservers: [{name: first}]"},
            {"target": "spec.servers[0]", "literal": "host: {{ .host }}"},
            {"target": "spec.servers[1].host", "literal": "backup.{{ .host }}"},
        ],
    });
    let target = json!({"name": "t", "manifest": manifest("keyferry.test/v1", "Widget"), "template": template});
    let spec = json!({"refreshInterval": "1h", "data": rig.data("app", &["host", "size"]), "target": target});
    rig.external_secret("e", spec.clone()).await;
    let servers = json!([{"name": "first", "host": "one.example"}, {"host": "backup.one.example"}]);
    until_part(&rig, "Widget", "/spec", json!({"size": 3, "servers": servers, "mode": "auto"})).await;
    until_part(&rig, "Widget", "/metadata/labels/made", json!("here")).await;
    // Its controller says how it does: that is no edit.
    until_reason(&rig, "ResourceSynced", "resource synced").await;
    let calls = async |rig: &Rig| series(&rig.metrics().await, "externalsecret_provider_api_calls_count", &[]);
    let before = calls(&rig).await;
    rig.cluster.patch_status("Widget", "t", &json!({"status": {"ok": true}})).await;
    rig.stays("no store is asked", A_WHILE, async |rig: &Rig| {
        let now = calls(rig).await;
        ensure!(now == before, "{before} calls, then {now}");
        Ok(())
    })
    .await;
    rig.cluster.patch("Widget", "t", &json!({"spec": {"size": 4}})).await;
    until_part(&rig, "Widget", "/spec/size", json!(3)).await;
    until_part(&rig, "Widget", "/status/ok", json!(true)).await;

    // Merged into one that is somebody else's.
    rig.cluster.delete("ExternalSecret", "e").await;
    rig.until_gone("Widget", "t").await;
    let mut merge = spec;
    merge["target"]["creationPolicy"] = json!("Merge");
    merge["target"]["template"] = json!({
        "templateFrom": [{"target": "spec.auth", "literal": "host: {{ .host }}"}],
    });
    rig.external_secret("e", merge).await;
    until_reason(&rig, "ResourceMissing", "resource will not be created due to CreationPolicy=Merge").await;
    rig.apply("Widget", "t", json!({"spec": {"kept": 1, "auth": {"realm": "theirs"}}})).await;
    until_part(
        &rig,
        "Widget",
        "/spec",
        json!({"kept": 1, "auth": {"realm": "theirs", "host": "one.example"}, "mode": "auto"}),
    )
    .await;
    let merged = rig.cluster.get("Widget", "t").await.unwrap();
    assert_eq!(merged["metadata"].get("ownerReferences"), None);
    rig.finish().await;
}

async fn what_can_not_be_a_target_says_why() {
    let mut rig = rig("no-target").await;
    rig.put("app", json!({"host": "one.example"})).await;
    let target = |api_version, kind| json!({"name": "t", "manifest": manifest(api_version, kind)});
    let spec = |target: Value| json!({"data": rig.data("app", &["host"]), "target": target});
    let specs = [
        (spec(target("v1", "Confusion")), "the API server knows no \"Confusion\" of \"v1\""),
        (spec(target("no.such/v1", "Thing")), "the API server knows no \"Thing\" of \"no.such/v1\""),
        (spec(target("v1", "Namespace")), "Namespace has no namespace"),
        // Of a kind that the chart was not told of.
        (spec(target("v1", "ServiceAccount")), "the API server forbids it"),
    ];
    for (n, (spec, says)) in specs.into_iter().enumerate() {
        let name = format!("e{n}");
        rig.external_secret(&name, spec).await;
        rig.until_failed(&name, &[says]).await;
    }
    let mut path = spec(target("v1", "ConfigMap"));
    path["target"]["template"] = json!({"templateFrom": [{"target": "metadata.name", "literal": "x"}]});
    rig.external_secret("path", path).await;
    rig.until_failed("path", &["templateFrom[0].target \"metadata.name\" would change what the object is"]).await;
    let forbidden = spec(target("v1", "ConfigMap"));
    rig.stop().await;
    rig.start(&[]).await;
    rig.external_secret("e", forbidden).await;
    rig.until_failed("e", &["invalid generic target", "--unsafe-allow-generic-targets"]).await;
    assert!(rig.cluster.get("ConfigMap", "t").await.is_none());
    rig.finish().await;
}

async fn a_kind_that_comes_late() {
    let rig = rig("latecomer").await;
    rig.put("app", json!({"host": "one.example"})).await;
    let target = json!({"name": "t", "manifest": manifest("keyferry.test/v1", "Latecomer")});
    let spec = json!({"refreshInterval": "1h", "data": rig.data("app", &["host"]), "target": target});
    rig.external_secret("e", spec).await;
    rig.until_failed("e", &["install its CustomResourceDefinition"]).await;
    install(&rig, "Latecomer").await;
    rig.force_sync("e").await;
    until_part(&rig, "Latecomer", "/spec/data/host", json!("one.example")).await;
    // Edits are seen from then on.
    rig.cluster.patch("Latecomer", "t", &json!({"spec": {"data": {"host": "evil"}}})).await;
    rig.until("it is repaired".into(), async |rig: &Rig| {
        if rig.cluster.get("Latecomer", "t").await.is_some_and(|it| it["spec"]["data"]["host"] == "one.example") {
            Ok(())
        } else {
            bail!("not yet")
        }
    })
    .await;
    rig.finish().await;
}

async fn a_kind_that_must_not_be_watched() {
    let rig = rig("unseen").await;
    install(&rig, "Unseen").await;
    rig.put("app", json!({"host": "one.example"})).await;
    let target = json!({"name": "t", "manifest": manifest("keyferry.test/v1", "Unseen")});
    let spec = json!({"refreshInterval": "1s", "data": rig.data("app", &["host"]), "target": target});
    rig.external_secret("e", spec).await;
    until_part(&rig, "Unseen", "/spec/data/host", json!("one.example")).await;
    // Nobody sees the edit, but the next refresh looks.
    rig.cluster.patch("Unseen", "t", &json!({"spec": {"data": {"host": "evil"}}})).await;
    until_part(&rig, "Unseen", "/spec/data/host", json!("one.example")).await;
    rig.finish().await;
}

async fn what_is_generated_stays() {
    let mut rig = rig("generated").await;
    install(&rig, "Widget").await;
    rig.apply("Password", "p", json!({"spec": {"length": 30}})).await;
    let target = |name: &str| json!({"name": name, "manifest": manifest("keyferry.test/v1", "Widget")});
    let from = json!([{"sourceRef": {"generatorRef": {"kind": "Password", "name": "p"}}}]);
    // Two at once: one is written while the kind is listed for the first time.
    rig.external_secret("w", json!({"refreshInterval": "1h", "dataFrom": from, "target": target("w")})).await;
    rig.external_secret("e", json!({"refreshInterval": "1h", "dataFrom": from, "target": target("t")})).await;
    until_reason(&rig, "ResourceSynced", "resource synced").await;
    let passwords = async |rig: &Rig| {
        let widgets = rig.cluster.list("Widget").await;
        let specs = widgets.iter().map(|widget| (widget["metadata"]["name"].clone(), widget["spec"].clone()));
        specs.collect::<Vec<_>>()
    };
    let first = rig
        .until("all are made".into(), async |rig: &Rig| {
            let made = passwords(rig).await;
            ensure!(made.len() == 2, "{} are", made.len());
            Ok(made)
        })
        .await;
    let same = async |rig: &Rig| {
        let now = passwords(rig).await;
        ensure!(now == first, "something was generated anew");
        Ok(())
    };
    rig.cluster.patch_status("Widget", "t", &json!({"status": {"ok": true}})).await;
    rig.stays("a status changes nothing", A_WHILE, same).await;
    rig.stop().await;
    rig.start(&["--unsafe-allow-generic-targets"]).await;
    rig.cluster.patch_status("Widget", "t", &json!({"status": {"ok": false}})).await;
    rig.stays("nor does a restart", A_WHILE, same).await;
    rig.finish().await;
}

async fn a_renamed_one_replaces_the_old_one() {
    let rig = rig("renamed").await;
    install(&rig, "Widget").await;
    rig.put("app", json!({"host": "one.example"})).await;
    let spec = |name: &str| {
        let target = json!({"name": name, "manifest": manifest("keyferry.test/v1", "Widget")});
        json!({"refreshInterval": "1h", "data": rig.data("app", &["host"]), "target": target})
    };
    rig.external_secret("e", spec("t")).await;
    until_reason(&rig, "ResourceSynced", "resource synced").await;
    rig.respec("e", spec("new")).await;
    rig.until_gone("Widget", "t").await;
    assert!(rig.cluster.get("Widget", "new").await.is_some());
    rig.finish().await;
}
