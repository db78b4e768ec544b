//! Numbers from values of any type, with sprig's idea of what can be one: everything else is zero.

use crate::{
    strconv::number::{parse_float, parse_int},
    value::Value,
};

/// Go's conversion of a float to an `int64` on amd64: what does not fit is the least number.
fn truncated(number: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) { number as i64 } else { i64::MIN }
}

/// The value as an `int64`. What is after a point in a text is ignored.
pub(super) fn to_int(value: &Value) -> i64 {
    match value {
        Value::Int(_, number) => *number,
        Value::Uint(_, number) => number.cast_signed(),
        Value::Float(number) => truncated(*number),
        Value::Bool(flag) => i64::from(*flag),
        Value::Str(text) => parse_int(without_decimals(text)).unwrap_or(0),
        Value::Object(object) => object.underlying().map_or(0, |plain| to_int(&plain)),
        _ => 0,
    }
}

/// The value as a `float64`.
pub(super) fn to_float(value: &Value) -> f64 {
    match value {
        Value::Int(_, number) => *number as f64,
        Value::Uint(_, number) => *number as f64,
        Value::Float(number) => *number,
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::Str(text) => parse_float(text).unwrap_or(0.0),
        Value::Object(object) => object.underlying().map_or(0.0, |plain| to_float(&plain)),
        _ => 0.0,
    }
}

/// The part before the point, if the text is digits around one; the text itself if it is anything else.
fn without_decimals(text: &[u8]) -> &[u8] {
    let Some(point) = text.iter().position(|byte| *byte == b'.') else { return text };
    let (whole, decimals) = (&text[..point], &text[point + 1..]);
    let digits = whole.strip_prefix(b"-").or_else(|| whole.strip_prefix(b"+")).unwrap_or(whole);
    match (digits.iter().chain(decimals).all(u8::is_ascii_digit), digits) {
        (true, []) => b"0",
        (true, _) => whole,
        (false, _) => text,
    }
}

/// Go's `strconv.ParseInt(text, base, 64)` for a base without prefixes, errors ignored: what is too large is the
/// largest number, what is none is zero.
pub(super) fn parse_clipped(text: &[u8], base: u32) -> i64 {
    match parse_plain(text, base) {
        Parsed::Number(number) => number,
        Parsed::TooLarge { negative: true } => i64::MIN,
        Parsed::TooLarge { negative: false } => i64::MAX,
        Parsed::Nothing => 0,
    }
}

/// What a text without prefixes and underscores holds.
pub(super) enum Parsed {
    Number(i64),
    /// A number that is too large.
    TooLarge {
        negative: bool,
    },
    /// No number.
    Nothing,
}

/// Go's `strconv.ParseInt(text, base, 64)` for a base without prefixes.
pub(super) fn parse_plain(text: &[u8], base: u32) -> Parsed {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let mut value: Option<i128> = Some(0);
    for digit in digits {
        match (char::from(*digit).to_digit(base), value) {
            (None, _) => return Parsed::Nothing,
            (Some(digit), Some(sum)) => {
                value = Some(sum * i128::from(base) + i128::from(digit)).filter(|sum| *sum <= 1 << 64);
            }
            (Some(_), None) => {}
        }
    }
    match (digits, value.map(|value| i64::try_from(if negative { -value } else { value }))) {
        ([], _) => Parsed::Nothing,
        (_, Some(Ok(number))) => Parsed::Number(number),
        _ => Parsed::TooLarge { negative },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_integers() {
        for (text, number) in [
            ("1.0", 1),
            ("1.00", 1),
            ("1.", 1),
            (".5", 0),
            ("-1.5", -1),
            ("-.5", 0),
            ("1.5x", 0),
            ("1.5.2", 0),
            ("010.9", 8),
            ("0x1f", 31),
            ("017", 15),
            ("1_000", 1000),
            ("10", 10),
            ("", 0),
            ("9223372036854775808", 0),
        ] {
            assert_eq!(to_int(&Value::str(text)), number, "{text}");
        }
    }

    #[test]
    fn too_large_is_clipped() {
        assert_eq!(parse_clipped(b"99999999999999999999999999999999999999999999999999", 10), i64::MAX);
        assert_eq!(parse_clipped(b"-99999999999999999999", 10), i64::MIN);
        assert_eq!(parse_clipped(b"1_0", 10), 0);
        assert_eq!(parse_clipped(b"-", 10), 0);
    }
}
