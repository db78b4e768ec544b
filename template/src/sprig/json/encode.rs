//! Values to JSON, without recursion.

use super::super::{dates::Time, encoding::BASE64, semver::Version};
use crate::{
    env::Context,
    error::Failure,
    value::{List, Map, Str, Type, Value},
};
use base64::Engine;
use keyferry_go::json;

/// How the text looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// On one line, with `<`, `>` and `&` escaped.
    Escaped,
    /// The same on many lines.
    Pretty,
    /// On one line, with `<`, `>` and `&` as they are.
    Raw,
}

/// Why there is no text.
pub(super) enum Failed {
    /// JSON cannot say it.
    Unsupported(&'static str),
    /// A limit was hit.
    Limit(Failure),
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self::Limit(failure)
    }
}

/// A list or an object that is being written.
enum Open {
    List {
        items: List,
        at: usize,
    },
    Object {
        map: Map,
        last: Option<Str>,
    },
    /// What a type of its own has.
    Fields {
        fields: std::vec::IntoIter<(&'static str, Value)>,
        first: bool,
    },
}

pub(super) fn encode(context: &mut Context<'_, '_>, value: &Value, style: Style) -> Result<Vec<u8>, Failed> {
    let mut writer = Writer { out: Vec::new(), open: Vec::new(), style };
    writer.begin(context, value)?;
    while let Some(open) = writer.open.last_mut() {
        let next = match open {
            Open::List { items, at } => items.get(*at).cloned().map(|value| {
                *at += 1;
                (*at == 1, None, value)
            }),
            Open::Object { map, last } => map.next(last.as_deref()).map(|(key, value)| {
                let first = last.replace(key.clone()).is_none();
                (first, Some(key), value)
            }),
            Open::Fields { fields, first } => {
                fields.next().map(|(name, value)| (std::mem::replace(first, false), Some(name.into()), value))
            }
        };
        match next {
            Some((first, key, value)) => {
                if !first {
                    writer.out.push(b',');
                }
                writer.newline();
                if let Some(key) = key {
                    writer.text(&key);
                    writer.out.extend_from_slice(if style == Style::Pretty { b": " } else { b":" });
                }
                writer.begin(context, &value)?;
            }
            None => writer.end(),
        }
        context.fits(writer.out.len())?;
    }
    Ok(writer.out)
}

struct Writer {
    out: Vec<u8>,
    open: Vec<Open>,
    style: Style,
}

/// Go looks for cycles beyond this depth.
const DEPTH_WITHOUT_CYCLES: usize = 1000;

impl Writer {
    fn newline(&mut self) {
        if self.style == Style::Pretty {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + 2 * self.open.len(), b' ');
        }
    }

    /// Writes a value, or the start of it if it has elements.
    fn begin(&mut self, context: &mut Context<'_, '_>, value: &Value) -> Result<(), Failed> {
        context.spend(1)?;
        match value {
            Value::NoValue | Value::Nil => self.out.extend_from_slice(b"null"),
            Value::Bool(true) => self.out.extend_from_slice(b"true"),
            Value::Bool(false) => self.out.extend_from_slice(b"false"),
            Value::Int(_, number) => self.out.extend_from_slice(number.to_string().as_bytes()),
            Value::Uint(_, number) => self.out.extend_from_slice(number.to_string().as_bytes()),
            Value::Float(number) => self.number(*number)?,
            Value::Complex(..) => return Err(Failed::Unsupported("json: unsupported type: complex128")),
            Value::Str(text) => self.text(text),
            Value::List(list) if list.is_nil() => self.out.extend_from_slice(b"null"),
            Value::List(list) if *list.elem() == Type::BYTE => {
                let bytes: Vec<u8> = list.iter().map(byte).collect();
                self.out.push(b'"');
                self.out.extend_from_slice(BASE64.encode(bytes).as_bytes());
                self.out.push(b'"');
            }
            Value::List(list) if list.is_empty() => self.out.extend_from_slice(b"[]"),
            Value::List(list) => {
                self.out.push(b'[');
                self.open.push(Open::List { items: list.clone(), at: 0 });
            }
            Value::Map(map) if map.is_nil() => self.out.extend_from_slice(b"null"),
            Value::Map(map) if map.is_empty() => self.out.extend_from_slice(b"{}"),
            Value::Map(map) => self.begin_object(map)?,
            Value::Object(object) => match own_form(value) {
                Some(Some(text)) => self.text(&text),
                Some(None) => return Err(Failed::Unsupported("json: year outside of range [0,9999]")),
                None => match object.underlying() {
                    Some(plain) => self.begin(context, &plain)?,
                    None => {
                        let public = |name: &&str| name.starts_with(|first: char| first.is_ascii_uppercase());
                        let fields: Vec<_> = object.fields().into_iter().filter(|(name, _)| public(name)).collect();
                        if fields.is_empty() {
                            self.out.extend_from_slice(b"{}");
                        } else {
                            self.out.push(b'{');
                            self.open.push(Open::Fields { fields: fields.into_iter(), first: true });
                        }
                    }
                },
            },
        }
        Ok(())
    }

    fn begin_object(&mut self, map: &Map) -> Result<(), Failed> {
        let is_open = |open: &Open| matches!(open, Open::Object { map: other, .. } if other.same(map));
        if self.open.len() > DEPTH_WITHOUT_CYCLES && self.open.iter().any(is_open) {
            return Err(Failed::Unsupported("json: unsupported value: encountered a cycle"));
        }
        self.out.push(b'{');
        self.open.push(Open::Object { map: map.clone(), last: None });
        Ok(())
    }

    fn end(&mut self) {
        let close = match self.open.pop() {
            Some(Open::List { .. }) => b']',
            _ => b'}',
        };
        self.newline();
        self.out.push(close);
    }

    fn number(&mut self, number: f64) -> Result<(), Failed> {
        if !number.is_finite() {
            return Err(Failed::Unsupported("json: unsupported value: NaN or infinity"));
        }
        json::number(&mut self.out, number);
        Ok(())
    }

    fn text(&mut self, text: &[u8]) {
        json::string(text, self.style != Style::Raw, |part| self.out.extend_from_slice(part));
    }
}

/// The text that a type of its own wants to be in JSON, if it is such a type and if it has one.
pub(crate) fn own_form(value: &Value) -> Option<Option<Vec<u8>>> {
    match (value.downcast::<Time>(), value.downcast::<Version>()) {
        (Some(time), _) => Some(time.json()),
        (_, Some(version)) => Some(Some(version.json())),
        _ => None,
    }
}

fn byte(value: &Value) -> u8 {
    match value {
        Value::Uint(_, byte) => u8::try_from(*byte).unwrap_or(0),
        _ => 0,
    }
}
