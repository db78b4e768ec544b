//! GeneratorState: what it takes to revoke what a generator made.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use serde_json::Value;

use crate::condition::Condition;
use crate::{lenient, names};

/// What it takes to revoke what a generator made. It is written field by field, so that there is nothing to serialize.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct GeneratorState {
    /// Name, namespace, labels and all else that Kubernetes keeps about an object.
    #[serde(default, deserialize_with = "lenient::null")]
    pub metadata: kube_core::ObjectMeta,
    /// What was made, and until when it is needed.
    #[serde(default, deserialize_with = "lenient::null")]
    pub spec: GeneratorStateSpec,
    /// How its revocation goes.
    #[serde(default)]
    pub status: Option<GeneratorStateStatus>,
}

/// What was made, and until when it is needed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GeneratorStateSpec {
    /// When to revoke it; it is needed where nobody says.
    #[serde(default)]
    pub garbage_collection_deadline: Option<Time>,
    /// The generator that made it, as it was then.
    #[serde(default)]
    pub resource: Value,
    /// What the generator needs to revoke it.
    #[serde(default)]
    pub state: Value,
}

/// How its revocation goes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct GeneratorStateStatus {
    /// What is said.
    #[serde(default, deserialize_with = "lenient::null")]
    pub conditions: Vec<Condition>,
}

impl kube_core::Resource for GeneratorState {
    type DynamicType = ();
    type Scope = kube_core::NamespaceResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        names::KIND_GENERATOR_STATE.into()
    }
    fn group((): &()) -> std::borrow::Cow<'_, str> {
        names::GENERATORS_GROUP.into()
    }
    fn version((): &()) -> std::borrow::Cow<'_, str> {
        names::GENERATORS_VERSION.into()
    }
    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "generatorstates".into()
    }
    fn meta(&self) -> &kube_core::ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut kube_core::ObjectMeta {
        &mut self.metadata
    }
}
