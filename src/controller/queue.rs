//! What to look at next. Pure: earliest first, what somebody just did before what is merely due, at most one look at
//! a time per object, and of one namespace never so many that another's find no room.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

/// How much a look matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Somebody changed something.
    Asked,
    /// Its time has come.
    Due,
}

/// What waits in a lane: objects of one namespace share theirs.
pub trait InLane {
    /// The name of its lane.
    fn lane(&self) -> &str;
}

/// The queue.
#[derive(Debug)]
pub struct Queue<K> {
    waiting: HashMap<K, (Timestamp, Urgency)>,
    running: HashMap<K, Running>,
    lanes: HashMap<Arc<str>, Lane<K>>,
    /// The lanes in which somebody asked, by the first who did, and those in which something falls due.
    asked: BTreeSet<(Timestamp, Arc<str>)>,
    due: BTreeSet<(Timestamp, Arc<str>)>,
    /// How many looks of each urgency there may be at once: what is due leaves room for what somebody asks for.
    most: usize,
    /// How many there are of each.
    counts: [usize; 2],
}

/// A look that is under way.
#[derive(Clone, Copy, Debug)]
struct Running {
    urgency: Urgency,
    /// When it is to be looked once more, and how urgently.
    again: Option<(Timestamp, Urgency)>,
}

#[derive(Debug)]
struct Lane<K> {
    asked: BTreeSet<(Timestamp, K)>,
    due: BTreeSet<(Timestamp, K)>,
    running: [usize; 2],
    /// Whether more is due than there was room for.
    is_full: bool,
}

impl<K> Default for Lane<K> {
    fn default() -> Self {
        Self { asked: BTreeSet::new(), due: BTreeSet::new(), running: [0; 2], is_full: false }
    }
}

impl<K> Lane<K> {
    fn of(&mut self, urgency: Urgency) -> &mut BTreeSet<(Timestamp, K)> {
        match urgency {
            Urgency::Asked => &mut self.asked,
            Urgency::Due => &mut self.due,
        }
    }
}

impl<K: InLane + Clone + Ord + Hash> Queue<K> {
    /// An empty one, from which so many of each urgency are looked at at once.
    pub fn new(most: usize) -> Self {
        let (waiting, running, lanes) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { waiting, running, lanes, asked: BTreeSet::new(), due: BTreeSet::new(), most, counts: [0; 2] }
    }

    /// Asks for a look at `key` at `at`. Of several the earliest counts, and the most urgent. An object that is being
    /// looked at is looked at once more afterwards.
    pub fn add(&mut self, key: &K, at: Timestamp, urgency: Urgency) {
        let earliest = |before: Option<(Timestamp, Urgency)>| match before {
            Some((time, before)) => (time.min(at), before.min(urgency)),
            None => (at, urgency),
        };
        if let Some(running) = self.running.get_mut(key) {
            running.again = Some(earliest(running.again));
            return;
        }
        let before = self.take(key);
        // The key that is known stays: whoever keeps it shares it.
        let (key, before) = before.map_or_else(|| (key.clone(), None), |(key, before)| (key, Some(before)));
        let (at, urgency) = earliest(before);
        self.waiting.insert(key.clone(), (at, urgency));
        let lane = key.clone();
        self.change(lane.lane(), urgency, |lane| _ = lane.insert((at, key)));
    }

    /// Forgets `key`, unless it is being looked at.
    pub fn remove(&mut self, key: &K) {
        self.take(key);
    }

    /// The next to look at, from now on running. Of each urgency a lane runs no more than there is room left then: one alone
    /// gets half of all, and whoever comes finds some. Where more is due than that, many begin together and not each when
    /// another ends: they fill batches of their stores.
    pub fn next(&mut self, now: Timestamp) -> Option<K> {
        let asked = self.first(Urgency::Asked, now).map(|key| (key, Urgency::Asked));
        let (key, urgency) = asked.or_else(|| Some((self.first(Urgency::Due, now)?, Urgency::Due)))?;
        self.take(&key);
        self.running.insert(key.clone(), Running { urgency, again: None });
        self.counts[urgency as usize] += 1;
        let room = self.room(urgency);
        let lane = self.lanes.entry(Arc::from(key.lane())).or_default();
        lane.running[urgency as usize] += 1;
        if urgency == Urgency::Due {
            lane.is_full = lane.running[urgency as usize] >= room;
        }
        Some(key)
    }

