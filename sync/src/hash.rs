//! The hashes that External Secrets Operator leaves on objects, byte for byte: SHA3-224 over the text that Go's `%+v`
//! gives. Sharing them is what lets either operator take over from the other without a refresh.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyferry_crds::ExternalSecret;
use keyferry_go::strconv;
use serde_json::Value;
use sha3::{Digest as _, Sha3_224};
use zeroize::Zeroizing;

use crate::data::StringMap;

/// The data-hash annotation: over all keys now in the Secret.
pub fn data_hash<'a>(data: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let sorted: BTreeMap<&str, &[u8]> = data.into_iter().collect();
    let mut hasher = Sha3_224::new();
    hasher.update(b"map[");
    for (n, (key, value)) in sorted.iter().enumerate() {
        if n > 0 {
            hasher.update(b" ");
        }
        hasher.update(key);
        hasher.update(b":[");
        update_decimals(&mut hasher, value);
        hasher.update(b"]");
    }
    hasher.update(b"]");
    hex(hasher)
}

/// The data-hash annotation of a target that is not a Secret: over its `spec`, or its `data` where it has none. Where it
/// has neither, which External Secrets Operator refuses, it is over all but the status.
pub fn manifest_hash(object: &Value) -> String {
    let mut hasher = Sha3_224::new();
    match object.get("spec").or_else(|| object.get("data")) {
        Some(part) => update_value(&mut hasher, part),
        None => {
            let fields = object.as_object().into_iter().flatten().filter(|(field, _)| *field != "status");
            update_map(&mut hasher, fields);
        }
    }
    hex(hasher)
}

/// Feeds JSON as Go prints what it reads from JSON: whole numbers are `int64` where they fit, all others `float64`.
fn update_value(hasher: &mut Sha3_224, value: &Value) {
    match value {
        Value::Null => hasher.update(b"<nil>"),
        Value::Bool(yes) => hasher.update(if *yes { "true" } else { "false" }),
        Value::String(text) => hasher.update(text),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => hasher.update(whole.to_string()),
            (None, Some(float)) => {
                let mut text = Vec::new();
                strconv::float::format(&mut text, float, b'g', None);
                hasher.update(&text);
            }
            (None, None) => hasher.update(number.to_string()),
        },
        Value::Array(items) => {
            hasher.update(b"[");
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    hasher.update(b" ");
                }
                update_value(hasher, item);
            }
            hasher.update(b"]");
        }
        Value::Object(map) => update_map(hasher, map),
    }
}

fn update_map<'a>(hasher: &mut Sha3_224, map: impl IntoIterator<Item = (&'a String, &'a Value)>) {
    let sorted: BTreeMap<&String, &Value> = map.into_iter().collect();
    hasher.update(b"map[");
    for (n, (key, item)) in sorted.into_iter().enumerate() {
        if n > 0 {
            hasher.update(b" ");
        }
        hasher.update(key);
        hasher.update(b":");
        update_value(hasher, item);
    }
    hasher.update(b"]");
}

/// Feeds bytes as decimal numbers between spaces, a chunk at a time, so that no text of the whole value is made.
fn update_decimals(hasher: &mut Sha3_224, bytes: &[u8]) {
    let mut chunk = Zeroizing::new([0u8; 1024]);
    let mut used = 0;
    for (n, byte) in bytes.iter().enumerate() {
        if used + 4 > chunk.len() {
            hasher.update(&chunk[..used]);
            used = 0;
        }
        if n > 0 {
            chunk[used] = b' ';
            used += 1;
        }
        for (digit, divisor) in [100, 10, 1].into_iter().enumerate() {
            if *byte >= divisor || digit == 2 {
                chunk[used] = b'0' + byte / divisor % 10;
                used += 1;
            }
        }
    }
    hasher.update(&chunk[..used]);
}

/// `status.syncedResourceVersion`: changes with the spec (the generation) and with the object's own labels and
/// annotations, so that either makes it refresh.
pub fn synced_resource_version(generation: i64, annotations: Option<&StringMap>, labels: Option<&StringMap>) -> String {
    let text = format!("{{annotations:{} labels:{}}}", go_map(annotations), go_map(labels));
    format!("{generation}-{}", text_hash(&text))
}

/// The version of an ExternalSecret that `status.syncedResourceVersion` would name now.
pub fn version_of(es: &ExternalSecret) -> String {
    let ObjectMeta { generation, annotations, labels, .. } = &es.metadata;
    synced_resource_version(generation.unwrap_or_default(), annotations.as_ref(), labels.as_ref())
}

/// The created-by label of targets that `namespace/name` owns.
pub fn created_by(namespace: &str, name: &str) -> String {
    text_hash(&format!("{namespace}/{name}"))
}

/// The owner key of a GeneratorState: which entry of which object it was made for. The entries of an ExternalSecret go by
/// their index in `dataFrom`.
pub fn owner_key(kind: &str, namespace: &str, name: &str, entry: &str) -> String {
    text_hash(&format!("{kind}-{namespace}-{name}-{entry}"))
}

