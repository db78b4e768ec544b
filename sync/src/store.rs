//! Stores as the cluster has them, both kinds alike: what they are, who may use them, how far they are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use keyferry_crds::{ClusterSecretStore, Condition, LoginBy, SecretStore, SecretStoreSpec, SecretStoreStatus, names};
use keyferry_go::regexp;
use kube_core::{ObjectMeta, Resource};

use crate::data::StringMap;
use crate::excess;
use crate::selection::selects;

/// Names a store: a SecretStore has a namespace, a ClusterSecretStore none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId {
    /// The namespace of a SecretStore.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl StoreId {
    /// The kind.
    pub fn kind(&self) -> &'static str {
        match self.namespace {
            Some(_) => "SecretStore",
            None => "ClusterSecretStore",
        }
    }
}

impl fmt::Display for StoreId {
    /// `SecretStore "name"`, as in conditions, which stand in the same namespace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind(), self.name)
    }
}

/// How far a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Its first check is on its way.
    Unchecked,
    /// It can be used.
    Ready,
    /// It can't, and this is why.
    NotReady(String),
}

/// Stores by name, with how far they are.
pub type KnownStores = BTreeMap<StoreId, (Arc<Store>, Readiness)>;

/// A store as last seen: both kinds alike.
#[derive(Debug)]
pub struct Store {
    /// Its name.
    pub id: StoreId,
    /// Its metadata, without what nobody reads.
    pub metadata: ObjectMeta,
    /// Its spec; the message where it did not decode.
    pub spec: Result<SecretStoreSpec, String>,
    /// Its conditions and capabilities.
    pub status: SecretStoreStatus,
}

impl Store {
    /// From a SecretStore.
    pub fn namespaced(store: SecretStore) -> Self {
        Self::new(store.metadata, Ok(store.spec), store.status)
    }

    /// From a ClusterSecretStore.
    pub fn cluster(store: ClusterSecretStore) -> Self {
        Self::new(store.metadata, Ok(store.spec), store.status)
    }

    /// From an object whose spec does not decode.
    pub fn undecodable(metadata: ObjectMeta) -> Self {
        let message =
            "the spec is not of the form that the CustomResourceDefinition gives: compare it with `kubectl explain`";
        Self::refused(metadata, message.to_owned(), None)
    }

    /// From an object that is not used, and why; with its Ready condition, where that is known.
    pub fn refused(metadata: ObjectMeta, why: String, ready: Option<Condition>) -> Self {
        let conditions = ready.into_iter().collect();
        Self::new(metadata, Err(why), Some(SecretStoreStatus { conditions, ..SecretStoreStatus::default() }))
    }

    fn new(metadata: ObjectMeta, spec: Result<SecretStoreSpec, String>, status: Option<SecretStoreStatus>) -> Self {
        let id = StoreId { namespace: metadata.namespace.clone(), name: metadata.name.clone().unwrap_or_default() };
        Self { id, metadata, spec, status: status.unwrap_or_default() }
    }

    /// The same store with another status.
    pub fn with_status(&self, status: SecretStoreStatus) -> Self {
        Self::new(self.metadata.clone(), self.spec.clone(), Some(status))
    }

