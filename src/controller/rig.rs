//! A controller whose watches, looks and stores are a test's own, on a paused clock.
//!
//! Every look and every check is noted, and a test must expect each: [`Rig::expect`] fails on one that is missing and on
//! one that is too many, and so does the end of the test.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::{Abortable, pending};
use jiff::{SignedDuration, Timestamp};
use keyferry_cluster::leader::Lead;
use keyferry_cluster::shards::{FIRST, Held, Part, Work};
use keyferry_crds::{Condition, ExternalSecret, SecretStoreStatus};
use keyferry_provider_core::Capabilities;
use keyferry_stores::access::{LoginId, Watched as _};
use keyferry_stores::room::Rooms;
use keyferry_sync::copies::CopierKind;
use keyferry_sync::copies::ports::Copies;
use keyferry_sync::dependency::{Dependency, Kind, Name, name_of};
use keyferry_sync::look::{Look, Looked};
use keyferry_sync::outcome::Outcome;
use keyferry_sync::ports::{About, Clients, Notices, Problem, Refused};
use keyferry_sync::record::Note;
use keyferry_sync::store::{Store, StoreId};
use keyferry_sync::time::later;
use kube::api::ObjectMeta;
use kube::core::ApiResource;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Controller;
use super::change::{Change, List, Target};
use super::copier::Copiers;
use super::external_secret::ExternalSecrets;
use super::index::{Index, SubjectKind};
use super::relist::Update;
use super::rig_looks::report;
use super::samples::at;
use super::store::{Checks, Stores};
use super::subject::Shared;
use crate::metrics::Metrics;

thread_local! {
    /// When the paused clock began, and by how much the wall clock was set since.
    static CLOCK: Cell<Option<(Instant, SignedDuration)>> = const { Cell::new(None) };
}

/// The wall clock of a test: it goes with the paused one.
pub fn now() -> Timestamp {
    let (began, set) = CLOCK.get().unwrap_or_else(|| {
        let new = (Instant::now(), SignedDuration::ZERO);
        CLOCK.set(Some(new));
        new
    });
    let noon = Timestamp::from_second(1_700_000_000).unwrap();
    later(noon, began.elapsed()) + set
}

/// Sets the wall clock.
pub fn set_clock(by: SignedDuration) {
    now();
    let (began, set) = CLOCK.get().unwrap();
    CLOCK.set(Some((began, set + by)));
}

/// All is ours.
fn all() -> Part {
    Held::from([(FIRST, Lead::always())]).into()
}

/// How long it is until the next look at an ExternalSecret that is not left alone.
pub const HOUR: Duration = Duration::from_secs(3600);

