//! Whatever ends a testbed with a node, nothing of that is left; and it goes on where one of its programs does not.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use keyferry_testkit::description::Description;
use keyferry_testkit::process::{Signal, is_running, send_signal};
use keyferry_testkit::{Testbed, eventually};

const SOON: Duration = Duration::from_secs(120);

/// What can be seen of a node from outside.
struct Traces {
    data_dir: PathBuf,
    cgroups: Vec<PathBuf>,
    init: u32,
    /// The name of its namespace of processes.
    processes: PathBuf,
    /// And of that of its network.
    network: PathBuf,
}

impl Traces {
    fn of(description: &Description) -> Self {
        let node = description.node.clone().unwrap();
        let space = |kind: &str| std::fs::read_link(format!("/proc/{}/ns/{kind}", node.init)).unwrap();
        let traces = Self {
            data_dir: description.data_dir.clone(),
            cgroups: node.cgroups,
            init: node.init,
            processes: space("pid"),
            network: space("net"),
        };
        // The check finds what it looks for.
        assert!(traces.processes_left() >= 7, "init, containerd, kubelet, kube-proxy, a shim, two containers");
        assert!(
            traces.cgroups.len() > 5 && traces.cgroups.iter().all(|folder| folder.is_dir()),
            "{:?}",
            traces.cgroups
        );
        assert_ne!(traces.network, std::fs::read_link("/proc/self/ns/net").unwrap());
        traces
    }

    /// How many processes are in its cgroups (containers among them), in its namespace of processes, or in its network.
    fn processes_left(&self) -> usize {
        let name = self.cgroups[0].file_name().unwrap().to_str().unwrap();
        let is_ours = |process: &Path| {
            let space = |kind: &str| std::fs::read_link(process.join("ns").join(kind)).unwrap_or_default();
            let cgroups = std::fs::read_to_string(process.join("cgroup")).unwrap_or_default();
            cgroups.contains(name) || space("pid") == self.processes || space("net") == self.network
        };
        let all = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        all.filter(|process| is_ours(process)).count()
    }

    async fn no_process_is_left(&self) {
        eventually(SOON, || async {
            match self.processes_left() {
                0 if !is_running(self.init) => Ok(()),
                left => Err(format!("{left} processes are left")),
            }
        })
        .await;
    }

    fn no_mount_is_left(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = ["keyferry/kubelet", "keyferry/containerd", self.data_dir.to_str().unwrap()];
        let left: Vec<&str> = mounts.lines().filter(|line| ours.iter().any(|ours| line.contains(ours))).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    fn no_cgroup_is_left(&self) {
        let left: Vec<&PathBuf> = self.cgroups.iter().filter(|folder| folder.exists()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_without_its_kubelet_and_ends_with_the_testbed() {
    let testbed = Testbed::private(&["--node"]).unwrap();
    let namespace = testbed.namespace("survivor").await;
    let pod = namespace.run_script("survivor", "while :; do date +%s; sleep 1; done").await;
    let before = pod.until_phase("Running").await;
    for server in ["kubelet", "containerd"] {
        let old = testbed.pid(server).unwrap();
        testbed.kill(server).unwrap();
        eventually(SOON, || async { if is_running(old) { Err("it still runs") } else { Ok(()) } }).await;
        testbed.restart(server).unwrap();
        assert_ne!(testbed.pid(server).unwrap(), old);
    }
    // Who asks the kubelet before it has found its pods again is refused.
    eventually(SOON, || async { pod.exec(&["true"]) }).await;
    let id = |pod: &k8s_openapi::api::core::v1::Pod| {
        let status = pod.status.clone().unwrap().container_statuses.unwrap().remove(0);
        (status.container_id, status.restart_count)
    };
    assert_eq!(id(&pod.get().await), id(&before), "the container never noticed");

    let traces = Traces::of(&testbed.description());
    drop((namespace, testbed));
    traces.no_process_is_left().await;
    traces.no_mount_is_left();
    traces.no_cgroup_is_left();
    assert!(!traces.data_dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_supervisor_ends_the_node_and_the_next_run_tidies_up() {
    let testbed = Testbed::private(&["--node"]).unwrap();
    let namespace = testbed.namespace("orphan").await;
    namespace.run_script("orphan", "sleep 600").await.until_phase("Running").await;
    let traces = Traces::of(&testbed.description());
    send_signal(testbed.supervisor_pid().unwrap(), Signal::KILL).unwrap();
    traces.no_process_is_left().await;
    traces.no_mount_is_left();
    // Folders and empty cgroups stay behind: nobody was there to remove them.
    let start = Instant::now();
    drop(Testbed::private(&[]).unwrap());
    assert!(start.elapsed() < SOON);
    traces.no_cgroup_is_left();
    assert!(!traces.data_dir.exists());
}

#[test]
fn a_machine_that_allows_none_is_told_what_it_lacks() {
    let mut testbed = Command::new(env!("CARGO_BIN_EXE_testbed"));
    testbed.args(["up", "--node", "--", "true"]).uid(65534);
    let output = testbed.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("it lacks root") && said.contains("KEYFERRY_WITHOUT_NODE=1"), "{said}");
}
