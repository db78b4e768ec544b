//! Nothing is too long to be read at a glance: a function is a thought, a file a subject.

use std::collections::BTreeSet;

use keyferry_tidy::{files, measure::measure, read};

/// Lines of code in a function.
const FUNCTION: usize = 60;

/// Lines of code in a file, its tests apart.
const FILE: usize = 500;

/// Lines of a file, with all that is in it.
const WITH_TESTS: usize = 900;

/// Functions that may be longer, and why.
const FUNCTIONS: &[(&str, &str)] = &[("src/verbs/run.rs run", "all wiring, to be read top to bottom")];

/// Files that may be longer, and why.
const FILES: &[(&str, &str)] = &[];

fn sources() -> Vec<String> {
    files(".").into_iter().filter(|file| file.ends_with(".rs")).collect()
}

/// Fails for what is too long, and for an exception that nothing needs any more.
fn check(found: &[(String, usize)], exceptions: &[(&str, &str)], most: usize) {
    let excepted: BTreeSet<&str> = exceptions.iter().map(|(name, _)| *name).collect();
    let (known, new): (Vec<_>, Vec<_>) = found.iter().partition(|(name, _)| excepted.contains(name.as_str()));
    assert!(new.is_empty(), "longer than {most} lines of code, so split them by meaning: {new:?}");
    let needed: BTreeSet<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    let stale: Vec<_> = excepted.difference(&needed).collect();
    assert!(stale.is_empty(), "no longer too long, so take them off the list of exceptions: {stale:?}");
}

#[test]
fn functions_are_short_enough_to_read() {
    let mut long = Vec::new();
    let mut seen = 0;
    for file in sources() {
        let functions = measure(&read(&file)).functions;
        seen += functions.len();
        let too_long = functions.into_iter().filter(|(_, _, lines)| *lines > FUNCTION);
        long.extend(too_long.map(|(name, _, lines)| (format!("{file} {name}"), lines)));
    }
    assert!(seen > 2_000, "the check found its subjects: {seen}");
    check(&long, FUNCTIONS, FUNCTION);
}

#[test]
fn files_are_short_enough_to_read() {
    // Tests are lists of cases, and a table is as long as what it lists: every item has the same shape.
    let is_list = |file: &str| file.contains("/tests/") || file.ends_with("tests.rs") || file.ends_with("tables.rs");
    let code = sources().into_iter().filter(|file| !is_list(file)).map(|file| (measure(&read(&file)).code, file));
    let long: Vec<_> = code.filter(|(lines, _)| *lines > FILE).map(|(lines, file)| (file, lines)).collect();
    check(&long, FILES, FILE);
    for file in sources().iter().filter(|file| !file.ends_with("tables.rs")) {
        let lines = read(file).lines().count();
        assert!(lines <= WITH_TESTS, "{file} has {lines} lines: split it");
    }
}
