//! PushSecrets: what is known of each, what a look at one takes along, and what its end changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use keyferry_crds::{PushSecret, PushSecretStatus};
use keyferry_limits::PUSH_CANDIDATES;
use keyferry_push::look::{Look, Looked};
use keyferry_push::memory::Memory;
use keyferry_push::outcome::Outcome;
use keyferry_push::{refers, spec};
use keyferry_sync::copies::{self, CopierKind};
use keyferry_sync::data::StringMap;
use keyferry_sync::dependency::{Dependency, Kind, Name, is_earlier};
use keyferry_sync::look::Seen;
use keyferry_sync::selection::selects;
use keyferry_sync::store::StoreId;
use kube::api::ObjectMeta;
use kube::core::ApiResource;

use super::change::Target;
use super::index::{Item, References, Role, SubjectKind};
use super::queue::Urgency;
use super::shards::Shards;
use super::sight::Sighting;
use super::subject::{Next, Shared, Subject};
use crate::metrics::Metrics;

/// How many PushSecrets of one namespace that select Secrets or stores are asked about each that changes. The others find it
/// at their next check, which selects anew.
const ASKED: usize = 100;

/// Carries out a look. What it may ask of stores is said when this is called, not only when the future first runs.
pub type Carry = Box<dyn Fn(Look) -> BoxFuture<'static, Looked> + Send>;

/// What is known of one.
struct Known {
    /// As last seen.
    ps: Arc<PushSecret>,
    /// What is remembered of it; a look under way has that.
    memory: Memory,
    /// What the index has of it.
    references: References,
    /// The stores that it selected by labels when it was last looked at, and since.
    chosen: BTreeSet<StoreId>,
    /// Whether it may wait for a store: it failed, or is held.
    waits: bool,
    /// Whether a Secret that it selects has come, or one that it read has changed, since it was last looked at, which
    /// what it has read can't tell.
    has_new_source: bool,
    /// While a look is under way: the Secrets of which watches told meanwhile, and that it has not read before. It may
    /// be about to read them.
    meanwhile: Option<BTreeSet<Dependency>>,
}

/// All PushSecrets; those of a namespace stand together.
pub struct PushSecrets {
    all: BTreeMap<Name, Known>,
    /// Those that select Secrets by labels.
    selecting: BTreeSet<Name>,
    /// Those that select stores by labels.
    choosing: BTreeSet<Name>,
    carry: Carry,
}

impl PushSecrets {
    /// None yet. `carry` carries out looks.
    pub fn new(carry: Carry) -> Self {
        Self { all: BTreeMap::new(), selecting: BTreeSet::new(), choosing: BTreeSet::new(), carry }
    }

    /// Takes which stores its labels select now. Answers whether there are more in its namespace than are compared with them.
    fn choose(&mut self, name: &Name, shared: &Shared) -> bool {
        let is_choosing = self.choosing.contains(name);
        let Some(known) = self.all.get_mut(name) else { return false };
        if !is_choosing {
            known.chosen.clear();
            return false;
        }
        let here = || shared.stores_of(Some(&name.0));
        let compared = here().take(PUSH_CANDIDATES.size()).chain(shared.stores_of(None));
        let wanted = compared.filter(|store| refers::wants(&known.ps, store));
        known.chosen = wanted.map(|store| store.id.clone()).collect();
        here().nth(PUSH_CANDIDATES.size()).is_some()
    }

    /// Takes what it refers to, by all that is known now.
    fn refer(&mut self, name: &Name, shared: &Shared) {
        let Some(known) = self.all.get_mut(name) else { return };
        let mut sources = refers::sources(&known.ps);
        sources.extend(known.memory.read.iter().flat_map(BTreeMap::keys).cloned());
        if known.meanwhile.is_some() {
            // A look under way has what is remembered: what it read before counts on.
            sources.extend(known.references.sources.iter().cloned());
        }
        let mut stores = refers::named_stores(&known.ps);
        stores.extend(refers::recorded_stores(&known.ps));
        stores.extend(known.chosen.iter().cloned());
        let now = References { target: None, sources, stores };
        shared.index.refer(&item(name), &known.references, &now);
        known.references = now;
    }
}

/// Those of a namespace, as many as are asked.
fn of_namespace<'n>(names: &'n BTreeSet<Name>, namespace: &str) -> impl Iterator<Item = &'n Name> {
    let from = names.range((namespace.to_owned(), String::new())..);
    from.take_while(move |name| name.0 == namespace).take(ASKED)
}

