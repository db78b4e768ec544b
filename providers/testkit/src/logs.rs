//! What is logged while stores are tried, searched for what must not be there. It is all that the operator would write at
//! trace level: our own lines, and those of libraries at info at most.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// All tests of a program share it, as they share what is logged.
static SEARCH: Mutex<Search> = Mutex::new(Search { canaries: Vec::new(), found: 0, lines: 0 });

struct Search {
    canaries: Vec<String>,
    found: usize,
    lines: usize,
}

fn search() -> MutexGuard<'static, Search> {
    SEARCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks for these, too, in all that is logged from now on.
pub fn search_for(canaries: &[String]) {
    let filter = Targets::new().with_default(LevelFilter::INFO).with_target("keyferry", LevelFilter::TRACE);
    let format = tracing_subscriber::fmt::layer().with_writer(Searched).with_ansi(false);
    // A second call keeps the first.
    let _ = tracing_subscriber::registry().with(filter).with(format).try_init();
    let mut search = search();
    for canary in canaries {
        if !search.canaries.contains(canary) {
            search.canaries.push(canary.clone());
        }
    }
}

/// Panics where something was found, and where nothing can be.
pub fn are_clean() {
    let before = search().lines;
    tracing::trace!(target: "keyferry_provider_testkit", "the last line");
    let search = search();
    assert!(search.lines > before, "logs are not looked at: another subscriber was there first");
    assert_eq!(search.found, 0, "lines of the log that show a value or a credential");
}

struct Searched;

impl<'a> MakeWriter<'a> for Searched {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Searched {
    /// A line comes as a whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut search = search();
        let text = String::from_utf8_lossy(line);
        let is_found = search.canaries.iter().any(|canary| text.contains(canary.as_str()));
        search.lines += 1;
        search.found += usize::from(is_found);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_is_looked_at() {
        search_for(&["canary-of-logs".to_owned()]);
        are_clean();
        tracing::trace!(target: "keyferry_provider_x", "a {} is shown", "canary-of-logs");
        assert_eq!(search().found, 1);
        tracing::debug!(target: "hyper", "not written by the operator: canary-of-logs");
        assert_eq!(search().found, 1);
        search().found = 0;
    }
}
