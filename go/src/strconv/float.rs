//! Numbers to text, as Go's `strconv.AppendFloat` writes them.

use std::io::Write as _;

use zeroize::Zeroizing;

/// Decimal digits of a float: `0.d1d2d3... * 10^point`, no trailing zeros unless the precision asked for them.
struct Digits {
    digits: Zeroizing<Vec<u8>>,
    point: i64,
}

/// Room for the shortest form: digits, a point, an exponent.
const ROOM: usize = 40;

/// A double has no more digits than this behind the point; the rest of a longer precision is zeros.
const MOST_DIGITS: usize = 1100;

/// Appends the float in the form `verb` (`b e E f g G x X`); without a precision the shortest text that reads back as
/// the same float.
pub fn format(out: &mut Vec<u8>, value: f64, verb: u8, precision: Option<usize>) {
    match (value.is_nan(), value.is_infinite()) {
        (true, _) => return out.extend_from_slice(b"NaN"),
        (_, true) => return out.extend_from_slice(if value < 0.0 { b"-Inf" } else { b"+Inf" }),
        _ => {}
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let value = value.abs();
    match verb {
        b'b' => format_binary(out, value),
        b'x' | b'X' => format_hex(out, value, verb, precision),
        b'e' | b'E' => {
            let digits = match precision {
                Some(precision) => rounded(value, precision.saturating_add(1)),
                None => shortest(value),
            };
            let precision = precision.unwrap_or(digits.digits.len().saturating_sub(1));
            format_exponent(out, &digits, precision, verb);
        }
        b'f' => match precision {
            Some(precision) => format_exact_fraction(out, value, precision),
            None => {
                let digits = shortest(value);
                let precision = usize::try_from(digits.digits.len() as i64 - digits.point).unwrap_or(0);
                format_fraction(out, &digits, precision);
            }
        },
        _ => format_general(out, value, verb, precision),
    }
}

fn format_general(out: &mut Vec<u8>, value: f64, verb: u8, precision: Option<usize>) {
    let digits = match precision {
        Some(precision) => rounded(value, precision.max(1)),
        None => shortest(value),
    };
    let count = digits.digits.len();
    let threshold = match precision.map(|precision| precision.max(1)) {
        Some(precision) if precision > count && count as i64 >= digits.point => count as i64,
        Some(precision) => precision as i64,
        None => 6,
    };
    let exponent = digits.point - 1;
    if exponent < -4 || exponent >= threshold {
        format_exponent(out, &digits, count.saturating_sub(1), verb + b'e' - b'g')
    } else {
        format_fraction(out, &digits, usize::try_from(count as i64 - digits.point).unwrap_or(0))
    }
}

/// `d.ddde±dd`
fn format_exponent(out: &mut Vec<u8>, digits: &Digits, precision: usize, verb: u8) {
    out.push(digits.digits.first().copied().unwrap_or(b'0'));
    if precision > 0 {
        out.push(b'.');
        let behind = digits.digits.get(1..).unwrap_or_default();
        let shown = &behind[..behind.len().min(precision)];
        out.extend_from_slice(shown);
        out.resize(out.len() + precision - shown.len(), b'0');
    }
    let exponent = if digits.digits.is_empty() { 0 } else { digits.point - 1 };
    out.push(verb);
    out.push(if exponent < 0 { b'-' } else { b'+' });
    let _ = write!(out, "{:02}", exponent.abs());
}

/// `ddd.ddd`
fn format_fraction(out: &mut Vec<u8>, digits: &Digits, precision: usize) {
    let at = |place: i64| usize::try_from(place).ok().and_then(|place| digits.digits.get(place)).copied();
    match digits.point {
        ..=0 => out.push(b'0'),
        point => out.extend((0..point).map(|place| at(place).unwrap_or(b'0'))),
    }
    if precision > 0 {
        out.push(b'.');
        out.extend((0..precision).map(|place| at(digits.point + place as i64).unwrap_or(b'0')));
    }
}

fn format_exact_fraction(out: &mut Vec<u8>, value: f64, precision: usize) {
    let exact = precision.min(MOST_DIGITS);
    let _ = write!(out, "{value:.exact$}");
    out.resize(out.len() + precision - exact, b'0');
}

/// `ddddp±ddd`: the mantissa and the exponent as they are in memory.
fn format_binary(out: &mut Vec<u8>, value: f64) {
    let (mantissa, exponent) = parts(value);
    let exponent = exponent - 52;
    let _ = write!(out, "{mantissa}p{exponent:+}");
}

/// `0x1.ddddp±dd`
fn format_hex(out: &mut Vec<u8>, value: f64, verb: u8, precision: Option<usize>) {
    let (mantissa, mut exponent) = parts(value);
    // The leading one goes to bit 60: 15 digits of fraction below it.
    let mut bits = mantissa << 8;
    match bits {
        0 => exponent = 0,
        _ => {
            let shift = bits.leading_zeros() - 3;
            bits <<= shift;
            exponent -= i64::from(shift);
        }
    }
    if let Some(precision @ 0..15) = precision {
        let dropped = 60 - 4 * precision as u32;
        let rest = bits & ((1 << dropped) - 1);
        let half = 1u64 << (dropped - 1);
        bits >>= dropped;
        if rest > half || (rest == half && bits & 1 == 1) {
            bits += 1;
        }
        bits <<= dropped;
        if bits >> 61 == 1 {
            bits >>= 1;
            exponent += 1;
        }
    }
    let from = out.len();
    let _ = write!(out, "0x{}.{:015x}", bits >> 60, bits & ((1 << 60) - 1));
    let fraction = out.len() - 15;
    match precision {
        Some(precision) => out.resize(fraction.saturating_add(precision), b'0'),
        None => {
            let zeros = out[fraction..].iter().rev().take_while(|digit| **digit == b'0').count();
            out.truncate(out.len() - zeros);
        }
    }
    if out.len() == fraction {
        out.pop();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let _ = write!(out, "p{sign}{:02}", exponent.abs());
    if verb == b'X' {
        out[from..].make_ascii_uppercase();
    }
}

/// Mantissa of 53 bits and exponent of its first bit, as if it stood before the point.
fn parts(value: f64) -> (u64, i64) {
    let bits = value.to_bits();
    let (exponent, mantissa) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
    match exponent {
        0 => (mantissa, -1022),
        _ => (mantissa | 1 << 52, exponent as i64 - 1023),
    }
}

/// The fewest digits that read back as the same float, and of several the nearest.
fn shortest(value: f64) -> Digits {
    let found = scientific(value, None);
    match even_neighbour(value, &found) {
        Some(even) => even,
        None => found,
    }
}

/// Where the float is exactly between two shortest texts, Rust takes the larger one and Go the even one.
fn even_neighbour(value: f64, found: &Digits) -> Option<Digits> {
    /// Between shorter texts no float is halfway without being one of them.
    const LEAST_DIGITS: usize = 15;
    let count = found.digits.len();
    let last = *found.digits.last()?;
    if count < LEAST_DIGITS || last % 2 == 0 {
        return None;
    }
    let mut lower = found.digits.clone();
    *lower.last_mut()? = last - 1;
    let is_halfway = |behind: usize| {
        let exact = scientific(value, Some(behind));
        exact.point == found.point && exact.digits.strip_prefix(lower.as_slice()) == Some(b"5")
    };
    if !is_halfway(count) || !is_halfway(MOST_DIGITS) {
        return None;
    }
    let mut text = Zeroizing::new(Vec::with_capacity(count + ROOM));
    text.extend_from_slice(b"0.");
    text.extend_from_slice(&lower);
    let _ = write!(text, "e{}", found.point);
    let reads_back = std::str::from_utf8(&text).ok()?.parse() == Ok(value);
    reads_back.then_some(Digits { digits: lower, point: found.point })
}

/// So many significant digits, correctly rounded, trailing zeros gone.
fn rounded(value: f64, count: usize) -> Digits {
    let behind = count.min(MOST_DIGITS) - 1;
    scientific(value, Some(behind))
}

/// The digits of a float that isn't negative: so many behind the first, or as few as tell it from others.
fn scientific(value: f64, behind: Option<usize>) -> Digits {
    // Never grows, which would leave a copy behind.
    let mut digits = Zeroizing::new(Vec::with_capacity(behind.unwrap_or_default() + ROOM));
    let _ = match behind {
        Some(behind) => write!(digits, "{value:.behind$e}"),
        None => write!(digits, "{value:e}"),
    };
    let end = digits.iter().position(|byte| *byte == b'e').unwrap_or(digits.len());
    let exponent = digits.get(end + 1..).and_then(|exponent| std::str::from_utf8(exponent).ok()?.parse().ok());
    digits.truncate(end);
    digits.retain(|byte| *byte != b'.');
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    let point = if digits.is_empty() { 0 } else { exponent.unwrap_or(0) + 1 };
    Digits { digits, point }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64, verb: u8, precision: Option<usize>) -> String {
        let mut out = Vec::new();
        format(&mut out, value, verb, precision);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn shortest_form() {
        for (value, expected) in [
            (3.0, "3"),
            (1e6, "1e+06"),
            (100000.0, "100000"),
            (1e21, "1e+21"),
            (1e20, "1e+20"),
            (0.1, "0.1"),
            (1e-7, "1e-07"),
            (0.0001, "0.0001"),
            (1234567.0, "1.234567e+06"),
            (123456.5, "123456.5"),
            (0.0, "0"),
            (-0.0, "-0"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(text(value, b'g', None), expected);
        }
    }

    #[test]
    fn of_two_shortest_forms_the_even_one() {
        let quarters = |count: f64| 973_909_792_238_998.0 + count / 4.0;
        assert_eq!(text(quarters(1.0), b'g', None), "9.739097922389982e+14");
        assert_eq!(text(quarters(3.0), b'g', None), "9.739097922389988e+14");
        assert_eq!(text(-quarters(1.0), b'f', None), "-973909792238998.2");
    }

    #[test]
    fn forms_with_precision() {
        assert_eq!(text(1234.5678, b'e', Some(6)), "1.234568e+03");
        assert_eq!(text(0.5, b'f', Some(0)), "0");
        assert_eq!(text(2.5, b'f', Some(0)), "2");
        assert_eq!(text(1.5, b'f', Some(0)), "2");
        assert_eq!(text(100.0, b'g', Some(3)), "100");
        assert_eq!(text(1000.0, b'g', Some(3)), "1e+03");
        assert_eq!(text(123456.0, b'g', Some(8)), "123456");
        assert_eq!(text(0.0, b'e', Some(2)), "0.00e+00");
        assert_eq!(text(1.0, b'f', Some(2000)).len(), 2002);
    }

    #[test]
    fn binary_and_hex_forms() {
        assert_eq!(text(1.0, b'b', None), "4503599627370496p-52");
        assert_eq!(text(1.0, b'x', None), "0x1p+00");
        assert_eq!(text(2.5, b'x', None), "0x1.4p+01");
        assert_eq!(text(2.5, b'X', Some(2)), "0X1.40P+01");
        assert_eq!(text(0.0, b'x', Some(3)), "0x0.000p+00");
        assert_eq!(text(5e-324, b'x', None), "0x1p-1074");
        assert_eq!(text(1.0, b'x', Some(20)), "0x1.00000000000000000000p+00");
        assert_eq!(text(1.9, b'x', Some(0)), "0x1p+01");
    }
}
