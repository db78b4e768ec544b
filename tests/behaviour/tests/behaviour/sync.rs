//! `keyferry sync --from-cluster`: a pod's files, by the rights of its ServiceAccount alone.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::anyhow;
use keyferry_behaviour_tests::Rig;
use keyferry_behaviour_tests::cluster::SOON;
use keyferry_behaviour_tests::leaks::Place;
use keyferry_testkit::{Operator, eventually};
use serde_json::{Value, json};

tests![a_pod_has_its_files_by_its_own_rights];

/// Lets the ServiceAccount `app` read what one pod needs.
fn grant(rig: &Rig) {
    let rule = |group: &str, resource: &str, names: &[&str]| json!({"apiGroups": [group], "resources": [resource], "resourceNames": names, "verbs": ["get"]});
    let group = "external-secrets.io";
    let rules =
        [rule(group, "externalsecrets", &["e"]), rule(group, "secretstores", &["s"]), rule("", "secrets", &["token"])];
    let metadata = json!({"name": "app", "namespace": rig.namespace()});
    let subject = json!({"kind": "ServiceAccount", "name": "app", "namespace": rig.namespace()});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "app"});
    let items = json!([
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata, "subjects": [subject], "roleRef": role},
    ]);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    rig.testbed.kubectl(&["apply", "--server-side", "--filename=-"], &list).expect("kubectl");
}

fn command(rig: &Rig, kubeconfig: &Path, to: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(Operator::program().expect("the program"));
    command.args(["sync", "--namespace", rig.namespace(), "--kubeconfig"]).arg(kubeconfig).arg("--to").arg(to);
    command.args(flags);
    command
}

async fn run(rig: &Rig, kubeconfig: &Path, to: &Path, flags: &[&str]) -> Output {
    let mut command = command(rig, kubeconfig, to, flags);
    tokio::task::spawn_blocking(move || command.output()).await.expect("a thread").expect("keyferry sync")
}

async fn a_pod_has_its_files_by_its_own_rights() {
    let rig = Rig::idle("sync").await;
    let (first, second) = (rig.canaries.value("first"), rig.canaries.value("second"));
    rig.put("app", json!({ "user": first })).await;
    rig.secret("token", json!({"token": rig.vault_token().await})).await;
    let store = json!({"spec": {"provider": {"vault": rig.vault_spec("token")}}});
    rig.apply("SecretStore", "s", store).await;
    let spec =
        json!({"refreshInterval": "1s", "target": {"creationPolicy": "None"}, "data": rig.data("app", &["user"])});
    rig.external_secret("e", spec.clone()).await;
    rig.external_secret("other", spec).await;
    grant(&rig);
    let user = format!("system:serviceaccount:{}:app", rig.namespace());
    rig.testbed.until_allowed(&user, "get", "secrets/token", Some(rig.namespace())).await;
    let kubeconfig = rig.testbed.account_kubeconfig(rig.namespace(), "app").expect("a kubeconfig");
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("out");

    let once = run(&rig, &kubeconfig, &to, &["--from-cluster", "e"]).await;
    let told = String::from_utf8_lossy(&once.stdout).into_owned();
    assert_eq!(once.status.code(), Some(0), "{told}");
    let read = || std::fs::read_to_string(to.join("e/user")).unwrap_or_default();
    assert_eq!(read(), first);
    let es: Value = rig.cluster.get("ExternalSecret", "e").await.expect("it is there");
    assert!(es["status"].is_null() && es["metadata"]["finalizers"].is_null(), "nobody writes there: {es}");

    // What it may not read it names, with the object that keeps it from that.
    let denied = run(&rig, &kubeconfig, &to, &["--from-cluster", "other", "--from-cluster", "nothing"]).await;
    let refused = String::from_utf8_lossy(&denied.stdout).into_owned();
    assert_eq!(denied.status.code(), Some(2), "{refused}");
    assert!(refused.contains("ExternalSecret \\\"other\\\"") && refused.contains("can't be read"), "{refused}");

    let mut sidecar = command(&rig, &kubeconfig, &to, &["--from-cluster", "e", "--watch"])
        .stdout(std::fs::File::create(folder.path().join("told")).expect("a file"))
        .spawn()
        .expect("keyferry sync");
    rig.put("app", json!({ "user": second })).await;
    eventually(SOON, || async { if read() == second { Ok(()) } else { Err(anyhow!("it is not there yet")) } }).await;
    sidecar.kill().expect("it runs");
    let _ = sidecar.wait();
    let watched = std::fs::read_to_string(folder.path().join("told")).expect("what it told");
    let errors = String::from_utf8_lossy(&once.stderr).into_owned();
    let places = [("told once", told), ("errors", errors), ("refused", refused), ("told while it watches", watched)];
    let leaks = rig.canaries.find(&places.map(|(name, text)| Place::new(name, text)));
    assert!(leaks.is_empty(), "{leaks:?}");
    rig.finish().await;
}
