//! The output that writes Secrets: observe, apply, remove.
//!
//! Never server-side applied: External Secrets Operator's managed fields are of plain updates, and whoever goes back to
//! it must find its own. Every write names the uid and resourceVersion that it was decided on.

use k8s_openapi::api::core::v1::Secret;
use keyferry_crds::{ExternalSecret, names};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use super::content::Content;
use super::desired::{self, Desired, desired, is_controlled_by};
use super::outcome::{Change, Failure, Retry, headline};
use crate::cli::Adopt;
use crate::hash;
use crate::kubernetes::{LiveSecret, Problem, Slots};

/// The Secret that one ExternalSecret writes.
pub struct Output<'a> {
    es: &'a ExternalSecret,
    api: Api<Secret>,
    adopt: Adopt,
    slots: &'a Slots,
}

/// A target as it was read or written: UID and resourceVersion.
pub type Version = (String, String);

/// What an [`Output::apply`] did.
#[derive(Debug)]
pub struct Applied {
    /// What was done.
    pub change: Change,
    /// The target now; `None` where there is none.
    pub version: Option<Version>,
    /// The keys of a Secret that became ours.
    pub adopted: Option<Vec<String>>,
}

impl<'a> Output<'a> {
    /// The output of `es`.
    pub fn new(client: &kube::Client, slots: &'a Slots, es: &'a ExternalSecret, adopt: Adopt) -> Self {
        let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
        Self { es, api: Api::namespaced(client.clone(), namespace), adopt, slots }
    }

    fn name(&self) -> &str {
        self.es.target_name()
    }

    fn failure(&self, headline: &'static str, problem: &Problem) -> Failure {
        let retry = if problem.is_temporary() { Retry::Soon } else { Retry::Late };
        Failure::new(headline, format!("Secret {:?}: {problem}", self.name()), retry)
    }

    /// Reads the target.
    pub async fn observe(&self) -> Result<Option<LiveSecret>, Failure> {
        let found = self.slots.run(self.api.get_opt(self.name())).await;
        Ok(found.map_err(|problem| self.failure(headline::UPDATE, &problem))?.map(LiveSecret::new))
    }

    /// Makes the target hold `content`. `existing` is how it was last read, `None` where it is taken to be absent: the
    /// API server will know better where that is wrong.
    pub async fn apply(&self, content: &Content, mut existing: Option<LiveSecret>) -> Result<Applied, Failure> {
        let manager = PostParams {
            field_manager: Some(hash::field_manager(self.es.metadata.name.as_deref().unwrap_or_default())),
            ..PostParams::default()
        };
        let mut tries = 0;
        loop {
            let (written, change, adopted) = match desired(self.es, content, existing.as_ref(), self.adopt)? {
                Desired::Missing => return Ok(Applied { change: Change::Nothing, version: None, adopted: None }),
                Desired::Keep => {
                    let version = existing.as_ref().and_then(version);
                    return Ok(Applied { change: Change::Nothing, version, adopted: None });
                }
                Desired::Create(secret) => {
                    (self.slots.run(self.api.create(&manager, secret.get())).await, Change::Created, None)
                }
                Desired::Update { secret, adopted } => {
                    let written = self.slots.run(self.api.replace(self.name(), &manager, secret.get())).await;
                    (written, Change::Updated, adopted)
                }
            };
            match written {
                Ok(secret) => {
                    let secret = LiveSecret::new(secret);
                    return Ok(Applied { change, version: version(&secret), adopted });
                }
                // Somebody else was there in between: read once, and decide again.
                Err(problem) if tries == 0 && (problem.is_conflict() || problem.is_not_found()) => {
                    tries += 1;
                    existing = self.observe().await?;
                }
                Err(problem) => return Err(self.failure(headline::UPDATE, &problem)),
            }
        }
    }

    /// Deletes the target, where the ExternalSecret controls it. Answers whether there was one to delete.
    pub async fn remove(&self) -> Result<bool, Failure> {
        let failed = |problem: &Problem| self.failure(headline::DELETE, problem);
        let found = self.slots.run(self.api.get_opt(self.name())).await.map_err(|problem| failed(&problem))?;
        let Some(secret) = found.map(LiveSecret::new) else { return Ok(false) };
        desired::check_touchable(&secret)?;
        if !is_controlled_by(self.es, secret.get()) {
            let cause = format!("Secret {:?} is not owned by this ExternalSecret: delete it yourself", self.name());
            return Err(Failure::new(headline::DELETE, cause, Retry::Late));
        }
        match self.delete(secret.get()).await {
            Ok(()) => Ok(true),
            Err(problem) if problem.is_not_found() => Ok(false),
            Err(problem) => Err(failed(&problem)),
        }
    }

    /// Deletes the Secrets that the ExternalSecret wrote under other names than its target's. Answers their names.
    pub async fn remove_renamed(&self) -> Result<Vec<String>, Failure> {
        let failed = |problem: &Problem| self.failure(headline::ORPHANS, problem);
        let metadata = &self.es.metadata;
        let created_by = hash::created_by(
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        );
        let selector = ListParams::default().labels(&format!("{}={created_by}", names::LABEL_CREATED_BY));
        let found = self.slots.run(self.api.list_metadata(&selector)).await.map_err(|problem| failed(&problem))?;
        let mut removed = Vec::new();
        for other in found.items.into_iter().filter(|other| other.metadata.name.as_deref() != Some(self.name())) {
            let other = Secret { metadata: other.metadata, ..Default::default() };
            // The label alone is easily copied: what another object controls is not ours.
            if !is_controlled_by(self.es, &other) {
                continue;
            }
            match self.delete(&other).await {
                Ok(()) => removed.extend(other.metadata.name),
                Err(problem) if problem.is_not_found() => {}
                Err(problem) => return Err(failed(&problem)),
            }
        }
        Ok(removed)
    }

    /// Puts the managed label on a target that is not written (creationPolicy None), as External Secrets Operator
    /// does, so that its edits are seen.
    pub async fn mark(&self) -> Result<(), Failure> {
        let failed = |problem: &Problem| self.failure(headline::UPDATE, problem);
        let found = self.slots.run(self.api.get_metadata_opt(self.name())).await.map_err(|problem| failed(&problem))?;
        let Some(found) = found else { return Ok(()) };
        if found
            .metadata
            .labels
            .iter()
            .flatten()
            .any(|(key, value)| key == names::LABEL_MANAGED && value == names::MANAGED)
        {
            return Ok(());
        }
        let patch = json!({"metadata": {"uid": found.metadata.uid, "labels": {names::LABEL_MANAGED: names::MANAGED}}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        self.slots
            .run(self.api.patch_metadata(self.name(), &params, &patch))
            .await
            .map(|_| ())
            .map_err(|problem| failed(&problem))
    }

    async fn delete(&self, secret: &Secret) -> Result<(), Problem> {
        let preconditions = Preconditions {
            uid: secret.metadata.uid.clone(),
            resource_version: secret.metadata.resource_version.clone(),
        };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        self.slots.run(self.api.delete(name, &params)).await.map(|_| ())
    }
}

/// The UID and resourceVersion of a Secret.
pub fn version(secret: &LiveSecret) -> Option<Version> {
    let metadata = &secret.get().metadata;
    Some((metadata.uid.clone()?, metadata.resource_version.clone()?))
}
