//! The modifiers: what makes another document of a document.

use std::collections::BTreeMap;

use crate::{
    buf::{Buf, Span},
    eval::{self, Budget, TooComplex},
    number, pretty,
    scan::{self, Entries, Kind, Node, Piece},
    text,
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Modifier {
    Dig,
    Flatten,
    FromStr,
    Group,
    Join,
    Keys,
    Pretty,
    Reverse,
    This,
    ToStr,
    Ugly,
    Valid,
    Values,
}

/// What an entry takes while a document is taken apart, about.
const ENTRY: usize = 64;

impl Modifier {
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"dig" => Self::Dig,
            b"flatten" => Self::Flatten,
            b"fromstr" => Self::FromStr,
            b"group" => Self::Group,
            b"join" => Self::Join,
            b"keys" => Self::Keys,
            b"pretty" => Self::Pretty,
            b"reverse" => Self::Reverse,
            b"this" => Self::This,
            b"tostr" => Self::ToStr,
            b"ugly" => Self::Ugly,
            b"valid" => Self::Valid,
            b"values" => Self::Values,
            _ => return None,
        })
    }

    /// What the modifier makes of `json`.
    pub(crate) fn apply<'a>(self, json: &Span<'a>, argument: &[u8], budget: &mut Budget<'_>) -> Answer<'a> {
        budget.enter()?;
        let bytes = json.bytes();
        if self != Self::This {
            // A document like it, and a place for each of its entries on the way.
            let entries = bytes.iter().filter(|byte| **byte == b',').count();
            budget.make(bytes.len().saturating_add(entries.saturating_mul(ENTRY)))?;
        }
        let made = match self {
            Self::This => json.clone(),
            Self::Valid if crate::valid(bytes) => json.clone(),
            Self::FromStr if crate::valid(bytes) => {
                scan::document(json).map_or_else(Span::empty, |node| Span::made(node.to_text()))
            }
            Self::Valid | Self::FromStr => Span::empty(),
            Self::ToStr => {
                let mut out = Buf::with_capacity(bytes.len() + 2);
                text::quote(bytes, &mut out);
                Span::made(out)
            }
            Self::Ugly => Span::made(pretty::ugly(bytes)),
            Self::Pretty => Span::made(pretty::pretty(bytes, &pretty_options(argument), budget)?),
            Self::Keys => keys(json),
            Self::Values => values(json),
            Self::Reverse => reverse(json),
            Self::Flatten => flatten(json, argument, budget)?,
            Self::Join => join(json, argument),
            Self::Group => group(json),
            Self::Dig => dig(json, argument, budget)?,
        };
        budget.spend(made.bytes().len())?;
        budget.leave();
        Ok(made)
    }
}

type Answer<'a> = Result<Span<'a>, TooComplex>;

/// The members of the object that an argument is, by name.
fn options(argument: &[u8], mut option: impl FnMut(&[u8], &Node<'_>)) {
    let argument = Span::document(argument);
    let Some(node) = scan::document(&argument).filter(Node::is_object) else { return };
    for (key, value) in Entries::new(node.raw.bytes()) {
        let Some(key) = key else { continue };
        key.of(&node.raw).with_text(|name| option(name, &value.of(&node.raw)));
    }
}

fn is_true(node: &Node<'_>) -> bool {
    match node.kind {
        Kind::True => true,
        Kind::String => node.with_text(text::parse_bool) == Some(true),
        Kind::Number => node.float() != 0.0,
        Kind::Null | Kind::False | Kind::Nest => false,
    }
}

fn pretty_options(argument: &[u8]) -> pretty::Options {
    let blanks = |node: &Node<'_>| {
        node.with_text(|text| {
            text.iter().copied().filter(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).collect()
        })
    };
    let mut made = pretty::Options::default();
    options(argument, |name, value| match name {
        b"sortKeys" => made.sort_keys = is_true(value),
        b"indent" => made.indent = blanks(value),
        b"prefix" => made.prefix = blanks(value),
        b"width" => {
            made.width = match value.kind {
                Kind::True => 1,
                Kind::String => value.with_text(number::int_of_string),
                Kind::Number => number::int_of_number(value.raw.bytes()),
                Kind::Null | Kind::False | Kind::Nest => 0,
            }
        }
        _ => {}
    });
    made
}

/// What there is to go through: members, items, or the value itself.
fn entries(node: &Node<'_>) -> Vec<(Option<Piece>, Piece)> {
    match node.kind {
        Kind::Nest => Entries::new(node.raw.bytes()).collect(),
        kind => {
            let whole = 0..node.raw.bytes().len();
            vec![(None, Piece { kind, range: whole, closed: node.closed, escaped: node.escaped })]
        }
    }
}

fn keys<'a>(json: &Span<'a>) -> Span<'a> {
    let mut out = Buf::default();
    out.push(b'[');
    if let Some(node) = scan::document(json) {
        for (key, _) in entries(&node) {
            out.comma(out.len() == 1);
            out.extend(key.map_or(b"null", |key| &node.raw.bytes()[key.range]));
        }
    }
    out.push(b']');
    Span::made(out)
}

fn values<'a>(json: &Span<'a>) -> Span<'a> {
    let node = scan::document(json);
    if node.as_ref().is_some_and(Node::is_array) {
        return json.clone();
    }
    let mut out = Buf::default();
    out.push(b'[');
    if let Some(node) = node {
        for (_, value) in entries(&node) {
            out.comma(out.len() == 1);
            out.extend(&node.raw.bytes()[value.range]);
        }
    }
    out.push(b']');
    Span::made(out)
}

