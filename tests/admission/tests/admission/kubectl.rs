//! What a user of kubectl sees.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyferry_crds::{crds, file_name};
use keyferry_testkit::{Testbed, eventually};
use serde_json::json;

use crate::cluster::{client, create, object};

/// Runs kubectl on a testbed, and gives what it printed, or what it says against it.
fn try_kubectl(testbed: &Testbed, args: &[&str]) -> Result<String, String> {
    // It would remember what it once was told of the kinds that there are: each time another memory.
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let cache = format!("kubectl-{}", CALLS.fetch_add(1, Ordering::Relaxed));
    let output = Command::new(testbed.kubernetes().kubectl)
        .arg("--kubeconfig")
        .arg(testbed.kubeconfig())
        .args(args)
        .env("KUBECACHEDIR", testbed.description().data_dir.join(cache))
        .output()
        .expect("kubectl runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(format!("kubectl {args:?}: {}", text(output.stderr)))
    }
}

/// The same, where it must succeed.
fn kubectl(testbed: &Testbed, args: &[&str]) -> String {
    try_kubectl(testbed, args).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// Runs it until it prints all these: what the API server tells of its kinds comes some moments after the kinds.
async fn kubectl_says(testbed: &Testbed, args: &[&str], parts: &[&str]) -> String {
    let ask = || async {
        let text = try_kubectl(testbed, args)?;
        match parts.iter().find(|part| !text.contains(*part)) {
            None => Ok(text),
            Some(part) => Err(format!("kubectl {args:?}: no {part:?} in\n{text}")),
        }
    };
    eventually(Duration::from_secs(120), ask).await
}

#[tokio::test]
async fn client_side_apply_takes_the_files_twice() {
    let testbed = Testbed::private(&[]).expect("a testbed");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds/yaml");
    let folder = folder.to_str().expect("text");
    let first = kubectl(&testbed, &["apply", "-f", folder]);
    let again = kubectl(&testbed, &["apply", "-f", folder]);
    for crd in crds() {
        let name = crd.metadata.name.clone().expect("a name");
        assert!(first.contains(&format!("{name} created")), "{first}");
        assert!(
            again.contains(&format!("{name} unchanged")),
            "{}: the server changes what we write:\n{again}",
            file_name(&crd)
        );
    }
}

#[tokio::test]
async fn columns_short_names_categories_and_selectors() {
    let client = client().await;
    let testbed = Testbed::shared();
    let spec = json!({
        "secretStoreRef": {"name": "its-store", "kind": "ClusterSecretStore"},
        "refreshInterval": "7m",
        "target": {"name": "its-target"},
        "data": [{"secretKey": "a", "remoteRef": {"key": "a"}}],
    });
    create(&client, &object("ExternalSecret", "columns", &spec)).await;
    let store = json!({"provider": {"fake": {"data": []}}});
    create(&client, &object("SecretStore", "columns", &store)).await;
    create(&client, &object("ClusterSecretStore", "columns", &store)).await;

    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let table = kubectl_says(testbed, &["get", "es", "columns"], &["columns"]).await;
    let lines: Vec<String> = table.lines().map(words).collect();
    assert_eq!(
        lines,
        ["NAME STORETYPE STORE REFRESH INTERVAL STATUS READY LAST SYNC", "columns ClusterSecretStore its-store 7m"]
    );
    for short in ["ss", "css"] {
        let table = kubectl_says(testbed, &["get", short, "columns"], &["columns"]).await;
        assert_eq!(words(table.lines().next().unwrap_or_default()), "NAME AGE STATUS CAPABILITIES READY");
    }
    let all = ["externalsecret", "secretstore", "clustersecretstore"]
        .map(|kind| format!("{kind}.external-secrets.io/columns"));
    kubectl_says(testbed, &["get", "external-secrets", "-o", "name"], &all.each_ref().map(String::as_str)).await;
    for selector in [
        "spec.secretStoreRef.name=its-store",
        "spec.secretStoreRef.kind=ClusterSecretStore",
        "spec.target.name=its-target",
        "spec.refreshInterval=7m",
    ] {
        let args = ["get", "es", "-o", "name", "--field-selector", selector];
        kubectl_says(testbed, &args, &["externalsecret.external-secrets.io/columns"]).await;
    }
    let none = kubectl(testbed, &["get", "es", "-o", "name", "--field-selector", "spec.target.name=other"]);
    assert_eq!(none, "");
}

#[tokio::test]
async fn explain_knows_every_field() {
    client().await;
    for (field, said) in [
        ("externalsecret.spec.target.deletionPolicy", "When the store has lost a value"),
        ("ss.spec.provider.vault.auth.appRole", "Log in with an AppRole."),
    ] {
        kubectl_says(Testbed::shared(), &["explain", field], &[said]).await;
    }
}
