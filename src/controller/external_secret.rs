//! ExternalSecrets: what is known of each, what a look at one takes along, and what its end changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use keyferry_cluster::client::timely;
use keyferry_crds::{ExternalSecret, ExternalSecretStatus};
use keyferry_sync::data::StringMap;
use keyferry_sync::dependency::{Dependency, Name, Version, is_earlier, name_of};
use keyferry_sync::look::{Look, Looked, Memory, Remembered, Seen};
use keyferry_sync::outcome::{Outcome, SyncResult, TargetChange};
use keyferry_sync::record;
use keyferry_sync::request::{sources_of, stores_of};
use kube::Resource as _;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::core::{ApiResource, DeserializeGuard, DynamicObject};
use serde_json::json;

use super::index::{Index, Item, References, Role};
use super::queue::Urgency;
use super::relist::Update;
use super::sight::Sighting;
use super::store::Stores;
use super::{Awaited, Context, Controller, Ended};
use crate::clock;

/// Seconds between attempts to tell that an object does not decode.
const TELLING: [u64; 5] = [1, 4, 15, 60, 60];

/// How the last look at an ExternalSecret left it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Not looked at yet.
    #[default]
    New,
    /// Well, or nothing to do with us.
    Well,
    /// It waits for the check of a store.
    Held,
    /// It failed.
    Failed,
}

/// An ExternalSecret that is looked after.
pub struct Subject {
    /// As last seen.
    pub es: Arc<ExternalSecret>,
    /// What is remembered of it.
    pub memory: Memory,
    /// How it stands.
    pub standing: Standing,
    /// Whether a list has left its target out since the look under way began: how that leaves it is old news.
    overtaken: bool,
}

impl Subject {
    /// Takes the status that a look wrote, with its resourceVersion. The watch will bring the same, or has brought what
    /// came after it; a look before it does must not judge by the old status.
    fn put_status(&mut self, status: ExternalSecretStatus, version: Option<String>) {
        if is_earlier_version(&version, &self.es.metadata.resource_version) {
            return;
        }
        let mut newer = (*self.es).clone();
        newer.status = Some(status);
        newer.metadata.resource_version = version;
        self.es = Arc::new(newer);
    }
}

/// All ExternalSecrets; those of a namespace stand together.
#[derive(Default)]
pub struct ExternalSecrets(BTreeMap<Name, Subject>);

impl ExternalSecrets {
    /// Takes an ExternalSecret. Answers whether it changed in more than its status.
    pub fn put(&mut self, mut es: ExternalSecret, index: &Index) -> bool {
        let name = name_of(&es.metadata);
        let before = self.0.remove(&name);
        let (referred, refers) =
            (before.as_ref().map(|before| references(&before.es)).unwrap_or_default(), references(&es));
        index.refer(&Item::ExternalSecret(name.clone()), &referred, &refers);
        let mut subject = before.filter(|before| before.es.metadata.uid == es.metadata.uid);
        let changed = subject.as_ref().is_none_or(|before| !is_same_but_for_status(&before.es.metadata, &es.metadata));
        if let Some(before) = &mut subject {
            // News from before our own last word on its status.
            if is_earlier_version(&es.metadata.resource_version, &before.es.metadata.resource_version) {
                es.status.clone_from(&before.es.status);
                es.metadata.resource_version.clone_from(&before.es.metadata.resource_version);
            }
            if referred.target != refers.target {
                before.memory.target = None;
            }
        }
        let subject = match subject {
            Some(before) => Subject { es: Arc::new(es), ..before },
            None => {
                Subject { es: Arc::new(es), memory: Memory::default(), standing: Standing::default(), overtaken: false }
            }
        };
        self.0.insert(name, subject);
        changed
    }

    /// Forgets an ExternalSecret.
    pub fn remove(&mut self, name: &Name, index: &Index) {
        if let Some(subject) = self.0.remove(name) {
            index.refer(&Item::ExternalSecret(name.clone()), &references(&subject.es), &References::default());
        }
    }

    /// An ExternalSecret.
    pub fn get(&self, name: &Name) -> Option<&Subject> {
        self.0.get(name)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    /// The names of those in a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Name> {
        let from = self.0.range((namespace.to_owned(), String::new())..);
        from.map(|(name, _)| name).take_while(|name| name.0 == namespace).cloned().collect()
    }

    /// Remembers whether the target of one is as its writer left it.
    pub fn remember_target(&mut self, name: &Name, version: Version, intact: bool) {
        if let Some(subject) = self.0.get_mut(name) {
            subject.memory.target = Some(Remembered { version, intact, made_from: None });
        }
    }

    /// Whether it waits for something, or failed the last time.
    pub fn is_troubled(&self, name: &Name) -> bool {
        self.get(name).is_some_and(|subject| matches!(subject.standing, Standing::Held | Standing::Failed))
    }

