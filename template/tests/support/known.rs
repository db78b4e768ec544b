//! The known differences: a table in the README of the crate, which the tests hold to.
//!
//! Each row has a pattern for the templates it excuses, an example that does differ, and the reason.

use std::fs;

use regex::Regex;

use super::here;

/// A row of the table.
pub struct Known {
    pub pattern: Regex,
    pub example: String,
    pub reason: String,
}

/// The table.
///
/// # Panics
/// Where a row is broken.
pub fn table() -> Vec<Known> {
    let readme = fs::read_to_string(here("README.md")).expect("README.md");
    let section = readme.split("## Known differences").nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [pattern, example, reason] = cells[..] else { panic!("three cells: {row}") };
        let code = |cell: &str| cell.trim_matches('`').replace("\\|", "|");
        assert!(!reason.is_empty(), "a reason: {row}");
        Known {
            pattern: Regex::new(&code(pattern)).unwrap_or_else(|error| panic!("{row}: {error}")),
            example: code(example),
            reason: reason.to_owned(),
        }
    })
    .collect()
}

/// Is the difference one of the table?
pub fn excused(table: &[Known], template: &str) -> bool {
    table.iter().any(|known| known.pattern.is_match(template))
}
