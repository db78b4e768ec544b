//! What stands in a namespace where a copy is or should be. Pure.

use std::hash::{BuildHasher as _, Hash as _, Hasher, RandomState};
use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyferry_crds::ExternalSecret;
use serde_json::Value;

use super::copier::{Copier, CopierId, CopierKind, comparable};
use crate::data::StringMap;
use crate::dependency::is_earlier;

/// An object of a kind that is copied, as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion.
    pub version: String,
    /// Whose copy it is; `None` where it is none.
    pub owner: Option<Owner>,
    /// What tells whether it is as it should be; means nothing where it is no copy.
    pub print: u64,
    /// Whether it is being deleted.
    pub is_going: bool,
}

/// The copier that an object names as its controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Which it is.
    pub id: CopierId,
    /// Its UID: one of the same name may have taken its place.
    pub uid: String,
}

impl Seen {
    /// An ExternalSecret.
    pub fn external_secret(es: &ExternalSecret) -> Self {
        Self::of(&es.metadata, || serde_json::to_value(&es.spec).unwrap_or_default())
    }

    /// An object of the kind that `kind` copies, with this spec.
    pub fn object(kind: CopierKind, metadata: &ObjectMeta, spec: &Value) -> Self {
        Self::of(metadata, || comparable(kind, spec))
    }

    fn of(metadata: &ObjectMeta, spec: impl FnOnce() -> Value) -> Self {
        let owners = metadata.owner_references.iter().flatten();
        let controller = owners.into_iter().find(|owner| owner.controller == Some(true));
        let owner = controller.and_then(|owner| {
            let id = CopierId { kind: CopierKind::of_owner(owner)?, name: owner.name.clone() };
            Some(Owner { id, uid: owner.uid.clone() })
        });
        let none = StringMap::new();
        let (labels, annotations) = (metadata.labels.as_ref(), metadata.annotations.as_ref());
        let print = match &owner {
            Some(_) => print(labels.unwrap_or(&none), annotations.unwrap_or(&none), &spec()),
            None => 0,
        };
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            version: metadata.resource_version.clone().unwrap_or_default(),
            owner,
            print,
            is_going: metadata.deletion_timestamp.is_some(),
        }
    }

    /// Whether it is a copy of this one, or of one of its name before it.
    pub fn is_copy_of(&self, copier: &Copier) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.id == copier.id)
    }

    /// Whether this one itself is its controller.
    pub fn is_controlled_by(&self, copier: &Copier) -> bool {
        self.is_copy_of(copier) && self.owner.as_ref().is_some_and(|owner| owner.uid == copier.uid())
    }

    /// Whether nothing that matters here is different.
    pub fn is_same_but_for_version(&self, other: &Self) -> bool {
        *self == Self { version: self.version.clone(), ..other.clone() }
    }

    /// Whether this is an earlier state of the same object.
    pub fn is_older(&self, other: &Self) -> bool {
        self.uid == other.uid && is_earlier(&self.version, &other.version)
    }
}

/// What is known of a place where a copy may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// This stands there.
    Taken(Seen),
    /// An object of this UID stood there, and has gone.
    Left(String),
}

/// A number that is the same for what is the same, within this process. Null is what is not there.
pub(super) fn print(labels: &StringMap, annotations: &StringMap, spec: &Value) -> u64 {
    // By a key that nobody knows: who could make two specs of one print could change a copy unseen.
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mut hasher = KEY.build_hasher();
    (labels, annotations).hash(&mut hasher);
    hash(spec, &mut hasher);
    hasher.finish()
}

fn hash(value: &Value, into: &mut impl Hasher) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(_, value)| !value.is_null()).collect();
            fields.sort_by_key(|(name, _)| *name);
            (0u8, fields.len()).hash(into);
            for (name, value) in fields {
                name.hash(into);
                hash(value, into);
            }
        }
        Value::Array(items) => {
            (1u8, items.len()).hash(into);
            items.iter().for_each(|item| hash(item, into));
        }
        Value::String(text) => (2u8, text).hash(into),
        Value::Number(number) => (3u8, number.to_string()).hash(into),
        Value::Bool(is) => (4u8, is).hash(into),
        Value::Null => 5u8.hash(into),
    }
}
