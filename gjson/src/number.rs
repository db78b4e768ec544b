//! Numbers as Go's `strconv` reads and writes them.

use std::fmt::Write as _;

use crate::buf::Buf;

/// Whether a number is printed as it stands: digits, perhaps after a minus.
pub(crate) fn is_plain(raw: &[u8]) -> bool {
    raw.strip_prefix(b"-").unwrap_or(raw).iter().all(u8::is_ascii_digit)
}

/// The shortest digits that read back as this number, without an exponent.
pub(crate) fn format(number: f64) -> Buf {
    let mut out = Buf::with_capacity(32);
    let _ = match number == f64::INFINITY {
        true => write!(out, "+Inf"),
        false if number == f64::NEG_INFINITY => write!(out, "-Inf"),
        false => write!(out, "{number}"),
    };
    out
}

/// Reads a number; what is none is zero, what is too large infinite.
pub(crate) fn parse(text: &[u8]) -> f64 {
    read(text).unwrap_or_default()
}

fn read(text: &[u8]) -> Option<f64> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1.0, digits),
        [b'+', digits @ ..] => (1.0, digits),
        _ => (1.0, text),
    };
    if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
        return Some(sign * f64::INFINITY);
    }
    if text.eq_ignore_ascii_case(b"nan") {
        return Some(f64::NAN);
    }
    match digits {
        [b'0', b'x' | b'X', rest @ ..] if !rest.is_empty() => Some(sign * hexadecimal(rest)?),
        _ => Some(sign * decimal(digits)?),
    }
}

fn decimal(text: &[u8]) -> Option<f64> {
    // Rust's reader takes words and a second sign, too.
    if !matches!(text.first()?, b'0'..=b'9' | b'.')
        || !text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-' | b'_'))
    {
        return None;
    }
    if !text.contains(&b'_') {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    underscores(text, u8::is_ascii_digit, false)?;
    let mut plain = Buf::with_capacity(text.len());
    text.iter().filter(|byte| **byte != b'_').for_each(|byte| plain.push(*byte));
    std::str::from_utf8(plain.bytes()).ok()?.parse().ok()
}

/// An underscore stands between two digits; after `0x` the first digit may follow one.
fn underscores(text: &[u8], is_digit: impl Fn(&u8) -> bool, prefixed: bool) -> Option<()> {
    (0..text.len())
        .filter(|at| text[*at] == b'_')
        .all(|at| {
            let before = if at == 0 { prefixed } else { is_digit(&text[at - 1]) };
            before && text.get(at + 1).is_some_and(&is_digit)
        })
        .then_some(())
}

/// What follows `0x`: hexadecimal digits, and a binary exponent that must be there.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    underscores(text, u8::is_ascii_hexdigit, true)?;
    let at = text.iter().position(|byte| matches!(byte, b'p' | b'P'))?;
    let (mut digits, mut point, mut mantissa, mut exponent) = (0, false, 0u64, 0i64);
    for byte in &text[..at] {
        match byte {
            b'_' => {}
            b'.' if !point => point = true,
            _ => {
                let digit = char::from(*byte).to_digit(16)?;
                digits += 1;
                if point {
                    exponent -= 4;
                }
                match mantissa >> 60 {
                    0 => mantissa = mantissa << 4 | u64::from(digit),
                    // Whatever is lost only says on which side of the middle the number is.
                    _ => {
                        mantissa |= u64::from(digit != 0);
                        exponent += 4;
                    }
                }
            }
        }
    }
    let (negative, power) = match &text[at + 1..] {
        [b'-', power @ ..] => (true, power),
        [b'+', power @ ..] => (false, power),
        power => (false, power),
    };
    if digits == 0 || !power.first()?.is_ascii_digit() {
        return None;
    }
    let mut value = 0i64;
    for byte in power.iter().filter(|byte| **byte != b'_') {
        let digit = i64::from(char::from(*byte).to_digit(10)?);
        value = (value * 10 + digit).min(100_000);
    }
    Some(scale(mantissa, exponent + if negative { -value } else { value }))
}

