//! The Secret as it should be, from the Secret as it is. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use keyferry_crds::{CreationPolicy, ExternalSecret, names};
use kube::Resource as _;
use serde_json::Value;

use super::content::Content;
use super::outcome::{Failure, Retry, headline};
use super::render::Data;
use crate::cli::Adopt;
use crate::hash::{self, StringMap};
use crate::kubernetes::LiveSecret;

/// The most that the API server stores in one Secret: keys and values together.
const MOST_BYTES: usize = 1024 * 1024;

/// What to do with the target.
#[derive(Debug)]
pub enum Desired {
    /// Create it.
    Create(LiveSecret),
    /// Change it to this.
    Update {
        /// The Secret to write, with the resourceVersion that was seen.
        secret: LiveSecret,
        /// The keys of a Secret that was not ours until now.
        adopted: Option<Vec<String>>,
    },
    /// It is as it should be.
    Keep,
    /// creationPolicy Merge, and there is nothing to merge into.
    Missing,
}

/// Types of Secrets that are credentials of the cluster itself, or the state of another tool.
const NEVER_TOUCHED: [(&str, &str); 3] = [
    ("kubernetes.io/service-account-token", "it holds a token of a ServiceAccount"),
    ("bootstrap.kubernetes.io/token", "it lets nodes join the cluster"),
    ("helm.sh/release.v1", "it holds a release of Helm"),
];

/// Decides what the target should be, given how it is.
///
/// `es` has creationPolicy Owner, Orphan, Merge or CreateOrMerge. The order of steps is External Secrets Operator's.
pub fn desired(
    es: &ExternalSecret,
    content: &Content,
    existing: Option<&LiveSecret>,
    adopt: Adopt,
) -> Result<Desired, Failure> {
    let policy = &es.spec.target.creation_policy;
    let merges = matches!(policy, CreationPolicy::Merge | CreationPolicy::CreateOrMerge);
    if existing.is_none() && *policy == CreationPolicy::Merge {
        return Ok(Desired::Missing);
    }
    if let Some(existing) = existing {
        check_touchable(existing)?;
    }
    let manager = hash::field_manager(es.metadata.name.as_deref().unwrap_or_default());
    let owned = existing.map(|existing| OwnedFields::of(existing.get(), &manager)).unwrap_or_default();
    let mut next = existing.cloned().unwrap_or_else(|| LiveSecret::new(empty(es)));
    let secret = next.get_mut();

    let frozen = existing.is_some_and(|existing| existing.get().immutable == Some(true));
    if es.spec.target.immutable {
        secret.immutable = Some(true);
    }
    if !(frozen && es.spec.target.immutable) {
        let kept: Vec<String> = match merges {
            true => secret
                .data
                .iter()
                .flatten()
                .map(|(key, _)| key.clone())
                .filter(|key| !owned.data.contains(key))
                .collect(),
            false => Vec::new(),
        };
        put_data(secret, &content.data, &kept);
        put_metadata(secret, content, &owned);
    }
    put_ownership(es, secret)?;
    put_marks(es, secret);

    let Some(existing) = existing else { return check_size(next).map(Desired::Create) };
    if same(existing.get(), next.get()) {
        return Ok(Desired::Keep);
    }
    let differs = existing.get().data != next.get().data || existing.get().type_ != next.get().type_;
    if frozen && differs {
        let cause = "somebody made it immutable: delete it, and it is created anew with the current data";
        return Err(Failure::new(headline::IMMUTABLE, cause, Retry::OnChange));
    }
    let adopted = match merges || is_ours(es, existing.get()) {
        true => None,
        false => Some(check_adoption(existing, adopt)?),
    };
    Ok(Desired::Update { secret: check_size(next)?, adopted })
}

/// Whether the Secret is one that no ExternalSecret may touch.
pub fn check_touchable(existing: &LiveSecret) -> Result<(), Failure> {
    let type_ = existing.get().type_.as_deref().unwrap_or_default();
    match NEVER_TOUCHED.iter().find(|(name, _)| *name == type_) {
        None => Ok(()),
        Some((_, why)) => {
            let cause = format!("{} is of type {type_:?}: {why}; use another target name", name_of(existing.get()));
            Err(Failure::new(headline::UPDATE, cause, Retry::OnChange))
        }
    }
}

/// Whether the ExternalSecret's own UID is the controller of this Secret.
pub fn is_controlled_by(es: &ExternalSecret, secret: &Secret) -> bool {
    controller(secret).is_some_and(|owner| Some(&owner.uid) == es.metadata.uid.as_ref())
}

