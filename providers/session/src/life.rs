//! How long something is good, and how much of that it is used for before it is renewed.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// How long before its end something is renewed.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);

/// How long something is good, from when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// `None` where it never ends.
    span: Option<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    length: Duration,
    renewed_after: Duration,
}

impl Life {
    /// It never ends, unless the store refuses it.
    pub const ENDLESS: Self = Self { span: None };

    /// It ends after this time. It is renewed five minutes before, or, where it is short, when two thirds are over.
    pub fn of(length: Duration) -> Self {
        let renewed_after = length.saturating_sub(RENEWED_BEFORE).max(length / 3 * 2);
        Self { span: Some(Span { length, renewed_after }) }
    }

    /// It ends at this time of the day; to be called when the answer that says so is there.
    pub fn until(end: SystemTime) -> Self {
        Self::of(end.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// The same life, renewed when two thirds are over, however long it is: where renewing is cheap, and what can be had
    /// in place of it is not.
    pub fn renewed_after_two_thirds(self) -> Self {
        let span = self.span.map(|Span { length, .. }| Span { length, renewed_after: length / 3 * 2 });
        Self { span }
    }

    /// When to renew what was asked for at `asked`, and its end; `None` where that is past all counting.
    pub(crate) fn times(self, asked: Instant) -> (Option<Instant>, Option<Instant>) {
        let after = |time: fn(Span) -> Duration| asked.checked_add(self.span.map(time)?);
        (after(|span| span.renewed_after), after(|span| span.length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn times(life: Life) -> (Option<u64>, Option<u64>) {
        let asked = Instant::now();
        let (renew_at, end) = life.times(asked);
        let after = |time: Option<Instant>| time.map(|time| (time - asked).as_secs());
        (after(renew_at), after(end))
    }

    #[test]
    fn a_life_is_used_for_the_most_part() {
        for (length, renewed_after) in [(HOUR, 3300), (900, 600), (300, 200), (3, 2), (0, 0)] {
            assert_eq!(times(Life::of(Duration::from_secs(length))), (Some(renewed_after), Some(length)));
        }
        let days = Life::of(Duration::from_secs(30 * 24 * HOUR)).renewed_after_two_thirds();
        assert_eq!(times(days), (Some(20 * 24 * HOUR), Some(30 * 24 * HOUR)));
    }

    #[test]
    fn absurd_lives_are_endless_or_over_and_never_a_panic() {
        assert_eq!(times(Life::ENDLESS), (None, None));
        assert_eq!(times(Life::ENDLESS.renewed_after_two_thirds()), (None, None));
        assert_eq!(times(Life::of(Duration::MAX)), (None, None));
        assert_eq!(times(Life::of(Duration::MAX).renewed_after_two_thirds()), (None, None));
        assert_eq!(times(Life::until(SystemTime::UNIX_EPOCH)), (Some(0), Some(0)));
    }

    #[test]
    fn a_time_of_the_day_is_a_length_from_now() {
        let (_, end) = times(Life::until(SystemTime::now() + Duration::from_secs(HOUR)));
        assert!(end.is_some_and(|end| (HOUR - 60..=HOUR).contains(&end)), "{end:?}");
    }
}