fn reverse<'a>(json: &Span<'a>) -> Span<'a> {
    let Some(node) = scan::document(json).filter(|node| node.kind == Kind::Nest) else { return json.clone() };
    let bytes = node.raw.bytes();
    let mut out = Buf::with_capacity(bytes.len());
    out.push(bytes[0]);
    for (key, value) in entries(&node).into_iter().rev() {
        out.comma(out.len() == 1);
        if let Some(key) = key {
            out.extend(&bytes[key.range]);
            out.push(b':');
        }
        out.extend(&bytes[value.range]);
    }
    out.push(if bytes[0] == b'{' { b'}' } else { b']' });
    Span::made(out)
}

fn flatten<'a>(json: &Span<'a>, argument: &[u8], budget: &mut Budget<'_>) -> Answer<'a> {
    let mut deep = false;
    options(argument, |name, value| {
        if name == b"deep" {
            deep = is_true(value);
        }
    });
    flatten_to(json, deep, budget)
}

fn flatten_to<'a>(json: &Span<'a>, deep: bool, budget: &mut Budget<'_>) -> Answer<'a> {
    let Some(node) = scan::document(json).filter(Node::is_array) else { return Ok(json.clone()) };
    budget.enter()?;
    let mut out = Buf::default();
    out.push(b'[');
    for (_, value) in entries(&node) {
        let value = value.of(&node.raw);
        budget.spend(value.raw.bytes().len())?;
        budget.make(value.raw.bytes().len())?;
        let flat = if deep && value.is_array() { flatten_to(&value.raw, deep, budget)? } else { value.raw.clone() };
        let items = if value.is_array() { text::unwrap(flat.bytes()) } else { flat.bytes() };
        let items = text::trim_space(items);
        if !items.is_empty() {
            out.comma(out.len() == 1);
            out.extend(items);
        }
    }
    out.push(b']');
    budget.leave();
    Ok(Span::made(out))
}

fn join<'a>(json: &Span<'a>, argument: &[u8]) -> Span<'a> {
    let Some(node) = scan::document(json).filter(Node::is_array) else { return json.clone() };
    let mut preserve = false;
    options(argument, |name, value| {
        if name == b"preserve" {
            preserve = is_true(value);
        }
    });
    let objects: Vec<Node<'_>> =
        entries(&node).into_iter().map(|(_, value)| value.of(&node.raw)).filter(Node::is_object).collect();
    let mut out = Buf::default();
    out.push(b'{');
    if preserve {
        for (n, object) in objects.iter().enumerate() {
            out.comma(n == 0);
            out.extend(text::unwrap(object.raw.bytes()));
        }
    } else {
        // A key stands where it came first, with the value that came last.
        let mut members: Vec<(Span<'_>, Span<'_>)> = Vec::new();
        let mut places: BTreeMap<Buf, usize> = BTreeMap::new();
        for object in &objects {
            for (key, value) in Entries::new(object.raw.bytes()) {
                let Some(key) = key else { continue };
                let key = key.of(&object.raw);
                let value = object.raw.part(value.range);
                let place = *places.entry(key.to_text()).or_insert(members.len());
                match members.get_mut(place) {
                    Some(member) => member.1 = value,
                    None => members.push((key.raw, value)),
                }
            }
        }
        for (n, (key, value)) in members.iter().enumerate() {
            out.comma(n == 0);
            out.extend(key.bytes());
            out.push(b':');
            out.extend(value.bytes());
        }
    }
    out.push(b'}');
    Span::made(out)
}

/// An object of arrays as an array of objects.
fn group<'a>(json: &Span<'a>) -> Span<'a> {
    let Some(node) = scan::document(json).filter(Node::is_object) else { return Span::empty() };
    let mut objects: Vec<Buf> = Vec::new();
    for (key, value) in Entries::new(node.raw.bytes()) {
        let value = value.of(&node.raw);
        let Some(key) = key.filter(|_| value.is_array()) else { continue };
        for (n, (_, item)) in Entries::new(value.raw.bytes()).enumerate() {
            if n == objects.len() {
                objects.push(Buf::default());
            }
            let object = &mut objects[n];
            object.comma(object.len() == 0);
            object.extend(&node.raw.bytes()[key.range.clone()]);
            object.push(b':');
            object.extend(&value.raw.bytes()[item.range]);
        }
    }
    let mut out = Buf::default();
    out.push(b'[');
    for (n, object) in objects.iter().enumerate() {
        out.comma(n == 0);
        out.push(b'{');
        out.extend(object.bytes());
        out.push(b'}');
    }
    out.push(b']');
    Span::made(out)
}

/// What a path finds in the document and in all that it holds, at any depth.
fn dig<'a>(json: &Span<'a>, path: &[u8], budget: &mut Budget<'_>) -> Answer<'a> {
    let mut out = Buf::default();
    out.push(b'[');
    dig_into(scan::document(json).as_ref(), path, &mut out, budget)?;
    out.push(b']');
    Ok(Span::made(out))
}

fn dig_into(node: Option<&Node<'_>>, path: &[u8], out: &mut Buf, budget: &mut Budget<'_>) -> Result<(), TooComplex> {
    budget.enter()?;
    let nothing = Span::empty();
    let json = node.map_or(&nothing, |node| &node.raw);
    if let Some(found) = eval::get(json, path, budget)? {
        budget.spend(found.raw.bytes().len())?;
        budget.make(found.raw.bytes().len())?;
        out.comma(out.len() == 1);
        out.extend(found.raw.bytes());
    }
    if let Some(node) = node.filter(|node| node.kind == Kind::Nest) {
        for (_, value) in Entries::new(node.raw.bytes()) {
            dig_into(Some(&value.of(&node.raw)), path, out, budget)?;
        }
    }
    budget.leave();
    Ok(())
}
