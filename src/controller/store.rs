//! Stores of one kind: SecretStores, or ClusterSecretStores. A look at one is its check: can a client be made, does the
//! store let it in. What that finds is the store's condition, and concerns whoever uses the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{AbortHandle, AbortRegistration, Abortable, BoxFuture};
use jiff::Timestamp;
use keyferry_crds::{ClusterSecretStore, SecretStore, SecretStoreStatus, names};
use keyferry_limits::REFRESH_RATE;
use keyferry_provider_core::{Capabilities, Error, ErrorKind};
use keyferry_sync::dependency::Name;
use keyferry_sync::ports::{About, Clients, Notices, Refused};
use keyferry_sync::record::{self, Note, Severity};
use keyferry_sync::schedule::SHORTEST;
use keyferry_sync::store::{Readiness, Store, StoreId};
use keyferry_sync::time::later;
use keyferry_sync::told;
use keyferry_sync::told::Told;
use kube::core::ApiResource;

use super::change::Target;
use super::index::{Item, Role, SubjectKind};
use super::queue::Urgency;
use super::sight::Sighting;
use super::subject::{Ask, Next, Shared, Subject};
use crate::metrics::Metrics;

/// The longest wait between two checks of a store that fails.
const LONGEST: Duration = Duration::from_secs(300);

/// How many checks in a row must fail for a passing reason before a store that could be used is one that can't.
const PATIENCE: u32 = 3;

/// When a status that could not be written is tried again.
const STATUS_RETRY: Duration = Duration::from_secs(5);

/// The reason of a store that can be used.
pub const VALID: &str = "Valid";

/// The reason of one of which it can't be told.
pub const UNKNOWN: &str = "ValidationUnknown";

/// The reason of one that nobody logs in to but who mounts of it.
pub const LOGIN_BY_MOUNT: &str = "LoginByMount";

/// The reason of one that can't.
pub const INVALID: &str = "InvalidProviderConfig";

/// How stores are checked.
pub struct Checks {
    /// The clients of stores.
    pub clients: Arc<dyn Clients>,
    /// Where it is told what a check found.
    pub notices: Arc<dyn Notices>,
    /// The class of stores that are ours to check.
    pub class: String,
    /// How often a healthy store is checked.
    pub every: Duration,
    /// Whether PushSecrets are looked after: what a store's status says of it is what users can have.
    pub pushes: bool,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// All stores of one kind.
pub struct Stores {
    kind: SubjectKind,
    checks: Arc<Checks>,
    /// Whether those of our class are checked here; where not, their status is believed.
    is_checked: bool,
    /// What came of the checks of each.
    history: HashMap<Name, History>,
    /// What cancels the check under way of each.
    cancel: HashMap<Name, AbortHandle>,
}

/// What came of the checks of a store so far.
#[derive(Clone, Copy, Default)]
struct History {
    /// Those that failed, in a row.
    failures: u32,
    /// Whether it could be used before them.
    was_ready: bool,
}

/// What a check came to.
pub struct Checked {
    /// The store that was checked.
    store: Arc<Store>,
    /// Whether it can be used.
    readiness: Readiness,
    /// Whether the check failed, be it that the store is still taken for one that can be used.
    has_failed: bool,
    /// Its status, where that was written.
    status: Option<SecretStoreStatus>,
    /// When to check again.
    next: Timestamp,
    /// Whether it was cancelled: another check is in the queue.
    is_cancelled: bool,
}

impl Stores {
    /// SecretStores. Where they are not checked here, their status is believed.
    pub fn namespaced(checks: Arc<Checks>, is_checked: bool) -> Self {
        Self { kind: SubjectKind::SecretStore, checks, is_checked, history: HashMap::new(), cancel: HashMap::new() }
    }

    /// ClusterSecretStores.
    pub fn of_cluster(checks: Arc<Checks>) -> Self {
        Self {
            kind: SubjectKind::ClusterSecretStore,
            checks,
            is_checked: true,
            history: HashMap::new(),
            cancel: HashMap::new(),
        }
    }

