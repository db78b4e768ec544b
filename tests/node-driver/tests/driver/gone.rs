//! When files go, and when they do not.

use std::time::Duration;

use keyferry_node_driver_tests::kubelet::Ask;
use keyferry_node_driver_tests::rig::{APP, LONG, Rig};
use keyferry_testkit::eventually;
use reqwest::Method;
use serde_json::json;

tests![
    with_the_external_secret,
    with_the_right_to_read_it,
    with_the_secret_where_that_is_asked_for,
    not_with_the_secret_where_it_is_not,
];

async fn mounted(name: &str, target: serde_json::Value) -> (Rig, Ask) {
    let rig = Rig::new(name, &[]).await;
    rig.put("db", json!({"a": "first"})).await;
    rig.declare("db", target);
    rig.grant("db", APP).await;
    let ask = rig.ask("web", APP, "db").await;
    rig.kubelet.publish(&ask).await.expect("it mounts");
    assert_eq!(rig.kubelet.read("web", "a").as_deref(), Some("first"));
    (rig, ask)
}

/// Asks until the file is as told.
async fn until(rig: &Rig, ask: &Ask, value: Option<&str>) {
    eventually(LONG, || async {
        rig.kubelet.publish(ask).await.map_err(|refused| refused.to_string())?;
        let shown = rig.kubelet.read("web", "a");
        if shown.as_deref() == value { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    assert_eq!(rig.kubelet.mounts().len(), 1, "the volume stands");
}

async fn with_the_external_secret() {
    let (rig, ask) = mounted("deleted", json!({})).await;
    rig.kubectl(&["delete", "externalsecrets.external-secrets.io", "db"], "");
    until(&rig, &ask, None).await;
    assert_eq!(std::fs::read_dir(rig.kubelet.target("web")).expect("it stands").count(), 0);
    rig.event("web", "MountNotRefreshed", "the files were taken away: ExternalSecret \"db\"").await;
    rig.declare("db", json!({}));
    until(&rig, &ask, Some("first")).await;
    rig.kubelet.unpublish("web").await.expect("it ends");
}

async fn with_the_right_to_read_it() {
    let (rig, ask) = mounted("refused", json!({})).await;
    rig.kubectl(&["delete", "rolebinding", "--all"], "");
    // The API server knows it some moments later.
    let refused = || rig.kubelet.log().contains("may not get externalsecrets");
    eventually(LONG, || async {
        rig.kubelet.publish(&ask).await.map_err(|refused| refused.to_string())?;
        if refused() { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let first = tokio::time::Instant::now();
    while first.elapsed() < Duration::from_secs(50) {
        rig.kubelet.publish(&ask).await.expect("what stands is answered for");
        assert_eq!(rig.kubelet.read("web", "a").as_deref(), Some("first"), "one refusal is none");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    until(&rig, &ask, None).await;
    assert!(first.elapsed() > Duration::from_secs(55));
    rig.event("web", "MountNotRefreshed", "the files were taken away").await;
    rig.grant("db", APP).await;
    until(&rig, &ask, Some("first")).await;
    rig.kubelet.unpublish("web").await.expect("it ends");
}

async fn delete_in_store(rig: &Rig) {
    let path = format!("secret/metadata/{}/db", rig.namespace.name());
    rig.vault.request(Method::DELETE, &path, None).await.expect("it is deleted");
}

async fn with_the_secret_where_that_is_asked_for() {
    let (rig, ask) = mounted("missing", json!({"deletionPolicy": "Delete"})).await;
    delete_in_store(&rig).await;
    until(&rig, &ask, None).await;
    rig.event("web", "MountNotRefreshed", "deletionPolicy: Delete").await;
    rig.put("db", json!({"a": "again"})).await;
    until(&rig, &ask, Some("again")).await;
    rig.kubelet.unpublish("web").await.expect("it ends");
}

async fn not_with_the_secret_where_it_is_not() {
    let (rig, ask) = mounted("kept", json!({})).await;
    delete_in_store(&rig).await;
    rig.event_after("web", "MountNotRefreshed", &ask).await;
    assert_eq!(rig.kubelet.read("web", "a").as_deref(), Some("first"), "Retain keeps it");
    // A denial keeps it, too, unless its owner wants that otherwise.
    rig.put("db", json!({"a": "again"})).await;
    until(&rig, &ask, Some("again")).await;
    rig.vault.write_policy(rig.namespace.name(), "path \"x\" { capabilities = [\"deny\"] }").await.expect("a policy");
    let until_denied = tokio::time::Instant::now() + Duration::from_secs(5);
    while tokio::time::Instant::now() < until_denied {
        rig.kubelet.publish(&ask).await.expect("what stands is answered for");
        assert_eq!(rig.kubelet.read("web", "a").as_deref(), Some("again"));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    rig.kubectl(&["annotate", "externalsecrets.external-secrets.io", "db", "keyferry.io/on-denied=remove"], "");
    until(&rig, &ask, None).await;
    rig.kubelet.unpublish("web").await.expect("it ends");
}
