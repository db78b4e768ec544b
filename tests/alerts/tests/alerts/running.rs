//! A Prometheus scrapes a running operator: what is wrong there fires the alert for it, and panels show data.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::anyhow;
use keyferry_behaviour_tests::{Cluster, Operator, Rig};
use keyferry_testkit::{OPERATOR_ACCOUNT, OPERATOR_NAMESPACE, PATIENT_LEASE, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::files::{alerts, panels};
use crate::picture;
use crate::prometheus::{Prometheus, SOON};
use crate::slow::{self, Collector};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_fires_its_alert_and_panels_show_data() {
    let prometheus = Prometheus::start().await;
    until_firing(&prometheus, &["KeyferryAbsent"]).await;

    let mut rig = Rig::idle("alerts").await;
    let lease = [
        format!("--leader-election-id={}", rig.namespace()),
        format!("--leader-election-namespace={}", rig.namespace()),
    ];
    // Nothing fits onto /dev/full; copies are made in the whole cluster, of which this test has its own part.
    let collector = Collector::start().await;
    let audit = collector.flag();
    let mut args = vec!["--audit-log=/dev/full", &audit, "--namespace=", "--enable-restarts"];
    args.extend(lease.iter().map(String::as_str).chain(PATIENT_LEASE));
    rig.start(&args).await;
    let folder = tempfile::tempdir().unwrap();
    let standing_by = stand_by(&rig, &lease, folder.path()).await;
    let sharded = with_a_shard_of_others(&rig, folder.path()).await;
    let address = |url: String| url.trim_start_matches("http://").to_owned();
    let (driver, _node, _asking) = slow::driver().await;
    prometheus
        .scrape(&[
            ("operator", address(rig.operator().metrics_url("")), "http"),
            ("standby", address(standing_by.metrics_url("")), "https"),
            ("shards", address(sharded.metrics_url("")), "http"),
            ("node", driver, "http"),
        ])
        .await;
    let _slow = slow::provoke(&rig).await;

    let twin = rig.testbed.namespace("alerts-twin").await;
    provoke(&rig, &Cluster::new(twin.client(), twin.name())).await;
    let all = alerts();
    let now: Vec<&str> = all.iter().map(String::as_str).filter(|name| *name != "KeyferryAbsent").collect();
    assert!(now.len() > 15, "the check found its subjects");
    let firing = until_firing(&prometheus, &now).await;
    are_well_told(&firing, rig.namespace());
    let fired: BTreeSet<&str> = firing.iter().map(name).collect();
    assert!(!fired.contains("KeyferryAbsent"), "there is one");

    let rules = prometheus.api("rules").await.unwrap();
    let rules: Vec<&Value> =
        rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert_eq!(rules.len(), all.len());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    panels_show_data(&prometheus).await;
    is_pictured(&prometheus).await;
    rig.cluster.delete("ClusterExternalSecret", rig.namespace()).await;
    collector.wakes();
    let free = json!({"metadata": {"finalizers": null}});
    rig.cluster.patch("GeneratorState", "unrevocable", &free).await;
    drop((standing_by, sharded));
    rig.finish().await;
}

/// An operator beside with two shards, one of which whoever held it last keeps for an hour: a build that shares nothing, or one that
/// nobody reaches any more.
async fn with_a_shard_of_others(rig: &Rig, folder: &std::path::Path) -> Operator {
    let all = format!("{}-sharded", rig.namespace());
    let spec = json!({
        "holderIdentity": "another", "leaseDurationSeconds": 3600, "renewTime": "2020-01-01T00:00:00.000000Z",
    });
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": format!("{all}-shard-1"), "namespace": rig.namespace()}, "spec": spec,
    });
    rig.cluster.apply(&lease).await;
    let args = [
        format!("--controller-class={all}"),
        format!("--leader-election-id={all}"),
        format!("--leader-election-namespace={}", rig.namespace()),
        "--shards=2".to_owned(),
    ];
    Operator::start(&rig.testbed, &args, &[], &folder.join("sharded.log")).await.unwrap()
}

