//! No value of a secret may be seen in logs, events, conditions or metrics: where to look, and for what.

use std::sync::{Arc, Mutex, PoisonError};

use keyferry_testkit::Canary;
use serde_json::Value;

use crate::cluster::Cluster;

/// Secret values that a test uses. Clones share them.
#[derive(Clone, Default)]
pub struct Canaries(Arc<Mutex<Canary>>);

/// A text that anybody may read who may not read Secrets.
pub struct Place {
    /// Where it is from.
    pub name: String,
    /// The text.
    pub text: String,
}

impl Canaries {
    /// A new random value, distinctive in every encoding, that must never be seen.
    pub fn value(&self, name: &str) -> String {
        let value = format!("{name}-{:032x}/\"<é>&\\{:08x}", rand::random::<u128>(), rand::random::<u32>());
        self.add(name, &value);
        value
    }

    /// Adds a value that must never be seen.
    pub fn add(&self, name: &str, value: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(name, value);
    }

    /// What is seen of them in these places; empty where all is well. Shows no value.
    pub fn find(&self, places: &[Place]) -> Vec<String> {
        let canary = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = places.iter().flat_map(|place| {
            canary.find(&place.text).into_iter().map(move |finding| format!("{} shows {finding}", place.name))
        });
        found.collect()
    }
}

impl Place {
    /// A text and where it is from.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// The kinds whose objects anybody may read, but for what Secrets hold.
const KINDS: [&str; 8] = [
    "ExternalSecret",
    "SecretStore",
    "ClusterSecretStore",
    "PushSecret",
    "ClusterExternalSecret",
    "ClusterPushSecret",
    "GeneratorState",
    "Secret",
];

/// What the API server shows of a namespace and of the cluster: the metadata and status of all objects of ours and of
/// Secrets, and all events.
pub async fn visible(cluster: &Cluster) -> Vec<Place> {
    let mut places = Vec::new();
    for kind in KINDS {
        for object in cluster.list(kind).await {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            for part in ["metadata", "status"] {
                // A status that is absent is shown as `null`.
                places.push(Place::new(format!("{part} of {kind} {name}"), object[part].to_string()));
            }
        }
    }
    let of_cluster_stores = Cluster::new(cluster.client(), "default");
    for events in [cluster, &of_cluster_stores] {
        for event in events.list("Event").await {
            places.push(Place::new(event_name(&event), event.to_string()));
        }
    }
    places
}

fn event_name(event: &Value) -> String {
    let text = |pointer| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("event {} of {} {}", text("/reason"), text("/involvedObject/kind"), text("/involvedObject/name"))
}
