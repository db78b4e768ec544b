//! What is told of SealedSecrets, and of who asks about what is sealed: under the names of Sealed Secrets' controller, by which its
//! users have alerts, and in seconds.

use std::time::Duration;

use keyferry_crds::ExternalSecret;
use keyferry_sync::dependency::{Name, name_of};
use keyferry_sync::look::Looked;
use keyferry_sync::outcome::{Headline, Outcome};
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{counter, seconds};

/// The one condition of SealedSecrets.
const SYNCED: &str = "Synced";

/// The metrics of what is sealed.
pub struct Sealing {
    requests: IntCounterVec,
    errors: IntCounterVec,
    condition: IntGaugeVec,
    seconds: HistogramVec,
    served: IntCounterVec,
}

impl Sealing {
    /// All at zero, in this registry.
    pub(super) fn new(registry: &Registry) -> Self {
        let condition =
            Opts::new("sealed_secrets_controller_condition_info", "How SealedSecrets stand: 1 for True, -1 for False");
        let condition = IntGaugeVec::new(condition, &["namespace", "name", "condition"]).expect("a good name");
        registry.register(Box::new(condition.clone())).expect("registered once");
        Self {
            requests: counter(
                registry,
                "sealed_secrets_controller_unseal_requests_total",
                "Looks at SealedSecrets that unsealed, or were to",
                &[],
            ),
            errors: counter(
                registry,
                "sealed_secrets_controller_unseal_errors_total",
                "Looks at SealedSecrets that failed",
                &["reason", "namespace"],
            ),
            condition,
            seconds: seconds(
                registry,
                "keyferry_unseal_duration_seconds",
                "How long looks at SealedSecrets take, by outcome",
                &["outcome"],
            ),
            served: counter(
                registry,
                "sealed_secrets_controller_http_requests_total",
                "Requests to --seal-listen and --unseal-listen",
                &["path", "code", "method"],
            ),
        }
    }

    /// A look at a SealedSecret has ended: told under the names of Sealed Secrets' controller, by which its users have alerts.
    pub fn unsealed(&self, es: &ExternalSecret, report: &Looked, elapsed: Duration) {
        let (namespace, name) = name_of(&es.metadata);
        let outcome = match &report.outcome {
            Outcome::Released | Outcome::Ignored | Outcome::Waiting(_) | Outcome::Holding | Outcome::MountOnly => {
                return;
            }
            Outcome::Synced(_) | Outcome::Settled { .. } => "unsealed",
            Outcome::Failed(failure) => {
                let reason = match failure.headline {
                    Headline::Ownership | Headline::Owned => "unmanaged",
                    Headline::Update | Headline::Immutable | Headline::Delete | Headline::Orphans => "update",
                    _ => "unseal",
                };
                self.errors.with_label_values(&[reason, &namespace]).inc();
                "failed"
            }
        };
        self.requests.with_label_values(&[] as &[&str]).inc();
        self.seconds.with_label_values(&[outcome]).observe(elapsed.as_secs_f64());
        let stands = if outcome == "failed" { -1 } else { 1 };
        self.condition.with_label_values(&[namespace.as_str(), &name, SYNCED]).set(stands);
    }

    /// A SealedSecret is gone: so are its series.
    pub fn forget(&self, (namespace, name): &Name) {
        let _ = self.condition.remove_label_values(&[namespace.as_str(), name, SYNCED]);
    }

    /// A request about what is sealed was answered. Both labels are of few words, whatever is asked for.
    pub fn served(&self, path: &'static str, method: &'static str, status: u16) {
        self.served.with_label_values(&[path, &status.to_string(), method]).inc();
    }
}