/// An operator beside, which does not lead, and whose certificate ends in a day.
async fn stand_by(rig: &Rig, lease: &[String], folder: &std::path::Path) -> Operator {
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = (std::time::SystemTime::now() + std::time::Duration::from_secs(86_400)).into();
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(folder.join("tls.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    let mut args = vec![
        format!("--controller-class={}", rig.namespace()),
        "--metrics-secure".to_owned(),
        format!("--metrics-cert-dir={}", folder.display()),
    ];
    args.extend(lease.iter().cloned());
    Operator::start(&rig.testbed, &args, &[], &folder.join("log")).await.unwrap()
}

/// Makes something wrong for each alert that fires within seconds, and something right for each panel.
async fn provoke(rig: &Rig, twin: &Cluster) {
    rig.vault_store("s").await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    for name in ["first", "second", "third"] {
        rig.external_secret(name, json!({"data": rig.data("app", &["user"])})).await;
    }
    rig.external_secret("gone", json!({"data": rig.data("gone", &["user"])})).await;
    rig.external_secret("later", json!({"refreshInterval": "1s", "data": rig.data("app", &["user"])})).await;
    let endless = "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}";
    let template = json!({"target": {"template": {"data": {"k": endless}}}, "data": rig.data("app", &["user"])});
    rig.external_secret("endless", template).await;

    let mut down = rig.vault_spec("s-token");
    down["server"] = json!("http://127.0.0.1:1");
    rig.apply("SecretStore", "down", json!({"spec": {"provider": {"vault": down}}})).await;

    let busy =
        json!({"url": format!("{}/{{{{ .remoteRef.key }}}}", busy_server().await), "result": {"jsonPath": "$.x"}});
    rig.apply("SecretStore", "busy", json!({"spec": {"provider": {"webhook": busy}}})).await;
    let asks = json!({"secretStoreRef": {"name": "busy"}, "data": [{"secretKey": "k", "remoteRef": {"key": "k"}}]});
    rig.external_secret("slow", asks).await;

    rig.secret("source", json!({"k": rig.canaries.value("pushed")})).await;
    // It takes many keys at once, as stores with batches do.
    let fixed = json!({"data": [{"key": "fixed", "value": "no secret"}]});
    rig.apply("SecretStore", "mem", json!({"spec": {"provider": {"fake": fixed}}})).await;
    let asks = json!({"secretStoreRef": {"name": "mem"}, "data": [{"secretKey": "k", "remoteRef": {"key": "fixed"}}]});
    rig.external_secret("batch", asks).await;
    for (name, store) in [("up", "mem"), ("denied", "s")] {
        let spec = json!({
            "refreshInterval": "2s", "secretStoreRefs": [{"name": store}], "selector": {"secret": {"name": "source"}},
            "data": [{"match": {"secretKey": "k", "remoteRef": {"remoteKey": "k", "property": "k"}}}],
        });
        rig.apply("PushSecret", name, json!({ "spec": spec })).await;
    }
    unrevocable(rig).await;
    held_back(twin, rig.namespace()).await;
    rig.until_synced("first").await;
    rig.until_synced("later").await;
    // Its Secret changes, and nobody may restart who uses it.
    let rotated = rig.canaries.value("rotated");
    rig.put("app", json!({"user": rotated})).await;
    rig.until_texts("later", json!({"user": rotated})).await;
    // It has succeeded, and will not again.
    rig.respec("later", json!({"secretStoreRef": {"name": "none"}})).await;
    // Somebody else's ExternalSecret of that name is there.
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": rig.namespace()}});
    let spec = json!({
        "namespaceSelectors": [selector], "externalSecretName": "first",
        "externalSecretSpec": {"secretStoreRef": {"name": "s"}, "data": rig.data("app", &["user"])},
    });
    rig.apply("ClusterExternalSecret", rig.namespace(), json!({ "spec": spec })).await;
}

/// What a generator made, which is to be revoked at a server that is not there.
async fn unrevocable(rig: &Rig) {
    let provider =
        json!({"server": "http://127.0.0.1:1", "auth": {"tokenSecretRef": {"name": "s-token", "key": "token"}}});
    let resource = json!({
        "apiVersion": "generators.external-secrets.io/v1alpha1", "kind": "VaultDynamicSecret", "metadata": {"name": "db"},
        "spec": {"path": "database/creds/app", "provider": provider},
    });
    let spec = json!({
        "garbageCollectionDeadline": "2020-01-01T00:00:00Z", "resource": resource, "state": {"leaseID": "database/creds/app/x"},
    });
    let metadata = json!({"finalizers": ["generatorstate.externalsecrets.io/finalizer"]});
    rig.apply("GeneratorState", "unrevocable", json!({"metadata": metadata, "spec": spec})).await;
}

/// Workloads of another namespace, which the operator of this class may restart, and whose pods never serve: nobody runs them.
/// Of no class, whichever operator came first would write the Secret, and only one of them restarts anybody.
async fn held_back(twin: &Cluster, class: &str) {
    let group = "rbac.authorization.k8s.io";
    let subject = json!({"kind": "ServiceAccount", "name": OPERATOR_ACCOUNT, "namespace": OPERATOR_NAMESPACE});
    let rule = json!({"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets"], "verbs": ["get", "list", "patch"]});
    let role = json!({"apiGroup": group, "kind": "Role", "name": "restarts"});
    let fixed =
        |value: &str| json!({"controller": class, "provider": {"fake": {"data": [{"key": "k", "value": value}]}}});
    let spec = json!({
        "refreshInterval": "1s", "secretStoreRef": {"name": "s"}, "data": [{"secretKey": "k", "remoteRef": {"key": "k"}}],
    });
    let rights = format!("{group}/v1");
    let mut objects = vec![
        (rights.clone(), "Role", "restarts".to_owned(), json!({ "rules": [rule] })),
        (rights, "RoleBinding", "restarts".to_owned(), json!({"roleRef": role, "subjects": [subject]})),
        ("external-secrets.io/v1".to_owned(), "SecretStore", "s".to_owned(), json!({ "spec": fixed("first") })),
        ("external-secrets.io/v1".to_owned(), "ExternalSecret", "app".to_owned(), json!({ "spec": spec })),
    ];
    for n in 0..6 {
        let (name, container) = (format!("web-{n}"), json!({"name": "web", "image": "localhost/none"}));
        let labels = json!({"app": name});
        let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
        let spec = json!({"selector": {"matchLabels": labels}, "template": template});
        let metadata = json!({"annotations": {"keyferry.io/restart": "app"}});
        objects.push(("apps/v1".to_owned(), "Deployment", name, json!({"metadata": metadata, "spec": spec})));
    }
    for (version, kind, name, mut object) in objects {
        (object["apiVersion"], object["kind"]) = (json!(version), json!(kind));
        (object["metadata"]["name"], object["metadata"]["namespace"]) = (json!(name), json!(twin.namespace()));
        twin.apply(&object).await;
    }
    let synced = || async { twin.get("Secret", "app").await.ok_or("no Secret yet") };
    eventually(SOON, synced).await;
    twin.patch("SecretStore", "s", &json!({ "spec": fixed("second") })).await;
}

