//! The shared fetcher: all who use a client fetch through it, and it makes as few calls of that as it can.
//!
//! Requests wait while calls are in flight and while looks that are due are still being planned (a batch barrier); the
//! same key is fetched once, and many keys travel in one call of the store where it has such a call. Who asks is answered
//! by a call that was sent after the question: a request joins only a batch that has not been sent. A call that fails as
//! a whole is split until the culprit (a poison key) is alone, and known culprits travel alone. Each namespace has its
//! lane: they are served in turn (fair queueing).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyferry_limits::{NAMESPACE_HELD, STORE_WAIT};
use keyferry_provider_core::{Answer, Blame, Error, ErrorKind, Key, Provider};
use keyferry_sync::asking::{Asking, cost};
use keyferry_sync::ports::Planning;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::room::{Account, Door, Held, Rooms};

/// How long a request waits for others that are still being planned, while none of them comes to its end.
const PLANNING_PATIENCE: Duration = Duration::from_millis(50);

/// How long it waits while they do, one after the other, as on a busy machine.
const LONGEST_PLANNING: Duration = Duration::from_millis(500);

/// How long after a call's end a batch that is not full waits for company. Who finds the store idle does not wait.
const LINGER: Duration = Duration::from_millis(45);

/// How long a batch that is not full waits for calls in flight: one that hangs must not hold up the others.
const LONGEST_GATHERING: Duration = Duration::from_millis(200);

/// Calls in flight at once, where a store has batches and where it has none.
const BATCHES_AT_ONCE: usize = 4;
const SINGLES_AT_ONCE: usize = 32;

/// How long a store whose batch call is refused is asked key by key, before the batch is tried again.
const SINGLY_FOR: Duration = Duration::from_secs(3600);

/// The first and the longest pause after a store asked us to slow down.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A look that was given more than this makes still more of it, which nobody knows yet: those go one at a time. A Secret
/// holds no more, so that few others are that large.
const LARGE_LOOK: usize = 1 << 20;

/// How many keys on which whole calls failed are remembered.
const MOST_CULPRITS: usize = 10_000;

/// Counts the looks that may still ask something: any store, or one.
#[derive(Default)]
pub struct Barrier {
    looks: AtomicUsize,
    settled: Notify,
    /// When the last look ended.
    moved: Mutex<Option<Instant>>,
    /// That of all stores, where this is one store's.
    all: Option<Arc<Barrier>>,
}

impl Barrier {
    /// A look begins; it counts until the guard goes, which is when it has asked, or has nothing to ask.
    pub fn begin(self: &Arc<Self>) -> PlanningGuard {
        self.looks.fetch_add(1, Ordering::SeqCst);
        PlanningGuard(self.clone())
    }

    /// The barrier of one store, beside that of all: a look that knows which stores it asks holds up no other's batches.
    pub fn of_store(all: &Arc<Self>) -> Self {
        Self { all: Some(all.clone()), ..Self::default() }
    }

    fn is_settled(&self) -> bool {
        self.looks.load(Ordering::SeqCst) == 0 && self.all.as_ref().is_none_or(|all| all.is_settled())
    }

    /// When the last look ended; `None` where none did.
    fn moved(&self) -> Option<Instant> {
        let here = *self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        here.max(self.all.as_ref().and_then(|all| all.moved()))
    }

    /// Until when who has waited since `oldest` waits for those who may still ask; `None` where there are none.
    fn patience(&self, oldest: Instant) -> Option<Instant> {
        if self.is_settled() {
            return None;
        }
        let moved = self.moved().map_or(oldest, |moved| moved.max(oldest));
        Some((moved + PLANNING_PATIENCE).min(oldest + LONGEST_PLANNING))
    }

    /// Waits until nobody is left who may still ask.
    async fn settle(&self) {
        for barrier in [Some(self), self.all.as_deref()].into_iter().flatten() {
            let settled = barrier.settled.notified();
            if barrier.looks.load(Ordering::SeqCst) > 0 {
                settled.await;
            }
        }
    }
}

/// A look that may still ask something.
pub struct PlanningGuard(Arc<Barrier>);

impl Drop for PlanningGuard {
    fn drop(&mut self) {
        *self.0.moved.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        if self.0.looks.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.settled.notify_waiters();
        }
    }
}

/// The fetcher of one client.
pub struct Fetcher {
    provider: Arc<dyn Provider>,
    planning: Arc<Barrier>,
    rooms: Arc<Rooms>,
    door: Arc<Door>,
    /// Told once when the store turns out to refuse its batch call.
    on_singly: Box<dyn Fn() + Send + Sync>,
    state: Mutex<State>,
}

