//! Pods mount secrets through the CSI driver, as the kubelet has it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::storage::v1::CSINode;
use keyferry_node_driver_tests::rig::{APP, Base, LONG, STRANGER};
use keyferry_testkit::process::Process;
use keyferry_testkit::{Canary, Operator, Pod, Testbed, eventually};
use kube::Api;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

const CANARY: &str = "kf-canary-51d0aa";

/// How soon a new value is in the container: the interval, one and a half times that of the kubelet, and what work takes.
const SOON: Duration = Duration::from_millis(1000 + 7500 + 5000);

/// Reads two keys of a folder as fast as it can until they are this, and tells how often it did, and each mix of old and new.
const READER: &str = r#"
n=0
until [ "$a$b" = "$1$1" ]; do
  cd -P "$2/..data" && read -r a <user; read -r b <password
  [ -z "$a" ] || [ -z "$b" ] || [ "$a" = "$b" ] || echo "mix: $a $b"
  n=$((n + 1))
done 2>/dev/null
echo "$n reads"
"#;

/// One driver at a time: the node has room for one of its name, and the cluster for what the kubelet knows of it.
pub async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// The driver, as a process of the node.
pub fn driver(base: &Base, log: &Path) -> Process {
    let node = base.testbed.node().description();
    // Inside, the API server is where pods expect it.
    let text = std::fs::read_to_string(&base.kubeconfig).expect("a kubeconfig");
    let mut kubeconfig: Value = serde_json::from_str(&text).expect("JSON");
    kubeconfig["clusters"][0]["cluster"]["server"] = json!("https://10.96.0.1");
    let file = log.with_extension("kubeconfig");
    std::fs::write(&file, kubeconfig.to_string()).expect("a kubeconfig");
    let mut command = Command::new(Operator::program().expect("the program"));
    command.args(["node", "--node-name", &node.name, "--metrics-addr=127.0.0.1:18099", "--kubelet-dir"]);
    command.arg(&node.kubelet_root).arg("--kubeconfig").arg(&file);
    base.testbed.node().start("driver", command, log).expect("the driver starts")
}

/// Waits until the kubelet knows the driver.
pub async fn until_registered(base: &Base) {
    let nodes: Api<CSINode> = Api::all(base.namespace.client());
    eventually(LONG, || async {
        let node = nodes.get(&base.testbed.node().description().name).await.map_err(|error| error.to_string())?;
        let drivers: Vec<String> = node.spec.drivers.into_iter().map(|driver| driver.name).collect();
        if drivers.iter().any(|name| name == "csi.keyferry.io") { Ok(()) } else { Err(format!("{drivers:?}")) }
    })
    .await;
}

/// The object by which the kubelet knows what the driver wants, as the chart has it.
pub fn apply_driver(testbed: &Testbed) {
    let chart = Testbed::chart().expect("the chart");
    let chart = chart.to_str().expect("text");
    let only =
        ["template", "k", chart, "--set=node.enabled=true", "--kube-version=1.36.3", "--show-only=templates/node.yaml"];
    let all = testbed.helm(&only, "").expect("the chart is rendered");
    let object = all.split("\n---").find(|object| object.contains("kind: CSIDriver")).expect("it is there");
    testbed.kubectl(&["apply", "--filename=-"], object).expect("it is taken");
}

/// A pod of this account that mounts both keys.
pub fn spec(base: &Base, account: &str) -> Value {
    let image = base.testbed.node().busybox().expect("the busybox image");
    json!({
        "serviceAccountName": account,
        "securityContext": {"runAsUser": 1000, "fsGroup": 2000},
        "containers": [{
            "name": "main", "image": image, "command": ["sh", "-c", "sleep 3600"],
            "volumeMounts": [{"name": "secrets", "mountPath": "/secrets", "readOnly": true}],
        }],
        "volumes": [{"name": "secrets", "csi": {
            "driver": "csi.keyferry.io", "readOnly": true, "volumeAttributes": {"externalSecret": "db"},
        }}],
    })
}

/// All that is on a disk below a folder.
fn on_disk(folder: &Path) -> String {
    let (mut all, mut folders) = (String::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                all += &String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default());
            }
        }
    }
    all
}

/// Nothing of the value is in etcd, on the node's disk, or told.
async fn is_nowhere_else(base: &Base, pod: &Pod<'_>, log: &Path) {
    let mut canary = Canary::new();
    canary.add("password", CANARY);
    let etcd = on_disk(&base.testbed.description().data_dir.join("etcd"));
    assert!(etcd.contains("whoever-mounts"), "what is in etcd is found there");
    canary.assert_absent("etcd", &etcd);
    let folder = &base.testbed.node().description().kubelet_root;
    let folder = folder.to_str().expect("text");
    let disk = base.testbed.node().run("find", &[folder, "-xdev", "-type", "f", "-exec", "cat", "{}", "+"]);
    let disk = disk.expect("it is read");
    assert!(disk.contains("csi.keyferry.io"), "what is on the disk is found there");
    canary.assert_absent("the node's disk", &disk);
    canary.assert_absent("the driver's log", &std::fs::read_to_string(log).expect("a log"));
    canary.assert_absent("the kubelet's log", &base.testbed.log("kubelet").expect("a log"));
    canary.assert_absent("kubectl describe", &base.kubectl(&["describe", "pod", pod.name()], ""));
    canary.assert_absent("the API", &base.kubectl(&["get", "all,events,externalsecrets,secrets", "--output=json"], ""));
}

