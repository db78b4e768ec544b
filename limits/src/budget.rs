//! The budget of a look: charged before anything is allocated or computed, through all stages alike.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{COMPUTE_TIME, LOOK_BYTES, LOOK_STEPS, Limit};

/// What one look has left. Shared by all that works for it; stages take it by reference.
#[derive(Debug)]
pub struct Budget {
    bytes: AtomicU64,
    steps: AtomicU64,
    stopped: AtomicBool,
    /// Of how much it began with.
    whole: (u64, u64),
}

/// Why there is nothing left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// A limit was met.
    Limit(&'static Limit),
    /// The look was stopped from outside: nobody needs it any more, or its time is over.
    Stopped,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(LOOK_BYTES.most, LOOK_STEPS.most)
    }
}

impl Budget {
    /// With this much of each.
    pub fn new(bytes: u64, steps: u64) -> Self {
        Self {
            bytes: AtomicU64::new(bytes),
            steps: AtomicU64::new(steps),
            stopped: AtomicBool::new(false),
            whole: (bytes, steps),
        }
    }

    /// Takes bytes that are about to be allocated.
    pub fn bytes(&self, bytes: usize) -> Result<(), Exceeded> {
        take(&self.bytes, bytes, &LOOK_BYTES)
    }

    /// Takes steps that are about to be computed. Whoever computes for long asks often: this is where it is stopped.
    pub fn steps(&self, steps: usize) -> Result<(), Exceeded> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Exceeded::Stopped);
        }
        take(&self.steps, steps, &LOOK_STEPS)
    }

    /// Which part is taken, from 0 to 1: of bytes or of steps, whichever is more.
    pub fn used(&self) -> f64 {
        let of = |left: &AtomicU64, whole: u64| 1.0 - left.load(Ordering::Relaxed) as f64 / whole.max(1) as f64;
        of(&self.bytes, self.whole.0).max(of(&self.steps, self.whole.1))
    }

    /// Has everything that asks from now on stop.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn take(left: &AtomicU64, amount: usize, limit: &'static Limit) -> Result<(), Exceeded> {
    let amount = u64::try_from(amount).unwrap_or(u64::MAX);
    let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(amount));
    taken.map(|_| ()).map_err(|_| Exceeded::Limit(limit))
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Limit(limit) => limit.fmt(f),
            // Who is stopped since nobody needs the look is told nothing.
            Self::Stopped => COMPUTE_TIME.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_given_and_nothing_is_lost() {
        let budget = Budget::new(10, 5);
        assert_eq!(budget.bytes(11), Err(Exceeded::Limit(&LOOK_BYTES)));
        assert_eq!(budget.used(), 0.0);
        assert_eq!(budget.bytes(10), Ok(()));
        assert_eq!(budget.used(), 1.0);
        assert_eq!(budget.bytes(1), Err(Exceeded::Limit(&LOOK_BYTES)));
        assert_eq!(budget.bytes(usize::MAX), Err(Exceeded::Limit(&LOOK_BYTES)));
        assert_eq!(budget.steps(5), Ok(()));
        assert_eq!(budget.steps(1), Err(Exceeded::Limit(&LOOK_STEPS)));
    }

    #[test]
    fn who_is_stopped_gets_no_more_steps() {
        let budget = Budget::default();
        assert_eq!(budget.steps(1), Ok(()));
        budget.stop();
        assert_eq!(budget.steps(1), Err(Exceeded::Stopped));
    }
}
