//! SealedSecrets in place of ExternalSecrets: where one is read, where its Secret is written, and where it is told how that went.

use std::borrow::Cow;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use keyferry_crds::{CreationPolicy, ExternalSecret, ExternalSecretStatus, names};
use keyferry_sync::content::Content;
use keyferry_sync::hash;
use keyferry_sync::outcome::{Failure, Headline, Retry};
use keyferry_sync::ports::{Journal, Output, Outputs, Problem};
use keyferry_sync::record::Note;
use keyferry_sync::settings::Adopt;
use keyferry_sync::told::Told;
use kube::Resource;
use kube::api::{Api, Preconditions};
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::{LiveSecret, Turns};
use crate::events::Events;
use crate::status::{self, Size};
use crate::target::desired::{self, desired_as};
use crate::target::ownership::{Desired, OwnedFields};
use crate::target::rotation::{Clock, Rotations};
use crate::target::secret::SecretShape;
use crate::target::shape::{Former, Headlines, Rehearsed, Shape};
use crate::target::writer::Writer;

const GROUP: &str = "bitnami.com";
const KIND: &str = "SealedSecret";
const API_VERSION: &str = "bitnami.com/v1alpha1";

/// By these annotations of a Secret its owner lets a SealedSecret of its name have it, or write into it.
const MANAGED: &str = "sealedsecrets.bitnami.com/managed";
const PATCHED: &str = "sealedsecrets.bitnami.com/patch";

/// The condition of a SealedSecret.
const SYNCED: &str = "Synced";
/// Who tells its events.
pub const COMPONENT: &str = "sealed-secrets-controller";

/// A SealedSecret, whatever its spec is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SealedSecret {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Its spec.
    #[serde(default)]
    pub spec: Value,
}

impl Resource for SealedSecret {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1alpha1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "sealedsecrets".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What looks at SealedSecrets read and write, over the API server.
#[derive(Clone)]
pub struct SealedSecrets {
    /// The client.
    pub client: kube::Client,
    /// How many requests go out at once.
    pub turns: Turns,
    /// Where events go.
    pub events: Events,
    /// The clock, where it is noted in Secrets when their data change.
    pub rotations: Option<Clock>,
}

impl SealedSecrets {
    fn of(&self, es: &ExternalSecret) -> (Api<SealedSecret>, Turns) {
        let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
        (Api::namespaced(self.client.clone(), namespace), self.turns.of(namespace))
    }

    /// The SealedSecret that `es` stands for, as it is now; `None` where it is gone.
    pub async fn read(&self, es: &ExternalSecret) -> Result<Option<SealedSecret>, Problem> {
        let (api, turns) = self.of(es);
        let name = es.metadata.name.as_deref().unwrap_or_default();
        let found = turns.read(async || api.get_opt(name).await).await?;
        Ok(found.filter(|found| found.metadata.uid == es.metadata.uid))
    }
}

#[async_trait]
impl Journal for SealedSecrets {
    async fn status(&self, es: &ExternalSecret, status: &ExternalSecretStatus) -> Result<Option<String>, Problem> {
        let (api, turns) = self.of(es);
        let told = json!({
            "observedGeneration": es.metadata.generation.unwrap_or_default(),
            "conditions": conditions(status),
        });
        let patch = json!({"metadata": {"uid": es.metadata.uid}, "status": told});
        let name = es.metadata.name.as_deref().unwrap_or_default();
        let written = status::patch(&turns, &api, name, Size::of(es), &patch).await?;
        Ok(written.resource_version)
    }

    /// None is ever wanted: its Secret goes with it.
    async fn finalizers(&self, _: &ExternalSecret, _: &[String]) -> Result<(), Problem> {
        Ok(())
    }

    fn note(&self, es: &ExternalSecret, note: Note) {
        let stands_for = SealedSecret {
            metadata: ObjectMeta {
                name: es.metadata.name.clone(),
                namespace: es.metadata.namespace.clone(),
                uid: es.metadata.uid.clone(),
                ..ObjectMeta::default()
            },
            spec: Value::Null,
        };
        self.events.send(stands_for.object_ref(&()), COMPONENT, note);
    }
}

/// As Sealed Secrets' own controller tells it: whether it is synced, and why not.
fn conditions(status: &ExternalSecretStatus) -> Vec<Value> {
    let ready = status.conditions.iter().filter(|condition| condition.type_ == names::CONDITION_READY);
    let told = ready.map(|ready| {
        let mut told =
            json!({"type": SYNCED, "status": ready.status, "lastTransitionTime": ready.last_transition_time});
        told["lastUpdateTime"] = told["lastTransitionTime"].clone();
        if !ready.is_true() {
            told["reason"] = json!("Failed");
            told["message"] = json!(ready.message);
        }
        told
    });
    told.collect()
}

impl Outputs for SealedSecrets {
    fn of<'a>(&'a self, es: &'a ExternalSecret) -> Box<dyn Output + 'a> {
        let turns = self.turns.of(es.metadata.namespace.as_deref().unwrap_or_default());
        let rotations = self.rotations.map(Rotations::new);
        let shape = SecretShape { client: &self.client, es, adopt: Adopt::Never, rotations };
        Box::new(Writer::new(es, &turns, SealedShape(shape)))
    }
}

/// The Secret of a SealedSecret: that of an ExternalSecret, but for its owner, and for what of others may be written over.
struct SealedShape<'a>(SecretShape<'a>);

