//! A store's manifest as it is documented, and what comes of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::login::special;

/// One way to configure one store.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What tells it from the others of its store.
    pub name: String,
    /// `spec.provider`.
    pub provider: Value,
    /// What Secrets and ConfigMaps hold, by `NAME/KEY`; of all others something.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// The operator's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    asks: Option<String>,
    told: Option<String>,
    #[serde(default)]
    ready: bool,
}

/// What comes of it.
pub enum Outcome<'a> {
    /// This server is asked, before all others.
    Asks(&'a str),
    /// Nobody is asked, and these words are among those that the store's condition has.
    Told(&'a str),
    /// The store works, and asks nobody.
    Ready,
}

impl Entry {
    /// The key of `spec.provider`.
    pub fn store(&self) -> &str {
        self.provider.as_object().and_then(|provider| provider.keys().next()).expect("a provider")
    }

    /// What stands under that key.
    pub fn spec(&self) -> Value {
        self.provider[self.store()].clone()
    }

    /// What it must come to.
    pub fn outcome(&self) -> Outcome<'_> {
        match (&self.asks, &self.told, self.ready) {
            (Some(server), None, false) => Outcome::Asks(server),
            (None, Some(words), false) => Outcome::Told(words),
            (None, None, true) => Outcome::Ready,
            _ => panic!("{self}: one of asks, told and ready"),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.store(), self.name)
    }
}

/// Texts in brackets stand for what is made anew each time.
fn fill(value: &mut Value) {
    match value {
        Value::String(text) => *text = special(text),
        Value::Array(all) => all.iter_mut().for_each(fill),
        Value::Object(fields) => fields.values_mut().for_each(fill),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// All that is documented.
pub fn all() -> Vec<Entry> {
    let mut all = Vec::new();
    for file in ["clouds", "vaults", "others", "unserved"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("stores/{file}.yaml"));
        let text = std::fs::read_to_string(&path).expect("it is there");
        let entries: Vec<Entry> = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        all.extend(entries);
    }
    all.iter_mut().for_each(|entry| fill(&mut entry.provider));
    all
}
