//! The metadata of targets: whose they are (owner references), what we put there (managed fields), what others did. Pure, and the same for every kind.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use keyferry_crds::{CreationPolicy, ExternalSecret, names};
use kube::Resource as _;
use serde_json::Value;

use keyferry_sync::content::Content;
use keyferry_sync::data::StringMap;
use keyferry_sync::hash;
use keyferry_sync::outcome::{Failure, Headline, Retry};
use keyferry_sync::settings::Adopt;
use keyferry_sync::told::Told;

/// What to do with the target.
#[derive(Debug)]
pub enum Desired<T> {
    /// Create it.
    Create(T),
    /// TargetChange it to this.
    Update {
        /// The object to write, with the resourceVersion that was seen.
        object: T,
        /// The keys of an object that was not ours until now.
        adopted: Option<Vec<String>>,
    },
    /// It is as it should be.
    Keep,
    /// creationPolicy Merge, and there is nothing to merge into.
    Missing,
}

/// Whether what others put into the target stays; `None` where it should be merged into what is not there.
pub fn merges(es: &ExternalSecret, exists: bool) -> Option<bool> {
    match es.spec.target.creation_policy {
        CreationPolicy::Merge => exists.then_some(true),
        CreationPolicy::CreateOrMerge => Some(true),
        CreationPolicy::Owner | CreationPolicy::Orphan | CreationPolicy::None | CreationPolicy::Unknown(_) => {
            Some(false)
        }
    }
}

/// Whether the ExternalSecret's own UID is the controller of this object.
pub fn is_controlled_by(es: &ExternalSecret, metadata: &ObjectMeta) -> bool {
    controller(metadata).is_some_and(|owner| Some(&owner.uid) == es.metadata.uid.as_ref())
}

/// Whether the label says that an ExternalSecret manages it.
pub fn is_managed(metadata: &ObjectMeta) -> bool {
    let label = metadata.labels.as_ref().and_then(|labels| labels.get(names::LABEL_MANAGED));
    label.is_some_and(|label| label == names::MANAGED)
}

/// Whether label and annotation say that the object is as its writer left it, now that its contents have this hash.
pub fn is_intact(metadata: &ObjectMeta, hash: &str) -> bool {
    is_managed(metadata) && data_hash_of(metadata).is_some_and(|noted| noted == hash)
}

/// The hash that an object's writer noted.
pub fn data_hash_of(metadata: &ObjectMeta) -> Option<&String> {
    metadata.annotations.as_ref()?.get(names::ANNOTATION_DATA_HASH)
}

/// When the ExternalSecret, as this field manager, last wrote this object, to the second; `None` where it never did.
pub fn written_at(es: &ExternalSecret, manager: &str, metadata: &ObjectMeta) -> Option<Timestamp> {
    // One of the same name that is gone wrote under the same manager.
    let born = es.metadata.creation_timestamp.as_ref().map(|born| born.0)?;
    let entries = metadata.managed_fields.iter().flatten();
    let written =
        entries.filter(|entry| entry.manager.as_deref() == Some(manager)).filter_map(|entry| entry.time.as_ref());
    written.map(|time| time.0).max().filter(|written| *written >= born)
}

