//! What stands in a namespace where a copy is or should be. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyferry_crds::{ExternalSecret, PushSecret, names};
use serde_json::Value;

use super::copier::{Copier, CopierId, CopierKind, comparable};
use super::print::print;
use crate::data::StringMap;
use crate::dependency::is_earlier;
use crate::states::Kept;

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
    /// Something that is nobody's copy, of which nothing else is known.
    pub fn of_nobody() -> Self {
        Self { uid: String::new(), version: String::new(), owner: None, print: 0, is_going: false }
    }

    /// An ExternalSecret.
    pub fn external_secret(es: &ExternalSecret) -> Self {
        Self::of(CopierKind::ClusterExternalSecret, &es.metadata, || serde_json::to_value(&es.spec).unwrap_or_default())
    }

    /// A PushSecret.
    pub fn push_secret(ps: &PushSecret) -> Self {
        Self::of(CopierKind::ClusterPushSecret, &ps.metadata, || serde_json::to_value(&ps.spec).unwrap_or_default())
    }

    /// An object of the kind that `kind` copies, with a spec that is not of its form.
    pub fn undecodable(kind: CopierKind, metadata: &ObjectMeta) -> Self {
        Self::object(kind, metadata, &Value::Null)
    }

    /// An object of the kind that `kind` copies, with this spec.
    pub fn object(kind: CopierKind, metadata: &ObjectMeta, spec: &Value) -> Self {
        Self::of(kind, metadata, || comparable(kind, spec))
    }

    fn of(kind: CopierKind, metadata: &ObjectMeta, spec: impl FnOnce() -> Value) -> Self {
        let owners = metadata.owner_references.iter().flatten();
        let controller = owners.into_iter().find(|owner| owner.controller == Some(true));
        let owner = controller.and_then(|owner| {
            let id = CopierId { kind: CopierKind::of_owner(owner)?, name: owner.name.clone() };
            Some(Owner { id, uid: owner.uid.clone() })
        });
        let none = StringMap::new();
        let labels = metadata.labels.as_ref();
        let mut annotations = metadata.annotations.clone().unwrap_or_default();
        // Which is no edit.
        if kept_note(kind, metadata).is_some() {
            annotations.remove(names::ANNOTATION_GENERATED);
        }
        let print = match &owner {
            Some(_) => print(labels.unwrap_or(&none), &annotations, &spec()),
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

/// What is noted on a copy, an object of the kind that `kind` copies, of the generated value that its stores hold: it stays
/// with it. Of any other form it is an edit like any.
pub fn kept_note(kind: CopierKind, metadata: &ObjectMeta) -> Option<&String> {
    let note = metadata.annotations.as_ref()?.get(names::ANNOTATION_GENERATED)?;
    match kind {
        CopierKind::ClusterPushSecret => Kept::parse(note).map(|_| note),
        CopierKind::ClusterExternalSecret => None,
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
