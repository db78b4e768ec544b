//! Functions on strings.

use super::{
    args::function,
    lists::strslice,
    text::{sprint, strval},
};
use crate::{
    env::{Context, VALUE},
    error::Failure,
    function::Function,
    strconv::{
        quote,
        unicode::{decode, decode_last, runes},
    },
    value::{Map, Str, Type, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    function!("hello", (=> string), |_: &mut Context<'_, '_>| Ok("Hello!")),
    function!("trunc", (int, string => string), trunc),
    function!("substr", (int, int, string => string), substr),
    function!("trim", (string => string), |_: &mut _, text: &Str| Ok(share(text, trim(text, char::is_whitespace)))),
    function!("trimall", (string, string => string), trim_all),
    function!("trimAll", (string, string => string), trim_all),
    function!("trimSuffix", (string, string => string), |_: &mut _, suffix: &Str, text: &Str| {
        Ok(share(text, text.strip_suffix(&**suffix).unwrap_or(text)))
    }),
    function!("trimPrefix", (string, string => string), |_: &mut _, prefix: &Str, text: &Str| {
        Ok(share(text, text.strip_prefix(&**prefix).unwrap_or(text)))
    }),
    function!("repeat", (int, string => string), repeat),
    function!("contains", (string, string => bool), |_: &mut _, part: &Str, text: &Str| Ok(find(text, part).is_some())),
    function!("hasPrefix", (string, string => bool), |_: &mut _, part: &Str, text: &Str| Ok(text.starts_with(part))),
    function!("hasSuffix", (string, string => bool), |_: &mut _, part: &Str, text: &Str| Ok(text.ends_with(part))),
    function!("quote", (..any => string), quoted),
    function!("squote", (..any => string), single_quoted),
    function!("cat", (..any => string), cat),
    function!("indent", (int, string => string), |context: &mut _, width, text: &Str| indent(context, "", width, text)),
    function!("nindent", (int, string => string), |context: &mut _, width, text: &Str| {
        indent(context, "\n", width, text)
    }),
    function!("replace", (string, string, string => string), |context: &mut _, old: &Str, new: &Str, text: &Str| {
        replace(context, text, old, new)
    }),
    function!("plural", (string, string, int => string), |_: &mut _, one: &Str, many: &Str, count| {
        Ok(if count == 1 { one.clone() } else { many.clone() })
    }),
    function!("toString", (any => string), strval),
    function!("join", (string, any => string), join),
    function!("split", (string, string => string_map), |context: &mut _, separator: &Str, text: &Str| {
        let parts = split(context, text, separator, -1)?;
        numbered(context, parts)
    }),
    function!("splitn", (string, int, string => string_map), |context: &mut _, separator: &Str, most, text: &Str| {
        let parts = split(context, text, separator, most)?;
        numbered(context, parts)
    }),
    function!("splitList", (string, string => strings), |context: &mut Context<'_, '_>, separator: &Str, text: &Str| {
        Ok(Value::strings(split(context, text, separator, -1)?))
    }),
];

/// The part of a text as a value; the text itself if the part is all of it.
fn share(text: &Str, part: &[u8]) -> Str {
    if part.len() == text.len() { text.clone() } else { part.into() }
}

/// Where the part begins.
pub(super) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, part)
}

fn out_of_range() -> Failure {
    Failure::new("slice bounds out of range")
}

/// Go's `text[from..to]`.
fn cut(text: &Str, from: i64, to: i64) -> Result<Str, Failure> {
    let from = usize::try_from(from).map_err(|_| out_of_range())?;
    let to = usize::try_from(to).map_err(|_| out_of_range())?;
    text.get(from..to).map(|part| share(text, part)).ok_or_else(out_of_range)
}

fn trunc(_: &mut Context<'_, '_>, width: i64, text: &Str) -> Result<Str, Failure> {
    let len = text.len() as i64;
    match width {
        width if width < 0 && len.saturating_add(width) > 0 => cut(text, len + width, len),
        width if width >= 0 && len > width => cut(text, 0, width),
        _ => Ok(text.clone()),
    }
}

fn substr(_: &mut Context<'_, '_>, from: i64, to: i64, text: &Str) -> Result<Str, Failure> {
    let len = text.len() as i64;
    match (from, to) {
        (from, to) if from < 0 => cut(text, 0, to),
        (from, to) if to < 0 || to > len => cut(text, from, len),
        (from, to) => cut(text, from, to),
    }
}

fn trim(text: &[u8], unwanted: impl Fn(char) -> bool) -> &[u8] {
    let mut rest = text;
    loop {
        match decode(rest) {
            (rune, width) if width > 0 && unwanted(rune) => rest = &rest[width..],
            _ => break,
        }
    }
    loop {
        match decode_last(rest) {
            (rune, width) if width > 0 && unwanted(rune) => rest = &rest[..rest.len() - width],
            _ => break rest,
        }
    }
}

fn trim_all(_: &mut Context<'_, '_>, unwanted: &Str, text: &Str) -> Result<Str, Failure> {
    let unwanted: Vec<char> = runes(unwanted).map(|(rune, _)| rune).collect();
    Ok(share(text, trim(text, |rune| unwanted.contains(&rune))))
}

