//! When to look again (requeue): at the next refresh, on a grid that stores share, or after a back-off. Pure.

use std::time::Duration;

use jiff::Timestamp;
use keyferry_crds::names::KIND_CLUSTER_EXTERNAL_SECRET;
use keyferry_crds::{ExternalSecret, RefreshPolicy, StoreKind};
use keyferry_limits::REFRESH_RATE;

use crate::outcome::{Failure, Outcome, Retry};
use crate::request::generates;
use crate::time::later;

/// The first wait after a failure, and for what often arrives late.
const FIRST: Duration = Duration::from_secs(1);
const FIRST_LATE: Duration = Duration::from_secs(15);

/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(300);

/// A failing ExternalSecret is tried at least this often, or at its interval where that is longer.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);

/// What is overdue at start is spread over this, or the interval where that is shorter.
const SPREAD: Duration = Duration::from_secs(60);

/// Refreshes fall on a grid this much finer than the interval: what is due at about the same time is due at the same
/// time, and shares calls. At most so much too early, and for intervals of the usual kind never again.
const GRAINS: u32 = 20;
const COARSEST: Duration = Duration::from_secs(60);

/// The status of a healthy ExternalSecret is rewritten for its time alone this often, at a moment of its own.
const STATUS_TIMES: Duration = Duration::from_secs(300);

/// The shortest interval: shorter ones act as this one.
pub const SHORTEST: Duration = Duration::from_millis(1000 / REFRESH_RATE.most);

/// By how much clocks may differ: that of the API server, ours, and that of who led before us.
const SKEW: Duration = Duration::from_secs(60);

/// The refresh interval where the ExternalSecret refreshes by time.
pub fn interval(es: &ExternalSecret) -> Option<Duration> {
    written(es).map(|interval| interval.max(SHORTEST))
}

/// Whether it refreshes less often than it asks for.
pub fn is_slowed_down(es: &ExternalSecret) -> bool {
    written(es).is_some_and(|interval| interval < SHORTEST)
}

fn written(es: &ExternalSecret) -> Option<Duration> {
    match es.spec.refresh_policy {
        RefreshPolicy::Periodic | RefreshPolicy::Unknown(_) => es.spec.refresh_every().ok().flatten(),
        RefreshPolicy::CreatedOnce | RefreshPolicy::OnChange => None,
    }
}

/// When to look again after a look that began at `began` and has come to `outcome` now. `None` waits for a change.
pub fn next(
    es: &ExternalSecret,
    outcome: &Outcome,
    failures: u32,
    began: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    match outcome {
        Outcome::Waiting(until) => *until,
        // No watch tells when a generator comes into our class.
        Outcome::Ignored if generates(es) => after_success(es, began),
        Outcome::Holding | Outcome::Ignored | Outcome::MountOnly | Outcome::Released => None,
        Outcome::Synced(_) => after_success(es, began),
        Outcome::Settled { at } => after_success(es, *at),
        Outcome::Failed(failure) => after_failure(es, failure, failures, now),
    }
}

/// After a success at `at`.
pub fn after_success(es: &ExternalSecret, at: Timestamp) -> Option<Timestamp> {
    interval(es).map(|interval| due(es, at, interval))
}

/// When a refresh is due after one at `at`: the last point before `interval` is over of the grid on which all
/// ExternalSecrets of one store and interval are. Different stores have different grids. That of copies is as coarse as
/// the interval: made one after the other, they refresh together from their first refresh on, and all of one key in one
/// call.
pub fn due(es: &ExternalSecret, at: Timestamp, interval: Duration) -> Timestamp {
    let grain = if is_copy(es) { interval } else { grain(interval) };
    let (exact, grain) = (later(at, interval), grain.as_nanos());
    // Years that nanoseconds can't tell are those of intervals that never end.
    let Ok(grain) = i128::try_from(grain) else { return exact };
    if grain == 0 {
        return exact;
    }
    let store = es.spec.secret_store_ref.clone().unwrap_or_default();
    let namespace = es.metadata.namespace.as_deref().filter(|_| store.kind != StoreKind::ClusterSecretStore);
    let offset = (grain as f64 * share_of(&[namespace.unwrap_or_default(), &store.name])) as i128;
    let early = (exact.as_nanosecond() - offset).rem_euclid(grain);
    Timestamp::from_nanosecond(exact.as_nanosecond() - early).unwrap_or(exact)
}

