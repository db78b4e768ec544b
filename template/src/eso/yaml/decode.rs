//! From nodes to what JSON can hold of them.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    NESTING, Problem,
    scalar::{self, PREFIX, Scalar},
    tree::{Document, Node, Place},
};
use crate::{
    env::{Context, VALUE},
    error::{Failure, Limit},
    strconv::{float, number, quote, unicode},
    value::{IntKind, Map, Str, UintKind, Value},
};

/// Aliases may make up so much of a document once it has some size.
const MOST_ALIASED: f64 = 0.99;

const UNSUPPORTED_KEY: &str = "unsupported map key of type: ";

struct Decoder<'d> {
    document: &'d Document,
    /// Aliases that are being followed.
    following: Vec<Place>,
    decoded: u64,
    aliased: u64,
    depth: usize,
    numbers: Numbers,
}

/// What becomes of numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// All are floats, as Go reads JSON.
    Floats,
    /// Whole ones stay whole.
    Whole,
    /// They are text, as booleans are: every digit of a whole number is kept.
    Text,
}

pub(super) fn decode(context: &mut Context<'_, '_>, document: &Document, numbers: Numbers) -> Result<Value, Problem> {
    let mut decoder = Decoder { document, following: Vec::new(), decoded: 0, aliased: 0, depth: 0, numbers };
    decoder.value(context, 0)?.map_err(Problem::Yaml)
}

/// A value, or why JSON cannot hold it. That comes second in Go: it is no error where a later entry of the same key
/// takes the place of the value.
type Converted = Result<Value, String>;

/// A mapping while its entries come in.
#[derive(Default)]
struct Entries {
    map: Map,
    /// What JSON cannot hold, by key; without one where it is the key.
    refused: Vec<(Option<Str>, String)>,
}

/// A scalar with its tag taken into account.
enum Meaning {
    Scalar(Scalar),
    Bytes(Vec<u8>),
}

impl Entries {
    /// Takes one in. It replaces an earlier one of that key.
    fn take(&mut self, context: &mut Context<'_, '_>, key: Option<Str>, value: Converted) -> Result<(), Problem> {
        let Some(key) = key else { return Ok(()) };
        context.spend(self.refused.len() as u64)?;
        self.refused.retain(|(refused, _)| refused.as_ref() != Some(&key));
        match value {
            Ok(value) => self.map.insert(key, value)?,
            Err(why) => self.refused.push((Some(key), why)),
        }
        Ok(())
    }
}

