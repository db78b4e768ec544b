//! A tenant whose mounts fail by the hundred, beside one who behaves.

use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::join_all;
use keyferry_node_driver_tests::rig::{APP, Base, Rig};
use serde_json::json;

tests![a_tenant_whose_mounts_fail_slows_nobody_elses];

/// How many fail in each way.
const EACH: usize = 100;

/// How long the mount of who behaves may take beside them: by itself it takes a second.
const SOON: Duration = Duration::from_secs(15);

async fn a_tenant_whose_mounts_fail_slows_nobody_elses() {
    let rig = Rig::new("loud", &[]).await;
    let quiet = Base::new(rig.testbed, "quiet", rig.testbed.vault_url()).await;
    quiet.put("db", json!({"a": "first"})).await;
    quiet.declare("db", json!({}));
    quiet.grant("db", APP).await;
    // A server that takes calls and never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
        }
    });
    rig.declare("db", json!({}));
    let server = json!({"spec": {"provider": {"vault": {"server": url}}}}).to_string();
    rig.kubectl(&["patch", "secretstore", "vault", "--type=merge", "--patch", &server], "");
    rig.grant("db", APP).await;
    let (hangs, absent) = (rig.ask("x", APP, "db").await, rig.ask("x", APP, "nothing").await);
    let of = |ask: &keyferry_node_driver_tests::kubelet::Ask, kind: &str, n: usize| {
        let mut ask = ask.clone();
        ask.pod = format!("{kind}-{n}");
        ask
    };
    let asks: Vec<_> = (0..EACH).flat_map(|n| [of(&hangs, "hangs", n), of(&absent, "absent", n)]).collect();
    let mut crowd = Box::pin(join_all(asks.iter().map(|ask| rig.kubelet.publish(ask))).fuse());
    // They have begun.
    let begun = tokio::time::timeout(Duration::from_secs(5), &mut crowd).await;
    assert!(begun.is_err(), "some wait for the server");
    let behaves = async {
        let mut longest = Duration::ZERO;
        for n in 0..5 {
            let ask = quiet.ask(&format!("web-{n}"), APP, "db").await;
            let began = Instant::now();
            rig.kubelet.publish(&ask).await.expect("it mounts");
            longest = longest.max(began.elapsed());
            assert_eq!(rig.kubelet.read(&ask.pod, "a").as_deref(), Some("first"));
            rig.kubelet.unpublish(&ask.pod).await.expect("it ends");
        }
        longest
    };
    let longest = tokio::select! {
        longest = behaves => longest,
        all = &mut crowd => panic!("all {} have ended first", all.len()),
    };
    assert!(longest < SOON, "a mount took {longest:?} beside those that fail");
}