impl Shape for SealedShape<'_> {
    type Live = LiveSecret;

    const HEADLINES: Headlines = <SecretShape<'static> as Shape>::HEADLINES;
    const REHEARSED: Option<Rehearsed<LiveSecret>> = None;

    fn manager(es: &ExternalSecret) -> String {
        manager(es)
    }

    fn name(&self) -> String {
        self.0.name()
    }

    async fn api(&self) -> Result<Api<Secret>, Failure> {
        self.0.api().await
    }

    fn was_not_found(&self) {}

    fn was_synced(&mut self) {
        self.0.was_synced();
    }

    fn desired(&self, content: &Content, existing: Option<&LiveSecret>) -> Result<Desired<LiveSecret>, Failure> {
        let es = self.0.es;
        let translated = existing.map(|existing| translated(es, existing, (KIND, API_VERSION), external_secret()));
        let of_it = es;
        let (adopt, merges) = match existing.map(|existing| leave(es, existing)).transpose()? {
            None => (Adopt::Never, false),
            Some(leave) => leave,
        };
        let owners = existing.and_then(|existing| existing.get().metadata.owner_references.clone());
        let back = |object: LiveSecret| {
            let mut object = translated_back(of_it, object);
            if merges {
                // What is added to stays whose it is.
                object.get_mut().metadata.owner_references.clone_from(&owners);
            }
            object
        };
        let merged;
        let es = if merges {
            let mut other = es.clone();
            other.spec.target.creation_policy = CreationPolicy::Merge;
            merged = other;
            &merged
        } else {
            es
        };
        let wanted = desired_as(&manager(es), es, content, translated.as_ref(), adopt)?;
        Ok(match self.0.noted(&manager(es), translated.as_ref(), wanted) {
            Desired::Create(object) => Desired::Create(back(object)),
            Desired::Update { object, .. } => Desired::Update { object: back(object), adopted: None },
            Desired::Keep => Desired::Keep,
            Desired::Missing => Desired::Missing,
        })
    }

    fn is_intact(secret: &LiveSecret) -> bool {
        desired::is_intact(secret)
    }

    fn check_touchable(secret: &LiveSecret) -> Result<(), Failure> {
        desired::check_touchable(secret)
    }

    fn preconditions(seen: &ObjectMeta) -> Preconditions {
        SecretShape::preconditions(seen)
    }

    fn former(es: &ExternalSecret) -> Former {
        SecretShape::former(es)
    }
}

/// The field manager of a SealedSecret: not that of an ExternalSecret of its name, whose Secret would pass for ours.
fn manager(es: &ExternalSecret) -> String {
    hash::field_manager_of("sealedsecrets.bitnami.com/", es.metadata.name.as_deref().unwrap_or_default())
}

/// How the owner is named where ours are decided.
fn external_secret() -> (&'static str, &'static str) {
    ("ExternalSecret", "external-secrets.io/v1")
}

fn translated(es: &ExternalSecret, secret: &LiveSecret, from: (&str, &str), to: (&str, &str)) -> LiveSecret {
    let mut secret = secret.clone();
    let is_ours = |owner: &&mut OwnerReference| Some(&owner.uid) == es.metadata.uid.as_ref() && owner.kind == from.0;
    for owner in secret.get_mut().metadata.owner_references.iter_mut().flatten().filter(is_ours) {
        (owner.kind, owner.api_version) = (to.0.to_owned(), to.1.to_owned());
    }
    secret
}

fn translated_back(es: &ExternalSecret, secret: LiveSecret) -> LiveSecret {
    translated(es, &secret, external_secret(), (KIND, API_VERSION))
}

/// What of a Secret that is there may be done to it: who may take it over, and whether what others put there stays.
fn leave(es: &ExternalSecret, existing: &LiveSecret) -> Result<(Adopt, bool), Failure> {
    let metadata = &existing.get().metadata;
    let says =
        |name: &str| metadata.annotations.as_ref().and_then(|all| all.get(name)).is_some_and(|value| value == "true");
    if says(PATCHED) {
        return Ok((Adopt::Any, true));
    }
    let mut owners = metadata.owner_references.iter().flatten();
    let is_ours = owners.any(|owner| owner.kind == KIND && Some(&owner.uid) == es.metadata.uid.as_ref());
    let owns_none = es.spec.target.creation_policy == CreationPolicy::Orphan;
    // Neither a label nor a hash tells whose it is: who wrote it does.
    let is_written = || desired::is_written_by(&OwnedFields::of(metadata, &manager(es)), existing);
    if says(MANAGED) || is_ours || (owns_none && is_written()) {
        return Ok((Adopt::Any, false));
    }
    let name = es.target_name();
    let cause = format!(
        "Secret {name:?} exists and is not this SealedSecret's: delete it, or annotate it {MANAGED}=true to have it replaced, \
         or {PATCHED}=true to have it added to"
    );
    Err(Failure::new(Headline::Ownership, Told::without_values(cause), Retry::Late))
}

#[cfg(test)]
#[path = "sealed_secrets_tests.rs"]
mod tests;
