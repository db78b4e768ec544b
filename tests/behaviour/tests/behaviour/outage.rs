//! Servers that are away or hang.

use std::time::{Duration, Instant};

use keyferry_behaviour_tests::operator::series;
use keyferry_behaviour_tests::{Operator, Rig, cluster};
use keyferry_testkit::process::Signal;
use keyferry_testkit::{OpenBao, OpenBaoOptions, Testbed};
use serde_json::json;

tests![
    an_api_server_that_comes_back_is_followed_on,
    a_leader_without_api_server_stops,
    a_replica_that_stands_by_goes_on_where_the_leader_was_killed,
    a_store_that_hangs_holds_nobody_else,
    a_store_that_is_away_is_told_and_found_again,
];

async fn private() -> Testbed {
    tokio::task::spawn_blocking(|| cluster::private(&[])).await.expect("it does not panic").expect("a testbed")
}

async fn in_background(act: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(act).await.expect("it does not panic");
}

/// A rig with a synced ExternalSecret `e` in the store `s`.
async fn synced(mut rig: Rig, args: &[&str]) -> Rig {
    rig.start(args).await;
    rig.vault_store("s").await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    rig.external_secret("e", json!({"refreshInterval": "1s", "data": rig.data("app", &["user"])})).await;
    rig.until_synced("e").await;
    rig
}

async fn rotated(rig: &Rig) {
    let user = rig.canaries.value("rotated");
    rig.put("app", json!({ "user": user })).await;
    rig.until_texts("e", json!({ "user": user })).await;
}

async fn an_api_server_that_comes_back_is_followed_on() {
    let testbed = private().await;
    let mut rig = synced(Rig::on(&testbed, "api-server").await, &[]).await;
    let user = rig.canaries.value("rotated");
    testbed.kill("kube-apiserver").expect("it runs");
    rig.put("app", json!({ "user": user })).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(rig.operator().process().exited().unwrap().is_none(), "it goes on without an API server");
    let restarted = testbed.clone();
    in_background(move || restarted.restart("kube-apiserver").expect("it starts again")).await;
    rig.until_texts("e", json!({ "user": user })).await;
    // The watches go on too: what is edited and what is new is seen at once.
    rig.cluster.patch("Secret", "e", &json!({"stringData": {"user": "edited"}})).await;
    rig.until_texts("e", json!({ "user": user })).await;
    rig.external_secret("new", json!({"refreshInterval": "1h", "data": rig.data("app", &["user"])})).await;
    rig.until_synced("new").await;
    rig.finish().await;
}

/// How long a Lease lasts here: long, because machines are busy.
const LEASE: Duration = Duration::from_secs(15);

fn election(rig: &Rig) -> [String; 5] {
    [
        format!("--leader-election-id={}", rig.namespace()),
        format!("--leader-election-namespace={}", rig.namespace()),
        format!("--leader-election-lease-duration={}s", LEASE.as_secs()),
        "--leader-election-renew-deadline=10s".to_owned(),
        "--leader-election-retry-period=1s".to_owned(),
    ]
}

async fn a_leader_without_api_server_stops() {
    let testbed = private().await;
    let rig = Rig::on(&testbed, "lost-lease").await;
    let election = election(&rig);
    let args: Vec<&str> = election.iter().map(String::as_str).collect();
    let mut rig = synced(rig, &args).await;
    let began = Instant::now();
    testbed.freeze("kube-apiserver").expect("it runs");
    let mut operator = rig.operator.take().expect("it runs");
    // Before another may lead: with an exit code that says that it did not end as asked.
    let ended = tokio::task::spawn_blocking(move || operator.process().wait(Duration::from_secs(60))).await.unwrap();
    let took = began.elapsed();
    testbed.thaw("kube-apiserver").expect("it is frozen");
    assert_eq!(ended.expect("it ends").code(), Some(1));
    assert!(took < LEASE, "it took {took:?}");
    rig.start(&args).await;
    rotated(&rig).await;
    rig.finish().await;
}

