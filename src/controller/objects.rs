//! Objects that somebody depends on: which kinds are watched, whom a sighting wakes, and the list of targets at start.

use std::collections::HashMap;

use futures::stream::AbortHandle;
use k8s_openapi::api::core::v1::Secret;
use keyferry_cluster::client::{ApiProblem, LiveSecret, timely};
use keyferry_cluster::target::desired;
use keyferry_crds::names;
use keyferry_sync::dependency::{Dependency, Kind, name_of, version};
use kube::api::{Api, ListParams, ObjectMeta};

use super::index::Item;
use super::queue::Urgency;
use super::relist::Update;
use super::sight::Sighting;
use super::{Awaited, Controller, watch};

/// How many targets are read at once from the list at start.
const PAGE: u32 = 200;

/// The watch of a kind that is watched only while somebody depends on an object of it.
pub(super) struct Watch {
    /// Ends it.
    handle: AbortHandle,
    /// Whether it has listed what there is; before, it can't tell how an object stands.
    listed: bool,
}

/// Such kinds.
pub(super) type Watches = HashMap<Kind, Watch>;

impl Controller {
    /// Takes what the watch of a kind tells.
    pub(super) fn take_object(&mut self, kind: Kind, update: Update<ObjectMeta>) {
        // A watch that was let go may have told something before it ended.
        if matches!(kind, Kind::Other(_)) && !self.watches.contains_key(&kind) {
            return;
        }
        match update {
            Update::Put(metadata) => {
                if let Some(version) = version(&metadata) {
                    self.saw(&Dependency::new(kind, name_of(&metadata)), &Sighting::There(version));
                }
            }
            Update::Gone(metadata) => {
                self.saw(&Dependency::new(kind, name_of(&metadata)), &Sighting::Gone(metadata.uid));
            }
            Update::Listed(listed) => {
                for object in self.index.not_in(&kind, &listed) {
                    self.saw(&object, &Sighting::LeftOut);
                }
                if let Some(watch) = self.watches.get_mut(&kind) {
                    watch.listed = true;
                }
                self.awaited.remove(&Awaited::Objects(kind));
            }
        }
    }

    /// A watch that is not there from the start failed.
    pub(super) fn watch_failed(&mut self, kind: &Kind, listed: bool) {
        if let Some(watch) = self.watches.get_mut(kind) {
            watch.listed &= listed;
        }
    }

    fn saw(&mut self, object: &Dependency, sighting: &Sighting) {
        let concerned = self.index.saw(object, sighting, |item| self.queue.is_running(item));
        if !self.started {
            // All waits for its first look.
            return;
        }
        for (item, role) in concerned {
            match item {
                Item::ExternalSecret(name) => self.concern_external_secret(name, role, sighting),
                Item::Store(store) => {
                    self.wake(Item::Store(store.clone()), Urgency::Asked);
                    self.wake_users_of(&store);
                }
            }
        }
    }

    /// Whether the watches can tell how an object of this kind stands.
    pub(super) fn is_watched(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Secret | Kind::ConfigMap => true,
            Kind::Other(_) => self.watches.get(kind).is_some_and(|watch| watch.listed),
        }
    }

    /// Watches a kind, where nobody does yet. What it is called in the API, the look has found out.
    pub(super) fn watch_kind(&mut self, kind: &Kind) {
        let Kind::Other(manifest) = kind else { return };
        if self.watches.contains_key(kind) {
            return;
        }
        let Some(resource) = self.context.targets.kinds.known(manifest) else { return };
        let (changes, handle) = watch::kind(&self.context.client, self.settings.scope.as_deref(), kind, &resource);
        self.joining.push(changes);
        self.watches.insert(kind.clone(), Watch { handle, listed: false });
    }

    /// Lets go of kinds that nobody depends on any more.
    pub(super) fn unwatch_kinds(&mut self) {
        let index = &self.index;
        for (kind, watch) in self.watches.extract_if(|kind, _| !index.knows_any_of(kind)) {
            watch.handle.abort();
            if let Kind::Other(manifest) = &kind {
                self.context.targets.kinds.forget(manifest);
            }
        }
    }

    /// Reads all targets once, page by page, and remembers of each whether it is as its writer left it, so that edits
    /// from while nobody ran are found without a read for each.
    pub(super) async fn examine_targets(&mut self) -> Result<(), ApiProblem> {
        let api: Api<Secret> = match &self.settings.scope {
            Some(namespace) => Api::namespaced(self.context.client.clone(), namespace),
            None => Api::all(self.context.client.clone()),
        };
        let mut page =
            ListParams::default().labels(&format!("{}={}", names::LABEL_MANAGED, names::MANAGED)).limit(PAGE);
        loop {
            let list = timely(api.list(&page)).await?;
            for secret in list.items {
                let secret = LiveSecret::new(secret);
                let metadata = &secret.get().metadata;
                let Some(version) = version(metadata) else { continue };
                let target = Dependency::new(Kind::Secret, name_of(metadata));
                let writers = self.index.examined(&target, &version);
                let intact = !writers.is_empty() && desired::is_intact(&secret);
                for writer in writers {
                    if let Item::ExternalSecret(name) = writer {
                        self.external_secrets.remember_target(&name, version.clone(), intact);
                    }
                }
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(()),
            }
        }
    }
}
