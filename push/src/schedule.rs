//! When to look again: at the next check, on a grid that all share, or after a back-off. Pure.

use std::time::Duration;

use jiff::Timestamp;
use keyferry_crds::PushSecret;
use keyferry_sync::outcome::Retry;
use keyferry_sync::schedule::{SHORTEST, share_of, writes_time_of};
use keyferry_sync::time::later;

use crate::outcome::Outcome;

/// The first wait after a failure, and for what often arrives late.
const FIRST: Duration = Duration::from_secs(1);
const FIRST_LATE: Duration = Duration::from_secs(15);

/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(300);

/// What fails is tried at least this often, or at its interval where that is longer.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);

/// Checks fall on a grid this much finer than the interval, so that they share calls.
const GRAINS: u32 = 20;
const COARSEST: Duration = Duration::from_secs(60);

/// What is checked at start is spread over this, or the interval where that is shorter.
const SPREAD: Duration = Duration::from_secs(60);

/// The time between two checks, where there is one.
pub fn interval(ps: &PushSecret) -> Option<Duration> {
    ps.spec.refresh_every().ok().flatten().map(|interval| interval.max(SHORTEST))
}

/// Whether it checks less often than it asks for.
pub fn is_slowed_down(ps: &PushSecret) -> bool {
    ps.spec.refresh_every().ok().flatten().is_some_and(|interval| interval < SHORTEST)
}

/// When a check is due after one at `at`: the last point of the grid before the interval is over.
pub fn due(at: Timestamp, interval: Duration) -> Timestamp {
    let exact = later(at, interval);
    let grain = i128::try_from((interval / GRAINS).min(COARSEST).as_nanos()).unwrap_or_default();
    if grain == 0 {
        return exact;
    }
    let early = exact.as_nanosecond().rem_euclid(grain);
    Timestamp::from_nanosecond(exact.as_nanosecond() - early).unwrap_or(exact)
}

/// When what was pushed by the process before this one, which began at `started`, is checked first: in steps, so that
/// those of a step share calls.
pub fn first_check(ps: &PushSecret, started: Timestamp) -> Timestamp {
    let spread = interval(ps).unwrap_or(SPREAD).min(SPREAD);
    let step = (share(ps) * f64::from(GRAINS)) as u32;
    later(started, spread / GRAINS * step)
}

/// When to look again after a look that began at `began` and has come to `outcome` now. `None` waits for a change.
pub fn next(ps: &PushSecret, outcome: &Outcome, failures: u32, began: Timestamp, now: Timestamp) -> Option<Timestamp> {
    match outcome {
        Outcome::Waiting(until) => *until,
        Outcome::Holding | Outcome::Ignored | Outcome::Released => None,
        // The source may come back where no watch tells.
        Outcome::Done(_) | Outcome::SourceGone => interval(ps).map(|interval| due(began, interval)),
        Outcome::Failed(failure) => after_failure(ps, failure.retry, failures, now),
    }
}

fn after_failure(ps: &PushSecret, retry: Retry, failures: u32, now: Timestamp) -> Option<Timestamp> {
    let first = match retry {
        Retry::OnChange => return None,
        Retry::Soon => FIRST,
        Retry::Late => FIRST_LATE,
        Retry::After(wait) => wait.max(FIRST),
    };
    let longest = interval(ps).map_or(LONGEST, |interval| LONGEST.min(interval.max(AT_LEAST_EVERY)));
    let grown = FIRST.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    let wait = match retry {
        Retry::After(_) => first.max(grown.min(longest)),
        _ => grown.clamp(first, longest),
    };
    // A tenth earlier or later by object, so that what failed together does not come back together.
    Some(later(now, wait.mul_f64(0.9 + 0.2 * share(ps))))
}

/// Whether a check that changed nothing writes its time into the status, last written at `written`.
pub fn writes_time(ps: &PushSecret, written: Option<Timestamp>, now: Timestamp) -> bool {
    writes_time_of(share(ps), interval(ps).unwrap_or_default(), written, now)
}

/// A number in [0, 1) that stays with the object.
fn share(ps: &PushSecret) -> f64 {
    share_of(&[ps.metadata.uid.as_deref().unwrap_or_default()])
}
