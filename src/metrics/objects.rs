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
}

/// The numbers of one object, by column; nothing is told where there is none.
pub type Row = [Option<f64>];

/// The objects of one kind.
pub struct Objects {
    columns: Vec<Column>,
    rows: Mutex<BTreeMap<Name, Box<Row>>>,
}

impl Objects {
    /// None yet.
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Mutex::default() }
    }

    /// Changes what is told of one.
    pub fn tell(&self, name: Name, change: impl FnOnce(&mut Row)) {
        change(self.lock().entry(name).or_insert_with(|| vec![None; self.columns.len()].into_boxed_slice()));
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
            let told = rows.iter().filter_map(|(name, row)| Some((name, row[n]?)));
            for ((namespace, name), value) in told {
                if begun != Some(column.metric) {
                    column.begin(text);
                    begun = Some(column.metric);
                }
                // Names of objects hold nothing that is to be escaped.
                let labels = format!("name=\"{name}\",namespace=\"{namespace}\"");
                let labels = match column.status {
                    Some(status) => format!("condition=\"Ready\",{labels},status=\"{status}\""),
                    None => labels,
                };
                text.push_str(&format!("{}{{{labels}}} {value}\n", column.metric));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Box<Row>>> {
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
    fn text_is_as_the_library_writes_it() {
        let column = |metric, is_counter, status| Column { metric, help: "Help", is_counter, status };
        let objects = Objects::new(vec![
            column("looks", true, None),
            column("ready", false, Some("True")),
            column("ready", false, Some("False")),
            column("never", false, None),
        ]);
        let name = |name: &str| ("ns".to_owned(), name.to_owned());
        objects.tell(name("b"), |row| (row[1], row[2]) = (Some(1.0), Some(0.0)));
        objects.tell(name("a"), |row| row[0] = Some(1_764_416_000.0));
        objects.tell(name("gone"), |row| row[0] = Some(1.0));
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
