//! Whose a Secret is: other ExternalSecrets', somebody else's, or nobody's.

use std::time::Duration;

use anyhow::anyhow;
use keyferry_behaviour_tests::Rig;
use kube::api::PostParams;
use kube::core::DynamicObject;
use serde_json::{Value, json};

tests![
    the_second_of_two_for_one_target_is_refused,
    a_target_that_something_else_controls_is_refused,
    an_immutable_target_stays_as_it_is,
    a_foreign_immutable_secret_is_not_touched,
    adoption_is_told_of,
    what_is_there_is_marked_and_left_alone_until_there_is_data,
    adopt_empty_takes_only_what_is_empty,
    adopt_never_takes_nothing,
    what_none_and_merge_left_is_taken_by_no_owner,
    labels_and_annotations_follow,
    a_rotation_leaves_the_fields_that_a_whole_write_would,
    no_finalizer_where_none_is_needed,
    a_finalizer_of_before_does_not_hold_an_external_secret,
];

const FINALIZER: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";

async fn rig(prefix: &str, args: &[&str]) -> (Rig, String) {
    let mut rig = Rig::idle(prefix).await;
    rig.start(args).await;
    rig.vault_store("s").await;
    let user = rig.canaries.value("user");
    rig.put("app", json!({ "user": user })).await;
    (rig, user)
}

async fn the_second_of_two_for_one_target_is_refused() {
    let (rig, user) = rig("two", &[]).await;
    let spec = json!({"refreshInterval": "1h", "data": rig.data("app", &["user"]), "target": {"name": "t"}});
    rig.external_secret("first", spec.clone()).await;
    rig.until_synced("first").await;
    rig.external_secret("second", spec).await;
    rig.until_failed("second", &["target is owned by another ExternalSecret", "Secret \"t\"", "\"first\""]).await;
    rig.holds("t", &json!({ "user": user })).await.unwrap();
    let second = rig.cluster.get("ExternalSecret", "second").await.unwrap();
    assert_eq!(second["status"]["binding"]["name"], "t", "it is noted what it was to write");
    assert!(rig.ready("ExternalSecret", "first").await.unwrap().status == "True", "the first is not disturbed");
    rig.finish().await;
}

async fn a_target_that_something_else_controls_is_refused() {
    let (rig, _) = rig("controlled", &[]).await;
    let owner = rig.apply("ConfigMap", "owner", json!({"data": {}})).await;
    let own = rig.canaries.value("own");
    let reference = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"], "controller": true,
    });
    let secret = json!({"metadata": {"ownerReferences": [reference]}, "stringData": {"own": own}});
    rig.apply("Secret", "t", secret).await;
    rig.external_secret("e", json!({"data": rig.data("app", &["user"]), "target": {"name": "t"}})).await;
    rig.until_failed("e", &["failed to take ownership of target secret", "Secret \"t\"", "ConfigMap \"owner\""]).await;
    rig.holds("t", &json!({ "own": own })).await.unwrap();
    rig.finish().await;
}

async fn an_immutable_target_stays_as_it_is() {
    let (rig, user) = rig("immutable", &[]).await;
    let target = json!({"immutable": true});
    rig.external_secret("e", json!({"refreshInterval": "1s", "data": rig.data("app", &["user"]), "target": target}))
        .await;
    rig.until_texts("e", json!({ "user": user })).await;
    rig.until_synced("e").await;
    assert_eq!(rig.cluster.get("Secret", "e").await.unwrap()["immutable"], true);
    rig.put("app", json!({"user": rig.canaries.value("rotated")})).await;
    let held = json!({ "user": user });
    rig.stays("it stays as it is, and is called synced", Duration::from_secs(3), async |rig: &Rig| {
        rig.holds("e", &held).await?;
        match rig.ready("ExternalSecret", "e").await {
            Some(ready) if ready.status == "True" => Ok(()),
            ready => Err(anyhow!("{ready:?}")),
        }
    })
    .await;
    rig.finish().await;
}

async fn a_foreign_immutable_secret_is_not_touched() {
    let (rig, _) = rig("frozen", &[]).await;
    let own = rig.canaries.value("own");
    rig.apply("Secret", "t", json!({"immutable": true, "stringData": {"own": own}})).await;
    rig.external_secret("e", json!({"data": rig.data("app", &["user"]), "target": {"name": "t"}})).await;
    rig.until_failed("e", &["could not update secret, target is immutable"]).await;
    rig.holds("t", &json!({ "own": own })).await.unwrap();
    rig.finish().await;
}

async fn adoption_is_told_of() {
    let (rig, user) = rig("adopt", &[]).await;
    rig.secret("t", json!({"own": rig.canaries.value("own"), "user": "old"})).await;
    rig.external_secret("e", json!({"data": rig.data("app", &["user"]), "target": {"name": "t"}})).await;
    rig.until_texts("t", json!({ "user": user })).await;
    rig.until("a Warning tells which keys were there".into(), async |rig: &Rig| {
        let events = rig.events("e").await;
        let warning = events.iter().find(|event| event["reason"] == "Adopted").ok_or_else(|| anyhow!("no event"))?;
        let message = warning["message"].as_str().unwrap_or_default();
        if warning["type"] == "Warning" && message.contains("own, user") && message.contains("\"t\"") {
            Ok(())
        } else {
            Err(anyhow!("{warning}"))
        }
    })
    .await;
    rig.finish().await;
}