/// `mantissa * 2^exponent`, rounded once, to even.
fn scale(mantissa: u64, exponent: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let shift = i64::from(mantissa.leading_zeros());
    let (mut bits, mut exponent) = (mantissa << shift, exponent - shift);
    // Now the number is bits * 2^exponent with 64 bits; a double keeps 53 of them, fewer below 2^-1022.
    let drop = 11 + (-1074 - (exponent + 11)).max(0);
    if drop > 64 {
        return 0.0;
    }
    let (kept, lost) = match drop {
        64 => (0, bits),
        _ => (bits >> drop, bits << (64 - drop)),
    };
    let half = 1 << 63;
    bits = kept + u64::from(lost > half || (lost == half && kept & 1 == 1));
    exponent += drop;
    // Both factors and every product on the way are exact.
    let mut value = bits as f64;
    while exponent > 0 && value.is_finite() {
        let step = exponent.min(512);
        value *= power_of_two(step);
        exponent -= step;
    }
    while exponent < 0 {
        let step = (-exponent).min(512);
        value /= power_of_two(step);
        exponent += step;
    }
    value
}

fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// Reads digits; of a number that doesn't fit the last 64 bits.
pub(crate) fn parse_index(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        byte.is_ascii_digit().then(|| number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')))
    })
}

/// The same with a sign.
fn parse_int(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => parse_index(digits).map(|number| (number as i64).wrapping_neg()),
        _ => parse_index(text).map(|number| number as i64),
    }
}

/// The whole number nearest to zero in the text of a string.
pub(crate) fn int_of_string(text: &[u8]) -> i64 {
    parse_int(text).unwrap_or_default()
}

/// The whole number of a number, exact where it is written without point or exponent.
pub(crate) fn int_of_number(raw: &[u8]) -> i64 {
    const SAFE: f64 = 9_007_199_254_740_991.0;
    let number = parse(raw);
    if (-SAFE..=SAFE).contains(&number) {
        return number as i64;
    }
    parse_int(raw).unwrap_or(if number.is_finite() && number.abs() < 9_223_372_036_854_775_808.0 {
        number as i64
    } else {
        i64::MIN
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(text: &str) -> String {
        String::from_utf8(format(parse(text.as_bytes())).bytes().to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_printed_without_exponent() {
        for (text, expected) in [
            ("1.50", "1.5"),
            ("1e5", "100000"),
            ("1e21", "1000000000000000000000"),
            ("1e-7", "0.0000001"),
            ("-0.0", "-0"),
            ("1e400", "+Inf"),
            ("-1e400", "-Inf"),
            ("nan", "NaN"),
            ("-Infinity", "-Inf"),
            ("1_000.5", "1000.5"),
            ("1__0", "0"),
            ("_1", "0"),
            ("+-5", "0"),
            ("1x", "0"),
            ("", "0"),
            ("0x1p4", "16"),
            ("0x1.8p1", "3"),
            ("-0x_1p-1", "-0.5"),
            ("0x1", "0"),
            ("0x.p1", "0"),
            ("0x1p99999", "+Inf"),
        ] {
            assert_eq!(formatted(text), expected, "{text}");
        }
    }

    #[test]
    fn hexadecimal_numbers_round_once_to_even() {
        for (text, expected) in [
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x1.fffffffffffff8p1023", f64::INFINITY),
            ("0x1p-1074", 5e-324),
            ("0x1p-1075", 0.0),
            ("0x1.8p-1075", 5e-324),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000001p0", 1.000_000_000_000_000_2),
            ("0x1.fffffffffffffp-1023", 2.225_073_858_507_201_4e-308),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn whole_numbers() {
        assert!(is_plain(b"-12345678901234567890") && is_plain(b"007") && !is_plain(b"1.0") && !is_plain(b"+1"));
        assert_eq!(parse_index(b"18446744073709551617"), Some(1));
        assert_eq!(parse_index(b""), None);
        assert_eq!(parse_index(b"-1"), None);
        assert_eq!(int_of_number(b"9007199254740993"), 9_007_199_254_740_993);
        assert_eq!(int_of_number(b"-2.9"), -2);
        assert_eq!(int_of_number(b"1e30"), i64::MIN);
        assert_eq!(int_of_string(b"-12"), -12);
        assert_eq!(int_of_string(b"1.5"), 0);
    }
}
