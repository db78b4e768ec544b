//! Objects of which only what they are is told, and nothing that they hold.

use std::fmt::Debug;
use std::marker::PhantomData;

use keyferry_sync::data::StringMap;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::{Deserialize, Deserializer};

/// An object of which only name, UID, resourceVersion, generation and labels are told. Annotations are dropped as they are decoded:
/// kubectl keeps there what it applied, the values of Secrets included.
pub struct Metadata<K> {
    /// What it is.
    pub metadata: ObjectMeta,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Metadata<K> {
    fn clone(&self) -> Self {
        Self { metadata: self.metadata.clone(), kind: PhantomData }
    }
}

impl<K> Debug for Metadata<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.metadata.name.fmt(f)
    }
}

impl<'de, K> Deserialize<'de> for Metadata<K> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Kept,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kept {
            name: Option<String>,
            namespace: Option<String>,
            uid: Option<String>,
            resource_version: Option<String>,
            generation: Option<i64>,
            labels: Option<StringMap>,
        }
        let Object { metadata: Kept { name, namespace, uid, resource_version, generation, labels } } =
            Object::deserialize(input)?;
        let metadata =
            ObjectMeta { name, namespace, uid, resource_version, generation, labels, ..ObjectMeta::default() };
        Ok(Self { metadata, kind: PhantomData })
    }
}

impl<K: Resource> Resource for Metadata<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn metadata_api() -> bool {
        true
    }

    fn kind(dt: &K::DynamicType) -> std::borrow::Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &K::DynamicType) -> std::borrow::Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &K::DynamicType) -> std::borrow::Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &K::DynamicType) -> std::borrow::Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
