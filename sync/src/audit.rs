//! Who had which secrets of which store: one record for each refresh that asked one. Callers and sinks share this type.

use jiff::Timestamp;
use keyferry_crds::ExternalSecret;
use keyferry_provider_core::Key;
use serde_json::{Value, json};

use crate::store::StoreId;

/// One delivery. It names secrets and holds none.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When the refresh began.
    pub at: Timestamp,
    /// What asked for them.
    pub external_secret: &'a ExternalSecret,
    /// For which workload, where it is for one.
    pub workload: Option<Workload<'a>>,
    /// The store.
    pub store: &'a StoreId,
    /// The keys that were asked for, what searches found among them.
    pub keys: &'a [Key],
    /// How many of them the store answered with a value.
    pub answered: usize,
}

impl Record<'_> {
    /// As one line of JSON.
    pub fn json(&self) -> Value {
        let metadata = &self.external_secret.metadata;
        let key = |key: &Key| {
            let (name, property) = key.name_and_property();
            json!({"name": name, "property": property, "version": key.version})
        };
        let keys: Vec<Value> = self.keys.iter().map(key).collect();
        json!({
            "audit": "delivery",
            "time": self.at.to_string(),
            "namespace": metadata.namespace,
            "externalSecret": metadata.name,
            "pod": self.workload.map(|workload| workload.pod),
            "serviceAccount": self.workload.map(|workload| workload.service_account),
            "store": {"kind": self.store.kind(), "name": self.store.name},
            "keys": keys,
            "answered": self.answered,
        })
    }
}

/// A pod that secrets are delivered to, in the namespace of the ExternalSecret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload<'a> {
    /// Its name.
    pub pod: &'a str,
    /// The ServiceAccount that it runs as.
    pub service_account: &'a str,
}
