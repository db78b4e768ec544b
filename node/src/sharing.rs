//! What pods of one ServiceAccount have in common: what a store answered for one of them is there for the others, for a while and in
//! memory alone, so that it is asked no more often for a hundred pods than for one. They log in as the same, so that the store
//! would answer each of them the same; what each may read of the API server it is asked with its own token all the same.
//!
//! Nobody is shown older values for it: a volume counts as read when the oldest answer that it took was asked for, and is due an
//! interval after that. A pod that has just begun takes none that is older than some seconds: it may have been started for a new one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use keyferry_crds::ExternalSecret;
use keyferry_limits::MOUNT_SHARED;
use keyferry_provider_core::{Answer, Dialect, Error, Keep, Key, Made, Query, State, Term};
use keyferry_sync::asking::{Asking, cost};
use keyferry_sync::dependency::Dependency;
use keyferry_sync::plan::LastSync;
use keyferry_sync::ports::{Change, Entered, Generator, Planning, Stores};
use keyferry_sync::request::generates;
use keyferry_sync::schedule::interval;
use keyferry_sync::store::{Store, StoreId};
use tokio::sync::OwnedMutexGuard;

/// How long answers are kept: within that the kubelet asks for each volume again.
const KEPT: Duration = Duration::from_secs(120);

/// How old an answer may be that a pod takes which has just begun.
const FRESH: SignedDuration = SignedDuration::from_secs(10);

/// What all ServiceAccounts of a node keep in all.
const IN_ALL: usize = 8 * MOUNT_SHARED.size();

/// A store, as its spec was.
type AsItWas = (StoreId, String, i64);

fn as_it_is(store: &Store) -> AsItWas {
    (store.id.clone(), store.uid().to_owned(), store.generation())
}

/// What is kept for one ServiceAccount.
pub struct Shared {
    kept: Mutex<Kept>,
    /// By ExternalSecret, who resolves it now.
    flights: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    in_all: Arc<AtomicUsize>,
    now: fn() -> Timestamp,
}

#[derive(Default)]
struct Kept {
    /// Answers, and when they were asked for.
    answers: HashMap<(AsItWas, Key), (Timestamp, Answer)>,
    /// Stores that let nobody in, and when they were asked to.
    closed: HashMap<AsItWas, (Timestamp, Error)>,
    /// By ExternalSecret: its version when one read all of it, and when the oldest of that was asked for.
    read: HashMap<String, (String, Timestamp)>,
    bytes: usize,
}

