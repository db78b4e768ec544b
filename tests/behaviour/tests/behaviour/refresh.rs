//! When values are fetched again, and when not.

use std::time::{Duration, Instant};

use keyferry_behaviour_tests::Rig;
use keyferry_behaviour_tests::operator::series;
use serde_json::json;

tests![
    a_rotated_value_arrives_within_the_interval,
    force_sync_refreshes_at_once,
    a_changed_spec_refreshes_at_once,
    created_once_is_created_once,
    on_change_waits_for_a_change,
    interval_zero_waits_for_nobody,
];

/// Long enough for what happens at once to have happened.
const A_WHILE: Duration = Duration::from_millis(2500);

/// Writes new values; gives the new one.
async fn rotate(rig: &Rig) -> String {
    let value = rig.canaries.value("rotated");
    rig.put("app", json!({"user": value, "pass": value})).await;
    value
}

async fn a_rotated_value_arrives_within_the_interval() {
    let (rig, _) = Rig::synced("rotation", json!({"refreshInterval": "2s"})).await;
    let reads =
        async || series(&rig.metrics().await, "externalsecret_provider_api_calls_count", &[("call", "ReadSecretData")]);
    let (began, before) = (Instant::now(), reads().await);
    let mut rotations = 0;
    while rotations < 3 || began.elapsed() < Duration::from_secs(12) {
        let value = rotate(&rig).await;
        rig.until_texts("e", json!({"user": value})).await;
        rotations += 1;
    }
    // Half of what the interval promises: the rest is for a busy machine.
    let (took, read) = (began.elapsed(), reads().await - before);
    assert!(read >= took.as_secs_f64() / 2.0 / 2.0, "{read} reads within {took:?}");
    rig.finish().await;
}

async fn force_sync_refreshes_at_once() {
    let (rig, first) = Rig::synced("force-sync", json!({"refreshInterval": "1h"})).await;
    let value = rotate(&rig).await;
    rig.stays("nothing is due", A_WHILE, async |rig: &Rig| rig.holds("e", &json!({"user": first})).await).await;
    let before = rig.cluster.get("ExternalSecret", "e").await.unwrap();
    rig.force_sync("e").await;
    rig.until_texts("e", json!({"user": value})).await;
    rig.until("the status tells of the refresh".into(), async |rig: &Rig| {
        let after = rig.cluster.get("ExternalSecret", "e").await.unwrap_or_default();
        let field = |object: &serde_json::Value| object["status"]["syncedResourceVersion"].clone();
        if field(&after) == field(&before) {
            Err(anyhow::anyhow!("syncedResourceVersion is still {}", field(&after)))
        } else {
            Ok(())
        }
    })
    .await;
    rig.finish().await;
}

async fn a_changed_spec_refreshes_at_once() {
    let (rig, _) = Rig::synced("respec", json!({"refreshInterval": "1h"})).await;
    let value = rotate(&rig).await;
    rig.respec("e", json!({"data": rig.data("app", &["user", "pass"])})).await;
    rig.until_texts("e", json!({"user": value, "pass": value})).await;
    rig.until_synced("e").await;
    // And a key that is no longer asked for goes.
    rig.respec("e", json!({"data": rig.data("app", &["pass"])})).await;
    rig.until_texts("e", json!({"pass": value})).await;
    rig.finish().await;
}

async fn created_once_is_created_once() {
    let (rig, first) =
        Rig::synced("created-once", json!({"refreshPolicy": "CreatedOnce", "refreshInterval": "1s"})).await;
    let value = rotate(&rig).await;
    rig.force_sync("e").await;
    rig.respec("e", json!({"data": rig.data("app", &["user", "pass"])})).await;
    let still = json!({"user": first});
    rig.stays("it was created once", A_WHILE, async |rig: &Rig| rig.holds("e", &still).await).await;
    // A target that is gone is made anew, from what is asked for now.
    rig.cluster.delete("Secret", "e").await;
    rig.until_texts("e", json!({"user": value, "pass": value})).await;
    rig.finish().await;
}

async fn on_change_waits_for_a_change() {
    let (rig, first) = Rig::synced("on-change", json!({"refreshPolicy": "OnChange", "refreshInterval": "1s"})).await;
    let value = rotate(&rig).await;
    let still = json!({"user": first});
    rig.stays("nothing changed", A_WHILE, async |rig: &Rig| rig.holds("e", &still).await).await;
    rig.respec("e", json!({"data": rig.data("app", &["user", "pass"])})).await;
    rig.until_texts("e", json!({"user": value, "pass": value})).await;
    let value = rotate(&rig).await;
    rig.force_sync("e").await;
    rig.until_texts("e", json!({"user": value, "pass": value})).await;
    rig.finish().await;
}

async fn interval_zero_waits_for_nobody() {
    let (rig, first) = Rig::synced("interval-zero", json!({"refreshInterval": "0"})).await;
    let value = rotate(&rig).await;
    rig.force_sync("e").await;
    rig.respec("e", json!({"data": rig.data("app", &["user", "pass"])})).await;
    let still = json!({"user": first});
    rig.stays("the interval is zero", A_WHILE, async |rig: &Rig| rig.holds("e", &still).await).await;
    // An edit by hand is repaired all the same.
    rig.cluster.patch("Secret", "e", &json!({"stringData": {"user": "edited"}})).await;
    rig.until_texts("e", json!({"user": value, "pass": value})).await;
    rig.finish().await;
}
