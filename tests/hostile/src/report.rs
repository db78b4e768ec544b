//! The table of results, and what is told on the way.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use crate::honest::Service;
use crate::probe::Readings;

/// How one attack went.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The attack.
    pub name: String,
    /// How long it was watched.
    pub took: Duration,
    /// The most memory of the operator, in MiB.
    pub peak_mib: f64,
    /// Processor seconds of the operator.
    pub cpu: f64,
    /// The honest tenant's slowest change.
    pub change: Duration,
    /// How many of his changes arrived.
    pub changes: usize,
    /// The slowest answer about health.
    pub health: Duration,
    /// The oldest that the Lease's renewal was.
    pub lease: Duration,
    /// The slowest answer of the API server to somebody who asks little.
    pub answer: Duration,
    /// What the attacker was told.
    pub says: String,
    /// What did not hold.
    pub faults: Vec<String>,
}

/// All rows.
#[derive(Clone, Debug, Default)]
pub struct Report(pub Vec<Row>);

impl Row {
    /// A row of what was measured.
    pub fn of(readings: &Readings, service: Service, took: Duration, cpu: f64) -> Self {
        Self {
            took,
            cpu,
            peak_mib: readings.peak_mib,
            change: service.slowest,
            changes: service.arrived,
            health: readings.health,
            lease: readings.lease_age,
            answer: readings.answer,
            ..Self::default()
        }
    }

    /// In a line.
    pub fn line(&self) -> String {
        let Self { peak_mib, cpu, .. } = self;
        let [took, change, lease] = [self.took, self.change, self.lease].map(|time| time.as_secs_f64());
        let verdict =
            if self.faults.is_empty() { "ok".to_owned() } else { format!("FAILED: {}", self.faults.join("; ")) };
        format!(
            "{took:.0} s, {peak_mib:.0} MiB, {cpu:.1} s of CPU, slowest change {change:.1} s of {}, health {} ms, Lease \
             {lease:.1} s: {verdict}",
            self.changes,
            self.health.as_millis()
        )
    }
}

impl Report {
    /// Whether everything held.
    pub fn is_good(&self) -> bool {
        self.0.iter().all(|row| row.faults.is_empty())
    }

    /// The slowest answer of the API server to somebody who asks little.
    pub fn slowest_answer(&self) -> Duration {
        self.0.iter().map(|row| row.answer).max().unwrap_or_default()
    }

    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| Attack | held | MiB | CPU s | slowest change, s | health, ms | Lease, s | API server, s | the attacker is told |\n\
             |---|---|--:|--:|--:|--:|--:|--:|---|\n",
        );
        for row in &self.0 {
            let held = if row.faults.is_empty() { "yes" } else { "**no**" };
            // Nothing fails that writes to a String.
            let _ = writeln!(
                text,
                "| {} | {held} | {:.0} | {:.1} | {:.1} | {} | {:.1} | {:.1} | {} |",
                row.name,
                row.peak_mib,
                row.cpu,
                row.change.as_secs_f64(),
                row.health.as_millis(),
                row.lease.as_secs_f64(),
                row.answer.as_secs_f64(),
                row.says.replace('|', "\\|")
            );
        }
        text + &self.ending()
    }

    /// The table for a terminal.
    pub fn table(&self) -> String {
        let width = self.0.iter().map(|row| row.name.len()).max().unwrap_or_default();
        let mut text = format!("{:width$}  held   MiB  CPU s  change s  health ms  Lease s  API s\n", "");
        for row in &self.0 {
            let held = if row.faults.is_empty() { "yes" } else { "NO" };
            let _ = writeln!(
                text,
                "{:width$}  {held:4}  {:4.0}  {:5.1}  {:8.1}  {:9}  {:7.1}  {:5.1}",
                row.name,
                row.peak_mib,
                row.cpu,
                row.change.as_secs_f64(),
                row.health.as_millis(),
                row.lease.as_secs_f64(),
                row.answer.as_secs_f64(),
            );
        }
        text + &self.ending()
    }

    fn ending(&self) -> String {
        let failed: Vec<&Row> = self.0.iter().filter(|row| !row.faults.is_empty()).collect();
        let mut text = format!("\n{} of {} held\n", self.0.len() - failed.len(), self.0.len());
        for row in failed {
            for fault in &row.faults {
                let _ = writeln!(text, "- {}: {fault}", row.name);
            }
        }
        text
    }
}

/// Tells how far things are.
pub fn progress(text: &str) {
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "hostile: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_in_every_form_of_the_table() {
        let good = Row { name: "good".into(), says: "a | b".into(), ..Row::default() };
        let bad = Row { name: "bad".into(), faults: vec!["it is dead".into()], ..Row::default() };
        let report = Report(vec![good, bad]);
        assert!(!report.is_good());
        for text in [report.markdown(), report.table()] {
            assert!(text.contains("- bad: it is dead") && text.contains("1 of 2 held"), "{text}");
        }
        assert!(report.markdown().contains("a \\| b"));
    }
}
