//! The Secret as it should be, from the Secret as it is. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use keyferry_crds::{CreationPolicy, ExternalSecret, names};
use serde_json::Value;

use super::ownership::{self, Desired, OwnedFields};
use super::rotation;
use super::shape::DataPatch;
use crate::client::{LivePatch, LiveSecret};
use keyferry_sync::content::Content;
use keyferry_sync::data::Data;
use keyferry_sync::dependency::Version;
use keyferry_sync::hash;
use keyferry_sync::outcome::{Failure, Headline, Retry};
use keyferry_sync::settings::Adopt;
use keyferry_sync::told::Told;

/// The most that the API server stores in one Secret: keys and values together.
const MOST_BYTES: usize = 1024 * 1024;

/// Types of Secrets that are credentials of the cluster itself, or the state of another tool.
const NEVER_TOUCHED: [(&str, &str); 3] = [
    ("kubernetes.io/service-account-token", "it holds a token of a ServiceAccount"),
    ("bootstrap.kubernetes.io/token", "it lets nodes join the cluster"),
    ("helm.sh/release.v1", "it holds a release of Helm"),
];

/// Where a target tells by when what it holds is to be replaced.
const REFRESH_BY: &[&str] = &["metadata", "annotations", names::ANNOTATION_REFRESH_BY];

/// Decides what the target should be, given how it is.
///
/// `es` has creationPolicy Owner, Orphan, Merge or CreateOrMerge. The order of steps is External Secrets Operator's.
pub fn desired(
    es: &ExternalSecret,
    content: &Content,
    existing: Option<&LiveSecret>,
    adopt: Adopt,
) -> Result<Desired<LiveSecret>, Failure> {
    desired_as(&ownership::manager(es), es, content, existing, adopt)
}

/// The same where it is written under another field manager.
pub fn desired_as(
    manager: &str,
    es: &ExternalSecret,
    content: &Content,
    existing: Option<&LiveSecret>,
    adopt: Adopt,
) -> Result<Desired<LiveSecret>, Failure> {
    let Some(merges) = ownership::merges(es, existing.is_some()) else { return Ok(Desired::Missing) };
    if let Some(existing) = existing {
        check_touchable(existing)?;
    }
    let owned = existing.map(|existing| OwnedFields::of(&existing.get().metadata, manager)).unwrap_or_default();
    let mut next = existing.cloned().unwrap_or_else(|| LiveSecret::new(empty(es)));
    let secret = next.get_mut();

    let frozen = existing.is_some_and(|existing| existing.get().immutable == Some(true));
    if es.spec.target.immutable {
        secret.immutable = Some(true);
    }
    // As in External Secrets Operator a Secret that is there is frozen as it is.
    if !(existing.is_some() && es.spec.target.immutable) {
        // Before it is copied and hashed: it may be much more.
        check_size(content.data.iter().map(|(key, value)| key.len() + value.len()).sum())?;
        let kept: Vec<String> = if merges {
            secret.data.iter().flatten().map(|(key, _)| key.clone()).filter(|key| !owned.data.contains(key)).collect()
        } else {
            Vec::new()
        };
        put_data(secret, &content.data, &kept);
        ownership::put_metadata(&mut secret.metadata, content, &owned);
        ownership::put_end(&mut secret.metadata, content.refresh_by);
        if let Some(type_) = &content.type_ {
            secret.type_ = Some(type_.clone());
        }
    }
    let name = name_of(secret);
    ownership::put_ownership(es, &mut secret.metadata, &name)?;
    put_marks(es, secret);
    if let Some(existing) = existing {
        rotation::keep(&existing.get().metadata, &mut secret.metadata);
    }

    let Some(existing) = existing else { return Ok(Desired::Create(next)) };
    if same(existing.get(), next.get()) {
        return Ok(Desired::Keep);
    }
    let differs = existing.get().data != next.get().data || existing.get().type_ != next.get().type_;
    if frozen && differs {
        let cause = "somebody made it immutable: delete it, and it is created anew with the current data";
        return Err(Failure::new(Headline::Immutable, cause, Retry::OnChange));
    }
    let adopted = if merges {
        None
    } else {
        let keys: Vec<String> = existing.keys().cloned().collect();
        let ours = is_written_by(&owned, existing);
        ownership::adoption(es, &existing.get().metadata, &name, keys, ours, adopt)?
    };
    check_size(next.data().map(|(key, value)| key.len() + value.len()).sum())?;
    Ok(Desired::Update { object: next, adopted })
}

