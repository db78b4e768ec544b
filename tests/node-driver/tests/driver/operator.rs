//! What the operator makes of stores that are for mounts.

use keyferry_node_driver_tests::rig::{LONG, Rig};
use keyferry_testkit::{Operator, eventually};
use serde_json::{Value, json};

tests![the_operator_neither_logs_in_nor_fetches];

async fn the_operator_neither_logs_in_nor_fetches() {
    let rig = Rig::new("operator", &[]).await;
    rig.put("db", json!({"a": "first"})).await;
    rig.declare("db", json!({"deletionPolicy": "Delete"}));
    let wants = json!({
        "refreshInterval": "1s", "secretStoreRef": {"name": "vault", "kind": "SecretStore"},
        "dataFrom": [{"extract": {"key": "db"}}],
    });
    rig.apply("ExternalSecret", "wants", wants);
    // Nor does it make what somebody would have to revoke: there is no such generator to be asked.
    let leased = json!({
        "refreshInterval": "1s", "target": {"creationPolicy": "None"},
        "dataFrom": [{"sourceRef": {"generatorRef": {"kind": "VaultDynamicSecret", "name": "absent"}}}],
    });
    rig.apply("ExternalSecret", "leased", leased);
    let (live, metrics) = (Operator::free_port().expect("a port"), Operator::free_port().expect("a port"));
    let kubeconfig = rig.testbed.operator_kubeconfig().expect("a kubeconfig");
    let operator = Operator::builder()
        .args(["run", "--enable-leader-election=false", "--allow-store-addresses=127.0.0.0/8"])
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--namespace={}", rig.namespace.name()))
        .arg(format!("--live-addr=127.0.0.1:{live}"))
        .arg(format!("--metrics-addr=127.0.0.1:{metrics}"))
        .spawn()
        .expect("the operator starts");
    let ready = |kind: &'static str, name: &'static str, wanted: [&'static str; 2], says: &'static str| {
        let rig = &rig;
        eventually(LONG, move || async move {
            let text = rig.kubectl(&["get", kind, name, "--output=json"], "");
            let object: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let found = &object["status"]["conditions"][0];
            let is_so = found["status"] == wanted[0]
                && found["reason"] == wanted[1]
                && found["message"].as_str().is_some_and(|message| message.contains(says));
            if is_so { Ok(()) } else { Err(found.to_string()) }
        })
    };
    ready("secretstores.external-secrets.io", "vault", ["Unknown", "LoginByMount"], "log in as themselves").await;
    ready("externalsecrets.external-secrets.io", "db", ["True", "MountOnly"], "no Secret is made").await;
    ready("externalsecrets.external-secrets.io", "leased", ["True", "MountOnly"], "no Secret is made").await;
    ready("externalsecrets.external-secrets.io", "wants", ["False", "SecretSyncedError"], "creationPolicy: None").await;
    let secrets = rig.kubectl(&["get", "secrets", "--output=name"], "");
    assert!(secrets.trim().is_empty(), "{secrets}");
    drop(operator);
}
