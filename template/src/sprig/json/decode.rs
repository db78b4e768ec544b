//! JSON to values, without recursion. Numbers become `float64`.

use super::super::growth::appended;
use crate::{
    env::{Context, VALUE},
    error::Failure,
    strconv::unicode::{decode as decode_rune, push_rune},
    value::{Map, Str, Type, Value},
};

/// Go reads lists and objects within each other up to this depth.
const MOST_DEPTH: usize = 10_000;

const TOO_LARGE: &str = "json: cannot unmarshal number into Go value of type float64";

/// A list or an object that is being read.
enum Open {
    List(Vec<Value>),
    Object { map: Map, key: Str },
}

impl Open {
    fn put(&mut self, context: &Context<'_, '_>, value: Value) -> Result<(), Failure> {
        context.made(value.as_bytes().map_or(0, <[u8]>::len))?;
        match self {
            Self::List(items) => {
                context.fits_list(items.len() + 1)?;
                items.push(value);
            }
            Self::Object { map, key } => {
                context.made(key.len())?;
                map.insert(&*key, value)?;
                context.fits_list(map.len())?;
            }
        }
        Ok(())
    }
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    /// The first element of a list, or its end.
    ValueOrEnd,
    Key,
    /// The first key of an object, or its end.
    KeyOrEnd,
    /// A comma or an end; at the outside the end of the text.
    After,
}

/// What the text holds, and Go's complaint about it if there is one. Only numbers that are too large leave something:
/// they become nil. Failures are limits.
pub(super) fn decode(context: &mut Context<'_, '_>, text: &[u8]) -> Result<(Value, Option<&'static str>), Failure> {
    let mut reader = Reader { rest: text, complaint: None };
    Ok(match reader.read(context)? {
        Ok(value) => (value, reader.complaint),
        Err(complaint) => (Value::Nil, Some(complaint)),
    })
}

/// Opens a list or an object, and says what may come in it.
fn begin(context: &Context<'_, '_>, bracket: u8, open: &mut Vec<Open>) -> Result<Expect, Failure> {
    let (inner, first) = if bracket == b'[' {
        context.made(2 * VALUE)?;
        (Open::List(Vec::new()), Expect::ValueOrEnd)
    } else {
        context.made_map(0)?;
        (Open::Object { map: Map::new(), key: "".into() }, Expect::KeyOrEnd)
    };
    open.push(inner);
    Ok(first)
}

struct Reader<'a> {
    rest: &'a [u8],
    complaint: Option<&'static str>,
}

type Read<T> = Result<T, &'static str>;

