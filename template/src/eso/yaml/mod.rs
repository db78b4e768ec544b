//! YAML as `sigs.k8s.io/yaml` has it: YAML 1.1 by way of JSON.
//!
//! Reading gives what JSON can hold (numbers become `float64`), writing first turns the value into JSON and then lays it
//! out in blocks, with keys in natural order and quotes where a plain scalar would read as something else.
//!
//! Modules, in reading order: [`mod@reader`] bytes to characters, [`mod@scanner`] and [`mod@scalars`] to tokens,
//! [`mod@parser`] to events, [`mod@tree`] to nodes, [`mod@scalar`] what a plain scalar means, [`mod@decode`] nodes to
//! values; [`mod@encode`] values to nodes, [`mod@layout`] nodes to text.

mod reader;
mod scanner;
mod scalars;
mod parser;
mod tree;
mod scalar;
mod decode;
mod encode;
mod layout;

use self::decode::Numbers;
use crate::{
    env::{Context, Env},
    error::Failure,
    value::{Map, Str, Value},
};

/// Maps and lists within each other: more than any document of configuration has, and few enough for the stack.
const NESTING: usize = 500;

pub(super) fn from_yaml(context: &mut Context<'_, '_>, args: &[Value]) -> Result<Value, Failure> {
    let [Value::Str(text)] = args else { return Err(Failure::new("wants a string")) };
    begin(context, text)?;
    let problem = match tree::parse(context, text) {
        Ok(None) => return Ok(Value::Map(Map::new())),
        Ok(Some(document)) => match decode::decode(context, &document, Numbers::Floats) {
            Ok(Value::Map(map)) => return Ok(Value::Map(map)),
            Ok(Value::Nil) => return Ok(Value::Map(Map::new())),
            Ok(other) => not_a_map(&other),
            Err(problem) => problem,
        },
        Err(problem) => problem,
    };
    match problem {
        Problem::Limit(failure) => Err(failure),
        Problem::Yaml(text) => {
            Ok(Value::dict([("Error", Value::str(format!("error converting YAML to JSON: {text}")))]))
        }
        Problem::Json(text) => Ok(Value::dict([("Error", Value::str(format!("error unmarshaling JSON: {text}")))])),
    }
}

/// Pays for reading a text, and for the characters that it is read into.
fn begin(context: &mut Context<'_, '_>, text: &[u8]) -> Result<(), Failure> {
    context.spend(text.len() as u64 / 16)?;
    context.made(text.len().saturating_mul(size_of::<char>()))
}

/// Reads a map of strings, as Go reads YAML into a `map[string]string`: numbers and booleans become text, null the
/// empty string; whatever else stands for a value is an error. Nothing at all is an empty map.
pub fn string_map(text: &[u8], env: &mut Env<'_>) -> Result<Vec<(Str, Str)>, Failure> {
    let context = &mut Context::new(env);
    begin(context, text)?;
    let Some(document) = tree::parse(context, text).map_err(refused)? else { return Ok(Vec::new()) };
    let map = match decode::decode(context, &document, Numbers::Text).map_err(refused)? {
        Value::Map(map) => map,
        Value::Nil => return Ok(Vec::new()),
        _ => return Err(Failure::new("not a map of keys and values")),
    };
    let text = |(key, value): (Str, Value)| match value {
        Value::Str(value) => Ok((key, value)),
        Value::Nil => Ok((key, Str::from(&b""[..]))),
        _ => Err(Failure::new("a value is a list or a map, where text is wanted")),
    };
    map.entries().into_iter().map(text).collect()
}

/// Reads any value; whole numbers keep their digits. Nil where there is nothing at all.
pub fn value(text: &[u8], env: &mut Env<'_>) -> Result<Value, Failure> {
    let context = &mut Context::new(env);
    begin(context, text)?;
    match tree::parse(context, text).map_err(refused)? {
        Some(document) => decode::decode(context, &document, Numbers::Whole).map_err(refused),
        None => Ok(Value::Nil),
    }
}

fn refused(problem: Problem) -> Failure {
    match problem {
        Problem::Limit(failure) => failure,
        Problem::Yaml(detail) | Problem::Json(detail) => Failure::foreign("not YAML", detail),
    }
}

pub(super) fn to_yaml(context: &mut Context<'_, '_>, args: &[Value]) -> Result<Value, Failure> {
    let [value] = args else { return Err(Failure::new("wants a value")) };
    let node = match encode::encode(context, value) {
        Ok(node) => node,
        Err(encode::Refusal::Limit(failure)) => return Err(failure),
        Err(encode::Refusal::Unsupported) => return Ok(Value::str("")),
    };
    let mut text = layout::write(context, &node)?;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    Ok(Value::str(text))
}

/// Why a text could not be read: a limit, or a text for the key `Error`, which ESO's template authors look at.
enum Problem {
    Limit(Failure),
    Yaml(String),
    Json(String),
}

impl Problem {
    fn yaml(text: impl std::fmt::Display) -> Self {
        Self::Yaml(format!("yaml: {text}"))
    }
}

impl From<reader::Complaint> for Problem {
    fn from(complaint: reader::Complaint) -> Self {
        Self::yaml(complaint.text())
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Limit(failure)
    }
}

fn not_a_map(value: &Value) -> Problem {
    let kind = match value {
        Value::List(_) => "array",
        Value::Str(_) => "string",
        Value::Bool(_) => "bool",
        _ => "number",
    };
    Problem::Json(format!(
        "while decoding JSON: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
    ))
}
