//! Lengths of time in nanoseconds, as Go's `time.Duration` reads and writes them.

const UNITS: [(&[u8], u64); 8] = [
    (b"ns", 1),
    (b"us", 1_000),
    ("\u{b5}s".as_bytes(), 1_000),
    ("\u{3bc}s".as_bytes(), 1_000),
    (b"ms", 1_000_000),
    (b"s", 1_000_000_000),
    (b"m", 60_000_000_000),
    (b"h", 3_600_000_000_000),
];

const LIMIT: u64 = 1 << 63;

/// Nanoseconds, as Go's `time.ParseDuration` reads them: `1h15m30.918s`, `-2ms`. `None` where it refuses the text.
pub fn parse(text: &[u8]) -> Option<i64> {
    let (negative, mut rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    match rest {
        b"0" => return Some(0),
        b"" => return None,
        _ => {}
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (part, after) = parse_part(rest)?;
        total = total.checked_add(part).filter(|total| *total <= LIMIT)?;
        rest = after;
    }
    if negative { Some(0i64.wrapping_sub_unsigned(total)) } else { i64::try_from(total).ok() }
}

/// A number and its unit.
fn parse_part(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, after) = text.split_at(digits);
    let number = whole.iter().try_fold(0u64, |sum, digit| {
        let within = |sum: &u64| *sum <= LIMIT;
        Some(sum).filter(|sum| *sum <= LIMIT / 10)?.checked_mul(10)?.checked_add((digit - b'0').into()).filter(within)
    })?;
    let (fraction, after) = match after.strip_prefix(b".") {
        Some(after) => after.split_at(after.iter().take_while(|byte| byte.is_ascii_digit()).count()),
        None => (&[][..], after),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = after.iter().position(|byte| *byte == b'.' || byte.is_ascii_digit()).unwrap_or(after.len());
    let (name, rest) = after.split_at(end);
    let (_, unit) = *UNITS.iter().find(|(unit, _)| *unit == name)?;
    let number = Some(number).filter(|number| *number <= LIMIT / unit)? * unit;
    let (fraction, scale) = leading_fraction(fraction);
    let number = match fraction {
        0 => number,
        fraction => number.checked_add((fraction as f64 * (unit as f64 / scale)) as u64)?,
    };
    Some((number, rest)).filter(|(number, _)| *number <= LIMIT)
}

/// As many digits as fit, and the power of ten they are to be divided by.
fn leading_fraction(digits: &[u8]) -> (u64, f64) {
    let mut number = 0u64;
    let mut scale = 1.0;
    for digit in digits {
        let next = if number <= (LIMIT - 1) / 10 { number * 10 + u64::from(digit - b'0') } else { break };
        if next > LIMIT {
            break;
        }
        number = next;
        scale *= 10.0;
    }
    (number, scale)
}

/// As Go prints it: `1h15m30.918s`.
pub fn format(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let size = nanos.unsigned_abs();
    match size {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{size}ns"),
        1_000..1_000_000 => format!("{sign}{}\u{b5}s", decimal(size, 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(size, 1_000_000, 6)),
        _ => {
            let minutes = size / 60_000_000_000;
            let seconds = decimal(size % 60_000_000_000, 1_000_000_000, 9);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// A fraction with as many places as it needs.
fn decimal(number: u64, unit: u64, places: usize) -> String {
    match number % unit {
        0 => (number / unit).to_string(),
        fraction => {
            let fraction = format!("{fraction:0places$}");
            format!("{}.{}", number / unit, fraction.trim_end_matches('0'))
        }
    }
}

/// To the nearest multiple; halves away from zero, and what cannot be said stops at the ends.
pub fn round(nanos: i64, multiple: i64) -> i64 {
    match multiple {
        ..=0 => nanos,
        multiple => {
            let (nanos, multiple) = (i128::from(nanos), i128::from(multiple));
            let rest = nanos % multiple;
            let rounded =
                if rest.abs() * 2 < multiple { nanos - rest } else { nanos - rest + multiple * nanos.signum() };
            rounded.clamp(i64::MIN.into(), i64::MAX.into()) as i64
        }
    }
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
            assert_eq!(parse(text.as_bytes()), Some(want), "{text}");
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
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn durations_are_read_and_printed() {
        for (text, shown) in [
            ("1h15m30.918s", "1h15m30.918s"),
            ("-1.5h", "-1h30m0s"),
            ("+5us", "5\u{b5}s"),
            (".5s", "500ms"),
            ("1.s", "1s"),
            ("0", "0s"),
            ("100ns", "100ns"),
            ("-9223372036854775808ns", "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(format(parse(text.as_bytes()).unwrap()), shown, "{text}");
        }
        for text in ["", "-", "1", ".s", "1x", "1h.", "9223372036854775808ns", "3000000h"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