/// When the ExternalSecret last wrote this Secret, to the second; `None` where it never did.
pub fn written_at(es: &ExternalSecret, secret: &LiveSecret) -> Option<Timestamp> {
    let manager = hash::field_manager(es.metadata.name.as_deref().unwrap_or_default());
    let metadata = &secret.get().metadata;
    // One of the same name that is gone wrote under the same manager.
    let born = es.metadata.creation_timestamp.as_ref().map(|born| born.0)?;
    let entries = metadata.managed_fields.iter().flatten();
    let written =
        entries.filter(|entry| entry.manager.as_ref() == Some(&manager)).filter_map(|entry| entry.time.as_ref());
    written.map(|time| time.0).max().filter(|written| *written >= born)
}

/// Whether stored data-hash and label say that the Secret is as its writer left it.
pub fn is_intact(secret: &LiveSecret) -> bool {
    let metadata = &secret.get().metadata;
    let label = metadata.labels.as_ref().and_then(|labels| labels.get(names::LABEL_MANAGED));
    let noted = metadata.annotations.as_ref().and_then(|annotations| annotations.get(names::ANNOTATION_DATA_HASH));
    label.is_some_and(|label| label == names::MANAGED)
        && noted.is_some_and(|noted| *noted == hash::data_hash(secret.data()))
}

fn is_ours(es: &ExternalSecret, secret: &Secret) -> bool {
    let labels = secret.metadata.labels.as_ref();
    is_controlled_by(es, secret)
        || labels.is_some_and(|labels| labels.get(names::LABEL_MANAGED).is_some_and(|label| label == names::MANAGED))
}

fn check_adoption(existing: &LiveSecret, adopt: Adopt) -> Result<Vec<String>, Failure> {
    let keys: Vec<String> = existing.keys().cloned().collect();
    let refuse = |cause: String| Err(Failure::new(headline::OWNERSHIP, cause, Retry::Late));
    let name = name_of(existing.get());
    match adopt {
        Adopt::Any => Ok(keys),
        Adopt::Empty if keys.is_empty() => Ok(keys),
        Adopt::Empty => refuse(format!(
            "{name} exists, is not managed by an ExternalSecret and holds {}; --adopt=empty forbids replacing that: delete it, \
             label it {}={}, or use creationPolicy Merge",
            keys.join(", "),
            names::LABEL_MANAGED,
            names::MANAGED
        )),
        Adopt::Never => refuse(format!(
            "{name} exists and is not managed by an ExternalSecret; --adopt=never forbids taking it over: delete it, label \
             it {}={}, or use creationPolicy Merge",
            names::LABEL_MANAGED,
            names::MANAGED
        )),
    }
}

fn empty(es: &ExternalSecret) -> Secret {
    let mut secret = Secret::default();
    secret.metadata.name = Some(es.target_name().to_owned());
    secret.metadata.namespace = es.metadata.namespace.clone();
    secret
}

fn name_of(secret: &Secret) -> String {
    format!("Secret {:?}", secret.metadata.name.as_deref().unwrap_or_default())
}

/// Puts `data` over those of the present keys that are kept.
fn put_data(secret: &mut Secret, data: &Data, kept: &[String]) {
    let mut present = LiveSecret::new(Secret { data: secret.data.take(), ..Default::default() });
    let mut all = std::collections::BTreeMap::new();
    for key in kept {
        all.extend(present.get_mut().data.as_mut().and_then(|data| data.remove_entry(key)));
    }
    for (key, value) in data {
        if let Some(mut replaced) = all.insert(key.clone(), ByteString(value.expose().to_vec())) {
            zeroize::Zeroize::zeroize(&mut replaced.0);
        }
    }
    secret.data = (!all.is_empty()).then_some(all);
}

/// Labels and annotations that we put there earlier and no longer want go; others stay. Finalizers are only added.
fn put_metadata(secret: &mut Secret, content: &Content, owned: &OwnedFields) {
    let put = |present: &mut Option<StringMap>, owned: &BTreeSet<String>, wanted: &StringMap| {
        let map = present.get_or_insert_default();
        map.retain(|key, _| !owned.contains(key));
        map.extend(wanted.iter().map(|(key, value)| (key.clone(), value.clone())));
    };
    put(&mut secret.metadata.labels, &owned.labels, &content.labels);
    put(&mut secret.metadata.annotations, &owned.annotations, &content.annotations);
    if let Some(type_) = &content.type_ {
        secret.type_ = Some(type_.clone());
    }
    if secret.metadata.deletion_timestamp.is_none() && !content.finalizers.is_empty() {
        let finalizers = secret.metadata.finalizers.get_or_insert_default();
        for finalizer in &content.finalizers {
            if !finalizers.contains(finalizer) {
                finalizers.push(finalizer.clone());
            }
        }
    }
}