async fn what_is_there_is_marked_and_left_alone_until_there_is_data() {
    let (rig, user) = rig("marked", &[]).await;
    rig.secret("t", json!({"own": rig.canaries.value("own")})).await;
    let spec = |key: &str| json!({"data": rig.data("app", &[key]), "target": {"name": "t"}});
    rig.external_secret("e", spec("gone")).await;
    rig.until_failed("e", &["could not get secret data from provider"]).await;
    rig.until("it has the label".into(), async |rig: &Rig| {
        let secret = rig.cluster.get("Secret", "t").await.ok_or_else(|| anyhow!("it is gone"))?;
        let labels = &secret["metadata"]["labels"];
        if labels["reconcile.external-secrets.io/managed"] == "true" && secret["data"]["own"].is_string() {
            Ok(())
        } else {
            Err(anyhow!("{labels}"))
        }
    })
    .await;
    // That it is somebody else's is told all the same.
    rig.respec("e", spec("user")).await;
    rig.until_texts("t", json!({ "user": user })).await;
    rig.until("the keys that were there are told".into(), async |rig: &Rig| {
        let told = rig.events("e").await.into_iter().any(|event| event["reason"] == "Adopted");
        told.then_some(()).ok_or_else(|| anyhow!("no event"))
    })
    .await;
    rig.finish().await;
}

async fn adopt_empty_takes_only_what_is_empty() {
    let (rig, user) = rig("adopt-empty", &["--adopt=empty"]).await;
    let own = rig.canaries.value("own");
    rig.secret("full", json!({ "own": own })).await;
    rig.secret("empty", json!({})).await;
    for name in ["full", "empty"] {
        rig.external_secret(name, json!({"data": rig.data("app", &["user"])})).await;
    }
    rig.until_texts("empty", json!({ "user": user })).await;
    rig.until_failed("full", &["failed to take ownership of target secret", "--adopt=empty", "own"]).await;
    rig.holds("full", &json!({ "own": own })).await.unwrap();
    rig.finish().await;
}

async fn adopt_never_takes_nothing() {
    let (rig, user) = rig("adopt-never", &["--adopt=never"]).await;
    let own = rig.canaries.value("own");
    rig.secret("t", json!({ "own": own })).await;
    rig.external_secret("e", json!({"data": rig.data("app", &["user"]), "target": {"name": "t"}})).await;
    rig.until_failed("e", &["failed to take ownership of target secret", "--adopt=never"]).await;
    rig.holds("t", &json!({ "own": own })).await.unwrap();
    // What it made itself is its own, also when the status that says so was lost.
    rig.external_secret("mine", json!({"refreshInterval": "1h", "data": rig.data("app", &["user"])})).await;
    rig.until_synced("mine").await;
    let forget = json!({"status": null});
    rig.cluster.patch_status("ExternalSecret", "mine", &forget).await;
    rig.force_sync("mine").await;
    rig.until_synced("mine").await;
    rig.holds("mine", &json!({ "user": user })).await.unwrap();
    rig.finish().await;
}

async fn what_none_and_merge_left_is_taken_by_no_owner() {
    let (rig, user) = rig("adopt-later", &["--adopt=never"]).await;
    let own = rig.canaries.value("own");
    rig.secret("t", json!({ "own": own })).await;
    let spec =
        |policy: &str| json!({"data": rig.data("app", &["user"]), "target": {"name": "t", "creationPolicy": policy}});
    // None leaves our label, Merge our keys, our hash and our name among the field managers.
    rig.external_secret("e", spec("None")).await;
    rig.until_synced("e").await;
    rig.respec("e", spec("Merge")).await;
    let both = json!({ "own": own, "user": user });
    rig.until_texts("t", both.clone()).await;
    rig.respec("e", spec("Owner")).await;
    rig.until_failed("e", &["failed to take ownership of target secret", "--adopt=never"]).await;
    rig.holds("t", &both).await.unwrap();
    // Another name for it is no way around either.
    rig.external_secret("f", spec("Orphan")).await;
    rig.until_failed("f", &["failed to take ownership of target secret", "--adopt=never"]).await;
    rig.holds("t", &both).await.unwrap();
    // Whoever has it may give it away.
    rig.cluster.patch("Secret", "t", &json!({"metadata": {"annotations": {"keyferry.io/adopted-by": "e"}}})).await;
    rig.force_sync("e").await;
    rig.until_texts("t", json!({ "user": user })).await;
    rig.finish().await;
}

