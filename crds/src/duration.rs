//! Go's duration strings (`1h30m`, `1.5s`, `-2ms`), in which all our intervals are written.

use std::fmt;
use std::time::Duration;

use keyferry_go::duration;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotADuration(pub String);

impl fmt::Display for NotADuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a duration: write it like 1h, 15m or 90s", self.0)
    }
}

impl std::error::Error for NotADuration {}

/// Nanoseconds of a Go duration string: what Go's `time.ParseDuration` takes, and nothing else.
pub fn nanoseconds(text: &str) -> Result<i64, NotADuration> {
    duration::parse(text.as_bytes()).ok_or_else(|| NotADuration(text.to_owned()))
}

/// How long to wait between two refreshes: `None` where the text stands for zero or less, which means never.
pub fn interval(text: &str) -> Result<Option<Duration>, NotADuration> {
    let nanoseconds = nanoseconds(text)?;
    Ok(match u64::try_from(nanoseconds) {
        Ok(0) | Err(_) => None,
        Ok(nanoseconds) => Some(Duration::from_nanos(nanoseconds)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_less_mean_never() {
        assert_eq!(interval("0"), Ok(None));
        assert_eq!(interval("-5m"), Ok(None));
        assert_eq!(interval("15s"), Ok(Some(Duration::from_secs(15))));
    }
}
