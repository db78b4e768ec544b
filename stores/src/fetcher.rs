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
use keyferry_provider_core::{Answer, Blame, Calls, Error, ErrorKind, Key, Provider};
use keyferry_sync::asking::{Asking, LARGE_LOOK, cost};
use keyferry_sync::ports::Planning;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::room::{Account, Door, Held, Rooms, Share};

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
    counted: Counted,
    state: Mutex<State>,
}

/// Where it is counted what is shared, and as which type of store.
pub type Counted = (Arc<dyn Calls>, &'static str);

struct State {
    lanes: Lanes,
    waiters: HashMap<Key, Vec<Waiter>>,
    in_flight: usize,
    /// When the last call ended.
    ended: Option<Instant>,
    /// Until when it is others' turn, who ask the same store.
    rests_until: Option<Instant>,
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
        counted: Counted,
        on_singly: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        let state = State {
            lanes: Lanes::default(),
            waiters: HashMap::new(),
            in_flight: 0,
            ended: None,
            rests_until: None,
            culprits: HashSet::new(),
            singly_until: None,
            paused_until: None,
            pause: Duration::ZERO,
            closed: None,
            alarm: None,
        };
        let (on_singly, state) = (Box::new(on_singly), Mutex::new(state));
        Arc::new(Self { provider, planning, rooms, door, on_singly, counted, state })
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
        let is_alone = asking.is_alone();
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
                    state.lanes.push(asking.lane(), key.clone());
                } else if asking.is_asked_for() {
                    // Others of its namespace wait for it, and may have a long line before them.
                    state.lanes.change_lane(&asking.namespace, asking.lane(), &key);
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
            match state.next(&*self.provider, self.door.share(), |oldest| self.planning.patience(oldest), now) {
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
        let _call = InFlight(&self, Instant::now());
        let (calls, store_type) = &self.counted;
        let (answers, mut sent) = (waiters.values().map(Vec::len).sum(), 0);
        let mut groups = vec![batch];
        while let Some(group) = groups.pop() {
            let room = self.door.call().await;
            sent += 1;
            calls.fetching(store_type, group.len(), self.provider.capabilities().max_batch);
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
        calls.fetched(store_type, answers, sent);
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
        self.counted.0.throttled(self.counted.1);
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
struct InFlight<'a>(&'a Arc<Fetcher>, Instant);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        {
            let (share, now, mut state) = (self.0.door.share(), Instant::now(), self.0.lock());
            state.in_flight -= 1;
            state.ended = Some(now);
            let (_, room) = state.at_once(&*self.0.provider, now);
            state.rests_until = Some(now + share.rest(room, now - self.1).min(LONGEST_PAUSE));
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

    /// How many keys go in a call, and how many calls may be in flight at once.
    fn at_once(&self, provider: &dyn Provider, now: Instant) -> (usize, usize) {
        let singly = self.singly_until.is_some_and(|until| now < until);
        let size = if singly { 1 } else { provider.capabilities().max_batch.max(1) };
        (size, if size == 1 { SINGLES_AT_ONCE } else { BATCHES_AT_ONCE })
    }

    fn next(
        &mut self,
        provider: &dyn Provider,
        share: Share,
        patience: impl Fn(Instant) -> Option<Instant>,
        now: Instant,
    ) -> Next {
        let Some(oldest) = self.lanes.oldest() else { return Next::Nothing };
        if let Some(until) = self.paused_until.max(self.rests_until).filter(|until| now < *until) {
            return Next::Wait(until);
        }
        let (size, room) = self.at_once(provider, now);
        if self.in_flight >= share.of(room) {
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
            _ if size == 1 || culprits.contains(key) || batch.iter().any(|other| culprits.contains(other)) => false,
            batch => batch.len() < size && provider.joins(batch, key),
        });
        Next::Send(batch)
    }
}

/// Keys that wait, by lane: a namespace has one, and one for what somebody asked for.
#[derive(Default)]
struct Lanes {
    /// Whose turn it is, in this order; each lane once.
    turns: VecDeque<String>,
    /// Since when each waits, and the key.
    keys: HashMap<String, VecDeque<(Instant, Key)>>,
    len: usize,
}

impl Lanes {
    fn push(&mut self, lane: &str, key: Key) {
        if !self.keys.contains_key(lane) {
            self.turns.push_back(lane.to_owned());
        }
        self.keys.entry(lane.to_owned()).or_default().push_back((Instant::now(), key));
        self.len += 1;
    }

    /// Moves a key that waits in one lane into another.
    fn change_lane(&mut self, from: &str, to: &str, key: &Key) {
        let Some(lane) = self.keys.get_mut(from) else { return };
        let Some(at) = lane.iter().position(|(_, waiting)| waiting == key) else { return };
        lane.remove(at);
        if lane.is_empty() {
            self.keys.remove(from);
            self.turns.retain(|turn| turn != from);
        }
        self.len -= 1;
        self.push(to, key.clone());
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
#[path = "fetcher_tests.rs"]
mod tests;
