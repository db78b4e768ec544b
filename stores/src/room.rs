//! How much of what stores answer there is room for: read at once, and held until looks are done. Each namespace has room of
//! its own, so that what it asks for never fails another's, nor waits for it for long.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use keyferry_limits::{ALL_HELD, CALLS_AT_ONCE, LARGE_ANSWERS, NAMESPACE_HELD, NAMESPACE_SHARE};
use keyferry_provider_core::Room;
use keyferry_sync::asking::Asking;
use keyferry_sync::store::StoreId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// An answer larger than this is a large one; below it is a medium one. They have permits apart, so that of those who have
/// some of one kind and wait for the other none waits for itself.
const MEDIUM: usize = 1 << 20;

/// For so many bytes there is a permit.
const UNIT: usize = 64 << 10;

/// What is read is there twice for a moment: as it came, and as what it says.
const COPIES: usize = 2;

/// Medium answers have this part of all permits, and those of one place this part of them. A place has half of those for
/// large ones, since the largest answer needs a third of all.
const PARTS: usize = 3;

/// All room of this process.
#[derive(Default)]
pub struct Rooms {
    reading: Arc<Reading>,
    places: Mutex<HashMap<Place, Arc<Hall>>>,
    parts: Arc<Mutex<Parts>>,
    accounts: Mutex<HashMap<String, Arc<Account>>>,
    common: Arc<Common>,
}

/// Whose stores share room: those of a namespace, and each that is nobody's alone.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Namespace(String),
    Cluster(StoreId),
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").finish_non_exhaustive()
    }
}

impl Rooms {
    /// The room that `store` has to be called and read.
    pub fn of_store(&self, store: &StoreId) -> Arc<Door> {
        let place = match &store.namespace {
            Some(namespace) => Place::Namespace(namespace.clone()),
            None => Place::Cluster(store.clone()),
        };
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let hall = places.entry(place).or_insert_with(|| Arc::new(Hall::new(self.reading.clone()))).clone();
        Arc::new(Door { hall, store: store.clone(), parts: self.parts.clone() })
    }

    /// These stores are asked by others, too. Of so many parts that each is divided `into`, these are `held` here.
    pub fn divide(&self, stores: &BTreeSet<StoreId>, held: usize, into: usize) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if (&parts.stores, parts.held, parts.into) != (stores, held, into) {
            *parts = Parts { stores: stores.clone(), held, into };
        }
    }

    /// The room that the looks of a namespace have to hold what they were answered.
    pub fn account(&self, namespace: &str) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.entry(namespace.to_owned()).or_insert_with(|| Arc::new(Account::new(self.common.clone()))).clone()
    }

    /// Which part of what all looks may hold beyond their shares is held now.
    pub fn held_ratio(&self) -> f64 {
        1.0 - self.common.left.load(Ordering::Relaxed) as f64 / ALL_HELD.most as f64
    }

    /// Forgets what nobody uses.
    pub fn tidy(&self) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, hall| Arc::strong_count(hall) > 1);
        self.accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, account| Arc::strong_count(account) > 1);
    }
}

/// Permits to read answers that are not small.
struct Reading {
    medium: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Reading {
    /// Permits for so many bytes of each kind.
    fn new(medium: usize, large: usize) -> Self {
        let permits = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT));
        Self { medium: permits(medium), large: permits(large) }
    }

    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let semaphore = if bytes > MEDIUM { &self.large } else { &self.medium };
        let permits = u32::try_from((COPIES * bytes).div_ceil(UNIT)).ok()?;
        semaphore.clone().acquire_many_owned(permits).await.ok() // never closed
    }
}

impl Default for Reading {
    fn default() -> Self {
        let all = LARGE_ANSWERS.size();
        Self::new(all / PARTS, all - all / PARTS)
    }
}

/// The stores that are asked elsewhere, too, and how much of what they may be asked at once is asked here.
#[derive(Default)]
struct Parts {
    stores: BTreeSet<StoreId>,
    held: usize,
    into: usize,
}

