//! Numbers as gjson reads and writes them, by Go's `strconv`.

use keyferry_go::strconv::{float, number::nearest_float};
use zeroize::Zeroizing;

use crate::buf::Buf;

/// No float is written longer without an exponent.
const LONGEST: usize = 352;

/// Whether a number is printed as it stands: digits, perhaps after a minus.
pub(crate) fn is_plain(raw: &[u8]) -> bool {
    raw.strip_prefix(b"-").unwrap_or(raw).iter().all(u8::is_ascii_digit)
}

/// The shortest digits that read back as this number, without an exponent.
pub(crate) fn format(number: f64) -> Buf {
    let mut out = Zeroizing::new(Vec::with_capacity(LONGEST));
    float::format(&mut out, number, b'f', None);
    out.into()
}

/// Reads a number; what is none is zero, what is too large infinite.
pub(crate) fn parse(text: &[u8]) -> f64 {
    nearest_float(text).unwrap_or_default()
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
            // Of two shortest forms the even one, as Go takes it.
            ("973909792238998.25", "973909792238998.2"),
        ] {
            assert_eq!(formatted(text), expected, "{text}");
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
