//! What a user of kubectl sees.

use std::path::Path;
use std::process::Command;

use keyferry_crds::{crds, file_name};
use keyferry_testkit::Testbed;
use serde_json::json;

use crate::cluster::{client, create, object};

/// Runs kubectl on a testbed, and gives what it printed.
fn kubectl(testbed: &Testbed, args: &[&str]) -> String {
    let output = Command::new(testbed.kubernetes().kubectl)
        .arg("--kubeconfig")
        .arg(testbed.kubeconfig())
        .args(args)
        .output()
        .expect("kubectl runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    assert!(output.status.success(), "kubectl {args:?}: {}", text(output.stderr));
    text(output.stdout)
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
    let table = kubectl(testbed, &["get", "es", "columns"]);
    let lines: Vec<String> = table.lines().map(words).collect();
    assert_eq!(
        lines,
        ["NAME STORETYPE STORE REFRESH INTERVAL STATUS READY LAST SYNC", "columns ClusterSecretStore its-store 7m"]
    );
    for short in ["ss", "css"] {
        let table = kubectl(testbed, &["get", short, "columns"]);
        assert_eq!(words(table.lines().next().unwrap_or_default()), "NAME AGE STATUS CAPABILITIES READY");
    }
    let category = kubectl(testbed, &["get", "external-secrets", "-o", "name"]);
    for kind in ["externalsecret", "secretstore", "clustersecretstore"] {
        assert!(category.contains(&format!("{kind}.external-secrets.io/columns")), "{category}");
    }
    for selector in [
        "spec.secretStoreRef.name=its-store",
        "spec.secretStoreRef.kind=ClusterSecretStore",
        "spec.target.name=its-target",
        "spec.refreshInterval=7m",
    ] {
        let found = kubectl(testbed, &["get", "es", "-o", "name", "--field-selector", selector]);
        assert!(found.contains("externalsecret.external-secrets.io/columns"), "{selector}: {found}");
    }
    let none = kubectl(testbed, &["get", "es", "-o", "name", "--field-selector", "spec.target.name=other"]);
    assert_eq!(none, "");
}

#[tokio::test]
async fn explain_knows_every_field() {
    client().await;
    let text = kubectl(Testbed::shared(), &["explain", "externalsecret.spec.target.deletionPolicy"]);
    assert!(text.contains("When the store has lost a value"), "{text}");
    let text = kubectl(Testbed::shared(), &["explain", "ss.spec.provider.vault.auth.appRole"]);
    assert!(text.contains("Log in with an AppRole."), "{text}");
}
