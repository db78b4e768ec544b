//! What came out, as a table and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::api::Line;
use crate::fleet::Fleet;
use crate::urgent::Waits;

/// What a phase cost.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// How long it took, until the last object was ready.
    pub seconds: f64,
    /// How many keys the store was asked for, all calls together: one for each refresh.
    pub keys_read: usize,
    /// Calls of the store by action.
    pub store_calls: BTreeMap<String, usize>,
    /// Requests to the API server by verb and resource.
    pub api_requests: Vec<Line>,
    /// Requests about Leases, the control plane's own among them.
    pub leases: u64,
    /// Processor seconds of the operator.
    pub cpu_seconds: f64,
    /// Most memory of the operator.
    pub peak_mib: f64,
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What was measured.
    pub subject: String,
    /// How many ExternalSecrets there were, each with a key of its own.
    pub objects: usize,
    /// In how many namespaces.
    pub namespaces: usize,
    /// Secrets beside them that are nobody's.
    pub unrelated: usize,
    /// Their interval.
    pub interval_seconds: u64,
    /// Which store.
    pub store: String,
    /// How long its answers took.
    pub latency_milliseconds: u128,
    /// Of the machine.
    pub cores: usize,
    /// How long a bare client took for the same writes.
    pub bare_seconds: f64,
    /// The phases in order.
    pub phases: Vec<Phase>,
    /// How long those waited who created or edited one meanwhile.
    pub waits: Vec<Waits>,
}

impl Phase {
    fn calls(&self) -> usize {
        self.store_calls.values().sum()
    }

    fn requests(&self) -> u64 {
        self.api_requests.iter().map(|line| line.count).sum()
    }

    fn count(&self, kind: &(String, String)) -> u64 {
        let line = self.api_requests.iter().find(|line| line.verb == kind.0 && line.resource == kind.1);
        line.map(|line| line.count).unwrap_or_default()
    }

    /// A share of each refresh; where the store does not count them there is none.
    fn per_refresh(&self, count: u64) -> String {
        match self.keys_read {
            0 => "-".to_owned(),
            refreshes => format!("{:.3}", count as f64 / refreshes as f64),
        }
    }
}

impl Report {
    /// Puts it together.
    pub fn new(fleet: &Fleet, latency: Duration, operator: Option<String>, bare: Duration, phases: Vec<Phase>) -> Self {
        Self {
            subject: operator.unwrap_or_else(|| "keyferry".to_owned()),
            objects: fleet.objects,
            namespaces: fleet.namespaces.len(),
            unrelated: 0,
            interval_seconds: fleet.interval,
            store: format!("{:?}", fleet.store).to_lowercase(),
            latency_milliseconds: latency.as_millis(),
            cores: std::thread::available_parallelism().map(usize::from).unwrap_or_default(),
            bare_seconds: bare.as_secs_f64(),
            phases,
            waits: Vec::new(),
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut rows: Vec<(String, Vec<String>)> = Vec::new();
        let mut row = |name: &str, cell: &dyn Fn(&Phase) -> String| {
            rows.push((name.to_owned(), self.phases.iter().map(cell).collect()));
        };
        row("", &|phase| phase.name.clone());
        row("seconds until all are ready", &|phase| format!("{:.1}", phase.seconds));
        row("keys read", &|phase| phase.keys_read.to_string());
        row("store calls", &|phase| phase.calls().to_string());
        for action in self.phases.iter().flat_map(|phase| phase.store_calls.keys()).collect::<BTreeSet<_>>() {
            let count = |phase: &Phase| phase.store_calls.get(action).copied().unwrap_or_default().to_string();
            row(&format!("  {action}"), &count);
        }
        row("API requests", &|phase| phase.requests().to_string());
        let lines = self.phases.iter().flat_map(|phase| &phase.api_requests);
        let kinds: BTreeSet<_> = lines.map(|line| (line.verb.clone(), line.resource.clone())).collect();
        for kind in &kinds {
            row(&format!("  {} {}", kind.0, kind.1), &|phase| phase.count(kind).to_string());
        }
        row("store calls per refresh", &|phase| phase.per_refresh(phase.calls() as u64));
        row("API requests per refresh", &|phase| phase.per_refresh(phase.requests()));
        row("CPU seconds", &|phase| format!("{:.2}", phase.cpu_seconds));
        row("peak RSS, MiB", &|phase| format!("{:.1}", phase.peak_mib));

        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let mut text = format!(
            "{}: {} ExternalSecrets of two entries, each on a key of its own in {} ({} ms), in {} namespaces, \
             interval {} s, {} cores{}\n\n",
            self.subject,
            self.objects,
            self.store,
            self.latency_milliseconds,
            self.namespaces,
            self.interval_seconds,
            self.cores,
            if self.unrelated > 0 { format!(", beside {} Secrets of 20 KiB", self.unrelated) } else { String::new() }
        );
        for (name, cells) in rows {
            let mut line = format!("{name:<width$}");
            cells.iter().for_each(|cell| _ = write!(line, "  {cell:>14}"));
            _ = writeln!(text, "{}", line.trim_end());
        }
        let first = self.phases.first().map(|phase| phase.seconds).unwrap_or_default();
        _ = writeln!(
            text,
            "\nA bare client with {} connections creates the same {} Secrets and patches as many statuses in {:.1} s; \
             the first sync took {:.1} times as long.",
            crate::bed::CONNECTIONS,
            self.objects,
            self.bare_seconds,
            first / self.bare_seconds.max(0.001)
        );
        for Waits { during, count, half, p99 } in &self.waits {
            _ = writeln!(
                text,
                "{count} new and edited ones {during}: half are Ready in {half:.2} s, 99 % in {p99:.2} s."
            );
        }
        text
    }
}

/// Tells on stderr what is going on.
pub fn progress(what: &str) {
    // Nobody to tell is no reason to stop.
    let _ = writeln!(std::io::stderr(), "bench: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::StoreKind;

    #[test]
    fn the_table_shows_every_phase_in_its_column() {
        let fleet = Fleet { store: StoreKind::Aws, objects: 100, interval: 60, namespaces: vec!["a".into()] };
        let line = |verb: &str, count| Line { verb: verb.into(), resource: "secrets".into(), count };
        let phase = |name: &str, api_requests: Vec<Line>| Phase {
            name: name.into(),
            seconds: 4.0,
            keys_read: 100,
            store_calls: [("BatchGetSecretValue".to_owned(), 5)].into(),
            api_requests,
            leases: 3,
            cpu_seconds: 0.5,
            peak_mib: 30.0,
        };
        let phases = vec![phase("first sync", vec![line("POST", 100)]), phase("idle refreshes", vec![])];
        let report = Report::new(&fleet, Duration::ZERO, None, Duration::from_secs(2), phases);
        let table = Report { unrelated: 7, ..report }.table();
        let row = |name: &str| -> Vec<&str> {
            let row = table.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {table}"));
            row[name.len()..].split_whitespace().collect()
        };
        assert_eq!(row("  POST secrets"), ["100", "0"]);
        assert_eq!(row("store calls per refresh"), ["0.050", "0.050"]);
        assert!(table.contains("2.0 times as long") && table.contains("beside 7 Secrets of 20 KiB"), "{table}");
    }
}
