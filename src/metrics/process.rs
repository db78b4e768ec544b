//! What is told of the process as a whole: what waits, what its own limits leave, and what of its own ends.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use keyferry_limits::Limit;
use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{counter, gauge};

/// How much of a limit of the whole process is taken now, from 0 to 1.
type Used = Box<dyn Fn() -> f64 + Send + Sync>;

/// The metrics of the process.
pub struct OfProcess {
    /// Objects that wait for a look.
    pub queue: IntGauge,
    /// Of these, those whose time has come.
    pub due: IntGauge,
    /// For how long the first of those waits, in seconds.
    pub oldest: Gauge,
    /// Looks that are under way.
    pub looks: IntGauge,
    /// Whether this process holds the Lease, or that of a shard.
    pub leader: IntGauge,
    /// Into how many shards all is divided.
    pub shards: IntGauge,
    /// How many of them this process works on.
    pub shards_held: IntGauge,
    /// Lines of the audit log, by where they went.
    pub audit_written: IntCounterVec,
    /// Deliveries that have no line there.
    pub audit_dropped: IntCounterVec,
    met: IntCounterVec,
    used: GaugeVec,
    of: Mutex<Vec<(&'static Limit, Used)>>,
    ends: IntGaugeVec,
}

impl OfProcess {
    /// All at zero, in this registry.
    pub(super) fn new(registry: &Registry) -> Self {
        let gauges = |name: &str, help: &str, label: &str| {
            let metric = GaugeVec::new(Opts::new(name, help), &[label]).expect("a good name");
            registry.register(Box::new(metric.clone())).expect("registered once");
            metric
        };
        let ends = Opts::new(
            "keyferry_certificate_end_timestamp_seconds",
            "When a certificate ends that is served, in seconds of Unix time: of /metrics or of --unseal-listen",
        );
        let ends = IntGaugeVec::new(ends, &["certificate"]).expect("a good name");
        registry.register(Box::new(ends.clone())).expect("registered once");
        let oldest = Gauge::new(
            "keyferry_queue_oldest_seconds",
            "For how long the object has waited whose look has been due for longest, in seconds",
        );
        let oldest = oldest.expect("a good name");
        registry.register(Box::new(oldest.clone())).expect("registered once");
        let version =
            IntGaugeVec::new(Opts::new("keyferry_build_info", "The version of keyferry: always 1"), &["version"]);
        let version = version.expect("a good name");
        registry.register(Box::new(version.clone())).expect("registered once");
        version.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let met = counter(registry, "keyferry_limits_met_total", "Looks that failed by a limit", &["limit"]);
        for limit in keyferry_limits::ALL {
            // What grows from nothing to one is no growth to who asks for it.
            met.with_label_values(&[limit.name]);
        }
        Self {
            queue: gauge(registry, "keyferry_queue_length", "Objects that wait for their next look, due or not"),
            due: gauge(registry, "keyferry_queue_due", "Objects whose look is due, and has not begun"),
            oldest,
            looks: gauge(registry, "keyferry_looks_running", "Looks that are under way"),
            leader: gauge(registry, "keyferry_leader", "Whether this process holds the Lease (1) or stands by (0)"),
            shards: gauge(registry, "keyferry_shards", "Into how many shards all is divided: 1 without --shards"),
            shards_held: gauge(registry, "keyferry_shards_held", "How many shards this process works on"),
            audit_written: counter(
                registry,
                "keyferry_audit_records_total",
                "Lines of the audit log, by where they went (log, webhook)",
                &["to"],
            ),
            audit_dropped: counter(
                registry,
                "keyferry_audit_dropped_total",
                "Deliveries that have no line in the audit log, by where it was to go (log, webhook)",
                &["to"],
            ),
            met,
            used: gauges(
                "keyferry_limit_used_ratio",
                "How much of a limit that all objects share is taken now, from 0 to 1",
                "limit",
            ),
            of: Mutex::default(),
            ends,
        }
    }

    /// How much of this limit is taken is asked from now on, whenever metrics are.
    pub fn watch(&self, limit: &'static Limit, used: impl Fn() -> f64 + Send + Sync + 'static) {
        self.of.lock().unwrap_or_else(PoisonError::into_inner).push((limit, Box::new(used)));
    }

    /// A look failed, with these causes.
    pub(super) fn failed<'a>(&self, causes: impl IntoIterator<Item = &'a str>) {
        let mut met: Vec<&str> = causes.into_iter().flat_map(keyferry_limits::met_in).map(|limit| limit.name).collect();
        met.sort_unstable();
        met.dedup();
        for limit in met {
            self.met.with_label_values(&[limit]).inc();
        }
    }

    /// A certificate that is served ends then.
    pub fn certificate_ends(&self, certificate: &'static str, at: Timestamp) {
        self.ends.with_label_values(&[certificate]).set(at.as_second());
    }

    /// Takes how much of the limits is taken now.
    pub(super) fn sample(&self) {
        for (limit, used) in self.of.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.used.with_label_values(&[limit.name]).set(used());
        }
    }
}