struct State {
    lanes: Lanes,
    waiters: HashMap<Key, Vec<Waiter>>,
    in_flight: usize,
    /// When the last call ended.
    ended: Option<Instant>,
    /// Keys on which a whole call failed.
    culprits: HashSet<Key>,
    singly_until: Option<Instant>,
    paused_until: Option<Instant>,
    pause: Duration,
    /// Until when the store is left alone, since it asked for longer than anybody should wait; and its word for that.
    closed: Option<(Instant, Error)>,
    /// When the timer that is set rings.
    alarm: Option<Instant>,
}

/// A look that waits for the answer of one key.
struct Waiter {
    /// Told the answer, or nothing where there is no room for it beside what its namespace holds.
    sender: oneshot::Sender<Option<Answer>>,
    asking: Arc<Asking>,
    account: Arc<Account>,
    /// Whether there was no room for something that its look asked for with this: the rest waits for its turn too.
    is_crowded_out: Arc<AtomicBool>,
    /// Whether it is its turn to hold more than that.
    is_alone: bool,
}

impl Waiter {
    /// Whether it did not give up, nor was given more than there is room for, or than it can pay for.
    fn is_there(&self) -> bool {
        !self.sender.is_closed() && !self.asking.is_over() && !self.is_crowded_out.load(Ordering::Relaxed)
    }

    /// Answers all who wait for one key. Those of one namespace need room for one copy, which they share.
    fn answer(waiters: Vec<Self>, answer: &Answer) {
        let mut rooms: Vec<(Arc<Account>, Option<Arc<Held>>)> = Vec::new();
        for waiter in waiters.into_iter().filter(Self::is_there) {
            let has_room = waiter.is_alone || answer.is_err() || {
                let known = rooms.iter().find(|(account, _)| Arc::ptr_eq(account, &waiter.account));
                let room = known.map_or_else(|| waiter.account.hold(cost(answer)), |(_, room)| room.clone());
                if known.is_none() {
                    rooms.push((waiter.account.clone(), room.clone()));
                }
                room.map(|room| waiter.asking.keep(Box::new(room))).is_some()
            };
            if !has_room {
                waiter.is_crowded_out.store(true, Ordering::Relaxed);
            }
            let reply = has_room.then(|| waiter.asking.paid(answer.clone()));
            let _ = waiter.sender.send(reply); // whoever asked may be gone
        }
    }
}

/// What can be done now.
enum Next {
    Send(Vec<Key>),
    Wait(Instant),
    Nothing,
}

impl Fetcher {
    /// A fetcher of `provider`, which is called through `door`. `on_singly` is told when the store refuses its batch call.
    pub fn new(
        provider: Arc<dyn Provider>,
        planning: Arc<Barrier>,
        (rooms, door): (Arc<Rooms>, Arc<Door>),
        on_singly: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        let state = State {
            lanes: Lanes::default(),
            waiters: HashMap::new(),
            in_flight: 0,
            ended: None,
            culprits: HashSet::new(),
            singly_until: None,
            paused_until: None,
            pause: Duration::ZERO,
            closed: None,
            alarm: None,
        };
        Arc::new(Self { provider, planning, rooms, door, on_singly: Box::new(on_singly), state: Mutex::new(state) })
    }

    /// Fetches distinct `keys`; answers each, however long the store takes. `asked` is let go as soon as the keys are in the
    /// queue. What its namespace has no room for is dropped where it arrives, and fetched again when it may hold more. Who is
    /// given much goes on when nobody else does who was.
    pub async fn fetch(
        self: &Arc<Self>,
        asking: &Arc<Asking>,
        keys: Vec<Key>,
        asked: Option<Planning>,
    ) -> HashMap<Key, Answer> {
        let deadline = Instant::now() + Duration::from_secs(STORE_WAIT.most);
        let (mut all, crowded_out) = self.ask(asking, keys, deadline, asked).await;
        let is_large = all.values().map(cost).sum::<usize>() > LARGE_LOOK;
        if crowded_out.is_empty() && !is_large {
            return all;
        }
        let turn = timeout_at(deadline, self.rooms.account(&asking.namespace).alone(asking)).await;
        if turn.is_ok() {
            if !crowded_out.is_empty() {
                all.extend(self.ask(asking, crowded_out, deadline, None).await.0);
            }
            return all;
        }
        let late = Error::new(ErrorKind::Timeout, NAMESPACE_HELD.to_string()).with_blame(Blame::Request);
        all.into_keys().chain(crowded_out).map(|key| (key, Err(late.clone()))).collect()
    }