async fn labels_and_annotations_follow() {
    let (rig, _) = rig("labels", &[]).await;
    // A name that is longer than the field manager can hold: what we own is found all the same.
    let name = "a-name-that-is-longer-than-27-characters";
    let metadata = json!({"labels": {"team": "a", "stage": "b"}, "annotations": {"note": "c", "more": "d"}});
    let spec = json!({"refreshInterval": "1h", "secretStoreRef": {"name": "s"}, "data": rig.data("app", &["user"])});
    rig.apply("ExternalSecret", name, json!({"metadata": metadata, "spec": spec})).await;
    rig.until_synced(name).await;
    let marks = |secret: &Value, key: &str| secret["metadata"][key].clone();
    let secret = rig.cluster.get("Secret", name).await.unwrap();
    assert_eq!((&marks(&secret, "labels")["team"], &marks(&secret, "annotations")["note"]), (&json!("a"), &json!("c")));
    // Somebody else's stay, ours go with the ExternalSecret's.
    rig.cluster.patch("Secret", name, &json!({"metadata": {"labels": {"foreign": "yes"}}})).await;
    let less = json!({"metadata": {"labels": {"stage": null}, "annotations": {"more": null}}});
    rig.cluster.patch("ExternalSecret", name, &less).await;
    rig.until("stale marks are gone".into(), async |rig: &Rig| {
        let secret = rig.cluster.get("Secret", name).await.unwrap_or_default();
        let (labels, annotations) = (marks(&secret, "labels"), marks(&secret, "annotations"));
        let there = |map: &Value, key: &str| map.get(key).is_some();
        let kept = there(&labels, "team") && there(&labels, "foreign") && there(&annotations, "note");
        if kept && !there(&labels, "stage") && !there(&annotations, "more") {
            Ok(())
        } else {
            Err(anyhow!("{labels} {annotations}"))
        }
    })
    .await;
    rig.finish().await;
}

/// Who goes back to External Secrets Operator finds the managed fields that it would have left: keys that go, come and stay.
async fn a_rotation_leaves_the_fields_that_a_whole_write_would() {
    let (rig, user) = rig("fields", &[]).await;
    rig.put("app", json!({"user": user, "goes": user})).await;
    let spec = json!({"refreshInterval": "1s", "dataFrom": [{"extract": {"key": rig.key("app")}}]});
    for (name, policy) in [("owner", "Owner"), ("orphan", "Orphan")] {
        let mut spec = spec.clone();
        spec["target"] = json!({"creationPolicy": policy});
        rig.external_secret(name, spec).await;
        rig.until_texts(name, json!({"user": user, "goes": user})).await;
    }
    let next = rig.canaries.value("next");
    rig.put("app", json!({"user": next, "comes": next})).await;
    for name in ["owner", "orphan"] {
        rig.until_texts(name, json!({"user": next, "comes": next})).await;
        let api = rig.cluster.api("Secret");
        let rotated = api.get(name).await.unwrap();
        let manager = rotated.metadata.managed_fields.as_ref().unwrap()[0].manager.clone();
        let mut whole = rotated.clone();
        whole.data["data"]["user"] = whole.data["data"]["comes"].clone();
        whole
            .metadata
            .annotations
            .as_mut()
            .unwrap()
            .insert("reconcile.external-secrets.io/data-hash".into(), "x".into());
        let rehearsal = PostParams { dry_run: true, field_manager: manager };
        let written = api.replace(name, &rehearsal, &whole).await.unwrap();
        let fields = |object: &DynamicObject| {
            let mut entries = object.metadata.managed_fields.clone().unwrap();
            entries.iter_mut().for_each(|entry| entry.time = None);
            entries
        };
        assert_eq!(fields(&rotated), fields(&written), "{name}");
        assert_eq!(fields(&rotated).len(), 1, "all of it is ours");
    }
    rig.finish().await;
}

async fn no_finalizer_where_none_is_needed() {
    let (rig, _) = rig("finalizer", &[]).await;
    rig.external_secret("e", json!({"data": rig.data("app", &["user"])})).await;
    rig.until_synced("e").await;
    let es = rig.cluster.get("ExternalSecret", "e").await.unwrap();
    assert_eq!(es["metadata"].get("finalizers"), None);
    // Without one the end of the operator does not hold the end of an ExternalSecret.
    let mut rig = rig;
    rig.stop().await;
    rig.cluster.delete("ExternalSecret", "e").await;
    rig.until_gone("ExternalSecret", "e").await;
    rig.finish().await;
}

async fn a_finalizer_of_before_does_not_hold_an_external_secret() {
    let (rig, user) = rig("old-finalizer", &[]).await;
    let left = json!({"metadata": {"finalizers": [FINALIZER]}});
    for (name, target) in [
        ("retain", json!({})),
        ("delete", json!({"deletionPolicy": "Delete"})),
        ("orphan", json!({"creationPolicy": "Orphan"})),
    ] {
        rig.external_secret(name, json!({"data": rig.data("app", &["user"]), "target": target})).await;
        rig.until_texts(name, json!({ "user": user })).await;
        rig.cluster.patch("ExternalSecret", name, &left).await;
    }
    for name in ["retain", "delete", "orphan"] {
        rig.cluster.delete("ExternalSecret", name).await;
        rig.until_gone("ExternalSecret", name).await;
    }
    rig.until_gone("Secret", "retain").await;
    rig.until_gone("Secret", "delete").await;
    rig.holds("orphan", &json!({ "user": user })).await.unwrap();
    rig.finish().await;
}
