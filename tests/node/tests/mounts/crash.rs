//! The driver is killed at any moment of a pod's life.

use std::time::Duration;

use keyferry_node_driver_tests::rig::{APP, Base};
use keyferry_testkit::Testbed;
use serde_json::json;

use crate::pods::{alone, apply_driver, driver, mounted, spec, until_mounted, until_registered};

/// How often it is killed; KEYFERRY_ROUNDS says otherwise.
const ROUNDS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn pods_begin_and_end_whatever_the_driver_is_killed_at() {
    #[expect(clippy::disallowed_methods, reason = "tests have no flags of their own")]
    let rounds = std::env::var("KEYFERRY_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let testbed = tokio::task::spawn_blocking(Testbed::with_node).await.expect("a testbed");
    let _alone = alone().await;
    let url = testbed.node().url(&testbed.vault_url()).expect("a way to the store");
    let base = Base::new(testbed, "crash", url).await;
    apply_driver(testbed);
    base.put("db", json!({"user": "ada", "password": "a word"})).await;
    base.declare("db", json!({}));
    base.grant("db", APP).await;
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("driver.log");
    let mut process = driver(&base, &log);
    until_registered(&base).await;
    let standing = base.namespace.run_pod("stands", spec(&base, APP)).await;
    standing.until_phase("Running").await;
    let before = mounted(&base).expect("the mounts");
    for round in 0..rounds {
        let pod = base.namespace.run_pod(&format!("pod-{round}"), spec(&base, APP)).await;
        // From before the kubelet asks to after the container runs.
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..2500))).await;
        process.kill();
        drop(process);
        assert_eq!(standing.exec(&["cat", "/secrets/password"]).expect("it is there though nobody runs"), "a word");
        let again = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            driver(&base, &log)
        };
        if round % 2 == 0 {
            process = again.await;
            pod.until_phase("Running").await;
            assert_eq!(pod.exec(&["cat", "/secrets/password"]).expect("it reads"), "a word");
            pod.delete().await;
        } else {
            // It goes while its mount is under way or just done, and nobody answers.
            ((), process) = tokio::join!(pod.delete(), again);
        }
        until_mounted(&base, &before).await;
    }
    standing.delete().await;
    until_mounted(&base, &[]).await;
    base.kubectl(&["delete", "csidriver", "csi.keyferry.io"], "");
}