/// `keyferry who` names the pod that mounts, though there is no Secret.
fn is_told_who_mounts(base: &Base, pod: &str) {
    let program = keyferry_testkit::Operator::program().expect("the program");
    let kubeconfig = base.testbed.kubeconfig().display().to_string();
    let mut who = std::process::Command::new(program);
    let who = who.args(["who", "db", "--namespace", base.namespace.name(), "--kubeconfig", &kubeconfig]);
    let told = who.output().expect("it runs").stdout;
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("no Secret is made of it"), "{told}");
    assert!(told.lines().any(|line| line.contains(pod) && line.ends_with("Mount")), "{told}");
}

/// What the driver has mounted.
pub fn mounted(base: &Base) -> Result<Vec<String>, String> {
    let all = base.testbed.node().run("cat", &["/proc/mounts"]).map_err(|error| format!("{error:#}"))?;
    Ok(all.lines().filter(|line| line.starts_with("keyferry ")).map(str::to_owned).collect())
}

/// Waits until nothing else than this is mounted: the end of a pod's object is not that of its volumes.
pub async fn until_mounted(base: &Base, these: &[String]) {
    eventually(LONG, || async {
        let now = mounted(base)?;
        if now == these { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}

/// Writes a new value for both keys, and waits for it in the pod.
pub async fn rotate(base: &Base, pod: &Pod<'_>, value: &str) -> Duration {
    rotate_at(base, pod, "/secrets", value).await
}

/// The same where it is mounted elsewhere.
pub async fn rotate_at(base: &Base, pod: &Pod<'_>, folder: &str, value: &str) -> Duration {
    base.put("db", json!({"user": value, "password": value})).await;
    let since = Instant::now();
    let told =
        tokio::task::block_in_place(|| pod.exec(&["timeout", "90", "sh", "-c", READER, "reader", value, folder]));
    let (took, told) = (since.elapsed(), told.expect("it comes"));
    assert!(!told.contains("mix"), "{told}");
    let reads: f64 = told.trim().strip_suffix(" reads").and_then(|reads| reads.parse().ok()).expect("a number");
    let reading = took.saturating_sub(Duration::from_secs(1)).as_secs_f64();
    assert!(reads > 1000.0 * reading, "{reads} in {took:?} are too few to believe it");
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_mounts_what_no_secret_has() {
    let testbed = tokio::task::spawn_blocking(Testbed::with_node).await.expect("a testbed");
    let _alone = alone().await;
    let url = testbed.node().url(&testbed.vault_url()).expect("a way to the store");
    let base = Base::new(testbed, "pods", url).await;
    apply_driver(testbed);
    base.put("db", json!({"user": CANARY, "password": CANARY})).await;
    base.declare("db", json!({}));
    base.grant("db", APP).await;
    // It is there before the driver is.
    let early = base.namespace.run_pod("early", spec(&base, APP)).await;
    eventually(LONG, || async {
        let events = early.events().await;
        if events.iter().any(|event| event.starts_with("FailedMount")) { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("driver.log");
    let mut process = driver(&base, &log);
    until_registered(&base).await;
    early.until_phase("Running").await;
    assert_eq!(early.exec(&["cat", "/secrets/password"]).expect("it reads"), CANARY);
    let mode = early.exec(&["stat", "-L", "-c", "%a %u %g", "/secrets/password"]).expect("it is there");
    assert_eq!(mode.trim(), "640 0 2000");
    is_nowhere_else(&base, &early, &log).await;
    is_told_who_mounts(&base, early.name());
    // Who may not is told so in its events.
    let stranger = base.namespace.run_pod("stranger", spec(&base, STRANGER)).await;
    eventually(LONG, || async {
        let events = stranger.events().await;
        let is_told =
            events.iter().any(|event| event.starts_with("FailedMount") && event.contains("grant db --to stranger"));
        if is_told { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    let took = rotate(&base, &early, "the second").await;
    assert!(took < SOON, "it took {took:?}");
    // A new value comes whatever becomes of the process meanwhile.
    process.kill();
    drop(process);
    assert_eq!(early.exec(&["cat", "/secrets/password"]).expect("it is there though nobody runs"), "the second");
    let _process = driver(&base, &log);
    rotate(&base, &early, "the third").await;
    assert_eq!(mounted(&base).expect("the mounts").len(), 1, "one volume is one mount");
    early.delete().await;
    stranger.delete().await;
    until_mounted(&base, &[]).await;
    base.kubectl(&["delete", "csidriver", "csi.keyferry.io"], "");
}
