//! Turns: how many of something are under way at once (concurrency permits), handed out by lanes, so that one namespace's
//! thousands don't keep another's one waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::leader::Lead;
use crate::problem::{ApiProblem, timely};

/// A number of permits, handed out to lanes by turns.
pub struct Lanes {
    state: Mutex<State>,
    /// Whether some are kept for lanes that hold none.
    reserves: bool,
}

struct State {
    free: usize,
    /// How many each lane holds; none that holds none.
    held: HashMap<Arc<str>, usize>,
    /// Who waits, by lane.
    waiting: HashMap<Arc<str>, VecDeque<oneshot::Sender<Permit>>>,
    /// The lanes in which somebody waits, in the order of their turns.
    order: VecDeque<Arc<str>>,
}

/// Counts until it is dropped.
pub struct Permit {
    lanes: Option<Arc<Lanes>>,
    lane: Arc<str>,
}

impl Lanes {
    /// As many as this at once, whoever holds them: for what takes a short time.
    pub fn new(most: usize) -> Arc<Self> {
        Self::make(most, false)
    }

    /// No lane holds more than are left then: one alone gets half of them, and whoever comes finds some, however long the
    /// others keep theirs.
    pub fn with_reserve(most: usize) -> Arc<Self> {
        Self::make(most, true)
    }

    fn make(most: usize, reserves: bool) -> Arc<Self> {
        let (held, waiting, order) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Arc::new(Self { state: Mutex::new(State { free: most, held, waiting, order }), reserves })
    }

    /// Waits for a permit.
    pub async fn acquire(self: &Arc<Self>, lane: &Arc<str>) -> Permit {
        let granted = {
            let mut state = self.lock();
            // Who asks now has no turn before who waits in its lane.
            if !state.waiting.contains_key(lane) && state.may_have(lane, self.reserves) {
                return self.grant(&mut state, lane);
            }
            let (sender, granted) = oneshot::channel();
            if !state.waiting.contains_key(lane) {
                state.order.push_back(lane.clone());
            }
            state.waiting.entry(lane.clone()).or_default().push_back(sender);
            granted
        };
        match granted.await {
            Ok(permit) => permit,
            // The sender is dropped with us at the earliest.
            Err(_) => std::future::pending().await,
        }
    }

    fn grant(self: &Arc<Self>, state: &mut State, lane: &Arc<str>) -> Permit {
        state.free -= 1;
        *state.held.entry(lane.clone()).or_default() += 1;
        Permit { lanes: Some(self.clone()), lane: lane.clone() }
    }

    /// One is free again: hands out what can be.
    fn release(self: &Arc<Self>, lane: &Arc<str>) {
        let mut state = self.lock();
        state.give_back(lane);
        for _ in 0..state.order.len() {
            let Some(next) = state.order.pop_front() else { return };
            if state.free == 0 {
                state.order.push_front(next);
                return;
            }
            if state.may_have(&next, self.reserves) {
                self.hand_to(&mut state, &next);
            }
            if state.waiting.contains_key(&next) {
                state.order.push_back(next);
            }
        }
    }

