//! creationPolicy and deletionPolicy.

use std::time::Duration;

use anyhow::anyhow;
use keyferry_behaviour_tests::Rig;
use serde_json::{Value, json};

tests![
    owner_takes_its_target_along,
    orphan_leaves_its_target_behind,
    orphan_is_not_repaired,
    delete_removes_the_target_with_its_last_key,
    delete_without_owner_is_refused,
    deletion_merge_removes_keys,
    retain_keeps_everything,
    a_renamed_target_replaces_the_old_one,
    merge_waits_for_its_target,
    merge_keeps_foreign_keys,
    create_or_merge_does_both,
    none_writes_nothing,
];

/// A rig with the secret `app` of two keys; gives them.
async fn rig(prefix: &str) -> (Rig, Value) {
    let rig = Rig::new(prefix).await;
    rig.vault_store("s").await;
    let held = json!({"user": rig.canaries.value("user"), "pass": rig.canaries.value("pass")});
    rig.put("app", held.clone()).await;
    (rig, held)
}

fn owners(secret: &Value) -> usize {
    secret["metadata"]["ownerReferences"].as_array().map_or(0, Vec::len)
}

async fn owner_takes_its_target_along() {
    let (rig, held) = rig("owner").await;
    rig.external_secret("e", json!({"data": rig.data("app", &["user"])})).await;
    rig.until_texts("e", json!({"user": held["user"]})).await;
    assert_eq!(owners(&rig.cluster.get("Secret", "e").await.unwrap()), 1);
    rig.cluster.delete("ExternalSecret", "e").await;
    rig.until_gone("ExternalSecret", "e").await;
    // The garbage collector of Kubernetes does this, deletionPolicy Retain or not.
    rig.until_gone("Secret", "e").await;
    rig.finish().await;
}

async fn orphan_leaves_its_target_behind() {
    let (rig, held) = rig("orphan").await;
    let spec = json!({"data": rig.data("app", &["user"]), "target": {"creationPolicy": "Orphan"}});
    rig.external_secret("e", spec).await;
    let user = json!({"user": held["user"]});
    rig.until_texts("e", user.clone()).await;
    assert_eq!(owners(&rig.cluster.get("Secret", "e").await.unwrap()), 0);
    rig.cluster.delete("ExternalSecret", "e").await;
    rig.until_gone("ExternalSecret", "e").await;
    rig.stays("it is there", Duration::from_secs(2), async |rig: &Rig| rig.holds("e", &user).await).await;
    rig.finish().await;
}

async fn orphan_is_not_repaired() {
    let (rig, held) = rig("orphan-drift").await;
    let spec = json!({
        "refreshInterval": "1h", "data": rig.data("app", &["user"]), "target": {"creationPolicy": "Orphan"},
    });
    rig.external_secret("e", spec).await;
    rig.until_texts("e", json!({"user": held["user"]})).await;
    rig.until_synced("e").await;
    rig.cluster.patch("Secret", "e", &json!({"stringData": {"user": "edited"}})).await;
    let edited = json!({"user": "edited"});
    rig.stays("it is edited", Duration::from_secs(2), async |rig: &Rig| rig.holds("e", &edited).await).await;
    // The next refresh sees to it.
    rig.force_sync("e").await;
    rig.until_texts("e", json!({"user": held["user"]})).await;
    rig.finish().await;
}

async fn delete_removes_the_target_with_its_last_key() {
    let (rig, held) = rig("delete").await;
    rig.put("other", json!({"more": held["user"]})).await;
    let mut data = rig.data("app", &["user"]);
    let more = rig.data("other", &["more"]);
    data.as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
    let spec = json!({"refreshInterval": "1s", "data": data, "target": {"deletionPolicy": "Delete"}});
    rig.external_secret("e", spec).await;
    rig.until_texts("e", json!({"user": held["user"], "more": held["user"]})).await;
    rig.remove("other").await;
    rig.until_texts("e", json!({"user": held["user"]})).await;
    rig.until("an event tells of the missing entry".into(), async |rig: &Rig| {
        let events = rig.events("e").await;
        match events.iter().find(|event| event["reason"] == "MissingProviderSecret") {
            Some(event) if event["message"].to_string().contains(&rig.key("other")) => Ok(()),
            found => Err(anyhow!("{found:?}")),
        }
    })
    .await;
    rig.remove("app").await;
    rig.until_gone("Secret", "e").await;
    let message = "secret deleted due to DeletionPolicy=Delete";
    rig.until_ready("ExternalSecret", "e", "True", "SecretDeleted", &[message]).await;
    // And it comes back with the data.
    rig.put("app", held.clone()).await;
    rig.until_texts("e", json!({"user": held["user"]})).await;
    rig.until_synced("e").await;
    // Deleting the ExternalSecret takes the target along, and nothing holds it.
    rig.cluster.delete("ExternalSecret", "e").await;
    rig.until_gone("ExternalSecret", "e").await;
    rig.until_gone("Secret", "e").await;
    rig.finish().await;
}

