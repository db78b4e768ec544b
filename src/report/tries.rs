//! What conditions must not say, since it would rewrite them all the time: how often a sync failed, and when it is tried again.
//! It stands in the operator's metrics.

use std::collections::HashMap;

use jiff::Timestamp;
use keyferry_sync::dependency::Name;

use crate::metrics::{NEXT_TRY, TRIES};

/// By namespace and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tries {
    failed: HashMap<Name, u64>,
    next: HashMap<Name, Timestamp>,
}

impl Tries {
    /// Out of the text of `/metrics`; `None` where it is not that of an operator.
    pub fn of(metrics: &str) -> Option<Self> {
        if !metrics.contains("externalsecret_sync_calls_total") && !metrics.contains("keyferry_queue_length") {
            return None;
        }
        let failed = series(metrics, TRIES).map(|(name, tries)| (name, tries as u64)).collect();
        let next = series(metrics, NEXT_TRY);
        let next = next.filter_map(|(name, next)| Some((name, Timestamp::from_second(next as i64).ok()?))).collect();
        Some(Self { failed, next })
    }

    /// Failed syncs since the last success.
    pub fn failed(&self, name: &Name) -> Option<u64> {
        self.failed.get(name).copied()
    }

    /// When it is tried again; `None` where it is not, or nothing is known.
    pub fn next(&self, name: &Name) -> Option<Timestamp> {
        self.next.get(name).copied()
    }
}

/// The series of one metric by namespace and name. Names of objects hold nothing that would be escaped.
fn series<'a>(metrics: &'a str, name: &'a str) -> impl Iterator<Item = (Name, f64)> + 'a {
    let of = move |line: &str| {
        let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.split_once('}')?;
        let label = |wanted: &str| {
            labels.split(',').find_map(|label| label.strip_prefix(wanted)?.strip_prefix("=\"")?.strip_suffix('"'))
        };
        let name = (label("namespace")?.to_owned(), label("name")?.to_owned());
        Some((name, value.trim().parse().ok()?))
    };
    metrics.lines().filter_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
# TYPE keyferry_queue_length gauge
keyferry_externalsecret_failed_attempts{name=\"broken\",namespace=\"shop\"} 4
keyferry_externalsecret_failed_attempts{name=\"broken\",namespace=\"other\"} 9
keyferry_externalsecret_next_try_timestamp_seconds{name=\"broken\",namespace=\"shop\"} 10090
";

    #[test]
    fn tries_are_told_by_namespace_and_name() {
        let tries = Tries::of(METRICS).unwrap();
        let name = |namespace: &str| (namespace.to_owned(), "broken".to_owned());
        assert_eq!((tries.failed(&name("shop")), tries.failed(&name("other"))), (Some(4), Some(9)));
        assert_eq!(tries.next(&name("shop")).map(Timestamp::as_second), Some(10_090));
        assert_eq!((tries.next(&name("other")), tries.failed(&name("none"))), (None, None));
        assert_eq!(Tries::of("go_goroutines 3\n"), None);
    }
}