    /// The UID.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The generation: it moves with the spec.
    pub fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or_default()
    }

    /// Whether a controller of this class looks after the store.
    pub fn is_of_class(&self, class: &str) -> bool {
        let own = self.spec.as_ref().ok().and_then(|spec| spec.controller.as_deref()).unwrap_or_default();
        own.is_empty() || own == class
    }

    /// Who logs in, where it says so.
    pub fn login_by(&self) -> Option<&LoginBy> {
        self.spec.as_ref().ok().and_then(|spec| spec.login_by.as_ref())
    }

    /// Whether nobody but who mounts logs in, so that nothing is fetched for anybody else.
    pub fn is_for_mounts(&self) -> bool {
        self.login_by() == Some(&LoginBy::Mount)
    }

    /// The Ready condition as stored.
    pub fn ready(&self) -> Option<&Condition> {
        keyferry_crds::condition::find(&self.status.conditions, names::CONDITION_READY)
    }

    /// How far the store is by its stored condition alone.
    pub fn readiness_told(&self) -> Readiness {
        match self.ready() {
            None => Readiness::Unchecked,
            Some(ready) if ready.is_true() => Readiness::Ready,
            Some(ready) => Readiness::NotReady(ready.message.clone().unwrap_or_default()),
        }
    }

    /// What is wrong with its conditions: more than the limits allow, or a pattern that is not a regular expression.
    pub fn bad_regex(&self) -> Option<String> {
        if let Some(excess) = self.spec.as_ref().ok().and_then(excess::of_conditions) {
            return Some(excess);
        }
        let (pattern, why) = regexp::first_wrong(self.regexes())?;
        // Long ones would hide the cause behind them.
        let pattern: String = pattern.chars().take(300).collect();
        Some(format!("spec.conditions: namespaceRegexes: {pattern:?} is not a regular expression: {why}"))
    }

    fn regexes(&self) -> impl Iterator<Item = &str> {
        let conditions = self.spec.iter().flat_map(|spec| &spec.conditions);
        conditions.flat_map(|condition| &condition.namespace_regexes).map(String::as_str)
    }

    /// Whether the conditions of a ClusterSecretStore let this namespace use it: where there are any, one must match
    /// by its selector, its names or its patterns (which match anywhere in the name).
    pub fn allows(&self, namespace: &str, labels: &StringMap) -> bool {
        let Ok(spec) = &self.spec else { return false };
        if self.id.namespace.is_some() || spec.conditions.is_empty() {
            return true;
        }
        if excess::of_conditions(spec).is_some() {
            return false;
        }
        // Only here are they compiled: whoever looks at the others first seldom has to.
        let matches = |pattern| regexp::compile(pattern).is_ok_and(|pattern| pattern.is_match(namespace));
        let by_regex = || self.regexes().any(matches);
        let by_rest = spec.conditions.iter().any(|condition| {
            condition.namespaces.iter().any(|name| name == namespace)
                || condition.namespace_selector.as_ref().is_some_and(|selector| selects(selector, labels))
        });
        by_rest || by_regex()
    }

    /// Whether it takes the labels of a namespace to tell whether that may use it.
    pub fn asks_for_labels(&self) -> bool {
        let conditions = self.spec.iter().flat_map(|spec| &spec.conditions);
        self.id.namespace.is_none() && conditions.into_iter().any(|condition| condition.namespace_selector.is_some())
    }

    /// A reference for events.
    pub fn object_ref(&self) -> k8s_openapi::api::core::v1::ObjectReference {
        let mut reference = match self.id.namespace {
            Some(_) => SecretStore { metadata: self.metadata.clone(), ..Default::default() }.object_ref(&()),
            None => ClusterSecretStore { metadata: self.metadata.clone(), ..Default::default() }.object_ref(&()),
        };
        reference.resource_version = None;
        reference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(conditions: serde_json::Value) -> Store {
        let spec = serde_json::json!({"provider": {"fake": {}}, "conditions": conditions});
        Store::cluster(keyferry_builders::cluster_store(spec))
    }

    #[test]
    fn any_condition_by_any_means_opens_a_cluster_store() {
        let labels: StringMap = [("team".to_owned(), "a".to_owned())].into();
        for (conditions, namespace, allowed) in [
            (serde_json::json!([]), "x", true),
            (serde_json::json!([{"namespaces": ["x"]}]), "x", true),
            (serde_json::json!([{"namespaces": ["x"]}]), "xy", false),
            (serde_json::json!([{"namespaces": ["y"]}, {"namespaceRegexes": ["^pro"]}]), "prod", true),
            (serde_json::json!([{"namespaceRegexes": ["ro"]}]), "prod", true),
            (serde_json::json!([{"namespaceRegexes": ["("]}]), "prod", false),
            (serde_json::json!([{"namespaceSelector": {"matchLabels": {"team": "a"}}}]), "x", true),
            (serde_json::json!([{"namespaceSelector": {"matchLabels": {"team": "b"}}}]), "x", false),
            (
                serde_json::json!([{"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["b"]}]}}]),
                "x",
                true,
            ),
        ] {
            assert_eq!(store(conditions.clone()).allows(namespace, &labels), allowed, "{conditions} {namespace}");
        }
    }
}