/// How long it is until the next check of a store that is fine.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a look at an ExternalSecret comes to.
#[derive(Clone, Debug)]
pub enum Answer {
    /// All is as it should be.
    Synced,
    /// The target was written; it has this revision since.
    Wrote(&'static str),
    /// What was left undone is done; the target has this revision.
    Settled(&'static str),
    /// There is no target, on purpose, and there was none.
    Deleted,
    /// All is as it should be, and the status was written; it has this revision since.
    Told(&'static str),
    /// Nothing was due.
    Waiting,
    /// A store is not checked yet.
    Holding,
    /// Another class looks after it.
    Ignored,
    /// It failed.
    Failed,
    /// A bug.
    Panics,
}

/// What the test and the controller share.
#[derive(Default)]
pub(super) struct World {
    /// Looks and checks that began, and what else was asked, and was not expected yet.
    pub(super) log: Vec<String>,
    answers: HashMap<String, Answer>,
    looks: HashMap<String, Look>,
    /// What is made to wait at the end of its look.
    held: HashMap<String, Arc<Notify>>,
    /// What waits for a store that never answers.
    hanging: HashSet<String>,
    refused: HashMap<String, Refused>,
    /// What was last told of what does not decode.
    conditions: Vec<Condition>,
    /// The Secret that a store logs in with, and its revision.
    logins: HashMap<String, (String, &'static str)>,
    /// The revisions at which looks find template sources of which no watch has told.
    sources: HashMap<String, &'static str>,
    unmaintained: bool,
    unwritable: Option<Problem>,
    /// The statuses of each store that were written.
    statuses: HashMap<String, Vec<SecretStoreStatus>>,
    notes: Vec<&'static str>,
    pub(super) pages: Vec<Result<Vec<Target>, Problem>>,
    pub(super) known_kinds: HashSet<Kind>,
    /// The stores that clients are held of.
    clients: BTreeSet<StoreId>,
    /// The ExternalSecrets that were put last, `None` where one does not decode, for a list of them.
    pub(super) objects: BTreeMap<Name, Option<ExternalSecret>>,
}

/// How a rig differs from the usual.
pub struct Options {
    /// Whether SecretStores are checked.
    pub secret_stores: bool,
    /// Whether ClusterSecretStores are looked after.
    pub cluster_stores: bool,
    /// Whether ClusterExternalSecrets and ClusterPushSecrets are.
    pub copiers: bool,
    /// Whether another leads.
    pub stands_by: bool,
    /// Into how many shards all is divided.
    pub shards: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { secret_stores: true, cluster_stores: true, copiers: false, stands_by: false, shards: 1 }
    }
}

/// A running controller.
pub struct Rig {
    world: Arc<Mutex<World>>,
    changes: mpsc::UnboundedSender<Change>,
    /// What was put and is not gone, by list.
    there: HashMap<List, BTreeSet<Name>>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    ready: watch::Receiver<bool>,
    pub(super) lead: watch::Sender<Part>,
    pub(super) works: watch::Receiver<Work>,
    /// How much of what stores may be asked is asked here.
    pub(super) rooms: Arc<Rooms>,
    stop: Option<oneshot::Sender<()>>,
    controller: JoinHandle<()>,
    options: Options,
}

/// The ports of a rig.
pub(super) struct Ports {
    world: Arc<Mutex<World>>,
    index: Arc<Index>,
    pub(super) changes: Mutex<Option<mpsc::UnboundedReceiver<Change>>>,
    /// What tells of a list made anew.
    pub(super) again: Option<mpsc::UnboundedSender<Change>>,
    pub(super) cluster_stores: bool,
    pub(super) copiers: bool,
}

impl Ports {
    /// Notes what is done; gives what it is to wait for, where the test holds what has this name.
    pub(super) fn log(&self, what: String, name: &str) -> Option<Arc<Notify>> {
        let mut world = self.world();
        world.log.push(what);
        world.held.get(name).cloned()
    }

    /// Why statuses can't be written, where a test says so.
    pub(super) fn unwritable(&self) -> Option<Problem> {
        self.world().unwritable.clone()
    }

    /// Notes an event.
    pub(super) fn noted(&self, reason: &'static str) {
        self.world().notes.push(reason);
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

impl Rig {
    /// A controller that has been told nothing yet.
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// The same with other options.
    pub fn with(options: Options) -> Self {
        let (world, index, metrics) =
            (Arc::<Mutex<World>>::default(), Arc::<Index>::default(), Arc::new(Metrics::new()));
        let (changes, told) = mpsc::unbounded_channel();
        let ports = |told| Ports {
            world: world.clone(),
            index: index.clone(),
            changes: Mutex::new(told),
            again: Some(changes.clone()),
            cluster_stores: options.cluster_stores,
            copiers: options.copiers,
        };
        let (ready, is_ready) = watch::channel(false);
        let (lead, leads) = watch::channel(if options.stands_by { Part::default() } else { all() });
        let (work, works) = watch::channel(Work::default());
        let notices: Arc<dyn Notices> = Arc::new(ports(None));
        let shared = Shared::new(index.clone(), metrics.clone(), notices.clone(), now).divided(options.shards);
        let (mut controller, rooms) =
            (Controller::new(shared, Arc::new(ports(Some(told))), ready, leads, work), Arc::<Rooms>::default());
        controller.share(rooms.clone());
        let looks = world.clone();
        let sync = move |look| sync(looks.clone(), look).boxed();
        controller.tend(SubjectKind::ExternalSecret, ExternalSecrets::new(Box::new(sync), None));
        let clients = Arc::new(ports(None));
        let checks = Arc::new(Checks { clients, notices, class: "ours".to_owned(), every: DAY, pushes: true, now });
        controller.tend(SubjectKind::SecretStore, Stores::namespaced(checks.clone(), options.secret_stores));
        if options.cluster_stores {
            controller.tend(SubjectKind::ClusterSecretStore, Stores::of_cluster(checks));
        }
        if options.copiers {
            let copies: Arc<dyn Copies> = Arc::new(ports(None));
            for kind in [CopierKind::ClusterExternalSecret, CopierKind::ClusterPushSecret] {
                controller.tend_copiers(Copiers::new(kind, copies.clone(), now));
            }
        }
        let (stop, stopped) = oneshot::channel();
        let controller = tokio::spawn(controller.run(async { _ = stopped.await }));
        Self {
            world,
            changes,
            there: HashMap::new(),
            metrics,
            ready: is_ready,
            lead,
            works,
            rooms,
            stop: Some(stop),
            controller,
            options,
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Tells of a change.
    pub fn tell(&mut self, change: Change) {
        let put = match &change {
            Change::Subject(kind, Update::Put(told)) => Some((List::Subject(*kind), told.name.clone())),
            Change::Namespace(Update::Put(metadata)) => Some((List::Namespaces, name_of(metadata))),
            Change::PushSecret(Update::Put((name, _))) => Some((List::PushSecrets, name.clone())),
            Change::Object(kind, Update::Put(metadata)) => Some((List::Objects(kind.clone()), name_of(metadata))),
            Change::Subject(..)
            | Change::Namespace(_)
            | Change::PushSecret(_)
            | Change::Object(..)
            | Change::Failed(..)
            | Change::Asked(_)
            | Change::Targets(_)
            | Change::Examined => None,
        };
        if let Change::Subject(SubjectKind::ExternalSecret, update) = &change {
            self.world().take(update);
        }
        if let Some((list, name)) = put {
            self.there.entry(list).or_default().insert(name);
        }
        self.changes.send(change).unwrap();
    }

    /// Tells that a list is complete: of all that was put, where no `names` are given.
    pub fn list<'a>(&mut self, list: &List, names: impl Into<Option<&'a [Name]>>) {
        let names: HashSet<Name> = match names.into() {
            Some(names) => names.iter().cloned().collect(),
            None => self.there.get(list).into_iter().flatten().cloned().collect(),
        };
        self.tell(match list {
            List::Subject(kind) => Change::Subject(*kind, Update::Listed(names)),
            List::Namespaces => Change::Namespace(Update::Listed(names)),
            List::PushSecrets => Change::PushSecret(Update::Listed(names)),
            List::Objects(kind) => Change::Object(kind.clone(), Update::Listed(names)),
        });
    }

    /// Tells that the lists at start are complete, of all that was put; fails where the controller does not begin then.
    pub async fn start(&mut self) {
        self.list_all().await;
        assert!(self.is_ready(), "everything is listed");
    }

    /// Tells that the lists at start are complete, of all that was put.
    pub async fn list_all(&mut self) {
        self.list(&List::Subject(SubjectKind::ExternalSecret), None);
        self.list(&List::Subject(SubjectKind::SecretStore), None);
        if self.options.cluster_stores {
            self.list(&List::Subject(SubjectKind::ClusterSecretStore), None);
            self.list(&List::Namespaces, None);
        }
        if self.options.copiers {
            self.list(&List::Subject(SubjectKind::ClusterExternalSecret), None);
            self.list(&List::Subject(SubjectKind::ClusterPushSecret), None);
            self.list(&List::PushSecrets, None);
        }
        self.settle().await;
        self.list(&List::Objects(Kind::Secret), None);
        self.list(&List::Objects(Kind::ConfigMap), None);
        self.settle().await;
    }

    /// From now on this one leads.
    pub fn lead(&self) {
        self.lead.send_replace(all());
    }

    /// Whether the work has begun, or could.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Lets the controller do all that there is to do, without a moment passing.
    pub async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    /// Fails unless exactly this was done since the last time, in this order.
    #[track_caller]
    pub fn expect<const N: usize>(&self, expected: [&str; N]) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            self.settle().await;
            let done = std::mem::take(&mut self.world().log);
            assert_eq!(done, expected, "at {caller}");
        }
    }

    /// All that was done since the last time, where it is too much to list.
    pub async fn done(&self) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            self.settle().await;
            let more = std::mem::take(&mut self.world().log);
            if more.is_empty() {
                return done;
            }
            done.extend(more);
        }
    }

    /// Lets time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
        self.settle().await;
    }

    /// What a look at this ExternalSecret comes to from now on.
    pub fn answer(&self, name: &str, answer: Answer) {
        self.world().answers.insert(name.to_owned(), answer);
    }

    /// What the last look at this ExternalSecret took along, by what `read` makes of it.
    pub fn look<T>(&self, name: &str, read: impl FnOnce(&Look) -> T) -> T {
        read(self.world().looks.get(name).expect("it was looked at"))
    }

    /// Makes the looks at this wait, until it is released.
    pub fn hold(&self, name: &str) {
        self.world().held.insert(name.to_owned(), Arc::default());
    }

    /// Makes the looks at this wait for ever, or no longer; not those that have begun.
    pub fn hang(&self, name: &str, hangs: bool) {
        let mut world = self.world();
        if hangs {
            world.hanging.insert(name.to_owned());
        } else {
            world.hanging.remove(name);
        }
    }

    /// Lets a look that was made to wait end.
    pub fn release(&self, name: &str) {
        self.world().held.remove(name).expect("it was held").notify_waiters();
    }

    /// Has a store refuse to let us in, or no longer.
    pub fn refuse(&self, store: &str, refused: Option<Refused>) {
        let mut world = self.world();
        match refused {
            Some(refused) => _ = world.refused.insert(store.to_owned(), refused),
            None => _ = world.refused.remove(store),
        }
    }

    /// A store logs in with this Secret at its next check, and reads this revision of it.
    pub fn log_in_with(&self, store: &str, secret: &str, revision: &'static str) {
        self.world().logins.insert(store.to_owned(), (secret.to_owned(), revision));
    }

    /// Looks find this template source at this revision, where no watch has told of it.
    pub fn find_source(&self, name: &str, revision: &'static str) {
        self.world().sources.insert(name.to_owned(), revision);
    }

    /// Nobody maintains the provider of any store.
    pub fn maintain_nothing(&self) {
        self.world().unmaintained = true;
    }

    /// Whether and why statuses can't be written.
    pub fn refuse_statuses(&self, problem: Option<Problem>) {
        self.world().unwritable = problem;
    }

    /// All statuses of a store that were written.
    pub fn statuses(&self, store: &str) -> Vec<SecretStoreStatus> {
        self.world().statuses.get(store).cloned().unwrap_or_default()
    }

    /// What was last told of what does not decode.
    pub fn told_undecodable(&self) -> Condition {
        self.world().conditions[0].clone()
    }

    /// The reason and message of the condition of a store.
    pub fn condition(&self, store: &str) -> (String, String) {
        let status = self.statuses(store).pop().expect("a status was written");
        let condition = status.conditions.into_iter().next().unwrap();
        (condition.reason.unwrap(), condition.message.unwrap())
    }

    /// The reasons of the events on stores since this was last asked.
    pub fn notes(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.world().notes)
    }