impl Decoder<'_> {
    fn value(&mut self, context: &mut Context<'_, '_>, place: Place) -> Result<Converted, Problem> {
        self.count(context)?;
        let node = &self.document.nodes[place];
        if let Node::Scalar { value, .. } = node {
            // Each alias of it is a copy.
            context.made(VALUE + value.len())?;
        }
        match node {
            Node::Scalar { value, tag, plain } => match (self.numbers, meaning(value, tag, *plain)?) {
                (Numbers::Text, Meaning::Scalar(scalar)) => Ok(Ok(scalar_text(value, scalar))),
                (Numbers::Whole, Meaning::Scalar(Scalar::Int(value))) => Ok(Ok(Value::Int(IntKind::Int64, value))),
                (Numbers::Whole, Meaning::Scalar(Scalar::Uint(value))) => Ok(Ok(Value::Uint(UintKind::Uint64, value))),
                (_, meaning) => Ok(scalar_value(value, meaning)),
            },
            Node::Alias { name, target } => self.follow(context, place, name, *target),
            Node::List(children) => {
                let mut items = Vec::with_capacity(children.len());
                for child in children {
                    self.enter()?;
                    items.push(self.value(context, *child)?);
                    self.depth -= 1;
                }
                context.fits_list(items.len())?;
                Ok(items.into_iter().collect::<Result<_, _>>().map(Value::list))
            }
            Node::Map(children) => {
                context.made_map(children.len() / 2)?;
                let mut entries = Entries::default();
                self.fill(context, children, &mut entries)?;
                Ok(match entries.refused.into_iter().next() {
                    Some((_, why)) => Err(why),
                    None => Ok(Value::Map(entries.map)),
                })
            }
        }
    }

    fn follow(
        &mut self,
        context: &mut Context<'_, '_>,
        place: Place,
        name: &str,
        target: Place,
    ) -> Result<Converted, Problem> {
        self.step_into(name, place)?;
        let value = self.value(context, target)?;
        self.following.pop();
        self.depth -= 1;
        Ok(value)
    }

    fn step_into(&mut self, name: &str, place: Place) -> Result<(), Problem> {
        if self.following.contains(&place) {
            return Err(Problem::yaml(format!("anchor '{name}' value contains itself")));
        }
        self.following.push(place);
        self.enter()
    }

    fn enter(&mut self) -> Result<(), Problem> {
        self.depth += 1;
        if self.depth <= NESTING { Ok(()) } else { Err(Problem::Limit(Failure::limit(Limit::Nesting, NESTING as u64))) }
    }

    fn count(&mut self, context: &mut Context<'_, '_>) -> Result<(), Problem> {
        context.spend(1)?;
        self.decoded += 1;
        self.aliased += u64::from(!self.following.is_empty());
        if self.aliased > 100 && self.decoded > 1000 && self.aliased as f64 / self.decoded as f64 > MOST_ALIASED {
            Err(Problem::yaml("document contains excessive aliasing"))
        } else {
            Ok(())
        }
    }

    /// Takes in the entries of a mapping, merge keys included.
    fn fill(
        &mut self,
        context: &mut Context<'_, '_>,
        children: &[Place],
        entries: &mut Entries,
    ) -> Result<(), Problem> {
        for pair in children.chunks(2) {
            let &[key, value] = pair else { continue };
            self.enter()?;
            if let Node::Scalar { value: text, tag, plain } = &self.document.nodes[key]
                && text.as_str() == "<<"
                && (*plain || tag.strip_prefix(PREFIX) == Some("merge"))
            {
                self.merge(context, value, entries)?;
            } else {
                let before = self.following.len();
                let key = match self.key(context, key) {
                    Err(Problem::Yaml(text)) if text.starts_with(UNSUPPORTED_KEY) => {
                        self.depth -= self.following.len() - before;
                        self.following.truncate(before);
                        let why = format!("{text}, value: {}", self.shown(value, false));
                        entries.refused.push((None, why));
                        None
                    }
                    key => Some(key?),
                };
                let value = self.value(context, value)?;
                entries.take(context, key, value)?;
            }
            self.depth -= 1;
        }
        Ok(())
    }

    /// Merges a mapping, or a list of them where earlier ones win.
    fn merge(&mut self, context: &mut Context<'_, '_>, place: Place, entries: &mut Entries) -> Result<(), Problem> {
        match &self.document.nodes[place] {
            Node::List(children) => {
                for child in children.iter().rev() {
                    self.merge_one(context, *child, entries)?;
                }
                Ok(())
            }
            _ => self.merge_one(context, place, entries),
        }
    }

    fn merge_one(&mut self, context: &mut Context<'_, '_>, place: Place, entries: &mut Entries) -> Result<(), Problem> {
        self.count(context)?;
        match &self.document.nodes[place] {
            Node::Map(children) => {
                self.enter()?;
                self.fill(context, children, entries)?;
                self.depth -= 1;
                Ok(())
            }
            Node::Alias { name, target } => match &self.document.nodes[*target] {
                Node::Map(children) => {
                    self.step_into(name, place)?;
                    self.count(context)?;
                    self.fill(context, children, entries)?;
                    self.following.pop();
                    self.depth -= 1;
                    Ok(())
                }
                _ => Err(Problem::yaml("map merge requires map or sequence of maps as the value")),
            },
            _ => Err(Problem::yaml("map merge requires map or sequence of maps as the value")),
        }
    }

    /// A value as Go shows it in a complaint about a key. Aliases are not followed: they could make it endless.
    fn shown(&self, place: Place, inside: bool) -> String {
        let (value, tag, plain) = match &self.document.nodes[place] {
            Node::Scalar { value, tag, plain } => (value, tag, plain),
            Node::Alias { name, .. } => return format!("*{name}"),
            Node::List(children) => {
                let items: Vec<String> = children.iter().map(|child| self.shown(*child, true)).collect();
                return format!("[]interface {{}}{{{}}}", items.join(", "));
            }
            Node::Map(children) => {
                let pair =
                    |pair: &[Place]| pair.iter().map(|part| self.shown(*part, true)).collect::<Vec<_>>().join(":");
                let mut entries: Vec<String> = children.chunks(2).map(pair).collect();
                entries.sort_unstable();
                return format!("map[interface {{}}]interface {{}}{{{}}}", entries.join(", "));
            }
        };
        let mut shown = Vec::new();
        match meaning(value, tag, *plain) {
            Ok(Meaning::Scalar(Scalar::Null)) => return if inside { "interface {}(nil)" } else { "<nil>" }.to_owned(),
            Ok(Meaning::Scalar(Scalar::Bool(value))) => return value.to_string(),
            Ok(Meaning::Scalar(Scalar::Int(value))) => return value.to_string(),
            Ok(Meaning::Scalar(Scalar::Uint(value))) => return format!("{value:#x}"),
            Ok(Meaning::Scalar(Scalar::Float(value))) => float::format(&mut shown, value, b'g', None),
            _ => quote::quote(&mut shown, value.as_bytes(), false),
        }
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// A key as the text that JSON needs.
    fn key(&mut self, context: &mut Context<'_, '_>, place: Place) -> Result<Str, Problem> {
        self.count(context)?;
        match &self.document.nodes[place] {
            Node::Scalar { value, tag, plain } => match meaning(value, tag, *plain)? {
                Meaning::Bytes(bytes) => Ok(sound(&bytes)),
                Meaning::Scalar(scalar) => match scalar {
                    Scalar::Text | Scalar::Timestamp => Ok(value.as_str().into()),
                    Scalar::Bool(value) => Ok(if value { "true" } else { "false" }.into()),
                    Scalar::Int(value) => Ok(value.to_string().into()),
                    Scalar::Float(value) => Ok(float_key(value)),
                    Scalar::Uint(value) => Err(Problem::Yaml(format!("{UNSUPPORTED_KEY}uint64, key: {value:#x}"))),
                    Scalar::Null => Err(Problem::Yaml(format!("{UNSUPPORTED_KEY}%!s(<nil>), key: <nil>"))),
                },
            },
            Node::Alias { name, target } => {
                self.step_into(name, place)?;
                let key = self.key(context, *target)?;
                self.following.pop();
                self.depth -= 1;
                Ok(key)
            }
            Node::List(_) | Node::Map(_) => Err(Problem::yaml(format!("invalid map key: {}", self.shown(place, true)))),
        }
    }
}

