//! Metrics under the names that External Secrets Operator gives them, some of which break Prometheus' conventions
//! (nanoseconds, counters without `_total`), and ours beside them. `docs/monitoring.md` lists all, and is held to them.
//!
//! Modules, in reading order: [`objects`] rows of objects, [`calls`] calls to stores, [`process`] the process as a whole,
//! [`sealing`] what is sealed.

mod objects;
mod calls;
mod process;
mod sealing;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keyferry_crds::{Condition, ExternalSecret, PushSecret, names};
use keyferry_provider_core::Calls;
use keyferry_sync::copies::{Copier, CopierId, CopierKind};
use keyferry_sync::dependency::{Name, name_of};
use keyferry_sync::look::Looked;
use keyferry_sync::outcome::Outcome;
use keyferry_sync::schedule;
use keyferry_sync::store::{Readiness, Store, StoreId};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use self::calls::OfCalls;
use self::objects::{Column, Objects, Row};
use self::process::OfProcess;
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
    leases: Objects,
    sync_seconds: HistogramVec,
    push_seconds: HistogramVec,
    pushed: IntCounterVec,
    /// Restarts of workloads, by outcome.
    pub restarts: IntCounterVec,
    /// Workloads whose restart waits for that of others.
    pub restarts_waiting: IntGauge,
    state_looks: IntCounterVec,
    /// GeneratorStates, and those whose last look failed.
    pub states: [IntGauge; 2],
    calls: Arc<OfCalls>,
    /// Those of the process as a whole.
    pub process: OfProcess,
    /// Those of what is sealed.
    pub sealing: Sealing,
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
const LAST: usize = 7;
const DUE: usize = 8;
const USED: usize = 9;
/// What is told of stores beside.
const FAILED_CHECKS: usize = 3;
/// What is told of whom a generator made something for that ends: ExternalSecrets and PushSecrets, which may be called the same.
const SECRETS_LEASE: usize = 0;
const PUSHES_LEASE: usize = 1;

/// What is nobody's to alert on: somebody else looks after it, or nobody here.
const NOT_OURS: [usize; 7] = [READY, NOT_READY, ATTEMPTS, NEXT, LAST, DUE, USED];

/// From this share of what a refresh may take on it is told how much it took.
const WORTH_TELLING: f64 = 0.5;

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A gauge of objects.
fn column(metric: &'static str, help: &'static str) -> Column {
    Column { metric, help, is_counter: false, status: None, kind: None }
}

/// What is told of the objects of a kind.
fn columns(duration: &'static str, condition: &'static str) -> Vec<Column> {
    let is = |status| Column {
        status: Some(status),
        ..column(condition, "Whether the condition has this status (1) or not (0)")
    };
    vec![column(duration, "How long the last look took, in nanoseconds"), is("True"), is("False")]
}

/// What is told of ExternalSecrets.
fn columns_of_secrets() -> Vec<Column> {
    let counter = |metric, help| Column { is_counter: true, ..column(metric, help) };
    let mut all = columns("externalsecret_reconcile_duration", "externalsecret_status_condition");
    all.extend([
        counter("externalsecret_sync_calls_total", "Looks at an ExternalSecret"),
        counter("externalsecret_sync_calls_error", "Looks at an ExternalSecret that failed"),
        column(TRIES, "Failed syncs since the last success"),
        column(NEXT_TRY, "When a failed sync is tried again, in seconds of Unix time"),
        column(
            "keyferry_externalsecret_last_success_timestamp_seconds",
            "When the last sync that succeeded began, in seconds of Unix time",
        ),
        column(
            "keyferry_externalsecret_next_refresh_timestamp_seconds",
            "When the refresh after the last success is due, in seconds of Unix time; it stays while syncs fail",
        ),
        column(
            "keyferry_externalsecret_budget_used_ratio",
            "What the last sync took of what one may take (limits look-bytes and look-steps), where more than half",
        ),
    ]);
    all
}

/// What is told of whom a generator made something for.
fn columns_of_leases() -> Vec<Column> {
    let of = |kind| Column {
        kind: Some(kind),
        ..column(
            "keyferry_lease_replace_by_timestamp_seconds",
            "By when what a generator made for the object is to be replaced, in seconds of Unix time: a sixth of its term before it ends",
        )
    };
    vec![of("ExternalSecret"), of("PushSecret")]
}

/// What is told of stores.
fn columns_of_stores(duration: &'static str, condition: &'static str, failed: &'static str) -> Vec<Column> {
    let mut all = columns(duration, condition);
    all.push(column(failed, "Checks of the store that failed in a row: a store stays Ready for the first two"));
    all
}

/// Both kinds of stores.
fn stores() -> [Objects; 2] {
    let of = |duration, condition, failed| Objects::new(columns_of_stores(duration, condition, failed));
    [
        of("secretstore_reconcile_duration", "secretstore_status_condition", "keyferry_secretstore_failed_checks"),
        of(
            "clustersecretstore_reconcile_duration",
            "clustersecretstore_status_condition",
            "keyferry_clustersecretstore_failed_checks",
        ),
    ]
}

