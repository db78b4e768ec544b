//! The pictures of docs/ui.md: each view, of a cluster that has something of everything. `scripts/pictures` puts them there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::double::{Double, ago, external_secret};
use crate::served::Served;

/// Names the folder that they go to; without it that of tests.
const FOLDER: &str = "KEYFERRY_PICTURES";

/// A page of the documentation is not to weigh more than it tells.
const MOST_BYTES: u64 = 150_000;

#[tokio::test(flavor = "multi_thread")]
async fn each_view_has_a_picture() {
    let double = Double::start(objects()).await;
    let (scratch, metrics) = (tempfile::tempdir().unwrap(), tries());
    let file = scratch.path().join("metrics");
    std::fs::write(&file, metrics).unwrap();
    let served = Served::start(&double.kubeconfig(), &[&format!("--metrics={}", file.display())]).await;
    let chromium = Chromium::start().await;
    let tab = chromium.tab().await;
    let documented = std::env::var_os(FOLDER).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folder = documented.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let views = [
        ("list", "#/list", "light", "/^[0-9]/.test(document.querySelector('#rows tr')?.cells[7].innerText)"),
        (
            "object",
            "#/object/ExternalSecret/shop/orders-db",
            "light",
            "performance.getEntriesByName('object').length > 0",
        ),
        ("graph", "#/graph?namespace=shop", "dark", "performance.getEntriesByName('graph').length > 0"),
    ];
    let size = json!({"width": 1200, "height": 640, "deviceScaleFactor": 1, "mobile": false});
    tab.call("Emulation.setDeviceMetricsOverride", size).await.unwrap();
    tab.prefers("light", "reduce").await;
    tab.follow(&served.link).await;
    for (name, hash, scheme, is_there) in views {
        tab.prefers(scheme, "reduce").await;
        tab.js(&format!("location.hash = {hash:?}")).await;
        tab.until(is_there).await;
        tab.js("document.activeElement.blur(); window.scrollTo(0, 0)").await;
        // Counts are told a moment later, and what is drawn is there with the picture after the next.
        tab.js("new Promise(done => setTimeout(() => requestAnimationFrame(done), 500)).then(() => true)").await;
        let size = tab.picture(&folder.join(format!("ui-{name}.png"))).await;
        assert!(size > 10_000, "ui-{name}.png is empty: {size} bytes");
        assert!(documented.is_none() || size < MOST_BYTES, "ui-{name}.png is too large: {size} bytes");
        assert_eq!(tab.violations().await, Vec::<String>::new(), "{name}");
    }
    tab.was_well(&served.origin());
}

/// What the operator's metrics tell of the tries of what failed.
fn tries() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let of = |name: &str, tries: u64, ahead: u64| {
        format!(
            "keyferry_externalsecret_failed_attempts{{name=\"{name}\",namespace=\"shop\"}} {tries}\n\
             keyferry_externalsecret_next_try_timestamp_seconds{{name=\"{name}\",namespace=\"shop\"}} {}\n",
            now + ahead
        )
    };
    format!("keyferry_queue_length 0\n{}{}", of("orders-db", 7, 86), of("card-processor", 3, 150))
}

fn store(kind: &str, namespace: Option<&str>, name: &str, is_ready: bool, message: &str) -> Value {
    let (status, reason) = if is_ready { ("True", "Valid") } else { ("False", "InvalidProviderConfig") };
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1"},
        "spec": {"provider": {"fake": {"data": []}}},
        "status": {"conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": ago(90_000)}]},
    })
}

fn workload(kind: &str, namespace: &str, name: &str, pod: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace, "uid": format!("{kind}-{name}")},
        "spec": {"selector": {}, "serviceName": name, "template": {"spec": pod}},
    })
}

fn env_from(secrets: &[&str]) -> Value {
    let from: Vec<Value> = secrets.iter().map(|name| json!({"secretRef": {"name": name}})).collect();
    json!({"serviceAccountName": "app", "containers": [{"name": "c", "envFrom": from}]})
}

fn files(secret: &str) -> Value {
    json!({"containers": [{"name": "c"}], "volumes": [{"name": "v", "secret": {"secretName": secret}}]})
}

fn external_secrets() -> Vec<Value> {
    let vault = || json!({"name": "vault", "kind": "ClusterSecretStore"});
    let own = || json!({"name": "payments", "kind": "SecretStore"});
    let denied = "could not get secret data from provider: spec.data[1] (key \"shop/orders-db\", property \"password\"): ClusterSecretStore \
                  \"vault\": the secret is there and has no such property; it has: user, passwd";
    let down = "could not get secret data from provider: SecretStore \"payments\" is not ready: check it";
    let mut all = vec![
        external_secret("shop", "orders-db", vault(), Some(denied), 101),
        external_secret("shop", "card-processor", own(), Some(down), 202),
    ];
    for (n, (namespace, name)) in [
        ("shop", "session-keys"),
        ("shop", "search-index"),
        ("shop", "mail-relay"),
        ("shop", "cdn-purge"),
        ("billing", "ledger-db"),
        ("billing", "invoices-bucket"),
        ("billing", "tax-service"),
        ("platform", "grafana-admin"),
        ("platform", "registry-pull"),
        ("platform", "backup-target"),
        ("platform", "dns-updates"),
        ("data", "warehouse"),
        ("data", "kafka-clients"),
        ("data", "airflow-db"),
        ("data", "lake-reader"),
    ]
    .into_iter()
    .enumerate()
    {
        all.push(external_secret(namespace, name, vault(), None, 300 + 161 * n as i64));
    }
    all
}

fn objects() -> BTreeMap<&'static str, Vec<Value>> {
    let event = json!({
        "metadata": {"name": "e", "namespace": "shop"}, "involvedObject": {"kind": "ExternalSecret", "name": "orders-db"},
        "type": "Warning", "reason": "UpdateFailed", "count": 7, "lastTimestamp": ago(40),
        "message": "spec.data[1]: the secret has no property \"password\"",
    });
    let bad = "could not log in: the token of Secret \"payments-token\" was refused (403): renew it";
    let deployments = vec![
        workload("Deployment", "shop", "orders", env_from(&["orders-db", "session-keys"])),
        workload("Deployment", "shop", "storefront", env_from(&["session-keys", "search-index"])),
        workload("Deployment", "shop", "checkout", env_from(&["card-processor"])),
        workload("Deployment", "shop", "mailer", files("mail-relay")),
    ];
    let secrets = ["orders-db", "card-processor"].map(|name| json!({"metadata": {"name": name, "namespace": "shop"}}));
    BTreeMap::from([
        ("externalsecrets", external_secrets()),
        ("pushsecrets", Vec::new()),
        ("secretstores", vec![store("SecretStore", Some("shop"), "payments", false, bad)]),
        ("clustersecretstores", vec![store("ClusterSecretStore", None, "vault", true, "store validated")]),
        ("deployments", deployments),
        ("statefulsets", vec![workload("StatefulSet", "shop", "reports", env_from(&["orders-db"]))]),
        ("events", vec![event]),
        ("secrets", secrets.to_vec()),
        ("namespaces", vec![json!({"metadata": {"name": "shop"}})]),
        ("pods", Vec::new()),
        ("replicasets", Vec::new()),
        ("daemonsets", Vec::new()),
        ("cronjobs", Vec::new()),
        ("jobs", Vec::new()),
    ])
}
