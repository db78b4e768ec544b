//! The driver as users have it: a DaemonSet of the chart.

use k8s_openapi::api::apps::v1::DaemonSet;
use keyferry_node_driver_tests::rig::{APP, Base, LONG};
use keyferry_testkit::{Testbed, eventually};
use kube::Api;
use serde_json::json;

use crate::pods::{alone, mounted, rotate, spec, until_mounted, until_registered};

/// `install`, `upgrade` or `uninstall` in this namespace, with these values more.
pub fn helm(base: &Base, verb: &str, namespace: &str, values: &[&str]) -> Result<String, String> {
    let chart = Testbed::chart().expect("the chart");
    let mut args = vec![verb, "mounts", "--namespace", namespace];
    if verb != "uninstall" {
        let kubelet = format!("node.kubeletDir={}", base.testbed.node().description().kubelet_root.display());
        args.insert(2, chart.to_str().expect("text"));
        args.extend(["--set", "image.repository=localhost/keyferry,image.tag=test,installCRDs=false"]);
        args.extend(["--set", "node.enabled=true,replicaCount=0", "--set", &kubelet]);
        args.extend(values.iter().flat_map(|value| ["--set", value]));
        return base.testbed.helm(&args, "").map_err(|error| format!("{error:#}"));
    }
    args.extend(values);
    base.testbed.helm(&args, "").map_err(|error| format!("{error:#}"))
}

/// Waits until the node has the DaemonSet's pod as it is now.
pub async fn rolled_out(base: &Base, namespace: &str) {
    let name = "mounts-external-secrets-node";
    eventually(LONG, || async {
        let sets: Api<DaemonSet> = Api::namespaced(base.namespace.client(), namespace);
        let set = sets.get(name).await.map_err(|error| error.to_string())?;
        let status = set.status.unwrap_or_default();
        let is_done = status.observed_generation == set.metadata.generation
            && status.updated_number_scheduled == Some(1)
            && status.number_available == Some(1);
        if is_done { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_s_driver_is_upgraded_while_pods_mount_and_stays_while_they_do() {
    let testbed = tokio::task::spawn_blocking(Testbed::with_node).await.expect("a testbed");
    let _alone = alone().await;
    testbed.node().keyferry().expect("the image");
    let url = testbed.node().url(&testbed.vault_url()).expect("a way to the store");
    let base = Base::new(testbed, "chart", url).await;
    base.put("db", json!({"user": "the first", "password": "the first"})).await;
    base.declare("db", json!({}));
    base.grant("db", APP).await;
    helm(&base, "install", base.namespace.name(), &[]).expect("it is installed");
    rolled_out(&base, base.namespace.name()).await;
    until_registered(&base).await;
    let pod = base.namespace.run_pod("app", spec(&base, APP)).await;
    pod.until_phase("Running").await;
    assert_eq!(pod.exec(&["cat", "/secrets/password"]).expect("it reads"), "the first");
    // Another process takes over what stands.
    helm(&base, "upgrade", base.namespace.name(), &["node.metricsPort=8081"]).expect("it is upgraded");
    rolled_out(&base, base.namespace.name()).await;
    rotate(&base, &pod, "the second").await;
    assert_eq!(mounted(&base).expect("the mounts").len(), 1, "it is the same mount");
    // The kubelet begins anew, and asks again.
    testbed.kill("kubelet").expect("it is killed");
    testbed.restart("kubelet").expect("it is there again");
    let read = || pod.exec(&["cat", "/secrets/password"]).map_err(|error| format!("{error:#}"));
    assert_eq!(eventually(LONG, || async { read() }).await, "the second");
    rotate(&base, &pod, "the third").await;
    assert_eq!(mounted(&base).expect("the mounts").len(), 1, "it is the same mount");
    helm(&base, "uninstall", base.namespace.name(), &["--timeout=60s"]).expect_err("a pod mounts");
    assert_eq!(pod.exec(&["cat", "/secrets/password"]).expect("it reads"), "the third");
    // What nobody declares any more goes; the mount does not.
    base.kubectl(&["delete", "externalsecret", "db"], "");
    eventually(LONG, || async {
        pod.exec(&["test", "!", "-e", "/secrets/password"]).map_err(|error| format!("{error:#}"))
    })
    .await;
    assert_eq!(mounted(&base).expect("the mounts").len(), 1, "it is the same mount");
    pod.delete().await;
    until_mounted(&base, &[]).await;
    helm(&base, "uninstall", base.namespace.name(), &["--timeout=60s"]).expect("nobody mounts");
}
