//! The output that writes objects of any kind: `spec.target.manifest`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use keyferry_crds::{ExternalSecret, Manifest};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::discovery::{Scope, pinned_kind};

use super::content::Content;
use super::manifest::{desired, is_intact, is_same, name_of};
use super::outcome::{Change, Failure, Retry, headline};
use super::output::{Applied, Observed, Output, as_manager, mark, only_this, version};
use super::ownership::{self, Desired, is_controlled_by, is_managed, written_at};
use crate::cli::Adopt;
use crate::hash;
use crate::kubernetes::{LiveObject, Problem, Slots};

/// The kinds of targets, as the API server names their resources. Clones share what they know.
#[derive(Clone, Default)]
pub struct Kinds(Arc<Mutex<HashMap<Manifest, ApiResource>>>);

impl Kinds {
    /// The resource of a kind, where it was asked for before.
    pub fn known(&self, manifest: &Manifest) -> Option<ApiResource> {
        self.lock().get(manifest).cloned()
    }

    /// Forgets a kind: it may have gone, or come back as something else.
    pub fn forget(&self, manifest: &Manifest) {
        self.lock().remove(manifest);
    }

    /// The resource of a kind; asks the API server where it is not known yet.
    async fn resolve(&self, client: &kube::Client, slots: &Slots, manifest: &Manifest) -> Result<ApiResource, Failure> {
        if let Some(known) = self.known(manifest) {
            return Ok(known);
        }
        let Manifest { api_version, kind } = manifest;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let named = GroupVersionKind::gvk(group, version, kind);
        let asked = slots.run(async {
            match pinned_kind(client, &named).await {
                Ok(found) => Ok(Some(found)),
                Err(kube::Error::Discovery(_)) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let refuse = |cause, retry| Failure::new(headline::MANIFEST_KIND, cause, retry);
        let unknown = || {
            let cause = format!(
                "the API server knows no {kind:?} of {api_version:?}: correct spec.target.manifest, or install its \
                 CustomResourceDefinition"
            );
            refuse(cause, Retry::Late)
        };
        match asked.await {
            Ok(Some((_, capabilities))) if capabilities.scope == Scope::Cluster => {
                let cause = format!("{kind} has no namespace, and an ExternalSecret writes into its own only");
                Err(refuse(cause, Retry::OnChange))
            }
            // Under another spelling of its version: what holds for Secrets would not hold for it.
            Ok(Some((resource, _))) if resource.group.is_empty() && resource.plural == "secrets" => {
                let cause = "a Secret is asked for by apiVersion \"v1\", or without spec.target.manifest".to_owned();
                Err(refuse(cause, Retry::OnChange))
            }
            Ok(Some((resource, _))) => {
                self.lock().insert(manifest.clone(), resource.clone());
                Ok(resource)
            }
            Ok(None) => Err(unknown()),
            Err(problem) if problem.is_not_found() => Err(unknown()),
            Err(problem) => Err(refuse(format!("can't ask what {kind} is: {problem}"), Retry::Soon)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Manifest, ApiResource>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The object that one ExternalSecret writes.
pub struct ObjectOutput<'a> {
    es: &'a ExternalSecret,
    manifest: &'a Manifest,
    client: &'a kube::Client,
    kinds: &'a Kinds,
    adopt: Adopt,
    slots: &'a Slots,
    /// As it was last read.
    seen: Option<LiveObject>,
}

impl<'a> ObjectOutput<'a> {
    /// The output of `es`, whose target is of kind `manifest`.
    pub fn new(
        client: &'a kube::Client,
        slots: &'a Slots,
        kinds: &'a Kinds,
        es: &'a ExternalSecret,
        manifest: &'a Manifest,
        adopt: Adopt,
    ) -> Self {
        Self { es, manifest, client, kinds, adopt, slots, seen: None }
    }

    async fn api(&self) -> Result<Api<DynamicObject>, Failure> {
        let resource = self.kinds.resolve(self.client, self.slots, self.manifest).await?;
        let namespace = self.es.metadata.namespace.as_deref().unwrap_or_default();
        Ok(Api::namespaced_with(self.client.clone(), namespace, &resource))
    }

    fn failure(&self, headline: &'static str, problem: &Problem) -> Failure {
        if problem.is_not_found() {
            self.kinds.forget(self.manifest);
        }
        let retry = if problem.is_temporary() { Retry::Soon } else { Retry::Late };
        Failure::new(headline, format!("{}: {problem}", name_of(self.es, self.manifest)), retry)
    }

    async fn read(&self, api: &Api<DynamicObject>) -> Result<Option<LiveObject>, Failure> {
        let found = self.slots.run(api.get_opt(self.es.target_name())).await;
        Ok(found.map_err(|problem| self.failure(headline::MANIFEST_GET, &problem))?.map(LiveObject::new))
    }

    /// Creates `object`, or writes it over what `exists`; `None` where that would change nothing.
    ///
    /// The API server fills in what was left out, and the hash must be of that: else every later change of the object,
    /// a new status say, would look like an edit. So it is asked first what it would make of it.
    async fn write(
        &self,
        api: &Api<DynamicObject>,
        mut object: LiveObject,
        exists: Option<&LiveObject>,
    ) -> Result<Option<LiveObject>, Problem> {
        let params = as_manager(self.es);
        let rehearsal = PostParams { dry_run: true, ..params.clone() };
        match self.send(api, &rehearsal, &object, exists).await {
            Ok(mut filled) => {
                let hash = hash::manifest_hash(&filled.get().data);
                ownership::put_marks(&mut object.get_mut().metadata, hash.clone());
                ownership::put_marks(&mut filled.get_mut().metadata, hash);
                if exists.is_some_and(|exists| is_same(exists, &filled)) {
                    return Ok(None);
                }
            }
            Err(problem) if problem.is_conflict() || problem.is_not_found() || problem.is_temporary() => {
                return Err(problem);
            }
            // Not every webhook takes part in rehearsals; what is really wrong is told by the write.
            Err(_) => {}
        }
        self.send(api, &params, &object, exists).await.map(Some)
    }

    async fn send(
        &self,
        api: &Api<DynamicObject>,
        params: &PostParams,
        object: &LiveObject,
        exists: Option<&LiveObject>,
    ) -> Result<LiveObject, Problem> {
        let written = match exists {
            None => self.slots.run(api.create(params, object.get())).await,
            Some(_) => self.slots.run(api.replace(self.es.target_name(), params, object.get())).await,
        };
        written.map(LiveObject::new)
    }

    async fn delete(&self, api: &Api<DynamicObject>, object: &LiveObject) -> Result<bool, Failure> {
        let metadata = &object.get().metadata;
        let name = metadata.name.as_deref().unwrap_or_default();
        // By its UID alone: a new status meanwhile is no reason to leave it.
        let mut this = only_this(metadata);
        if let Some(preconditions) = &mut this.preconditions {
            preconditions.resource_version = None;
        }
        match self.slots.run(api.delete(name, &this)).await.map(|gone| gone.map_left(LiveObject::new)) {
            Ok(_) => Ok(true),
            Err(problem) if problem.is_not_found() => Ok(false),
            Err(problem) => Err(self.failure(headline::MANIFEST_DELETE, &problem)),
        }
    }
}

#[async_trait]
impl Output for ObjectOutput<'_> {
    async fn observe(&mut self) -> Result<Option<Observed>, Failure> {
        self.seen = self.read(&self.api().await?).await?;
        Ok(self.seen.as_ref().map(|object| Observed {
            version: version(&object.get().metadata),
            intact: is_intact(object),
            written_at: written_at(self.es, &object.get().metadata),
        }))
    }

    async fn apply(&mut self, content: &Content, presumed_absent: bool) -> Result<Applied, Failure> {
        let api = self.api().await?;
        let mut existing = match self.seen.take() {
            None if !presumed_absent => self.read(&api).await?,
            seen => seen,
        };
        let nothing = |version| Applied { change: Change::Nothing, version, adopted: None };
        let version_of = |object: &LiveObject| version(&object.get().metadata);
        let mut tries = 0;
        loop {
            let (object, change, adopted) =
                match desired(self.es, self.manifest, content, existing.as_ref(), self.adopt)? {
                    Desired::Missing => return Ok(nothing(None)),
                    Desired::Keep => return Ok(nothing(existing.as_ref().and_then(version_of))),
                    Desired::Create(object) => (object, Change::Created, None),
                    Desired::Update { object, adopted } => (object, Change::Updated, adopted),
                };
            match self.write(&api, object, existing.as_ref()).await {
                Ok(Some(object)) => return Ok(Applied { change, version: version_of(&object), adopted }),
                Ok(None) => return Ok(nothing(existing.as_ref().and_then(version_of))),
                // Somebody else was there in between: read once, and decide again.
                Err(problem) if tries == 0 && (problem.is_conflict() || problem.is_not_found()) => {
                    tries += 1;
                    existing = self.read(&api).await?;
                }
                Err(problem) => return Err(self.failure(headline::UPDATE, &problem)),
            }
        }
    }

    async fn remove(&mut self) -> Result<bool, Failure> {
        let api = self.api().await?;
        let Some(object) = self.read(&api).await? else { return Ok(false) };
        if !is_controlled_by(self.es, &object.get().metadata) {
            let name = name_of(self.es, self.manifest);
            let cause = format!("{name} is not owned by this ExternalSecret: delete it yourself");
            return Err(Failure::new(headline::MANIFEST_DELETE, cause, Retry::Late));
        }
        self.delete(&api, &object).await
    }

    async fn remove_renamed(&mut self) -> Result<Vec<String>, Failure> {
        let bound = self.es.status.as_ref().map(|status| status.binding.name.as_str()).unwrap_or_default();
        let api = self.api().await?;
        let found = self.slots.run(api.get_opt(bound)).await;
        let found = found.map_err(|problem| self.failure(headline::MANIFEST_GET, &problem))?.map(LiveObject::new);
        match found.filter(|object| is_controlled_by(self.es, &object.get().metadata)) {
            Some(object) if self.delete(&api, &object).await? => Ok(vec![bound.to_owned()]),
            _ => Ok(Vec::new()),
        }
    }

    async fn mark(&mut self) -> Result<(), Failure> {
        let api = self.api().await?;
        let failed = |problem: Problem| self.failure(headline::UPDATE, &problem);
        let name = self.es.target_name();
        let found = self.slots.run(api.get_metadata_opt(name)).await.map_err(failed)?;
        let Some(found) = found.filter(|found| !is_managed(&found.metadata)) else { return Ok(()) };
        let (params, patch) = (PatchParams::default(), Patch::Merge(mark(&found.metadata)));
        self.slots.run(api.patch_metadata(name, &params, &patch)).await.map(|_| ()).map_err(failed)
    }
}
