//! The object that the operator would write, over what the manifests have of it.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_cluster::client::{LiveObject, LiveSecret};
use keyferry_cluster::target::ownership::Desired;
use keyferry_cluster::target::{desired, manifest};
use keyferry_crds::ExternalSecret;
use keyferry_provider_core::{SecretBuf, SecretBytes};
use keyferry_sync::content::Content;
use keyferry_sync::data::{Data, SecretJson};
use keyferry_sync::outcome::Failure;
use keyferry_sync::settings::Adopt;
use serde_json::{Map, Value, json};

use super::folder::Folder;

/// A target.
pub enum Object {
    /// A Secret.
    Secret(LiveSecret),
    /// An object of another kind.
    Other(LiveObject),
}

/// What `es` makes of `content`; `None` where there is nothing to merge it into.
pub fn target(folder: &Folder, es: &ExternalSecret, content: &Content) -> Result<Option<Object>, Failure> {
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(kind) = es.target_manifest() {
        let existing = folder.object(kind, namespace, es.target_name());
        return Ok(match manifest::desired(es, kind, content, existing.as_ref(), Adopt::Any)? {
            Desired::Create(object) | Desired::Update { object, .. } => Some(Object::Other(object)),
            Desired::Keep => existing.map(Object::Other),
            Desired::Missing => None,
        });
    }
    let existing: Option<&LiveSecret> = folder.secret(namespace, es.target_name());
    Ok(match desired::desired(es, content, existing, Adopt::Any)? {
        Desired::Create(object) | Desired::Update { object, .. } => Some(Object::Secret(object)),
        Desired::Keep => existing.cloned().map(Object::Secret),
        Desired::Missing => None,
    })
}

impl Object {
    /// The data of a Secret; `None` of other kinds.
    pub fn data(&self) -> Option<Data> {
        let Self::Secret(secret) = self else { return None };
        Some(secret.data().map(|(key, value)| (key.to_owned(), SecretBytes::new(value.to_vec()))).collect())
    }

    /// The object as a YAML document, its values in the clear.
    pub fn yaml(&self) -> SecretBytes {
        let mut sink = Sink::default();
        // Nothing that writes there fails.
        let _ = keyferry_crds::write_document(&mut sink, self.json().get());
        sink.0.into()
    }

    /// The object as JSON, its values in the clear: texts of a Secret stand in `stringData`. Without owners and the like,
    /// which an API server has to know.
    pub fn json(&self) -> SecretJson {
        SecretJson::new(match self {
            Self::Secret(secret) => json_of_secret(secret),
            Self::Other(live) => {
                let inner = live.get();
                let mut object = inner.data.clone();
                if let Some(types) = &inner.types {
                    object["apiVersion"] = json!(types.api_version);
                    object["kind"] = json!(types.kind);
                }
                object["metadata"] = metadata(&inner.metadata);
                object
            }
        })
    }
}

/// A buffer for values that is written to.
#[derive(Default)]
struct Sink(SecretBuf);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn json_of_secret(secret: &LiveSecret) -> Value {
    let inner = secret.get();
    let (mut texts, mut bytes) = (Map::new(), Map::new());
    for (key, value) in secret.data() {
        match std::str::from_utf8(value) {
            Ok(text) => _ = texts.insert(key.to_owned(), json!(text)),
            Err(_) => _ = bytes.insert(key.to_owned(), json!(STANDARD.encode(value))),
        }
    }
    let mut object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata(&inner.metadata),
        "type": inner.type_.as_deref().unwrap_or("Opaque")});
    for (field, map) in [("stringData", texts), ("data", bytes)] {
        if !map.is_empty() {
            object[field] = Value::Object(map);
        }
    }
    if inner.immutable == Some(true) {
        object["immutable"] = json!(true);
    }
    object
}

fn metadata(of: &kube::core::ObjectMeta) -> Value {
    let mut metadata = json!({"name": of.name, "namespace": of.namespace});
    for (field, map) in [("labels", &of.labels), ("annotations", &of.annotations)] {
        if let Some(map) = map.as_ref().filter(|map| !map.is_empty()) {
            metadata[field] = json!(map);
        }
    }
    if let Some(finalizers) = of.finalizers.as_ref().filter(|finalizers| !finalizers.is_empty()) {
        metadata["finalizers"] = json!(finalizers);
    }
    metadata
}