/// go-yaml takes a float key as a single-precision one.
fn float_key(value: f64) -> Str {
    let single = value as f32;
    match single {
        _ if single.is_nan() => ".nan".into(),
        f32::INFINITY => ".inf".into(),
        f32::NEG_INFINITY => "-.inf".into(),
        _ => {
            // The shortest digits of the single-precision number, laid out as `%g`.
            let shortest = number::parse_float(format!("{single:e}").as_bytes()).unwrap_or(value);
            let mut text = Vec::new();
            float::format(&mut text, shortest, b'g', None);
            text.into()
        }
    }
}

fn meaning(value: &str, tag: &str, plain: bool) -> Result<Meaning, Problem> {
    let Some(short) = tag.strip_prefix(PREFIX) else {
        return Ok(Meaning::Scalar(if plain && tag.is_empty() { scalar::resolve(value) } else { Scalar::Text }));
    };
    let found = match short {
        "str" => Scalar::Text,
        "binary" => {
            let text: String = value.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            return match STANDARD.decode(text) {
                Ok(bytes) => Ok(Meaning::Bytes(bytes)),
                Err(_) => Err(Problem::yaml("!!binary value contains invalid base64 data")),
            };
        }
        "bool" | "int" | "float" | "null" | "timestamp" => scalar::resolve(value),
        // A tag of someone's own.
        _ => return Ok(Meaning::Scalar(Scalar::Text)),
    };
    match (short, found) {
        ("str", _) => Ok(Meaning::Scalar(found)),
        ("float", Scalar::Int(value)) => Ok(Meaning::Scalar(Scalar::Float(value as f64))),
        // Only a plain scalar is tried as a point in time.
        ("bool" | "int" | "float" | "null", Scalar::Timestamp) => Err(mismatch("!!str", value, short)),
        _ if found.tag() == format!("!!{short}") => Ok(Meaning::Scalar(found)),
        _ => Err(mismatch(found.tag(), value, short)),
    }
}

fn mismatch(found: &str, value: &str, tag: &str) -> Problem {
    Problem::yaml(format!("cannot decode {found} `{value}` as a !!{tag}"))
}

fn scalar_text(text: &str, scalar: Scalar) -> Value {
    match scalar {
        Scalar::Null => Value::Nil,
        Scalar::Bool(value) => Value::str(if value { "true" } else { "false" }),
        Scalar::Int(value) => Value::str(value.to_string()),
        Scalar::Uint(value) => Value::str(value.to_string()),
        Scalar::Float(value) => {
            let mut out = Vec::new();
            float::format(&mut out, value, b'g', None);
            Value::str(out)
        }
        Scalar::Timestamp | Scalar::Text => Value::str(text),
    }
}

fn scalar_value(text: &str, meaning: Meaning) -> Converted {
    Ok(match meaning {
        Meaning::Bytes(bytes) => Value::Str(sound(&bytes)),
        Meaning::Scalar(scalar) => match scalar {
            Scalar::Null => Value::Nil,
            Scalar::Bool(value) => Value::Bool(value),
            Scalar::Int(value) => Value::Float(value as f64),
            Scalar::Uint(value) => Value::Float(value as f64),
            Scalar::Float(value) if !value.is_finite() => {
                let name = match value {
                    f64::INFINITY => "+Inf",
                    f64::NEG_INFINITY => "-Inf",
                    _ => "NaN",
                };
                return Err(format!("json: unsupported value: {name}"));
            }
            Scalar::Float(value) => Value::Float(value),
            Scalar::Timestamp | Scalar::Text => Value::str(text),
        },
    })
}

/// Text as JSON carries it: what is no UTF-8 is replaced.
fn sound(bytes: &[u8]) -> Str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => unicode::runes(bytes).map(|(rune, _)| rune).collect::<String>().into(),
    }
}