/// The room that the stores of one place have.
struct Hall {
    calls: Semaphore,
    own: Reading,
    all: Arc<Reading>,
}

impl Hall {
    fn new(all: Arc<Reading>) -> Self {
        let bytes = LARGE_ANSWERS.size();
        let own = Reading::new(bytes / PARTS / PARTS, (bytes - bytes / PARTS) / 2);
        Self { calls: Semaphore::new(CALLS_AT_ONCE.size()), own, all }
    }
}

/// The way into one store.
pub struct Door {
    hall: Arc<Hall>,
    store: StoreId,
    parts: Arc<Mutex<Parts>>,
}

impl Door {
    /// Which part of what the store may be asked at once may be asked here.
    pub fn share(&self) -> Share {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if parts.stores.contains(&self.store) {
            Share { held: parts.held.clamp(1, parts.into.max(1)), into: parts.into.max(1) }
        } else {
            Share { held: 1, into: 1 }
        }
    }

    /// Waits until one more call may be made. It is under way as long as the guard lives.
    pub async fn call(&self) -> Option<SemaphorePermit<'_>> {
        // Who has a part of the calls takes for each of them as many as others have.
        let Share { held, into } = self.share();
        let taken = into.div_ceil(held).min(CALLS_AT_ONCE.size());
        self.hall.calls.acquire_many(u32::try_from(taken).ok()?).await.ok() // never closed
    }
}

/// A part of a store's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    held: usize,
    into: usize,
}

impl Share {
    /// The part of a limit that is ours; one at least.
    pub fn of(self, limit: usize) -> usize {
        (limit * self.held / self.into).max(1)
    }

    /// How long to rest after what took so long, where even one is more than the part of a limit that is ours.
    pub fn rest(self, limit: usize, took: Duration) -> Duration {
        let ours = limit * self.held;
        took.mul_f64(self.into.saturating_sub(ours) as f64 / ours.max(1) as f64)
    }
}

#[async_trait]
impl Room for Door {
    async fn take(&self, bytes: usize) -> Box<dyn Send + Sync> {
        // The own one first: who waits for it has nothing of what all share.
        let own = self.hall.own.take(bytes).await;
        let all = self.hall.all.take(bytes).await;
        Box::new((own, all))
    }
}

/// What the looks of all namespaces hold beyond the shares that each has for sure.
struct Common {
    left: AtomicUsize,
    /// One look of all goes beyond what there is room for. Of a namespace one waits for it, so that namespaces have it one
    /// after the other.
    alone: Arc<Semaphore>,
}

impl Default for Common {
    fn default() -> Self {
        Self { left: AtomicUsize::new(ALL_HELD.size()), alone: Arc::new(Semaphore::new(1)) }
    }
}

/// What the looks of a namespace hold.
pub struct Account {
    /// Bytes, and how many of them are taken of what all have in common.
    held: Mutex<(usize, usize)>,
    alone: Arc<Semaphore>,
    common: Arc<Common>,
}

/// Bytes that are held, until this goes.
pub struct Held {
    account: Arc<Account>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.account.held();
        held.0 -= self.bytes;
        // Shares are filled first and emptied last.
        let common = beyond_share(held.0).min(held.1);
        self.account.common.left.fetch_add(held.1 - common, Ordering::Relaxed);
        held.1 = common;
    }
}

/// What of so many bytes is more than a namespace's share.
fn beyond_share(bytes: usize) -> usize {
    bytes.saturating_sub(NAMESPACE_SHARE.size())
}

impl Account {
    fn new(common: Arc<Common>) -> Self {
        Self { held: Mutex::default(), alone: Arc::new(Semaphore::new(1)), common }
    }

