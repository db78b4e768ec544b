//! Pods that only say which ExternalSecrets they want, and what `keyferry migrate vault-agent` has them say.

use keyferry_migrate::agent::{VaultAgent, run};
use keyferry_node_driver_tests::rig::{APP, Base, LONG};
use keyferry_testkit::{Pod, Testbed, eventually};
use serde_json::{Value, json};

use crate::chart::{helm, rolled_out};
use crate::pods::{alone, rotate_at, until_mounted, until_registered};

/// A Deployment of one pod that says this, and whose first container does this before it is ready.
fn deployment(base: &Base, name: &str, annotations: &Value, first: &str) -> Value {
    let image = base.testbed.node().busybox().expect("the busybox image");
    let container = |name: &str, command: &str| json!({"name": name, "image": image, "command": ["sh", "-c", command]});
    let template = json!({
        "metadata": {"labels": {"app": name}, "annotations": annotations},
        "spec": {
            "serviceAccountName": APP, "terminationGracePeriodSeconds": 0,
            "initContainers": [container("first", first)], "containers": [container("main", "sleep 3600")],
        },
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": base.namespace.name()},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template},
    })
}

/// The pod of a Deployment, once it is the only one and runs.
async fn only_pod<'b>(base: &'b Base, name: &str, volume: &str) -> Pod<'b> {
    let pod = eventually(LONG, || async {
        let all = base.kubectl(&["get", "pods", &format!("--selector=app={name}"), "--output=json"], "");
        let all: Value = serde_json::from_str(&all).expect("JSON");
        match all["items"].as_array().map(Vec::as_slice) {
            Some([pod]) if pod["spec"]["volumes"].to_string().contains(volume) => {
                Ok(pod["metadata"]["name"].as_str().expect("a name").to_owned())
            }
            _ => Err(all.to_string()),
        }
    })
    .await;
    let pod = base.namespace.pod(&pod);
    pod.until_phase("Running").await;
    pod
}

/// The policies are in force a moment after they are made; a pod of before then has nothing of it.
async fn until_in_force(base: &Base, deployment: &Value) {
    eventually(LONG, || async {
        let mut pod = deployment["spec"]["template"].clone();
        (pod["apiVersion"], pod["kind"], pod["metadata"]["name"]) = (json!("v1"), json!("Pod"), json!("dry"));
        let args =
            ["create", "--dry-run=server", "--output=json", "--namespace", base.namespace.name(), "--filename=-"];
        let made = base.testbed.kubectl(&args, &pod.to_string()).map_err(|error| format!("{error:#}"))?;
        if made.contains("csi.keyferry.io") { Ok(()) } else { Err("nothing is added".to_owned()) }
    })
    .await;
}

/// What a workload asks of Vault's injector is in its files after the migration, as it is printed.
async fn what_vault_s_injector_wrote_is_there(base: &Base) {
    let path = format!("secret/data/{}/db", base.namespace.name());
    let template = format!(
        "{{{{- with secret \"{path}\" }}}}\nuser={{{{ .Data.data.user }}}}\n{{{{- range $k, $v := .Data.data }}}}\n{{{{ $k }}}}: {{{{ $v }}}}\n\
         {{{{- end }}}}\n{{{{- end }}}}\n"
    );
    let annotations = json!({
        "vault.hashicorp.com/agent-inject": "true", "vault.hashicorp.com/role": "app", "vault.hashicorp.com/service": base.url,
        "vault.hashicorp.com/auth-path": format!("auth/{}", base.namespace.name()),
        "vault.hashicorp.com/agent-inject-template-config": template,
        "vault.hashicorp.com/agent-inject-perms-config": "0444", "vault.hashicorp.com/agent-inject-file-config": "sub/config.txt",
    });
    let deployment = deployment(base, "agent", &annotations, "true").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("deployment.yaml"), &deployment).expect("a file");
    base.kubectl(&["create", "--filename=-"], &deployment);
    let args = VaultAgent {
        paths: vec![folder.path().to_owned()],
        refresh_interval: "1s".to_owned(),
        audience: "vault".to_owned(),
        ..VaultAgent::default()
    };
    let (mut manifests, mut report) = (Vec::new(), Vec::new());
    run(&args, &mut manifests, &mut report).await.expect("it writes into memory");
    let report = String::from_utf8(report).expect("text");
    base.kubectl(&["create", "--filename=-"], &String::from_utf8(manifests).expect("text"));
    base.grant("agent", APP).await;
    let patch = report.lines().find(|line| line.starts_with("kubectl patch deployment agent")).expect("a patch");
    let patch = patch.split('\'').nth(1).expect("it is in quotes");
    base.kubectl(&["patch", "deployment", "agent", "--type=merge", "--patch", patch], "");
    let pod = only_pod(base, "agent", "csi.keyferry.io").await;
    let expected = "\nuser=the second\npassword: the second\nuser: the second\n";
    assert_eq!(pod.exec(&["cat", "/vault/secrets/sub/config.txt"]).expect("it reads"), expected);
    let mode = pod.exec(&["stat", "-L", "-c", "%a", "/vault/secrets/sub/config.txt"]).expect("it is there");
    assert_eq!(mode.trim(), "444");
}