/// The field manager under which the ExternalSecret `name` writes its target: by what it owns there, keys that are
/// no longer produced are found. Kubernetes allows 128 bytes; External Secrets Operator hashes beyond 63.
pub fn field_manager(name: &str) -> String {
    field_manager_of("externalsecrets.external-secrets.io/", name)
}

/// The same of another kind, whose managers begin with `prefix`: of one name, they are two writers.
pub fn field_manager_of(prefix: &str, name: &str) -> String {
    match prefix.len() + name.len() {
        ..=63 => format!("{prefix}{name}"),
        _ => format!("{prefix}sha3/{}", text_hash(name)),
    }
}

fn go_map(map: Option<&StringMap>) -> String {
    let entries: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}:{value}")).collect();
    format!("map[{}]", entries.join(" "))
}

fn text_hash(text: &str) -> String {
    hex(Sha3_224::new().chain_update(text))
}

/// A digest of `parts`, to know again what they were. It is of values: it stays in this process, and is not shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 16]);

impl Digest {
    /// Of these, in this order.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha3_224::new();
        for part in parts {
            // With its length: no other parts come to the same bytes.
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize()[..16]);
        Self(digest)
    }

    /// To make a digest of digests.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("digest")
    }
}

fn hex(hasher: Sha3_224) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> StringMap {
        entries.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    // The vectors were computed by the Go code's rules and cross-checked against a running peer.
    #[test]
    fn data_hash_vectors() {
        assert_eq!(data_hash([]), "74a974446e359fb3e6baff9bd0058950e6edd0f040888d9989b0a11b");
        let data: [(&str, &[u8]); 3] = [("b", b"xy"), ("a", b"b"), ("c", b"")];
        assert_eq!(data_hash(data), "cc22b6a2b5b2e60f44fae29274cfd1676bc04753d9be71b3d39c3f6e");
    }

    #[test]
    fn data_hash_of_every_byte_and_of_more_than_one_chunk() {
        let bytes: Vec<u8> = (0..=255u8).cycle().take(5000).collect();
        let text = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(data_hash([("k", bytes.as_slice())]), text_hash(&format!("map[k:[{text}]]")));
    }

    #[test]
    fn manifest_hash_vectors() {
        let spec = serde_json::json!({"a": "b", "f": 1.5, "l": ["x", true, null], "m": {"z": "y"}, "n": 3});
        let known = "9b6c1972f6422cefe53b7d0b4c77b3d60d972653983b831832486beb";
        assert_eq!(manifest_hash(&serde_json::json!({"spec": spec, "data": {"not": "this"}})), known);
        assert_eq!(manifest_hash(&serde_json::json!({"data": spec})), known);
        assert_eq!(manifest_hash(&serde_json::json!({"status": spec})), text_hash("map[]"));
        assert_eq!(manifest_hash(&serde_json::json!({"rules": [1], "status": spec})), text_hash("map[rules:[1]]"));
        // What Go prints of a map with these numbers.
        let numbers = serde_json::from_str(
            r#"{"spec":{"a":1000000.0,"b":123456789.5,"d":1e21,"e":0.0001,"f":0.00001,"i":9007199254740993,"u":18446744073709551615}}"#,
        )
        .unwrap();
        let text =
            "map[a:1e+06 b:1.234567895e+08 d:1e+21 e:0.0001 f:1e-05 i:9007199254740993 u:1.8446744073709552e+19]";
        assert_eq!(manifest_hash(&numbers), text_hash(text));
    }

    #[test]
    fn synced_resource_version_vectors() {
        assert_eq!(
            synced_resource_version(1, None, None),
            "1-f47fe3c0b255b6dd8047cdffa772587bb829efe7a1cb70febeda2eb2"
        );
        assert_eq!(
            synced_resource_version(3, Some(&map(&[("k", "v")])), Some(&map(&[("x", "1"), ("a", "2")]))),
            "3-9abce907c02c175f0c6a5b8fbf52846a569cb707ec0484cd9e4868b2"
        );
    }

    #[test]
    fn names_vectors() {
        assert_eq!(
            owner_key("ExternalSecret", "default", "my-es", "0"),
            "9915f96d753b27b8e9efddd3a0d8653f0950199e3e1da6e83e967b73"
        );
        assert_eq!(created_by("default", "my-es"), "b8464376b5fe3535e690594280bfe59b60be2603cb6cbb6d6c8bcbb4");
        assert_eq!(field_manager("e"), "externalsecrets.external-secrets.io/e");
        assert_eq!(field_manager(&"n".repeat(27)).len(), 63);
        assert_eq!(
            field_manager("a-name-that-is-longer-than-27-chars"),
            "externalsecrets.external-secrets.io/sha3/35de21bd0b0753db5f9afeeb0f3d8100a43635b656427e38834ba988"
        );
    }
}
