//! Events: what changed is told once, and that all is still fine is not told.

use std::time::Duration;

use anyhow::anyhow;
use keyferry_behaviour_tests::Rig;
use keyferry_behaviour_tests::operator::series;
use serde_json::{Value, json};

tests![still_fine_is_no_event, a_repeated_failure_is_one_event, a_store_tells_what_changed];

fn reasons(events: &[Value]) -> Vec<&str> {
    let mut reasons: Vec<&str> = events.iter().filter_map(|event| event["reason"].as_str()).collect();
    reasons.sort_unstable();
    reasons
}

/// A store that is ready: who asks one that has not been seen yet fails, and that is one more event.
async fn ready_store(rig: &Rig) {
    rig.vault_store("s").await;
    rig.until_ready("SecretStore", "s", "True", "Valid", &[]).await;
}

/// Waits until the events about an object have these reasons; then they had never more.
#[track_caller]
fn until_told(rig: &Rig, name: &str, wanted: &[&str]) -> impl Future<Output = Vec<Value>> {
    rig.until(format!("of {name} is told {wanted:?}"), async move |rig: &Rig| {
        let events = rig.events(name).await;
        match reasons(&events) {
            told if told == wanted => Ok(events),
            told => Err(anyhow!("{told:?}")),
        }
    })
}

async fn still_fine_is_no_event() {
    let rig = Rig::new("fine").await;
    ready_store(&rig).await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    rig.external_secret("e", json!({"refreshInterval": "1s", "data": rig.data("app", &["user"])})).await;
    rig.until_synced("e").await;
    let looks = series(&rig.metrics().await, "externalsecret_sync_calls_total", &[("name", "e")]);
    rig.until("it was refreshed some times".into(), async |rig: &Rig| {
        match series(&rig.metrics().await, "externalsecret_sync_calls_total", &[("name", "e")]) - looks {
            more if more >= 4.0 => Ok(()),
            more => Err(anyhow!("{more} times")),
        }
    })
    .await;
    let events = until_told(&rig, "e", &["Created"]).await;
    let event = &events[0];
    assert_eq!((&event["type"], &event["message"]), (&json!("Normal"), &json!("secret created")));
    assert_eq!(event["source"]["component"], "external-secrets");
    assert_eq!(event["involvedObject"]["kind"], "ExternalSecret");
    let store = until_told(&rig, "s", &["Valid"]).await;
    assert_eq!(store[0]["source"]["component"], "secret-store");
    // What changed is told.
    rig.put("app", json!({"user": rig.canaries.value("rotated")})).await;
    until_told(&rig, "e", &["Created", "Updated"]).await;
    rig.finish().await;
}

async fn a_repeated_failure_is_one_event() {
    let rig = Rig::new("failing").await;
    ready_store(&rig).await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    let reference = json!({"key": rig.key("app"), "property": "user", "decodingStrategy": "Base64"});
    let spec = json!({"refreshInterval": "1s", "data": [{"secretKey": "user", "remoteRef": reference}]});
    rig.external_secret("e", spec).await;
    let failed = rig.until_failed("e", &["is not Base64"]).await;
    let before = rig.cluster.get("ExternalSecret", "e").await.unwrap();
    let errors = async |rig: &Rig| series(&rig.metrics().await, "externalsecret_sync_calls_error", &[("name", "e")]);
    rig.until("it failed some times".into(), async |rig: &Rig| match errors(rig).await {
        count if count >= 3.0 => Ok(()),
        count => Err(anyhow!("{count} times")),
    })
    .await;
    let events = until_told(&rig, "e", &["UpdateFailed"]).await;
    assert_eq!((&events[0]["type"], &events[0]["message"]), (&json!("Warning"), &json!(failed.message)));
    let after = rig.cluster.get("ExternalSecret", "e").await.unwrap();
    assert_eq!(
        before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"],
        "the same failure is not written again"
    );
    // Each that is another is told.
    let reference = json!({"key": rig.key("gone"), "property": "user", "decodingStrategy": "None"});
    rig.respec("e", json!({"data": [{"secretKey": "user", "remoteRef": reference}]})).await;
    rig.until("the other failure is told".into(), async |rig: &Rig| match rig.events("e").await.len() {
        2 => Ok(()),
        count => Err(anyhow!("{count} events")),
    })
    .await;
    rig.finish().await;
}

async fn a_store_tells_what_changed() {
    let rig = Rig::new("store-events").await;
    let vault = rig.vault_spec("token");
    let every = json!({"spec": {"refreshInterval": "1s", "provider": {"vault": vault}}});
    rig.apply("SecretStore", "s", every).await;
    rig.until_ready("SecretStore", "s", "False", "InvalidProviderConfig", &["does not exist"]).await;
    until_told(&rig, "s", &["InvalidProviderConfig"]).await;
    // Another check fails alike.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(reasons(&rig.events("s").await), ["InvalidProviderConfig"]);
    rig.secret("token", json!({"token": rig.vault_token().await})).await;
    rig.until_ready("SecretStore", "s", "True", "Valid", &[]).await;
    until_told(&rig, "s", &["InvalidProviderConfig", "Valid"]).await;
    rig.finish().await;
}