    /// The first of those whose time has come, and for which there is room.
    fn first(&self, urgency: Urgency, now: Timestamp) -> Option<K> {
        let mut due = self.heads(urgency).iter().take_while(|(at, _)| *at <= now);
        let (_, lane) = due.find(|(_, name)| self.has_room(name, urgency))?;
        let lane = self.lanes.get(lane)?;
        let waiting = match urgency {
            Urgency::Asked => &lane.asked,
            Urgency::Due => &lane.due,
        };
        Some(waiting.first()?.1.clone())
    }

    fn heads(&self, urgency: Urgency) -> &BTreeSet<(Timestamp, Arc<str>)> {
        match urgency {
            Urgency::Asked => &self.asked,
            Urgency::Due => &self.due,
        }
    }

    fn room(&self, urgency: Urgency) -> usize {
        self.most.saturating_sub(self.counts[urgency as usize])
    }

    fn has_room(&self, lane: &str, urgency: Urgency) -> bool {
        let Some(lane) = self.lanes.get(lane) else { return self.room(urgency) > 0 };
        let is_full = urgency == Urgency::Due && lane.is_full;
        let room = if is_full { self.room(urgency).div_ceil(2) } else { self.room(urgency) };
        lane.running[urgency as usize] < room
    }

    /// Whether a look at `key` is under way.
    pub fn is_running(&self, key: &K) -> bool {
        self.running.contains_key(key)
    }

    /// Whether a look at `key` is under way that somebody asked for.
    pub fn is_asked_for(&self, key: &K) -> bool {
        self.running.get(key).is_some_and(|running| running.urgency == Urgency::Asked)
    }

    /// The look at `key` has ended; the next is at `next`, or when one was asked for meanwhile.
    pub fn done(&mut self, key: &K, next: Option<Timestamp>) {
        let (known, ended) = self.running.remove_entry(key).unzip();
        let key = known.as_ref().unwrap_or(key);
        if let Some(ended) = &ended {
            self.counts[ended.urgency as usize] -= 1;
            if let Some(lane) = self.lanes.get_mut(key.lane()) {
                lane.running[ended.urgency as usize] -= 1;
                self.drop_empty(key.lane());
            }
        }
        if let Some(next) = next {
            self.add(key, next, Urgency::Due);
        }
        if let Some((at, urgency)) = ended.and_then(|ended| ended.again) {
            self.add(key, at, urgency);
        }
    }

    /// The clock was set back by so much: what waits is to wait no longer for that.
    pub fn clock_was_set_back(&mut self, by: SignedDuration) {
        let moved = |at: Timestamp| at.checked_sub(by).unwrap_or(Timestamp::MIN);
        for (at, _) in self.running.values_mut().filter_map(|running| running.again.as_mut()) {
            *at = moved(*at);
        }
        let waiting: Vec<_> = self.waiting.iter().map(|(key, waiting)| (key.clone(), *waiting)).collect();
        for (key, (at, urgency)) in waiting {
            self.take(&key);
            self.add(&key, moved(at), urgency);
        }
    }

    /// When the first waits for its look of all for which there is room.
    pub fn earliest(&self) -> Option<Timestamp> {
        let first = |urgency: Urgency| {
            let mut heads = self.heads(urgency).iter();
            heads.find(|(_, lane)| self.has_room(lane, urgency)).map(|(at, _)| *at)
        };
        [Urgency::Asked, Urgency::Due].into_iter().filter_map(first).min()
    }

    /// How many looks are under way.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Since when the first waits of those whose time has come.
    pub fn overdue_since(&self, now: Timestamp) -> Option<Timestamp> {
        let heads = [self.asked.first(), self.due.first()].into_iter().flatten();
        heads.map(|(at, _)| *at).filter(|at| *at <= now).min()
    }

    /// How many wait whose time has come. It looks at these alone, but at each.
    pub fn overdue(&self, now: Timestamp) -> usize {
        let is_over = |at: &Timestamp| *at <= now;
        let count = |heads: &BTreeSet<(Timestamp, Arc<str>)>, of: fn(&Lane<K>) -> &BTreeSet<(Timestamp, K)>| {
            let lanes = heads.iter().take_while(|(at, _)| is_over(at)).filter_map(|(_, lane)| self.lanes.get(lane));
            lanes.map(|lane| of(lane).iter().take_while(|(at, _)| is_over(at)).count()).sum::<usize>()
        };
        count(&self.asked, |lane| &lane.asked) + count(&self.due, |lane| &lane.due)
    }

