//! `make prove-node`: what a hundred pods cost their node and their store, and how soon a new value is there at the kubelet's own
//! pace. It prints what it measured.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use keyferry_node_driver_tests::rig::{APP, Audited, Base};
use keyferry_testkit::{Testbed, eventually};
use serde_json::{Value, json};

use crate::pods::{alone, apply_driver, driver, spec, until_mounted, until_registered};

const PODS: usize = 100;
const KEYS: usize = 20;
/// What the store is asked at, and for how many of them it is counted.
const INTERVAL: Duration = Duration::from_secs(60);
const INTERVALS: usize = 3;
/// What the process may take, in KiB.
const MEMORY: usize = 40 << 10;

/// How long all of them may take to run, on a machine that does other things besides.
const START: Duration = Duration::from_secs(1800);

/// The name of a hundred pods by their label.
const LABEL: &str = "kind=crowd";

fn pods(base: &Base) -> String {
    let pod = |n: usize| {
        let mut spec = spec(base, APP);
        spec["restartPolicy"] = json!("Never");
        spec["terminationGracePeriodSeconds"] = json!(0);
        spec["enableServiceLinks"] = json!(false);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("pod-{n}"), "labels": {"kind": "crowd"}}, "spec": spec})
    };
    json!({"apiVersion": "v1", "kind": "List", "items": (0..PODS).map(pod).collect::<Vec<_>>()}).to_string()
}

/// A line of what the kernel tells of the driver's process, in KiB.
fn memory(log: &Path, line: &str) -> usize {
    let kubeconfig = log.with_extension("kubeconfig").display().to_string();
    let mut all = std::fs::read_dir("/proc").expect("processes").flatten().map(|entry| entry.path());
    let is_it = |path: &std::path::PathBuf| {
        let text = |name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
        text("comm").trim() == "keyferry" && text("cmdline").contains(&kubeconfig)
    };
    let status = std::fs::read_to_string(all.find(is_it).expect("it runs").join("status")).expect("a status");
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.split_whitespace().next()?.parse().ok());
    found.expect("a number")
}

/// What a table shows.
fn row(what: &str, measured: impl std::fmt::Display, most: impl std::fmt::Display) {
    tell(format_args!("| {what} | {measured} | {most} |"));
}

