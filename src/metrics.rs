//! Metrics under the names that External Secrets Operator gives them, some of which break Prometheus' conventions
//! (nanoseconds, counters without `_total`), and histograms in seconds beside them.

mod objects;
mod sealing;

use std::time::Duration;

use keyferry_crds::{Condition, ExternalSecret, PushSecret, names};
use keyferry_provider_core::Calls;
use keyferry_sync::copies::{Copier, CopierId, CopierKind};
use keyferry_sync::dependency::{Name, name_of};
use keyferry_sync::look::Looked;
use keyferry_sync::outcome::Outcome;
use keyferry_sync::store::{Readiness, Store, StoreId};
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use self::objects::{Column, Objects, Row};
pub use self::sealing::Sealing;

/// The metric of how often syncs failed since the last success.
pub const TRIES: &str = "keyferry_externalsecret_failed_attempts";
/// The metric of when they are tried again.
pub const NEXT_TRY: &str = "keyferry_externalsecret_next_try_timestamp_seconds";

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    secrets: Objects,
    stores: [Objects; 2],
    pushes: Objects,
    copiers: [Objects; 2],
    provider_calls: IntCounterVec,
    sync_seconds: HistogramVec,
    provider_seconds: HistogramVec,
    /// Those of what is sealed.
    pub sealing: Sealing,
    /// Objects that wait for a look.
    pub queue: IntGauge,
    /// Whether this process holds the Lease.
    pub leader: IntGauge,
    /// Lines of the audit log.
    pub audit_written: IntCounter,
    /// Deliveries that have no line there.
    pub audit_dropped: IntCounter,
}

/// What is told of every object: how long the last look took, and whether it is Ready.
const DURATION: usize = 0;
const READY: usize = 1;
const NOT_READY: usize = 2;
/// What is told of ExternalSecrets beside.
const CALLS: usize = 3;
const ERRORS: usize = 4;
const ATTEMPTS: usize = 5;
const NEXT: usize = 6;

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// What is told of the objects of a kind.
fn columns(duration: &'static str, condition: &'static str) -> Vec<Column> {
    let took = "How long the last look took, in nanoseconds";
    let is = "Whether the condition has this status (1) or not (0)";
    vec![
        Column { metric: duration, help: took, is_counter: false, status: None },
        Column { metric: condition, help: is, is_counter: false, status: Some("True") },
        Column { metric: condition, help: is, is_counter: false, status: Some("False") },
    ]
}

/// What is told of ExternalSecrets.
fn columns_of_secrets() -> Vec<Column> {
    let column = |metric, help, is_counter| Column { metric, help, is_counter, status: None };
    let mut all = columns("externalsecret_reconcile_duration", "externalsecret_status_condition");
    all.extend([
        column("externalsecret_sync_calls_total", "Looks at an ExternalSecret", true),
        column("externalsecret_sync_calls_error", "Looks at an ExternalSecret that failed", true),
        column(TRIES, "Failed syncs since the last success", false),
        column(NEXT_TRY, "When a failed sync is tried again, in seconds of Unix time", false),
    ]);
    all
}

/// A counter of that registry.
fn counter(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let metric = IntCounterVec::new(Opts::new(name, help), labels).expect("a good name");
    registry.register(Box::new(metric.clone())).expect("registered once");
    metric
}

/// A histogram of that registry, of what takes seconds.
fn seconds(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let buckets = vec![0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
    let metric = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels).expect("a good name");
    registry.register(Box::new(metric.clone())).expect("registered once");
    metric
}

