//! What differs between the kinds of targets: what is decided, how it is told, and what may be presumed of the API.

use std::fmt::Debug;

use keyferry_crds::ExternalSecret;
use kube::Resource;
use kube::api::{Api, Preconditions};
use kube::core::{DynamicObject, ObjectMeta};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ownership::{self, Desired};
use crate::client::{LiveObject, LivePatch, LiveSecret};
use keyferry_provider_core::SecretBytes;
use keyferry_sync::content::Content;
use keyferry_sync::data::Data;
use keyferry_sync::dependency::Version;
use keyferry_sync::outcome::{Failure, Headline};

/// One kind of target of one ExternalSecret.
pub trait Shape: Send + Sync {
    /// Such an object, which zeroes itself.
    type Live: Live;

    /// What failures are called.
    const HEADLINES: Headlines;

    /// What a rehearsal of a write teaches, where the API server fills in more than we know of.
    const REHEARSED: Option<Rehearsed<Self::Live>>;

    /// The field manager under which it is written.
    fn manager(es: &ExternalSecret) -> String {
        ownership::manager(es)
    }

    /// Kind and name of the target, for messages.
    fn name(&self) -> String;

    /// Where such objects are read and written.
    fn api(&self) -> impl Future<Output = Result<Api<<Self::Live as Live>::Object>, Failure>> + Send;

    /// Told when the API server does not know what was to be written, or where.
    fn was_not_found(&self);

    /// Told that data which change now change between two syncs of ours.
    fn was_synced(&mut self) {}

    /// What the target should be, given how it is.
    fn desired(&self, content: &Content, existing: Option<&Self::Live>) -> Result<Desired<Self::Live>, Failure>;

    /// What gives the object that is at this version other data and changes nothing else; `None` where that is not enough.
    fn data_patch(&self, _content: &Content, _version: &Version) -> Option<DataPatch> {
        None
    }

    /// Whether it is as its writer left it.
    fn is_intact(object: &Self::Live) -> bool;

    /// The error says why no ExternalSecret may touch it.
    fn check_touchable(object: &Self::Live) -> Result<(), Failure>;

    /// What must still be so of an object that was seen when it is deleted.
    fn preconditions(seen: &ObjectMeta) -> Preconditions;

    /// Where that is which the ExternalSecret wrote under other names than its target's.
    fn former(es: &ExternalSecret) -> Former;
}

/// Puts into the object to write what was learnt from what the API server would make of it, and from what is there;
/// answers whether the write still changes anything.
pub type Rehearsed<L> = fn(object: &mut L, filled: L, exists: Option<&L>) -> bool;

/// Where to look for what was written under other names. More may be there: only what the ExternalSecret controls is its.
pub enum Former {
    /// All with these labels.
    Labelled(String),
    /// The one of this name.
    Named(String),
}

/// Other data for an object that stays as it is.
pub struct DataPatch {
    /// What changes.
    pub changes: LivePatch,
    /// The hash of the data then.
    pub hash: String,
}

/// The headlines of failures.
pub struct Headlines {
    /// Of reading the target.
    pub read: Headline,
    /// Of removing it.
    pub remove: Removal,
    /// Of removing what was written under other names.
    pub remove_renamed: Removal,
}

/// The headlines of failures to remove something.
pub struct Removal {
    /// Of finding it.
    pub find: Headline,
    /// Of deleting it.
    pub delete: Headline,
}

/// An object as the API server gave it, which zeroes itself when it goes.
pub trait Live: Send + Sync {
    /// What the API server gives.
    type Object: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static;

    /// Takes charge of an object.
    fn new(object: Self::Object) -> Self;

    /// The object.
    fn get(&self) -> &Self::Object;

    /// What a Secret holds; nothing of other kinds.
    fn data(&self) -> Data;

    /// Its metadata.
    fn metadata(&self) -> &ObjectMeta {
        self.get().meta()
    }
}

impl Live for LiveSecret {
    type Object = k8s_openapi::api::core::v1::Secret;

    fn data(&self) -> Data {
        self.data().map(|(key, value)| (key.to_owned(), SecretBytes::new(value.to_vec()))).collect()
    }

    fn new(object: Self::Object) -> Self {
        Self::new(object)
    }

    fn get(&self) -> &Self::Object {
        self.get()
    }
}

impl Live for LiveObject {
    type Object = DynamicObject;

    fn data(&self) -> Data {
        Data::new()
    }

    fn new(object: Self::Object) -> Self {
        Self::new(object)
    }

    fn get(&self) -> &Self::Object {
        self.get()
    }
}