impl Reader<'_> {
    fn read(&mut self, context: &mut Context<'_, '_>) -> Result<Read<Value>, Failure> {
        let mut open: Vec<Open> = Vec::new();
        let mut expect = Expect::Value;
        let mut result = Value::Nil;
        loop {
            self.skip_space();
            let Some((byte, after)) = self.rest.split_first() else {
                let is_whole = expect == Expect::After && open.is_empty();
                return Ok(if is_whole { Ok(result) } else { Err("unexpected end of JSON input") });
            };
            context.spend(1)?;
            context.made(VALUE)?;
            let mut done = None;
            match (byte, expect, open.last_mut()) {
                (b'}', Expect::KeyOrEnd | Expect::After, Some(Open::Object { map, .. })) => {
                    self.rest = after;
                    done = Some(Value::Map(map.clone()));
                    open.pop();
                }
                (b']', Expect::ValueOrEnd | Expect::After, Some(Open::List(items))) => {
                    self.rest = after;
                    done = Some(Value::List(appended(&Type::Any, std::mem::take(items), 0)));
                    open.pop();
                }
                (b',', Expect::After, Some(inner)) => {
                    self.rest = after;
                    expect = match inner {
                        Open::List(_) => Expect::Value,
                        Open::Object { .. } => Expect::Key,
                    };
                }
                (b'"', Expect::Key | Expect::KeyOrEnd, Some(Open::Object { key, .. })) => {
                    match self.text().and_then(|text| self.colon().map(|()| text)) {
                        Ok(text) => *key = text,
                        Err(complaint) => return Ok(Err(complaint)),
                    }
                    expect = Expect::Value;
                }
                (b'[' | b'{', Expect::Value | Expect::ValueOrEnd, _) => {
                    if open.len() >= MOST_DEPTH {
                        return Ok(Err("exceeded max depth"));
                    }
                    self.rest = after;
                    expect = begin(context, *byte, &mut open)?;
                }
                (_, Expect::Value | Expect::ValueOrEnd, _) => match self.scalar() {
                    Ok(value) => done = Some(value),
                    Err(complaint) => return Ok(Err(complaint)),
                },
                _ => return Ok(Err("invalid character in JSON")),
            }
            if let Some(value) = done {
                expect = Expect::After;
                match open.last_mut() {
                    None => result = value,
                    Some(outer) => outer.put(context, value)?,
                }
            }
        }
    }

    fn skip_space(&mut self) {
        let spaces = self.rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.rest = &self.rest[spaces..];
    }

    fn colon(&mut self) -> Read<()> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(b":").ok_or("invalid character after object key")?;
        Ok(())
    }

    fn scalar(&mut self) -> Read<Value> {
        for (word, value) in [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Nil)] {
            if let Some(rest) = self.rest.strip_prefix(word.as_bytes()) {
                self.rest = rest;
                return Ok(value);
            }
        }
        match self.rest.first() {
            Some(b'"') => Ok(Value::Str(self.text()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err("invalid character looking for beginning of value"),
        }
    }

    fn digits(&mut self, len: &mut usize) -> Read<()> {
        let digits = self.rest[*len..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        *len += digits;
        match digits {
            0 => Err("invalid character in numeric literal"),
            _ => Ok(()),
        }
    }

    fn number(&mut self) -> Read<Value> {
        let mut len = usize::from(self.rest.starts_with(b"-"));
        match self.rest.get(len) {
            Some(b'0') => len += 1,
            _ => self.digits(&mut len)?,
        }
        if self.rest.get(len) == Some(&b'.') {
            len += 1;
            self.digits(&mut len)?;
        }
        if let Some(b'e' | b'E') = self.rest.get(len) {
            len += 1;
            len += usize::from(matches!(self.rest.get(len), Some(b'+' | b'-')));
            self.digits(&mut len)?;
        }
        let (number, rest) = self.rest.split_at(len);
        self.rest = rest;
        let number = std::str::from_utf8(number).ok().and_then(|number| number.parse::<f64>().ok());
        match number {
            Some(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => {
                self.complaint = Some(TOO_LARGE);
                Ok(Value::Nil)
            }
        }
    }

    /// A text in quotes. What is not UTF-8 becomes U+FFFD, byte by byte.
    fn text(&mut self) -> Read<Str> {
        let mut rest = self.rest.get(1..).unwrap_or_default();
        let plain = rest.iter().take_while(|byte| matches!(byte, 0x20..0x80) && !matches!(byte, b'"' | b'\\')).count();
        let mut out = rest[..plain].to_vec();
        rest = &rest[plain..];
        loop {
            rest = match rest {
                [] => return Err("unexpected end of JSON input"),
                [b'"', after @ ..] => {
                    self.rest = after;
                    return Ok(out.into());
                }
                [b'\\', after @ ..] => escaped(&mut out, after)?,
                [..0x20, ..] => return Err("invalid character in string literal"),
                _ => {
                    let (rune, width) = decode_rune(rest);
                    push_rune(&mut out, u32::from(rune).into());
                    &rest[width..]
                }
            };
        }
    }
}

/// Appends what is after a backslash and returns what follows.
fn escaped<'a>(out: &mut Vec<u8>, text: &'a [u8]) -> Read<&'a [u8]> {
    let (byte, rest) = text.split_first().ok_or("unexpected end of JSON input")?;
    out.push(match byte {
        b'"' | b'\\' | b'/' => *byte,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return code_point(out, rest),
        _ => return Err("invalid character in string escape code"),
    });
    Ok(rest)
}

fn hex4(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let number = digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))?;
    Some((number, rest))
}

/// `\u1234`, with a second one if they are a pair of surrogates.
fn code_point<'a>(out: &mut Vec<u8>, text: &'a [u8]) -> Read<&'a [u8]> {
    let (first, rest) = hex4(text).ok_or("invalid character in \\u hexadecimal character escape")?;
    let low = rest.strip_prefix(b"\\u").and_then(hex4).filter(|(low, _)| (0xdc00..0xe000).contains(low));
    match (first, low) {
        (0xd800..0xdc00, Some((low, rest))) => {
            push_rune(out, (((first - 0xd800) << 10) + (low - 0xdc00) + 0x10000).into());
            Ok(rest)
        }
        _ => {
            push_rune(out, first.into());
            Ok(rest)
        }
    }
}