impl Metrics {
    /// All at zero.
    #[expect(
        clippy::missing_panics_doc,
        reason = "names and labels are constants, which every test that makes one checks"
    )]
    pub fn new() -> Self {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help).expect("a good name");
            registry.register(Box::new(metric.clone())).expect("registered once");
            metric
        };
        let total = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help).expect("a good name");
            registry.register(Box::new(metric.clone())).expect("registered once");
            metric
        };
        let objects = |duration, condition| Objects::new(columns(duration, condition));
        Self {
            secrets: Objects::new(columns_of_secrets()),
            stores: [
                objects("secretstore_reconcile_duration", "secretstore_status_condition"),
                objects("clustersecretstore_reconcile_duration", "clustersecretstore_status_condition"),
            ],
            pushes: objects("pushsecret_reconcile_duration", "pushsecret_status_condition"),
            copiers: [
                objects("clusterexternalsecret_reconcile_duration", "clusterexternalsecret_status_condition"),
                objects("clusterpushsecret_reconcile_duration", "clusterpushsecret_status_condition"),
            ],
            provider_calls: counter(
                &registry,
                "externalsecret_provider_api_calls_count",
                "Calls of a store's API",
                &["provider", "call", "status"],
            ),
            sync_seconds: seconds(
                &registry,
                "keyferry_sync_duration_seconds",
                "How long looks at ExternalSecrets take, by outcome",
                &["outcome"],
            ),
            provider_seconds: seconds(
                &registry,
                "keyferry_provider_call_duration_seconds",
                "How long calls of a store's API take",
                &["provider", "call"],
            ),
            sealing: Sealing::new(&registry),
            queue: gauge("keyferry_queue_length", "Objects that wait for their next look, due or not"),
            leader: gauge("keyferry_leader", "Whether this process holds the Lease (1) or stands by (0)"),
            audit_written: total("keyferry_audit_records_total", "Lines of the audit log"),
            audit_dropped: total("keyferry_audit_dropped_total", "Deliveries that have no line in the audit log"),
            registry,
        }
    }

    /// A look at an ExternalSecret has ended.
    pub fn synced(&self, es: &ExternalSecret, report: &Looked, elapsed: Duration) {
        let outcome = match &report.outcome {
            Outcome::Released => return,
            Outcome::Waiting(_) | Outcome::Holding | Outcome::Ignored | Outcome::MountOnly => "waiting",
            Outcome::Synced(_) | Outcome::Settled { .. } => "synced",
            Outcome::Failed(_) => "failed",
        };
        self.sync_seconds.with_label_values(&[outcome]).observe(elapsed.as_secs_f64());
        let status = report.status.as_ref().map(|(status, _)| status).or(es.status.as_ref());
        let ready = status.and_then(|status| is_ready(&status.conditions));
        let failures = report.memory.failures;
        let next = report.next.filter(|_| failures > 0);
        self.secrets.tell(name_of(&es.metadata), |row| {
            looked(row, elapsed, ready);
            count(&mut row[CALLS]);
            if outcome == "failed" {
                count(&mut row[ERRORS]);
            }
            if outcome != "waiting" {
                row[ATTEMPTS] = Some(f64::from(failures));
            }
            row[NEXT] = next.map(|next| next.as_second() as f64);
        });
    }

    /// The check of a store has ended, which found it so.
    pub fn checked(&self, store: &Store, readiness: &Readiness, elapsed: Duration) {
        let ready = Some(*readiness == Readiness::Ready).filter(|_| !store.is_for_mounts());
        self.stores_like(&store.id).tell(name_of_store(&store.id), |row| looked(row, elapsed, ready));
    }

    /// A look at a PushSecret has ended.
    pub fn pushed(&self, ps: &PushSecret, report: &keyferry_push::look::Looked, elapsed: Duration) {
        if report.outcome == keyferry_push::outcome::Outcome::Released {
            return;
        }
        let status = report.status.as_ref().map(|(status, _)| status).or(ps.status.as_ref());
        let ready = status.and_then(|status| is_ready(&status.conditions));
        self.pushes.tell(name_of(&ps.metadata), |row| looked(row, elapsed, ready));
    }

    /// A PushSecret is gone: so are its series.
    pub fn forget_push_secret(&self, name: &Name) {
        self.pushes.forget(name);
    }

    /// An ExternalSecret is gone: so are its series.
    pub fn forget_external_secret(&self, name: &Name) {
        self.secrets.forget(name);
    }

    /// A store is gone: so are its series.
    pub fn forget_store(&self, store: &StoreId) {
        self.stores_like(store).forget(&name_of_store(store));
    }

    /// A look at one that makes copies has ended, and left it so.
    pub fn copied(&self, copier: &Copier, elapsed: Duration) {
        let ready = is_ready(&copier.status.conditions);
        self.copiers_like(&copier.id).tell(name_of_copier(&copier.id), |row| looked(row, elapsed, ready));
    }

    /// One that makes copies is gone: so are its series.
    pub fn forget_copier(&self, id: &CopierId) {
        self.copiers_like(id).forget(&name_of_copier(id));
    }

    /// The exposition text.
    pub fn text(&self) -> Vec<u8> {
        let mut text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default();
        for objects in [&self.secrets, &self.pushes].into_iter().chain(&self.stores).chain(&self.copiers) {
            objects.write(&mut text);
        }
        text.into_bytes()
    }

    fn stores_like(&self, store: &StoreId) -> &Objects {
        &self.stores[usize::from(store.namespace.is_none())]
    }

    fn copiers_like(&self, id: &CopierId) -> &Objects {
        match id.kind {
            CopierKind::ClusterExternalSecret => &self.copiers[0],
            CopierKind::ClusterPushSecret => &self.copiers[1],
        }
    }
}

fn name_of_store(store: &StoreId) -> Name {
    (store.namespace.clone().unwrap_or_default(), store.name.clone())
}

fn name_of_copier(id: &CopierId) -> Name {
    (String::new(), id.name.clone())
}

fn is_ready(conditions: &[Condition]) -> Option<bool> {
    keyferry_crds::condition::find(conditions, names::CONDITION_READY).map(Condition::is_true)
}

/// A look has taken so long; where nothing says whether the object is Ready, what was told of that holds.
fn looked(row: &mut Row, elapsed: Duration, ready: Option<bool>) {
    row[DURATION] = Some(elapsed.as_nanos() as f64);
    if let Some(ready) = ready {
        row[READY] = Some(f64::from(ready));
        row[NOT_READY] = Some(f64::from(!ready));
    }
}

fn count(number: &mut Option<f64>) {
    *number = Some(number.unwrap_or_default() + 1.0);
}

impl Calls for Metrics {
    fn record(&self, provider: &'static str, call: &'static str, ok: bool, elapsed: Duration) {
        let status = if ok { "success" } else { "error" };
        self.provider_calls.with_label_values(&[provider, call, status]).inc();
        self.provider_seconds.with_label_values(&[provider, call]).observe(elapsed.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use keyferry_sync::look::Memory;
    use keyferry_sync::outcome::{Failure, Headline, Retry, Synced};
    use keyferry_sync::told::Told;
    use serde_json::json;

    use super::*;

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
}