    /// Whether this store is ours to check.
    fn checks(&self, store: &Store, shared: &Shared) -> bool {
        self.is_checked && store.is_of_class(&self.checks.class) && !shared.shards.leave_the_first_to_others()
    }
}

fn id_of(name: &Name) -> StoreId {
    StoreId { namespace: Some(name.0.clone()).filter(|namespace| !namespace.is_empty()), name: name.1.clone() }
}

fn have_same_spec(a: &Store, b: &Store) -> bool {
    a.uid() == b.uid() && a.generation() == b.generation()
}

impl Subject for Stores {
    type Object = Store;
    type Looked = Checked;

    fn names(&self) -> Vec<Name> {
        self.history.keys().cloned().collect()
    }

    /// Labels say who may use a store, not how it is.
    fn concerned_by(&self, _: &str) -> Vec<Name> {
        Vec::new()
    }

    fn put(&mut self, name: &Name, mut store: Store, shared: &mut Shared) {
        let id = store.id.clone();
        let before = shared.stores.remove(&id);
        let same = before.as_ref().filter(|(before, _)| have_same_spec(before, &store));
        if let Some((before, _)) = same.filter(|_| store.spec.is_err() && store.status.conditions.is_empty()) {
            // Of what does not decode nobody can read what its status says: what was written is there.
            store.status = before.status.clone();
        }
        let is_changed = same.is_none();
        let known = same.map_or(Readiness::Unchecked, |(_, readiness)| readiness.clone());
        let checked = self.checks(&store, shared);
        // Where another process checks stores, its word counts.
        let readiness = if checked { known.clone() } else { store.readiness_told() };
        let is_relabelled = before.as_ref().is_some_and(|(before, _)| before.metadata.labels != store.metadata.labels);
        let is_news = is_changed || readiness != known || is_relabelled;
        // What another process found before this one began is of the same spec, most likely.
        let was_ready = before.is_none() && store.readiness_told() == Readiness::Ready;
        shared.stores.insert(id.clone(), (Arc::new(store), readiness));
        let history = self.history.entry(name.clone()).or_default();
        if is_changed {
            *history = History { failures: 0, was_ready };
            // What the check under way waits for is not wanted any more.
            if let Some(check) = self.cancel.remove(name) {
                check.abort();
            }
            if checked {
                shared.wake(&Item::store(&id), Urgency::Asked);
            }
        }
        if is_news {
            // One that was missing is there now.
            shared.ask(Ask::UsersOf(id));
        }
    }

    fn remove(&mut self, name: &Name, shared: &mut Shared) {
        let id = id_of(name);
        self.history.remove(name);
        if let Some(check) = self.cancel.remove(name) {
            check.abort();
        }
        shared.stores.remove(&id);
        self.checks.clients.keep(&|store| *store != id);
        shared.index.keep_logins(|store| *store != id);
        shared.ask(Ask::UsersOf(id));
    }

    fn examined(&mut self, _: &Name, _: &Target) {}

    /// What it logs in with has changed.
    fn concern(&mut self, name: &Name, _: Role, _: &Sighting, shared: &mut Shared) -> Option<Urgency> {
        shared.ask(Ask::UsersOf(id_of(name)));
        Some(Urgency::Asked)
    }

    fn may_wait(&self, _: &Name, _: bool) -> bool {
        false
    }

    fn look(&mut self, name: &Name, _: Timestamp, shared: &Shared) -> Option<BoxFuture<'static, Checked>> {
        let (store, _) = shared.stores.get(&id_of(name)).filter(|(store, _)| self.checks(store, shared))?;
        let history = self.history.get(name).copied().unwrap_or_default();
        let (checks, store) = (self.checks.clone(), store.clone());
        let (cancel, cancelled) = AbortHandle::new_pair();
        self.cancel.insert(name.clone(), cancel);
        Some(async move { checks.run(store, history, cancelled).await }.boxed())
    }