    /// Whether what a watch tells of an object that it depends on is a reason to look at it.
    pub fn concerns(&self, name: &Name, role: Role, sighting: &Sighting) -> Option<Urgency> {
        let memory = &self.get(name)?.memory;
        let is_known = match sighting {
            Sighting::There(version) => {
                memory.target.as_ref().is_some_and(|known| known.version == *version && known.intact)
            }
            Sighting::Gone(_) => memory.absence_is_fine,
            Sighting::LeftOut => false,
        };
        match role {
            Role::Writer => (!is_known).then_some(Urgency::Asked),
            Role::Reader | Role::Login => Some(Urgency::Due),
        }
    }

    /// All that is known of an ExternalSecret, for a look that begins now.
    pub fn look(
        &mut self,
        name: &Name,
        index: &Index,
        stores: &Stores,
        namespace_labels: Option<&StringMap>,
        now: Timestamp,
    ) -> Option<Look> {
        let subject = self.0.get_mut(name)?;
        subject.overtaken = false;
        let References { target, sources, stores: used } = references(&subject.es);
        let sources = sources.into_iter().map(|source| {
            let read = subject.memory.sources.get(&source).and_then(Option::as_ref);
            let told = match index.told(&source, read) {
                Seen::Unknown => None,
                Seen::Absent => Some(None),
                Seen::At(version) => Some(Some(version)),
            };
            (source, told)
        });
        Some(Look {
            es: subject.es.clone(),
            stores: stores.known(used),
            began: now,
            namespace_labels: namespace_labels.cloned(),
            seen: target.map_or(Seen::Unknown, |target| index.now(&target)),
            sources: sources.collect(),
            memory: subject.memory.clone(),
        })
    }
}

/// What an ExternalSecret refers to.
fn references(es: &ExternalSecret) -> References {
    References { target: Some(Dependency::target_of(es)), sources: sources_of(es), stores: stores_of(es) }
}

/// Status writes move the resourceVersion and nothing of this.
fn is_same_but_for_status(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    a.generation == b.generation
        && a.labels == b.labels
        && a.annotations == b.annotations
        && a.finalizers == b.finalizers
        && a.deletion_timestamp == b.deletion_timestamp
}

fn is_earlier_version(a: &Option<String>, b: &Option<String>) -> bool {
    a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| is_earlier(a, b))
}

impl Controller {
    pub(super) fn take_external_secret(&mut self, update: Update<DeserializeGuard<ExternalSecret>>) {
        match update {
            Update::Put(guarded) => match guarded.0 {
                Ok(es) => self.put_external_secret(es),
                Err(invalid) => self.put_undecodable(invalid.metadata),
            },
            Update::Gone(guarded) => self.remove_external_secret(&name_of(guarded.meta())),
            Update::Listed(listed) => {
                let known = self.external_secrets.names().chain(self.undecodable.keys());
                let gone: Vec<Name> = known.filter(|name| !listed.contains(*name)).cloned().collect();
                for name in gone {
                    self.remove_external_secret(&name);
                }
                self.awaited.remove(&Awaited::ExternalSecrets);
            }
        }
    }

    fn put_external_secret(&mut self, es: ExternalSecret) {
        let name = name_of(&es.metadata);
        self.undecodable.remove(&name);
        let new = self.external_secrets.get(&name).is_none();
        if self.external_secrets.put(es, &self.index) {
            // What is on the list at start is due, not asked for.
            self.wake(Item::ExternalSecret(name), if new && !self.started { Urgency::Due } else { Urgency::Asked });
        }
    }

    fn put_undecodable(&mut self, metadata: ObjectMeta) {
        let metadata = ObjectMeta { annotations: None, managed_fields: None, ..metadata };
        let name = name_of(&metadata);
        let told = self.undecodable.get(&name);
        let told = told.is_some_and(|told| told.uid == metadata.uid && told.generation == metadata.generation);
        self.remove_external_secret(&name);
        self.undecodable.insert(name.clone(), metadata);
        if !told {
            tracing::warn!(namespace = name.0, name = name.1, "the ExternalSecret does not decode");
            self.tell_undecodable(&name);
        }
    }

    fn tell_undecodable(&self, name: &Name) {
        if let Some(metadata) = self.undecodable.get(name).cloned() {
            let context = self.context.clone();
            tokio::spawn(async move { tell_undecodable(&context, metadata).await });
        }
    }

    fn remove_external_secret(&mut self, name: &Name) {
        self.undecodable.remove(name);
        self.external_secrets.remove(name, &self.index);
        self.queue.remove(&Item::ExternalSecret(name.clone()));
        self.metrics.forget_external_secret(name);
    }

