//! ClusterExternalSecret and ClusterPushSecret: which namespaces get a copy of which object.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::condition::Condition;
use crate::lenient;
use crate::names;
use crate::resource::kind;

kind! {
    /// Makes an ExternalSecret in each of some namespaces.
    ClusterExternalSecret, "clusterexternalsecrets", kube_core::ClusterResourceScope, ClusterExternalSecretSpec, CopierStatus
}

kind! {
    /// Makes a PushSecret in each of some namespaces.
    ClusterPushSecret, "clusterpushsecrets", kube_core::ClusterResourceScope, ClusterPushSecretSpec, CopierStatus,
    names::PUSH_VERSION
}

/// Which namespaces get which ExternalSecret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterExternalSecretSpec {
    /// The spec of each copy, as written: it is passed on, and judged where it arrives.
    #[serde(default)]
    pub external_secret_spec: Value,
    /// The name of each copy, where that is not the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_secret_name: Option<String>,
    /// The labels and annotations of each copy.
    #[serde(default, deserialize_with = "lenient::null")]
    pub external_secret_metadata: CopyMetadata,
    /// One more selector; the older field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Namespaces with the labels of any of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub namespace_selectors: Vec<LabelSelector>,
    /// Namespaces by name; the older field.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub namespaces: Vec<String>,
    /// How often all is looked through, as written.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub refresh_time: Option<String>,
}

/// Which namespaces get which PushSecret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterPushSecretSpec {
    /// The spec of each copy, as written: it is passed on, and judged where it arrives.
    #[serde(default)]
    pub push_secret_spec: Value,
    /// The name of each copy, where that is not the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_secret_name: Option<String>,
    /// The labels and annotations of each copy.
    #[serde(default, deserialize_with = "lenient::null")]
    pub push_secret_metadata: CopyMetadata,
    /// Namespaces with the labels of any of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub namespace_selectors: Vec<LabelSelector>,
    /// How often all is looked through, as written.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub refresh_time: Option<String>,
}

/// The labels and annotations of a copy: all that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyMetadata {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient::null")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient::null")]
    pub annotations: BTreeMap<String, String>,
}

/// Where the copies are, and where they could not be made. One type for both kinds, which call the name of a copy
/// differently.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopierStatus {
    /// The name of the copies, where they are ExternalSecrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_secret_name: Option<String>,
    /// The name of the copies, where they are PushSecrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_secret_name: Option<String>,
    /// Where they could not be made, by namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub failed_namespaces: Vec<FailedNamespace>,
    /// Where they are, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub provisioned_namespaces: Vec<String>,
    /// How the object is.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::null")]
    pub conditions: Vec<Condition>,
}

/// A namespace without its copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedNamespace {
    /// Its name.
    #[serde(default, deserialize_with = "lenient::null")]
    pub namespace: String,
    /// Why.
    #[serde(default, deserialize_with = "lenient::null")]
    pub reason: String,
}