    /// Somebody makes a client of a store.
    pub fn make_client(&self, store: StoreId) {
        self.world().clients.insert(store);
    }

    /// The stores that clients are held of.
    pub fn clients(&self) -> Vec<String> {
        self.world().clients.iter().map(|store| store.name.clone()).collect()
    }

    /// The pages of the list of targets at start, the last first.
    pub fn pages(&self, pages: Vec<Result<Vec<Target>, Problem>>) {
        self.world().pages = pages;
    }

    /// The API has this kind.
    pub fn know(&self, kind: &Kind) {
        self.world().known_kinds.insert(kind.clone());
    }

    /// Whether a metric has a series with this in it.
    pub fn counts(&self, text: &str) -> bool {
        String::from_utf8(self.metrics.text()).unwrap().lines().any(|line| line.contains(text))
    }

    /// Asks the controller to stop.
    pub fn stop(&mut self) {
        self.stop.take().expect("stopped once").send(()).unwrap();
    }

    /// Whether it has.
    pub fn has_stopped(&self) -> bool {
        self.controller.is_finished()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.world().log, Vec::<String>::new(), "a test expects all that is done");
        }
    }
}

async fn sync(world: Arc<Mutex<World>>, mut look: Look) -> Looked {
    let name = look.es.metadata.name.clone().unwrap();
    let (held, hangs) = {
        let mut world = world.lock().unwrap();
        world.log.push(format!("look {name}"));
        (world.held.get(&name).cloned(), world.hanging.contains(&name))
    };
    if hangs {
        let _ = Abortable::new(pending::<()>(), look.cancelled.take().unwrap()).await;
        let is_stopped = look.budget.steps(1).is_err();
        world
            .lock()
            .unwrap()
            .log
            .push(format!("cancelled {name}{}", if is_stopped { "" } else { ", and computes on" }));
        let memory = look.memory.clone();
        return Looked { outcome: Outcome::Waiting(None), memory, status: None, next: None };
    }
    if let Some(held) = held {
        held.notified().await;
    }
    let mut world = world.lock().unwrap();
    let answer = world.answers.get(&name).cloned().unwrap_or(Answer::Synced);
    if matches!(answer, Answer::Panics) {
        drop(world);
        panic!("a bug that the test has put here");
    }
    let report = report(&look, &answer, &world.sources);
    world.looks.insert(name, look);
    report
}

