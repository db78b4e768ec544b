//! What a scalar without quotes means in YAML 1.1, as go-yaml has it.

use crate::strconv::number;

pub(super) const PREFIX: &str = "tag:yaml.org,2002:";

/// A scalar's meaning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// A point in time, which is taken as the text it is.
    Timestamp,
    Text,
}

impl Scalar {
    /// The tag in short.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::Null => "!!null",
            Self::Bool(_) => "!!bool",
            Self::Int(_) | Self::Uint(_) => "!!int",
            Self::Float(_) => "!!float",
            Self::Timestamp => "!!timestamp",
            Self::Text => "!!str",
        }
    }
}

/// Looks at a scalar that has no tag, or the tag of a point in time.
pub(super) fn resolve(text: &str) -> Scalar {
    match text.as_bytes().first() {
        None => Scalar::Null,
        Some(b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~') => word(text),
        Some(b'.') => match text {
            ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" => Scalar::Float(f64::INFINITY),
            _ => number::parse_float(text.as_bytes()).map_or(Scalar::Text, Scalar::Float),
        },
        Some(b'+' | b'-' | b'0'..=b'9') => numeric(text),
        _ => Scalar::Text,
    }
}

fn word(text: &str) -> Scalar {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Scalar::Bool(false),
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        _ => Scalar::Text,
    }
}

fn numeric(text: &str) -> Scalar {
    match text {
        "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ if is_timestamp(text) => return Scalar::Timestamp,
        _ => {}
    }
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    let bytes = plain.as_bytes();
    if let Some(value) = number::parse_int(bytes) {
        return Scalar::Int(value);
    }
    if let Some(value) = number::parse_uint(bytes) {
        return Scalar::Uint(value);
    }
    if let Some(value) = number::parse_float(bytes).filter(|_| is_yaml_float(bytes)) {
        return Scalar::Float(value);
    }
    // What is left of binary numbers: a sign after the prefix.
    match bytes.strip_prefix(b"0b").and_then(|digits| std::str::from_utf8(digits).ok()) {
        Some(digits) => i64::from_str_radix(digits, 2).map_or(Scalar::Text, Scalar::Int),
        None => Scalar::Text,
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_yaml_float(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let sign = |text: &[u8]| usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let mut rest = text.get(sign(text)..).unwrap_or_default();
    let whole = digits(rest);
    rest = rest.get(whole..).unwrap_or_default();
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = digits(fraction);
        if whole == 0 && len == 0 {
            return false;
        }
        rest = fraction.get(len..).unwrap_or_default();
    } else if whole == 0 {
        return false;
    }
    match rest {
        [] => true,
        [b'e' | b'E', exponent @ ..] => {
            let exponent = exponent.get(sign(exponent)..).unwrap_or_default();
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
        _ => false,
    }
}

/// One of `2006-1-2T15:4:5.9Z07:00` (also with a small `t`), `2006-1-2 15:4:5.9`, `2006-1-2`.
pub(super) fn is_timestamp(text: &str) -> bool {
    let mut rest = text.as_bytes();
    let Some(year) = take(&mut rest, 4, 4) else { return false };
    let date = (|| {
        eat(&mut rest, b'-')?;
        let month = take(&mut rest, 1, 2).filter(|month| (1..=12).contains(month))?;
        eat(&mut rest, b'-')?;
        let day = take(&mut rest, 1, 2)?;
        (1..=days(year, month)).contains(&day).then_some(())
    })();
    if date.is_none() {
        return false;
    }
    let zoned = match rest {
        [] => return true,
        [b'T' | b't', ..] => true,
        [b' ', ..] => false,
        _ => return false,
    };
    rest = &rest[1..];
    clock(&mut rest).is_some()
        && match (zoned, rest) {
            (false, []) | (true, [b'Z']) => true,
            (true, [b'+' | b'-', h1, h2, b':', m1, m2]) if [h1, h2, m1, m2].iter().all(|d| d.is_ascii_digit()) => {
                (h1 - b'0') * 10 + (h2 - b'0') <= 24 && (m1 - b'0') * 10 + (m2 - b'0') < 60
            }
            _ => false,
        }
}

fn clock(rest: &mut &[u8]) -> Option<()> {
    take(rest, 1, 2).filter(|hour| *hour < 24)?;
    eat(rest, b':')?;
    take(rest, 1, 2).filter(|minute| *minute < 60)?;
    eat(rest, b':')?;
    take(rest, 1, 2).filter(|second| *second < 60)?;
    if let [b'.' | b',', digit, ..] = *rest
        && digit.is_ascii_digit()
    {
        *rest = &rest[1..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        *rest = rest.get(digits..).unwrap_or_default();
    }
    Some(())
}

fn take(rest: &mut &[u8], least: usize, most: usize) -> Option<u32> {
    let len = rest.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, others) = rest.split_at_checked(len).filter(|_| len >= least)?;
    *rest = others;
    Some(digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')))
}

fn eat(rest: &mut &[u8], byte: u8) -> Option<()> {
    *rest = rest.strip_prefix(&[byte])?;
    Some(())
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The base-60 numbers of YAML 1.1: read as text, but written in quotes for other parsers' sake.
/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`
pub(super) fn is_base60(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let mut more = 0;
    let rest_fits = parts.all(|part| {
        more += 1;
        match part.as_bytes() {
            [digit] => digit.is_ascii_digit(),
            [tens, digit] => (b'0'..=b'5').contains(tens) && digit.is_ascii_digit(),
            _ => false,
        }
    });
    first.starts_with(|c: char| c.is_ascii_digit())
        && first.chars().all(|c| c.is_ascii_digit() || c == '_')
        && rest_fits
        && more > 0
        && fraction.chars().all(|c| c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars() {
        assert_eq!(resolve("y"), Scalar::Bool(true));
        assert_eq!(resolve("oFf"), Scalar::Text);
        assert_eq!(resolve("017"), Scalar::Int(15));
        assert_eq!(resolve("08"), Scalar::Float(8.0));
        assert_eq!(resolve("1_000"), Scalar::Int(1000));
        assert_eq!(resolve("1."), Scalar::Float(1.0));
        assert_eq!(resolve("1e"), Scalar::Text);
        assert_eq!(resolve("2001-12-14"), Scalar::Timestamp);
        assert_eq!(resolve("2001-13-14"), Scalar::Text);
        assert!(is_base60("190:20:30.15") && !is_base60("1:70"));
    }
}