/// It is what the run is for.
fn tell(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}"); // nobody may be there to read it
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make prove-node"]
async fn a_hundred_pods_are_one_to_their_store() {
    let testbed = tokio::task::spawn_blocking(Testbed::with_node).await.expect("a testbed");
    let _alone = alone().await;
    let audited = Audited::start().await;
    let url = testbed.node().url(audited.url()).expect("a way to the store");
    let base = Base::of_audited(testbed, "prove", &audited, url).await;
    apply_driver(testbed);
    let namespace = base.namespace.name().to_owned();
    base.declare("db", json!({}));
    let data: Vec<Value> = (0..KEYS)
        .map(|n| json!({"secretKey": format!("key-{n}"), "remoteRef": {"key": format!("{namespace}/key-{n}"), "property": "a"}}))
        .collect();
    for n in 0..KEYS {
        base.put(&format!("key-{n}"), json!({"a": "first"})).await;
    }
    let patch = json!({"spec": {"refreshInterval": "60s", "dataFrom": null, "data": data}}).to_string();
    base.kubectl(&["patch", "externalsecret", "db", "--type=merge", "--patch", &patch], "");
    base.grant("db", APP).await;
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("driver.log");
    let _process = driver(&base, &log);
    until_registered(&base).await;
    let began = Instant::now();
    base.kubectl(&["apply", "--filename=-"], &pods(&base));
    eventually(START, || async {
        let args = ["get", "pods", "--selector", LABEL, "--field-selector=status.phase=Running", "--output=name"];
        let running = base.kubectl(&args, "").lines().count();
        if running == PODS { Ok(()) } else { Err(format!("{running} run")) }
    })
    .await;
    let took = began.elapsed();
    let (logins, reads) = (format!("auth/{namespace}/login"), format!("secret/data/{namespace}/"));
    // Those that began last may have asked for themselves: from here on all are in step.
    tokio::time::sleep(INTERVAL).await;
    let before = audited.count(&reads);
    tokio::time::sleep(INTERVAL * INTERVALS as u32).await;
    let asked = audited.count(&reads) - before;
    let (memory_now, memory_most) = (memory(&log, "VmRSS:"), memory(&log, "VmHWM:"));
    tell(format_args!("\n| {PODS} pods, {KEYS} keys each, one ServiceAccount | measured | at most |\n|---|---|---|"));
    row("until all run, s", took.as_secs(), "");
    row("logins", audited.count(&logins), 1);
    row("reads until all were in step", before - KEYS, "");
    row(&format!("reads in {INTERVALS} intervals"), asked, KEYS * (INTERVALS + 1));
    row("memory of the process, now, MiB", memory_now >> 10, MEMORY >> 10);
    row("memory of the process, at most, MiB", memory_most >> 10, MEMORY >> 10);
    assert_eq!(audited.count(&logins), 1, "one login for one identity");
    assert!(asked >= KEYS * (INTERVALS - 1), "{asked} reads: they are refreshed");
    assert!(asked <= KEYS * (INTERVALS + 1), "{asked} reads: as of one pod");
    assert!(memory_most <= MEMORY, "{memory_most} KiB");
    base.kubectl(&["delete", "pods", "--selector", LABEL, "--wait=false", "--grace-period=0"], "");
    until_mounted(&base, &[]).await;
    base.kubectl(&["delete", "csidriver", "csi.keyferry.io"], "");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make prove-node"]
async fn a_new_value_comes_at_the_kubelets_own_pace() {
    let testbed = tokio::task::spawn_blocking(Testbed::with_node).await.expect("a testbed");
    let _alone = alone().await;
    let file = testbed.description().data_dir.join("node/kubelet.json");
    let ours = std::fs::read_to_string(&file).expect("the kubelet's settings");
    let mut settings: Value = serde_json::from_str(&ours).expect("JSON");
    settings.as_object_mut().expect("an object").remove("syncFrequency").expect("it is another here");
    std::fs::write(&file, settings.to_string()).expect("it is written");
    let restart = || {
        testbed.kill("kubelet").expect("it is killed");
        testbed.restart("kubelet").expect("it is there again");
    };
    restart();
    let url = testbed.node().url(&testbed.vault_url()).expect("a way to the store");
    let base = Base::new(testbed, "pace", url).await;
    apply_driver(testbed);
    base.put("db", json!({"user": "0", "password": "0"})).await;
    base.declare("db", json!({}));
    base.grant("db", APP).await;
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("driver.log");
    let _process = driver(&base, &log);
    until_registered(&base).await;
    let pod = base.namespace.run_pod("app", spec(&base, APP)).await;
    pod.until_phase("Running").await;
    // The interval, one and a half times the kubelet's minute, and what work takes.
    let most = Duration::from_secs(1 + 90 + 5);
    tell(format_args!(
        "\n| a new value in the container, by the kubelet's own pace | measured, s | at most, s |\n|---|---|---|"
    ));
    let mut longest = Duration::ZERO;
    for round in 1..=3 {
        let value = round.to_string();
        base.put("db", json!({"user": value, "password": value})).await;
        let since = Instant::now();
        eventually(most * 2, || async {
            let shown = pod.exec(&["cat", "/secrets/password"]).map_err(|error| format!("{error:#}"))?;
            if shown.trim() == value { Ok(()) } else { Err(shown) }
        })
        .await;
        longest = longest.max(since.elapsed());
        row(&format!("rotation {round}"), since.elapsed().as_secs(), most.as_secs());
    }
    assert!(longest <= most, "{longest:?}");
    pod.delete().await;
    until_mounted(&base, &[]).await;
    base.kubectl(&["delete", "csidriver", "csi.keyferry.io"], "");
    std::fs::write(&file, ours).expect("it is written");
    restart();
}