    fn end(&mut self, name: &Name, report: Checked, took: Duration, shared: &mut Shared) -> Next {
        if report.is_cancelled {
            return if shared.stores.contains_key(&report.store.id) { Next::OnChange } else { Next::Gone };
        }
        self.cancel.remove(name);
        let Checked { store: checked, readiness, has_failed, status, next, .. } = report;
        shared.metrics.checked(&checked, &readiness, has_failed, took);
        let Some((store, before)) = shared.stores.get_mut(&checked.id) else { return Next::Gone };
        if !have_same_spec(store, &checked) {
            // Another check is in the queue.
            return Next::OnChange;
        }
        let history = self.history.entry(name.clone()).or_default();
        history.failures = if has_failed { history.failures.saturating_add(1) } else { 0 };
        history.was_ready = readiness == Readiness::Ready;
        let is_news = *before != readiness;
        *before = readiness;
        if let Some(status) = status {
            *store = Arc::new(store.with_status(status));
        }
        if is_news {
            shared.ask(Ask::UsersOf(checked.id.clone()));
        }
        Next::At(next)
    }

    /// A look may have made a client, or been about to log in, while its store went.
    fn prune(&mut self, shared: &Shared) {
        let is_there = |store: &StoreId| shared.stores.contains_key(store);
        self.checks.clients.keep(&is_there);
        shared.index.keep_logins(is_there);
    }

    /// From now on the word of whoever checks it counts.
    fn let_go(&mut self, name: &Name, shared: &mut Shared) {
        if let Some(check) = self.cancel.remove(name) {
            check.abort();
        }
        let id = id_of(name);
        let Some((store, readiness)) = shared.stores.get_mut(&id) else { return };
        let told = store.readiness_told();
        let is_news = *readiness != told;
        let was_ready = told == Readiness::Ready;
        *readiness = told;
        self.history.insert(name.clone(), History { failures: 0, was_ready });
        if is_news {
            shared.ask(Ask::UsersOf(id));
        }
    }

    fn forget(&self, name: &Name, metrics: &Metrics) {
        metrics.forget_store(&id_of(name));
    }

    fn resource(&self) -> ApiResource {
        if self.kind == SubjectKind::SecretStore {
            ApiResource::erase::<SecretStore>(&())
        } else {
            ApiResource::erase::<ClusterSecretStore>(&())
        }
    }

    fn reason_undecodable(&self) -> &'static str {
        INVALID
    }
}

/// What the condition says.
struct Verdict {
    ready: bool,
    reason: &'static str,
    message: Told,
    /// What the spec says of itself, where the store is not bad.
    about: Option<About>,
    /// Whether what is wrong may well pass.
    is_temporary: bool,
}

impl Verdict {
    fn bad(message: Told) -> Self {
        Self { ready: false, reason: INVALID, message, about: None, is_temporary: false }
    }

    /// Whether nobody here can tell.
    fn is_unknown(&self) -> bool {
        self.reason == LOGIN_BY_MOUNT
    }

    /// The same, for what came of asking the store.
    fn failed(message: Told, error: &Error) -> Self {
        Self { is_temporary: error.is_temporary(), ..Self::bad(message) }
    }
}

impl Checks {
    /// Checks a store and writes its status where that changed.
    async fn run(&self, store: Arc<Store>, history: History, cancelled: AbortRegistration) -> Checked {
        let examined = Abortable::new(self.examine(&store), cancelled).await;
        let now = (self.now)();
        let of = |readiness, has_failed, next, is_cancelled| {
            let store = store.clone();
            Checked { store, readiness, has_failed, status: None, next, is_cancelled }
        };
        let Ok(verdict) = examined else { return of(Readiness::Unchecked, false, now, true) };
        let again = Duration::from_secs(1).saturating_mul(2u32.saturating_pow(history.failures)).min(LONGEST);
        if verdict.is_temporary && history.was_ready && history.failures + 1 < PATIENCE {
            tracing::info!(store = %store.id, namespace = store.id.namespace, "checked again soon: {}", verdict.message);
            return of(Readiness::Ready, true, later(now, again), false);
        }
        let mut status = store.status.clone();
        if verdict.is_unknown() {
            record::set_unknown(&mut status.conditions, verdict.reason, verdict.message.clone(), now);
        } else {
            record::set_ready(&mut status.conditions, verdict.ready, verdict.reason, verdict.message.clone(), now);
        }
        if let Some(about) = verdict.about.filter(|_| verdict.reason == VALID) {
            let can = Capabilities { push: self.pushes && about.can.push, ..about.can };
            status.capabilities = Some(can.access().to_owned().into());
        }
        let mut next = if verdict.ready || verdict.is_unknown() {
            let own = store.spec.as_ref().ok().and_then(|spec| spec.refresh_every().ok().flatten());
            later(now, own.unwrap_or(self.every).max(SHORTEST))
        } else {
            // What is refused as it is stays so until it changes.
            later(now, if store.spec.is_err() { LONGEST } else { again })
        };
        let (mut written, has_failed) = (None, !verdict.ready && !verdict.is_unknown());
        if status != store.status {
            match self.notices.status(&store, &status).await {
                Ok(()) => {
                    self.tell(&store, &verdict);
                    written = Some(status);
                }
                Err(problem) if problem.is_not_found => {}
                Err(problem) => {
                    tracing::warn!(store = %store.id, namespace = store.id.namespace, %problem, "could not write the store's status");
                    next = next.min(later(now, STATUS_RETRY));
                }
            }
        }
        let readiness =
            if verdict.ready { Readiness::Ready } else { Readiness::NotReady(verdict.message.into_string()) };
        Checked { status: written, ..of(readiness, has_failed, next, false) }
    }

