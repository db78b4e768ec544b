//! Go's duration strings (`1h30m`, `1.5s`, `-2ms`), in which all our intervals are written.

use std::fmt;
use std::time::Duration;

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
    parse(text).ok_or_else(|| NotADuration(text.to_owned()))
}

/// How long to wait between two refreshes: `None` where the text stands for zero or less, which means never.
pub fn interval(text: &str) -> Result<Option<Duration>, NotADuration> {
    let nanoseconds = nanoseconds(text)?;
    Ok(match u64::try_from(nanoseconds) {
        Ok(0) | Err(_) => None,
        Ok(nanoseconds) => Some(Duration::from_nanos(nanoseconds)),
    })
}

fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let unit = unit(&after[..end])?;
        total += value(whole, fraction, unit)?;
        // Checked on the way, as Go does: a later part can't bring an overflow back.
        if total > i128::from(i64::MAX) + i128::from(negative) {
            return None;
        }
        rest = &after[end..];
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn unit(name: &str) -> Option<i128> {
    match name {
        "ns" => Some(1),
        // Both code points that look like a micro sign.
        "us" | "\u{b5}s" | "\u{3bc}s" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60 * 1_000_000_000),
        "h" => Some(3_600 * 1_000_000_000),
        _ => None,
    }
}

fn value(whole: &str, fraction: &str, unit: i128) -> Option<i128> {
    let whole: i128 = match whole {
        "" => 0,
        // More digits than an i64 holds overflow whatever the unit; leading zeroes don't count.
        whole => whole
            .trim_start_matches('0')
            .parse()
            .or_else(|_| if whole.trim_start_matches('0').is_empty() { Ok(0) } else { Err(()) })
            .ok()?,
    };
    // Digits beyond the 18th are less than a nanosecond of an hour.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = match fraction {
        "" => 0,
        fraction => fraction.parse::<i128>().ok()? * unit / 10_i128.pow(u32::try_from(fraction.len()).ok()?),
    };
    whole.checked_mul(unit)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_takes() {
        for (text, want) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("1h0m0s", 3_600_000_000_000),
            ("1h", 3_600_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("-2ms", -2_000_000),
            ("+5us", 5_000),
            ("3µs", 3_000),
            ("3μs", 3_000),
            ("2h45m10.25s", 9_910_250_000_000),
            ("000001ns", 1),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(nanoseconds(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_go_refuses() {
        for text in [
            "",
            "-",
            "+",
            "1",
            "h",
            ".",
            ".s",
            "1d",
            "1 h",
            " 1h",
            "1h ",
            "1e3s",
            "--1s",
            "1h-5m",
            "9223372036854775808ns",
            "99999999999999999999999999999999999999999h",
            "é",
        ] {
            assert!(nanoseconds(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn zero_and_less_mean_never() {
        assert_eq!(interval("0"), Ok(None));
        assert_eq!(interval("-5m"), Ok(None));
        assert_eq!(interval("15s"), Ok(Some(Duration::from_secs(15))));
    }
}