/// The same, earlier by what clocks may differ: what was written since then was written for that refresh.
pub fn due_by_any_clock(es: &ExternalSecret, at: Timestamp, interval: Duration) -> Timestamp {
    let due = due(es, at, interval);
    due.checked_sub(SKEW.min(interval / 2)).unwrap_or(due)
}

/// Whether a ClusterExternalSecret made it, and all of its copies ask one store.
fn is_copy(es: &ExternalSecret) -> bool {
    let store = es.spec.secret_store_ref.as_ref();
    let is_shared = store.is_some_and(|store| store.kind == StoreKind::ClusterSecretStore);
    let mut owners = es.metadata.owner_references.iter().flatten();
    is_shared && owners.any(|owner| owner.controller == Some(true) && owner.kind == KIND_CLUSTER_EXTERNAL_SECRET)
}

fn grain(interval: Duration) -> Duration {
    (interval / GRAINS).min(COARSEST)
}

/// After the `failures`-th failure in a row. `None` waits for a change.
pub fn after_failure(es: &ExternalSecret, failure: &Failure, failures: u32, now: Timestamp) -> Option<Timestamp> {
    let first = match failure.retry {
        Retry::OnChange => return None,
        Retry::Soon => FIRST,
        Retry::Late => FIRST_LATE,
        Retry::After(wait) => wait.max(FIRST),
    };
    let longest = match interval(es) {
        Some(interval) => LONGEST.min(interval.max(AT_LEAST_EVERY)),
        None => LONGEST,
    };
    let grown = FIRST.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    // A store that says when to come back is believed, even beyond our longest wait.
    let wait = match failure.retry {
        Retry::After(_) => first.max(grown.min(longest)),
        _ => grown.clamp(first, longest),
    };
    // A tenth earlier or later by object, so that what failed together does not come back together.
    Some(later(now, wait.mul_f64(0.9 + 0.2 * share(es))))
}

/// Until when a refresh that fell due while nobody ran is put off after the start at `started`: in steps, so that those
/// of a step share calls.
pub fn overdue_until(es: &ExternalSecret, started: Timestamp) -> Timestamp {
    let spread = interval(es).unwrap_or_default().min(SPREAD);
    let step = (share(es) * f64::from(GRAINS)) as u32;
    later(started, spread / GRAINS * step)
}

/// Whether a refresh that changed nothing writes its time into the status, last written at `written`: once in five
/// minutes, or the interval where that is longer, at a moment that differs by object.
pub fn writes_time(es: &ExternalSecret, written: Option<Timestamp>, now: Timestamp) -> bool {
    writes_time_of(share(es), interval(es).unwrap_or_default(), written, now)
}

/// The same for any object of this [share](share_of) and interval.
pub fn writes_time_of(share: f64, interval: Duration, written: Option<Timestamp>, now: Timestamp) -> bool {
    let Some(written) = written else { return true };
    if interval >= STATUS_TIMES {
        return later(written, interval.saturating_sub(grain(interval) + Duration::from_secs(1))) <= now;
    }
    // Not five minutes after the last: what was first written at one time would be written at one time for ever. What comes
    // late, by an interval or by half of the time, was written for the moment before.
    let (every, moment) = (STATUS_TIMES.as_secs_f64(), STATUS_TIMES.as_secs_f64() * share);
    let late = interval.max(STATUS_TIMES / 2);
    let earliest = later(written, STATUS_TIMES - late).duration_since(Timestamp::UNIX_EPOCH).as_secs_f64();
    let turns = ((earliest - moment) / every).ceil();
    now.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64() >= turns * every + moment
}