#[async_trait]
impl Clients for Ports {
    fn about(&self, _: &Store) -> Option<About> {
        Some(About {
            can: Capabilities { push: true, ..Capabilities::default() },
            maintained: !self.world().unmaintained,
        })
    }

    async fn check(&self, store: &Store) -> Result<Vec<String>, Refused> {
        let name = store.id.name.clone();
        let (held, login) = {
            let mut world = self.world();
            world.log.push(format!("check {name}"));
            (world.held.get(&name).cloned(), world.logins.get(&name).cloned())
        };
        let namespace = store.id.namespace.clone().unwrap_or_else(|| "ns".to_owned());
        let who = LoginId { store: store.id.clone(), namespace: None };
        let login = login.map(|(secret, revision)| (Dependency::new(Kind::Secret, (namespace, secret)), revision));
        if let Some((secret, _)) = &login {
            self.index.follow(&who, secret);
        }
        if let Some(held) = held {
            held.notified().await;
        }
        let reads = login.map(|(secret, revision)| (secret, Some(at(revision)))).into_iter().collect();
        self.index.logged_in(&who, &reads);
        let mut world = self.world();
        world.clients.insert(store.id.clone());
        world.refused.get(&name).cloned().map_or(Ok(Vec::new()), Err)
    }

    fn keep(&self, is_there: &dyn Fn(&StoreId) -> bool) {
        self.world().clients.retain(is_there);
    }
}

#[async_trait]
impl Notices for Ports {
    async fn status(&self, store: &Store, status: &SecretStoreStatus) -> Result<(), Problem> {
        let mut world = self.world();
        if let Some(problem) = &world.unwritable {
            return Err(problem.clone());
        }
        world.statuses.entry(store.id.name.clone()).or_default().push(status.clone());
        Ok(())
    }

    fn note(&self, _: &Store, note: Note) {
        self.world().notes.push(note.reason);
    }

    async fn set_conditions(&self, _: &ApiResource, metadata: ObjectMeta, conditions: Vec<Condition>) {
        let told = conditions[0].message.clone().unwrap();
        assert!(told.contains("externalsecret.spec"), "{told}");
        let mut world = self.world();
        world.log.push(format!("undecodable {}", metadata.name.unwrap()));
        world.conditions = conditions;
    }
}

/// What subjects share, of a controller that does not run.
pub fn shared() -> Shared {
    let (index, changes) = (Arc::<Index>::default(), Mutex::new(None));
    let ports = Ports {
        world: Arc::default(),
        index: index.clone(),
        changes,
        again: None,
        cluster_stores: true,
        copiers: false,
    };
    Shared::new(index, Arc::new(Metrics::new()), Arc::new(ports), now)
}