    /// Begins a look at an ExternalSecret, where there is one.
    pub(super) fn begin_sync(&mut self, name: &Name, now: Timestamp) -> bool {
        let labels = self.namespaces.get(&name.0);
        let Some(mut look) = self.external_secrets.look(name, &self.index, &self.stores, labels, now) else {
            return false;
        };
        let planning = self.context.ports.stores.planning();
        if !self.is_watched(&Dependency::target_of(&look.es).kind) {
            look.seen = Seen::Unknown;
        }
        let (context, name, es) = (self.context.clone(), name.clone(), look.es.clone());
        self.look(Item::ExternalSecret(name.clone()), async move {
            let began = Instant::now();
            let report = keyferry_sync::run(&context.ports, &context.targets, &context.settings, look, planning).await;
            Ended::Sync(name, es, Box::new(report), began.elapsed())
        });
        true
    }

    pub(super) fn end_sync(&mut self, name: &Name, es: &ExternalSecret, report: Looked, took: Duration) {
        self.metrics.synced(es, &report, took);
        let item = Item::ExternalSecret(name.clone());
        let same = |subject: &&mut Subject| subject.es.metadata.uid == es.metadata.uid;
        let Some(subject) = self.external_secrets.0.get_mut(name).filter(same) else {
            self.metrics.forget_external_secret(name);
            // Where it came to be so during the look, that may have told otherwise at its end.
            self.tell_undecodable(name);
            return self.queue.done(&item, None);
        };
        let target = Dependency::target_of(es);
        subject.standing = match &report.outcome {
            // Whose class it is may change with its store.
            Outcome::Holding | Outcome::Ignored => Standing::Held,
            Outcome::Failed(_) => Standing::Failed,
            Outcome::Waiting(_) if subject.standing == Standing::Failed => Standing::Failed,
            Outcome::Waiting(_) | Outcome::Released | Outcome::Synced(_) | Outcome::Settled { .. } => Standing::Well,
        };
        subject.memory = report.memory;
        for (source, version) in &subject.memory.sources {
            self.index.found(source, version.as_ref());
        }
        let version = subject.memory.target.as_ref().map(|target| target.version.clone());
        if Dependency::target_of(&subject.es) != target {
            subject.memory.target = None;
        }
        if let Some((status, version)) = report.status {
            subject.put_status(status, version);
        }
        match &report.outcome {
            _ if subject.overtaken => {}
            Outcome::Synced(synced) if synced.result == SyncResult::Deleted => self.index.left(&target, None),
            // Written, or read and found as it should be.
            Outcome::Synced(synced)
                if synced.change != TargetChange::Nothing || synced.result == SyncResult::Synced =>
            {
                self.index.left(&target, version.as_ref());
            }
            Outcome::Settled { .. } => self.index.left(&target, version.as_ref()),
            _ => {}
        }
        self.queue.done(&item, report.next);
        if !matches!(report.outcome, Outcome::Failed(_)) {
            self.watch_kind(&target.kind);
        }
    }

    /// Something that it depends on was told of by a watch.
    pub(super) fn concern_external_secret(&mut self, name: Name, role: Role, sighting: &Sighting) {
        let urgency = self.external_secrets.concerns(&name, role, sighting);
        let item = Item::ExternalSecret(name.clone());
        if role == Role::Writer
            && *sighting == Sighting::LeftOut
            && self.queue.is_running(&item)
            && let Some(subject) = self.external_secrets.0.get_mut(&name)
        {
            subject.overtaken = true;
        }
        if let Some(urgency) = urgency {
            self.wake(item, urgency);
        }
    }
}

async fn tell_undecodable(context: &Context, mut metadata: ObjectMeta) {
    let mut conditions = Vec::new();
    let message = "invalid spec: the object is not of the form that the CustomResourceDefinition gives: compare it with `kubectl explain externalsecret.spec`";
    record::set_ready(&mut conditions, false, "SecretSyncedError", message.to_owned(), clock::now());
    let name = metadata.name.clone().unwrap_or_default();
    // As an object of any form: the answer is the object itself, which is not of the form we know.
    let resource = ApiResource::erase::<ExternalSecret>(&());
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &resource);
    for wait in TELLING {
        // By its resourceVersion: the object may have been mended since, and synced.
        let seen = json!({"uid": metadata.uid, "resourceVersion": metadata.resource_version});
        let patch = Patch::Merge(json!({"metadata": seen, "status": {"conditions": conditions}}));
        let told = timely(api.patch_status(&name, &PatchParams::default(), &patch)).await;
        let Err(problem) = told else { return };
        tracing::warn!(namespace, name, %problem, "could not write the status");
        if problem.is_not_found() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(wait)).await;
        match timely(api.get_metadata_opt(&name)).await {
            Ok(Some(now)) if now.metadata.uid == metadata.uid && now.metadata.generation == metadata.generation => {
                metadata = now.metadata;
            }
            Ok(_) => return,
            Err(_) => {}
        }
    }
}

#[cfg(test)]
#[path = "external_secret_tests.rs"]
mod tests;
