//! A case: a YAML file with a namespace and steps, each followed by the state to expect.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde::Deserialize;
use serde_json::Value;

/// Names the folder of cases.
pub const KEYFERRY_CONFORMANCE: &str = "KEYFERRY_CONFORMANCE";

/// A case as it stands in its file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The namespace; the cluster store of a case has the same name.
    pub namespace: String,
    /// What to say to stores first.
    #[serde(default)]
    pub setup: Vec<Value>,
    /// What to do, one after the other.
    pub steps: Vec<Step>,
}

/// One step: one of `apply`, `patch` and `delete`, and what then is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Objects to create, or to replace where they exist.
    #[serde(default)]
    pub apply: Vec<Value>,
    /// A merge patch of an object.
    pub patch: Option<Patch>,
    /// An object to delete.
    pub delete: Option<Reference>,
    /// The state once nothing changes any more.
    pub expect: Value,
}

/// A merge patch.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// The kind of the object.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The patch.
    pub merge: Value,
}

/// An object.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The folder of cases.
pub fn folder() -> PathBuf {
    match std::env::var_os(KEYFERRY_CONFORMANCE).filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"),
    }
}

/// The cases of a folder by name. None at all is an error: a run over nothing would prove nothing.
pub fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let hint = || {
        format!("cannot read the conformance cases in {}; {KEYFERRY_CONFORMANCE} names their folder", folder.display())
    };
    let entries = std::fs::read_dir(folder).with_context(hint)?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        match (path.file_stem().and_then(|stem| stem.to_str()), path.extension()) {
            (Some(name), Some(extension)) if extension == "yaml" => files.push((name.to_owned(), path)),
            _ => {}
        }
    }
    files.sort();
    if files.is_empty() { Err(anyhow!("no conformance cases in {}", folder.display())) } else { Ok(files) }
}

impl Case {
    /// Reads a file as it stands.
    pub fn read(file: &Path) -> Result<Self> {
        Self::read_with(file, &[])
    }

    /// Reads a file, with these words replaced.
    pub fn read_with(file: &Path, variables: &[(&str, String)]) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let text = variables.iter().fold(text, |text, (name, value)| text.replace(name, value));
        // As Kubernetes reads YAML: `y` is a text.
        let options = serde_saphyr::options! { strict_booleans: true };
        serde_saphyr::from_str_with_options(&text, options)
            .with_context(|| format!("{} is not of the form of a case", file.display()))
    }

    /// All objects that it applies.
    pub fn objects(&self) -> impl Iterator<Item = &Value> {
        self.steps.iter().flat_map(|step| &step.apply)
    }

    /// The values that must not be seen outside of Secrets: what stores hold and what Secrets shall hold, where it is
    /// long enough to be told from other text.
    pub fn values(&self) -> BTreeSet<String> {
        let mut values = BTreeSet::new();
        for body in self.setup.iter().filter_map(|setup| setup.pointer("/vault/body")) {
            leaves(body, &mut values);
        }
        for params in self.setup.iter().filter_map(|setup| setup.pointer("/aws/params")) {
            for secret in ["SecretString", "Value"] {
                leaves(&params[secret], &mut values);
            }
        }
        for object in self.objects() {
            for part in ["/stringData", "/spec/provider/fake/data"] {
                for entry in object.pointer(part).into_iter().flat_map(items) {
                    leaves(entry.get("value").unwrap_or(entry), &mut values);
                }
            }
        }
        for secrets in self.steps.iter().filter_map(|step| step.expect["secrets"].as_object()) {
            secrets.values().for_each(|secret| leaves(&secret["data"], &mut values));
        }
        values.retain(|value| value.len() >= 8);
        values
    }
}

fn items(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn leaves(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(into.insert(text.clone())),
        value => items(value).into_iter().for_each(|item| leaves(item, into)),
    }
}
