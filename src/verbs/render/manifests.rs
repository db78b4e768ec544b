//! Manifests out of files: each object with where it stands. Pure, but for [`read`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use keyferry_crds::names;
use keyferry_sync::data::SecretJson;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// An object of a manifest. It may be a Secret.
pub struct Document {
    /// Where it begins.
    pub place: Place,
    /// What it says.
    pub object: SecretJson,
}

impl Document {
    /// A text of it.
    pub fn text(&self, pointer: &str) -> &str {
        self.object.get().pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Its namespace, or the one that is meant where it names none.
    pub fn namespace(&self, default: &str) -> String {
        Some(self.text("/metadata/namespace")).filter(|named| !named.is_empty()).unwrap_or(default).to_owned()
    }

    /// The object as one of this type; the error is for a person.
    pub fn decode<K: DeserializeOwned>(&self) -> Result<K, String> {
        serde_json::from_value(self.object.get().clone()).map_err(|_| {
            let (kind, name) = (self.text("/kind"), self.text("/metadata/name"));
            format!(
                "{}: {kind} {name:?} is not of the form that its CustomResourceDefinition gives: compare it with \
                 `kubectl explain {}.spec`",
                self.place,
                kind.to_lowercase()
            )
        })
    }
}

/// Reads a file, or all YAML and JSON files below a folder in the order of their names; errors are for a person.
pub fn read(path: &Path) -> Result<Vec<Document>, Vec<String>> {
    let mut files = Vec::new();
    if let Err(problem) = collect(path, &mut files) {
        return Err(vec![problem]);
    }
    if files.is_empty() {
        return Err(vec![format!("{}: there is no .yaml, .yml or .json file in this folder", path.display())]);
    }
    let (mut documents, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        match std::fs::read_to_string(&file).map(zeroize::Zeroizing::new) {
            Ok(text) => parse(&file, &text, &mut documents, &mut problems),
            Err(error) => problems.push(format!("{}: can't be read as text: {}", file.display(), error.kind())),
        }
    }
    if problems.is_empty() { Ok(documents) } else { Err(problems) }
}

fn collect(path: &Path, into: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: can't be read: {}", path.display(), error.kind());
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        into.push(path.to_owned());
        return Ok(());
    }
    let entries: Result<Vec<_>, _> = std::fs::read_dir(path).map_err(failed)?.collect();
    let mut entries: Vec<PathBuf> = entries.map_err(failed)?.into_iter().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        let is_hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let extension = entry.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if !is_hidden && (entry.is_dir() || ["yaml", "yml", "json"].contains(&extension)) {
            collect(&entry, into)?;
        }
    }
    Ok(())
}

/// Takes the documents of one file, and says what is wrong with each that is none.
fn parse(file: &Path, text: &str, documents: &mut Vec<Document>, problems: &mut Vec<String>) {
    // As Kubernetes reads YAML: `y` is a text.
    let options = serde_saphyr::options! { strict_booleans: true };
    for (above, text) in split(text) {
        let begins = above + 1 + text.lines().take_while(|line| is_blank(line)).count() as u64;
        let place = |line| Place { file: file.to_owned(), line };
        match serde_saphyr::from_str_with_options::<Value>(text, options.clone()) {
            Ok(Value::Null) => {}
            // The parser's own words quote what it stumbles over.
            Err(error) => {
                let line = error.location().map_or(begins, |location| above + location.line());
                problems.push(format!("{}: this is not YAML, or says a key twice", place(line)));
            }
            Ok(mut object) if object["kind"] == "List" && object["items"].is_array() => {
                let items = object["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
                let document = |item| Document { place: place(begins), object: SecretJson::new(item) };
                documents.extend(items.into_iter().map(document));
            }
            Ok(object) if object["kind"].is_string() && object["apiVersion"].is_string() => {
                documents.push(Document { place: place(begins), object: SecretJson::new(object) });
            }
            Ok(_) => problems.push(format!("{}: an object has apiVersion and kind, and this has not", place(begins))),
        }
    }
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty() || line.trim_start().starts_with('#')
}

/// The documents of a text, each with how many lines are above it.
fn split(text: &str) -> Vec<(u64, &str)> {
    let (mut parts, mut start, mut above, mut at, mut lines) = (Vec::new(), 0, 0, 0, 0);
    for line in text.split_inclusive('\n') {
        lines += 1;
        at += line.len();
        let content = line.trim_end();
        if content == "---" || content.starts_with("--- ") {
            parts.push((above, &text[start..at - line.len()]));
            (start, above) = (at, lines);
        }
    }
    parts.push((above, &text[start..]));
    parts
}

/// Values that stand in for those of stores: a YAML map of key to text, or to anything else, which is answered as JSON.
pub fn values(path: &Path) -> Result<BTreeMap<String, SecretJson>, String> {
    let at = path.display();
    let text = std::fs::read_to_string(path).map(zeroize::Zeroizing::new);
    let text = text.map_err(|error| format!("{at}: can't be read as text: {}", error.kind()))?;
    let options = serde_saphyr::options! { strict_booleans: true };
    let read = serde_saphyr::from_str_with_options::<BTreeMap<String, Value>>(&text, options);
    let read = read.map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        format!("{at}:{line}: this is not a YAML map of keys and values")
    })?;
    Ok(read.into_iter().map(|(key, value)| (key, SecretJson::new(value))).collect())
}

/// Whether an object is of External Secrets Operator's API, in a version whose fields are those of v1.
pub fn is_known_version(api_version: &str) -> bool {
    let version = api_version.strip_prefix(names::GROUP).and_then(|rest| rest.strip_prefix('/'));
    version.is_some_and(|version| ["v1", "v1beta1"].contains(&version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<String>, Vec<String>) {
        let (mut documents, mut problems) = (Vec::new(), Vec::new());
        parse(Path::new("a.yaml"), text, &mut documents, &mut problems);
        (documents.iter().map(|document| format!("{} {}", document.place, document.text("/kind"))).collect(), problems)
    }

    #[test]
    fn each_object_has_its_line() {
        let text = "# head\n\nkind: A\napiVersion: v1\n---\n---\n# only words\n--- \nkind: B\napiVersion: v1\n";
        assert_eq!(parsed(text).0, ["a.yaml:3 A", "a.yaml:9 B"]);
        let list = "kind: List\napiVersion: v1\nitems:\n- {kind: A, apiVersion: v1}\n- {kind: B, apiVersion: v1}\n";
        assert_eq!(parsed(list).0, ["a.yaml:1 A", "a.yaml:1 B"]);
        assert_eq!(parsed(r#"{"kind": "A", "apiVersion": "v1"}"#).0, ["a.yaml:1 A"]);
    }

    #[test]
    fn what_is_wrong_has_its_line_and_no_text_of_the_file() {
        let (documents, problems) = parsed("kind: A\napiVersion: v1\n---\na: 1\nb: [canary\n---\njust: words\n");
        assert_eq!(documents, ["a.yaml:1 A"]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("a.yaml:") && problems[0].contains("not YAML"), "{problems:?}");
        assert!(problems[1].starts_with("a.yaml:7: an object has"), "{problems:?}");
        assert!(!problems.concat().contains("canary"));
    }
}