    /// Asks for `keys` once. The answers, and the keys whose answers there was no room for.
    async fn ask(
        self: &Arc<Self>,
        asking: &Arc<Asking>,
        keys: Vec<Key>,
        deadline: Instant,
        asked: Option<Planning>,
    ) -> (HashMap<Key, Answer>, Vec<Key>) {
        let mut answers = Vec::with_capacity(keys.len());
        let account = self.rooms.account(&asking.namespace);
        let is_crowded_out = Arc::new(AtomicBool::new(false));
        // Who waits for its turn holds the lock, and has none.
        let is_alone = asking.alone.try_lock().is_some_and(|turn| turn.is_some());
        {
            let mut state = self.lock();
            if let Some(error) = state.closed_since() {
                return (keys.into_iter().map(|key| (key, Err(error.clone()))).collect(), Vec::new());
            }
            for key in keys {
                let (sender, receiver) = oneshot::channel();
                let waiters = state.waiters.entry(key.clone()).or_default();
                let (account, is_crowded_out) = (account.clone(), is_crowded_out.clone());
                waiters.push(Waiter { sender, asking: asking.clone(), account, is_crowded_out, is_alone });
                if waiters.len() == 1 {
                    state.lanes.push(&asking.namespace, key.clone());
                }
                answers.push((key, receiver));
            }
        }
        drop(asked);
        self.pump();
        let (mut all, mut crowded_out) = (HashMap::with_capacity(answers.len()), Vec::new());
        for (key, receiver) in answers {
            let lost = || Err(Error::new(ErrorKind::Unavailable, "the call was cut off").with_blame(Blame::Keyferry));
            let late = |_| Ok(Some(Err(Error::new(ErrorKind::Timeout, STORE_WAIT.to_string()))));
            let answer = timeout_at(deadline, receiver).await.unwrap_or_else(late);
            match answer {
                Ok(Some(answer)) => _ = all.insert(key, answer),
                Ok(None) => crowded_out.push(key),
                Err(_) if is_crowded_out.load(Ordering::Relaxed) => crowded_out.push(key),
                Err(_) => _ = all.insert(key, lost()),
            }
        }
        (all, crowded_out)
    }

    /// Whether the store refuses its batch call, so that it is asked key by key.
    pub fn is_singly(&self) -> bool {
        self.lock().singly_until.is_some_and(|until| Instant::now() < until)
    }

    /// Sends what can be sent, and sets the alarm for what can't yet.
    fn pump(self: &Arc<Self>) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match state.next(&*self.provider, |oldest| self.planning.patience(oldest), now) {
                Next::Nothing => return,
                Next::Wait(until) => {
                    if state.alarm.is_none_or(|alarm| until < alarm) {
                        state.alarm = Some(until);
                        tokio::spawn(self.clone().ring(until));
                    }
                    return;
                }
                Next::Send(batch) => {
                    let waiters = batch.iter().filter_map(|key| Some((key.clone(), state.waiters.remove(key)?)));
                    let mut waiters: HashMap<_, _> = waiters.collect();
                    // Whoever gave up need not be answered.
                    waiters.retain(|_, all: &mut Vec<Waiter>| all.iter().any(Waiter::is_there));
                    let batch: Vec<Key> = batch.into_iter().filter(|key| waiters.contains_key(key)).collect();
                    if !batch.is_empty() {
                        state.in_flight += 1;
                        tokio::spawn(self.clone().send(batch, waiters));
                    }
                }
            }
        }
    }

    async fn ring(self: Arc<Self>, until: Instant) {
        if self.planning.is_settled() {
            sleep_until(until).await;
        } else {
            tokio::select! {
                () = self.planning.settle() => {}
                () = sleep_until(until) => {}
            }
        }
        self.lock().alarm = None;
        self.pump();
    }

    /// Makes the call, splitting it where it fails as a whole, and answers all who wait for its keys.
    async fn send(self: Arc<Self>, batch: Vec<Key>, mut waiters: HashMap<Key, Vec<Waiter>>) {
        let _call = InFlight(&self);
        let mut groups = vec![batch];
        while let Some(group) = groups.pop() {
            let room = self.door.call().await;
            let fetched = self.provider.fetch(&group).await;
            drop(room);
            let results = match fetched {
                Ok(results) if results.len() == group.len() => results,
                Ok(_) => {
                    let error = Error::new(ErrorKind::Malformed, "the provider left keys of the batch unanswered");
                    vec![Err(error.with_blame(Blame::Keyferry)); group.len()]
                }
                Err(error) if group.len() > 1 && error.kind() == ErrorKind::BatchDenied => {
                    self.go_singly();
                    groups.extend(group.into_iter().map(|key| vec![key]));
                    continue;
                }
                Err(error) if group.len() > 1 && !error.is_temporary() => {
                    let (left, right) = group.split_at(group.len() / 2);
                    groups.extend([left.to_vec(), right.to_vec()]);
                    continue;
                }
                Err(error) => {
                    if let [key] = group.as_slice()
                        && !error.is_temporary()
                    {
                        self.lock().remember_culprit(key);
                    }
                    vec![Err(error); group.len()]
                }
            };
            self.pace(&results);
            for (key, answer) in group.into_iter().zip(results) {
                if answer.is_ok() {
                    self.lock().culprits.remove(&key);
                }
                Waiter::answer(waiters.remove(&key).unwrap_or_default(), &answer);
            }
        }
    }

    fn go_singly(&self) {
        let news = {
            let mut state = self.lock();
            let news = state.singly_until.is_none();
            state.singly_until = Some(Instant::now() + SINGLY_FOR);
            news
        };
        if news {
            (self.on_singly)();
        }
    }

    /// Slows down while the store asks for it, and goes back to full speed by halves.
    fn pace(&self, results: &[Answer]) {
        let throttled = results.iter().filter_map(|result| result.as_ref().err());
        let throttled: Vec<&Error> = throttled.filter(|error| error.kind() == ErrorKind::Throttled).collect();
        let mut state = self.lock();
        if throttled.is_empty() {
            state.pause /= 2;
            return;
        }
        state.pause = (state.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        let longest = throttled.into_iter().max_by_key(|error| error.retry_after());
        let asked = longest.and_then(Error::retry_after).unwrap_or_default();
        let until = Instant::now() + state.pause.max(asked);
        state.paused_until = Some(until);
        if let Some(error) = longest.filter(|_| asked > LONGEST_PAUSE) {
            state.close(until, error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call in flight; its end makes room, however it ends.
struct InFlight<'a>(&'a Arc<Fetcher>);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.0.lock();
            state.in_flight -= 1;
            state.ended = Some(Instant::now());
        }
        self.0.pump();
    }
}