/// A server that always asks to slow down.
async fn busy_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let answer = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                if stream.read(&mut request).await.is_ok() {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    url
}

fn name(alert: &Value) -> &str {
    alert["labels"]["alertname"].as_str().unwrap_or_default()
}

/// Waits until all of these fire; gives all that do.
async fn until_firing(prometheus: &Prometheus, names: &[&str]) -> Vec<Value> {
    eventually(SOON, || async {
        let firing = prometheus.firing().await?;
        let missing: Vec<&&str> =
            names.iter().filter(|wanted| !firing.iter().any(|alert| name(alert) == **wanted)).collect();
        if missing.is_empty() { Ok(firing) } else { Err(anyhow!("{missing:?} do not fire; {firing:?} do")) }
    })
    .await
}

/// Each alert names what it is about, and its text is rendered.
fn are_well_told(firing: &[Value], namespace: &str) {
    let about = |alertname: &str| -> BTreeSet<&str> {
        let of = firing.iter().filter(|alert| name(alert) == alertname);
        of.map(|alert| alert["labels"]["name"].as_str().unwrap_or_default()).collect()
    };
    assert_eq!(about("KeyferryStoreDown"), BTreeSet::from(["down"]));
    assert_eq!(about("KeyferryPushSecretFailing"), BTreeSet::from(["denied"]));
    assert_eq!(about("KeyferryExternalSecretStale"), BTreeSet::from(["later"]));
    assert_eq!(about("KeyferryBudgetNearlyUsed"), BTreeSet::from(["near"]));
    assert_eq!(about("KeyferryLeaseEnds"), BTreeSet::from(["leased"]));
    let of = |alertname: &str, label: &str| -> BTreeSet<String> {
        let of = firing.iter().filter(|alert| name(alert) == alertname);
        of.map(|alert| alert["labels"][label].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(of("KeyferrySharedLimitNear", "limit"), BTreeSet::from(["audit-queue".to_owned()]));
    assert_eq!(of("KeyferryMountsFailing", "pod"), BTreeSet::from(["node-0".to_owned()]));
    assert_eq!(of("KeyferryShardsLeft", "job"), BTreeSet::from(["shards".to_owned()]));
    let failing = about("KeyferryExternalSecretFailing");
    assert!(failing.is_superset(&BTreeSet::from(["gone", "later", "endless"])), "{failing:?}");
    assert!(failing.is_disjoint(&BTreeSet::from(["first", "second", "third"])), "{failing:?}");
    for alert in firing {
        let text = alert["annotations"]["description"].as_str().unwrap();
        assert!(!text.contains("{{") && !text.contains("<error") && !text.contains("<no value>"), "{text}");
        if let Some(name) = alert["labels"]["name"].as_str() {
            assert!(text.contains(name), "{text}");
            let of = alert["labels"]["namespace"].as_str().unwrap_or_default();
            let is_of_cluster = alert["labels"]["kind"] == "ClusterExternalSecret";
            assert!(is_of_cluster || of == namespace || of.starts_with(slow::STUCK), "{alert}");
        }
    }
}

/// Names the folder that the picture goes to; without it that of tests.
const FOLDER: &str = "KEYFERRY_PICTURES";

/// How many seconds the picture shows.
const SHOWN: u64 = 90;

/// The picture of the dashboard for docs/monitoring.md.
async fn is_pictured(prometheus: &Prometheus) {
    let (svg, filled) = picture::draw(prometheus, SHOWN).await.unwrap();
    assert!(filled > 15, "{filled} panels have something in them");
    assert!(svg.len() < 150_000, "a page is not to weigh more than it tells: {}", svg.len());
    let documented = std::env::var_os(FOLDER).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folder = documented.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    std::fs::write(folder.join("dashboard.svg"), svg).unwrap();
}

/// Each query parses, and each panel has data.
async fn panels_show_data(prometheus: &Prometheus) {
    let panels = panels();
    assert!(panels.len() > 25, "the check found its subjects");
    eventually(SOON, || async {
        let mut empty = Vec::new();
        for (title, queries) in &panels {
            let mut found = 0;
            for query in queries {
                found += prometheus.query(query).await?.len();
            }
            if found == 0 {
                empty.push(title.as_str());
            }
        }
        if empty.is_empty() { anyhow::Ok(()) } else { Err(anyhow!("these panels are empty: {empty:?}")) }
    })
    .await;
}