async fn a_replica_that_stands_by_goes_on_where_the_leader_was_killed() {
    let rig = Rig::idle("standby").await;
    let election = election(&rig);
    let args: Vec<&str> = election.iter().map(String::as_str).collect();
    let mut rig = synced(rig, &args).await;
    let second = Operator::start(&rig.testbed, &rig.args(&args), &rig.env, &rig.log_file()).await.expect("it starts");
    // The leader goes on, and the other knows all, but asks no store and writes nothing.
    for _ in 0..3 {
        rotated(&rig).await;
    }
    let calls = |text: &str| {
        let asked = series(text, "externalsecret_provider_api_calls_count", &[]);
        let looked = series(text, "externalsecret_sync_calls_total", &[]);
        (series(text, "keyferry_leader", &[]), asked, looked)
    };
    assert_eq!(calls(&second.metrics().await.expect("metrics")), (0.0, 0.0, 0.0));
    assert_eq!(rig.log().matches("standing by: all is listed").count(), 1);
    rig.kill9();
    rig.operator = Some(second);
    rotated(&rig).await;
    assert_eq!(series(&rig.metrics().await, "keyferry_leader", &[]), 1.0);
    rig.cluster.patch("Secret", "e", &json!({"stringData": {"user": "edited"}})).await;
    rotated(&rig).await;
    // Asked to end, it gives the Lease back, and who comes next need not wait for its end.
    rig.stop().await;
    let holder = ["get", "lease", rig.namespace(), "-n", rig.namespace(), "-o", "jsonpath={.spec.holderIdentity}"];
    assert_eq!(rig.testbed.kubectl(&holder, "").expect("kubectl"), "");
    rig.start(&args).await;
    rotated(&rig).await;
    rig.finish().await;
}

async fn a_store_that_hangs_holds_nobody_else() {
    let mut bao = OpenBao::start(&OpenBaoOptions::default()).await.expect("OpenBao");
    // One thing at a time: what hangs is no reason not to do the next.
    let rig = synced(Rig::idle("hangs").await, &["--concurrent=1"]).await;
    rig.secret("other-token", json!({"token": bao.token()})).await;
    let mut vault = rig.vault_spec("other-token");
    vault["server"] = json!(bao.url());
    rig.apply("SecretStore", "other", json!({"spec": {"provider": {"vault": vault}}})).await;
    let user = rig.canaries.value("other");
    bao.client().unwrap().put(&rig.key("app"), json!({ "user": user })).await.unwrap();
    let spec = json!({
        "refreshInterval": "1s", "secretStoreRef": {"name": "other"}, "data": rig.data("app", &["user"]),
    });
    for name in ["a", "b", "c"] {
        rig.external_secret(name, spec.clone()).await;
        rig.until_synced(name).await;
    }
    bao.process().signal(Signal::STOP).expect("it runs");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    for _ in 0..3 {
        rotated(&rig).await;
    }
    // One call that hangs ends after 30 s.
    assert!(began.elapsed() < Duration::from_secs(25), "it took {:?}", began.elapsed());
    bao.process().signal(Signal::CONT).expect("it is frozen");
    let user = rig.canaries.value("other");
    bao.client().unwrap().put(&rig.key("app"), json!({ "user": user })).await.unwrap();
    for name in ["a", "b", "c"] {
        rig.until_texts(name, json!({ "user": user })).await;
    }
    rig.finish().await;
}

async fn a_store_that_is_away_is_told_and_found_again() {
    let mut bao = OpenBao::start(&OpenBaoOptions::default()).await.expect("OpenBao");
    let rig = Rig::new("away").await;
    rig.secret("token", json!({"token": bao.token()})).await;
    let mut vault = rig.vault_spec("token");
    vault["server"] = json!(bao.url());
    rig.apply("SecretStore", "s", json!({"spec": {"provider": {"vault": vault}}})).await;
    let user = rig.canaries.value("user");
    bao.client().unwrap().put(&rig.key("app"), json!({ "user": user })).await.unwrap();
    rig.external_secret("e", json!({"refreshInterval": "1s", "data": rig.data("app", &["user"])})).await;
    rig.until_texts("e", json!({ "user": user })).await;
    bao.process().kill();
    let key = rig.key("app");
    rig.until_failed("e", &["spec.data[0]", &key, "SecretStore \"s\"", "refuses connections"]).await;
    rig.holds("e", &json!({ "user": user })).await.expect("the target stays");
    // It comes back on the same port, with nothing in it: that is not found, and the target stays again.
    bao.restart().await.expect("it starts again");
    let user = rig.canaries.value("user");
    bao.client().unwrap().put(&rig.key("app"), json!({ "user": user })).await.unwrap();
    rig.until_texts("e", json!({ "user": user })).await;
    rig.until_synced("e").await;
    rig.finish().await;
}