/// A number in [0, 1) that stays with the object.
fn share(es: &ExternalSecret) -> f64 {
    share_of(&[es.metadata.uid.as_deref().unwrap_or_default()])
}

/// A number in [0, 1) that stays with these names.
pub fn share_of(names: &[&str]) -> f64 {
    // FNV-1a, which stays the same over restarts. Names that differ in their last letters alone come out alike in its first
    // bits: the last step of MurmurHash3 spreads them.
    let hash = names
        .iter()
        .flat_map(|name| name.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53].into_iter();
    let hash = mixed.fold(hash, |hash: u64, factor: u64| (hash ^ (hash >> 33)).wrapping_mul(factor));
    let hash = hash ^ (hash >> 33);
    f64::from((hash >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use keyferry_builders::at;

    use super::*;
    use crate::outcome::Headline;

    fn es(interval: &str) -> ExternalSecret {
        keyferry_builders::es(serde_json::json!({"refreshInterval": interval}))
    }

    fn seconds(es: &ExternalSecret, retry: Retry, failures: u32) -> Option<i64> {
        let failure = Failure::new(Headline::Fetch, "y", retry);
        let now = Timestamp::UNIX_EPOCH;
        let unjittered = |at: Timestamp| (at.as_millisecond() as f64 / 1000.0 / (0.9 + 0.2 * share(es))).round() as i64;
        after_failure(es, &failure, failures, now).map(unjittered)
    }

    #[test]
    fn back_off_grows_to_the_interval_and_at_most_five_minutes() {
        assert_eq!([1, 2, 3, 7, 60].map(|n| seconds(&es("1h"), Retry::Soon, n).unwrap()), [1, 2, 4, 64, 300]);
        assert_eq!(seconds(&es("15s"), Retry::Soon, 60), Some(60));
        assert_eq!(seconds(&es("2m"), Retry::Soon, 60), Some(120));
        assert_eq!(seconds(&es("0"), Retry::Soon, 60), Some(300));
        assert_eq!([1, 4, 5, 6].map(|n| seconds(&es("1h"), Retry::Late, n).unwrap()), [15, 15, 16, 32]);
        assert_eq!(seconds(&es("1h"), Retry::After(Duration::from_secs(700)), 1), Some(700));
        assert_eq!(seconds(&es("1h"), Retry::OnChange, 1), None);
    }

    #[test]
    fn copies_that_were_made_one_after_the_other_refresh_together() {
        let copy = |kind: &str| {
            let store = serde_json::json!({"name": "s", "kind": kind});
            let mut copy = keyferry_builders::es(serde_json::json!({"refreshInterval": "1h", "secretStoreRef": store}));
            copy.metadata.owner_references = serde_json::from_value(serde_json::json!([{
                "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret", "name": "c", "uid": "u",
                "controller": true,
            }]))
            .unwrap();
            copy
        };
        let (hour, copy, apart) = (Duration::from_secs(3600), copy("ClusterSecretStore"), copy("SecretStore"));
        let first = due(&copy, at(0), hour);
        // Whenever in the hour before it is synced, it is due then, and an hour later again.
        let back = |seconds: i64| first.checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap();
        for seconds in [1, 600, 3599] {
            assert_eq!(due(&copy, back(seconds), hour), first, "{seconds}");
        }
        assert_eq!(due(&copy, first, hour), later(first, hour));
        assert!(due(&apart, back(3599), hour) >= later(back(3599), hour - COARSEST), "it shares nothing with others");
    }

    #[test]
    fn nothing_refreshes_more_often_than_once_a_second() {
        for (written, acts_as, is_slowed_down) in [
            ("1ns", Some(1000), true),
            ("999ms", Some(1000), true),
            ("1s", Some(1000), false),
            ("1500ms", Some(1500), false),
            ("0", None, false),
        ] {
            let es = es(written);
            assert_eq!(interval(&es), acts_as.map(Duration::from_millis), "{written}");
            assert_eq!(super::is_slowed_down(&es), is_slowed_down, "{written}");
            assert_eq!(es.spec.refresh_interval.as_deref(), Some(written), "what users wrote stays");
        }
        assert!(after_success(&es("1ns"), at(100)).unwrap() >= at(100) + Duration::from_millis(940));
        let once = keyferry_builders::es(serde_json::json!({"refreshInterval": "1ns", "refreshPolicy": "CreatedOnce"}));
        assert!(!super::is_slowed_down(&once), "it does not refresh by time");
    }

    #[test]
    fn clocks_that_differ_change_nothing() {
        let es = es("1h");
        let (due, least) =
            (|at| due(&es, at, Duration::from_secs(3600)), |at| due_by_any_clock(&es, at, Duration::from_secs(3600)));
        assert_eq!(due(at(0)).duration_since(least(at(0))).as_secs(), 60);
        let short = due_by_any_clock(&es, at(100), Duration::from_secs(2));
        assert!(short > at(100), "never before the refresh that it follows: {short}");
    }

    #[test]
    fn times_alone_are_written_rarely() {
        assert!(writes_time(&es("15s"), None, at(0)));
        assert!(!writes_time(&es("15s"), Some(at(0)), at(149)));
        assert!(writes_time(&es("15s"), Some(at(0)), at(450)));
        assert!(!writes_time(&es("1h"), Some(at(0)), at(3000)));
        assert!(writes_time(&es("1h"), Some(at(0)), at(3600)));
    }

    #[test]
    fn times_alone_are_written_evenly() {
        const COUNT: usize = 1000;
        for interval in [15, 60, 240] {
            let all: Vec<ExternalSecret> = (0..COUNT)
                .map(|n| {
                    let mut es = es(&format!("{interval}s"));
                    es.metadata.uid = Some(format!("uid-{n}"));
                    es
                })
                .collect();
            let mut written = vec![at(0); COUNT];
            let mut by_round = Vec::new();
            for round in 1..=(7200 / interval) {
                let (now, mut writes) = (at(round * interval), 0);
                for (es, written) in all.iter().zip(&mut written) {
                    if writes_time(es, Some(*written), now) {
                        (*written, writes) = (now, writes + 1);
                    }
                }
                by_round.push(writes);
            }
            // From when each was written once; in two hours each was some 24 times.
            let settled = &by_round[(600 / interval) as usize..];
            let (most, sum) = (settled.iter().max().copied().unwrap_or_default(), by_round.iter().sum::<usize>());
            let even = COUNT * interval as usize / 300;
            assert!(most <= even * 5 / 4 + 10, "{interval}: {by_round:?}");
            assert!((COUNT * 21..=COUNT * 24).contains(&sum), "{interval}: {sum}");
        }
    }

    #[test]
    fn what_falls_due_together_is_due_at_one_time() {
        let es = es("60s");
        let due_after = |millisecond: i64| {
            let at = Timestamp::from_millisecond(1_000_000 + millisecond).unwrap();
            let due = after_success(&es, at).unwrap();
            let early = later(at, Duration::from_secs(60)).duration_since(due);
            assert!(early.as_millis() < 3000 && !early.is_negative(), "{early:?}");
            due
        };
        let points: std::collections::BTreeSet<Timestamp> = (0..3000i64).map(due_after).collect();
        assert!(points.len() <= 2, "{points:?}");
        // From then on the interval is exact, though a look begins a little later than it is due.
        let first = *points.first().unwrap();
        let begun = later(first, Duration::from_millis(7));
        assert_eq!(after_success(&es, begun), Some(later(first, Duration::from_secs(60))));
    }

    #[test]
    fn what_is_overdue_is_spread() {
        let start = at(1000);
        assert!(overdue_until(&es("1h"), start).as_second() <= 1060);
        assert!(overdue_until(&es("5s"), start).as_second() <= 1005);
        assert_eq!(overdue_until(&es("0"), start), start);
    }
}
