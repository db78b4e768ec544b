//! Metrics under the names that External Secrets Operator gives them, some of which break Prometheus' conventions
//! (nanoseconds, counters without `_total`), and histograms in seconds beside them.

use std::time::Duration;

use keyferry_crds::{Condition, ExternalSecret, PushSecret, names};
use keyferry_provider_core::Calls;
use keyferry_sync::copies::{Copier, CopierId, CopierKind};
use keyferry_sync::dependency::Name;
use keyferry_sync::look::Looked;
use keyferry_sync::outcome::Outcome;
use keyferry_sync::store::{Readiness, Store, StoreId};
use kube::ResourceExt as _;
use prometheus::{
    Encoder as _, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// The metric of how often syncs failed since the last success.
pub const TRIES: &str = "keyferry_externalsecret_failed_attempts";
/// The metric of when they are tried again.
pub const NEXT_TRY: &str = "keyferry_externalsecret_next_try_timestamp_seconds";

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    sync_calls: IntCounterVec,
    sync_errors: IntCounterVec,
    condition: IntGaugeVec,
    duration: GaugeVec,
    provider_calls: IntCounterVec,
    store_condition: [IntGaugeVec; 2],
    store_duration: [GaugeVec; 2],
    push_condition: IntGaugeVec,
    push_duration: GaugeVec,
    copier_condition: [IntGaugeVec; 2],
    copier_duration: [GaugeVec; 2],
    sync_seconds: HistogramVec,
    provider_seconds: HistogramVec,
    attempts: IntGaugeVec,
    next_try: IntGaugeVec,
    /// Objects that wait for a look.
    pub queue: IntGauge,
    /// Whether this process holds the Lease.
    pub leader: IntGauge,
    /// Lines of the audit log.
    pub audit_written: IntCounter,
    /// Deliveries that have no line there.
    pub audit_dropped: IntCounter,
}

