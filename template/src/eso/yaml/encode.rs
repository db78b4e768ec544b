//! From values to nodes, by way of what JSON would make of them.

use std::cmp::Ordering;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{NESTING, layout::Node};
use crate::{
    env::{Context, ENTRY, VALUE},
    error::{Failure, Limit},
    sprig::own_form,
    strconv::{float, number, unicode},
    value::{Str, Type, Value},
};

/// Why there is nothing to write.
pub(super) enum Refusal {
    /// JSON or YAML cannot say it.
    Unsupported,
    /// A limit was hit.
    Limit(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Limit(failure)
    }
}

pub(super) fn encode(context: &mut Context<'_, '_>, value: &Value) -> Result<Node, Refusal> {
    node(context, value, 0)
}

fn node(context: &mut Context<'_, '_>, value: &Value, depth: usize) -> Result<Node, Refusal> {
    context.spend(1)?;
    context.made(2 * VALUE + value.as_bytes().map_or(0, <[u8]>::len))?;
    if depth > NESTING {
        return Err(Refusal::Limit(Failure::limit(Limit::Nesting, NESTING as u64)));
    }
    Ok(match value {
        Value::NoValue | Value::Nil => Node::Plain("null".to_owned()),
        Value::Bool(value) => Node::Plain(value.to_string()),
        Value::Int(_, value) => Node::Plain(value.to_string()),
        Value::Uint(_, value) => Node::Plain(value.to_string()),
        Value::Float(value) => Node::Plain(float_text(*value)?),
        Value::Complex(..) => return Err(Refusal::Unsupported),
        Value::Str(text) => Node::Text(sound(text)?),
        Value::List(list) if list.is_nil() => Node::Plain("null".to_owned()),
        Value::List(list) if *list.elem() == Type::BYTE => {
            let byte = |value: &Value| match value {
                Value::Uint(_, byte) => *byte as u8,
                _ => 0,
            };
            Node::Text(Zeroizing::new(STANDARD.encode(list.iter().map(byte).collect::<Vec<u8>>())))
        }
        Value::List(list) => {
            Node::List(list.iter().map(|item| node(context, item, depth + 1)).collect::<Result<_, _>>()?)
        }
        Value::Map(map) if map.is_nil() => Node::Plain("null".to_owned()),
        Value::Map(map) => {
            context.made(map.len().saturating_mul(ENTRY))?;
            entries(context, map.entries(), depth)?
        }
        Value::Object(object) => match (own_form(value), object.underlying()) {
            (Some(text), _) => Node::Text(sound(&text.ok_or(Refusal::Unsupported)?)?),
            (None, Some(plain)) => node(context, &plain, depth + 1)?,
            (None, None) => {
                let public = |name: &str| name.starts_with(|first: char| first.is_ascii_uppercase());
                let fields = object.fields().into_iter().filter(|(name, _)| public(name));
                entries(context, fields.map(|(name, value)| (name.into(), value)).collect(), depth)?
            }
        },
    })
}

fn entries(context: &mut Context<'_, '_>, entries: Vec<(Str, Value)>, depth: usize) -> Result<Node, Refusal> {
    let mut nodes: Vec<(Zeroizing<String>, Node)> = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        context.made(VALUE + key.len())?;
        let key = sound_key(&key)?;
        let value = node(context, &value, depth + 1)?;
        // Keys that were no UTF-8 may have become the same.
        let old = if key.contains('\u{fffd}') {
            context.spend(nodes.len() as u64 / 64)?;
            nodes.iter_mut().find(|(other, _)| *other == key)
        } else {
            None
        };
        match old {
            Some((_, old)) => *old = value,
            None => nodes.push((key, value)),
        }
    }
    Ok(Node::Map(sort(nodes)))
}

/// A number as it comes out of JSON and YAML again.
fn float_text(value: f64) -> Result<String, Refusal> {
    if !value.is_finite() {
        return Err(Refusal::Unsupported);
    }
    let size = value.abs();
    let mut text = Vec::new();
    float::format(&mut text, value, b'f', None);
    let is_integer = (size < 1e21 && number::parse_int(&text).is_some()) || number::parse_uint(&text).is_some();
    if !is_integer {
        text.clear();
        float::format(&mut text, value, b'g', None);
    }
    match text.as_slice() {
        b"-0" => Ok("0".to_owned()),
        _ => String::from_utf8(text).map_err(|_| Refusal::Unsupported),
    }
}

