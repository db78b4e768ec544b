//! Every limit is met somewhere: a test names it, by its constant or by the name that conditions tell.

use keyferry_limits::{ALL, Limit};
use keyferry_tidy::{files, read};

/// What of a file is tests; nothing, where none are in it.
fn tests_of(file: &str) -> String {
    let text = read(file);
    if file.contains("tests/") || file.ends_with("tests.rs") {
        return text;
    }
    text.split_once("#[cfg(test)]").map(|(_, tests)| tests.to_owned()).unwrap_or_default()
}

#[test]
fn a_test_meets_every_limit() {
    let own = "tests/tidy/";
    let sources = files(".").into_iter().filter(|file| file.ends_with(".rs") && !file.starts_with(own));
    let tests: Vec<String> = sources.map(|file| tests_of(&file)).filter(|text| !text.is_empty()).collect();
    assert!(tests.len() > 100, "the check found its subjects: {}", tests.len());
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let is_whole = |text: &str, at: usize, word: &str| {
        !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
    };
    let names = |text: &str, word: &str| text.match_indices(word).any(|(at, _)| is_whole(text, at, word));
    let is_met = |limit: &&&Limit| {
        let constant = limit.name.to_uppercase().replace('-', "_");
        // One word alone may mean anything.
        let told = [format!("limit {}", limit.name), format!("\"{}\"", limit.name)];
        tests.iter().any(|text| names(text, &constant) || told.iter().any(|told| text.contains(told)))
    };
    let unmet: Vec<&str> = ALL.iter().filter(|limit| !is_met(limit)).map(|limit| limit.name).collect();
    assert!(unmet.is_empty(), "no test meets {unmet:?}: write one that does, and sees the message");
}