    /// How many wait, their time having come or not.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn take(&mut self, key: &K) -> Option<(K, (Timestamp, Urgency))> {
        let (known, (at, urgency)) = self.waiting.remove_entry(key)?;
        self.change(key.lane(), urgency, |waiting| _ = waiting.remove(&(at, key.clone())));
        self.drop_empty(key.lane());
        Some((known, (at, urgency)))
    }

    /// Changes what waits in a lane, and keeps its place among the others.
    fn change(&mut self, name: &str, urgency: Urgency, change: impl FnOnce(&mut BTreeSet<(Timestamp, K)>)) {
        let name = self.lanes.get_key_value(name).map_or_else(|| Arc::from(name), |(known, _)| known.clone());
        let waiting = self.lanes.entry(name.clone()).or_default().of(urgency);
        let before = waiting.first().map(|(at, _)| *at);
        change(waiting);
        let after = waiting.first().map(|(at, _)| *at);
        let heads = match urgency {
            Urgency::Asked => &mut self.asked,
            Urgency::Due => &mut self.due,
        };
        if before != after {
            if let Some(before) = before {
                heads.remove(&(before, name.clone()));
            }
            heads.extend(after.map(|after| (after, name)));
        }
    }

    fn drop_empty(&mut self, name: &str) {
        let is_empty = |lane: &Lane<K>| lane.running == [0; 2] && lane.asked.is_empty() && lane.due.is_empty();
        if self.lanes.get(name).is_some_and(is_empty) {
            self.lanes.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use keyferry_builders::at;

    use super::*;

    /// The lane is what stands before the slash.
    impl InLane for &str {
        fn lane(&self) -> &str {
            self.split('/').next().unwrap_or(self)
        }
    }

    #[test]
    fn it_tells_how_many_are_overdue_and_since_when() {
        let mut queue = Queue::new(1);
        assert_eq!((queue.overdue(at(9)), queue.overdue_since(at(9))), (0, None));
        for (key, time, urgency) in [
            ("n/a", 5, Urgency::Due),
            ("n/b", 7, Urgency::Due),
            ("n/late", 20, Urgency::Due),
            ("m/c", 6, Urgency::Asked),
        ] {
            queue.add(&key, at(time), urgency);
        }
        assert_eq!((queue.overdue(at(9)), queue.overdue_since(at(9))), (3, Some(at(5))));
        assert_eq!((queue.next(at(9)), queue.running()), (Some("m/c"), 1));
        assert_eq!((queue.overdue(at(9)), queue.overdue_since(at(9))), (2, Some(at(5))));
        assert_eq!((queue.overdue(at(4)), queue.overdue_since(at(4))), (0, None));
    }

    #[test]
    fn the_earliest_counts_and_edits_go_first() {
        let mut queue = Queue::new(100);
        queue.add(&"a", at(5), Urgency::Due);
        queue.add(&"a", at(9), Urgency::Due);
        queue.add(&"b", at(1), Urgency::Due);
        queue.add(&"c", at(7), Urgency::Asked);
        assert_eq!(queue.earliest(), Some(at(1)));
        assert_eq!(queue.next(at(0)), None);
        assert_eq!(queue.next(at(8)), Some("c"));
        assert_eq!(queue.next(at(8)), Some("b"));
        assert_eq!(queue.next(at(8)), Some("a"));
        assert_eq!(queue.next(at(99)), None, "all three are running");
    }

    #[test]
    fn one_look_at_a_time_and_what_came_meanwhile_afterwards() {
        let mut queue = Queue::new(100);
        queue.add(&"a", at(1), Urgency::Due);
        assert!(!queue.is_running(&"a"));
        assert_eq!(queue.next(at(1)), Some("a"));
        assert!(queue.is_running(&"a"));
        queue.add(&"a", at(1), Urgency::Asked);
        assert_eq!(queue.next(at(50)), None);
        queue.done(&"a", Some(at(100)));
        assert_eq!(queue.next(at(50)), Some("a"));
        queue.done(&"a", Some(at(100)));
        assert_eq!((queue.next(at(99)), queue.next(at(100))), (None, Some("a")));
        queue.done(&"a", None);
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_delays_nothing() {
        let mut queue = Queue::new(100);
        queue.add(&"running", at(3600), Urgency::Due);
        assert_eq!(queue.next(at(3600)), Some("running"));
        queue.add(&"running", at(3600), Urgency::Asked);
        queue.add(&"a", at(3601), Urgency::Due);
        queue.add(&"b", at(3602), Urgency::Asked);
        queue.clock_was_set_back(SignedDuration::from_hours(1));
        queue.done(&"running", None);
        assert_eq!(["running", "b", "a"].map(Some), [queue.next(at(0)), queue.next(at(2)), queue.next(at(2))]);
    }

    #[test]
    fn what_is_removed_does_not_come() {
        let mut queue = Queue::new(100);
        queue.add(&"a", at(1), Urgency::Asked);
        queue.remove(&"a");
        assert_eq!((queue.next(at(9)), queue.earliest()), (None, None));
    }

    #[test]
    fn whoever_comes_finds_room_though_all_looks_of_another_hang() {
        let mut queue = Queue::new(8);
        let loud: Vec<String> = (0..20).map(|n| format!("loud/{n:02}")).collect();
        for key in &loud {
            queue.add(&key.as_str(), at(0), Urgency::Asked);
        }
        let mut begun = Vec::new();
        begun.extend(std::iter::from_fn(|| queue.next(at(9))));
        assert_eq!(begun.len(), 4, "one alone gets half");
        assert_eq!(queue.earliest(), None, "nothing of those that wait can begin");
        queue.add(&"quiet/a", at(5), Urgency::Asked);
        assert_eq!(queue.earliest(), Some(at(5)));
        assert_eq!((queue.next(at(4)), queue.next(at(5))), (None, Some("quiet/a")));
        queue.add(&"third/a", at(5), Urgency::Asked);
        assert_eq!(queue.next(at(5)), Some("third/a"));
        // What ends makes room, for its own lane too.
        queue.done(&begun[0], None);
        queue.done(&"quiet/a", None);
        queue.done(&"third/a", None);
        assert_eq!((queue.next(at(9)), queue.next(at(9))), (Some("loud/04"), None));
        for key in begun.into_iter().skip(1).chain(["loud/04"]) {
            queue.done(&key, None);
        }
        assert_eq!(std::iter::from_fn(|| queue.next(at(9))).count(), 4);
    }

    #[test]
    fn what_is_due_leaves_room_for_what_somebody_asks_for() {
        let mut queue = Queue::new(4);
        let due: Vec<String> =
            ["a", "b", "c"].iter().flat_map(|lane| (0..9).map(move |n| format!("{lane}/{n}"))).collect();
        for key in &due {
            queue.add(&key.as_str(), at(0), Urgency::Due);
        }
        let begun: Vec<&str> = std::iter::from_fn(|| queue.next(at(9))).collect();
        assert!(begun.len() >= 3 && begun.iter().all(|key| !queue.is_asked_for(key)), "{begun:?}");
        // In the very lane that has all that it may have of what is due, and for one that was waiting there.
        for key in ["a/edited", "a/8"] {
            queue.add(&key, at(9), Urgency::Asked);
            assert_eq!((queue.earliest(), queue.next(at(9))), (Some(at(if key == "a/8" { 0 } else { 9 })), Some(key)));
            assert!(queue.is_asked_for(&key));
        }
        queue.add(&"a/7", at(9), Urgency::Asked);
        assert_eq!(queue.next(at(9)), None, "one lane alone gets half of that, too");
        queue.done(&"a/edited", Some(at(0)));
        assert_eq!(queue.next(at(9)), Some("a/7"), "and what was asked for once is due from then on");
        assert_eq!(queue.next(at(9)), None);
    }

    #[test]
    fn what_is_due_begins_together_where_there_is_more_than_room() {
        for lanes in [1, 4] {
            let mut queue = Queue::new(2000);
            let due: Vec<String> = (0..10_000).map(|n| format!("{}/{n:04}", n % lanes)).collect();
            for key in &due {
                queue.add(&key.as_str(), at(0), Urgency::Due);
            }
            let mut running = std::collections::VecDeque::new();
            let (mut times, mut ended) = (0, 0);
            while ended < due.len() {
                let begun: Vec<&str> = std::iter::from_fn(|| queue.next(at(9))).collect();
                times += usize::from(!begun.is_empty());
                running.extend(begun);
                assert!(!running.is_empty(), "something is always under way");
                let first = running.pop_front().unwrap();
                queue.done(&first, None);
                ended += 1;
            }
            assert!(times <= 10_000 / 80, "{times} times in {lanes} lanes, of which the most fill four batches");
        }
        let mut queue = Queue::new(1);
        for key in ["a/1", "a/2"] {
            queue.add(&key, at(0), Urgency::Due);
        }
        for key in ["a/1", "a/2"] {
            assert_eq!((queue.next(at(9)), queue.next(at(9))), (Some(key), None));
            queue.done(&key, None);
        }
    }

    #[test]
    fn lanes_that_hold_nothing_leave_nothing() {
        let mut queue = Queue::new(8);
        for n in 0..100 {
            let key: &'static str = Box::leak(format!("ns{n}/a").into_boxed_str());
            queue.add(&key, at(1), Urgency::Asked);
            queue.add(&key, at(0), Urgency::Due);
            assert_eq!(queue.next(at(1)), Some(key));
            queue.done(&key, Some(at(5)));
            queue.remove(&key);
        }
        assert!(queue.lanes.is_empty() && queue.asked.is_empty() && queue.due.is_empty() && queue.running.is_empty());
    }
}
