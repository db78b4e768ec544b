//! What is told of calls to stores: how many, how long they take, and how many the others made needless.

use std::time::Duration;

use keyferry_provider_core::Calls;
use prometheus::{HistogramVec, IntCounterVec, Registry};

use super::{counter, histogram, seconds};

/// The metrics of calls to stores.
pub struct OfCalls {
    calls: IntCounterVec,
    seconds: HistogramVec,
    answers: IntCounterVec,
    fetches: IntCounterVec,
    saved: IntCounterVec,
    fill: HistogramVec,
    throttled: IntCounterVec,
}

impl OfCalls {
    /// All at zero, in this registry.
    pub(super) fn new(registry: &Registry) -> Self {
        let of_store = |name: &str, help: &str| counter(registry, name, help, &["store_type"]);
        Self {
            calls: counter(
                registry,
                "externalsecret_provider_api_calls_count",
                "Calls of a store's API",
                &["provider", "call", "status"],
            ),
            seconds: seconds(
                registry,
                "keyferry_provider_call_duration_seconds",
                "How long calls of a store's API take",
                &["provider", "call"],
            ),
            answers: of_store("keyferry_fetch_answers_total", "Keys that refreshes were answered by stores"),
            fetches: of_store("keyferry_fetch_calls_total", "Fetches that stores were sent, of one key or of a batch"),
            saved: of_store(
                "keyferry_fetch_calls_saved_total",
                "Fetches that were not sent since refreshes shared keys and batches",
            ),
            fill: histogram(
                registry,
                "keyferry_fetch_batch_fill_ratio",
                "How full batches are, of stores that have them: keys of the most that one call takes",
                &["store_type"],
                vec![0.1, 0.25, 0.5, 0.75, 0.9, 1.0],
            ),
            throttled: of_store(
                "keyferry_fetch_throttled_total",
                "Fetches that a store answered by asking to slow down",
            ),
        }
    }
}

impl Calls for OfCalls {
    fn record(&self, provider: &'static str, call: &'static str, ok: bool, elapsed: Duration) {
        let status = if ok { "success" } else { "error" };
        self.calls.with_label_values(&[provider, call, status]).inc();
        self.seconds.with_label_values(&[provider, call]).observe(elapsed.as_secs_f64());
    }

    fn fetching(&self, store_type: &'static str, keys: usize, most: usize) {
        self.fetches.with_label_values(&[store_type]).inc();
        // Told from the first call on: what grows from nothing to one is no growth to who asks for it.
        self.throttled.with_label_values(&[store_type]);
        if most > 1 {
            self.fill.with_label_values(&[store_type]).observe(keys as f64 / most as f64);
        }
    }

    fn fetched(&self, store_type: &'static str, answers: usize, calls: usize) {
        self.answers.with_label_values(&[store_type]).inc_by(answers as u64);
        self.saved.with_label_values(&[store_type]).inc_by(answers.saturating_sub(calls) as u64);
    }

    fn throttled(&self, store_type: &'static str) {
        self.throttled.with_label_values(&[store_type]).inc();
    }
}
