//! Who was given what, when: a record of each delivery. It names secrets and holds none. All modes make such records, and
//! know nothing of where they go.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyferry_crds::ExternalSecret;
use keyferry_provider_core::Key;
use serde::Serialize;

use crate::store::StoreId;
use crate::told::Told;

/// Where records go.
pub trait Audit: Send + Sync {
    /// Takes note of a delivery. Nobody waits for it; records stay in the order in which they come.
    fn take(&self, delivery: Delivery);
}

/// Nowhere.
impl Audit for () {
    fn take(&self, _: Delivery) {}
}

/// One delivery: a line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// When it was done.
    pub time: Timestamp,
    /// What was done.
    pub action: Action,
    /// What it came to.
    pub outcome: Outcome,
    /// Why it failed, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The object that asked for it.
    pub object: Object,
    /// Where it went, where that is an object or a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Object>,
    /// What it was made of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// The pod that got it, where it was for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// A target was written: a Secret, another object, or files.
    Written,
    /// A target was deleted.
    Deleted,
    /// Files were mounted for a pod.
    Mounted,
    /// A value was written into a store.
    Pushed,
    /// A value was deleted from a store.
    Unpushed,
    /// A generator made a value.
    Generated,
    /// What a generator made was revoked.
    Revoked,
}

/// What a delivery came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not done, as far as we know.
    Failed,
}

/// An object, or a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Object {
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty where it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// A store or a generator, and what of it was delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The store or the generator.
    #[serde(flatten)]
    pub object: Object,
    /// The secrets in the store, what searches found among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Secret>,
}

/// A secret in a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// Its name there.
    pub key: String,
    /// The field inside of it that was written, where one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
    /// Its version: as the store answered, else as it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A pod that secrets are delivered to, in the namespace of the ExternalSecret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Its name.
    pub pod: String,
    /// The ServiceAccount that it runs as.
    pub service_account: String,
}

impl Delivery {
    /// Something that was done at this time for this object.
    pub fn new(time: Timestamp, action: Action, object: Object) -> Self {
        Self {
            time,
            action,
            outcome: Outcome::Done,
            reason: None,
            object,
            target: None,
            sources: Vec::new(),
            workload: None,
        }
    }

    /// The same, but it failed, and why.
    pub fn failed(self, why: &Told) -> Self {
        Self { outcome: Outcome::Failed, reason: Some(why.as_str().to_owned()), ..self }
    }
}

impl Object {
    /// An object of this kind.
    pub fn new(kind: impl Into<String>, metadata: &ObjectMeta) -> Self {
        Self {
            kind: kind.into(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone(),
        }
    }

    /// A store.
    pub fn store(id: &StoreId) -> Self {
        let kind = if id.namespace.is_some() { "SecretStore" } else { "ClusterSecretStore" };
        let namespace = id.namespace.clone().unwrap_or_default();
        Self { kind: kind.to_owned(), namespace, name: id.name.clone(), uid: None }
    }

    /// The target of an ExternalSecret.
    pub fn target(es: &ExternalSecret) -> Self {
        Self {
            kind: es.target_manifest().map_or("Secret", |manifest| manifest.kind.as_str()).to_owned(),
            namespace: es.metadata.namespace.clone().unwrap_or_default(),
            name: es.target_name().to_owned(),
            uid: None,
        }
    }
}

impl Secret {
    /// What a store answered, at this version of its own.
    pub fn answered(key: &Key, version: Option<&String>) -> Self {
        Self { key: key.name.clone(), property: None, version: version.or(key.version.as_ref()).cloned() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_names_what_was_delivered_and_leaves_out_what_is_not_there() {
        let es = keyferry_builders::es(json!({"target": {"name": "t"}}));
        let mut delivery =
            Delivery::new(keyferry_builders::at(60), Action::Written, Object::new("ExternalSecret", &es.metadata));
        delivery.target = Some(Object::target(&es));
        let answered = vec![Secret::answered(&keyferry_builders::key("app"), Some(&"7".to_owned()))];
        let id = StoreId { namespace: None, name: "s".into() };
        delivery.sources = vec![Source { object: Object::store(&id), keys: answered }];
        let line = serde_json::to_value(delivery.clone()).unwrap();
        let expected = json!({
            "time": "1970-01-01T00:01:00Z", "action": "written", "outcome": "done",
            "object": {"kind": "ExternalSecret", "namespace": "ns", "name": "e", "uid": "es-uid"},
            "target": {"kind": "Secret", "namespace": "ns", "name": "t"},
            "sources": [{"kind": "ClusterSecretStore", "name": "s", "keys": [{"key": "app", "version": "7"}]}],
        });
        assert_eq!(line, expected);
        let failed = serde_json::to_value(delivery.failed(&"why".into())).unwrap();
        assert_eq!((&failed["outcome"], &failed["reason"]), (&json!("failed"), &json!("why")));
    }
}