const OBJECT: [&str; 2] = ["name", "namespace"];
const CONDITION: [&str; 4] = ["name", "namespace", "condition", "status"];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    #[expect(
        clippy::missing_panics_doc,
        reason = "names and labels are constants, which every test that makes one checks"
    )]
    pub fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels).expect("a good name");
            registry.register(Box::new(metric.clone())).expect("registered once");
            metric
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels).expect("a good name");
            registry.register(Box::new(metric.clone())).expect("registered once");
            metric
        };
        let nanoseconds = |name: &str| {
            let metric = GaugeVec::new(Opts::new(name, "How long the last look took, in nanoseconds"), &OBJECT)
                .expect("a good name");
            registry.register(Box::new(metric.clone())).expect("registered once");
            metric
        };
        let seconds = |name: &str, help: &str, labels: &[&str]| {
            let buckets = vec![0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
            let metric =
                HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels).expect("a good name");
            registry.register(Box::new(metric.clone())).expect("registered once");
            metric
        };
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
        let condition_help = "Whether the condition has this status (1) or not (0)";
        Self {
            sync_calls: counter("externalsecret_sync_calls_total", "Looks at an ExternalSecret", &OBJECT),
            sync_errors: counter("externalsecret_sync_calls_error", "Looks at an ExternalSecret that failed", &OBJECT),
            condition: gauges("externalsecret_status_condition", condition_help, &CONDITION),
            duration: nanoseconds("externalsecret_reconcile_duration"),
            provider_calls: counter(
                "externalsecret_provider_api_calls_count",
                "Calls of a store's API",
                &["provider", "call", "status"],
            ),
            store_condition: [
                gauges("secretstore_status_condition", condition_help, &CONDITION),
                gauges("clustersecretstore_status_condition", condition_help, &CONDITION),
            ],
            store_duration: [
                nanoseconds("secretstore_reconcile_duration"),
                nanoseconds("clustersecretstore_reconcile_duration"),
            ],
            push_condition: gauges("pushsecret_status_condition", condition_help, &CONDITION),
            push_duration: nanoseconds("pushsecret_reconcile_duration"),
            copier_condition: [
                gauges("clusterexternalsecret_status_condition", condition_help, &CONDITION),
                gauges("clusterpushsecret_status_condition", condition_help, &CONDITION),
            ],
            copier_duration: [
                nanoseconds("clusterexternalsecret_reconcile_duration"),
                nanoseconds("clusterpushsecret_reconcile_duration"),
            ],
            sync_seconds: seconds(
                "keyferry_sync_duration_seconds",
                "How long looks at ExternalSecrets take, by outcome",
                &["outcome"],
            ),
            provider_seconds: seconds(
                "keyferry_provider_call_duration_seconds",
                "How long calls of a store's API take",
                &["provider", "call"],
            ),
            attempts: gauges(TRIES, "Failed syncs since the last success", &OBJECT),
            next_try: gauges(NEXT_TRY, "When a failed sync is tried again, in seconds of Unix time", &OBJECT),
            queue: gauge("keyferry_queue_length", "Objects that wait for their next look, due or not"),
            leader: gauge("keyferry_leader", "Whether this process holds the Lease (1) or stands by (0)"),
            audit_written: total("keyferry_audit_records_total", "Lines of the audit log"),
            audit_dropped: total("keyferry_audit_dropped_total", "Deliveries that have no line in the audit log"),
            registry,
        }
    }

    /// A look at an ExternalSecret has ended.
    pub fn synced(&self, es: &ExternalSecret, report: &Looked, elapsed: Duration) {
        let namespace = es.namespace().unwrap_or_default();
        let object = [es.name_any(), namespace];
        let labels = [object[0].as_str(), object[1].as_str()];
        let outcome = match &report.outcome {
            Outcome::Released => return,
            Outcome::Waiting(_) | Outcome::Holding | Outcome::Ignored | Outcome::MountOnly => "waiting",
            Outcome::Synced(_) | Outcome::Settled { .. } => "synced",
            Outcome::Failed(_) => "failed",
        };
        self.sync_calls.with_label_values(&labels).inc();
        self.duration.with_label_values(&labels).set(elapsed.as_nanos() as f64);
        self.sync_seconds.with_label_values(&[outcome]).observe(elapsed.as_secs_f64());
        if outcome == "failed" {
            self.sync_errors.with_label_values(&labels).inc();
        }
        if outcome != "waiting" {
            self.attempts.with_label_values(&labels).set(i64::from(report.memory.failures));
        }
        match report.next.filter(|_| report.memory.failures > 0) {
            Some(next) => self.next_try.with_label_values(&labels).set(next.as_second()),
            None => _ = self.next_try.remove_label_values(&labels),
        }
        let status = report.status.as_ref().map(|(status, _)| status).or(es.status.as_ref());
        let ready =
            status.and_then(|status| keyferry_crds::condition::find(&status.conditions, names::CONDITION_READY));
        set_condition(&self.condition, labels, ready.map(Condition::is_true));
    }

    /// The check of a store has ended, which found it so.
    pub fn checked(&self, store: &Store, readiness: &Readiness, elapsed: Duration) {
        let kind = usize::from(store.id.namespace.is_none());
        let labels = labels_of(&store.id);
        self.store_duration[kind].with_label_values(&labels).set(elapsed.as_nanos() as f64);
        set_condition(
            &self.store_condition[kind],
            labels,
            Some(*readiness == Readiness::Ready).filter(|_| !store.is_for_mounts()),
        );
    }

    /// A look at a PushSecret has ended.
    pub fn pushed(&self, ps: &PushSecret, report: &keyferry_push::look::Looked, elapsed: Duration) {
        if report.outcome == keyferry_push::outcome::Outcome::Released {
            return;
        }
        let object = [ps.name_any(), ps.namespace().unwrap_or_default()];
        let labels = [object[0].as_str(), object[1].as_str()];
        self.push_duration.with_label_values(&labels).set(elapsed.as_nanos() as f64);
        let status = report.status.as_ref().map(|(status, _)| status).or(ps.status.as_ref());
        let ready =
            status.and_then(|status| keyferry_crds::condition::find(&status.conditions, names::CONDITION_READY));
        set_condition(&self.push_condition, labels, ready.map(Condition::is_true));
    }

    /// A PushSecret is gone: so are its series.
    pub fn forget_push_secret(&self, (namespace, name): &Name) {
        let labels = [name.as_str(), namespace.as_str()];
        let _ = self.push_duration.remove_label_values(&labels);
        remove_condition(&self.push_condition, labels);
    }

    /// An ExternalSecret is gone: so are its series.
    pub fn forget_external_secret(&self, (namespace, name): &Name) {
        let labels = [name.as_str(), namespace.as_str()];
        let _ = self.sync_calls.remove_label_values(&labels);
        let _ = self.sync_errors.remove_label_values(&labels);
        let _ = self.duration.remove_label_values(&labels);
        let _ = self.attempts.remove_label_values(&labels);
        let _ = self.next_try.remove_label_values(&labels);
        remove_condition(&self.condition, labels);
    }

    /// A store is gone: so are its series.
    pub fn forget_store(&self, store: &StoreId) {
        let kind = usize::from(store.namespace.is_none());
        let _ = self.store_duration[kind].remove_label_values(&labels_of(store));
        remove_condition(&self.store_condition[kind], labels_of(store));
    }

    /// A look at one that makes copies has ended, and left it so.
    pub fn copied(&self, copier: &Copier, elapsed: Duration) {
        let (kind, labels) = (number_of(&copier.id), [copier.id.name.as_str(), ""]);
        self.copier_duration[kind].with_label_values(&labels).set(elapsed.as_nanos() as f64);
        let ready = keyferry_crds::condition::find(&copier.status.conditions, names::CONDITION_READY);
        set_condition(&self.copier_condition[kind], labels, ready.map(Condition::is_true));
    }

    /// One that makes copies is gone: so are its series.
    pub fn forget_copier(&self, id: &CopierId) {
        let (kind, labels) = (number_of(id), [id.name.as_str(), ""]);
        let _ = self.copier_duration[kind].remove_label_values(&labels);
        remove_condition(&self.copier_condition[kind], labels);
    }

    /// The exposition text.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => text,
            Err(_) => Vec::new(),
        }
    }
}

fn number_of(id: &CopierId) -> usize {
    match id.kind {
        CopierKind::ClusterExternalSecret => 0,
        CopierKind::ClusterPushSecret => 1,
    }
}

fn labels_of(store: &StoreId) -> [&str; 2] {
    [&store.name, store.namespace.as_deref().unwrap_or_default()]
}

fn set_condition(gauge: &IntGaugeVec, [name, namespace]: [&str; 2], ready: Option<bool>) {
    let Some(ready) = ready else { return };
    for (status, value) in [("True", ready), ("False", !ready)] {
        gauge.with_label_values(&[name, namespace, names::CONDITION_READY, status]).set(i64::from(value));
    }
}

fn remove_condition(gauge: &IntGaugeVec, [name, namespace]: [&str; 2]) {
    for status in ["True", "False"] {
        let _ = gauge.remove_label_values(&[name, namespace, names::CONDITION_READY, status]);
    }
}

impl Calls for Metrics {
    fn record(&self, provider: &'static str, call: &'static str, ok: bool, elapsed: Duration) {
        let status = if ok { "success" } else { "error" };
        self.provider_calls.with_label_values(&[provider, call, status]).inc();
        self.provider_seconds.with_label_values(&[provider, call]).observe(elapsed.as_secs_f64());
    }
}
