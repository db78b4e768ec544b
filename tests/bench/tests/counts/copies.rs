//! One key of one ClusterSecretStore in many namespaces, by a ClusterExternalSecret: one call for each refresh of them all.

use std::time::Duration;

use keyferry_bench::StoreKind;
use kube::api::{DynamicObject, ListParams};
use serde_json::json;

use crate::stage::{SOON, Stage};

const NAMESPACES: usize = 500;

const INTERVAL: u64 = 20;

pub async fn copies_of_one_key_are_one_call() {
    let mut stage = Stage::new(StoreKind::Aws, 1, INTERVAL, &["a"]).await;
    let names: Vec<String> = (0..NAMESPACES).map(|n| format!("copy-{n}")).collect();
    let namespaces = names.iter().map(|name| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"copied": "yes"}}})
    });
    stage.bed.create(&namespaces.collect::<Vec<_>>()).await.unwrap();
    let one = &stage.fleet.external_secrets()[0];
    let copier = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret", "metadata": {"name": "c"},
        "spec": {"externalSecretSpec": one["spec"], "namespaceSelectors": [{"matchLabels": {"copied": "yes"}}]},
    });
    stage.bed.create(&[copier]).await.unwrap();
    stage.start();
    let copies = stage.bed.api("ExternalSecret", None);
    let synced = async || {
        let listed = copies.list(&ListParams::default()).await.unwrap();
        let is_synced = |copy: &&DynamicObject| copy.data.pointer("/status/refreshTime").is_some();
        listed.items.iter().filter(is_synced).count()
    };
    let begun = std::time::Instant::now();
    while synced().await < NAMESPACES {
        assert!(begun.elapsed() < SOON, "{} are synced", synced().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // From the first refresh on they fall together.
    tokio::time::sleep(Duration::from_secs(INTERVAL)).await;
    stage.double.reset_counts();
    let before = stage.requests().await;
    tokio::time::sleep(Duration::from_secs(2 * INTERVAL)).await;
    let counts = stage.double.counts();
    assert!((1..=3).contains(&counts.total()), "two refreshes, or three: {}", counts.story());
    assert_eq!(counts.keys(), counts.total(), "one key in each call");
    let requests = stage.requests().await.since(&before);
    for resource in ["secrets", "externalsecrets", "clusterexternalsecrets", "namespaces"] {
        assert!(requests.about(resource).is_empty(), "{resource}: {:?}", requests.about(resource));
    }
    stage.finish();
}
