//! The writer of targets: reads, has it decided what to write, and writes on the ground of what it read (optimistic
//! concurrency: a conflict is read once more and decided anew).

use async_trait::async_trait;
use keyferry_crds::{ExternalSecret, names};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use serde_json::json;

use super::ownership::{Desired, data_hash_of, end_of, is_controlled_by, is_managed, same_metadata, written_at};
use super::rotation;
use super::shape::{Former, Live, Removal, Shape};
use crate::client::{ApiProblem, Turns};
use keyferry_sync::address;
use keyferry_sync::content::Content;
use keyferry_sync::data::Data;
use keyferry_sync::dependency::{Dependency, Version, version};
use keyferry_sync::outcome::{Failure, Headline, Retry, TargetChange};
use keyferry_sync::ports::{Applied, Observed, Output, Presumed};
use keyferry_sync::told::Told;

/// Writes the target of one ExternalSecret.
pub struct Writer<'a, S: Shape> {
    es: &'a ExternalSecret,
    turns: Turns,
    shape: S,
    /// As it was last read.
    seen: Option<S::Live>,
}

/// The API of the objects of a shape.
type ApiOf<S> = Api<<<S as Shape>::Live as Live>::Object>;

impl<'a, S: Shape> Writer<'a, S> {
    /// The writer of the target of `es`, which is of this shape.
    pub fn new(es: &'a ExternalSecret, turns: &Turns, shape: S) -> Self {
        Self { es, turns: turns.clone(), shape, seen: None }
    }

    fn failure(&self, headline: Headline, problem: &ApiProblem) -> Failure {
        if problem.is_not_found() {
            self.shape.was_not_found();
        }
        let retry = if problem.is_temporary() { Retry::Soon } else { Retry::Late };
        Failure::new(headline, Told::without_values(format!("{}: {problem}", self.shape.name())), retry)
    }

    fn version(&self, metadata: &ObjectMeta) -> Option<Version> {
        version(&Dependency::target_of(self.es).kind, metadata)
    }

    async fn read(&self, api: &ApiOf<S>, name: &str, headline: Headline) -> Result<Option<S::Live>, Failure> {
        // No object has a name that is none.
        let Ok(name) = address::name(name) else { return Ok(None) };
        let found = self.turns.read(async || api.get_opt(name).await).await;
        Ok(found.map_err(|problem| self.failure(headline, &problem))?.map(S::Live::new))
    }

    async fn read_target(&self, api: &ApiOf<S>) -> Result<Option<S::Live>, Failure> {
        self.read(api, self.es.target_name(), S::HEADLINES.read).await
    }

    /// Creates `object`, or writes it over what `exists`; `None` where that would change nothing.
    async fn write(
        &self,
        api: &ApiOf<S>,
        mut object: S::Live,
        exists: Option<&S::Live>,
    ) -> Result<Option<S::Live>, ApiProblem> {
        // By its own field manager the ExternalSecret knows its fields again.
        let params = PostParams { field_manager: Some(S::manager(self.es)), ..PostParams::default() };
        if let Some(rehearsed) = S::REHEARSED {
            let rehearsal = PostParams { dry_run: true, ..params.clone() };
            match self.send(api, &rehearsal, &object, exists).await {
                Ok(filled) => {
                    if !rehearsed(&mut object, filled, exists) {
                        return Ok(None);
                    }
                }
                Err(problem) if problem.is_conflict() || problem.is_not_found() || problem.is_temporary() => {
                    return Err(problem);
                }
                // Not every webhook takes part in rehearsals; what is really wrong is told by the write.
                Err(_) => {}
            }
        }
        self.send(api, &params, &object, exists).await.map(Some)
    }