/// A counter of that registry.
fn counter(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let metric = IntCounterVec::new(Opts::new(name, help), labels).expect("a good name");
    registry.register(Box::new(metric.clone())).expect("registered once");
    metric
}

/// What is told of restarts.
fn restarts(registry: &Registry) -> IntCounterVec {
    let metric = counter(
        registry,
        "keyferry_restarts_total",
        "Workloads that were restarted since a Secret of theirs changed, what kept others from it, and restarts without new pods that serve after ten minutes, by outcome",
        &["outcome"],
    );
    for outcome in ["restarted", "failed", "unfinished"] {
        // What grows from nothing to one is no growth to who asks for it.
        metric.with_label_values(&[outcome]);
    }
    metric
}

/// A gauge without labels.
fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let metric = IntGauge::new(name, help).expect("a good name");
    registry.register(Box::new(metric.clone())).expect("registered once");
    metric
}

/// A histogram of that registry, of what takes seconds.
fn seconds(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let buckets = vec![0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
    histogram(registry, name, help, labels, buckets)
}

/// A histogram of that registry.
fn histogram(registry: &Registry, name: &str, help: &str, labels: &[&str], buckets: Vec<f64>) -> HistogramVec {
    let metric = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels).expect("a good name");
    registry.register(Box::new(metric.clone())).expect("registered once");
    metric
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let objects = |duration, condition| Objects::new(columns(duration, condition));
        Self {
            secrets: Objects::new(columns_of_secrets()),
            stores: stores(),
            pushes: objects("pushsecret_reconcile_duration", "pushsecret_status_condition"),
            copiers: [
                objects("clusterexternalsecret_reconcile_duration", "clusterexternalsecret_status_condition"),
                objects("clusterpushsecret_reconcile_duration", "clusterpushsecret_status_condition"),
            ],
            leases: Objects::new(columns_of_leases()),
            sync_seconds: seconds(
                &registry,
                "keyferry_sync_duration_seconds",
                "How long looks at ExternalSecrets take, by outcome",
                &["outcome"],
            ),
            push_seconds: seconds(
                &registry,
                "keyferry_push_duration_seconds",
                "How long looks at PushSecrets take, by outcome",
                &["outcome"],
            ),
            pushed: counter(
                &registry,
                "keyferry_push_entries_total",
                "Entries of PushSecrets that were handed to a store to be written, or deleted there",
                &["change"],
            ),
            restarts: restarts(&registry),
            restarts_waiting: gauge(
                &registry,
                "keyferry_restarts_waiting",
                "Workloads that are to restart and wait for their turn: five of a namespace restart at once",
            ),
            state_looks: counter(
                &registry,
                "keyferry_generatorstate_looks_total",
                "Looks at GeneratorStates, which prolong and revoke what generators made, by outcome",
                &["outcome"],
            ),
            states: [
                gauge(
                    &registry,
                    "keyferry_generatorstates",
                    "GeneratorStates: what generators made, until it is revoked",
                ),
                gauge(
                    &registry,
                    "keyferry_generatorstates_failing",
                    "GeneratorStates that could not be prolonged or revoked when they were last looked at",
                ),
            ],
            calls: Arc::new(OfCalls::new(&registry)),
            process: OfProcess::new(&registry),
            sealing: Sealing::new(&registry),
            registry,
        }
    }

    /// Where calls to stores are told.
    pub fn calls(&self) -> Arc<dyn Calls> {
        self.calls.clone()
    }

    /// A look at an ExternalSecret has ended, and took this share of what it may take.
    pub fn synced(&self, es: &ExternalSecret, report: &Looked, elapsed: Duration, used: f64) {
        let outcome = match &report.outcome {
            Outcome::Released => return,
            Outcome::Waiting(_) | Outcome::Holding | Outcome::Ignored | Outcome::MountOnly => "waiting",
            Outcome::Synced(_) | Outcome::Settled { .. } => "synced",
            Outcome::Failed(failure) => {
                self.process.failed(failure.causes.iter().map(|cause| cause.as_str()));
                "failed"
            }
        };
        self.sync_seconds.with_label_values(&[outcome]).observe(elapsed.as_secs_f64());
        let status = report.status.as_ref().map(|(status, _)| status).or(es.status.as_ref());
        let ready = status.and_then(|status| is_ready(&status.conditions));
        let failures = report.memory.failures;
        let next = report.next.filter(|_| failures > 0);
        let last = last_success(es, report);
        self.leases.tell_at_most(&name_of(&es.metadata), SECRETS_LEASE, report.memory.replace_by.map(seconds_of));
        self.secrets.tell(name_of(&es.metadata), |row| {
            row.count(CALLS);
            if matches!(report.outcome, Outcome::Ignored | Outcome::MountOnly) {
                looked(row, elapsed, None);
                row.clear(&NOT_OURS);
                return;
            }
            looked(row, elapsed, ready);
            if outcome == "failed" {
                row.count(ERRORS);
            }
            if outcome != "waiting" {
                row.set(ATTEMPTS, f64::from(failures));
                row.set(USED, Some(used).filter(|used| *used >= WORTH_TELLING));
            }
            row.set(NEXT, next.map(seconds_of));
            row.set(LAST, last.map(seconds_of));
            row.set(DUE, last.and_then(|last| refresh_due(es, report, last)).map(seconds_of));
        });
    }

    /// The check of a store has ended, which found it so; `has_failed` where that is so though it is still taken for Ready, too.
    pub fn checked(&self, store: &Store, readiness: &Readiness, has_failed: bool, elapsed: Duration) {
        if let Readiness::NotReady(problem) = readiness {
            self.process.failed([problem.as_str()]);
        }
        self.stores_like(&store.id).tell(name_of_store(&store.id), |row| {
            if store.is_for_mounts() {
                looked(row, elapsed, None);
                row.clear(&[READY, NOT_READY, FAILED_CHECKS]);
                return;
            }
            looked(row, elapsed, Some(*readiness == Readiness::Ready));
            if has_failed {
                row.count(FAILED_CHECKS);
            } else {
                row.set(FAILED_CHECKS, 0.0);
            }
        });
    }

    /// A look at a PushSecret has ended.
    pub fn pushed(&self, ps: &PushSecret, report: &keyferry_push::look::Looked, elapsed: Duration) {
        use keyferry_push::outcome::Outcome;
        let outcome = match &report.outcome {
            Outcome::Released => return,
            Outcome::Waiting(_) | Outcome::Holding | Outcome::Ignored => "waiting",
            Outcome::Done(done) => {
                self.pushed.with_label_values(&["pushed"]).inc_by(done.pushed as u64);
                self.pushed.with_label_values(&["deleted"]).inc_by(done.deleted as u64);
                "pushed"
            }
            Outcome::SourceGone => "pushed",
            Outcome::Failed(failure) => {
                self.process.failed(failure.causes.iter().map(|cause| cause.as_str()));
                "failed"
            }
        };
        self.push_seconds.with_label_values(&[outcome]).observe(elapsed.as_secs_f64());
        let status = report.status.as_ref().map(|(status, _)| status).or(ps.status.as_ref());
        let ready = status.and_then(|status| is_ready(&status.conditions));
        self.leases.tell_at_most(&name_of(&ps.metadata), PUSHES_LEASE, report.memory.replace_by.map(seconds_of));
        self.pushes.tell(name_of(&ps.metadata), |row| {
            if report.outcome == Outcome::Ignored {
                looked(row, elapsed, None);
                row.clear(&[READY, NOT_READY]);
            } else {
                looked(row, elapsed, ready);
            }
        });
    }

    /// A look at a GeneratorState has ended.
    pub fn state_looked_at(&self, has_failed: bool) {
        self.state_looks.with_label_values(&[if has_failed { "failed" } else { "done" }]).inc();
    }

    /// A PushSecret is gone: so are its series.
    pub fn forget_push_secret(&self, name: &Name) {
        self.pushes.forget(name);
        self.leases.tell_at_most(name, PUSHES_LEASE, None);
    }

    /// An ExternalSecret is gone: so are its series.
    pub fn forget_external_secret(&self, name: &Name) {
        self.secrets.forget(name);
        self.leases.tell_at_most(name, SECRETS_LEASE, None);
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
        self.process.sample();
        let mut text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default();
        for objects in [&self.secrets, &self.pushes, &self.leases].into_iter().chain(&self.stores).chain(&self.copiers)
        {
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
    row.set(DURATION, elapsed.as_nanos() as f64);
    if let Some(ready) = ready {
        row.set(READY, f64::from(ready));
        row.set(NOT_READY, f64::from(!ready));
    }
}

/// When the last sync that succeeded began: as remembered, or as told by the status.
fn last_success(es: &ExternalSecret, report: &Looked) -> Option<Timestamp> {
    let told =
        es.status.as_ref().filter(|status| status.synced_resource_version.as_ref().is_some_and(|v| !v.is_empty()));
    let told = told.and_then(|status| Some(status.refresh_time.as_ref()?.0));
    report.memory.last.as_ref().map(|last| last.at).max(told)
}

/// When the refresh after that success is due. Windows may put it off; failures don't.
fn refresh_due(es: &ExternalSecret, report: &Looked, last: Timestamp) -> Option<Timestamp> {
    let due = schedule::after_success(es, last)?;
    match &report.outcome {
        Outcome::Waiting(Some(until)) if report.memory.failures == 0 => Some(due.max(*until)),
        _ => Some(due),
    }
}

fn seconds_of(time: Timestamp) -> f64 {
    time.as_second() as f64
}

#[cfg(test)]
mod tests;
