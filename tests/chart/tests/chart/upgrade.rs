//! From the first chart of this repository to today's: nothing is made anew, no Secret is written, and work goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use keyferry_chart_tests::{Rendered, folder, text};
use keyferry_testkit::eventually;
use serde_json::Value;

use crate::cluster::Cluster;

/// How long anything may take. Long, because machines are busy.
const SOON: Duration = Duration::from_secs(180);

/// What the first chart made of a release `keyferry` in the namespace `first`, with `first/values.yaml`.
const FIRST: &str = include_str!("../../first/release.yaml");

/// An operator is told to look after no more than that of the first chart knew: its rights and CRDs were for these alone.
const AS_THE_FIRST: [&str; 4] = [
    "--enable-push-secret-reconciler=false",
    "--enable-cluster-push-secret-reconciler=false",
    "--enable-cluster-external-secret-reconciler=false",
    "--enable-generator-state=false",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_first_chart_is_upgraded_and_nothing_is_made_anew() {
    let cluster = Cluster::mine("first").await;
    let chart = first_chart();
    let values = Path::new(env!("CARGO_MANIFEST_DIR")).join("first/values.yaml");
    let (chart, values) = (chart.path().to_str().unwrap(), values.to_str().unwrap());
    cluster.helm(&["install", "keyferry", chart, "--namespace", "first", "--values", values]).unwrap();
    let crds = cluster.crds();
    assert_eq!(crds.len(), 3, "{crds:?}");
    let account = "system:serviceaccount:first:keyferry";
    cluster.until_allowed(account, "update", "leases.coordination.k8s.io/external-secrets-controller", "first").await;
    let mut first = cluster.operator_with("keyferry", "first", &AS_THE_FIRST).await;
    cluster.synced("first").await;
    let (objects, secret) = (uids(&cluster), cluster.get("first", "secret", "app").unwrap());
    assert_eq!(objects.len(), Rendered::parse(FIRST).0.len(), "{objects:?}");

    let today = folder();
    let upgrade = ["upgrade", "keyferry", today.to_str().unwrap(), "--namespace", "first", "--reset-then-reuse-values"];
    cluster.helm(&upgrade).unwrap();
    assert_eq!(uids(&cluster), objects, "each is the one that it was");
    assert_eq!(cluster.get("first", "secret", "app").unwrap(), secret, "nobody wrote it");
    let deployment = cluster.get("first", "deployment", "keyferry").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2, "what was said at the installation holds");
    let after = cluster.crds();
    for crd in &crds {
        let now = after.iter().find(|now| now.name == crd.name).unwrap();
        assert_eq!(now.uid, crd.uid);
        assert!(now.generation > crd.generation, "{now:?}: today's schema has taken the place of the first");
    }

    // Pods of the new Deployment stand by while those of the old one end.
    cluster.until_allowed(account, "watch", "pushsecrets.external-secrets.io", "first").await;
    cluster.until_allowed(account, "watch", "clusterpushsecrets.external-secrets.io", "first").await;
    let mut second = cluster.operator("keyferry", "first").await;
    assert!(first.terminate(Duration::from_secs(60)).unwrap().success(), "{:?}", first.log());
    let value = r#"{"spec": {"provider": {"fake": {"data": [{"key": "password", "value": "later"}]}}}}"#;
    let patch = ["patch", "secretstore", "fixed", "--namespace", "first", "--type=merge", "--patch", value];
    cluster.kubectl(&patch, "").unwrap();
    let ask = ["annotate", "externalsecret", "app", "--namespace", "first", "external-secrets.io/force-sync=now"];
    cluster.kubectl(&ask, "").unwrap();
    eventually(SOON, || async {
        let now = cluster.get("first", "secret", "app").unwrap();
        if now["data"]["password"] == "bGF0ZXI=" { Ok(now) } else { Err("the value of before") }
    })
    .await;
    let now = cluster.get("first", "secret", "app").unwrap();
    assert_eq!(now["metadata"]["uid"], secret["metadata"]["uid"]);
    let log = second.log().unwrap();
    assert!(!log.contains("forbids it") && !log.contains("forbidden"), "{log}");
    second.kill9();
}

/// A chart of what the first one made.
fn first_chart() -> tempfile::TempDir {
    assert!(!FIRST.contains("{{"), "it is a template as it stands");
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("templates")).unwrap();
    std::fs::write(dir.path().join("Chart.yaml"), "apiVersion: v2\nname: keyferry\nversion: 0.1.0\n").unwrap();
    std::fs::write(dir.path().join("templates/release.yaml"), FIRST).unwrap();
    dir
}

/// The objects of the first release by kind and name: each has another uid where it was made anew, and none where it went.
fn uids(cluster: &Cluster) -> BTreeMap<String, String> {
    let args = ["get", "--filename=-", "--ignore-not-found", "--output=json"];
    let found: Value = serde_json::from_str(&cluster.kubectl(&args, FIRST).unwrap()).unwrap();
    let each = found["items"].as_array().unwrap().iter().map(|object| {
        let name = format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"));
        (name, text(object, "/metadata/uid").to_owned())
    });
    each.collect()
}
