use std::collections::{BTreeMap, BTreeSet};

use keyferry_builders::at;
use keyferry_node::marks;
use keyferry_sync::look::Memory;
use keyferry_sync::outcome::{Failure, Headline, Retry, Synced};
use keyferry_sync::plan::LastSync;
use keyferry_sync::told::Told;
use serde_json::json;

use super::*;

/// An ExternalSecret that refreshes every minute.
fn secret(name: &str) -> ExternalSecret {
    let es = json!({
        "metadata": {"name": name, "namespace": "n"},
        "spec": {"refreshInterval": "1m", "secretStoreRef": {"name": "s"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    serde_json::from_value(es).unwrap()
}

fn store(name: &str, spec: serde_json::Value) -> Store {
    let store = json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec});
    Store::namespaced(serde_json::from_value(store).unwrap())
}

fn failed(cause: &str) -> Outcome {
    Outcome::Failed(Failure::new(Headline::Fetch, Told::without_values(cause.to_owned()), Retry::Soon))
}

fn report(outcome: Outcome) -> Looked {
    Looked { outcome, memory: Memory::default(), status: None, next: None }
}

fn text(metrics: &Metrics) -> String {
    String::from_utf8(metrics.text()).unwrap()
}

/// A number of a row of the object `e`.
fn number(metrics: &Metrics, metric: &str) -> Option<f64> {
    let wanted = format!("{metric}{{name=\"e\",namespace=\"n\"}} ");
    text(metrics).lines().find_map(|line| line.strip_prefix(&wanted)?.parse().ok())
}

#[test]
fn it_is_told_when_a_sync_succeeded_last_and_when_the_next_is_due() {
    let metrics = Metrics::new();
    let last = |metrics: &Metrics| number(metrics, "keyferry_externalsecret_last_success_timestamp_seconds");
    let due = |metrics: &Metrics| number(metrics, "keyferry_externalsecret_next_refresh_timestamp_seconds");
    let es = secret("e");
    metrics.synced(&es, &report(failed("why")), Duration::ZERO, 0.0);
    assert_eq!((last(&metrics), due(&metrics)), (None, None), "it never succeeded");

    let succeeded = Memory { last: Some(LastSync { at: at(1000), version: "1-x".to_owned() }), ..Memory::default() };
    let looked = |outcome, failures| Looked { memory: Memory { failures, ..succeeded.clone() }, ..report(outcome) };
    metrics.synced(&es, &looked(Outcome::Synced(Synced::unchanged()), 0), Duration::ZERO, 0.0);
    let regular = due(&metrics).unwrap();
    let start = at(1000).as_second() as f64;
    assert_eq!(last(&metrics), Some(start));
    assert!((start + 57.0..=start + 60.0).contains(&regular), "{regular}");

    let retried = Looked { next: Some(at(1300)), ..looked(failed("why"), 3) };
    metrics.synced(&es, &retried, Duration::ZERO, 0.0);
    assert_eq!((last(&metrics), due(&metrics)), (Some(start), Some(regular)), "neither moves while syncs fail");
    assert_eq!(number(&metrics, NEXT_TRY), Some(at(1300).as_second() as f64));

    let closed = looked(Outcome::Waiting(Some(at(90_000))), 0);
    metrics.synced(&es, &closed, Duration::ZERO, 0.0);
    assert_eq!(due(&metrics), Some(at(90_000).as_second() as f64), "its windows put it off");

    for outcome in [Outcome::Ignored, Outcome::MountOnly] {
        metrics.synced(&es, &looked(Outcome::Synced(Synced::unchanged()), 0), Duration::ZERO, 0.0);
        metrics.synced(&es, &looked(outcome, 0), Duration::ZERO, 0.0);
        assert_eq!((last(&metrics), due(&metrics)), (None, None), "it is nobody's here to alert on");
        assert!(!text(&metrics).contains("externalsecret_status_condition{"), "{}", text(&metrics));
    }

    let once: ExternalSecret = serde_json::from_value(
        json!({"metadata": {"name": "e", "namespace": "n"}, "spec": {"refreshPolicy": "CreatedOnce"}}),
    )
    .unwrap();
    metrics.synced(&once, &looked(Outcome::Synced(Synced::unchanged()), 0), Duration::ZERO, 0.0);
    assert_eq!((last(&metrics), due(&metrics)), (Some(start), None), "nothing is due");
}

#[test]
fn a_status_from_before_the_start_tells_of_the_last_success() {
    let metrics = Metrics::new();
    let mut es = secret("e");
    es.status =
        serde_json::from_value(json!({"refreshTime": "2030-01-31T12:00:00Z", "syncedResourceVersion": "1-x"})).ok();
    metrics.synced(&es, &report(Outcome::Waiting(None)), Duration::ZERO, 0.0);
    let told = number(&metrics, "keyferry_externalsecret_last_success_timestamp_seconds");
    assert_eq!(told, Some("2030-01-31T12:00:00Z".parse::<Timestamp>().unwrap().as_second() as f64));
}

#[test]
fn limits_are_counted_and_who_comes_near_one_is_told() {
    let metrics = Metrics::new();
    let said = |line: &str| text(&metrics).lines().any(|told| told == line);
    assert!(said(r#"keyferry_limits_met_total{limit="look-bytes"} 0"#));
    let cause = keyferry_limits::LOOK_BYTES.to_string();
    metrics.synced(&secret("e"), &report(failed(&format!("{cause}; {cause}"))), Duration::ZERO, 0.9);
    assert!(said(r#"keyferry_limits_met_total{limit="look-bytes"} 1"#), "once a look: {}", text(&metrics));
    let used = "keyferry_externalsecret_budget_used_ratio";
    assert_eq!(number(&metrics, used), Some(0.9));
    metrics.synced(&secret("e"), &report(Outcome::Waiting(None)), Duration::ZERO, 0.0);
    assert_eq!(number(&metrics, used), Some(0.9), "nothing was fetched");
    metrics.synced(&secret("e"), &report(Outcome::Synced(Synced::unchanged())), Duration::ZERO, 0.4);
    assert_eq!(number(&metrics, used), None);
    metrics.process.watch(&keyferry_limits::ALL_HELD, || 0.25);
    assert!(said(r#"keyferry_limit_used_ratio{limit="all-held"} 0.25"#));
}

#[test]
fn checks_of_a_store_that_fail_are_counted_though_it_is_still_ready() {
    let metrics = Metrics::new();
    let (of, ready) = (store("e", json!({"provider": {"fake": {}}})), Readiness::Ready);
    let failed = || number(&metrics, "keyferry_secretstore_failed_checks");
    metrics.checked(&of, &ready, true, Duration::ZERO);
    metrics.checked(&of, &ready, true, Duration::ZERO);
    assert_eq!(failed(), Some(2.0));
    metrics.checked(&of, &ready, false, Duration::ZERO);
    assert_eq!(failed(), Some(0.0));
    let by_mount = store("e", json!({"provider": {"fake": {}}, "loginBy": "Mount"}));
    metrics.checked(&by_mount, &Readiness::NotReady("nobody logs in".to_owned()), false, Duration::ZERO);
    assert_eq!(failed(), None);
    assert!(!text(&metrics).contains("secretstore_status_condition{"), "nobody here can tell: {}", text(&metrics));
}

/// A metric as it is exposed: type, labels, and what it is.
type Exposed = BTreeMap<String, (String, BTreeSet<String>, String)>;

/// What a text of `/metrics` exposes.
fn exposed(text: &str) -> Exposed {
    let mut found = Exposed::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            found.entry(name.to_owned()).or_default().2 = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            found.entry(name.to_owned()).or_default().0 = kind.to_owned();
        } else {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let parts = ["_bucket", "_sum", "_count"];
            let whole = parts.iter().filter_map(|part| name.strip_suffix(part)).find(|name| found.contains_key(*name));
            let metric = found.get_mut(whole.unwrap_or(name)).unwrap_or_else(|| panic!("no type: {line}"));
            let names = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
            metric.1.extend(names.filter(|name| name != "le"));
        }
    }
    found
}

fn table(text: &str) -> String {
    let row = |(name, (kind, labels, help)): (&String, &(String, BTreeSet<String>, String))| {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", "))
    };
    exposed(text).iter().map(row).collect()
}

/// Everything that can be told has been.
fn all_told() -> Metrics {
    let metrics = Metrics::new();
    let time = Duration::from_millis(2);
    let mut memory = Memory { last: Some(LastSync { at: at(1), version: "1-x".to_owned() }), ..Memory::default() };
    metrics.synced(&secret("e"), &Looked { memory: memory.clone(), ..report(failed("why")) }, time, 0.9);
    memory.failures = 1;
    let retried = Looked { memory, next: Some(at(9)), ..report(failed("why")) };
    metrics.synced(&secret("e"), &retried, time, 0.9);
    for namespace in [Some("n".to_owned()), None] {
        let mut of = store("s", json!({"provider": {"fake": {}}}));
        of.id.namespace = namespace;
        metrics.checked(&of, &Readiness::Ready, false, time);
    }
    let ps = json!({
        "metadata": {"name": "p", "namespace": "n"}, "spec": {"secretStoreRefs": [], "selector": {}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    let done = keyferry_push::outcome::Done { pushed: 1, deleted: 1 };
    let outcome = keyferry_push::outcome::Outcome::Done(done);
    let memory = keyferry_push::memory::Memory { replace_by: Some(at(5)), ..Default::default() };
    let pushed = keyferry_push::look::Looked { outcome, memory, status: None, next: None };
    metrics.pushed(&serde_json::from_value(ps).unwrap(), &pushed, time);
    for kind in [CopierKind::ClusterExternalSecret, CopierKind::ClusterPushSecret] {
        let id = CopierId { kind, name: "c".to_owned() };
        metrics.copiers_like(&id).tell(name_of_copier(&id), |row| looked(row, time, Some(true)));
    }
    metrics.state_looked_at(true);
    let calls = metrics.calls();
    calls.record("Fake", "GetSecret", true, time);
    calls.fetching("fake", 1, 2);
    calls.fetched("fake", 2, 1);
    calls.throttled("fake");
    metrics.process.audit_written.with_label_values(&["log"]).inc();
    metrics.process.audit_dropped.with_label_values(&["webhook"]).inc();
    metrics.process.watch(&keyferry_limits::ALL_HELD, || 0.5);
    metrics.process.certificate_ends("metrics", at(3));
    metrics.restarts.with_label_values(&["restarted"]).inc();
    metrics.sealing.unsealed(&secret("e"), &report(failed("why")), time);
    metrics.sealing.served("/v1/verify", "POST", 409);
    metrics
}

fn all_told_by_node() -> keyferry_node::metrics::Metrics {
    let metrics = keyferry_node::metrics::Metrics::new();
    metrics.publishes.with_label_values(&["ok"]).inc();
    metrics.deliveries.with_label_values(&["created"]).inc();
    metrics.audit_written.with_label_values(&["log"]).inc();
    metrics.audit_dropped.with_label_values(&["webhook"]).inc();
    metrics.emptied.with_label_values(&["missing"]).inc();
    metrics.stands(&marks::Mark {
        target: "/t".into(),
        namespace: "n".to_owned(),
        pod: "p".to_owned(),
        service_account: "a".to_owned(),
        external_secret: "e".to_owned(),
        is_delivered: true,
        synced: Some(marks::Synced { at: at(1), version: "1-x".to_owned(), ends: None }),
        refused_since: None,
    });
    metrics
}

#[test]
fn the_docs_hold_the_tables_of_metrics() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/monitoring.md")).unwrap();
    let of_node = String::from_utf8(all_told_by_node().text()).unwrap();
    let (operator, node) = (table(&text(&all_told())), table(&of_node));
    for table in [&operator, &node] {
        assert!(
            page.contains(&format!("|---|---|---|---|\n{table}\n")),
            "docs/monitoring.md must hold this table:\n\n{table}"
        );
    }
    let listed = page.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 3).count();
    assert_eq!(listed, operator.lines().count() + node.lines().count(), "docs/monitoring.md lists others, too");
}

/// What holds ten thousand objects must not grow unseen: a number is eight bytes, and nothing is kept with it.
#[test]
fn a_row_holds_its_numbers_and_nothing_else() {
    assert_eq!(size_of::<Row>(), size_of::<Box<[f64]>>());
    let metrics = Metrics::new();
    for n in 0..1000 {
        let memory = Memory { last: Some(LastSync { at: at(1), version: "1-x".to_owned() }), ..Memory::default() };
        let synced = report(Outcome::Synced(Synced::unchanged()));
        metrics.synced(&secret(&format!("e{n}")), &Looked { memory, ..synced }, Duration::ZERO, 0.1);
    }
    let rows = text(&metrics).lines().filter(|line| line.contains("namespace=\"n\"")).count();
    assert_eq!(rows, 1000 * 7, "series of a healthy ExternalSecret");
}

#[test]
fn sealed_secrets_are_told_by_the_names_that_their_users_alert_on() {
    let metrics = Metrics::new();
    let es: ExternalSecret =
        serde_json::from_value(json!({"metadata": {"name": "app", "namespace": "n"}, "spec": {}})).unwrap();
    let look = |outcome| {
        let report = Looked { outcome, memory: Memory::default(), status: None, next: None };
        metrics.sealing.unsealed(&es, &report, Duration::from_millis(2));
    };
    let failed =
        |headline| Outcome::Failed(Failure::new(headline, Told::without_values("why".to_owned()), Retry::Soon));
    let text = || String::from_utf8(metrics.text()).unwrap();
    assert!(!text().contains("sealed_secrets_controller"), "who has none is told of none");
    look(failed(Headline::Fetch));
    look(failed(Headline::Owned));
    look(failed(Headline::Immutable));
    look(Outcome::Waiting(None));
    let condition = r#"sealed_secrets_controller_condition_info{condition="Synced",name="app",namespace="n"}"#;
    assert!(text().contains(&format!("{condition} -1\n")), "{}", text());
    look(Outcome::Synced(Synced::unchanged()));
    metrics.sealing.served("/v1/verify", "POST", 409);
    let said = text();
    for line in [
        "sealed_secrets_controller_unseal_requests_total 4",
        r#"sealed_secrets_controller_unseal_errors_total{namespace="n",reason="unseal"} 1"#,
        r#"sealed_secrets_controller_unseal_errors_total{namespace="n",reason="unmanaged"} 1"#,
        r#"sealed_secrets_controller_unseal_errors_total{namespace="n",reason="update"} 1"#,
        r#"sealed_secrets_controller_http_requests_total{code="409",method="POST",path="/v1/verify"} 1"#,
        r#"keyferry_unseal_duration_seconds_count{outcome="failed"} 3"#,
        &format!("{condition} 1"),
    ] {
        assert!(said.lines().any(|told| told == line), "{line}: {said}");
    }
    metrics.sealing.forget(&("n".to_owned(), "app".to_owned()));
    assert!(!text().contains("condition_info{"), "its series go with it");
}
