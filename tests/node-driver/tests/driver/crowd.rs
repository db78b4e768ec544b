//! Tenants who attack by what their pods mount, beside one who behaves: his pods have their files in time, the driver lives within
//! its memory and answers for its health, and nothing of the others is left when they end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{join, join_all};
use keyferry_hostile::server::Server;
use keyferry_node_driver_tests::kubelet::{Ask, FOLDER, Kubelet};
use keyferry_node_driver_tests::rig::{APP, Base, Rig};
use keyferry_node_driver_tests::secrets_store::{Class, SecretsStore};
use serde_json::{Value, json};
use tonic::Code;

tests![nothing_that_others_mount_slows_who_behaves];

/// How long the mount of who behaves may take beside them, and a new value of his: by itself either takes a second or two.
const SOON: Duration = Duration::from_secs(15);

/// How often he mounts, and changes a value.
const ROUNDS: usize = 8;

/// The most memory of the driver, in MiB, in a build that is not optimized, of which the program itself takes 65. Hundreds of calls
/// wait at once, and what each holds then counts: where it was all that a look works in, and what is read of a connection, it had 325.
const MEMORY_MIB: f64 = 256.0;

/// How long its health may take.
const HEALTH: Duration = Duration::from_secs(5);

/// How many pods mount what is well, each a volume of its own.
const CROWD: usize = 300;

/// What is asked of a store that answers ill, or made of what it answers, and what each pod is told that mounts it.
struct Attack {
    name: &'static str,
    /// How the attacker's store answers.
    answers: &'static str,
    /// What of the ExternalSecret is not as usual.
    spec: fn() -> Value,
    pods: usize,
    told: &'static [&'static str],
}

/// Those that are refused.
const HUGE: &[Attack] = &[
    Attack { name: "big", answers: "big", spec: || json!({}), pods: 10, told: &["(limit "] },
    Attack { name: "million-keys", answers: "million-keys", spec: || json!({}), pods: 4, told: &["(limit "] },
    Attack {
        name: "deep",
        answers: "deep",
        spec: || json!({}),
        pods: 4,
        told: &["(limit ", "deep", "nest", "JSON", "too large"],
    },
    Attack { name: "garbage", answers: "garbage", spec: || json!({}), pods: 10, told: &["SecretStore \"garbage\""] },
    Attack {
        name: "loops",
        answers: "good",
        spec: || templates(&["{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}"]),
        pods: 10,
        told: &["(limit "],
    },
    Attack {
        name: "repeats",
        answers: "good",
        spec: || templates(&["{{ repeat 4000000 \"x\" }}"; 30]),
        pods: 10,
        told: &["(limit "],
    },
    Attack {
        name: "too-much",
        answers: "good",
        spec: || templates(&["{{ repeat 200000 \"x\" }}"; 6]),
        pods: 20,
        told: &["(limit mount-bytes)"],
    },
];

/// What they may be told instead, where the attacker's own store and the machine were too slow for all of that.
const LATE: &[&str] = &[
    "did not answer within",
    "did not answer in time",
    "no answer from 127.0.0.1",
    "did not end within",
    "still waits for the same stores",
    "(limit mounts-at-once)",
];

/// Those that are never answered, or not before long.
const SLOW: &[(&str, &str, usize)] =
    &[("hangs", "hang", 100), ("trickles", "trickle", 20), ("waits", "retry-year", 20), ("slow-login", "dead", 20)];

/// An ExternalSecret of the attacker's own value with these templates.
fn templates(texts: &[&str]) -> Value {
    let data: serde_json::Map<String, Value> =
        texts.iter().enumerate().map(|(n, text)| (format!("k{n}"), json!(text))).collect();
    json!({
        "target": {"creationPolicy": "None", "template": {"data": data}},
        "dataFrom": null,
        "data": [{"secretKey": "k", "remoteRef": {"key": "k", "property": "value"}}],
    })
}

