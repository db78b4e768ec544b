//! The proof in small: one change of credentials, beside some of values.

use std::time::Duration;

use keyferry_behaviour_tests::{Rig, cluster};
use keyferry_prove::prove;

#[tokio::test(flavor = "multi_thread")]
async fn all_stores_at_once_while_values_and_credentials_change() {
    let mut rig = Rig::on(cluster::shared().await, "prove").await;
    let proof = prove(&mut rig, Duration::from_secs(45)).await;
    rig.finish().await;
    let proof = proof.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(proof.stores.len() >= 12, "stores of twelve kinds: {proof:?}");
    assert!(proof.credentials >= proof.stores.len() && proof.values > proof.stores.len(), "{proof:?}");
}
