//! The operator as users have it: its image, installed by its chart, in pods.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Pod, Secret};
use keyferry_testkit::{Namespace, Testbed, eventually};
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

/// Longer than a busy machine takes to roll out a Deployment.
const SOON: Duration = Duration::from_secs(120);

const NAME: &str = "ferry-external-secrets";
const LEASE: &str = "external-secrets-controller";

/// A release in a namespace of its own.
pub struct Release {
    testbed: &'static Testbed,
    namespace: Namespace,
}

impl Release {
    /// Installs it. The image is that of the built program.
    pub async fn install(values: &[&str]) -> Self {
        let testbed = Testbed::with_node();
        testbed.node().keyferry().expect("the image");
        let release = Self { testbed, namespace: testbed.namespace("release").await };
        release.helm("install", values).unwrap();
        release
    }

    /// `install` or `upgrade` with these values.
    pub fn helm(&self, verb: &str, values: &[&str]) -> Result<String> {
        let chart = Testbed::chart()?;
        let mut args = vec![verb, "ferry", chart.to_str().unwrap_or_default(), "--namespace", self.namespace.name()];
        args.extend(["--set", "image.repository=localhost/keyferry,image.tag=test"]);
        args.extend(values.iter().flat_map(|value| ["--set", value]));
        self.testbed.helm(&args, "")
    }

    /// `test` or `uninstall`.
    pub fn end(&self, verb: &str) -> Result<String> {
        self.testbed.helm(&[verb, "ferry", "--namespace", self.namespace.name()], "")
    }

    /// Waits until all replicas are those that were asked for last, and ready.
    pub async fn rolled_out(&self) {
        let args = ["rollout", "status", "deployment", NAME, "--namespace", self.namespace.name(), "--timeout=1s"];
        eventually(SOON, || async {
            self.testbed.kubectl(&args, "").map_err(|error| format!("{error}; {:?}", self.logs()))
        })
        .await;
    }

    /// The operator's pods that are not on their way out.
    pub async fn pods(&self) -> Vec<Pod> {
        let ours = ListParams::default().labels("app.kubernetes.io/instance=ferry");
        let pods = self.namespace.api::<Pod>().list(&ours).await.unwrap().items;
        pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
    }

    fn logs(&self) -> Result<String> {
        let selector = "--selector=app.kubernetes.io/instance=ferry";
        self.testbed.kubectl(&["logs", selector, "--tail=5", "--prefix", "--namespace", self.namespace.name()], "")
    }

    /// The name of the pod that holds the Lease.
    async fn leader_name(&self) -> Option<String> {
        self.leader().await.metadata.name
    }

    /// Waits until another pod holds it: one that ends goes on for a while.
    async fn led_by_another_than(&self, before: &Option<String>) {
        eventually(SOON, || async {
            let now = self.leader_name().await;
            if now == *before { Err(format!("{now:?} leads still")) } else { Ok(()) }
        })
        .await;
    }

    /// The pod that holds the Lease.
    pub async fn leader(&self) -> Pod {
        let args = ["get", "lease", LEASE, "--namespace", self.namespace.name(), "--output=json"];
        eventually(SOON, || async {
            let lease: Value =
                serde_json::from_str(&self.testbed.kubectl(&args, "").map_err(|error| error.to_string())?)
                    .map_err(|error| error.to_string())?;
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
            let name = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
            let found = self.pods().await.into_iter().find(|pod| holder.starts_with(&name(pod)));
            found.ok_or_else(|| format!("no pod is {holder}"))
        })
        .await
    }
}

/// A namespace of a user whose Secrets come from OpenBao: `fixed`, and `moving`, which is fetched every second.
struct User {
    testbed: &'static Testbed,
    namespace: Namespace,
}

