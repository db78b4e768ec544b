//! What stood wrong for a while, and is well again once its cause is gone.

use anyhow::ensure;
use keyferry_behaviour_tests::Rig;
use keyferry_behaviour_tests::operator::series;
use serde_json::json;

tests![
    a_restored_backup_is_written_over_at_the_next_refresh,
    what_could_not_be_written_is_tried_again,
    a_mistake_that_is_taken_back_is_forgotten,
    a_store_that_becomes_ours_is_used,
];

/// With all its annotations, the hash of its data among them: nothing in it shows that it is not what was written last.
async fn a_restored_backup_is_written_over_at_the_next_refresh() {
    let (rig, _) = Rig::synced("backup", json!({"refreshInterval": "3s"})).await;
    let backup = rig.cluster.get("Secret", "e").await.unwrap();
    let rotated = rig.canaries.value("rotated");
    rig.put("app", json!({ "user": rotated })).await;
    rig.until_texts("e", json!({"user": rotated})).await;
    let annotations = &backup["metadata"]["annotations"];
    let restored = json!({"data": backup["data"], "metadata": {"annotations": annotations}});
    rig.cluster.patch("Secret", "e", &restored).await;
    rig.until_texts("e", json!({"user": rotated})).await;
    rig.finish().await;
}

async fn what_could_not_be_written_is_tried_again() {
    let from = json!({
        "target": "Labels",
        "configMap": {"name": "labels", "items": [{"key": "all", "templateAs": "KeysAndValues"}]},
    });
    let template = json!({"mergePolicy": "Merge", "templateFrom": [from]});
    let rig = Rig::new("unwritable").await;
    let labels = async |rig: &Rig, all: &str| {
        rig.apply("ConfigMap", "labels", json!({"data": {"all": all}})).await;
    };
    labels(&rig, "team: one").await;
    rig.vault_store("s").await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    let spec = json!({"refreshInterval": "1h", "data": rig.data("app", &["user"]), "target": {"template": template}});
    rig.external_secret("e", spec).await;
    rig.until_synced("e").await;

    labels(&rig, "team: no label is like this!").await;
    rig.until_failed("e", &["could not update secret"]).await;
    rig.until("a second attempt has failed".into(), async |rig: &Rig| {
        let tries = series(&rig.metrics().await, "keyferry_externalsecret_failed_attempts", &[("name", "e")]);
        ensure!(tries >= 2.0, "{tries}");
        Ok(())
    })
    .await;
    rig.until_failed("e", &["could not update secret"]).await;

    labels(&rig, "team: two").await;
    rig.until_synced("e").await;
    assert_eq!(rig.cluster.get("Secret", "e").await.unwrap()["metadata"]["labels"]["team"], "two");
    rig.finish().await;
}

/// Also where no refresh is ever due again.
async fn a_mistake_that_is_taken_back_is_forgotten() {
    for (n, policy) in
        [json!({"refreshInterval": "0"}), json!({"refreshPolicy": "CreatedOnce"})].into_iter().enumerate()
    {
        let (rig, first) = Rig::synced(&format!("reverted-{n}"), policy).await;
        rig.put("app", json!({"user": rig.canaries.value("rotated")})).await;
        rig.respec("e", json!({"dataFrom": [{"find": {"name": {"regexp": "("}}}]})).await;
        rig.until_failed("e", &["is not a regular expression"]).await;
        rig.respec("e", json!({"dataFrom": null})).await;
        rig.until_synced("e").await;
        // It is no reason to fetch.
        rig.until_texts("e", json!({"user": first})).await;
        rig.finish().await;
    }
}

async fn a_store_that_becomes_ours_is_used() {
    let rig = Rig::new("class").await;
    rig.vault_store("s").await;
    rig.cluster.patch("SecretStore", "s", &json!({"spec": {"controller": "somebody-else"}})).await;
    let user = rig.canaries.value("user");
    rig.put("app", json!({ "user": user })).await;
    rig.external_secret("e", json!({"refreshInterval": "1h", "data": rig.data("app", &["user"])})).await;
    rig.until("it was looked at".into(), async |rig: &Rig| {
        ensure!(rig.log().contains("Ignored"), "it was not");
        Ok(())
    })
    .await;
    assert!(rig.cluster.get("Secret", "e").await.is_none());
    rig.cluster.patch("SecretStore", "s", &json!({"spec": {"controller": rig.namespace()}})).await;
    rig.until_texts("e", json!({ "user": user })).await;
    rig.finish().await;
}
