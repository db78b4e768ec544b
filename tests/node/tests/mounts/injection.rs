//! Pods that only say which ExternalSecrets they want.

use keyferry_node_driver_tests::rig::{APP, Base, LONG};
use keyferry_testkit::{Testbed, eventually};
use serde_json::{Value, json};

use crate::chart::{helm, rolled_out};
use crate::pods::{alone, rotate_at, until_mounted, until_registered};

/// What a workload of this account makes pods of.
fn template(base: &Base, command: &str, policy: &str) -> Value {
    let image = base.testbed.node().busybox().expect("the busybox image");
    let container = |name: &str, command: &str| json!({"name": name, "image": image, "command": ["sh", "-c", command]});
    json!({
        "metadata": {"labels": {"app": "asks"}, "annotations": {"keyferry.io/inject": "db"}},
        "spec": {
            "serviceAccountName": APP, "restartPolicy": policy, "terminationGracePeriodSeconds": 0,
            "initContainers": [container("first", "test \"$(cat /keyferry/db/user)\" = ada")],
            "containers": [container("main", command)],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_asks_has_its_files_and_new_values_without_a_restart() {
    let testbed = tokio::task::spawn_blocking(Testbed::with_node).await.expect("a testbed");
    let _alone = alone().await;
    testbed.node().keyferry().expect("the image");
    let url = testbed.node().url(&testbed.vault_url()).expect("a way to the store");
    let base = Base::new(testbed, "inject", url).await;
    base.put("db", json!({"user": "ada", "password": "ada"})).await;
    base.declare("db", json!({}));
    base.grant("db", APP).await;
    // The policies leave alone what is in the release's own namespace.
    base.testbed.kubectl(&["create", "namespace", "inject-release"], "").expect("a namespace");
    helm(&base, "install", "inject-release", &["node.injection.enabled=true"]).expect("it is installed");
    rolled_out(&base, "inject-release").await;
    until_registered(&base).await;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "asks"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "asks"}}, "template": template(&base, "sleep 3600", "Always"),
        },
    });
    // A pod of before the policies has nothing of it, and so never begins: they are in force a moment after they are made.
    let dry = ["create", "--dry-run=server", "--output=json", "--filename=-"];
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "dry"}});
    eventually(LONG, || async {
        let mut pod = pod.clone();
        pod["metadata"]["annotations"] = deployment["spec"]["template"]["metadata"]["annotations"].clone();
        pod["spec"] = deployment["spec"]["template"]["spec"].clone();
        let args = [&dry[..], &["--namespace", base.namespace.name()]].concat();
        let made = testbed.kubectl(&args, &pod.to_string()).map_err(|error| format!("{error:#}"))?;
        if made.contains("csi.keyferry.io") { Ok(()) } else { Err("nothing is added".to_owned()) }
    })
    .await;
    base.kubectl(&["create", "--filename=-"], &deployment.to_string());
    let name = eventually(LONG, || async {
        let name =
            base.kubectl(&["get", "pods", "--selector=app=asks", "--output=jsonpath={.items[*].metadata.name}"], "");
        if name.is_empty() { Err("no pod") } else { Ok(name) }
    })
    .await;
    let pod = base.namespace.pod(&name);
    pod.until_phase("Running").await;
    assert_eq!(pod.exec(&["cat", "/keyferry/db/password"]).expect("it reads"), "ada");
    pod.exec(&["sh", "-c", "echo x >/keyferry/db/user"]).expect_err("it is for reading");
    rotate_at(&base, &pod, "/keyferry/db", "the second").await;
    let status = pod.get().await.status.expect("a status");
    let restarts: i32 = status.container_statuses.iter().flatten().map(|container| container.restart_count).sum();
    assert_eq!(restarts, 0);
    base.kubectl(&["delete", "deployment", "asks", "--wait=true", "--cascade=foreground"], "");
    until_mounted(&base, &[]).await;
    helm(&base, "uninstall", "inject-release", &["--timeout=60s"]).expect("nobody mounts");
    base.testbed.kubectl(&["delete", "namespace", "inject-release"], "").expect("it goes");
}
