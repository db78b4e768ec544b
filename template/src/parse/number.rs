//! Constants: a number is kept under every type that can hold it, and the place it is used in chooses.

use crate::{
    strconv::{number, quote},
    value::Value,
};

/// A numeric constant.
#[derive(Debug, Clone)]
pub(crate) struct Number {
    pub text: String,
    pub int: Option<i64>,
    pub uint: Option<u64>,
    pub float: Option<f64>,
    pub complex: Option<(f64, f64)>,
}

impl Number {
    /// A character constant, quotes included.
    pub fn from_char(text: &[u8]) -> Result<Self, String> {
        let shown = String::from_utf8_lossy(text).into_owned();
        match quote::unquote_char(text) {
            Some(rune) => Ok(Self {
                text: shown,
                int: Some(rune.into()),
                uint: Some(rune.into()),
                float: Some(rune.into()),
                complex: None,
            }),
            None => Err(format!("malformed character constant: {shown}")),
        }
    }

    /// Two numbers with a sign between them and an `i` at the end.
    pub fn from_complex(text: &[u8]) -> Result<Self, String> {
        let shown = String::from_utf8_lossy(text).into_owned();
        let body = text.strip_suffix(b"i").unwrap_or(text);
        let sign = (1..body.len())
            .rev()
            .find(|at| matches!(body[*at], b'+' | b'-') && !matches!(body[*at - 1], b'e' | b'E' | b'p' | b'P'));
        let parts = sign.and_then(|at| {
            let (re, im) = body.split_at(at);
            Some((number::parse_float(re)?, number::parse_float(im)?))
        });
        match parts {
            Some((re, im)) => Ok(Self::complex(shown, re, im)),
            None => Err(format!("illegal number syntax: {shown:?}")),
        }
    }

    /// Anything else: integers in any base, floats, imaginary numbers.
    pub fn from_text(text: &[u8]) -> Result<Self, String> {
        let shown = String::from_utf8_lossy(text).into_owned();
        if let Some(imaginary) = text.strip_suffix(b"i").and_then(number::parse_float) {
            return Ok(Self::complex(shown, 0.0, imaginary));
        }
        let mut found = Self {
            text: shown,
            int: number::parse_int(text),
            uint: number::parse_uint(text),
            float: None,
            complex: None,
        };
        if found.int == Some(0) {
            found.uint = Some(0);
        }
        match (found.int, found.uint) {
            (Some(int), _) => found.float = Some(int as f64),
            (None, Some(uint)) => found.float = Some(uint as f64),
            (None, None) => match number::parse_float(text) {
                // It has a value, but it looks like an integer: one that is too large.
                Some(_) if !has_float_mark(text) => return Err(format!("integer overflow: {:?}", found.text)),
                Some(float) => {
                    found.float = Some(float);
                    found.int = whole_int(float);
                    found.uint = whole_uint(float);
                }
                None => return Err(format!("illegal number syntax: {:?}", found.text)),
            },
        }
        Ok(found)
    }

    fn complex(text: String, re: f64, im: f64) -> Self {
        let real = (im == 0.0).then_some(re);
        Self {
            text,
            int: real.and_then(whole_int),
            uint: real.and_then(whole_uint),
            float: real,
            complex: Some((re, im)),
        }
    }

    /// The value where nothing says which type is wanted: the syntax decides. `None` if it is too large for `int`.
    pub fn ideal(&self) -> Option<Value> {
        let text = self.text.as_bytes();
        match (self.complex, self.float, self.int) {
            (Some((re, im)), ..) => Some(Value::Complex(re, im)),
            (None, Some(float), _) if !is_hex_int(text) && !text.starts_with(b"'") && has_float_mark(text) => {
                Some(Value::Float(float))
            }
            (None, _, Some(int)) => Some(Value::int(int)),
            _ => None,
        }
    }
}

fn has_float_mark(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E' | b'p' | b'P'))
}

fn is_hex_int(text: &[u8]) -> bool {
    matches!(text, [b'0', b'x' | b'X', _, ..]) && !text.iter().any(|byte| matches!(byte, b'p' | b'P'))
}

fn whole_int(float: f64) -> Option<i64> {
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&float);
    (fits && float.trunc() == float).then_some(float as i64)
}

fn whole_uint(float: f64) -> Option<u64> {
    let fits = (0.0..18_446_744_073_709_551_616.0).contains(&float);
    (fits && float.trunc() == float).then_some(float as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ideal(text: &str) -> String {
        let number = Number::from_text(text.as_bytes()).unwrap();
        format!("{:?}", number.ideal().map(|value| (value.type_of(), value.is_true())))
    }

    #[test]
    fn the_syntax_decides() {
        assert_eq!(ideal("1"), "Some((Int(Int), true))");
        assert_eq!(ideal("1.0"), "Some((Float64, true))");
        assert_eq!(ideal("1e3"), "Some((Float64, true))");
        assert_eq!(ideal("0xe"), "Some((Int(Int), true))");
        assert_eq!(ideal("0x1p4"), "Some((Float64, true))");
        assert_eq!(ideal("2i"), "Some((Complex128, true))");
        assert_eq!(ideal("18446744073709551615"), "None");
    }

    #[test]
    fn bad_numbers() {
        for text in ["089", ".", "0x", "1__0", "99999999999999999999", "1e999", "+", "0b2"] {
            assert!(Number::from_text(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Number::from_char(b"'ab'").is_err());
        assert!(Number::from_complex(b"0x1+2i").is_err());
        assert_eq!(Number::from_complex(b"1e+2-3e-1i").unwrap().complex, Some((100.0, -0.3)));
        assert_eq!(Number::from_complex(b"4+0i").unwrap().int, Some(4));
    }
}
