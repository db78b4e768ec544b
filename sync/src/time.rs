//! Arithmetic with times that can't overflow.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// `time` and `span` later; the end of time where that is beyond it.
pub fn later(time: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span).ok().and_then(|span| time.checked_add(span).ok()).unwrap_or(Timestamp::MAX)
}

/// Status times are whole seconds, as everywhere in Kubernetes.
pub fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