    /// Hands one to the first of this lane who still waits.
    fn hand_to(self: &Arc<Self>, state: &mut State, lane: &Arc<str>) {
        while let Some(first) = state.waiting.get_mut(lane).and_then(VecDeque::pop_front) {
            let permit = self.grant(state, lane);
            match first.send(permit) {
                Ok(()) => break,
                // Nobody waits there any more. It must not be dropped as it is: that would lock once more.
                Err(mut permit) => {
                    permit.lanes = None;
                    state.give_back(lane);
                }
            }
        }
        if state.waiting.get(lane).is_some_and(VecDeque::is_empty) {
            state.waiting.remove(lane);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_have(&self, lane: &Arc<str>, reserves: bool) -> bool {
        let held = self.held.get(lane).copied().unwrap_or_default();
        self.free > 0 && (!reserves || held < self.free)
    }

    fn give_back(&mut self, lane: &Arc<str>) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(lane) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(lane);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(lanes) = self.lanes.take() {
            lanes.release(&self.lane);
        }
    }
}

/// How many objects are read in full at once, half of them for one namespace alone: each may have more than a MiB, which is there
/// several times while it is decoded.
const READS: usize = 8;

/// How many pages of such objects are, half of them for one namespace alone.
const LISTS: usize = 2;

/// How many statuses of large objects are written at once, half of them in one namespace alone: an API server takes a tenth of a
/// second for each of a MiB, and whoever watches objects of any kind hears of them one after another.
const LARGE: usize = 2;

/// How many times as long as such a write took it is waited before the next of them.
const REST: u32 = 4;

/// How long at most.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// How many requests of syncs are under way at once. Requests that wait for a store hold no turn, so that a slow store
/// delays nobody else's writes. Each is for a namespace, whose lane it is in.
#[derive(Clone)]
pub struct Turns {
    requests: Arc<Lanes>,
    syncs: Arc<Lanes>,
    reads: Arc<Lanes>,
    lists: Arc<Lanes>,
    large: Arc<Lanes>,
    lead: Lead,
    /// Whether whoever asks must lead, too: see [`Lead::over`].
    asks_each: bool,
    lane: Arc<str>,
}

impl Turns {
    /// As many as this, while `lead` says that we may write.
    pub fn new(most: usize, lead: Lead) -> Self {
        // A sync may compute for long while it holds its turn, and one namespace alone gets as many as there are requests.
        let (requests, syncs) = (Lanes::new(most), Lanes::with_reserve(2 * most));
        let (reads, lists, large) =
            (Lanes::with_reserve(READS), Lanes::with_reserve(LISTS), Lanes::with_reserve(LARGE));
        Self { requests, syncs, reads, lists, large, lead, asks_each: true, lane: Arc::from("") }
    }

    /// The same for what only reads, and is shared: what one asks for others wait for, who lead where it does no longer.
    pub fn of_reader(&self) -> Self {
        Self { asks_each: false, ..self.clone() }
    }

    /// The same in the lane of this namespace.
    pub fn of(&self, namespace: &str) -> Self {
        Self { lane: Arc::from(namespace), ..self.clone() }
    }

    /// Waits until there is likely to be room for the requests of one more sync. A request takes kilobytes before it is
    /// sent: thousands of syncs that all have their data at once must not all have begun theirs.
    pub async fn take(&self) -> Permit {
        self.syncs.acquire(&self.lane).await
    }

    /// The same for a request that is answered with a page of whole objects, when there is room for those.
    pub async fn list<T, R>(&self, request: impl FnOnce() -> R) -> Result<T, ApiProblem>
    where
        R: Future<Output = Result<T, kube::Error>>,
    {
        let _room = self.lists.acquire(&self.lane).await;
        self.run(request).await
    }

    /// The same for a request that is answered with a whole object.
    pub async fn read<T, R>(&self, request: impl FnOnce() -> R) -> Result<T, ApiProblem>
    where
        R: Future<Output = Result<T, kube::Error>>,
    {
        let _room = self.reads.acquire(&self.lane).await;
        self.run(request).await
    }

    /// The same for a request for which a large object is written anew, with a rest after it: what takes long is very large, or
    /// asked of an API server that is busy.
    pub async fn write_large<T, R>(&self, request: impl FnOnce() -> R) -> Result<T, ApiProblem>
    where
        R: Future<Output = Result<T, kube::Error>>,
    {
        let turn = self.large.acquire(&self.lane).await;
        let begun = Instant::now();
        let written = self.run(request).await;
        let rest = (begun.elapsed() * REST).min(LONGEST_REST);
        tokio::spawn(async move {
            tokio::time::sleep(rest).await;
            drop(turn);
        });
        written
    }

