//! What a volume that stands is asked for again and again.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use keyferry_node_driver_tests::rig::{APP, Base, LONG, Rig, STRANGER};
use keyferry_testkit::eventually;
use rustix::fs::{Mode, OFlags, open, openat};
use serde_json::json;

tests![
    a_new_value_comes_whole,
    a_store_that_fails_changes_nothing,
    what_stands_is_answered_for_though_no_file_can_be_opened,
    pods_of_one_service_account_are_one_to_the_store,
];

/// Reads two files of one version; `None` where a swap came between.
fn pair(volume: &Path) -> Option<(String, String)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let version = open(volume.join("..data"), flags | OFlags::DIRECTORY, Mode::empty()).ok()?;
    let read = |name: &str| -> Option<String> {
        let file: OwnedFd = openat(&version, name, flags, Mode::empty()).ok()?;
        std::io::read_to_string(fs::File::from(file)).ok()
    };
    Some((read("a")?, read("b")?))
}

async fn a_new_value_comes_whole() {
    let rig = Rig::new("rotate", &[]).await;
    rig.put("db", json!({"a": "0", "b": "0"})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let ask = rig.ask("web", APP, "db").await;
    rig.kubelet.publish(&ask).await.expect("it mounts");
    let mounted = rig.kubelet.mounts();
    let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let reader = std::thread::spawn({
        let (stop, reads, volume) = (stop.clone(), reads.clone(), rig.kubelet.target("web"));
        move || {
            let mut mixed = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                if let Some((a, b)) = pair(&volume) {
                    reads.fetch_add(1, Ordering::Relaxed);
                    if a != b {
                        mixed.push((a, b));
                    }
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            mixed
        }
    });
    for round in 1..=5 {
        let value = round.to_string();
        rig.put("db", json!({"a": value, "b": value})).await;
        eventually(LONG, || async {
            rig.kubelet.publish(&ask).await.map_err(|refused| refused.to_string())?;
            let shown = rig.kubelet.read("web", "a");
            if shown.as_deref() == Some(value.as_str()) { Ok(()) } else { Err(format!("{shown:?}")) }
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    assert_eq!(reader.join().expect("it reads"), Vec::new(), "a mix was seen");
    assert!(reads.load(Ordering::Relaxed) > 100);
    assert_eq!(rig.kubelet.mounts(), mounted, "it is the same mount");
    rig.kubelet.unpublish("web").await.expect("it ends");
}

async fn a_store_that_fails_changes_nothing() {
    let rig = Rig::new("fails", &[]).await;
    rig.put("db", json!({"a": "first"})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let ask = rig.ask("web", APP, "db").await;
    rig.kubelet.publish(&ask).await.expect("it mounts");
    let mounted = rig.kubelet.mounts();
    rig.vault.write_policy(rig.namespace.name(), "path \"x\" { capabilities = [\"deny\"] }").await.expect("a policy");
    rig.put("db", json!({"a": "second"})).await;
    let until = tokio::time::Instant::now() + Duration::from_secs(6);
    while tokio::time::Instant::now() < until {
        rig.kubelet.publish(&ask).await.expect("what stands is answered for");
        assert_eq!(rig.kubelet.read("web", "a").as_deref(), Some("first"));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(rig.kubelet.mounts(), mounted);
    let told = rig.event("web", "MountNotRefreshed", "SecretStore \"vault\"").await;
    assert!(!told.contains("first") && !told.contains("second"));
    // What the kubelet sends is no reason either.
    let mut broken = ask.clone();
    broken.tokens = String::new();
    rig.kubelet.publish(&broken).await.expect("what stands is answered for");
    let path = format!("path \"secret/data/{}/*\" {{ capabilities = [\"read\"] }}", rig.namespace.name());
    rig.vault.write_policy(rig.namespace.name(), path).await.expect("a policy");
    eventually(LONG, || async {
        rig.kubelet.publish(&ask).await.map_err(|refused| refused.to_string())?;
        let shown = rig.kubelet.read("web", "a");
        if shown.as_deref() == Some("second") { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    rig.event("web", "MountRefreshed", "as it should be again").await;
    assert_eq!(rig.kubelet.mounts(), mounted);
    rig.kubelet.unpublish("web").await.expect("it ends");
}

async fn what_stands_is_answered_for_though_no_file_can_be_opened() {
    let rig = Rig::new("files", &[]).await;
    rig.put("db", json!({"a": "first"})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let (ask, other) = (rig.ask("web", APP, "db").await, rig.ask("other", APP, "db").await);
    let mut calls = rig.kubelet.calls().await;
    rig.kubelet.publish_by(&mut calls, &ask).await.expect("it mounts");
    let mounted = rig.kubelet.mounts();
    rig.put("db", json!({"a": "second"})).await;
    let before = rig.kubelet.may_open(Some(1));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        rig.kubelet.publish_by(&mut calls, &ask).await.expect("what stands is answered for");
        rig.kubelet.publish_by(&mut calls, &other).await.expect_err("what was never there is not");
    }
    assert_eq!(rig.kubelet.read("web", "a").as_deref(), Some("first"));
    assert_eq!(rig.kubelet.mounts(), mounted);
    rig.kubelet.may_open(before);
    eventually(LONG, || async {
        rig.kubelet.publish(&ask).await.map_err(|refused| refused.to_string())?;
        let shown = rig.kubelet.read("web", "a");
        if shown.as_deref() == Some("second") { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    rig.kubelet.unpublish("web").await.expect("it ends");
}

async fn pods_of_one_service_account_are_one_to_the_store() {
    let (base, audited) = Base::audited("shared").await;
    let rig = Rig::of(base, &[]).await;
    let reads = || audited.count(&format!("secret/data/{}/db", rig.namespace.name()));
    let logins = || audited.count(&format!("auth/{}/login", rig.namespace.name()));
    rig.put("db", json!({"a": "first"})).await;
    rig.declare("db", json!({}));
    rig.refresh_every("db", "20s");
    rig.grant("db", APP).await;
    let mut asks = Vec::new();
    for n in 0..10 {
        asks.push(rig.ask(&format!("web-{n}"), APP, "db").await);
    }
    let before = reads();
    let all = asks.iter().map(|ask| rig.kubelet.publish(ask));
    // They begin together.
    for mounted in futures::future::join_all(all).await {
        mounted.expect("it mounts");
    }
    assert_eq!((reads() - before, logins()), (1, 1));
    rig.put("db", json!({"a": "second"})).await;
    let written = reads();
    let since = std::time::Instant::now();
    eventually(LONG, || async {
        for ask in &asks {
            rig.kubelet.publish(ask).await.map_err(|refused| refused.to_string())?;
        }
        let shown: Vec<_> = asks.iter().map(|ask| rig.kubelet.read(&ask.pod, "a")).collect();
        if shown.iter().all(|shown| shown.as_deref() == Some("second")) { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    let intervals = since.elapsed().as_secs() as usize / 20 + 1;
    assert!((1..=intervals).contains(&(reads() - written)), "{} reads in {intervals} intervals", reads() - written);
    assert_eq!(logins(), 1);
    // Who runs as another logs in and reads for itself.
    let stranger = rig.ask("stranger", STRANGER, "db").await;
    rig.grant("db", STRANGER).await;
    rig.kubelet.publish(&stranger).await.expect_err("the store does not know it");
    assert_eq!(rig.kubelet.read("stranger", "a"), None, "and is given nothing that another was");
    for ask in &asks {
        rig.kubelet.unpublish(&ask.pod).await.expect("it ends");
    }
}
