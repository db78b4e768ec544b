//! What generators make that must be revoked, against a real OpenBao: leases, and the tokens that they hang on.

use std::time::Duration;

use anyhow::bail;
use keyferry_behaviour_tests::Rig;
use keyferry_behaviour_tests::dynamic::{self, GRACE, REVOKES, current, has_lease, has_token};
use reqwest::Method;
use serde_json::{Value, json};

tests![
    a_lease_lives_as_long_as_its_value_and_no_longer,
    what_ends_soon_is_prolonged,
    what_came_of_nothing_is_revoked,
    a_revocation_that_is_denied_is_told_and_tried_until_it_is_allowed,
    the_clusters_own_garbage_collector_takes_states_along,
];

const A_WHILE: Duration = Duration::from_millis(2500);

/// A rig whose OpenBao gives one-time passwords for SSH, each with a lease, to whoever has this policy besides.
async fn with_engine(prefix: &str, more: &str) -> Rig {
    with_engine_on(Rig::idle(prefix).await, more).await
}

async fn with_engine_on(mut rig: Rig, more: &str) -> Rig {
    let engine = rig.namespace().to_owned();
    rig.vault.mount(&engine, "ssh", json!({})).await.expect("OpenBao mounts an engine");
    let role = json!({"key_type": "otp", "default_user": "u", "cidr_list": "0.0.0.0/0"});
    rig.vault.request(Method::POST, &format!("{engine}/roles/r"), Some(&role)).await.expect("a role");
    dynamic::login(&rig, &rules(&rig, more)).await;
    rig.start(&[GRACE]).await;
    rig
}

fn rules(rig: &Rig, more: &str) -> String {
    format!("path \"{}/creds/r\" {{ capabilities = [\"create\", \"update\"] }} {more}", rig.namespace())
}

fn secret(rig: &Rig, path: &str, more: Value) -> Value {
    dynamic::secret(rig.vault.url(), path, more)
}

fn otp(rig: &Rig) -> Value {
    secret(rig, &format!("{}/creds/r", rig.namespace()), json!({"parameters": {"ip": "10.0.0.1"}}))
}

async fn asks(rig: &Rig) {
    dynamic::ask(rig, "e", "VaultDynamicSecret", "g", "1h").await;
}

async fn states(rig: &Rig) -> Vec<Value> {
    rig.cluster.list("GeneratorState").await
}

async fn a_lease_lives_as_long_as_its_value_and_no_longer() {
    let mut rig = with_engine("leases", REVOKES).await;
    rig.apply("VaultDynamicSecret", "g", otp(&rig)).await;
    asks(&rig).await;
    rig.until_synced("e").await;
    let first = json!(rig.texts("e").await.expect("it is there"));
    assert_eq!(first["username"], "u");
    let old = rig.until("its state is there".into(), async |rig: &Rig| current(rig).await).await;
    assert!(has_lease(&rig, &old).await && has_token(&rig, &old["spec"]["state"]["accessor"]).await);
    assert!(!old.to_string().contains(first["key"].as_str().unwrap()), "{old}");
    // Another process makes nothing anew.
    rig.kill9();
    rig.start(&[GRACE]).await;
    rig.stays("nothing is due", A_WHILE, async |rig: &Rig| rig.holds("e", &first).await).await;
    // What takes its place ends it, after the grace.
    rig.force_sync("e").await;
    rig.until("it is replaced".into(), async |rig: &Rig| match rig.holds("e", &first).await {
        Ok(()) => bail!("still the same"),
        Err(_) => Ok(()),
    })
    .await;
    rig.until("the old one is revoked".into(), async |rig: &Rig| {
        if has_lease(rig, &old).await || has_token(rig, &old["spec"]["state"]["accessor"]).await {
            bail!("it works still")
        }
        current(rig).await.map(drop)
    })
    .await;
    let new = current(&rig).await.expect("one");
    assert!(has_lease(&rig, &new).await, "the one that is in use");
    // It goes with its ExternalSecret: the cluster deletes what that owned.
    rig.cluster.delete("ExternalSecret", "e").await;
    rig.cluster.delete("GeneratorState", new["metadata"]["name"].as_str().unwrap()).await;
    rig.until("all is revoked".into(), async |rig: &Rig| {
        if has_lease(rig, &new).await || !states(rig).await.is_empty() { bail!("something is left") } else { Ok(()) }
    })
    .await;
    rig.finish().await;
}

