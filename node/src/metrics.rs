//! What is counted of mounts.

use prometheus::{Encoder as _, GaugeVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::marks::Mark;

/// The metrics of the node process.
pub struct Metrics {
    registry: Registry,
    /// Calls of the kubelet, by what came of them.
    pub publishes: IntCounterVec,
    /// Deliveries that changed files.
    pub deliveries: IntCounterVec,
    /// Volumes that lost their files, by why.
    pub emptied: IntCounterVec,
    /// Volumes that stand.
    pub mounts: IntGauge,
    /// Lines of the audit log, by where they went.
    pub audit_written: IntCounterVec,
    /// Deliveries that have no line there.
    pub audit_dropped: IntCounterVec,
    read_at: GaugeVec,
}

/// By these a volume is known.
const VOLUME: [&str; 3] = ["namespace", "pod", "external_secret"];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    ///
    /// # Panics
    /// Where two have one name: a bug that any test meets.
    pub fn new() -> Self {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).expect("a good name")
        };
        let metrics = Self {
            registry: Registry::new(),
            publishes: counter(
                "keyferry_node_publishes_total",
                "Calls of the kubelet that ask for a volume, by what came of them",
                &["result"],
            ),
            deliveries: counter("keyferry_node_deliveries_total", "Writes of files into volumes", &["change"]),
            emptied: counter("keyferry_node_emptied_total", "Volumes that lost their files, by why", &["reason"]),
            mounts: IntGauge::new("keyferry_node_mounts", "Volumes that stand").expect("a good name"),
            read_at: GaugeVec::new(
                Opts::new("keyferry_node_read_timestamp_seconds", "When what a volume shows was read from its stores"),
                &VOLUME,
            )
            .expect("a good name"),
            // As the operator calls them.
            audit_written: counter(
                "keyferry_audit_records_total",
                "Lines of the audit log, by where they went (log, webhook)",
                &["to"],
            ),
            audit_dropped: counter(
                "keyferry_audit_dropped_total",
                "Deliveries that have no line in the audit log, by where it was to go (log, webhook)",
                &["to"],
            ),
        };
        let all: [Box<dyn prometheus::core::Collector>; 7] = [
            Box::new(metrics.audit_written.clone()),
            Box::new(metrics.audit_dropped.clone()),
            Box::new(metrics.publishes.clone()),
            Box::new(metrics.deliveries.clone()),
            Box::new(metrics.emptied.clone()),
            Box::new(metrics.mounts.clone()),
            Box::new(metrics.read_at.clone()),
        ];
        for metric in all {
            metrics.registry.register(metric).expect("a name of its own");
        }
        metrics
    }

    /// Takes how a volume stands.
    pub fn stands(&self, mark: &Mark) {
        if let Some(synced) = &mark.synced {
            let labels = [mark.namespace.as_str(), &mark.pod, &mark.external_secret];
            self.read_at.with_label_values(&labels).set(synced.at.as_second() as f64);
        }
    }

    /// Forgets a volume.
    pub fn forget(&self, mark: &Mark) {
        // It may never have been read.
        let _ = self.read_at.remove_label_values(&[mark.namespace.as_str(), &mark.pod, &mark.external_secret]);
    }

    /// The text that is served.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Nothing that writes there fails.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}