impl State {
    /// The store's word, while it wants to be left alone.
    fn closed_since(&self) -> Option<Error> {
        self.closed.as_ref().filter(|(until, _)| Instant::now() < *until).map(|(_, error)| error.clone())
    }

    /// Answers all who wait with what the store said: a refresh that fails knows when to come back, one that waits holds
    /// up others.
    fn close(&mut self, until: Instant, error: &Error) {
        self.closed = Some((until, error.clone()));
        self.lanes = Lanes::default();
        for (_, waiters) in self.waiters.drain() {
            Waiter::answer(waiters, &Err(error.clone()));
        }
    }

    fn remember_culprit(&mut self, key: &Key) {
        if self.culprits.len() >= MOST_CULPRITS {
            self.culprits.clear(); // they are found again, at the cost of a few calls
        }
        self.culprits.insert(key.clone());
    }

    fn next(&mut self, provider: &dyn Provider, patience: impl Fn(Instant) -> Option<Instant>, now: Instant) -> Next {
        let Some(oldest) = self.lanes.oldest() else { return Next::Nothing };
        if let Some(until) = self.paused_until.filter(|until| now < *until) {
            return Next::Wait(until);
        }
        let singly = self.singly_until.is_some_and(|until| now < until);
        let size = if singly { 1 } else { provider.capabilities().max_batch.max(1) };
        let room = if size == 1 { SINGLES_AT_ONCE } else { BATCHES_AT_ONCE };
        if self.in_flight >= room {
            return Next::Nothing;
        }
        // Another look may ask for the same key, or fill the batch.
        let planned = patience(oldest).filter(|until| now < *until);
        let until = match (size, self.in_flight, self.ended) {
            _ if planned.is_some() => planned,
            (1, _, _) => None,
            _ if self.lanes.len() >= size => None,
            // Not a full batch: worth waiting for company.
            (_, 1.., _) => Some(oldest + LONGEST_GATHERING),
            (_, 0, Some(ended)) => Some((ended + LINGER).min(oldest + LONGEST_GATHERING)),
            (_, 0, None) => None,
        };
        if let Some(until) = until.filter(|until| now < *until) {
            return Next::Wait(until);
        }
        let culprits = &self.culprits;
        let batch = self.lanes.take(|batch, key| match batch {
            [] => true,
            _ if singly || culprits.contains(key) || batch.iter().any(|other| culprits.contains(other)) => false,
            batch => batch.len() < size && provider.joins(batch, key),
        });
        Next::Send(batch)
    }
}

/// Keys that wait, by namespace.
#[derive(Default)]
struct Lanes {
    /// Whose turn it is, in this order; each namespace once.
    turns: VecDeque<String>,
    /// Since when each waits, and the key.
    keys: HashMap<String, VecDeque<(Instant, Key)>>,
    len: usize,
}

impl Lanes {
    fn push(&mut self, namespace: &str, key: Key) {
        if !self.keys.contains_key(namespace) {
            self.turns.push_back(namespace.to_owned());
        }
        self.keys.entry(namespace.to_owned()).or_default().push_back((Instant::now(), key));
        self.len += 1;
    }

    fn len(&self) -> usize {
        self.len
    }