    /// Writes the data alone, without reading: `None` where that is not enough, or the target is not at `version` any more.
    async fn write_data(
        &self,
        api: &ApiOf<S>,
        content: &Content,
        version: &Version,
    ) -> Result<Option<Applied>, Failure> {
        let Some(patch) = self.shape.data_patch(content, version) else { return Ok(None) };
        let params = PatchParams { field_manager: Some(S::manager(self.es)), ..PatchParams::default() };
        // The answer is of metadata alone: what was written need not come back.
        let written = self
            .turns
            .run(async || api.patch_metadata(self.es.target_name(), &params, patch.changes.get()).await)
            .await;
        match written {
            Ok(object) => {
                let now = self.version(&object.metadata);
                let is_same = now.as_ref() == Some(version);
                let change = if is_same { TargetChange::Nothing } else { TargetChange::Updated };
                let is_alike = is_managed(&object.metadata) && data_hash_of(&object.metadata) == Some(&patch.hash);
                Ok(Some(Applied { change, version: now, adopted: None, is_alike, rotated: None }))
            }
            // Somebody else was there in between, made it immutable, or does not let us write like this.
            Err(problem) if problem.is_conflict() || !problem.is_temporary() => Ok(None),
            Err(problem) => Err(self.failure(Headline::Update, &problem)),
        }
    }

    async fn send(
        &self,
        api: &ApiOf<S>,
        params: &PostParams,
        object: &S::Live,
        exists: Option<&S::Live>,
    ) -> Result<S::Live, ApiProblem> {
        let written = match exists {
            None => self.turns.run(async || api.create(params, object.get()).await).await,
            Some(_) => self.turns.run(async || api.replace(self.es.target_name(), params, object.get()).await).await,
        };
        written.map(S::Live::new)
    }

    /// Deletes the object that was seen, and no other. Answers whether it was still there.
    async fn delete(&self, api: &ApiOf<S>, seen: &ObjectMeta, headline: Headline) -> Result<bool, Failure> {
        let name = seen.name.as_deref().unwrap_or_default();
        let only_this = DeleteParams { preconditions: Some(S::preconditions(seen)), ..DeleteParams::default() };
        match self.turns.run(async || api.delete(name, &only_this).await).await.map(|gone| gone.map_left(S::Live::new))
        {
            Ok(_) => Ok(true),
            Err(problem) if problem.is_not_found() => Ok(false),
            Err(problem) => Err(self.failure(headline, &problem)),
        }
    }

    /// What may have been written under other names; more than is ours.
    async fn find_former(&self, api: &ApiOf<S>, headline: Headline) -> Result<Vec<ObjectMeta>, Failure> {
        match S::former(self.es) {
            Former::Labelled(labels) => {
                let found =
                    self.turns.run(async || api.list_metadata(&ListParams::default().labels(&labels)).await).await;
                let found = found.map_err(|problem| self.failure(headline, &problem))?;
                Ok(found.items.into_iter().map(|object| object.metadata).collect())
            }
            Former::Named(name) => {
                let found = self.read(api, &name, headline).await?;
                Ok(found.map(|object| object.metadata().clone()).into_iter().collect())
            }
        }
    }
}