/// What gives the Secret that we wrote, and that is still at `version`, the data of `content` and the hash of it. `None` where
/// others may keep keys in it, where it is left as it is, and where what is wrong is told by whoever reads it first.
pub fn data_patch(es: &ExternalSecret, content: &Content, version: &Version) -> Option<DataPatch> {
    let is_whole = matches!(es.spec.target.creation_policy, CreationPolicy::Owner | CreationPolicy::Orphan);
    let data = &content.data;
    let bytes = data.iter().map(|(key, value)| key.len() + value.len()).sum();
    if !is_whole || es.spec.target.immutable || data.is_empty() || check_size(bytes).is_err() {
        return None;
    }
    let hash = hash::data_hash(data.iter().map(|(key, value)| (key.as_str(), value.expose())));
    let encoded = data.iter().map(|(key, value)| (key.clone(), BASE64.encode(value.expose()).into())).collect();
    let changes: [(&[&str], Value); 4] = [
        // The API server takes what it is told of these for what must be so.
        (&["metadata", "uid"], (&*version.uid).into()),
        (&["metadata", "resourceVersion"], (&*version.revision).into()),
        (&["metadata", "annotations", names::ANNOTATION_DATA_HASH], hash.as_str().into()),
        (&["data"], Value::Object(encoded)),
    ];
    let end = content.refresh_by.map(|end| (REFRESH_BY, Value::from(end.to_string())));
    Some(DataPatch { changes: LivePatch::put(changes.into_iter().chain(end)), hash })
}

/// Whether a Secret is that of whoever owns these fields of it. What was made by us and edited since is ours; of what somebody
/// else made, all that it holds must be.
pub fn is_written_by(owned: &OwnedFields, secret: &LiveSecret) -> bool {
    let mut keys = secret.keys().peekable();
    owned.type_ || keys.peek().is_some() && keys.all(|key| owned.data.contains(key))
}

/// Whether the Secret is one that no ExternalSecret may touch.
pub fn check_touchable(existing: &LiveSecret) -> Result<(), Failure> {
    let type_ = existing.get().type_.as_deref().unwrap_or_default();
    match NEVER_TOUCHED.iter().find(|(name, _)| *name == type_) {
        None => Ok(()),
        Some((_, why)) => {
            let cause = format!("{} is of type {type_:?}: {why}; use another target name", name_of(existing.get()));
            Err(Failure::new(Headline::Update, Told::without_values(cause), Retry::OnChange))
        }
    }
}

/// Whether stored data-hash and label say that the Secret is as its writer left it.
pub fn is_intact(secret: &LiveSecret) -> bool {
    ownership::is_intact(&secret.get().metadata, &hash::data_hash(secret.data()))
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

/// The labels and the annotation by which targets are known.
fn put_marks(es: &ExternalSecret, secret: &mut Secret) {
    let hash = hash::data_hash(secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice())));
    ownership::put_marks(&mut secret.metadata, hash);
    let labels = secret.metadata.labels.get_or_insert_default();
    match es.spec.target.creation_policy {
        CreationPolicy::Owner => {
            let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
            let created_by = hash::created_by(namespace, es.metadata.name.as_deref().unwrap_or_default());
            labels.insert(names::LABEL_CREATED_BY.to_owned(), created_by);
        }
        _ => {
            labels.remove(names::LABEL_CREATED_BY);
        }
    }
}

fn check_size(bytes: usize) -> Result<(), Failure> {
    if bytes <= MOST_BYTES {
        Ok(())
    } else {
        let cause = format!(
            "its data would be {bytes} bytes, and Kubernetes stores at most {MOST_BYTES}: split it over several targets"
        );
        Err(Failure::new(Headline::Update, Told::without_values(cause), Retry::Late))
    }
}

fn same(a: &Secret, b: &Secret) -> bool {
    let no_data = |s: &Secret| s.data.as_ref().is_none_or(|data| data.is_empty());
    (a.data == b.data || (no_data(a) && no_data(b)))
        && a.immutable == b.immutable
        && a.type_ == b.type_
        && ownership::same_metadata(&a.metadata, &b.metadata)
}

#[cfg(test)]
#[path = "desired_tests.rs"]
mod tests;