impl User {
    async fn new() -> Self {
        let testbed = Testbed::with_node();
        let namespace = testbed.namespace("user").await;
        let user = Self { testbed, namespace };
        for name in ["fixed", "moving"] {
            user.put(name, 0).await;
        }
        let server = testbed.node().url(&testbed.vault_url()).unwrap();
        let auth = json!({"tokenSecretRef": {"name": "token", "key": "token"}});
        let provider = json!({"vault": {"server": server, "path": "secret", "version": "v2", "auth": auth}});
        user.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"},
            "stringData": {"token": testbed.vault_token()}}));
        user.apply(&json!({"apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "bao"},
            "spec": {"provider": provider}}));
        for (name, interval) in [("fixed", "1h"), ("moving", "1s")] {
            let key = user.key(name);
            user.apply(
                &json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": name},
                "spec": {"refreshInterval": interval, "secretStoreRef": {"name": "bao"},
                    "data": [{"secretKey": "n", "remoteRef": {"key": key, "property": "n"}}]}}),
            );
        }
        user
    }

    fn apply(&self, object: &Value) {
        let args = ["apply", "--namespace", self.namespace.name(), "--filename=-"];
        self.testbed.kubectl(&args, &object.to_string()).unwrap();
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace.name())
    }

    async fn put(&self, name: &str, n: u32) {
        self.testbed.vault().put(&self.key(name), json!({"n": n.to_string()})).await.unwrap();
    }

    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        let secret = self.namespace.api::<Secret>().get_opt(name).await.unwrap()?;
        Some(secret.data?.remove("n")?.0)
    }

    async fn synced(&self) {
        for name in ["fixed", "moving"] {
            eventually(SOON, || async { self.value(name).await.ok_or("no Secret yet") }).await;
        }
    }

    /// All Secrets here, but the one that moves: what they are and how often they were written.
    async fn secrets(&self) -> BTreeMap<String, Value> {
        let all = self.namespace.api::<Secret>().list(&ListParams::default()).await.unwrap().items;
        let named = |secret: Secret| (secret.metadata.name.clone().unwrap_or_default(), json!(secret));
        all.into_iter().map(named).filter(|(name, _)| name != "moving").collect()
    }

    /// Changes what is in the store all the time until `until` is over, and tells for how long the Secret did not follow,
    /// and for how long the Lease was nobody's.
    async fn gaps_while(&self, leases: &Api<Lease>, until: impl Future<Output = ()>) -> Gaps {
        let over = std::cell::Cell::new(false);
        let work = async {
            until.await;
            over.set(true);
        };
        let watch = async {
            let (mut gaps, mut last, mut seen, mut held) = (Gaps::default(), Instant::now(), None, None);
            for n in 1.. {
                self.put("moving", n).await;
                let now = self.value("moving").await;
                if let Ok(Some(lease)) = leases.get_opt(LEASE).await {
                    gaps.hands_over(&mut held, lease.spec.unwrap_or_default());
                }
                if now != seen {
                    gaps.refresh = gaps.refresh.max(last.elapsed());
                    (last, seen) = (Instant::now(), now);
                    if over.get() {
                        break;
                    }
                }
                assert!(last.elapsed() < SOON, "no refresh any more");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            gaps
        };
        tokio::join!(work, watch).1
    }
}

/// The longest times for which something stood still.
#[derive(Debug, Default)]
struct Gaps {
    /// A Secret did not follow its store.
    refresh: Duration,
    /// From the last word of one holder of the Lease to the first of the next, by their own times.
    handover: Duration,
    /// How often it changed hands.
    handovers: usize,
}

impl Gaps {
    fn hands_over(&mut self, held: &mut Option<LeaseSpec>, now: LeaseSpec) {
        let holder = |spec: &LeaseSpec| spec.holder_identity.clone().unwrap_or_default();
        if let Some(before) = held.as_ref()
            && !holder(&now).is_empty()
            && holder(before) != holder(&now)
            && let (Some(last), Some(first)) = (&before.renew_time, &now.acquire_time)
        {
            self.handover = self.handover.max(Duration::try_from(first.0.duration_since(last.0)).unwrap_or_default());
            self.handovers += 1;
        }
        *held = Some(now);
    }
}

/// One after the other, as in the life of a release. Others need not wait for their own.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_in_pods_from_install_to_uninstall() {
    let release = Release::install(&[]).await;
    release.rolled_out().await;
    let user = User::new().await;
    user.synced().await;
    has_no_more_than_it_needs(&release).await;
    let mut ready = ready_after(&release).await;
    rolls_without_a_gap(&release, &user).await;
    ready.extend(ready_after(&release).await);
    // Some of them start while the machine is busy with what was just installed.
    // Under five, where the machine has nothing else to do.
    assert!(ready.iter().any(|seconds| *seconds < 15), "ready after {ready:?} s");
    ends_in_time(&release).await;
    leaves_secrets_alone(&release, &user).await;
}

/// How many seconds after its start each pod was ready, by the kubelet's own times.
async fn ready_after(release: &Release) -> Vec<u32> {
    let after = |pod: Pod| {
        let status = json!(pod.status);
        let started = status["containerStatuses"][0]["state"]["running"]["startedAt"].as_str().map(seconds);
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let ready = conditions.filter(|condition| condition["type"] == "Ready");
        let ready = ready.filter_map(|condition| condition["lastTransitionTime"].as_str().map(seconds)).next();
        ready.unwrap() - started.unwrap()
    };
    release.pods().await.into_iter().map(after).collect()
}

/// Seconds of the day: `2026-11-29T11:51:15Z`.
fn seconds(time: &str) -> u32 {
    let clock = time.split(['T', 'Z']).nth(1).unwrap();
    clock.split(':').fold(0, |sum, part| sum * 60 + part.parse::<u32>().unwrap())
}

