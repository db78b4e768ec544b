//! The output that writes Secrets.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret;
use keyferry_crds::{ExternalSecret, names};
use kube::api::{Api, ListParams, Patch, PatchParams};

use super::content::Content;
use super::desired::{self, desired};
use super::outcome::{Change, Failure, Retry, headline};
use super::output::{Applied, Observed, Output, as_manager, mark, only_this, version};
use super::ownership::{Desired, is_controlled_by, is_managed, written_at};
use crate::cli::Adopt;
use crate::hash;
use crate::kubernetes::{LiveSecret, Problem, Slots};

/// The Secret that one ExternalSecret writes.
pub struct SecretOutput<'a> {
    es: &'a ExternalSecret,
    api: Api<Secret>,
    adopt: Adopt,
    slots: &'a Slots,
    /// As it was last read.
    seen: Option<LiveSecret>,
}

impl<'a> SecretOutput<'a> {
    /// The output of `es`.
    pub fn new(client: &kube::Client, slots: &'a Slots, es: &'a ExternalSecret, adopt: Adopt) -> Self {
        let namespace = es.metadata.namespace.as_deref().unwrap_or_default();
        Self { es, api: Api::namespaced(client.clone(), namespace), adopt, slots, seen: None }
    }

    fn name(&self) -> &str {
        self.es.target_name()
    }

    fn failure(&self, headline: &'static str, problem: &Problem) -> Failure {
        let retry = if problem.is_temporary() { Retry::Soon } else { Retry::Late };
        Failure::new(headline, format!("Secret {:?}: {problem}", self.name()), retry)
    }

    async fn read(&self) -> Result<Option<LiveSecret>, Failure> {
        let found = self.slots.run(self.api.get_opt(self.name())).await;
        Ok(found.map_err(|problem| self.failure(headline::UPDATE, &problem))?.map(LiveSecret::new))
    }
}

#[async_trait]
impl Output for SecretOutput<'_> {
    async fn observe(&mut self) -> Result<Option<Observed>, Failure> {
        self.seen = self.read().await?;
        Ok(self.seen.as_ref().map(|secret| Observed {
            version: version(&secret.get().metadata),
            intact: desired::is_intact(secret),
            written_at: written_at(self.es, &secret.get().metadata),
        }))
    }

    async fn apply(&mut self, content: &Content, presumed_absent: bool) -> Result<Applied, Failure> {
        let manager = as_manager(self.es);
        let mut existing = match self.seen.take() {
            None if !presumed_absent => self.read().await?,
            seen => seen,
        };
        let mut tries = 0;
        loop {
            let (written, change, adopted) = match desired(self.es, content, existing.as_ref(), self.adopt)? {
                Desired::Missing => return Ok(Applied { change: Change::Nothing, version: None, adopted: None }),
                Desired::Keep => {
                    let version = existing.as_ref().and_then(|secret| version(&secret.get().metadata));
                    return Ok(Applied { change: Change::Nothing, version, adopted: None });
                }
                Desired::Create(secret) => {
                    (self.slots.run(self.api.create(&manager, secret.get())).await, Change::Created, None)
                }
                Desired::Update { object: secret, adopted } => {
                    let written = self.slots.run(self.api.replace(self.name(), &manager, secret.get())).await;
                    (written, Change::Updated, adopted)
                }
            };
            match written {
                Ok(secret) => {
                    let secret = LiveSecret::new(secret);
                    return Ok(Applied { change, version: version(&secret.get().metadata), adopted });
                }
                // Somebody else was there in between: read once, and decide again.
                Err(problem) if tries == 0 && (problem.is_conflict() || problem.is_not_found()) => {
                    tries += 1;
                    existing = self.read().await?;
                }
                Err(problem) => return Err(self.failure(headline::UPDATE, &problem)),
            }
        }
    }

    async fn remove(&mut self) -> Result<bool, Failure> {
        let failed = |problem: &Problem| self.failure(headline::DELETE, problem);
        let found = self.slots.run(self.api.get_opt(self.name())).await.map_err(|problem| failed(&problem))?;
        let Some(secret) = found.map(LiveSecret::new) else { return Ok(false) };
        desired::check_touchable(&secret)?;
        let metadata = &secret.get().metadata;
        if !is_controlled_by(self.es, metadata) {
            let cause = format!("Secret {:?} is not owned by this ExternalSecret: delete it yourself", self.name());
            return Err(Failure::new(headline::DELETE, cause, Retry::Late));
        }
        let gone = self.slots.run(self.api.delete(self.name(), &only_this(metadata))).await;
        match gone.map(|gone| gone.map_left(LiveSecret::new)) {
            Ok(_) => Ok(true),
            Err(problem) if problem.is_not_found() => Ok(false),
            Err(problem) => Err(failed(&problem)),
        }
    }

    async fn remove_renamed(&mut self) -> Result<Vec<String>, Failure> {
        let failed = |problem: &Problem| self.failure(headline::ORPHANS, problem);
        let metadata = &self.es.metadata;
        let created_by = hash::created_by(
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        );
        let selector = ListParams::default().labels(&format!("{}={created_by}", names::LABEL_CREATED_BY));
        let found = self.slots.run(self.api.list_metadata(&selector)).await.map_err(|problem| failed(&problem))?;
        let mut removed = Vec::new();
        // The label alone is easily copied: what another object controls is not ours.
        for other in found.items.into_iter().filter(|other| is_controlled_by(self.es, &other.metadata)) {
            let Some(name) = other.metadata.name.clone().filter(|name| name != self.name()) else { continue };
            let gone = self.slots.run(self.api.delete(&name, &only_this(&other.metadata))).await;
            match gone.map(|gone| gone.map_left(LiveSecret::new)) {
                Ok(_) => removed.push(name),
                Err(problem) if problem.is_not_found() => {}
                Err(problem) => return Err(failed(&problem)),
            }
        }
        Ok(removed)
    }

    async fn mark(&mut self) -> Result<(), Failure> {
        let Some(found) = self.read().await?.filter(|found| desired::check_touchable(found).is_ok()) else {
            return Ok(());
        };
        let metadata = &found.get().metadata;
        if is_managed(metadata) {
            return Ok(());
        }
        let (params, patch) = (PatchParams::default(), Patch::Merge(mark(metadata)));
        let marked = self.slots.run(self.api.patch_metadata(self.name(), &params, &patch)).await;
        marked.map(|_| ()).map_err(|problem| self.failure(headline::UPDATE, &problem))
    }
}
