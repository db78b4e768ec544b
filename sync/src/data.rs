//! What values travel in, beside [`SecretBytes`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use keyferry_provider_core::SecretBytes;
use serde_json::Value;
use zeroize::Zeroize as _;

use crate::dependency::Dependency;

/// The data of a target: sorted, as hashes and the API server have it.
pub type Data = BTreeMap<String, SecretBytes>;

/// What the objects hold that templates are taken from, by key.
pub type Sources = HashMap<Dependency, Data>;

/// The labels, annotations, or nothing, of an object.
pub type StringMap = BTreeMap<String, String>;

/// What taking a JSON object or list apart costs in bytes, about: a copy of it, and a place for each of its entries.
pub fn json_cost(value: &SecretBytes) -> usize {
    const ENTRY: usize = 128;
    let commas = value.expose().iter().filter(|byte| **byte == b',').count();
    value.len().saturating_add((commas + 1).saturating_mul(ENTRY))
}

/// What holding `data` costs in bytes, about: keys and values, and a place for each of them. What the API server counts
/// against its own limit are values alone.
pub fn cost(data: &Data) -> usize {
    cost_of(data.iter().map(|(key, value)| (key.as_str(), value.len())))
}

/// The same of entries by key and length of the value, such as labels.
pub fn cost_of<'a>(entries: impl IntoIterator<Item = (&'a str, usize)>) -> usize {
    const ENTRY: usize = 128;
    entries
        .into_iter()
        .fold(0, |sum: usize, (key, length)| sum.saturating_add(ENTRY).saturating_add(key.len()).saturating_add(length))
}

/// JSON that may hold values of stores; its texts are zeroed when it goes.
#[derive(Clone)]
pub struct SecretJson(Value);

impl SecretJson {
    /// Takes charge of JSON.
    pub fn new(json: Value) -> Self {
        Self(json)
    }

    /// The JSON. A clone of it must find its way into another `SecretJson`.
    pub fn get(&self) -> &Value {
        &self.0
    }

    /// The JSON, to change.
    pub fn get_mut(&mut self) -> &mut Value {
        &mut self.0
    }
}

impl fmt::Debug for SecretJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Drop for SecretJson {
    fn drop(&mut self) {
        zeroize(&mut self.0);
    }
}

/// Zeroes all texts within, however deep.
pub fn zeroize(json: &mut Value) {
    match json {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(zeroize),
        Value::Object(map) => map.values_mut().for_each(zeroize),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