    /// Since when the key waits that has waited longest.
    fn oldest(&self) -> Option<Instant> {
        self.keys.values().filter_map(|lane| lane.front()).map(|(since, _)| *since).min()
    }

    /// Takes a batch: a key of each namespace in turn, as long as `joins` lets another in. A key that can't join keeps
    /// its place.
    fn take(&mut self, joins: impl Fn(&[Key], &Key) -> bool) -> Vec<Key> {
        let mut batch = Vec::new();
        let mut idle = 0;
        while idle < self.turns.len() {
            let Some(namespace) = self.turns.pop_front() else { break };
            let lane = self.keys.entry(namespace.clone()).or_default();
            match lane.iter().position(|(_, key)| joins(&batch, key)).and_then(|at| lane.remove(at)) {
                Some((_, key)) => {
                    batch.push(key);
                    self.len -= 1;
                    idle = 0;
                }
                None => idle += 1,
            }
            if lane.is_empty() {
                self.keys.remove(&namespace);
            } else {
                self.turns.push_back(namespace);
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use keyferry_builders::key;
    use keyferry_limits::CALLS_AT_ONCE;
    use keyferry_provider_core::{Capabilities, Dialect, Page, Push, Query, Reach, Remote, SecretBytes};
    use keyferry_sync::store::StoreId;
    use tokio::time::sleep;

    use super::*;

    /// A store that answers each key with its name, after a while, and remembers its calls.
    #[derive(Default)]
    struct Double {
        batch: usize,
        takes: Duration,
        /// The value of every key, where that is not its name.
        value: Option<SecretBytes>,
        denies_batches: bool,
        /// How long it asks for, of whoever asks for the key `slow`.
        asks_for: Option<Duration>,
        calls: Mutex<Vec<Vec<String>>>,
    }

    #[async_trait]
    impl Provider for Double {
        fn capabilities(&self) -> Capabilities {
            Capabilities { max_batch: self.batch, ..Capabilities::default() }
        }

        fn dialect(&self) -> Dialect {
            Dialect::default()
        }

        fn joins(&self, _: &[Key], _: &Key) -> bool {
            true
        }

        async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
            self.calls.lock().unwrap().push(keys.iter().map(|key| key.name.clone()).collect());
            sleep(self.takes).await;
            if self.denies_batches && keys.len() > 1 {
                return Err(Error::new(ErrorKind::BatchDenied, "no batches"));
            }
            if let Some(wait) = self.asks_for.filter(|_| keys.iter().any(|key| key.name == "slow")) {
                return Err(Error::new(ErrorKind::Throttled, "slow down").with_retry_after(Some(wait)));
            }
            if keys.iter().any(|key| key.name.starts_with("poison")) {
                Err(Error::new(ErrorKind::Malformed, "poisoned"))
            } else {
                let name = |key: &Key| SecretBytes::from(key.name.as_str());
                let value = |key| self.value.clone().unwrap_or_else(|| name(key));
                Ok(keys.iter().map(|key| Ok(value(key).into())).collect())
            }
        }

        async fn find(&self, _: &Query, _: &[String]) -> Result<Page, Error> {
            Err(Error::cannot("searched"))
        }

        async fn push(&self, _: &Push) -> Result<(), Error> {
            Err(Error::cannot("pushed to"))
        }

        async fn delete(&self, _: &Remote, _: Reach) -> Result<(), Error> {
            Err(Error::cannot("deleted from"))
        }

        async fn exists(&self, _: &Remote) -> Result<bool, Error> {
            Err(Error::cannot("pushed to"))
        }

        async fn validate(&self) -> Result<(), Error> {
            Ok(())
        }

        fn identity_note(&self) -> Option<String> {
            None
        }
    }

    struct Setup {
        double: Arc<Double>,
        fetcher: Arc<Fetcher>,
        planning: Arc<Barrier>,
    }

    fn setup(double: Double) -> Setup {
        let (double, planning) = (Arc::new(double), Arc::new(Barrier::default()));
        Setup { fetcher: Fetcher::new(double.clone(), planning.clone(), room(), || {}), double, planning }
    }

    fn room() -> (Arc<Rooms>, Arc<Door>) {
        let rooms = Arc::new(Rooms::default());
        let store = StoreId { namespace: Some("ns".to_owned()), name: "s".to_owned() };
        let door = rooms.of_store(&store);
        (rooms, door)
    }

    fn look(namespace: &str) -> Arc<Asking> {
        Asking::new(namespace, Arc::default())
    }

    impl Setup {
        fn calls(&self) -> Vec<Vec<String>> {
            self.double.calls.lock().unwrap().clone()
        }

        /// As many looks as keys, all due at once.
        async fn due(&self, keys: Vec<(String, Key)>) -> Vec<Answer> {
            let looks: Vec<_> = keys.into_iter().map(|look| (look, self.planning.begin())).collect();
            let asked = looks.into_iter().map(|((namespace, key), guard)| async move {
                self.fetcher
                    .fetch(&look(&namespace), vec![key.clone()], Some(Box::new(guard)))
                    .await
                    .remove(&key)
                    .unwrap()
            });
            futures::future::join_all(asked).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn due_refreshes_fill_batches_and_the_same_key_is_fetched_once() {
        let setup = setup(Double { batch: 20, takes: Duration::from_millis(100), ..Double::default() });
        let keys = (0..400).map(|n| ("ns".to_owned(), key(format!("k{}", n % 200)))).collect();
        let answers = setup.due(keys).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(setup.calls().len(), 10, "200 distinct keys, 20 to a call");
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_the_store_idle_does_not_wait() {
        let setup = setup(Double { batch: 20, takes: Duration::from_millis(100), ..Double::default() });
        let begun = Instant::now();
        setup.fetcher.fetch(&look("ns"), vec![key("a")], None).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_requests_shares_calls_and_none_waits_long() {
        let setup = setup(Double { batch: 20, takes: Duration::from_millis(100), ..Double::default() });
        let looks = (0..200).map(|n| {
            let fetcher = setup.fetcher.clone();
            async move {
                sleep(Duration::from_millis(20 * n)).await;
                let begun = Instant::now();
                fetcher.fetch(&look("ns"), vec![key(format!("k{n}"))], None).await;
                begun.elapsed()
            }
        });
        let longest = futures::future::join_all(looks).await.into_iter().max().unwrap();
        assert!(setup.calls().len() <= 30, "{} calls", setup.calls().len());
        // The call before its own, the wait for company, and its own.
        assert!(longest <= Duration::from_millis(250), "{longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_holds_up_no_other() {
        let setup = setup(Double { batch: 20, takes: Duration::from_secs(30), ..Double::default() });
        let fetcher = setup.fetcher.clone();
        let _hanging = tokio::spawn(async move { fetcher.fetch(&look("ns"), vec![key("a")], None).await });
        sleep(Duration::from_millis(1)).await;
        let fetcher = setup.fetcher.clone();
        let _other = tokio::spawn(async move { fetcher.fetch(&look("ns"), vec![key("b")], None).await });
        sleep(Duration::from_millis(250)).await;
        assert_eq!(setup.calls().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_after_the_call_was_sent_is_asked_anew() {
        let setup = setup(Double { batch: 20, takes: Duration::from_millis(100), ..Double::default() });
        let fetcher = setup.fetcher.clone();
        let first = tokio::spawn(async move { fetcher.fetch(&look("ns"), vec![key("a")], None).await });
        sleep(Duration::from_millis(50)).await;
        setup.fetcher.fetch(&look("ns"), vec![key("a")], None).await;
        first.await.unwrap();
        assert_eq!(setup.calls().len(), 2, "the second must not get what was read before it asked");
    }

    #[tokio::test(start_paused = true)]
    async fn a_culprit_fails_alone_and_then_travels_alone() {
        let setup = setup(Double { batch: 20, ..Double::default() });
        let keys = |n: usize| ("ns".to_owned(), key(if n == 7 { "poison".to_owned() } else { format!("k{n}") }));
        let answers = setup.due((0..20).map(keys).collect()).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
        let before = setup.calls().len();
        sleep(Duration::from_secs(1)).await;
        let answers = setup.due((0..20).map(keys).collect()).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
        assert_eq!(setup.calls().len() - before, 2, "nineteen together, one alone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_batch_call_falls_back_to_single_calls_and_is_remembered() {
        let setup = setup(Double { batch: 20, denies_batches: true, ..Double::default() });
        let keys = || (0..5).map(|n| ("ns".to_owned(), key(format!("k{n}")))).collect::<Vec<_>>();
        assert!(setup.due(keys()).await.iter().all(Result::is_ok));
        assert_eq!(setup.calls().len(), 6);
        assert!(setup.fetcher.is_singly());
        sleep(Duration::from_secs(1)).await;
        assert!(setup.due(keys()).await.iter().all(Result::is_ok));
        assert_eq!(setup.calls().len(), 11);
        sleep(SINGLY_FOR).await;
        assert!(!setup.fetcher.is_singly());
    }

    #[tokio::test(start_paused = true)]
    async fn namespaces_take_turns() {
        let setup = setup(Double { batch: 4, takes: Duration::from_millis(10), ..Double::default() });
        let big = (0..40).map(|n| ("big".to_owned(), key(format!("big{n}"))));
        let small = (0..2).map(|n| ("small".to_owned(), key(format!("small{n}"))));
        // The big namespace asks first, and the small one need not wait for the end of it.
        setup.due(big.chain(small).collect()).await;
        assert_eq!(setup.calls()[0], ["big0", "small0", "big1", "small1"]);
        assert_eq!(setup.calls().len(), 11);
    }

    async fn fetch_one(fetcher: &Arc<Fetcher>, name: &str) -> Answer {
        fetcher.fetch(&look("ns"), vec![key(name)], None).await.remove(&key(name)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_asks_for_long_is_left_alone_and_nobody_waits_for_it() {
        for asked in [60, 365 * 86400, u64::MAX] {
            let asks_for = Some(Duration::from_secs(asked));
            let setup = setup(Double { batch: 1, takes: Duration::from_millis(10), asks_for, ..Double::default() });
            let begun = Instant::now();
            // Those that are under way are answered, and so are those in the queue.
            let names: Vec<String> = (0..100).map(|n| format!("k{n}")).chain(["slow".to_owned()]).collect();
            let answers = names.iter().rev().map(|name| fetch_one(&setup.fetcher, name));
            let answers = futures::future::join_all(answers).await;
            assert!(answers.iter().filter(|answer| answer.is_err()).count() > 1);
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
            let calls = setup.calls().len();
            let error = fetch_one(&setup.fetcher, "k0").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Throttled);
            assert_eq!(error.retry_after(), Some(Duration::from_secs(asked.min(300))));
            assert_eq!(setup.calls().len(), calls, "it was asked although it wants to be left alone");
            sleep(Duration::from_secs(301)).await;
            assert!(fetch_one(&setup.fetcher, "k0").await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_waits_for_a_store_so_long_and_no_longer() {
        let setup = setup(Double { batch: 20, takes: Duration::from_secs(86400), ..Double::default() });
        let begun = Instant::now();
        let error = fetch_one(&setup.fetcher, "a").await.unwrap_err();
        assert_eq!(begun.elapsed(), Duration::from_secs(300));
        assert!(error.is_temporary() && error.message().contains("store-wait"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_any_more_is_not_asked_for() {
        let setup = setup(Double { batch: 1, takes: Duration::from_secs(1), ..Double::default() });
        let busy = (0..SINGLES_AT_ONCE).map(|n| format!("busy{n}"));
        let fetcher = setup.fetcher.clone();
        let busy = tokio::spawn(async move {
            futures::future::join_all(busy.map(|name| {
                let fetcher = &fetcher;
                async move { fetch_one(fetcher, &name).await }
            }))
            .await
        });
        sleep(Duration::from_millis(1)).await;
        let fetcher = setup.fetcher.clone();
        let given_up = tokio::spawn(async move { fetch_one(&fetcher, "given up").await });
        sleep(Duration::from_millis(1)).await;
        given_up.abort();
        busy.await.unwrap();
        assert!(fetch_one(&setup.fetcher, "another").await.is_ok());
        assert!(!setup.calls().contains(&vec!["given up".to_owned()]));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_about_to_ask_one_store_holds_up_no_other() {
        let all = Arc::new(Barrier::default());
        let of = |all: &Arc<Barrier>| {
            let double = Arc::new(Double { batch: 20, ..Double::default() });
            let planning = Arc::new(Barrier::of_store(all));
            (Fetcher::new(double.clone(), planning.clone(), room(), || {}), planning)
        };
        let ((slow, asking_slow), (other, _)) = (of(&all), of(&all));
        let _search = asking_slow.begin();
        let begun = Instant::now();
        fetch_one(&other, "a").await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        fetch_one(&slow, "a").await.unwrap();
        assert_eq!(begun.elapsed(), PLANNING_PATIENCE);
        // Who does not know yet whom to ask holds up both.
        let _look = all.begin();
        fetch_one(&other, "a").await.unwrap();
        assert!(begun.elapsed() > PLANNING_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_plan_one_after_the_other_are_waited_for_and_not_for_ever() {
        let setup = setup(Double { batch: 20, ..Double::default() });
        let plan = async |looks: u64| {
            // The first begins before anybody waits; each ends after the next began.
            let mut look = setup.planning.begin();
            for _ in 0..looks {
                tokio::time::sleep(PLANNING_PATIENCE / 2).await;
                look = setup.planning.begin();
            }
            drop(look);
        };
        for (looks, expected) in [(6, 6 * PLANNING_PATIENCE / 2), (60, LONGEST_PLANNING)] {
            let begun = Instant::now();
            let waited = async {
                tokio::task::yield_now().await;
                fetch_one(&setup.fetcher, "a").await.unwrap();
                begun.elapsed()
            };
            let ((), waited) = tokio::join!(plan(looks), waited);
            assert_eq!(waited, expected, "{looks} looks");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_key_waits_anew_for_those_who_plan_after_each_call() {
        let setup = setup(Double { batch: 2, ..Double::default() });
        let _search = setup.planning.begin();
        let begun = Instant::now();
        let keys = (0..20).map(|n| key(format!("k{n}"))).collect();
        setup.fetcher.fetch(&look("ns"), keys, None).await;
        assert_eq!(begun.elapsed(), PLANNING_PATIENCE);
    }

    const MIB: usize = 1 << 20;

    /// A value of so many MiB, which is there once.
    fn large(mib: usize) -> Option<SecretBytes> {
        Some(SecretBytes::new(vec![b'v'; mib * MIB]))
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_look_can_not_pay_for_is_dropped_where_it_arrives_and_not_asked_for() {
        let setup = setup(Double { batch: 1, takes: Duration::from_secs(1), value: large(15), ..Double::default() });
        let asking = look("ns");
        let keys = (0..1000).map(|n| key(format!("k{n}"))).collect();
        let answers = setup.fetcher.fetch(&asking, keys, None).await;
        assert!(asking.is_over());
        let held: usize = answers.values().flatten().map(|fetched| fetched.value.len()).sum();
        assert!(held <= 64 * MIB, "{} MiB", held / MIB);
        assert!(setup.calls().len() <= 3 * SINGLES_AT_ONCE, "{} calls", setup.calls().len());
        drop((asking, answers));
        // Another's budget is another's.
        let other = look("other");
        let answers = setup.fetcher.fetch(&other, vec![key("k0")], None).await;
        assert!(answers.values().all(Result::is_ok));
    }

    #[tokio::test(start_paused = true)]
    async fn looks_of_a_namespace_hold_so_much_together_and_all_are_answered() {
        let setup = setup(Double { batch: 20, takes: Duration::from_secs(1), value: large(1), ..Double::default() });
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let looks = (0..20).map(|look_number| {
            let (fetcher, held, most) = (&setup.fetcher, &held, &most);
            async move {
                let asking = look("ns");
                let keys = (0..10).map(|n| key(format!("k{look_number}-{n}"))).collect();
                let answers = fetcher.fetch(&asking, keys, None).await;
                assert!(answers.len() == 10 && answers.values().all(Result::is_ok));
                most.fetch_max(held.fetch_add(10, Ordering::SeqCst) + 10, Ordering::SeqCst);
                sleep(Duration::from_secs(1)).await; // renders and writes
                held.fetch_sub(10, Ordering::SeqCst);
            }
        });
        futures::future::join_all(looks).await;
        let most = most.into_inner();
        assert!(most <= (NAMESPACE_HELD.size() / MIB) + 10, "{most} MiB were held at once");
    }

    #[tokio::test(start_paused = true)]
    async fn looks_that_share_a_large_answer_go_on_one_at_a_time() {
        let setup = setup(Double { batch: 20, takes: Duration::from_secs(1), value: large(2), ..Double::default() });
        let (going, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let looks = (0..20).map(|_| async {
            let asking = look("ns");
            assert!(setup.fetcher.fetch(&asking, vec![key("k")], None).await.values().all(Result::is_ok));
            most.fetch_max(going.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_secs(1)).await; // makes something of it
            going.fetch_sub(1, Ordering::SeqCst);
        });
        futures::future::join_all(looks).await;
        // The first did not wait for the others.
        assert_eq!((setup.calls().len(), most.into_inner()), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_at_several_stores_has_one_turn_for_all_of_them() {
        let double = || Arc::new(Double { batch: 20, value: large(1), ..Double::default() });
        let (rooms, door) = room();
        let fetcher = || Fetcher::new(double(), Arc::default(), (rooms.clone(), door.clone()), || {});
        let (one, another, asking) = (fetcher(), fetcher(), look("ns"));
        let keys = |store: &str| (0..30).map(|n| key(format!("{store}{n}"))).collect();
        let both = futures::future::join(one.fetch(&asking, keys("a"), None), another.fetch(&asking, keys("b"), None));
        let (one, another) = both.await;
        assert!(one.values().chain(another.values()).all(Result::is_ok));
    }

    #[tokio::test(start_paused = true)]
    async fn the_stores_of_a_namespace_are_called_so_often_at_once() {
        let double = Arc::new(Double { batch: 1, takes: Duration::from_secs(1), ..Double::default() });
        let room = room();
        let fetchers: Vec<_> =
            (0..10).map(|_| Fetcher::new(double.clone(), Arc::default(), room.clone(), || {})).collect();
        let looks = fetchers.iter().enumerate().map(|(store, fetcher)| async move {
            fetcher.fetch(&look("ns"), (0..100).map(|n| key(format!("{store}-{n}"))).collect(), None).await
        });
        let calls = async {
            sleep(Duration::from_millis(500)).await;
            double.calls.lock().unwrap().len()
        };
        let (_, at_once) = futures::future::join(futures::future::join_all(looks), calls).await;
        assert_eq!(at_once, CALLS_AT_ONCE.size());
    }
}
