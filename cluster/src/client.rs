//! Objects of the API server that zero themselves.

use std::fmt;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use k8s_openapi::api::core::v1::Secret;
use keyferry_provider_core::SecretBytes;
use keyferry_sync::data::zeroize;
use kube::api::Patch;
use kube::core::DynamicObject;
use serde_json::Value;
use zeroize::Zeroize as _;

pub use crate::problem::{ApiProblem, timely};
pub use crate::turns::Turns;

/// A Secret as the API server gave it; its values are zeroed when it goes.
#[derive(Clone)]
pub struct LiveSecret(Secret);

impl LiveSecret {
    /// Takes charge of a Secret.
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// The Secret. A clone of it must find its way into another `LiveSecret`.
    pub fn get(&self) -> &Secret {
        &self.0
    }

    /// The Secret, to change.
    pub fn get_mut(&mut self) -> &mut Secret {
        &mut self.0
    }

    /// The names of its keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.data.iter().flat_map(|data| data.keys())
    }

    /// Its values by key, sorted.
    pub fn data(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()))
    }

    /// Takes one value out.
    pub fn take(&mut self, key: &str) -> Option<SecretBytes> {
        self.0.data.as_mut()?.remove(key).map(|value| SecretBytes::new(value.0))
    }
}

/// An object of any kind as the API server gave it; its texts are zeroed when it goes.
#[derive(Clone)]
pub struct LiveObject(DynamicObject);

impl LiveObject {
    /// Takes charge of an object.
    pub fn new(object: DynamicObject) -> Self {
        Self(object)
    }

    /// The object. A clone of it must find its way into another `LiveObject`.
    pub fn get(&self) -> &DynamicObject {
        &self.0
    }

    /// The object, to change.
    pub fn get_mut(&mut self) -> &mut DynamicObject {
        &mut self.0
    }
}

/// Changes to an object (RFC 6902); its texts are zeroed when it goes.
pub struct LivePatch(Patch<()>);

impl LivePatch {
    /// Each value to this path, in the place of what is there.
    pub fn put<'a>(values: impl Iterator<Item = (&'a [&'a str], Value)>) -> Self {
        let operations = values.map(|(path, value)| {
            let path = PointerBuf::from_tokens(path.iter().copied());
            PatchOperation::Add(AddOperation { path, value })
        });
        Self(Patch::Json(json_patch::Patch(operations.collect())))
    }

    /// The changes.
    pub fn get(&self) -> &Patch<()> {
        &self.0
    }
}

impl Drop for LivePatch {
    fn drop(&mut self) {
        let Patch::Json(json_patch::Patch(operations)) = &mut self.0 else { return };
        for operation in operations {
            if let PatchOperation::Add(AddOperation { value, .. }) = operation {
                zeroize(value);
            }
        }
    }
}

impl fmt::Debug for LiveObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {:?}", self.0.metadata.name)
    }
}

impl Drop for LiveObject {
    fn drop(&mut self) {
        zeroize(&mut self.0.data);
        for annotation in self.0.metadata.annotations.iter_mut().flat_map(|annotations| annotations.values_mut()) {
            annotation.zeroize();
        }
    }
}

impl fmt::Debug for LiveSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret {:?}", self.0.metadata.name)
    }
}

impl Drop for LiveSecret {
    fn drop(&mut self) {
        for value in self.0.data.iter_mut().flat_map(|data| data.values_mut()) {
            value.0.zeroize();
        }
        // kubectl keeps what it applied, values included, in an annotation.
        for annotation in self.0.metadata.annotations.iter_mut().flat_map(|annotations| annotations.values_mut()) {
            annotation.zeroize();
        }
    }
}
