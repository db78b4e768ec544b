//! The search for secret values finds one wherever it stands: without this, finding none would prove nothing.

use keyferry_behaviour_tests::{Canaries, Rig};
use serde_json::json;

tests![a_planted_value_is_found_everywhere, what_is_found_is_not_shown, a_value_in_the_wrong_field_is_not_repeated];

async fn a_planted_value_is_found_everywhere() {
    let rig = Rig::new("planted").await;
    // Another set, so that this test can end as all others do.
    let planted = Canaries::default();
    let find = async |rig: &Rig| planted.find(&rig.places().await);
    let mut known = 0;
    let mut found = async |rig: &Rig, place: &str| {
        let all = find(rig).await;
        assert!(all.len() > known && all.iter().any(|line| line.starts_with(place)), "{place}: {all:?}");
        known = all.len();
    };
    let value = |name: &str| planted.value(name);
    assert_eq!(find(&rig).await, Vec::<String>::new());

    // In a message of a condition, on both kinds.
    rig.vault_store("s").await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    rig.external_secret("e", json!({"refreshInterval": "1h", "data": rig.data("app", &["user"])})).await;
    rig.until_synced("e").await;
    rig.until_ready("SecretStore", "s", "True", "Valid", &[]).await;
    for (kind, name) in [("ExternalSecret", "e"), ("SecretStore", "s")] {
        let message = format!("it is {}", value("status"));
        let condition = json!({"type": "Deleted", "status": "True", "message": message});
        rig.cluster.patch_status(kind, name, &json!({"status": {"conditions": [condition]}})).await;
        found(&rig, &format!("status of {kind} {name}")).await;
    }
    // In an annotation of a target, as base64 inside something longer.
    let note = keyferry_behaviour_tests::rig::base64(&format!("user:{}", value("annotation")));
    rig.cluster.patch("Secret", "e", &json!({"metadata": {"annotations": {"note": note}}})).await;
    found(&rig, "metadata of Secret e").await;
    // In an event, as a JSON text.
    let message = json!({"body": value("event")}).to_string();
    let event = json!({
        "message": message, "reason": "Planted",
        "involvedObject": {"kind": "ExternalSecret", "name": "e", "namespace": rig.namespace()},
    });
    rig.apply("Event", "planted", event).await;
    found(&rig, "event Planted of ExternalSecret e").await;
    // In the log, as bytes that were printed.
    let line = json!({"message": format!("fetched {:?}", value("log").as_bytes())});
    let mut log = std::fs::OpenOptions::new().append(true).open(rig.log_file()).unwrap();
    std::io::Write::write_all(&mut log, format!("{line}\n").as_bytes()).unwrap();
    found(&rig, "the log").await;
    // In a label of a metric: the name of an object is one.
    let name = format!("e-{:016x}", rand::random::<u64>());
    planted.add("name", &name);
    rig.external_secret(&name, json!({"data": rig.data("app", &["user"])})).await;
    rig.until_synced(&name).await;
    found(&rig, "metadata of ExternalSecret").await;
    let all = find(&rig).await;
    assert!(all.iter().any(|line| line.starts_with("/metrics")), "{all:?}");
    rig.finish().await;
}

async fn what_is_found_is_not_shown() {
    let rig = Rig::idle("not-shown").await;
    let planted = Canaries::default();
    let value = planted.value("message");
    let event = json!({
        "message": value, "reason": "Planted",
        "involvedObject": {"kind": "ExternalSecret", "name": "e", "namespace": rig.namespace()},
    });
    rig.apply("Event", "planted", event).await;
    let found = planted.find(&rig.places().await);
    assert!(!found.is_empty() && !found.concat().contains(&value));
    rig.finish().await;
}

/// Messages name keys and properties; somebody may have put a value there.
async fn a_value_in_the_wrong_field_is_not_repeated() {
    let rig = Rig::new("wrong-field").await;
    rig.vault_store("s").await;
    let plain = format!("plain-{:032x}", rand::random::<u128>());
    rig.canaries.add("plain", &plain);
    let odd = rig.canaries.value("odd");
    let dotted = format!("dotted.{:032x}", rand::random::<u128>());
    rig.canaries.add("dotted", &dotted);
    for (name, value) in [("plain", plain), ("odd", odd), ("dotted", dotted)] {
        rig.put(name, json!({ "user": value })).await;
        let reference = json!({"key": rig.key(name), "property": value});
        rig.external_secret(name, json!({"data": [{"secretKey": "user", "remoteRef": reference}]})).await;
        rig.until_failed(name, &["spec.data[0]", "property", "[redacted]"]).await;
    }
    rig.finish().await;
}
