//! Copiers of one kind: ClusterExternalSecrets, or ClusterPushSecrets. A look at one compares what stands in the
//! namespaces that it selects with what should, by what watches told, and makes, changes and deletes what differs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use keyferry_crds::{ClusterExternalSecret, ClusterPushSecret};
use keyferry_sync::copies::ports::Copies;
use keyferry_sync::copies::{self, Copier, CopierId, CopierKind, Looked, Memory};
use keyferry_sync::dependency::{Name, is_earlier};
use keyferry_sync::time::later;
use kube::core::ApiResource;

use super::change::Target;
use super::index::{Item, Role, SubjectKind};
use super::queue::Urgency;
use super::sight::Sighting;
use super::subject::{Next, Shared, Subject};
use crate::metrics::Metrics;

/// What is known of one.
struct Known {
    copier: Arc<Copier>,
    memory: Memory,
    /// Ends the look under way early.
    cancel: Option<Arc<AtomicBool>>,
}

impl Known {
    /// What the look under way comes to is not wanted any more.
    fn cancel(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel.store(true, Ordering::Relaxed);
        }
    }
}

/// All copiers of one kind.
pub struct Copiers {
    kind: CopierKind,
    all: BTreeMap<Name, Known>,
    copies: Arc<dyn Copies>,
    now: fn() -> Timestamp,
}

impl Copiers {
    /// None yet. `copies` is where their copies are written.
    pub fn new(kind: CopierKind, copies: Arc<dyn Copies>, now: fn() -> Timestamp) -> Self {
        Self { kind, all: BTreeMap::new(), copies, now }
    }

    /// Which kind of copiers.
    pub fn kind(&self) -> CopierKind {
        self.kind
    }

    /// What they are to the loop.
    pub fn subject_kind(&self) -> SubjectKind {
        match self.kind {
            CopierKind::ClusterExternalSecret => SubjectKind::ClusterExternalSecret,
            CopierKind::ClusterPushSecret => SubjectKind::ClusterPushSecret,
        }
    }

    fn id(&self, name: &Name) -> CopierId {
        CopierId { kind: self.kind, name: name.1.clone() }
    }

    fn item(&self, name: &Name) -> Item {
        Item::copier(&self.id(name))
    }
}

impl Subject for Copiers {
    type Object = Copier;
    type Looked = (Arc<Copier>, Looked);

    fn names(&self) -> Vec<Name> {
        self.all.keys().cloned().collect()
    }

    /// Namespaces wake them by what is kept in [`Shared::copies`].
    fn concerned_by(&self, _: &str) -> Vec<Name> {
        Vec::new()
    }

    fn put(&mut self, name: &Name, mut copier: Copier, shared: &mut Shared) {
        let before = self.all.get_mut(name);
        let mut is_same = false;
        if let Some(before) = &before {
            is_same = before.copier.asks_for_the_same(&copier);
            // News from before our own last word on its status.
            let versions =
                copier.metadata.resource_version.as_ref().zip(before.copier.metadata.resource_version.as_ref());
            if versions.is_some_and(|(new, old)| is_earlier(new, old)) {
                copier.status = before.copier.status.clone();
            }
        }
        let is_new = before.is_none();
        if !is_same {
            shared.copies.put(&copier);
        }
        let copier = Arc::new(copier);
        match before.filter(|before| before.copier.uid() == copier.uid()) {
            Some(known) => {
                if !is_same {
                    known.cancel();
                }
                known.copier = copier;
            }
            None => {
                let known = Known { copier, memory: Memory::default(), cancel: None };
                if let Some(mut former) = self.all.insert(name.clone(), known) {
                    former.cancel();
                }
            }
        }
        if !is_same {
            // What is on the list at start is due, not asked for.
            let urgency = if is_new && !shared.started { Urgency::Due } else { Urgency::Asked };
            shared.wake(&self.item(name), urgency);
        }
    }

    fn remove(&mut self, name: &Name, shared: &mut Shared) {
        if let Some(mut known) = self.all.remove(name) {
            known.cancel();
        }
        shared.copies.remove(&self.id(name));
    }

    fn examined(&mut self, _: &Name, _: &Target) {}

    fn concern(&mut self, _: &Name, _: Role, _: &Sighting, _: &mut Shared) -> Option<Urgency> {
        None
    }

    fn may_wait(&self, _: &Name, _: bool) -> bool {
        false
    }

    fn look(&mut self, name: &Name, now: Timestamp, shared: &Shared) -> Option<BoxFuture<'static, Self::Looked>> {
        let id = self.id(name);
        let known = self.all.get_mut(name)?;
        let around = shared.copies.around(&id);
        known.memory.tidy(&around, now);
        let plan = copies::plan(&known.copier, &around, &known.memory, now);
        let (copies, copier, memory) = (self.copies.clone(), known.copier.clone(), known.memory.clone());
        let (cancelled, clock) = (Arc::new(AtomicBool::new(false)), self.now);
        known.cancel = Some(cancelled.clone());
        let look = async move {
            let looked = copies::run(&*copies, &copier, plan, memory, cancelled, clock).await;
            (copier, looked)
        };
        Some(look.boxed())
    }

    fn end(&mut self, name: &Name, (copier, looked): Self::Looked, took: Duration, shared: &mut Shared) -> Next {
        let same = |known: &&mut Known| known.copier.uid() == copier.uid();
        let Some(known) = self.all.get_mut(name).filter(same) else { return Next::Gone };
        known.memory = looked.memory;
        if looked.is_cancelled {
            // Another look is in the queue.
            return Next::OnChange;
        }
        known.cancel = None;
        if let Some(status) = looked.status {
            known.copier = Arc::new(known.copier.with_status(status));
        }
        shared.metrics.copied(&known.copier, took);
        let regular = known.copier.every().map(|every| later((self.now)(), every));
        [looked.again, regular].into_iter().flatten().min().into()
    }

    fn prune(&mut self, _: &Shared) {}

    fn let_go(&mut self, name: &Name, _: &mut Shared) {
        if let Some(known) = self.all.get_mut(name) {
            known.cancel();
            known.memory = Memory::default();
        }
    }

    fn forget(&self, name: &Name, metrics: &Metrics) {
        metrics.forget_copier(&self.id(name));
    }

    fn resource(&self) -> ApiResource {
        match self.kind {
            CopierKind::ClusterExternalSecret => ApiResource::erase::<ClusterExternalSecret>(&()),
            CopierKind::ClusterPushSecret => ApiResource::erase::<ClusterPushSecret>(&()),
        }
    }

    fn reason_undecodable(&self) -> &'static str {
        "Errored"
    }
}

#[cfg(test)]
#[path = "copier_tests.rs"]
mod tests;