/// Text as it comes out of JSON and a YAML reader: what is no UTF-8 is replaced, and some characters the reader refuses.
fn sound(text: &[u8]) -> Result<Zeroizing<String>, Refusal> {
    let text = Zeroizing::new(match std::str::from_utf8(text) {
        Ok(text) => text.to_owned(),
        Err(_) => unicode::runes(text).map(|(rune, _)| rune).collect::<String>(),
    });
    if text.chars().any(|c| matches!(c, '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}')) {
        return Err(Refusal::Unsupported);
    }
    Ok(if text.contains(NEXT_LINE) { Zeroizing::new(fold(&text)) } else { text })
}

/// JSON leaves it as it is, and to YAML it is a line break, which folds within quotes.
const NEXT_LINE: char = '\u{85}';

fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(NEXT_LINE) {
        folded.push_str(rest[..at].trim_end_matches(' '));
        let after = rest[at..].trim_start_matches([NEXT_LINE, ' ']);
        let breaks = rest[at..rest.len() - after.len()].matches(NEXT_LINE).count();
        match breaks {
            1 => folded.push(' '),
            breaks => folded.extend(std::iter::repeat_n('\n', breaks - 1)),
        }
        rest = after;
    }
    folded + rest
}

/// A key of a JSON object must be on one line and not too long for a YAML reader to look back to its start.
fn sound_key(key: &[u8]) -> Result<Zeroizing<String>, Refusal> {
    if unicode::runes(key).any(|(rune, _)| rune == NEXT_LINE) {
        return Err(Refusal::Unsupported);
    }
    let key = sound(key)?;
    let escaped = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\x08' | '\x0c' => 2,
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..' ' => 6,
        _ => 1,
    };
    match 2 + key.chars().map(escaped).sum::<usize>() {
        0..=1024 => Ok(key),
        _ => Err(Refusal::Unsupported),
    }
}

/// Sorts by key without asking for more order than the comparison gives: numbers of many digits wrap around in it.
fn sort(mut nodes: Vec<(Zeroizing<String>, Node)>) -> Vec<(Zeroizing<String>, Node)> {
    if nodes.len() < 2 {
        return nodes;
    }
    let right = sort(nodes.split_off(nodes.len() / 2));
    let mut left = sort(nodes).into_iter().peekable();
    let mut right = right.into_iter().peekable();
    let mut sorted = Vec::new();
    while let (Some((a, _)), Some((b, _))) = (left.peek(), right.peek()) {
        match natural(b, a) {
            Ordering::Less => sorted.extend(right.next()),
            _ => sorted.extend(left.next()),
        }
    }
    sorted.extend(left);
    sorted.extend(right);
    sorted
}

/// go-yaml's order of keys: letters after everything else, runs of digits by their value.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else { return a.len().cmp(&b.len()) };
    let (left, right) = (a[at], b[at]);
    match (unicode::is_letter(left), unicode::is_letter(right)) {
        (true, true) => return left.cmp(&right),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A zero behind another digit counts.
    let behind = a[..at].iter().rev().take_while(|c| unicode::is_digit(**c)).any(|c| *c != '0');
    let start = i64::from((left == '0' || right == '0') && behind);
    let run = |text: &[char]| {
        let digits: Vec<char> = text.iter().copied().take_while(|c| unicode::is_digit(*c)).collect();
        let step = |value: i64, digit: &char| value.wrapping_mul(10).wrapping_add(i64::from(u32::from(*digit)) - 48);
        (digits.iter().fold(start, step), digits.len())
    };
    run(&a[at..]).cmp(&run(&b[at..])).then(left.cmp(&right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_people_count() {
        let mut keys = ["a10", "a9", "b", "10", "9", "A", "_", ""];
        keys.sort_by(|a, b| natural(a, b));
        assert_eq!(keys, ["", "_", "9", "10", "A", "a9", "a10", "b"]);
    }
}
