//! What tests of several crates begin with (test data builders): each all well, and no more said than a test has to.

use jiff::Timestamp;
use keyferry_crds::{ClusterSecretStore, ExternalSecret, SecretStore};
use keyferry_provider_core::Key;
use serde_json::{Value, json};

/// The ExternalSecret `e` in `ns`, which takes `k` from the key `a` of the store `s`, where `spec` says nothing else.
///
/// # Panics
/// Where that is no spec.
pub fn es(spec: Value) -> ExternalSecret {
    let mut whole = json!({"secretStoreRef": {"name": "s"}, "data": [{"secretKey": "k", "remoteRef": {"key": "a"}}]});
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    let metadata = json!({
        "name": "e", "namespace": "ns", "uid": "es-uid", "generation": 1, "creationTimestamp": "1970-01-01T00:00:00Z",
    });
    serde_json::from_value(json!({"metadata": metadata, "spec": whole})).expect("the spec of an ExternalSecret")
}

/// The SecretStore `s` in `ns`.
///
/// # Panics
/// Where `spec` is none.
pub fn store(spec: Value) -> SecretStore {
    let metadata = json!({"name": "s", "namespace": "ns"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("the spec of a SecretStore")
}

/// The ClusterSecretStore `s`.
///
/// # Panics
/// Where `spec` is none.
pub fn cluster_store(spec: Value) -> ClusterSecretStore {
    serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).expect("the spec of a ClusterSecretStore")
}

/// The key of this name: its value, as it is now.
pub fn key(name: impl Into<String>) -> Key {
    Key { name: name.into(), version: None, metadata: false }
}

/// So many seconds after the epoch.
///
/// # Panics
/// Where times do not reach that far.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}