/// Whether taking this object over needs nobody's leave: the ExternalSecret controls it, it was `ours` by who wrote it, or
/// whoever has it says so; otherwise what `adopt` says of one with these keys. `name` is its kind and name, for messages.
/// Answers the keys of an object that was not ours until now.
///
/// Neither the managed label nor the hash is leave: creationPolicy None and Merge leave them on anybody's.
pub fn adoption(
    es: &ExternalSecret,
    metadata: &ObjectMeta,
    name: &str,
    keys: Vec<String>,
    ours: bool,
    adopt: Adopt,
) -> Result<Option<Vec<String>>, Failure> {
    if ours || is_controlled_by(es, metadata) || is_given_to(es, metadata) {
        return Ok(None);
    }
    let refuse = |cause: String| Err(Failure::new(Headline::Ownership, Told::without_values(cause), Retry::Late));
    match adopt {
        Adopt::Any => Ok(Some(keys)),
        Adopt::Empty if keys.is_empty() => Ok(Some(keys)),
        Adopt::Empty => refuse(format!(
            "{name} exists, is not this ExternalSecret's and holds {}; --adopt=empty forbids replacing that: delete it, \
             annotate it {}={}, or use creationPolicy Merge",
            keys.join(", "),
            names::ANNOTATION_ADOPTED_BY,
            es.metadata.name.as_deref().unwrap_or_default()
        )),
        Adopt::Never => refuse(format!(
            "{name} exists and is not this ExternalSecret's; --adopt=never forbids taking it over: delete it, annotate it \
             {}={}, or use creationPolicy Merge",
            names::ANNOTATION_ADOPTED_BY,
            es.metadata.name.as_deref().unwrap_or_default()
        )),
    }
}

/// Whether somebody who may write the object says by an annotation that the ExternalSecret may have it.
fn is_given_to(es: &ExternalSecret, metadata: &ObjectMeta) -> bool {
    let given = metadata.annotations.as_ref().and_then(|all| all.get(names::ANNOTATION_ADOPTED_BY));
    given.is_some() && given == es.metadata.name.as_ref()
}

/// Labels and annotations that we put there earlier and no longer want go; others stay. Finalizers are only added.
pub fn put_metadata(metadata: &mut ObjectMeta, content: &Content, owned: &OwnedFields) {
    let put = |present: &mut Option<StringMap>, owned: &BTreeSet<String>, wanted: &StringMap| {
        let map = present.get_or_insert_default();
        map.retain(|key, _| !owned.contains(key));
        map.extend(wanted.iter().map(|(key, value)| (key.clone(), value.clone())));
    };
    put(&mut metadata.labels, &owned.labels, &content.labels);
    put(&mut metadata.annotations, &owned.annotations, &content.annotations);
    if metadata.deletion_timestamp.is_none() && !content.finalizers.is_empty() {
        let finalizers = metadata.finalizers.get_or_insert_default();
        for finalizer in &content.finalizers {
            if !finalizers.contains(finalizer) {
                finalizers.push(finalizer.clone());
            }
        }
    }
}

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Makes the ExternalSecret the owner, or makes it own no more, as creationPolicy has it. `target` is kind and name.
pub fn put_ownership(es: &ExternalSecret, metadata: &mut ObjectMeta, target: &str) -> Result<(), Failure> {
    let group_of = |owner: &OwnerReference| owner.api_version.split_once('/').map(|(group, _)| group.to_owned());
    let name = es.metadata.name.as_deref().unwrap_or_default();
    if let Some(owner) = controller(metadata) {
        let external_secret = owner.kind == "ExternalSecret" && group_of(owner).as_deref() == Some(names::GROUP);
        if external_secret && owner.name != name {
            let cause = format!("{target} belongs to ExternalSecret {:?}: use another target name", owner.name);
            return Err(Failure::new(Headline::Owned, Told::without_values(cause), Retry::Late));
        }
        if !external_secret && es.spec.target.creation_policy == CreationPolicy::Owner {
            let cause = format!(
                "{target} is controlled by {} {:?}: use another target name, or creationPolicy Merge",
                owner.kind, owner.name
            );
            return Err(Failure::new(Headline::Ownership, Told::without_values(cause), Retry::Late));
        }
    }
    // Ours by name: an ExternalSecret of the same name that was deleted and came back has another UID.
    let ours = |owner: &OwnerReference| {
        owner.kind == "ExternalSecret" && group_of(owner).as_deref() == Some(names::GROUP) && owner.name == name
    };
    let mut owners = metadata.owner_references.take().unwrap_or_default();
    match es.spec.target.creation_policy {
        CreationPolicy::Owner => {
            let reference = es.controller_owner_ref(&()).map(|mut reference| {
                reference.block_owner_deletion = Some(true);
                reference
            });
            match (owners.iter_mut().find(|owner| ours(owner)), reference) {
                (Some(present), Some(reference)) => *present = reference,
                (None, Some(reference)) => owners.push(reference),
                (_, None) => {}
            }
        }
        _ => owners.retain(|owner| !(ours(owner) && owner.controller == Some(true))),
    }
    metadata.owner_references = (!owners.is_empty()).then_some(owners);
    Ok(())
}

