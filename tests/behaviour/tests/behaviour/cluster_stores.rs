//! ClusterSecretStores: who may use them, and with whose credentials.

use keyferry_behaviour_tests::{Rig, cluster};
use serde_json::{Value, json};

tests![
    a_cluster_store_serves_namespaces,
    conditions_decide_who_may_use_it,
    a_label_opens_it_at_once,
    credentials_of_whoever_asks,
    cluster_stores_can_be_switched_off,
    names_that_lead_to_this_machine_are_for_cluster_stores,
];

async fn rig(prefix: &str) -> (Rig, String) {
    let rig = Rig::new(prefix).await;
    let user = rig.canaries.value("user");
    rig.put("app", json!({ "user": user })).await;
    rig.secret("token", json!({"token": rig.vault_token().await})).await;
    (rig, user)
}

/// A ClusterSecretStore of the namespace's name, whose token is in that namespace.
async fn put_store(rig: &Rig, more: Value) {
    let mut vault = rig.vault_spec("token");
    vault["auth"]["tokenSecretRef"]["namespace"] = json!(rig.namespace());
    let mut spec = json!({"provider": {"vault": vault}});
    keyferry_behaviour_tests::rig::merge(&mut spec, &more);
    rig.apply("ClusterSecretStore", rig.namespace(), json!({ "spec": spec })).await;
}

/// An ExternalSecret of it.
async fn put_user(rig: &Rig, store: &str, interval: &str) {
    let reference = json!({"name": store, "kind": "ClusterSecretStore"});
    let spec = json!({"refreshInterval": interval, "secretStoreRef": reference, "data": rig.data("app", &["user"])});
    rig.external_secret("e", spec).await;
}

async fn a_cluster_store_serves_namespaces() {
    let (rig, user) = rig("cluster-store").await;
    put_store(&rig, json!({})).await;
    rig.until_ready("ClusterSecretStore", rig.namespace(), "True", "Valid", &["store validated"]).await;
    let store = rig.cluster.get("ClusterSecretStore", rig.namespace()).await.unwrap();
    assert_eq!(store["status"]["capabilities"], "ReadWrite");
    put_user(&rig, rig.namespace(), "1s").await;
    rig.until_texts("e", json!({ "user": user })).await;
    let user = rig.canaries.value("rotated");
    rig.put("app", json!({ "user": user })).await;
    rig.until_texts("e", json!({ "user": user })).await;
    rig.finish().await;
}

async fn conditions_decide_who_may_use_it() {
    let (rig, user) = rig("conditions").await;
    let (_, random) = rig.namespace().rsplit_once('-').unwrap();
    put_store(&rig, json!({"conditions": [{"namespaces": ["other"]}]})).await;
    put_user(&rig, rig.namespace(), "1h").await;
    let denied = format!(
        "using cluster store {:?} is not allowed from namespace {0:?}: denied by spec.condition",
        rig.namespace()
    );
    for conditions in [
        json!([{"namespaces": ["other"]}]),
        json!([{"namespaceRegexes": ["^nobody$"]}]),
        json!([{"namespaceSelector": {"matchLabels": {"team": "nobody"}}}, {"namespaces": []}]),
    ] {
        put_store(&rig, json!({ "conditions": conditions })).await;
        rig.until_failed("e", &["could not get secret data from provider", &denied]).await;
        assert!(rig.cluster.get("Secret", "e").await.is_none());
    }
    // Any means of any condition opens it; patterns match anywhere in the name.
    for conditions in [
        json!([{"namespaces": ["other"]}, {"namespaces": ["another", rig.namespace()]}]),
        json!([{"namespaceRegexes": ["^nobody$", random]}]),
        json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": rig.namespace()}}}]),
    ] {
        put_store(&rig, json!({ "conditions": [{"namespaces": ["other"]}] })).await;
        rig.force_sync("e").await;
        rig.until_failed("e", &[&denied]).await;
        put_store(&rig, json!({ "conditions": conditions })).await;
        rig.until_synced("e").await;
        rig.until_texts("e", json!({ "user": user })).await;
    }
    rig.finish().await;
}

async fn a_label_opens_it_at_once() {
    let (rig, user) = rig("label").await;
    put_store(&rig, json!({"conditions": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]})).await;
    put_user(&rig, rig.namespace(), "1h").await;
    rig.until_failed("e", &["denied by spec.condition"]).await;
    rig.cluster.patch("Namespace", rig.namespace(), &json!({"metadata": {"labels": {"team": "a"}}})).await;
    rig.until_texts("e", json!({ "user": user })).await;
    rig.finish().await;
}