/// Those of each namespace, as many as are asked.
fn each_namespace(names: &BTreeSet<Name>) -> impl Iterator<Item = &Name> {
    let after = |namespace: &str| names.range((format!("{namespace}\0"), String::new())..).next();
    let firsts = std::iter::successors(names.first(), move |first| after(&first.0));
    firsts.flat_map(|first| of_namespace(names, &first.0))
}

fn item(name: &Name) -> Item {
    Item::new(SubjectKind::PushSecret, name.clone())
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

impl Known {
    fn new(ps: PushSecret) -> Self {
        Self {
            ps: Arc::new(ps),
            memory: Memory::default(),
            references: References::default(),
            chosen: BTreeSet::new(),
            waits: false,
            has_new_source: false,
            meanwhile: None,
        }
    }

    /// Takes the same PushSecret as a watch tells of it now. Answers whether it changed in more than its status.
    fn put(&mut self, mut ps: PushSecret) -> bool {
        let is_changed = !is_same_but_for_status(&self.ps.metadata, &ps.metadata);
        // News from before our own last word on its status.
        if is_earlier_version(&ps.metadata.resource_version, &self.ps.metadata.resource_version) {
            ps.status.clone_from(&self.ps.status);
            ps.metadata.resource_version.clone_from(&self.ps.metadata.resource_version);
        }
        self.ps = Arc::new(ps);
        is_changed
    }

    /// Takes the status that a look wrote, with its resourceVersion.
    fn put_status(&mut self, status: PushSecretStatus, version: Option<String>) {
        if is_earlier_version(&version, &self.ps.metadata.resource_version) {
            return;
        }
        let mut newer = (*self.ps).clone();
        newer.status = Some(status);
        newer.metadata.resource_version = version;
        self.ps = Arc::new(newer);
    }
}

impl Subject for PushSecrets {
    type Object = PushSecret;
    type Looked = (Arc<PushSecret>, Looked);

    fn names(&self) -> Vec<Name> {
        self.all.keys().cloned().collect()
    }

    fn concerned_by(&self, namespace: &str) -> Vec<Name> {
        let from = self.all.range((namespace.to_owned(), String::new())..);
        from.map(|(name, _)| name).take_while(|name| name.0 == namespace).cloned().collect()
    }

    fn put(&mut self, name: &Name, ps: PushSecret, shared: &mut Shared) {
        // What is too much is refused by the look, and compared with nothing here.
        let is_bounded = spec::excesses_of_selectors(&ps).is_empty();
        let sets = [
            (&mut self.selecting, is_bounded && refers::source_selector(&ps).is_some()),
            (&mut self.choosing, is_bounded && refers::selects_stores(&ps)),
        ];
        for (set, is_in) in sets {
            if is_in {
                set.insert(name.clone());
            } else {
                set.remove(name);
            }
        }
        shared.saw_copy(CopierKind::ClusterPushSecret, name, || copies::Seen::push_secret(&ps));
        let is_new = !self.all.contains_key(name);
        let is_changed = match self.all.get_mut(name) {
            Some(known) if known.ps.metadata.uid == ps.metadata.uid => known.put(ps),
            before => {
                let references = before.map(|before| std::mem::take(&mut before.references)).unwrap_or_default();
                self.all.insert(name.clone(), Known { references, ..Known::new(ps) });
                true
            }
        };
        self.refer(name, shared);
        if is_changed {
            // What is on the list at start is due, not asked for.
            let urgency = if is_new && !shared.started { Urgency::Due } else { Urgency::Asked };
            shared.wake(&item(name), urgency);
        }
    }

    fn remove(&mut self, name: &Name, shared: &mut Shared) {
        self.selecting.remove(name);
        self.choosing.remove(name);
        if let Some(known) = self.all.remove(name) {
            shared.index.refer(&item(name), &known.references, &References::default());
        }
        shared.copy_gone(CopierKind::ClusterPushSecret, name);
    }

    /// They write no targets.
    fn examined(&mut self, _: &Name, _: &Target) {}

    fn concern(&mut self, name: &Name, _: Role, _: &Sighting, _: &mut Shared) -> Option<Urgency> {
        self.all.contains_key(name).then_some(Urgency::Asked)
    }

    fn noticed(&mut self, object: &Dependency, labels: Option<&StringMap>) -> Vec<Name> {
        if object.kind != Kind::Secret {
            return Vec::new();
        }
        let here: Vec<Name> = of_namespace(&self.selecting, &object.namespace).cloned().collect();
        let mut concerned = Vec::new();
        for name in here {
            let Some(known) = self.all.get_mut(&name) else { continue };
            if known.references.sources.contains(object) {
                continue;
            }
            if let Some(meanwhile) = &mut known.meanwhile {
                meanwhile.insert(object.clone());
            }
            let selector = labels.and_then(|labels| Some((refers::source_selector(&known.ps)?, labels)));
            if selector.is_some_and(|(selector, labels)| selects(selector, labels)) {
                known.has_new_source = true;
                concerned.push(name);
            }
        }
        concerned
    }

    fn chosen(&self, store: &StoreId, shared: &Shared) -> Vec<Name> {
        let known = shared.stores.get(store).map(|(store, _)| store);
        let differs = |name: &&Name| {
            let Some(of) = self.all.get(*name) else { return false };
            known.is_some_and(|store| refers::wants(&of.ps, store)) != of.references.stores.contains(store)
        };
        match &store.namespace {
            Some(namespace) => of_namespace(&self.choosing, namespace).filter(differs).cloned().collect(),
            None => each_namespace(&self.choosing).filter(differs).cloned().collect(),
        }
    }

    fn may_wait(&self, name: &Name, is_looked_at: bool) -> bool {
        is_looked_at || self.all.get(name).is_some_and(|known| known.waits)
    }

    fn look(&mut self, name: &Name, now: Timestamp, shared: &Shared) -> Option<BoxFuture<'static, Self::Looked>> {
        let has_many_stores = self.choose(name, shared);
        self.refer(name, shared);
        let known = self.all.get_mut(name)?;
        let seen = known.references.sources.iter().map(|source| {
            let read = known.memory.read.as_ref().and_then(|read| read.get(source)).and_then(Option::as_ref);
            let told = match shared.index.told(source, read) {
                Seen::Unknown => None,
                Seen::Absent => Some(None),
                Seen::At(version) => Some(Some(version)),
            };
            (source.clone(), told)
        });
        let look = Look {
            ps: known.ps.clone(),
            stores: shared.known_stores(known.references.stores.clone()),
            has_many_stores,
            began: now,
            namespace_labels: shared.namespaces.get(&name.0).map(|labels| (**labels).clone()),
            seen: seen.collect(),
            has_new_source: std::mem::take(&mut known.has_new_source),
            states: shared.generated.of(name, known.ps.metadata.uid.as_deref()),
            memory: std::mem::take(&mut known.memory),
            budget: Arc::default(),
        };
        known.meanwhile = Some(BTreeSet::new());
        let ps = look.ps.clone();
        Some((self.carry)(look).map(|report| (ps, report)).boxed())
    }

    fn end(&mut self, name: &Name, (ps, report): Self::Looked, took: Duration, shared: &mut Shared) -> Next {
        shared.metrics.pushed(&ps, &report, took);
        let same = |known: &&mut Known| known.ps.metadata.uid == ps.metadata.uid;
        let Some(known) = self.all.get_mut(name).filter(same) else { return Next::Gone };
        // Whose class it is may change with its stores.
        known.waits = match &report.outcome {
            Outcome::Holding | Outcome::Ignored | Outcome::Failed(_) => true,
            Outcome::Waiting(_) => known.waits,
            Outcome::Released | Outcome::Done(_) | Outcome::SourceGone => false,
        };
        known.memory = report.memory;
        // A watch told of what it read before that was known to be read.
        let meanwhile = known.meanwhile.take().unwrap_or_default();
        if known.memory.read.iter().flat_map(BTreeMap::keys).any(|source| meanwhile.contains(source)) {
            known.has_new_source = true;
            shared.wake(&item(name), Urgency::Asked);
        }
        for (source, version) in known.memory.read.iter().flatten() {
            shared.index.found(source, version.as_ref());
        }
        if let Some((status, version)) = report.status {
            known.put_status(status, version);
        }
        self.refer(name, shared);
        report.next.into()
    }

    fn prune(&mut self, _: &Shared) {}

    /// By their own names: one may push into many stores, each with calls of its own.
    fn shard(&self, name: &Name, shards: &Shards) -> Option<u32> {
        Some(shards.of_object(name))
    }

    fn let_go(&mut self, name: &Name, shared: &mut Shared) {
        if let Some(known) = self.all.get_mut(name) {
            known.memory = Memory::default();
            (known.waits, known.has_new_source, known.meanwhile) = (false, false, None);
            self.refer(name, shared);
        }
    }

    fn forget(&self, name: &Name, metrics: &Metrics) {
        metrics.forget_push_secret(name);
    }

    fn resource(&self) -> ApiResource {
        ApiResource::erase::<PushSecret>(&())
    }

    fn reason_undecodable(&self) -> &'static str {
        "Errored"
    }
}

#[cfg(test)]
#[path = "push_secret_tests.rs"]
mod tests;
