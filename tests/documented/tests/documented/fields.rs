//! Whether the manifests have every field that stores have.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::entry::Entry;

/// Fields of what only refers to something: to a Secret, a ConfigMap or a ServiceAccount.
const OF_REFERENCES: [&str; 5] = ["audiences", "key", "name", "namespace", "type"];

/// The fields of a store that no entry has.
pub fn missing(store: &str, entries: &[Entry]) -> Vec<String> {
    let mut has = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.store() == store) {
        present(store, &entry.spec(), &mut has);
    }
    let crds = keyferry_crds::crds();
    let crd = crds.iter().find(|crd| crd.spec.names.kind == "SecretStore").expect("it is there");
    let crd = serde_json::to_value(crd).expect("plain data");
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/provider/properties";
    let mut wanted = BTreeSet::new();
    named(store, &crd.pointer(schema).expect("providers")[store], &mut wanted);
    wanted.difference(&has).cloned().collect()
}

fn named(path: &str, schema: &Value, all: &mut BTreeSet<String>) {
    if schema["items"].is_object() {
        return named(path, &schema["items"], all);
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    if properties.contains_key("name") && properties.keys().all(|field| OF_REFERENCES.contains(&field.as_str())) {
        return;
    }
    for (field, schema) in properties {
        let path = format!("{path}.{field}");
        named(&path, schema, all);
        all.insert(path);
    }
}

fn present(path: &str, value: &Value, all: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| present(path, item, all)),
        Value::Object(fields) => {
            for (field, value) in fields {
                let path = format!("{path}.{field}");
                present(&path, value, all);
                all.insert(path);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
