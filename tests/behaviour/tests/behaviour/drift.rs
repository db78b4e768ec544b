//! Targets that somebody else touches, while the operator runs and while it does not.

use anyhow::anyhow;
use keyferry_behaviour_tests::Rig;
use serde_json::{Value, json};

tests![
    an_edit_by_hand_is_repaired,
    a_deleted_target_comes_back,
    a_removed_label_comes_back,
    what_happened_while_nobody_ran_is_repaired_at_start,
];

/// A rig with a synced ExternalSecret `e` that nothing but drift refreshes; gives what its target holds.
async fn synced(prefix: &str) -> (Rig, Value) {
    let rig = Rig::new(prefix).await;
    rig.vault_store("s").await;
    let held = json!({"user": rig.canaries.value("user"), "pass": rig.canaries.value("pass")});
    rig.put("app", held.clone()).await;
    let extract = json!({"refreshInterval": "1h", "dataFrom": [{"extract": {"key": rig.key("app")}}]});
    rig.external_secret("e", extract).await;
    rig.until_texts("e", held.clone()).await;
    rig.until_synced("e").await;
    (rig, held)
}

async fn an_edit_by_hand_is_repaired() {
    let (rig, held) = synced("edit").await;
    for edit in [json!({"user": "edited"}), json!({"added": "by hand"})] {
        rig.cluster.patch("Secret", "e", &json!({ "stringData": edit })).await;
        rig.until_texts("e", held.clone()).await;
    }
    rig.cluster.patch("Secret", "e", &json!({"data": {"user": null}})).await;
    rig.until_texts("e", held).await;
    rig.finish().await;
}

async fn a_deleted_target_comes_back() {
    let (rig, held) = synced("deleted").await;
    rig.cluster.delete("Secret", "e").await;
    rig.until_texts("e", held).await;
    rig.finish().await;
}

async fn a_removed_label_comes_back() {
    let (rig, held) = synced("label").await;
    let label = "reconcile.external-secrets.io/managed";
    rig.cluster.patch("Secret", "e", &json!({"metadata": {"labels": {label: null}}})).await;
    rig.until("the label is back".into(), async |rig: &Rig| {
        let secret = rig.cluster.get("Secret", "e").await.unwrap_or_default();
        if secret["metadata"]["labels"][label] == "true" {
            Ok(())
        } else {
            Err(anyhow!("{}", secret["metadata"]["labels"]))
        }
    })
    .await;
    rig.until_texts("e", held).await;
    rig.finish().await;
}

async fn what_happened_while_nobody_ran_is_repaired_at_start() {
    let (mut rig, held) = synced("down").await;
    let spec = json!({"refreshInterval": "1h", "data": rig.data("app", &["user"])});
    rig.external_secret("gone", spec.clone()).await;
    rig.external_secret("calm", spec).await;
    let user = json!({"user": held["user"]});
    for name in ["gone", "calm"] {
        rig.until_texts(name, user.clone()).await;
        rig.until_synced(name).await;
    }
    rig.stop().await;
    rig.cluster.patch("Secret", "e", &json!({"stringData": {"user": "edited", "added": "by hand"}})).await;
    rig.cluster.delete("Secret", "gone").await;
    let calm = rig.cluster.get("Secret", "calm").await.unwrap();
    rig.start(&[]).await;
    rig.until_texts("e", held).await;
    rig.until_texts("gone", user).await;
    let after = rig.cluster.get("Secret", "calm").await.unwrap();
    assert_eq!(after["metadata"]["resourceVersion"], calm["metadata"]["resourceVersion"], "nobody touched it");
    rig.finish().await;
}