/// Whoever makes a pod, and however many containers it has.
async fn a_job_and_a_bare_pod_have_them_too(base: &Base) {
    let image = base.testbed.node().busybox().expect("the busybox image");
    let reads = "test \"$(cat /keyferry/db/user)\" = 'the second'";
    let container = |name: &str| json!({"name": name, "image": image, "command": ["sh", "-c", reads]});
    let pod = |containers: &[&str]| {
        let containers: Vec<Value> = containers.iter().map(|name| container(name)).collect();
        json!({
            "metadata": {"annotations": {"keyferry.io/inject": "db"}},
            "spec": {"serviceAccountName": APP, "restartPolicy": "Never", "containers": containers},
        })
    };
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "asks"},
        "spec": {"backoffLimit": 0, "template": pod(&["one", "two", "three"])},
    });
    let mut bare = pod(&["main"]);
    (bare["apiVersion"], bare["kind"], bare["metadata"]["name"]) = (json!("v1"), json!("Pod"), json!("bare"));
    base.kubectl(&["create", "--filename=-"], &format!("{job}\n---\n{bare}"));
    base.namespace.pod("bare").until_phase("Succeeded").await;
    base.kubectl(&["wait", "--for=condition=complete", "job/asks", "--timeout=90s"], "");
    base.kubectl(&["delete", "job/asks", "pod/bare"], "");
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
    testbed.kubectl(&["create", "namespace", "inject-release"], "").expect("a namespace");
    helm(&base, "install", "inject-release", &["node.injection.enabled=true"]).expect("it is installed");
    rolled_out(&base, "inject-release").await;
    until_registered(&base).await;
    let first = "test \"$(cat /keyferry/db/user)\" = ada";
    let deployment = deployment(&base, "asks", &json!({"keyferry.io/inject": "db"}), first);
    until_in_force(&base, &deployment).await;
    base.kubectl(&["create", "--filename=-"], &deployment.to_string());
    let pod = only_pod(&base, "asks", "csi.keyferry.io").await;
    assert_eq!(pod.exec(&["cat", "/keyferry/db/password"]).expect("it reads"), "ada");
    pod.exec(&["sh", "-c", "echo x >/keyferry/db/user"]).expect_err("it is for reading");
    rotate_at(&base, &pod, "/keyferry/db", "the second").await;
    let status = pod.get().await.status.expect("a status");
    let restarts: i32 = status.container_statuses.iter().flatten().map(|container| container.restart_count).sum();
    assert_eq!(restarts, 0);
    what_vault_s_injector_wrote_is_there(&base).await;
    a_job_and_a_bare_pod_have_them_too(&base).await;
    base.kubectl(&["delete", "deployment", "asks", "agent", "--cascade=foreground"], "");
    until_mounted(&base, &[]).await;
    helm(&base, "uninstall", "inject-release", &["--timeout=60s"]).expect("nobody mounts");
    testbed.kubectl(&["delete", "namespace", "inject-release"], "").expect("it goes");
}
