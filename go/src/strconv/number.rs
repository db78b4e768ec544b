//! Numbers from text, with Go's prefixes and underscores.

use zeroize::Zeroizing;

/// Go's `strconv.ParseUint(text, 0, 64)`: decimal, `0x`, `0o`, `0b`, a leading zero for octal, underscores.
pub fn parse_uint(text: &[u8]) -> Option<u64> {
    let (base, digits) = match text {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', b'o' | b'O', rest @ ..] => (8, rest),
        [b'0', b'b' | b'B', rest @ ..] => (2, rest),
        [b'0', rest @ ..] if !rest.is_empty() => (8, rest),
        _ => (10, text),
    };
    parse_digits(digits, base).filter(|_| !text.contains(&b'_') || underscores_are_fine(text))
}

/// Go's `strconv.ParseInt(text, 0, 64)`.
pub fn parse_int(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', rest @ ..] => 0i64.checked_sub_unsigned(parse_uint(rest)?),
        [b'+', rest @ ..] | rest => i64::try_from(parse_uint(rest)?).ok(),
    }
}

fn parse_digits(digits: &[u8], base: u32) -> Option<u64> {
    if digits.iter().all(|digit| *digit == b'_') {
        return None;
    }
    digits.iter().filter(|digit| **digit != b'_').try_fold(0u64, |value, digit| {
        let digit = char::from(*digit).to_digit(base)?;
        value.checked_mul(base.into())?.checked_add(digit.into())
    })
}

/// Go's `strconv.ParseFloat(text, 64)`, decimal or hexadecimal; out of range is an error.
pub fn parse_float(text: &[u8]) -> Option<f64> {
    word(text).or_else(|| digits_of_float(text).filter(|value| value.is_finite()))
}

/// The value that `strconv.ParseFloat` gives along with its error about the range: what is too large is infinite.
pub fn nearest_float(text: &[u8]) -> Option<f64> {
    word(text).or_else(|| digits_of_float(text))
}

/// Is the number negative, and what follows its sign?
fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    }
}

/// `inf` and `infinity` with or without a sign, and `nan` without one, in any case.
fn word(text: &[u8]) -> Option<f64> {
    if text.eq_ignore_ascii_case(b"nan") {
        return Some(f64::NAN);
    }
    let (negative, word) = sign(text);
    let infinite = word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"infinity");
    infinite.then_some(if negative { f64::NEG_INFINITY } else { f64::INFINITY })
}

fn digits_of_float(text: &[u8]) -> Option<f64> {
    let (negative, number) = sign(text);
    let mut plain = Zeroizing::new(Vec::new());
    let digits = if number.contains(&b'_') {
        plain.reserve_exact(number.len());
        plain.extend(number.iter().filter(|byte| **byte != b'_'));
        Some(plain.as_slice()).filter(|_| underscores_are_fine(number))?
    } else {
        number
    };
    let magnitude = match digits {
        [b'0', b'x' | b'X', rest @ ..] if !rest.is_empty() => parse_hex_float(rest),
        digits => parse_decimal_float(digits),
    }?;
    Some(if negative { -magnitude } else { magnitude })
}

fn parse_decimal_float(text: &[u8]) -> Option<f64> {
    // Rust's reader takes words and a second sign, too.
    let is_number = matches!(text.first()?, b'0'..=b'9' | b'.')
        && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

/// `digits`[.`digits`]p[sign]`digits`, the `0x` gone; the exponent must be there.
fn parse_hex_float(text: &[u8]) -> Option<f64> {
    let at = text.iter().position(|byte| matches!(byte, b'p' | b'P'))?;
    let (mantissa, exponent) = (&text[..at], &text[at + 1..]);
    let exponent = parse_exponent(exponent)?;
    let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&mantissa[..dot], &mantissa[dot + 1..]),
        None => (mantissa, &b""[..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // Up to 16 significant digits count; the rest only says whether something is left.
    let (mut value, mut scale, mut sticky) = (0u64, exponent, false);
    for (place, digit) in whole.iter().chain(fraction).enumerate() {
        let digit = u64::from(char::from(*digit).to_digit(16)?);
        let in_fraction = place >= whole.len();
        match value >> 60 {
            0 => {
                value = value << 4 | digit;
                scale -= if in_fraction { 4 } else { 0 };
            }
            _ => {
                sticky |= digit != 0;
                scale += if in_fraction { 0 } else { 4 };
            }
        }
    }
    Some(scale_binary(value, scale, sticky))
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = sign(text);
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'9' if value < 10_000 => Some(value * 10 + i64::from(digit - b'0')),
        b'0'..=b'9' => Some(value),
        _ => None,
    })?;
    Some(if negative { -value } else { value })
}

