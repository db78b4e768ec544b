//! What a target is to hold: data, labels, annotations, type. Pure.

use std::collections::BTreeMap;

use keyferry_crds::ExternalSecret;

use super::render::Data;
use crate::hash::{self, StringMap};
use crate::store::credentials::{Dependency, Version};

/// What a target is to hold, whatever else is there already.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// By key.
    pub data: Data,
    /// Labels besides our own marks.
    pub labels: StringMap,
    /// Annotations besides our own marks.
    pub annotations: StringMap,
    /// The type, where the template sets one; else the API server's default.
    pub type_: Option<String>,
    /// Finalizers to add.
    pub finalizers: Vec<String>,
}

impl Content {
    /// Without a template the target holds what was fetched, and bears all labels and annotations of the
    /// ExternalSecret.
    pub fn plain(es: &ExternalSecret, data: Data) -> Self {
        Self {
            data,
            labels: es.metadata.labels.clone().unwrap_or_default(),
            annotations: es.metadata.annotations.clone().unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// What a target is made from: while this stays the same, so does the target, and nothing need be read to know it.
/// `sources` are the versions of the objects that templates are taken from.
pub fn fingerprint(es: &ExternalSecret, fetched: &Data, sources: &BTreeMap<Dependency, Version>) -> String {
    let data = hash::data_hash(fetched.iter().map(|(key, value)| (key.as_str(), value.expose())));
    let version = hash::synced_resource_version(
        es.metadata.generation.unwrap_or_default(),
        es.metadata.annotations.as_ref(),
        es.metadata.labels.as_ref(),
    );
    format!("{data} {version} {:?}", sources.values().collect::<Vec<_>>())
}