/// The label and the annotation by which targets are known.
pub fn put_marks(metadata: &mut ObjectMeta, hash: String) {
    metadata.labels.get_or_insert_default().insert(names::LABEL_MANAGED.to_owned(), names::MANAGED.to_owned());
    metadata.annotations.get_or_insert_default().insert(names::ANNOTATION_DATA_HASH.to_owned(), hash);
}

/// Notes by when what the object holds is to be replaced, where that has an end.
pub fn put_end(metadata: &mut ObjectMeta, refresh_by: Option<Timestamp>) {
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.remove(names::ANNOTATION_REFRESH_BY);
    annotations.extend(refresh_by.map(|end| (names::ANNOTATION_REFRESH_BY.to_owned(), end.to_string())));
}

/// By when what the object holds is to be replaced, where that is noted.
pub fn end_of(metadata: &ObjectMeta) -> Option<Timestamp> {
    metadata.annotations.as_ref()?.get(names::ANNOTATION_REFRESH_BY)?.parse().ok()
}

/// Whether nothing that we write of an object's metadata differs.
pub fn same_metadata(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    let empty = |map: &Option<StringMap>| map.as_ref().is_none_or(StringMap::is_empty);
    let same_map = |a: &Option<StringMap>, b: &Option<StringMap>| a == b || (empty(a) && empty(b));
    same_map(&a.labels, &b.labels)
        && same_map(&a.annotations, &b.annotations)
        && a.owner_references == b.owner_references
        && a.finalizers == b.finalizers
}

/// The field manager under which an ExternalSecret writes.
pub fn manager(es: &ExternalSecret) -> String {
    hash::field_manager(es.metadata.name.as_deref().unwrap_or_default())
}

/// What an ExternalSecret owns of an object by plain updates, read from the managed fields.
#[derive(Default)]
pub struct OwnedFields {
    /// Keys of `data`.
    pub data: BTreeSet<String>,
    /// Keys of `spec.data`.
    pub spec_data: BTreeSet<String>,
    /// The type of a Secret: whoever made it owns that, and nobody can write it later.
    pub type_: bool,
    /// `data` or `spec` as such: whoever put the first thing there owns that.
    pub whole: bool,
    labels: BTreeSet<String>,
    annotations: BTreeSet<String>,
}

impl OwnedFields {
    /// What this field manager owns.
    pub fn of(metadata: &ObjectMeta, manager: &str) -> Self {
        let mut owned = Self::default();
        let entries = metadata.managed_fields.iter().flatten();
        let ours = entries
            .filter(|entry| entry.manager.as_deref() == Some(manager) && entry.operation.as_deref() == Some("Update"));
        for fields in ours.filter_map(|entry| entry.fields_v1.as_ref()) {
            collect(&fields.0, &["f:data"], &mut owned.data);
            collect(&fields.0, &["f:spec", "f:data"], &mut owned.spec_data);
            collect(&fields.0, &["f:metadata", "f:labels"], &mut owned.labels);
            collect(&fields.0, &["f:metadata", "f:annotations"], &mut owned.annotations);
            owned.type_ |= fields.0.get("f:type").is_some();
            owned.whole |= ["/f:data/.", "/f:spec/."].iter().any(|path| fields.0.pointer(path).is_some());
        }
        owned
    }
}

fn collect(fields: &Value, path: &[&str], into: &mut BTreeSet<String>) {
    let at = path.iter().try_fold(fields, |at, part| at.get(part));
    let names = at.and_then(Value::as_object).into_iter().flat_map(|object| object.keys());
    into.extend(names.filter_map(|name| name.strip_prefix("f:")).map(str::to_owned));
}