/// The float nearest to `value * 2^scale`, ties to even; `sticky` says that a little is missing from the value.
fn scale_binary(value: u64, scale: i64, sticky: bool) -> f64 {
    if value == 0 {
        return 0.0;
    }
    // 54 or 55 bits and a sticky one are enough to round correctly, once, at whatever precision the result has.
    let top = 63 - i64::from(value.leading_zeros());
    let exponent = (top + scale).max(-1022);
    let last = exponent - 52;
    let shift = last - scale;
    let (kept, half, rest) = match shift {
        ..=0 => (value << -shift, 0, false),
        1..=64 => {
            let wide = u128::from(value);
            let half = (wide >> (shift - 1)) & 1;
            let rest = wide & ((1u128 << (shift - 1)) - 1) != 0;
            ((wide >> shift) as u64, half, rest)
        }
        _ => (0, 0, true),
    };
    let up = half == 1 && (rest || sticky || kept & 1 == 1);
    let rounded = (kept + u64::from(up)) as f64;
    match i32::try_from(last) {
        // In two exact steps: 2^last alone may be too small for a float.
        Ok(last) if exponent < 1024 => rounded * 2f64.powi(last / 2) * 2f64.powi(last - last / 2),
        _ => f64::INFINITY,
    }
}

/// Does each underscore stand between digits, or between a prefix and a digit?
fn underscores_are_fine(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let (mut last, rest, hex) = match text {
        [b'0', b'x' | b'X', rest @ ..] => (b'0', rest, true),
        [b'0', b'o' | b'O' | b'b' | b'B', rest @ ..] => (b'0', rest, false),
        _ => (b'!', text, false),
    };
    for byte in rest {
        last = match byte {
            b'0'..=b'9' => b'0',
            b'a'..=b'f' | b'A'..=b'F' if hex => b'0',
            b'_' if last == b'0' => b'_',
            b'_' => return false,
            _ if last == b'_' => return false,
            _ => b'!',
        };
    }
    last != b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (text, value) in [("0", 0), ("0x1F", 31), ("0o17", 15), ("017", 15), ("0b11", 3), ("1_000", 1000)] {
            assert_eq!(parse_uint(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "_1", "1_", "1__0", "08", "0x", "0x_", "18446744073709551616", "+1", "1e3"] {
            assert_eq!(parse_uint(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_int(b"-0x10"), Some(-16));
        assert_eq!(parse_int(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_int(b"9223372036854775808"), None);
        assert_eq!(parse_uint(b"0_7"), Some(7));
    }

    #[test]
    fn floats() {
        for (text, value) in [
            ("1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1_0.5", 10.5),
            ("1e3", 1000.0),
            ("-2E-2", -0.02),
            ("0x1p4", 16.0),
            ("0x1.8p1", 3.0),
            ("0x.8p0", 0.5),
            ("0x_1p-1074", f64::from_bits(1)),
            ("0x1.fffffffffffff8p1022", f64::from_bits(0x7fe0_0000_0000_0000)),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x10000000000000000001p0", 75557863725914323419136.0),
            ("0x0.00000000000008p-1022", 0.0),
        ] {
            assert_eq!(parse_float(text.as_bytes()), Some(value), "{text}");
        }
        for text in
            ["", ".", "e3", "1e", "1__0.0", "0x1", "0xp1", "0x1p", "1e400", "0x1p1024", "1+2", "--1", "1e5_", "-nan"]
        {
            assert_eq!(parse_float(text.as_bytes()), None, "{text}");
        }
        assert_eq!(nearest_float(b"-1e400"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_float(b"-Inf"), Some(f64::NEG_INFINITY));
        assert!(parse_float(b"NaN").is_some_and(f64::is_nan));
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
            assert_eq!(nearest_float(text.as_bytes()), Some(expected), "{text}");
        }
    }
}