/// What the chart asks for, by the kernel's word.
async fn has_no_more_than_it_needs(release: &Release) {
    let node = release.testbed.node();
    let leader = json!(release.leader().await);
    let id = leader["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
    let tasks = ctr(release, &["tasks", "list"]);
    let pid = tasks.lines().find(|line| id.ends_with(line.split_whitespace().next().unwrap_or("none"))).unwrap();
    let pid = pid.split_whitespace().nth(1).unwrap();
    let status = node.run("cat", &[&format!("/proc/{pid}/status")]).unwrap();
    let line = |name: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("Uid:"), "1000 1000 1000 1000");
    assert_eq!(line("CapEff:"), "0000000000000000");
    assert_eq!(line("CapBnd:"), "0000000000000000");
    assert_eq!(line("NoNewPrivs:"), "1");
    assert_eq!(line("Seccomp:"), "2", "the filter of the runtime");
    let mounts = node.run("cat", &[&format!("/proc/{pid}/mounts")]).unwrap();
    let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).unwrap();
    assert!(root.split(' ').nth(3).unwrap().starts_with("ro,"), "{root}");
}

fn ctr(release: &Release, args: &[&str]) -> String {
    let node = release.testbed.node();
    let ctr = node.description().ctr.to_str().unwrap();
    node.run(ctr, &[&["--namespace=k8s.io"], args].concat()).unwrap()
}

/// An upgrade to two replicas, and a rollout of both: refreshes are due every second, and the Lease changes hands.
async fn rolls_without_a_gap(release: &Release, user: &User) {
    let leases: Api<Lease> = release.namespace.api();
    let upgraded = user.gaps_while(&leases, async {
        let before = release.leader_name().await;
        release.helm("upgrade", &["replicaCount=2", "concurrent=8"]).unwrap();
        release.rolled_out().await;
        release.led_by_another_than(&before).await;
    });
    let upgraded = upgraded.await;
    let restarted = user.gaps_while(&leases, async {
        let args = ["rollout", "restart", "deployment", NAME, "--namespace", release.namespace.name()];
        let before = release.leader_name().await;
        release.testbed.kubectl(&args, "").unwrap();
        release.rolled_out().await;
        release.led_by_another_than(&before).await;
    });
    let restarted = restarted.await;
    // The Lease is given back: whoever waited for its end would wait for fifteen seconds. What comes on top of that is the
    // time that a machine takes which starts pods meanwhile.
    for gaps in [&upgraded, &restarted] {
        let (handover, refresh) = (Duration::from_secs(10), Duration::from_secs(30));
        assert!(gaps.handovers >= 1 && gaps.handover < handover && gaps.refresh < refresh, "{gaps:?}");
    }
}

/// As the kubelet ends it: with 0, and long before it would be killed.
async fn ends_in_time(release: &Release) {
    let leader = release.leader().await;
    let name = leader.metadata.name.clone().unwrap();
    let leader = json!(leader);
    let id = leader["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
    let begun = Instant::now();
    ctr(release, &["tasks", "kill", "--signal=SIGTERM", id.trim_start_matches("containerd://")]);
    let pods: Api<Pod> = release.namespace.api();
    let ended = eventually(SOON, || async {
        let status = json!(pods.get(&name).await.map_err(|error| error.to_string())?.status);
        let container = &status["containerStatuses"][0];
        let states = [&container["lastState"]["terminated"], &container["state"]["terminated"]];
        states.into_iter().find(|state| state.is_object()).cloned().ok_or_else(|| container.to_string())
    })
    .await;
    assert_eq!(ended["exitCode"], 0, "{ended}");
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    release.rolled_out().await;
}

/// Nothing of what users have is written, let alone removed, by what is done to the release.
async fn leaves_secrets_alone(release: &Release, user: &User) {
    let before = user.secrets().await;
    assert_eq!(before.keys().collect::<Vec<_>>(), ["fixed", "token"]);
    let tested = release.end("test").unwrap();
    assert!(tested.contains("Succeeded"), "{tested}");
    assert_eq!(user.secrets().await, before, "after the test");
    release.helm("upgrade", &["replicaCount=2", "concurrent=16"]).unwrap();
    release.rolled_out().await;
    assert_eq!(user.secrets().await, before, "after an upgrade");
    release.end("uninstall").unwrap();
    eventually(SOON, || async {
        let left =
            release.namespace.api::<Pod>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        if left.items.is_empty() { Ok(()) } else { Err(format!("{} pods are left", left.items.len())) }
    })
    .await;
    assert_eq!(user.secrets().await, before, "after the release");
    assert!(user.value("moving").await.is_some(), "what moved stays too");
}

/// Without a word of Kubernetes about who it is to be.
#[tokio::test(flavor = "multi_thread")]
async fn the_image_runs_as_nobody_in_particular() {
    let testbed = Testbed::with_node();
    let image = testbed.node().keyferry().unwrap();
    let namespace = testbed.namespace("image").await;
    let container = json!({"name": "main", "image": image, "args": ["--version"]});
    let spec = json!({"containers": [container], "securityContext": {"runAsNonRoot": true}});
    let pod = namespace.run_pod("version", spec).await;
    let ended = json!(pod.until_phase("Succeeded").await.status);
    assert_eq!(pod.logs().unwrap().trim(), concat!("keyferry ", env!("CARGO_PKG_VERSION")));
    let user = &ended["containerStatuses"][0]["user"]["linux"];
    assert_eq!((&user["uid"], &user["gid"]), (&json!(65532), &json!(65532)), "{ended}");
}