async fn nothing_that_others_mount_slows_who_behaves() {
    let providers = format!("--secrets-store-providers-dir={FOLDER}/providers");
    let rig = Rig::new("loud", &[&providers]).await;
    let base = |name: &'static str| Base::new(rig.testbed, name, rig.testbed.vault_url());
    let (quiet, slow, huge) = (base("quiet").await, base("slow").await, base("huge").await);
    for tenant in [&*rig, &quiet] {
        tenant.put("db", json!({"a": "first"})).await;
        tenant.declare("db", json!({}));
        tenant.grant("db", APP).await;
    }
    let server = Server::start(vec![]);
    for (name, answers, _) in SLOW {
        declare(&slow, name, &server.url(answers), json!({})).await;
    }
    for Attack { name, answers, spec, .. } in HUGE {
        declare(&huge, name, &server.url(answers), spec()).await;
    }
    let kubelet = &rig.kubelet;
    let (late, asked) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let forever = join_all([
        is_slow(&slow, kubelet).boxed_local(),
        is_many(&rig, kubelet).boxed_local(),
        asks_again(&rig, kubelet, &asked).boxed_local(),
        comes_and_goes(&rig, kubelet).boxed_local(),
        asks_ill(&rig, kubelet).boxed_local(),
        is_healthy(kubelet, &late).boxed_local(),
    ]);
    let ((mounts, values), ()) = tokio::select! {
        measured = join(behaves(&quiet, kubelet), is_huge(&huge, kubelet)) => measured,
        _ = forever => unreachable!("they go on for ever"),
    };
    assert!(mounts < SOON, "a mount took {mounts:?}");
    assert!(values < SOON, "a new value took {values:?}");
    assert_eq!(late.into_inner(), 0, "its health was not told in time");
    assert!(asked.into_inner() > 100, "what stands was asked for again and again");
    let peak = kubelet.peak_mib();
    assert!(peak < MEMORY_MIB, "the driver had {peak:.0} MiB");
    let log = kubelet.log();
    assert!(!log.contains("a bug of keyferry") && !log.contains("panic"), "{log}");
}

