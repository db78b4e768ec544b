//! What a volume that stands is asked for again and again.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use keyferry_node_driver_tests::rig::{APP, LONG, Rig};
use keyferry_testkit::eventually;
use rustix::fs::{Mode, OFlags, open, openat};
use serde_json::json;

tests![a_new_value_comes_whole, a_store_that_fails_changes_nothing];

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
