//! The committed templates: `tests/corpus/*.txt`, one on a line.
//!
//! A line that starts with `#` is a comment. `⏎` stands for a line break inside a template.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{Data, here, tables};

/// A template and where it comes from.
#[derive(Debug, Clone)]
pub struct Case {
    pub origin: String,
    pub template: String,
}

/// The names and values that templates of the corpus use.
///
/// # Panics
/// Where the file is broken.
pub fn data() -> Data {
    let mut data = Data::new();
    let text = fs::read_to_string(here("tests/corpus/data.json")).expect("tests/corpus/data.json");
    let parsed: Value = serde_json::from_str(&text).expect("data.json is JSON");
    for (key, value) in parsed.as_object().expect("data.json is an object") {
        let value = value.as_str().expect("values are strings");
        let bytes = match value.strip_prefix("base64:") {
            Some(encoded) => STANDARD.decode(encoded).expect("base64"),
            None => value.as_bytes().to_vec(),
        };
        data.insert(key.clone(), bytes);
    }
    let fixtures = fs::read_dir(here("tests/fixtures")).expect("tests/fixtures");
    for entry in fixtures.flatten().filter(|entry| entry.path().extension().is_none_or(|kind| kind != "md")) {
        let name = entry.file_name().to_string_lossy().into_owned();
        data.insert(name, fs::read(entry.path()).expect("a fixture is readable"));
    }
    data
}

/// The written templates.
///
/// # Panics
/// Where the folder can't be read.
pub fn written() -> Vec<Case> {
    let mut files: Vec<_> =
        fs::read_dir(here("tests/corpus")).expect("tests/corpus").flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "txt")) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(file).expect("a corpus file is readable");
        for (number, line) in text.lines().enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                let origin = format!("{name}:{}", number + 1);
                cases.push(Case { origin, template: line.replace('⏎', "\n") });
            }
        }
    }
    cases
}

/// All of them: written ones and those made from tables.
pub fn all() -> Vec<Case> {
    let mut cases = written();
    cases.extend(tables::functions());
    cases.extend(tables::verbs());
    cases
}