    async fn examine(&self, store: &Store) -> Verdict {
        if let Some(problem) = store.bad_regex() {
            return Verdict::bad(Told::without_values(format!("unable to validate store: {problem}")));
        }
        if let Some(problem) = store.spec.as_ref().ok().and_then(|spec| spec.refresh_every().err()) {
            let problem = Told::without_values(problem.to_string());
            return Verdict::bad(told!("unable to validate store: spec.refreshInterval: {}", problem));
        }
        let about = self.clients.about(store);
        if store.is_for_mounts() {
            let message = "spec.loginBy: Mount: pods that mount of it log in as themselves; nobody logs in here";
            return Verdict { reason: LOGIN_BY_MOUNT, about, ..Verdict::bad(message.into()) };
        }
        let good = |message| Verdict { ready: true, reason: VALID, message, about, is_temporary: false };
        let mut validated = Told::from("store validated");
        if store.spec.as_ref().is_ok_and(|spec| matches!(spec.refresh_every(), Ok(Some(own)) if own < SHORTEST)) {
            validated = told!("{}; spec.refreshInterval: {}", validated, REFRESH_RATE);
        }
        match self.clients.check(store).await {
            // What a store's client says of itself is in words of ours.
            Ok(notes) => {
                let notes = notes.into_iter().map(Told::without_values);
                good(Told::join([validated].into_iter().chain(notes), "; "))
            }
            // Credentials come from whoever asks: there is nothing to check before somebody does.
            Err(Refused::Client(error)) if error.kind() == ErrorKind::Referent => good(validated),
            Err(Refused::Client(error)) => Verdict::failed(told!("unable to create client: {}", error), &error),
            // As in External Secrets Operator, a store that can't tell is given the benefit of the doubt.
            Err(Refused::Validation(error)) if error.kind() == ErrorKind::Unverified => {
                let message = told!("could not determine validation status: {}", error);
                Verdict { reason: UNKNOWN, ..good(message) }
            }
            Err(Refused::Validation(error)) => Verdict::failed(told!("unable to validate store: {}", error), &error),
        }
    }

    /// Only what changed is told: that a store is still fine would bury everything else.
    fn tell(&self, store: &Store, verdict: &Verdict) {
        let is_well = verdict.ready || verdict.is_unknown();
        let severity = if is_well { Severity::Normal } else { Severity::Warning };
        self.notices.note(store, Note::new(severity, verdict.reason, verdict.message.clone()));
        let annotations = store.metadata.annotations.as_ref();
        let silenced = annotations.is_some_and(|all| all.contains_key(names::ANNOTATION_IGNORE_MAINTENANCE));
        if verdict.about.is_some_and(|about| !about.maintained) && !silenced {
            let message = "nobody maintains this provider: it is meant for tests";
            self.notices.note(store, Note::new(Severity::Warning, "StoreUnmaintained", message));
        }
        if is_well {
            tracing::info!(store = %store.id, namespace = store.id.namespace, "{}", verdict.message);
        } else {
            tracing::warn!(store = %store.id, namespace = store.id.namespace, "{}", verdict.message);
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
