//! What is told of each object. There may be tens of thousands: each is a row of numbers here, which come to text when
//! somebody asks. The library keeps name, help and labels of each series once more with each object, 2 KiB for a store.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keyferry_sync::dependency::Name;

/// One series of each object.
#[derive(Clone, Copy)]
pub struct Column {
    /// The metric. Those of one stand side by side, and differ by their status.
    pub metric: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Whether it only grows.
    pub is_counter: bool,
    /// Which status of the condition Ready it tells of, where it tells of that.
    pub status: Option<&'static str>,
    /// Of objects of which kind it tells, where those of several kinds have the metric.
    pub kind: Option<&'static str>,
}

/// The numbers of one object, by column. There may be tens of thousands of rows: where there is nothing to tell stands what is
/// no number, which takes half of what an `Option` does.
pub struct Row(Box<[f64]>);

impl Row {
    fn of(columns: usize) -> Self {
        Self(vec![f64::NAN; columns].into_boxed_slice())
    }

    /// What is told in this column.
    pub fn get(&self, column: usize) -> Option<f64> {
        Some(self.0[column]).filter(|number| !number.is_nan())
    }

    /// Tells this from now on; nothing where there is nothing.
    pub fn set(&mut self, column: usize, number: impl Into<Option<f64>>) {
        self.0[column] = number.into().unwrap_or(f64::NAN);
    }

    /// One more.
    pub fn count(&mut self, column: usize) {
        self.set(column, self.get(column).unwrap_or_default() + 1.0);
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|number| number.is_nan())
    }

    /// Tells nothing in these columns any more.
    pub fn clear(&mut self, columns: &[usize]) {
        for column in columns {
            self.set(*column, None);
        }
    }
}

/// The objects of one kind.
pub struct Objects {
    columns: Vec<Column>,
    rows: Mutex<BTreeMap<Name, Row>>,
}

impl Objects {
    /// None yet.
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Mutex::default() }
    }

    /// Changes what is told of one.
    pub fn tell(&self, name: Name, change: impl FnOnce(&mut Row)) {
        change(self.lock().entry(name).or_insert_with(|| Row::of(self.columns.len())));
    }

    /// The same of one column, for objects of which most have nothing to tell: those have no row.
    pub fn tell_at_most(&self, name: &Name, column: usize, number: Option<f64>) {
        let mut rows = self.lock();
        if number.is_some() {
            rows.entry(name.clone()).or_insert_with(|| Row::of(self.columns.len())).set(column, number);
        } else if let Some(row) = rows.get_mut(name) {
            row.set(column, None);
            if row.is_empty() {
                rows.remove(name);
            }
        }
    }

    /// One is gone: so is what is told of it.
    pub fn forget(&self, name: &Name) {
        self.lock().remove(name);
    }

    /// Writes all in Prometheus' text format, as the library writes the rest.
    pub fn write(&self, text: &mut String) {
        let rows = self.lock();
        let mut begun = None;
        for (n, column) in self.columns.iter().enumerate() {
            let told = rows.iter().filter_map(|(name, row)| Some((name, row.get(n)?)));
            for ((namespace, name), value) in told {
                if begun != Some(column.metric) {
                    column.begin(text);
                    begun = Some(column.metric);
                }
                // Names of objects hold nothing that is to be escaped.
                let labels = format!("name=\"{name}\",namespace=\"{namespace}\"");
                let labels = match (column.status, column.kind) {
                    (Some(status), _) => format!("condition=\"Ready\",{labels},status=\"{status}\""),
                    (None, Some(kind)) => format!("kind=\"{kind}\",{labels}"),
                    (None, None) => labels,
                };
                text.push_str(&format!("{}{{{labels}}} {value}\n", column.metric));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Column {
    fn begin(&self, text: &mut String) {
        let Self { metric, help, .. } = self;
        let kind = if self.is_counter { "counter" } else { "gauge" };
        text.push_str(&format!("# HELP {metric} {help}\n# TYPE {metric} {kind}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_have_nothing_to_tell_of_has_rows_for_the_others_alone() {
        let of = |kind| Column { metric: "ends", help: "Help", is_counter: false, status: None, kind: Some(kind) };
        let objects = Objects::new(vec![of("A"), of("B")]);
        let name = ("ns".to_owned(), "e".to_owned());
        let told = || {
            let mut text = String::new();
            objects.write(&mut text);
            let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
            (lines.collect::<Vec<_>>(), text.matches("# TYPE").count(), objects.lock().len())
        };
        objects.tell_at_most(&name, 0, None);
        assert_eq!(told(), (vec![], 0, 0));
        objects.tell_at_most(&name, 0, Some(1.0));
        objects.tell_at_most(&name, 1, Some(2.0));
        let both = ["ends{kind=\"A\",name=\"e\",namespace=\"ns\"} 1", "ends{kind=\"B\",name=\"e\",namespace=\"ns\"} 2"];
        assert_eq!(told(), (both.map(str::to_owned).to_vec(), 1, 1));
        objects.tell_at_most(&name, 0, None);
        assert_eq!(told(), (vec![both[1].to_owned()], 1, 1));
        objects.tell_at_most(&name, 1, None);
        assert_eq!(told(), (vec![], 0, 0));
    }

    #[test]
    fn text_is_as_the_library_writes_it() {
        let column = |metric, is_counter, status| Column { metric, help: "Help", is_counter, status, kind: None };
        let objects = Objects::new(vec![
            column("looks", true, None),
            column("ready", false, Some("True")),
            column("ready", false, Some("False")),
            column("never", false, None),
        ]);
        let name = |name: &str| ("ns".to_owned(), name.to_owned());
        objects.tell(name("b"), |row| {
            row.set(1, 1.0);
            row.set(2, 0.0);
            row.set(3, 1.0);
            row.clear(&[3]);
        });
        objects.tell(name("a"), |row| row.set(0, 1_764_416_000.0));
        objects.tell(name("gone"), |row| row.count(0));
        objects.forget(&name("gone"));
        let mut ours = String::new();
        objects.write(&mut ours);

        let registry = prometheus::Registry::new();
        let ready = prometheus::GaugeVec::new(
            prometheus::Opts::new("ready", "Help"),
            &["name", "namespace", "condition", "status"],
        );
        let ready = ready.expect("a good name");
        registry.register(Box::new(ready.clone())).expect("registered once");
        let looks = prometheus::CounterVec::new(prometheus::Opts::new("looks", "Help"), &["name", "namespace"]);
        let looks = looks.expect("a good name");
        registry.register(Box::new(looks.clone())).expect("registered once");
        ready.with_label_values(&["b", "ns", "Ready", "True"]).set(1.0);
        ready.with_label_values(&["b", "ns", "Ready", "False"]).set(0.0);
        looks.with_label_values(&["a", "ns"]).inc_by(1_764_416_000.0);
        let theirs = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("it can be written");
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&ours), sorted(&theirs));
        let ready = ours.find("# TYPE ready").expect("its type");
        assert!(ours.find("# TYPE looks").is_some_and(|looks| looks < ready), "each metric stands together: {ours}");
        assert_eq!(ours.matches("# TYPE ready").count(), 1);
    }
}
