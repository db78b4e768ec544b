//! How often, and how fast, what fails for a passing reason is tried again.

use std::time::Duration;

use keyferry_provider_core::Error;
use rand::Rng as _;

/// The longest that a store may make us wait for the next try. Who asks for more is left alone: the refresh fails,
/// and its schedule knows how long to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long after the first try another is begun, where nobody said how often to try. A store that hangs has taken its
/// time by then: who waits is told, and the schedule tries again.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Tries after the first.
    pub most: u32,
    /// The time between two tries.
    pub delay: Delay,
    /// How long after the beginning of the first try another is begun.
    pub patience: Duration,
}

/// The time between two tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// This long, then twice as long, and so on, each up to a quarter longer or shorter by chance: many who failed at
    /// once do not come back at once.
    Growing(Duration),
    /// Always this long.
    Fixed(Duration),
}

impl Default for Retries {
    /// For hiccups: what lasts longer is the business of the schedule. Where one call of six fails, of ten thousand one or
    /// none fails so often.
    fn default() -> Self {
        Self { most: 5, delay: Delay::Growing(Duration::from_millis(100)), patience: PATIENCE }
    }
}

impl Retries {
    /// How long to wait before try number `tried` + 1, so long after the beginning of the first, given the errors of the
    /// last; `None` where none is worth it.
    pub(crate) fn wait<'a>(
        &self,
        tried: u32,
        elapsed: Duration,
        errors: impl IntoIterator<Item = &'a Error>,
    ) -> Option<Duration> {
        let temporary: Vec<&Error> = errors.into_iter().filter(|error| error.is_temporary()).collect();
        if temporary.is_empty() || tried > self.most || elapsed > self.patience {
            return None;
        }
        let asked = temporary.iter().filter_map(|error| error.retry_after()).max();
        let own = match self.delay {
            Delay::Fixed(delay) => delay,
            // Bounded before it is multiplied: a duration that overflows panics.
            Delay::Growing(first) => {
                let grown = first.saturating_mul(1 << (tried - 1).min(10)).min(LONGEST_WAIT);
                grown.mul_f64(rand::rng().random_range(0.75..=1.25))
            }
        };
        match asked {
            Some(asked) if asked > LONGEST_WAIT => None,
            asked => Some(own.max(asked.unwrap_or_default())),
        }
    }
}