    /// Makes one request and sends it when there is room for it, and while we lead.
    pub async fn run<T, R>(&self, request: impl FnOnce() -> R) -> Result<T, ApiProblem>
    where
        R: Future<Output = Result<T, kube::Error>>,
    {
        let _turn = self.requests.acquire(&self.lane).await;
        // Not before: whoever waited for its turn may have been asleep since.
        self.lead.check()?;
        if let Some(lead) = Lead::here().filter(|_| self.asks_each) {
            lead.check()?;
        }
        // Nor is there room for it before, in a box: thousands may wait, and each is kilobytes.
        Box::pin(timely(request())).await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn lane(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    #[tokio::test]
    async fn lanes_have_turns() {
        let lanes = Lanes::new(1);
        let (loud, quiet) = (lane("loud"), lane("quiet"));
        let first = lanes.acquire(&loud).await;
        let mut second = Box::pin(lanes.acquire(&loud));
        let mut third = Box::pin(lanes.acquire(&loud));
        let mut late = Box::pin(lanes.acquire(&quiet));
        for waiting in [&mut second, &mut third, &mut late] {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        drop(first);
        let second = second.now_or_never().expect("it was first");
        assert!(late.as_mut().now_or_never().is_none());
        drop(second);
        assert!(third.as_mut().now_or_never().is_none(), "its lane had its turn");
        drop(late.now_or_never().expect("it is its turn"));
        drop(third.now_or_never().expect("nobody else waits"));
        assert!(lanes.acquire(&quiet).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_keeps_what_it_has_can_not_have_it_all() {
        let lanes = Lanes::with_reserve(8);
        let take = |name: &str| {
            let all = std::iter::repeat_with(|| lanes.acquire(&lane(name)).now_or_never());
            all.map_while(|permit| permit).take(100).collect::<Vec<_>>()
        };
        let held = [take("a"), take("b"), take("c")];
        assert_eq!(held.each_ref().map(Vec::len), [4, 2, 1]);
        drop(held);
        assert_eq!(take("c").len(), 4, "all came back");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_costs_nothing() {
        let lanes = Lanes::new(1);
        let (a, b) = (lane("a"), lane("b"));
        let held = lanes.acquire(&a).await;
        let mut gone = Box::pin(lanes.acquire(&a));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut granted_and_gone = Box::pin(lanes.acquire(&b));
        assert!(granted_and_gone.as_mut().now_or_never().is_none());
        drop(gone);
        drop(held);
        drop(granted_and_gone);
        assert!(lanes.acquire(&a).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn few_whole_objects_are_read_at_once_and_fewer_for_one_namespace() {
        let turns = Turns::new(64, Lead::always());
        let (now, most) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let read = async || {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            tokio::time::sleep(Duration::from_secs(1)).await;
            now.set(now.get() - 1);
            Ok(())
        };
        let loud = turns.of("loud");
        futures::future::join_all((0..100).map(|_| loud.read(read))).await;
        assert_eq!(most.replace(0), READS / 2);
        let each = (0..100).map(|n| turns.of(&format!("namespace-{}", n % 10))).collect::<Vec<_>>();
        futures::future::join_all(each.iter().map(|turns| turns.read(read))).await;
        assert!(most.get() <= READS, "{}", most.get());
    }

    #[tokio::test(start_paused = true)]
    async fn large_writes_of_a_namespace_go_one_by_one_with_rests_and_anothers_beside_them() {
        let turns = Turns::new(64, Lead::always());
        let last = |name: &'static str, count: usize| {
            let turns = turns.of(name);
            async move {
                let begun = Instant::now();
                let write = async || {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Ok(())
                };
                futures::future::join_all((0..count).map(|_| turns.write_large(write))).await;
                begun.elapsed().as_secs()
            }
        };
        let took = futures::join!(last("loud", 10), last("quiet", 1));
        assert_eq!(took, (9 * u64::from(1 + REST) + 1, 1));
        assert_eq!(turns.of("loud").run(async || Ok(())).await, Ok(()), "what is not large never waits for those");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_once_the_lease_may_be_anothers() {
        let lead = Lead::until(tokio::time::Instant::now(), Duration::from_secs(10));
        let turns = Turns::new(1, lead.clone());
        let sent = std::cell::Cell::new(0);
        let send = async || {
            sent.set(sent.get() + 1);
            Ok(())
        };
        let turns = turns.of("ns");
        assert_eq!(turns.run(send).await, Ok(()));
        // As where the whole process stood still, and another took over.
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(turns.run(send).await, Err(ApiProblem::NotLeading));
        assert_eq!(sent.get(), 1);
        lead.renewed(tokio::time::Instant::now(), Duration::from_secs(10));
        assert_eq!(turns.run(send).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_lost_its_own_lease_sends_nothing_though_others_do() {
        let (process, own) = (Lead::always(), Lead::until(tokio::time::Instant::now(), Duration::from_secs(10)));
        let turns = Turns::new(1, process).of("ns");
        let request = async || Ok(());
        assert_eq!(own.clone().over(turns.run(request)).await, Ok(()));
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(own.clone().over(turns.run(request)).await, Err(ApiProblem::NotLeading));
        assert_eq!(own.over(turns.of_reader().run(request)).await, Ok(()), "others may wait for what is read");
        assert_eq!(turns.run(request).await, Ok(()));
    }
}