async fn delete_without_owner_is_refused() {
    let (rig, _) = rig("delete-merge").await;
    // With None it is about files.
    for policy in ["Merge", "CreateOrMerge"] {
        let target = json!({"creationPolicy": policy, "deletionPolicy": "Delete"});
        let spec = json!({"secretStoreRef": {"name": "s"}, "data": rig.data("app", &["user"]), "target": target});
        let refused = rig.try_apply("ExternalSecret", "e", json!({ "spec": spec })).await.unwrap_err();
        assert!(refused.contains("deletionPolicy"), "{refused}");
    }
    // Orphan slips through admission, and fails once there is something to delete.
    let target = json!({"creationPolicy": "Orphan", "deletionPolicy": "Delete"});
    rig.external_secret("e", json!({"data": rig.data("gone", &["user"]), "target": target})).await;
    rig.until_failed("e", &["could not delete secret", "deletionPolicy=Delete needs creationPolicy=Owner"]).await;
    rig.finish().await;
}

async fn deletion_merge_removes_keys() {
    let (rig, held) = rig("deletion-merge").await;
    rig.put("other", json!({"more": held["user"]})).await;
    let mut data = rig.data("app", &["user"]);
    let more = rig.data("other", &["more"]);
    data.as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
    let spec = json!({"refreshInterval": "1s", "data": data, "target": {"deletionPolicy": "Merge"}});
    rig.external_secret("e", spec).await;
    rig.until_texts("e", json!({"user": held["user"], "more": held["user"]})).await;
    rig.remove("other").await;
    rig.until_texts("e", json!({"user": held["user"]})).await;
    rig.remove("app").await;
    rig.until_texts("e", json!({})).await;
    rig.until_synced("e").await;
    rig.finish().await;
}

async fn retain_keeps_everything() {
    let (rig, held) = rig("retain").await;
    let spec = json!({"refreshInterval": "1s", "data": rig.data("app", &["user"])});
    rig.external_secret("e", spec).await;
    let user = json!({"user": held["user"]});
    rig.until_texts("e", user.clone()).await;
    rig.until_synced("e").await;
    rig.remove("app").await;
    let key = rig.key("app");
    rig.until_failed("e", &["could not get secret data from provider", "spec.data[0]", &key, "SecretStore \"s\""])
        .await;
    rig.stays("it is kept", Duration::from_secs(2), async |rig: &Rig| rig.holds("e", &user).await).await;
    rig.put("app", held.clone()).await;
    rig.force_sync("e").await;
    rig.until_synced("e").await;
    rig.finish().await;
}

async fn a_renamed_target_replaces_the_old_one() {
    let (rig, held) = rig("rename").await;
    let user = json!({"user": held["user"]});
    let spec = json!({"refreshInterval": "1h", "data": rig.data("app", &["user"]), "target": {"name": "first"}});
    rig.external_secret("e", spec).await;
    rig.until_texts("first", user.clone()).await;
    rig.until_synced("e").await;
    rig.respec("e", json!({"target": {"name": "second"}})).await;
    rig.until_texts("second", user.clone()).await;
    rig.until_gone("Secret", "first").await;
    rig.until_synced("e").await;
    let es = rig.cluster.get("ExternalSecret", "e").await.unwrap();
    assert_eq!(es["status"]["binding"]["name"], "second");
    // Of an Orphan the old one stays.
    rig.respec("e", json!({"target": {"creationPolicy": "Orphan"}})).await;
    rig.until_synced("e").await;
    rig.respec("e", json!({"target": {"name": "third"}})).await;
    rig.until_texts("third", user.clone()).await;
    rig.until_synced("e").await;
    rig.holds("second", &user).await.unwrap();
    rig.finish().await;
}