#[async_trait]
impl<S: Shape> Output for Writer<'_, S> {
    async fn observe(&mut self) -> Result<Option<Observed>, Failure> {
        self.seen = self.read_target(&self.shape.api().await?).await?;
        Ok(self.seen.as_ref().map(|object| Observed {
            version: self.version(object.metadata()),
            intact: S::is_intact(object),
            written_at: written_at(self.es, &S::manager(self.es), object.metadata()),
            refresh_by: end_of(object.metadata()),
        }))
    }

    fn was_synced(&mut self) {
        self.shape.was_synced();
    }

    async fn apply(&mut self, content: &Content, presumed: Presumed<'_>) -> Result<Applied, Failure> {
        let api = self.shape.api().await?;
        let mut existing = match (self.seen.take(), presumed) {
            (None, Presumed::Nothing) => self.read_target(&api).await?,
            (None, Presumed::Alike(version)) => match self.write_data(&api, content, version).await? {
                Some(applied) => return Ok(applied),
                None => self.read_target(&api).await?,
            },
            (seen, _) => seen,
        };
        let nothing = |version, is_alike| {
            let change = TargetChange::Nothing;
            Applied { change, version, adopted: None, is_alike, rotated: None }
        };
        let version_of = |object: &S::Live| self.version(object.metadata());
        let mut tries = 0;
        loop {
            let (object, change, adopted) = match self.shape.desired(content, existing.as_ref())? {
                Desired::Missing => return Ok(nothing(None, false)),
                Desired::Keep => {
                    // What was found so may be another's: to write over it needs leave.
                    let is_ours = existing.as_ref().is_some_and(|found| is_controlled_by(self.es, found.metadata()));
                    // Where the answer to the write was lost, that it was done is told now.
                    let rotated = existing.as_ref().and_then(|found| rotation::at(found.metadata()));
                    return Ok(Applied { rotated, ..nothing(existing.as_ref().and_then(version_of), is_ours) });
                }
                Desired::Create(object) => (object, TargetChange::Created, None),
                Desired::Update { object, adopted } => (object, TargetChange::Updated, adopted),
            };
            let sent = object.metadata().clone();
            match self.write(&api, object, existing.as_ref()).await {
                Ok(Some(object)) => {
                    // Admission may have made something else of it, which the next write is to mend.
                    let is_alike = same_metadata(&sent, object.metadata());
                    let rotated = rotation::at(&sent);
                    return Ok(Applied { change, version: version_of(&object), adopted, is_alike, rotated });
                }
                Ok(None) => return Ok(nothing(existing.as_ref().and_then(version_of), false)),
                // Somebody else was there in between: read once, and decide again.
                Err(problem) if tries == 0 && (problem.is_conflict() || problem.is_not_found()) => {
                    tries += 1;
                    existing = self.read_target(&api).await?;
                }
                Err(problem) => return Err(self.failure(Headline::Update, &problem)),
            }
        }
    }

    async fn foresee(&mut self, content: &Content) -> Result<Option<Data>, Failure> {
        if self.seen.is_none() {
            self.seen = self.read_target(&self.shape.api().await?).await?;
        }
        Ok(match self.shape.desired(content, self.seen.as_ref())? {
            Desired::Create(object) | Desired::Update { object, .. } => Some(object.data()),
            Desired::Keep | Desired::Missing => None,
        })
    }

    async fn remove(&mut self) -> Result<bool, Failure> {
        let Removal { find, delete } = S::HEADLINES.remove;
        let api = self.shape.api().await?;
        let Some(object) = self.read(&api, self.es.target_name(), find).await? else { return Ok(false) };
        S::check_touchable(&object).map_err(|failure| Failure { theirs: true, ..failure })?;
        if !is_controlled_by(self.es, object.metadata()) {
            let cause = format!("{} is not owned by this ExternalSecret: delete it yourself", self.shape.name());
            let refused = Failure::new(delete, Told::without_values(cause), Retry::Late);
            return Err(Failure { theirs: true, ..refused });
        }
        self.delete(&api, object.metadata(), delete).await
    }

    async fn remove_renamed(&mut self) -> Result<Vec<String>, Failure> {
        let Removal { find, delete } = S::HEADLINES.remove_renamed;
        let api = self.shape.api().await?;
        let mut removed = Vec::new();
        for other in self.find_former(&api, find).await? {
            // A label or a name alone is easily copied: what another object controls is not ours.
            let Some(name) = other.name.clone().filter(|name| name != self.es.target_name()) else { continue };
            if is_controlled_by(self.es, &other) && self.delete(&api, &other, delete).await? {
                removed.push(name);
            }
        }
        Ok(removed)
    }

    async fn mark(&mut self) -> Result<(), Failure> {
        let api = self.shape.api().await?;
        let found = self.read_target(&api).await?.filter(|found| S::check_touchable(found).is_ok());
        let Some(found) = found.filter(|found| !is_managed(found.metadata())) else { return Ok(()) };
        // With the UID, so that an object which took the place of this one is left alone.
        let labels = json!({names::LABEL_MANAGED: names::MANAGED});
        let patch = Patch::Merge(json!({"metadata": {"uid": found.metadata().uid, "labels": labels}}));
        let marked = self
            .turns
            .run(async || api.patch_metadata(self.es.target_name(), &PatchParams::default(), &patch).await)
            .await;
        marked.map(|_| ()).map_err(|problem| self.failure(Headline::Update, &problem))
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