fn repeat(context: &mut Context<'_, '_>, count: i64, text: &Str) -> Result<Vec<u8>, Failure> {
    let count = usize::try_from(count).map_err(|_| Failure::new("strings: negative Repeat count"))?;
    context.fits(text.len().saturating_mul(count))?;
    if text.is_empty() { Ok(Vec::new()) } else { Ok(text.repeat(count)) }
}

fn quoted(context: &mut Context<'_, '_>, values: &[Value]) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    for value in values.iter().filter(|value| !value.is_nil()) {
        if !out.is_empty() {
            out.push(b' ');
        }
        let text = strval(context, value)?;
        quote::quote(&mut out, &text, false);
        context.fits(out.len())?;
    }
    Ok(out)
}

fn single_quoted(context: &mut Context<'_, '_>, values: &[Value]) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    for value in values.iter().filter(|value| !value.is_nil()) {
        if !out.is_empty() {
            out.push(b' ');
        }
        out.push(b'\'');
        out.extend_from_slice(&sprint(context, value)?);
        out.push(b'\'');
        context.fits(out.len())?;
    }
    Ok(out)
}

fn cat(context: &mut Context<'_, '_>, values: &[Value]) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    for (place, value) in values.iter().filter(|value| !value.is_nil()).enumerate() {
        if place > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(&sprint(context, value)?);
        context.fits(out.len())?;
    }
    Ok(out)
}

fn indent(context: &mut Context<'_, '_>, before: &str, width: i64, text: &Str) -> Result<Vec<u8>, Failure> {
    let width = usize::try_from(width).map_err(|_| Failure::new("strings: negative Repeat count"))?;
    let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
    let size = width.saturating_mul(lines).saturating_add(text.len() + before.len());
    context.fits(size)?;
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(before.as_bytes());
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if number > 0 {
            out.push(b'\n');
        }
        out.resize(out.len() + width, b' ');
        out.extend_from_slice(line);
    }
    Ok(out)
}

/// Puts `new` for each `old`; where `old` is empty, before every code point and at the end.
fn replace(context: &mut Context<'_, '_>, text: &Str, old: &Str, new: &Str) -> Result<Str, Failure> {
    if **old == **new {
        return Ok(text.clone());
    }
    let places: Vec<usize> = if old.is_empty() {
        let ends = runes(text).scan(0, |at, (_, bytes)| {
            *at += bytes.len();
            Some(*at)
        });
        std::iter::once(0).chain(ends).collect()
    } else {
        memchr::memmem::find_iter(text, &**old).collect()
    };
    if places.is_empty() {
        return Ok(text.clone());
    }
    let size = (text.len() - places.len() * old.len()).saturating_add(places.len().saturating_mul(new.len()));
    context.fits(size)?;
    let mut out = Vec::with_capacity(size);
    let mut done = 0;
    for place in places {
        out.extend_from_slice(&text[done..place]);
        out.extend_from_slice(new);
        done = place + old.len();
    }
    out.extend_from_slice(&text[done..]);
    Ok(out.into())
}

fn join(context: &mut Context<'_, '_>, separator: &Str, value: &Value) -> Result<Vec<u8>, Failure> {
    let parts = strslice(context, value)?;
    let size = parts.iter().map(|part| part.len()).sum::<usize>();
    context.fits(size.saturating_add(separator.len().saturating_mul(parts.len().saturating_sub(1))))?;
    Ok(parts.join(&**separator))
}

/// Paid for before they are made: at most so many parts, the last of which holds the rest; all of them for -1. An empty separator splits into code
/// points.
fn split(context: &mut Context<'_, '_>, text: &Str, separator: &Str, most: i64) -> Result<Vec<Str>, Failure> {
    let most = match most {
        0 => return Ok(Vec::new()),
        most if most < 0 => usize::MAX,
        most => usize::try_from(most).unwrap_or(usize::MAX),
    };
    context.made(text.len())?;
    let paid = |parts: &Vec<Str>| {
        context.made(VALUE)?;
        context.fits_list(parts.len() + 1)
    };
    let mut parts = Vec::new();
    let mut rest: &[u8] = text;
    if separator.is_empty() {
        while !rest.is_empty() {
            let width = if parts.len() + 1 < most { decode(rest).1 } else { rest.len() };
            let (part, after) = rest.split_at(width);
            paid(&parts)?;
            parts.push(part.into());
            rest = after;
        }
    } else {
        while let Some(place) = find(rest, separator).filter(|_| parts.len() + 1 < most) {
            paid(&parts)?;
            parts.push(rest[..place].into());
            rest = &rest[place + separator.len()..];
        }
        parts.push(rest.into());
    }
    Ok(parts)
}

/// `_0`, `_1` and so on.
fn numbered(context: &mut Context<'_, '_>, parts: Vec<Str>) -> Result<Map, Failure> {
    context.fits_list(parts.len())?;
    context.made_map(parts.len())?;
    let entries = parts.into_iter().enumerate().map(|(number, part)| (format!("_{number}").into(), Value::Str(part)));
    Ok(Map::from_entries(&Type::String, entries))
}