/// A store whose credentials have no namespace takes those of whoever asks: with one operator for all namespaces,
/// nobody may get what another's token opens.
async fn credentials_of_whoever_asks() {
    // What one test alone sees: an operator for all namespaces would look after those of other tests too.
    let start = tokio::task::spawn_blocking(|| cluster::private(&[]));
    let testbed = start.await.expect("it does not panic").expect("a testbed");
    let mut ours = Rig::on(&testbed, "referent-a").await;
    let theirs = Rig::on(&testbed, "referent-b").await;
    ours.start(&["--namespace="]).await;
    let store = ours.namespace().to_owned();
    let spec = json!({"spec": {"provider": {"vault": ours.vault_spec("token")}}});
    ours.apply("ClusterSecretStore", &store, spec).await;
    // There is nothing to check before somebody asks.
    ours.until_ready("ClusterSecretStore", &store, "True", "Valid", &["store validated"]).await;
    let shown = ours.cluster.get("ClusterSecretStore", &store).await.unwrap();
    assert_eq!(shown["status"]["capabilities"], "ReadWrite");
    let mut held = Vec::new();
    for rig in [&ours, &theirs] {
        let user = rig.canaries.value("user");
        rig.put("app", json!({ "user": user })).await;
        held.push(user);
    }
    ours.secret("token", json!({"token": ours.vault_token().await})).await;
    put_user(&ours, &store, "1s").await;
    ours.until_texts("e", json!({"user": held[0]})).await;
    // Without a token of its own a namespace gets nothing, not even with the client of another at hand.
    put_user(&theirs, &store, "1s").await;
    theirs.until_failed("e", &["Secret \"token\"", "does not exist", theirs.namespace()]).await;
    theirs.secret("token", json!({"token": theirs.vault_token().await})).await;
    theirs.until_texts("e", json!({"user": held[1]})).await;
    // And never what only the other's token opens.
    let reference = json!({"key": ours.key("app"), "property": "user"});
    let spec = json!({
        "secretStoreRef": {"name": store, "kind": "ClusterSecretStore"},
        "data": [{"secretKey": "user", "remoteRef": reference}],
    });
    ours.external_secret("same", spec.clone()).await;
    theirs.external_secret("thief", spec).await;
    ours.until_texts("same", json!({"user": held[0]})).await;
    let key = ours.key("app");
    theirs.until_failed("thief", &["spec.data[0]", &key, "ClusterSecretStore"]).await;
    assert!(theirs.cluster.get("Secret", "thief").await.is_none());
    theirs.finish().await;
    ours.finish().await;
}

async fn cluster_stores_can_be_switched_off() {
    let mut rig = Rig::idle("switched-off").await;
    rig.start(&["--enable-cluster-store-reconciler=false"]).await;
    rig.secret("token", json!({"token": rig.vault_token().await})).await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    put_store(&rig, json!({})).await;
    put_user(&rig, rig.namespace(), "1s").await;
    // One of the namespace's own store shows that the operator works.
    rig.vault_store("s").await;
    rig.external_secret("own", json!({"data": rig.data("app", &["user"])})).await;
    rig.until_synced("own").await;
    assert_eq!(rig.ready("ExternalSecret", "e").await, None);
    assert_eq!(rig.ready("ClusterSecretStore", rig.namespace()).await, None);
    rig.finish().await;
}

async fn names_that_lead_to_this_machine_are_for_cluster_stores() {
    let mut rig = Rig::idle("where-names-lead").await;
    rig.start(&["--allow-store-addresses=10.255.0.0/16"]).await;
    let user = rig.canaries.value("user");
    rig.put("app", json!({ "user": user })).await;
    rig.secret("token", json!({"token": rig.vault_token().await})).await;
    // A name like any other: nobody knows where it leads before it is resolved.
    let server = rig.testbed.vault_url().replace("127.0.0.1", "localhost");
    assert!(server.contains("//localhost:"), "{server}");
    put_store(&rig, json!({"provider": {"vault": {"server": server}}})).await;
    put_user(&rig, rig.namespace(), "1h").await;
    rig.until_texts("e", json!({ "user": user })).await;
    for (name, server, kind) in [
        ("by-name", server.as_str(), "a loopback address"),
        ("by-address", "http://169.254.169.254", "169.254.169.254"),
    ] {
        let mut vault = rig.vault_spec("token");
        vault["server"] = json!(server);
        rig.apply("SecretStore", name, json!({"spec": {"provider": {"vault": vault}}})).await;
        let told = ["server leads to ", kind, "--allow-store-addresses="];
        rig.until_ready("SecretStore", name, "False", "InvalidProviderConfig", &told).await;
        let spec = json!({"secretStoreRef": {"name": name}, "data": rig.data("app", &["user"])});
        rig.external_secret(name, spec).await;
        rig.until_failed(name, &["is not ready", kind, "--allow-store-addresses="]).await;
    }
    rig.finish().await;
}