async fn merge_waits_for_its_target() {
    let (rig, held) = rig("merge-missing").await;
    let target = json!({"name": "shared", "creationPolicy": "Merge"});
    rig.external_secret("e", json!({"refreshInterval": "1s", "data": rig.data("app", &["user"]), "target": target}))
        .await;
    let message = "secret will not be created due to CreationPolicy=Merge";
    rig.until_ready("ExternalSecret", "e", "True", "SecretMissing", &[message]).await;
    assert!(rig.cluster.get("Secret", "shared").await.is_none());
    let own = rig.canaries.value("own");
    rig.secret("shared", json!({ "own": own })).await;
    rig.until_texts("shared", json!({"own": own, "user": held["user"]})).await;
    rig.until_synced("e").await;
    rig.finish().await;
}

async fn merge_keeps_foreign_keys() {
    let (rig, held) = rig("merge").await;
    let own = rig.canaries.value("own");
    rig.secret("shared", json!({ "own": own, "user": "to be replaced" })).await;
    let target = json!({"name": "shared", "creationPolicy": "Merge"});
    let spec = json!({"refreshInterval": "1h", "data": rig.data("app", &["user", "pass"]), "target": target});
    rig.external_secret("e", spec).await;
    rig.until_texts("shared", json!({"own": own, "user": held["user"], "pass": held["pass"]})).await;
    rig.until_synced("e").await;
    // What is no longer in the spec goes, what was never ours stays.
    rig.respec("e", json!({"data": rig.data("app", &["pass"])})).await;
    rig.until_texts("shared", json!({"own": own, "pass": held["pass"]})).await;
    // Somebody else's key may change beside ours.
    let other = rig.canaries.value("other");
    rig.cluster.patch("Secret", "shared", &json!({"stringData": {"own": other}})).await;
    rig.cluster.patch("Secret", "shared", &json!({"data": {"pass": null}})).await;
    rig.until_texts("shared", json!({"own": other, "pass": held["pass"]})).await;
    rig.cluster.delete("ExternalSecret", "e").await;
    rig.until_gone("ExternalSecret", "e").await;
    let both = json!({"own": other, "pass": held["pass"]});
    rig.stays("it is there", Duration::from_secs(1), async |rig: &Rig| rig.holds("shared", &both).await).await;
    rig.finish().await;
}

async fn create_or_merge_does_both() {
    let (rig, held) = rig("create-or-merge").await;
    let own = rig.canaries.value("own");
    rig.secret("present", json!({ "own": own })).await;
    for name in ["present", "absent"] {
        let target = json!({"name": name, "creationPolicy": "CreateOrMerge"});
        rig.external_secret(name, json!({"data": rig.data("app", &["user"]), "target": target})).await;
    }
    rig.until_texts("present", json!({"own": own, "user": held["user"]})).await;
    rig.until_texts("absent", json!({"user": held["user"]})).await;
    for name in ["present", "absent"] {
        rig.until_synced(name).await;
        assert_eq!(owners(&rig.cluster.get("Secret", name).await.unwrap()), 0, "{name}");
    }
    rig.finish().await;
}

async fn none_writes_nothing() {
    let (rig, _) = rig("none").await;
    let own = rig.canaries.value("own");
    rig.secret("present", json!({ "own": own })).await;
    for name in ["present", "absent"] {
        let target = json!({"name": name, "creationPolicy": "None"});
        rig.external_secret(
            name,
            json!({"refreshInterval": "1s", "data": rig.data("app", &["user"]), "target": target}),
        )
        .await;
        rig.until_synced(name).await;
    }
    let own = json!({ "own": own });
    rig.stays("nothing is written", Duration::from_secs(2), async |rig: &Rig| match rig.texts("absent").await {
        None => rig.holds("present", &own).await,
        Some(_) => Err(anyhow!("a Secret was made")),
    })
    .await;
    rig.finish().await;
}
