//! How trials are run and what is noted of them: one row of the table of all stores for each.

use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt as _;
use keyferry_doubles::Faults;

use crate::Fixture;

/// What came of a trial that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it should be.
    Passed,
    /// The same, in so many words.
    Told(String),
    /// The store can't, or its backend here can't show it.
    NotSupported,
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::Passed
    }
}

impl From<bool> for Outcome {
    /// Whether it could be tried.
    fn from(tried: bool) -> Self {
        if tried { Self::Passed } else { Self::NotSupported }
    }
}

/// The trials of one store.
pub struct Trials<'a> {
    fixture: &'a dyn Fixture,
    rows: Vec<(&'static str, Outcome)>,
    failed: Vec<&'static str>,
}

/// After how long without a call a server has seen the last of a trial.
const QUIET: Duration = Duration::from_millis(30);

impl<'a> Trials<'a> {
    pub fn of(fixture: &'a dyn Fixture) -> Self {
        Self { fixture, rows: Vec::new(), failed: Vec::new() }
    }

    pub fn fixture(&self) -> &'a dyn Fixture {
        self.fixture
    }

    /// Runs a trial, where it is `possible`, and notes its row.
    pub async fn run<T: Into<Outcome>>(&mut self, name: &'static str, possible: bool, trial: impl Future<Output = T>) {
        let outcome = if possible { self.attempt(name, trial).await } else { Some(Outcome::NotSupported) };
        self.rows.extend(outcome.map(|outcome| (name, outcome)));
    }

    /// Runs a trial that is no row of the table.
    pub async fn hold(&mut self, name: &'static str, trial: impl Future<Output = ()>) {
        self.attempt(name, trial).await;
    }

    async fn attempt<T: Into<Outcome>>(
        &mut self,
        name: &'static str,
        trial: impl Future<Output = T>,
    ) -> Option<Outcome> {
        // The panic itself has told why. The others still tell more.
        let outcome = AssertUnwindSafe(trial).catch_unwind().await.ok().map(Into::into);
        if outcome.is_none() {
            self.failed.push(name);
        }
        // No trouble outlives its trial, nor do the logins of its stores, which end when that suits.
        if let Some(server) = self.fixture.server() {
            server.fail(Faults::default());
            let mut calls = usize::MAX;
            while calls != server.calls().len() {
                calls = server.calls().len();
                tokio::time::sleep(QUIET).await;
            }
        }
        outcome
    }

    /// Panics where a trial failed, and else writes the store's column of the table.
    pub fn end(self) {
        let name = self.fixture.name();
        assert!(self.failed.is_empty(), "{name} failed: {}", self.failed.join("; "));
        let is_proven = |trial: &str| {
            let writes = ["push", "delete"].into_iter().any(|word| trial.starts_with(word));
            if writes { self.fixture.is_proven_for_writes() } else { self.fixture.is_proven() }
        };
        let cell = |trial: &str, outcome: &Outcome| match outcome {
            Outcome::NotSupported => "not supported".to_owned(),
            Outcome::Passed | Outcome::Told(_) if !is_proven(trial) => "unproven".to_owned(),
            Outcome::Passed => "pass".to_owned(),
            Outcome::Told(words) => format!("pass ({words})"),
        };
        let rows = self.rows.iter().map(|(trial, outcome)| format!("{trial}\t{}\n", cell(trial, outcome)));
        let text: String = std::iter::once(format!("{name}\n")).chain(rows).collect();
        let Some(folder) = folder() else { return };
        let file = folder.join(format!("{}.tsv", file_name(&name)));
        let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, text));
        written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

fn file_name(store: &str) -> String {
    store.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Where columns are left for who makes the table: `target/stores` of the workspace. None where tests run without cargo.
fn folder() -> Option<PathBuf> {
    let crate_ = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
    let root = crate_.ancestors().find(|folder| folder.join("Cargo.lock").is_file())?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target));
    Some(target.join("stores"))
}

/// The name of a store that says none: that of its crate's folder.
pub fn name_of_crate() -> String {
    let crate_ = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    Path::new(&crate_).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