async fn what_ends_soon_is_prolonged() {
    let rig = with_engine("prolonged", REVOKES).await;
    let more = json!({"parameters": {"ttl": "20s", "renewable": true}, "resultType": "Auth"});
    rig.apply("VaultDynamicSecret", "g", secret(&rig, "auth/token/create", more)).await;
    asks(&rig).await;
    rig.until_synced("e").await;
    let first = json!(rig.texts("e").await.expect("it is there"));
    rig.canaries.add("a token that was made", first["client_token"].as_str().unwrap());
    rig.stays("it is prolonged", Duration::from_secs(45), async |rig: &Rig| rig.holds("e", &first).await).await;
    assert!(has_token(&rig, &first["accessor"]).await, "without that it would have ended");
    rig.finish().await;
}

async fn what_came_of_nothing_is_revoked() {
    let rig = with_engine("nothing", REVOKES).await;
    rig.apply("VaultDynamicSecret", "g", secret(&rig, &format!("{}/creds/other", rig.namespace()), json!({}))).await;
    asks(&rig).await;
    rig.until_failed("e", &["spec.dataFrom[0].sourceRef.generatorRef", "does not let us use"]).await;
    rig.until("no state is left".into(), async |rig: &Rig| match states(rig).await.len() {
        0 => Ok(()),
        left => bail!("{left} are left"),
    })
    .await;
    rig.finish().await;
}

async fn a_revocation_that_is_denied_is_told_and_tried_until_it_is_allowed() {
    let rig = with_engine("denied", "").await;
    rig.apply("VaultDynamicSecret", "g", otp(&rig)).await;
    asks(&rig).await;
    rig.until_synced("e").await;
    let old = rig.until("its state is there".into(), async |rig: &Rig| current(rig).await).await;
    let name = old["metadata"]["name"].as_str().unwrap().to_owned();
    rig.force_sync("e").await;
    rig.until("it is told".into(), async |rig: &Rig| {
        let state = rig.cluster.get("GeneratorState", &name).await;
        let message = state.as_ref().map(|state| state["status"]["conditions"][0]["message"].to_string());
        match message {
            Some(message) if message.contains("allow update on auth/token/revoke-accessor") => Ok(()),
            other => bail!("it says {other:?}"),
        }
    })
    .await;
    assert!(has_lease(&rig, &old).await);
    let events = rig.until("an event tells it".into(), async |rig: &Rig| match rig.events(&name).await {
        none if none.is_empty() => bail!("there is none"),
        events => Ok(events),
    });
    for event in events.await {
        assert_eq!((&event["source"]["component"], &event["type"]), (&json!("generator-state"), &json!("Warning")));
        assert_eq!(event["involvedObject"]["kind"], "GeneratorState");
    }
    dynamic::allow(&rig, &rules(&rig, REVOKES)).await;
    rig.until("it is revoked".into(), async |rig: &Rig| {
        if has_lease(rig, &old).await || rig.cluster.get("GeneratorState", &name).await.is_some() {
            bail!("it is there still")
        }
        Ok(())
    })
    .await;
    rig.finish().await;
}

async fn the_clusters_own_garbage_collector_takes_states_along() {
    let start = tokio::task::spawn_blocking(|| keyferry_behaviour_tests::cluster::private(&[]));
    let testbed = start.await.expect("it does not panic").expect("a testbed");
    let rig = with_engine_on(Rig::on(&testbed, "collected").await, REVOKES).await;
    rig.apply("VaultDynamicSecret", "g", otp(&rig)).await;
    asks(&rig).await;
    rig.until_synced("e").await;
    let state = rig.until("its state is there".into(), async |rig: &Rig| current(rig).await).await;
    assert!(has_lease(&rig, &state).await);
    // Nobody deletes the state by hand.
    rig.cluster.delete("ExternalSecret", "e").await;
    rig.until("all is revoked".into(), async |rig: &Rig| {
        if has_lease(rig, &state).await || !states(rig).await.is_empty() { bail!("something is left") } else { Ok(()) }
    })
    .await;
    rig.finish().await;
}
