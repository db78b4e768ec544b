//! The driver is killed at any moment.

use std::time::Duration;

use keyferry_node_driver_tests::rig::{APP, Rig};
use serde_json::json;

tests![what_is_mounted_stays_and_what_was_begun_is_ended];

/// How often it is killed; KEYFERRY_ROUNDS says otherwise.
const ROUNDS: usize = 5;

async fn what_is_mounted_stays_and_what_was_begun_is_ended() {
    #[expect(clippy::disallowed_methods, reason = "tests have no flags of their own")]
    let rounds = std::env::var("KEYFERRY_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let mut rig = Rig::new("crash", &[]).await;
    rig.put("db", json!({"a": "first"})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let standing = rig.ask("stands", APP, "db").await;
    rig.kubelet.publish(&standing).await.expect("it mounts");
    let mounted = rig.kubelet.mounts();
    for round in 0..rounds {
        let pod = format!("pod-{round}");
        let ask = rig.ask(&pod, APP, "db").await;
        // From before it reads anything to after all is written.
        let moment = Duration::from_millis(rand::random_range(0..400));
        let call = tokio::time::timeout(moment, async {
            if round % 2 == 0 { rig.kubelet.publish(&ask).await } else { rig.kubelet.unpublish(&pod).await }
        });
        let answered = call.await.is_ok_and(|answer| answer.is_ok());
        rig.kubelet.kill9();
        assert_eq!(rig.kubelet.read("stands", "a").as_deref(), Some("first"), "it is there though nobody runs");
        if answered && round % 2 == 0 {
            assert_eq!(rig.kubelet.read(&pod, "a").as_deref(), Some("first"), "what was answered is there");
        }
        rig.kubelet.begin().await;
        rig.kubelet.publish(&ask).await.expect("the next process goes on");
        assert_eq!(rig.kubelet.read(&pod, "a").as_deref(), Some("first"));
        assert_eq!(rig.kubelet.mounts().len(), 2, "one mount a volume: {:?}", rig.kubelet.mounts());
        rig.kubelet.publish(&standing).await.expect("what stands is answered for");
        rig.kubelet.unpublish(&pod).await.expect("it ends");
        assert_eq!(rig.kubelet.mounts(), mounted, "and nothing else");
    }
    rig.kubelet.unpublish("stands").await.expect("it ends");
    assert!(rig.kubelet.mounts().is_empty());
    assert_eq!(std::fs::read_dir(rig.kubelet.state()).expect("a folder").count(), 0);
}
