//! What a refresh costs the API server, read from its audit log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use keyferry_behaviour_tests::operator::series;
use keyferry_behaviour_tests::{Rig, cluster};
use keyferry_testkit::{OPERATOR_ACCOUNT, OPERATOR_NAMESPACE, Testbed};
use serde_json::{Value, json};
use tempfile::TempDir;

tests![a_refresh_that_changes_nothing_costs_nothing];

/// How many ExternalSecrets there are.
const COUNT: usize = 5;

/// How long is watched at least: many intervals.
const WINDOW: Duration = Duration::from_secs(15);

/// A testbed that writes down each request.
struct Audited {
    testbed: Testbed,
    log: PathBuf,
    _dir: TempDir,
}

impl Audited {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| dir.path().join(name);
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
            "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}],
        });
        write(&file("policy.json"), &policy);
        let log = file("audit.log");
        let args = [
            format!("--apiserver-arg=--audit-policy-file={}", file("policy.json").display()),
            format!("--apiserver-arg=--audit-log-path={}", log.display()),
        ];
        let start = move || cluster::private(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let testbed = tokio::task::spawn_blocking(start).await.expect("it does not panic").expect("a testbed");
        Self { testbed, log, _dir: dir }
    }

    /// The operator's requests so far, without watches: `verb resource/subresource name`.
    fn requests(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).expect("the audit log");
        let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR_ACCOUNT}");
        let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = records.filter(|record| record["user"]["username"] == user && record["verb"] != "watch");
        ours.map(|record| {
            let text = |pointer| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let resource = match text("/objectRef/subresource") {
                "" => text("/objectRef/resource").to_owned(),
                subresource => format!("{}/{subresource}", text("/objectRef/resource")),
            };
            format!("{} {resource} {}", text("/verb"), text("/objectRef/name"))
        })
        .collect()
    }
}

fn write(file: &Path, value: &Value) {
    std::fs::write(file, value.to_string()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

async fn a_refresh_that_changes_nothing_costs_nothing() {
    let audited = Audited::start().await;
    let mut rig = Rig::on(&audited.testbed, "economy").await;
    rig.start(&[]).await;
    rig.vault_store("s").await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    for n in 0..COUNT {
        let spec = json!({"refreshInterval": "2s", "data": rig.data("app", &["user"])});
        rig.external_secret(&format!("e{n}"), spec).await;
    }
    for n in 0..COUNT {
        rig.until_synced(&format!("e{n}")).await;
    }
    assert!(!audited.requests().is_empty(), "the audit log tells of the operator");
    // What the first syncs brought about is over after the next refresh.
    refreshes(&rig, 2 * COUNT).await;

    let before = audited.requests().len();
    let looks = looks(&rig).await;
    tokio::time::sleep(WINDOW).await;
    // A window with fewer refreshes would prove nothing.
    rig.until("there were refreshes enough".into(), async |rig: &Rig| match self::looks(rig).await - looks {
        more if more >= (COUNT * 5) as f64 => Ok(()),
        more => Err(anyhow!("{more}")),
    })
    .await;
    let requests = audited.requests().split_off(before);
    let of_secrets: Vec<&String> = requests.iter().filter(|request| request.contains(" secrets")).collect();
    assert!(of_secrets.is_empty(), "{of_secrets:?}");
    for n in 0..COUNT {
        let status = format!("patch externalsecrets/status e{n}");
        let count = requests.iter().filter(|request| **request == status).count();
        assert!(count <= 1, "{status}: {count} times");
    }
    let others: Vec<&String> = requests.iter().filter(|r| !r.starts_with("patch externalsecrets/status ")).collect();
    assert!(others.is_empty(), "{others:?}");

    // One that changes something: one write, one status, one event for each.
    let before = audited.requests().len();
    let user = rig.canaries.value("rotated");
    rig.put("app", json!({ "user": user })).await;
    for n in 0..COUNT {
        rig.until_texts(&format!("e{n}"), json!({ "user": user })).await;
    }
    refreshes(&rig, 2 * COUNT).await;
    let requests = audited.requests().split_off(before);
    let count = |what: &str| requests.iter().filter(|request| request.starts_with(what)).count();
    assert_eq!(count("patch secrets e"), COUNT, "{requests:#?}");
    assert_eq!(count("create events"), COUNT, "{requests:#?}");
    assert!(count("patch externalsecrets/status e") <= COUNT, "{requests:#?}");
    assert!(requests.len() <= 3 * COUNT, "{requests:#?}");
    rig.finish().await;
}

async fn looks(rig: &Rig) -> f64 {
    series(&rig.metrics().await, "externalsecret_sync_calls_total", &[])
}

/// Waits until there were some more looks.
async fn refreshes(rig: &Rig, count: usize) {
    let before = looks(rig).await;
    rig.until(format!("there were {count} more looks"), async |rig: &Rig| match looks(rig).await - before {
        more if more >= count as f64 => Ok(()),
        more => Err(anyhow!("{more}")),
    })
    .await;
}
