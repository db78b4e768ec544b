//! For whom stores are asked, and what that look may be given: answers are paid for where they arrive, so that those that
//! are too much are dropped one by one and never pile up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use keyferry_limits::{Budget, Exceeded, LOOK_BYTES};
use keyferry_provider_core::{Answer, Error, Key};

use crate::engine::ENTRY;

/// A look that was given more than this makes still more of it, which nobody knows yet: those go one at a time. A Secret
/// holds no more, so that few others are that large.
pub const LARGE_LOOK: usize = 1 << 20;

/// What the lane of looks that somebody asked for is called, after its namespace.
const ASKED_FOR: &str = "/asked";

/// While it lives, there is room for something.
pub type Room = Box<dyn Send + Sync>;

/// One look, at however many stores.
pub struct Asking {
    /// Its namespace.
    pub namespace: String,
    lane: String,
    /// Its turn to hold more than there is room for beside others, once it has one.
    pub alone: futures::lock::Mutex<Option<Room>>,
    budget: Arc<Budget>,
    is_over: AtomicBool,
    room: Mutex<Vec<Room>>,
}

impl Asking {
    /// A look in `namespace` that may be given what `budget` has left.
    pub fn new(namespace: &str, budget: Arc<Budget>) -> Arc<Self> {
        Self::in_lane(namespace, false, budget)
    }

    /// The same; where somebody asked for it, it has a lane beside that of all that is due in its namespace.
    pub fn in_lane(namespace: &str, is_asked_for: bool, budget: Arc<Budget>) -> Arc<Self> {
        let (alone, is_over, room) = Default::default();
        let namespace = namespace.to_owned();
        // No name of a namespace has a slash.
        let lane = if is_asked_for { format!("{namespace}{ASKED_FOR}") } else { namespace.clone() };
        Arc::new(Self { namespace, lane, alone, budget, is_over, room })
    }

    /// Where it waits in line. Lanes have turns: a namespace has two, one for what is due, of which there may be thousands,
    /// and one for what somebody asked for.
    pub fn lane(&self) -> &str {
        &self.lane
    }

    /// Whether somebody asked for it.
    pub fn is_asked_for(&self) -> bool {
        self.lane.len() > self.namespace.len()
    }

    /// The answer, paid for; in its place the limit's error where the budget has not so much left.
    pub fn paid(&self, answer: Answer) -> Answer {
        let bytes = cost(&answer);
        match self.pay(bytes) {
            Ok(()) => answer,
            Err(_) => Err(Error::limit(&LOOK_BYTES)),
        }
    }

    /// Pays for what a search found: the names are held, and asked for.
    pub fn pay_for(&self, found: &[Key]) -> Result<(), Error> {
        let paid = self.pay(found.iter().map(|key| 2 * (key.name.len() + ENTRY)).sum());
        paid.map_err(|_| Error::limit(&LOOK_BYTES))
    }

    /// Whether something was too much: nothing more is worth asking for.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Whether it has its turn to hold more than there is room for. Who waits for that holds the lock, and has none.
    pub fn is_alone(&self) -> bool {
        self.alone.try_lock().is_some_and(|turn| turn.is_some())
    }

    /// The limit that was met, where one was.
    pub fn within(&self) -> Result<(), Exceeded> {
        if self.is_over() { Err(Exceeded::Limit(&LOOK_BYTES)) } else { Ok(()) }
    }

    /// Keeps room for what it was given, until it is over.
    pub fn keep(&self, room: Room) {
        self.room.lock().unwrap_or_else(PoisonError::into_inner).push(room);
    }

    /// Pays for so many bytes.
    pub fn pay(&self, bytes: usize) -> Result<(), Exceeded> {
        self.budget.bytes(bytes).inspect_err(|_| self.is_over.store(true, Ordering::Relaxed))
    }
}

/// What an answer takes of a budget.
pub fn cost(answer: &Answer) -> usize {
    answer.as_ref().map_or(0, |fetched| fetched.value.len()) + ENTRY
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::{Fetched, SecretBytes};

    use super::*;

    #[test]
    fn what_is_too_much_is_the_limits_error_and_ends_the_asking() {
        let asking = Asking::new("ns", Arc::new(Budget::new(1000, 0)));
        let answer = |size| Ok(Fetched::from(SecretBytes::new(vec![0; size])));
        assert!(asking.paid(answer(500)).is_ok() && asking.within().is_ok());
        let error = asking.paid(answer(500)).unwrap_err();
        assert!(error.message().contains("(limit look-bytes)"), "{error}");
        assert!(asking.is_over() && asking.within().is_err());
    }
}