impl Shared {
    /// Nothing yet; `in_all` is what all of the node keep.
    pub fn new(in_all: Arc<AtomicUsize>, now: fn() -> Timestamp) -> Arc<Self> {
        Arc::new(Self { kept: Mutex::default(), flights: Mutex::default(), in_all, now })
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else resolves this ExternalSecret: whoever comes next finds the answers.
    pub async fn alone(&self, external_secret: &str) -> OwnedMutexGuard<()> {
        let flight = {
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            flights.retain(|_, flight| Arc::strong_count(flight) > 1);
            flights.entry(external_secret.to_owned()).or_default().clone()
        };
        flight.lock_owned().await
    }

    /// When all of an ExternalSecret of this version was read last, where somebody has of late.
    fn read_at(&self, external_secret: &str, version: &str) -> Option<Timestamp> {
        let now = (self.now)();
        let kept = self.lock();
        let (of, at) = kept.read.get(external_secret)?;
        (of == version && is_kept(*at, now)).then_some(*at)
    }

    /// Whether another has read an ExternalSecret since `last`, of the same version: its volume may have that at no cost.
    pub fn is_newer(&self, es: &ExternalSecret, last: &LastSync) -> bool {
        let name = es.metadata.name.as_deref().unwrap_or_default();
        // What is searched for is searched for by each.
        let searches = es.spec.data_from.iter().any(|entry| entry.find.is_some());
        // Windows say when files may change, whoever has read something.
        let may = !searches && !generates(es) && interval(es).is_some() && es.spec.sync_windows.is_none();
        may && self.read_at(name, &last.version).is_some_and(|at| at > last.at)
    }

    /// All of an ExternalSecret of this version was read; `at` is when the oldest of that was asked for.
    fn is_read(&self, external_secret: &str, version: &str, at: Timestamp) {
        self.lock().read.insert(external_secret.to_owned(), (version.to_owned(), at));
    }

    /// Keeps what there is room for, and says whether that was all of it.
    fn keep(&self, store: &AsItWas, at: Timestamp, answers: &HashMap<Key, Answer>) -> bool {
        let mut kept = self.lock();
        let mut is_all = true;
        for (key, answer) in answers {
            let bytes = cost(answer);
            let is_room = kept.bytes + bytes <= MOUNT_SHARED.size();
            if !is_room || self.in_all.load(Ordering::Relaxed) + bytes > IN_ALL {
                is_all = false;
                continue;
            }
            kept.bytes += bytes;
            self.in_all.fetch_add(bytes, Ordering::Relaxed);
            let former = kept.answers.insert((store.clone(), key.clone()), (at, answer.clone()));
            self.let_go(&mut kept, former.iter().map(|(_, answer)| cost(answer)).sum());
        }
        is_all
    }

    fn let_go(&self, kept: &mut Kept, bytes: usize) {
        kept.bytes = kept.bytes.saturating_sub(bytes);
        self.in_all.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Drops what is old.
    fn tidy(&self) {
        let now = (self.now)();
        let mut kept = self.lock();
        let mut bytes = 0;
        kept.answers.retain(|_, (at, answer)| {
            let stays = is_kept(*at, now);
            bytes += if stays { 0 } else { cost(answer) };
            stays
        });
        self.let_go(&mut kept, bytes);
        kept.closed.retain(|_, (at, _)| is_kept(*at, now));
        kept.read.retain(|_, (_, at)| is_kept(*at, now));
    }

    /// Has what is old dropped, though nobody asks any more.
    fn tidy_later(self: &Arc<Self>) {
        let shared = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(KEPT + Duration::from_secs(1)).await;
            if let Some(shared) = shared.upgrade() {
                shared.tidy();
            }
        });
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let bytes = self.lock().bytes;
        self.in_all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

fn is_kept(at: Timestamp, now: Timestamp) -> bool {
    // A clock that was set back makes all of it old.
    at <= now && now.duration_since(at).unsigned_abs() < KEPT
}

/// The stores for one look: they are asked where nobody else's answer will do.
#[derive(Clone)]
pub struct Sharing(Arc<Look>);

struct Look {
    stores: Arc<dyn Stores>,
    shared: Arc<Shared>,
    /// When its turn came to wait for the others: whatever was asked for since is as good as asked by itself.
    arrived: Timestamp,
    /// When it began: what it asks for counts as asked for then, so that it is never newer to itself.
    began: Timestamp,
    /// Answers that were asked for since then will do.
    since: Timestamp,
    oldest: Mutex<Option<Timestamp>>,
    /// Whether there was an answer that others will not find, or not take.
    lacks: AtomicBool,
}

impl Sharing {
    /// For an ExternalSecret at `version`, of which the volume shows what was read `last`.
    pub fn new(
        stores: Arc<dyn Stores>,
        shared: Arc<Shared>,
        arrived: Timestamp,
        (external_secret, version, every): (&str, &str, Option<Duration>),
        last: Option<&LastSync>,
    ) -> Self {
        let now = (shared.now)();
        // What is as old as the interval would be due itself.
        let not_due = every.and_then(|every| now.checked_sub(SignedDuration::try_from(every).ok()?).ok());
        let since = match (shared.read_at(external_secret, version), last) {
            // As it is now nobody has read it.
            (None, _) => now,
            (Some(_), Some(last)) if last.version == version => last.at + SignedDuration::from_nanos(1),
            // It was changed meanwhile, and read since.
            (Some(at), Some(_)) => at,
            (Some(at), None) => at.max(now - FRESH),
        };
        let since = not_due.map_or(since, |not_due| since.max(not_due));
        shared.tidy();
        Self(Arc::new(Look {
            stores,
            shared,
            arrived,
            began: now,
            since,
            oldest: Mutex::default(),
            lacks: AtomicBool::new(false),
        }))
    }

    /// When the oldest answer was asked for that it took.
    pub fn oldest(&self) -> Timestamp {
        let oldest = *self.0.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        oldest.map_or(self.0.began, |oldest| oldest.min(self.0.began))
    }

    /// Takes note that all of an ExternalSecret of this version was read, where another finds all of it here. Where one would have to
    /// fetch some, and that again is not kept, each would be newer than the others for ever.
    pub fn is_read(&self, external_secret: &str, version: &str) {
        if !self.0.lacks.load(Ordering::Relaxed) {
            self.0.shared.is_read(external_secret, version, self.oldest());
        }
    }
}

impl Look {
    fn will_do(&self, at: Timestamp, is_ok: bool) -> bool {
        at >= self.arrived || is_ok && at >= self.since
    }

    fn known(&self, store: &AsItWas, key: &Key) -> Option<Answer> {
        let kept = self.shared.lock();
        let (at, answer) = kept.answers.get(&(store.clone(), key.clone()))?;
        if !self.will_do(*at, answer.is_ok()) || !is_kept(*at, (self.shared.now)()) {
            return None;
        }
        let mut oldest = self.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        *oldest = Some(oldest.map_or(*at, |oldest| oldest.min(*at)));
        self.lacks.fetch_or(answer.is_err(), Ordering::Relaxed);
        Some(answer.clone())
    }
}

#[async_trait]
impl Stores for Sharing {
    fn planning(&self) -> Planning {
        self.0.stores.planning()
    }

    fn asking(&self, store: &StoreId) -> Planning {
        self.0.stores.asking(store)
    }

    async fn enter(&self, store: &Store, namespace: &str) -> Result<Arc<dyn Entered>, Error> {
        let look = &self.0;
        let store_now = as_it_is(store);
        let closed = look.shared.lock().closed.get(&store_now).filter(|(at, _)| *at >= look.arrived).cloned();
        if let Some((_, error)) = closed {
            return Err(error);
        }
        let asked = (look.shared.now)();
        let entered = look.stores.enter(store, namespace).await.inspect_err(|error| {
            look.shared.lock().closed.insert(store_now.clone(), (asked, error.clone()));
        })?;
        Ok(Arc::new(Within { entered, store: store_now, look: look.clone() }))
    }

    fn hold(&self, asking: &Asking, bytes: usize) -> bool {
        self.0.stores.hold(asking, bytes)
    }

    async fn alone(&self, asking: &Asking) -> bool {
        self.0.stores.alone(asking).await
    }

    async fn rehearse(
        &self,
        store: &Store,
        namespace: &str,
        change: Change<'_>,
        key: Option<&Key>,
    ) -> Result<(), Error> {
        self.0.stores.rehearse(store, namespace, change, key).await
    }

    fn generators(&self) -> &[&'static str] {
        self.0.stores.generators()
    }

    fn generator_field(&self, kind: &str) -> Option<&'static str> {
        self.0.stores.generator_field(kind)
    }

    fn has_state(&self, kind: &str) -> bool {
        self.0.stores.has_state(kind)
    }

    async fn make(&self, generator: &Generator<'_>, keep: Arc<dyn Keep>) -> Result<Made, Error> {
        self.0.stores.make(generator, keep).await
    }

    async fn revoke(&self, generator: &Generator<'_>, state: &State) -> Result<(), Error> {
        self.0.stores.revoke(generator, state).await
    }

    async fn renew(&self, generator: &Generator<'_>, state: &State) -> Result<Option<(State, Term)>, Error> {
        self.0.stores.renew(generator, state).await
    }
}

/// A store that let the ServiceAccount in.
struct Within {
    entered: Arc<dyn Entered>,
    store: AsItWas,
    look: Arc<Look>,
}

#[async_trait]
impl Entered for Within {
    fn dialect(&self) -> Dialect {
        self.entered.dialect()
    }

    fn logs_in_with(&self, object: &Dependency) -> bool {
        self.entered.logs_in_with(object)
    }

    async fn fetch(&self, asking: &Arc<Asking>, keys: Vec<Key>, planning: Planning) -> HashMap<Key, Answer> {
        let (mut all, mut unknown) = (HashMap::new(), Vec::new());
        for key in keys {
            match self.look.known(&self.store, &key) {
                Some(answer) => _ = all.insert(key, asking.paid(answer)),
                None => unknown.push(key),
            }
        }
        if unknown.is_empty() {
            return all;
        }
        let fetched = self.entered.fetch(asking, unknown, planning).await;
        // What was too much for this look says nothing of the store.
        let is_kept = !asking.is_over() && {
            self.look.shared.tidy_later();
            self.look.shared.keep(&self.store, self.look.began, &fetched)
        };
        // What is not there is asked for by each.
        self.look.lacks.fetch_or(!is_kept || fetched.values().any(Result::is_err), Ordering::Relaxed);
        all.extend(fetched);
        all
    }

    async fn find(&self, namespace: &str, query: &Query) -> Result<Vec<Key>, Error> {
        self.entered.find(namespace, query).await
    }
}

#[cfg(test)]
#[path = "sharing_tests.rs"]
mod tests;