fn controller(secret: &Secret) -> Option<&OwnerReference> {
    secret.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

fn put_ownership(es: &ExternalSecret, secret: &mut Secret) -> Result<(), Failure> {
    let group_of = |owner: &OwnerReference| owner.api_version.split_once('/').map(|(group, _)| group.to_owned());
    let name = es.metadata.name.as_deref().unwrap_or_default();
    if let Some(owner) = controller(secret) {
        let external_secret = owner.kind == "ExternalSecret" && group_of(owner).as_deref() == Some(names::GROUP);
        if external_secret && owner.name != name {
            let cause =
                format!("{} belongs to ExternalSecret {:?}: use another target name", name_of(secret), owner.name);
            return Err(Failure::new(headline::OWNED, cause, Retry::Late));
        }
        if !external_secret && es.spec.target.creation_policy == CreationPolicy::Owner {
            let cause = format!(
                "{} is controlled by {} {:?}: use another target name, or creationPolicy Merge",
                name_of(secret),
                owner.kind,
                owner.name
            );
            return Err(Failure::new(headline::OWNERSHIP, cause, Retry::Late));
        }
    }
    // Ours by name: an ExternalSecret of the same name that was deleted and came back has another UID.
    let ours = |owner: &OwnerReference| {
        owner.kind == "ExternalSecret" && group_of(owner).as_deref() == Some(names::GROUP) && owner.name == name
    };
    let mut owners = secret.metadata.owner_references.take().unwrap_or_default();
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
    secret.metadata.owner_references = (!owners.is_empty()).then_some(owners);
    Ok(())
}

/// The labels and the annotation by which targets are known.
fn put_marks(es: &ExternalSecret, secret: &mut Secret) {
    let hash = hash::data_hash(secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice())));
    let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
    let labels = secret.metadata.labels.get_or_insert_default();
    match es.spec.target.creation_policy {
        CreationPolicy::Owner => {
            let created_by = hash::created_by(namespace, es.metadata.name.as_deref().unwrap_or_default());
            labels.insert(names::LABEL_CREATED_BY.to_owned(), created_by);
        }
        _ => {
            labels.remove(names::LABEL_CREATED_BY);
        }
    }
    labels.insert(names::LABEL_MANAGED.to_owned(), names::MANAGED.to_owned());
    secret.metadata.annotations.get_or_insert_default().insert(names::ANNOTATION_DATA_HASH.to_owned(), hash);
}

fn check_size(secret: LiveSecret) -> Result<LiveSecret, Failure> {
    let bytes: usize = secret.data().map(|(key, value)| key.len() + value.len()).sum();
    match bytes <= MOST_BYTES {
        true => Ok(secret),
        false => {
            let cause = format!(
                "its data would be {bytes} bytes, and Kubernetes stores at most {MOST_BYTES}: split it over several targets"
            );
            Err(Failure::new(headline::UPDATE, cause, Retry::Late))
        }
    }
}

fn same(a: &Secret, b: &Secret) -> bool {
    let empty = |map: &Option<StringMap>| map.as_ref().is_none_or(StringMap::is_empty);
    let same_map = |a: &Option<StringMap>, b: &Option<StringMap>| a == b || (empty(a) && empty(b));
    let no_data = |s: &Secret| s.data.as_ref().is_none_or(|data| data.is_empty());
    (a.data == b.data || (no_data(a) && no_data(b)))
        && a.immutable == b.immutable
        && a.type_ == b.type_
        && same_map(&a.metadata.labels, &b.metadata.labels)
        && same_map(&a.metadata.annotations, &b.metadata.annotations)
        && a.metadata.owner_references == b.metadata.owner_references
        && a.metadata.finalizers == b.metadata.finalizers
}

/// What a field manager owns of a Secret by plain updates, read from its managed fields.
#[derive(Default)]
struct OwnedFields {
    data: BTreeSet<String>,
    labels: BTreeSet<String>,
    annotations: BTreeSet<String>,
}

impl OwnedFields {
    fn of(secret: &Secret, manager: &str) -> Self {
        let mut owned = Self::default();
        let entries = secret.metadata.managed_fields.iter().flatten();
        let ours = entries
            .filter(|entry| entry.manager.as_deref() == Some(manager) && entry.operation.as_deref() == Some("Update"));
        for fields in ours.filter_map(|entry| entry.fields_v1.as_ref()) {
            collect(&fields.0, &["f:data"], &mut owned.data);
            collect(&fields.0, &["f:metadata", "f:labels"], &mut owned.labels);
            collect(&fields.0, &["f:metadata", "f:annotations"], &mut owned.annotations);
        }
        owned
    }
}

fn collect(fields: &Value, path: &[&str], into: &mut BTreeSet<String>) {
    let at = path.iter().try_fold(fields, |at, part| at.get(part));
    let names = at.and_then(Value::as_object).into_iter().flat_map(|object| object.keys());
    into.extend(names.filter_map(|name| name.strip_prefix("f:")).map(str::to_owned));
}

#[cfg(test)]
#[path = "desired_tests.rs"]
mod tests;
