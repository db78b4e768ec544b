//! What is shown of rendered objects: all but the values, unless they are asked for.

use std::collections::BTreeSet;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_crds::{ExternalSecret, names};
use keyferry_sync::data::{SecretJson, StringMap, zeroize};
use serde_json::{Map, Value, json};
use sha3::{Digest as _, Sha3_256};
use zeroize::Zeroizing;

use super::Format;
use crate::verbs::manifests::target::Object;

/// An object to print: JSON whose values are in the clear, and what of it may be seen.
pub struct Rendered {
    object: SecretJson,
    /// Labels and annotations that stand so in the ExternalSecret, or are ours.
    open: StringMap,
    /// Keys that a template made of values: they are values.
    made_keys: BTreeSet<String>,
    /// Whether `data` is base64.
    is_secret: bool,
}

impl Rendered {
    /// What an ExternalSecret came to.
    pub fn new(es: &ExternalSecret, object: &Object) -> Self {
        let is_secret = matches!(object, Object::Secret(_));
        Self { object: object.json(), open: open(es), made_keys: BTreeSet::new(), is_secret }
    }

    /// With keys of its maps covered like values, unless they were `fetched` so or stand in one of `texts`.
    pub fn with_open_keys(mut self, fetched: BTreeSet<String>, texts: Vec<Zeroizing<String>>) -> Self {
        let is_written = |key: &String| texts.iter().any(|text| text.contains(key.as_str()));
        let object = self.object.get().as_object().into_iter().flatten();
        object.filter(|(field, _)| *field != "metadata").for_each(|(_, value)| keys(value, &mut self.made_keys));
        for part in ["/metadata/labels", "/metadata/annotations"] {
            self.object.get().pointer(part).into_iter().for_each(|map| keys(map, &mut self.made_keys));
        }
        let is_ours = |key: &String| key == names::ANNOTATION_DATA_HASH || self.open.contains_key(key);
        self.made_keys.retain(|key| !fetched.contains(key) && !is_ours(key) && !is_written(key));
        self
    }

    fn shown(&self, mask: Option<&Mask>) -> SecretJson {
        let mut object = self.object.clone();
        let Some(mask) = mask else { return object };
        for (field, value) in object.get_mut().as_object_mut().into_iter().flatten() {
            match field.as_str() {
                "apiVersion" | "kind" | "type" | "immutable" => {}
                "data" if self.is_secret => {
                    for value in value.as_object_mut().into_iter().flat_map(Map::values_mut) {
                        mask.cover_bytes(value);
                    }
                    mask.cover_keys(value, &self.made_keys);
                }
                "metadata" => {
                    for part in ["labels", "annotations"] {
                        let map = value.get_mut(part).and_then(Value::as_object_mut);
                        for (key, value) in map.into_iter().flatten() {
                            if self.open.get(key).map(String::as_str) != value.as_str() {
                                mask.cover(value);
                            }
                        }
                    }
                    mask.cover_keys(value, &self.made_keys);
                }
                _ => {
                    mask.cover(value);
                    mask.cover_keys(value, &self.made_keys);
                }
            }
        }
        object
    }
}

/// The keys of all maps within.
fn keys(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| keys(item, into)),
        Value::Object(map) => {
            into.extend(map.keys().cloned());
            map.values().for_each(|item| keys(item, into));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What of a target's labels and annotations no template has touched.
fn open(es: &ExternalSecret) -> StringMap {
    let own = [&es.metadata.labels, &es.metadata.annotations].into_iter().flatten().flatten();
    let template = es.spec.target.template.as_ref().map(|template| &template.metadata);
    let written = template.into_iter().flat_map(|metadata| metadata.labels.iter().chain(&metadata.annotations));
    let mut open: StringMap = own.chain(written).map(|(key, value)| (key.clone(), value.clone())).collect();
    let (namespace, name) = (es.metadata.namespace.as_deref(), es.metadata.name.as_deref());
    let created_by = keyferry_sync::hash::created_by(namespace.unwrap_or_default(), name.unwrap_or_default());
    open.insert(names::LABEL_MANAGED.to_owned(), names::MANAGED.to_owned());
    open.insert(names::LABEL_CREATED_BY.to_owned(), created_by);
    open
}

/// Covers values: of each it shows the length, and a short hash under a key of this run, so that equal ones are seen to be
/// equal and nobody can try guesses against them later.
pub struct Mask(Zeroizing<[u8; 32]>);

impl Mask {
    /// With a new key.
    pub fn new() -> Self {
        Self(Zeroizing::new(rand::random()))
    }

    fn cover(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.cover(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.cover(item)),
            Value::Null => {}
            Value::String(text) => {
                let covered = self.text(text.as_bytes());
                zeroize(value);
                *value = Value::String(covered);
            }
            other => *other = Value::String(self.text(other.to_string().as_bytes())),
        }
    }

    /// Covers base64 as the bytes that it stands for.
    fn cover_bytes(&self, value: &mut Value) {
        match value.as_str().and_then(|text| STANDARD.decode(text).ok()).map(Zeroizing::new) {
            Some(bytes) => {
                let covered = self.text(&bytes);
                zeroize(value);
                *value = Value::String(covered);
            }
            None => self.cover(value),
        }
    }

    /// Covers these keys, however deep.
    fn cover_keys(&self, value: &mut Value, covered: &BTreeSet<String>) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.cover_keys(item, covered)),
            Value::Object(map) => {
                for (key, mut value) in std::mem::take(map) {
                    self.cover_keys(&mut value, covered);
                    let key = if covered.contains(&key) { self.text(key.as_bytes()) } else { key };
                    map.insert(key, value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn text(&self, value: &[u8]) -> String {
        // SHA-3 takes no harm from what is put behind the key.
        let hash = Sha3_256::new().chain_update(*self.0).chain_update(value).finalize();
        let unit = if value.len() == 1 { "byte" } else { "bytes" };
        format!("[{} {unit}, #{:02x}{:02x}{:02x}]", value.len(), hash[0], hash[1], hash[2])
    }
}

impl Default for Mask {
    fn default() -> Self {
        Self::new()
    }
}

/// Prints all of them; with `mask`, no value.
pub fn print(rendered: &[Rendered], mask: Option<&Mask>, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Yaml => {
            for object in rendered {
                writeln!(out, "---")?;
                keyferry_crds::write_document(out, object.shown(mask).get())?;
            }
        }
        Format::Json => {
            let items: Vec<SecretJson> = rendered.iter().map(|object| object.shown(mask)).collect();
            let items: Vec<&Value> = items.iter().map(SecretJson::get).collect();
            let list = SecretJson::new(json!({"apiVersion": "v1", "kind": "List", "items": items}));
            serde_json::to_writer_pretty(&mut *out, list.get())?;
            writeln!(out)?;
        }
    }
    out.flush()
}
