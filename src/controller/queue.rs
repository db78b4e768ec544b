//! What to look at next. Pure: earliest first, what somebody just did before what is merely due, at most one look at
//! a time per object.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use jiff::{SignedDuration, Timestamp};

/// How much a look matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Somebody changed something.
    Asked,
    /// Its time has come.
    Due,
}

/// The queue.
#[derive(Debug)]
pub struct Queue<K> {
    waiting: HashMap<K, (Timestamp, Urgency)>,
    order: BTreeSet<(Timestamp, K)>,
    asked: BTreeSet<(Timestamp, K)>,
    running: HashMap<K, Option<(Timestamp, Urgency)>>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), order: BTreeSet::new(), asked: BTreeSet::new(), running: HashMap::new() }
    }
}

impl<K: Clone + Ord + Hash> Queue<K> {
    /// Asks for a look at `key` at `at`. Of several the earliest counts, and the most urgent. An object that is being
    /// looked at is looked at once more afterwards.
    pub fn add(&mut self, key: &K, at: Timestamp, urgency: Urgency) {
        let earliest = |before: Option<(Timestamp, Urgency)>| match before {
            Some((time, before)) => (time.min(at), before.min(urgency)),
            None => (at, urgency),
        };
        if let Some(again) = self.running.get_mut(key) {
            *again = Some(earliest(*again));
            return;
        }
        let before = self.take(key);
        let (at, urgency) = earliest(before);
        self.waiting.insert(key.clone(), (at, urgency));
        self.lane(urgency).insert((at, key.clone()));
    }

    /// Forgets `key`, unless it is being looked at.
    pub fn remove(&mut self, key: &K) {
        self.take(key);
    }

    /// The next to look at, from now on running.
    pub fn next(&mut self, now: Timestamp) -> Option<K> {
        let first =
            |lane: &BTreeSet<(Timestamp, K)>| lane.first().filter(|(at, _)| *at <= now).map(|(_, key)| key.clone());
        let key = first(&self.asked).or_else(|| first(&self.order))?;
        self.take(&key);
        self.running.insert(key.clone(), None);
        Some(key)
    }

    /// Whether a look at `key` is under way.
    pub fn is_running(&self, key: &K) -> bool {
        self.running.contains_key(key)
    }

    /// The look at `key` has ended; the next is at `next`, or when one was asked for meanwhile.
    pub fn done(&mut self, key: &K, next: Option<Timestamp>) {
        let again = self.running.remove(key).flatten();
        if let Some(next) = next {
            self.add(key, next, Urgency::Due);
        }
        if let Some((at, urgency)) = again {
            self.add(key, at, urgency);
        }
    }

    /// The clock was set back by so much: what waits is to wait no longer for that.
    pub fn clock_was_set_back(&mut self, by: SignedDuration) {
        let moved = |at: Timestamp| at.checked_sub(by).unwrap_or(Timestamp::MIN);
        for (at, _) in self.running.values_mut().flatten() {
            *at = moved(*at);
        }
        let waiting: Vec<_> = self.waiting.drain().collect();
        self.order.clear();
        self.asked.clear();
        for (key, (at, urgency)) in waiting {
            self.add(&key, moved(at), urgency);
        }
    }

    /// When the first of all waits for its look.
    pub fn earliest(&self) -> Option<Timestamp> {
        let first = |lane: &BTreeSet<(Timestamp, K)>| lane.first().map(|(at, _)| *at);
        [first(&self.asked), first(&self.order)].into_iter().flatten().min()
    }

    /// How many wait, their time having come or not.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn take(&mut self, key: &K) -> Option<(Timestamp, Urgency)> {
        let (at, urgency) = self.waiting.remove(key)?;
        self.lane(urgency).remove(&(at, key.clone()));
        Some((at, urgency))
    }

    fn lane(&mut self, urgency: Urgency) -> &mut BTreeSet<(Timestamp, K)> {
        match urgency {
            Urgency::Asked => &mut self.asked,
            Urgency::Due => &mut self.order,
        }
    }
}

#[cfg(test)]
mod tests {
    use keyferry_builders::at;

    use super::*;

    #[test]
    fn the_earliest_counts_and_edits_go_first() {
        let mut queue = Queue::default();
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
        let mut queue = Queue::default();
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
        let mut queue = Queue::default();
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
        let mut queue = Queue::default();
        queue.add(&"a", at(1), Urgency::Asked);
        queue.remove(&"a");
        assert_eq!((queue.next(at(9)), queue.earliest()), (None, None));
    }
}