    /// Room for so many bytes; `None` where it is taken.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Option<Arc<Held>> {
        let mut held = self.held();
        let all = held.0.checked_add(bytes).filter(|all| *all <= NAMESPACE_HELD.size())?;
        let more = beyond_share(all) - held.1;
        let take = |left: usize| left.checked_sub(more);
        self.common.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        *held = (all, held.1 + more);
        Some(Arc::new(Held { account: self.clone(), bytes }))
    }

    /// Waits for the turn of `asking` to hold more than there is room for beside others. It has it until it is over.
    pub async fn alone(&self, asking: &Asking) {
        let mut turn = asking.alone.lock().await;
        if turn.is_none() {
            // Neither is ever closed.
            let own: Option<OwnedSemaphorePermit> = self.alone.clone().acquire_owned().await.ok();
            let common = self.common.alone.clone().acquire_owned().await.ok();
            *turn = Some(Box::new((own, common)));
        }
    }

    fn held(&self) -> MutexGuard<'_, (usize, usize)> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keyferry_provider_core::body::MAX_BODY;
    use tokio::time::timeout;

    use super::*;

    fn store_id(namespace: &str, name: &str) -> StoreId {
        StoreId { namespace: Some(namespace.to_owned()), name: name.to_owned() }
    }

    async fn waits(take: impl Future) -> bool {
        timeout(Duration::from_secs(1), take).await.is_err()
    }

    const MIB: usize = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn all_stores_of_a_namespace_read_so_much_at_once_and_leave_the_others_room() {
        let rooms = Rooms::default();
        let [one, another] = ["a", "b"].map(|name| rooms.of_store(&store_id("loud", name)));
        let quiet = rooms.of_store(&store_id("quiet", "a"));
        let large = one.take(MAX_BODY).await;
        assert!(waits(another.take(2 * MIB)).await, "two large answers for one namespace");
        let mut medium = Vec::new();
        for _ in 0..5 {
            medium.push(another.take(MEDIUM).await);
        }
        assert!(waits(one.take(MEDIUM)).await);
        assert!(!waits(quiet.take(MAX_BODY)).await && !waits(quiet.take(MEDIUM)).await);
        drop((large, medium));
        assert!(!waits(another.take(MAX_BODY)).await && !waits(one.take(MEDIUM)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn all_namespaces_together_read_so_much_at_once_and_each_answer_counts_twice() {
        let rooms = Rooms::default();
        let doors: Vec<_> = (0..10).map(|n| rooms.of_store(&store_id(&format!("ns{n}"), "a"))).collect();
        let (large, medium) = (64 * MIB, 32 * MIB);
        assert_eq!(large + medium, LARGE_ANSWERS.size());
        for (size, bytes) in [(MAX_BODY, large), (4 * MIB, large), (MEDIUM, medium), (MEDIUM / 8, medium)] {
            let mut taken = Vec::new();
            'all: loop {
                let before = taken.len();
                for door in &doors {
                    taken.extend(timeout(Duration::from_secs(1), door.take(size)).await);
                }
                if taken.len() == before {
                    break 'all;
                }
            }
            assert_eq!(taken.len() * size * 2, bytes, "{size}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_stores_of_a_namespace_are_called_so_often_at_once_and_others_beside() {
        let rooms = Rooms::default();
        let door = rooms.of_store(&store_id("loud", "a"));
        let mut calls = Vec::new();
        for _ in 0..CALLS_AT_ONCE.most {
            calls.push(timeout(Duration::from_secs(1), door.call()).await.expect("there is room").expect("it is open"));
        }
        assert!(waits(rooms.of_store(&store_id("loud", "b")).call()).await);
        assert!(!waits(rooms.of_store(&store_id("quiet", "a")).call()).await);
        calls.pop();
        assert!(!waits(door.call()).await);
    }

    async fn at_once(door: &Door) -> usize {
        let mut calls = Vec::new();
        while let Ok(call) = timeout(Duration::from_secs(1), door.call()).await {
            calls.push(call);
        }
        calls.len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_others_ask_too_is_called_as_often_at_once_as_is_our_part() {
        let (rooms, store) = (Rooms::default(), StoreId { namespace: None, name: "s".to_owned() });
        let split = BTreeSet::from([store.clone()]);
        let (door, other) = (rooms.of_store(&store), rooms.of_store(&store_id("ns", "s")));
        for (held, into) in [(16, 16), (8, 16), (5, 16), (1, 16), (0, 16), (3, 1000)] {
            rooms.divide(&split, held, into);
            let all = CALLS_AT_ONCE.size();
            let ours = at_once(&door).await;
            assert!(ours >= 1 && (ours * into <= all * held.max(1) || ours == 1), "{ours} of {held} of {into}");
            assert!(ours * into * 2 > all * held, "it has its part: {ours} of {held} of {into}");
            assert_eq!(at_once(&other).await, all, "nobody else asks that one");
        }
        let limits = |held, into| {
            rooms.divide(&split, held, into);
            let (share, second) = (door.share(), Duration::from_secs(1));
            (share.of(4), share.rest(4, second).as_secs(), share.of(32), share.rest(32, second).as_secs())
        };
        assert_eq!(limits(16, 16), (4, 0, 32, 0));
        assert_eq!(limits(4, 16), (1, 0, 8, 0));
        assert_eq!(limits(5, 16), (1, 0, 10, 0));
        assert_eq!(limits(1, 16), (1, 3, 2, 0), "a quarter of one: three of four seconds are the others'");
        assert_eq!(limits(1, 64), (1, 15, 1, 1));
        rooms.divide(&BTreeSet::new(), 1, 16);
        assert_eq!(door.share().of(4), 4);
    }

    #[test]
    fn a_namespace_holds_its_share_whatever_the_others_hold_and_all_together_so_much() {
        let rooms = Rooms::default();
        let loud: Vec<_> = (0..10).map(|n| rooms.account(&format!("loud{n}"))).collect();
        // Each takes all that it gets: the first two their 32 MiB, the third the rest, the others their shares.
        let hold_all = |account: &Arc<Account>| (0..100).map_while(|_| account.hold(MIB)).collect::<Vec<_>>();
        let mut held: Vec<_> = loud.iter().map(hold_all).collect();
        let counts: Vec<usize> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [32, 32, 6, 2, 2, 2, 2, 2, 2, 2]);
        let quiet = rooms.account("quiet");
        let own = quiet.hold(NAMESPACE_SHARE.size());
        assert!(own.is_some() && quiet.hold(1).is_none());
        // What is given back is there for others, but for what goes on filling a share.
        held[0].truncate(2);
        assert!(quiet.hold(30 * MIB).is_some_and(|_| quiet.hold(31 * MIB).is_none()));
        drop((held, own));
        assert_eq!(rooms.common.left.load(Ordering::Relaxed), ALL_HELD.size());
    }

    #[tokio::test(start_paused = true)]
    async fn one_look_of_all_goes_beyond_it_at_a_time_and_namespaces_one_after_the_other() {
        let rooms = Rooms::default();
        let asking = |namespace| Asking::new(namespace, Arc::new(keyferry_limits::Budget::new(0, 0)));
        let (first, second, other) = (asking("loud"), asking("loud"), asking("quiet"));
        rooms.account("loud").alone(&first).await;
        let next = tokio::spawn({
            let account = rooms.account("loud");
            async move { account.alone(&second).await }
        });
        assert!(waits(rooms.account("quiet").alone(&other)).await);
        drop(first);
        // The other namespace waits for one look, not for all of the first.
        assert!(!waits(next).await);
        assert!(!waits(rooms.account("quiet").alone(&other)).await);
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let rooms = Rooms::default();
        let (used, _) = (rooms.of_store(&store_id("a", "a")), rooms.of_store(&store_id("b", "a")));
        let (account, _) = (rooms.account("a"), rooms.account("b"));
        rooms.tidy();
        assert_eq!((rooms.places.lock().unwrap().len(), rooms.accounts.lock().unwrap().len()), (1, 1));
        drop((used, account));
    }
}