/// A store whose login is whoever mounts, and an ExternalSecret of it, both of this name.
async fn declare(base: &Base, name: &str, url: &str, spec: Value) {
    base.store(name, url);
    let mut whole = json!({
        "refreshInterval": "1s", "secretStoreRef": {"name": name}, "target": {"creationPolicy": "None"},
        "dataFrom": [{"extract": {"key": "k"}}],
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    base.apply("ExternalSecret", name, whole);
    base.grant(name, APP).await;
}

/// The same call for so many pods.
fn pods(ask: &Ask, kind: &str, count: usize) -> Vec<Ask> {
    (0..count).map(|n| Ask { pod: format!("{kind}-{n}"), ..ask.clone() }).collect()
}

/// The longest that a new pod's files took, and a new value of one that stands.
async fn behaves(quiet: &Base, kubelet: &Kubelet) -> (Duration, Duration) {
    let stands = quiet.ask("stands", APP, "db").await;
    kubelet.publish(&stands).await.expect("it mounts");
    let (mut mounts, mut values) = (Duration::ZERO, Duration::ZERO);
    for round in 0..ROUNDS {
        let ask = quiet.ask(&format!("web-{round}"), APP, "db").await;
        let began = Instant::now();
        kubelet.publish(&ask).await.expect("it mounts");
        mounts = mounts.max(began.elapsed());
        assert!(kubelet.read(&ask.pod, "a").is_some());
        kubelet.unpublish(&ask.pod).await.expect("it ends");

        let value = format!("value {round}");
        quiet.put("db", json!({"a": value})).await;
        let began = Instant::now();
        while kubelet.read("stands", "a").as_deref() != Some(&value) {
            kubelet.publish(&stands).await.expect("what stands is answered for");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        values = values.max(began.elapsed());
    }
    kubelet.unpublish("stands").await.expect("it ends");
    (mounts, values)
}

/// Each of those that are refused is told why.
async fn is_huge(huge: &Base, kubelet: &Kubelet) {
    let each = HUGE.iter().map(|attack| async move {
        let ask = huge.ask("x", APP, attack.name).await;
        let asks = pods(&ask, attack.name, attack.pods);
        for came in join_all(asks.iter().map(|ask| kubelet.publish(ask))).await {
            let refused = came.expect_err("it is refused");
            let mut told = attack.told.iter().chain(LATE);
            assert!(told.any(|part| refused.message().contains(part)), "{}: {refused}", attack.name);
            assert!(refused.message().len() < 1000, "{}: {refused}", attack.name);
        }
        assert!(!asks.iter().any(|ask| kubelet.is_mounted(&ask.pod)), "{}", attack.name);
    });
    join_all(each).await;
}

/// Pods that wait for a store, or for an ExternalSecret, that does not answer or is not there.
async fn is_slow(slow: &Base, kubelet: &Kubelet) {
    let mut asks = pods(&slow.ask("x", APP, "nothing").await, "absent", 100);
    for (name, _, count) in SLOW {
        asks.extend(pods(&slow.ask("x", APP, name).await, name, *count));
    }
    loop {
        join_all(asks.iter().map(|ask| kubelet.publish(ask))).await;
    }
}

/// Hundreds of volumes, which all stand, and then go again.
async fn is_many(rig: &Rig, kubelet: &Kubelet) {
    let asks = pods(&rig.ask("x", APP, "db").await, "many", CROWD);
    loop {
        let all = join_all(asks.iter().map(|ask| kubelet.publish(ask))).await;
        // Who waits longer than a call may take is told so, and the kubelet asks again.
        for refused in all.into_iter().filter_map(Result::err) {
            assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
        }
        for ask in &asks {
            kubelet.unpublish(&ask.pod).await.expect("it ends");
            assert!(!kubelet.target(&ask.pod).exists());
        }
    }
}

/// What stands is asked for without a pause, by ten at once.
async fn asks_again(rig: &Rig, kubelet: &Kubelet, asked: &AtomicUsize) {
    let asks = pods(&rig.ask("x", APP, "db").await, "again", 10);
    let each = asks.iter().map(|ask| async move {
        let mut calls = kubelet.calls().await;
        while kubelet.publish_by(&mut calls, ask).await.is_err() {}
        loop {
            kubelet.publish_by(&mut calls, ask).await.expect("what stands is answered for");
            asked.fetch_add(1, Ordering::Relaxed);
        }
    });
    join_all(each).await;
}

/// Pods that come and go.
async fn comes_and_goes(rig: &Rig, kubelet: &Kubelet) {
    let asks = pods(&rig.ask("x", APP, "db").await, "flaps", 10);
    let each = asks.iter().map(|ask| async move {
        loop {
            let _ = kubelet.publish(ask).await;
            kubelet.unpublish(&ask.pod).await.expect("it ends");
        }
    });
    join_all(each).await;
}

/// Attributes and classes that nobody can make sense of, or that are meant to grow.
async fn asks_ill(rig: &Rig, kubelet: &Kubelet) {
    let (good, driver) = (rig.ask("ill", APP, "db").await, SecretsStore::new(kubelet));
    let deep = "[".repeat(200_000);
    let list = json!(vec![json!({"key": "a"}); 5000]).to_string();
    let attributes = [
        ("items", deep.as_str()),
        ("items", list.as_str()),
        ("items", r#"[{"key": "a", "path": "../../../../etc/passwd"}]"#),
        ("owner", "-1"),
        ("mode", "07777777777777"),
        ("externalSecret", "../db"),
        ("nonsense", deep.as_str()),
    ];
    let bomb = (1..40).fold("a0: &a0 [x, x]\n".to_owned(), |all, n| {
        format!("{all}a{n}: &a{n} [*a{}, *a{}, *a{}]\n", n - 1, n - 1, n - 1)
    });
    loop {
        for (name, value) in attributes {
            let mut ask = good.clone();
            ask.attributes.retain(|(known, _)| known != name);
            ask.attributes.push((name.to_owned(), value.to_owned()));
            let refused = kubelet.publish(&ask).await.expect_err("it is refused");
            assert!(refused.code() == Code::InvalidArgument && refused.message().len() < 1000, "{name}: {refused}");
        }
        for parameter in [("spec", bomb.as_str()), ("spec", deep.as_str()), ("items", bomb.as_str())] {
            let class = Class::of(&[("externalSecret", "db"), parameter][usize::from(parameter.0 == "spec")..]);
            let ask = Ask { attributes: Vec::new(), ..good.clone() };
            let request = driver.request(&ask, &class, &kubelet.target("ill"));
            let refused = driver.ask("keyferry", &request).await.err().expect("it is refused");
            assert!(refused.message().contains("is no YAML") && refused.message().len() < 1000, "{refused}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Asks for the driver's health, and counts when that is not told in time.
async fn is_healthy(kubelet: &Kubelet, late: &AtomicUsize) {
    let http =
        reqwest::Client::builder().no_proxy().timeout(HEALTH).pool_max_idle_per_host(0).build().expect("a client");
    loop {
        let told = http.get(kubelet.health_url()).send().await;
        late.fetch_add(usize::from(!told.is_ok_and(|told| told.status().is_success())), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
