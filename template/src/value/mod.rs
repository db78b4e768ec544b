//! What a template computes with: values that know their Go type.
//!
//! `eq`, `printf`, `kindOf` and half of all errors depend on whether a number is an `int` or an `int64`, whether a
//! map holds strings or anything, and whether a nil is a nil or the absence of a value. Every value therefore
//! carries its Go type. Strings are bytes. Lists are immutable slices with Go's length and capacity. Maps are shared:
//! two values may be the same map, and `set` through one shows through the other.
//!
//! Modules, in reading order: [`types`] Go types, [`string`](mod@string) byte strings that are wiped when dropped,
//! [`list`] slices, [`map`] maps, [`object`] structs and other types with methods.

pub mod types;
pub mod string;
pub mod list;
pub mod map;
pub mod object;

use std::{fmt, rc::Rc};

pub use list::List;
pub use map::Map;
pub use object::Object;
pub use string::Str;
pub use types::{IntKind, Named, Type, UintKind};

/// A Go value.
#[derive(Clone)]
pub enum Value {
    /// Go's invalid `reflect.Value`: a missing map entry, or what is left when a nil leaves a pipeline. It prints as
    /// `<no value>`. A function sees it only through a parameter of type `reflect.Value`; everywhere else it has
    /// become [`Value::Nil`].
    NoValue,
    /// A nil of type `interface {}`.
    Nil,
    /// `bool`
    Bool(bool),
    /// `int`, `int64`, ...
    Int(IntKind, i64),
    /// `uint8`, `uint64`, ...
    Uint(UintKind, u64),
    /// `float64`
    Float(f64),
    /// `complex128`
    Complex(f64, f64),
    /// `string`
    Str(Str),
    /// A slice of any element type.
    List(List),
    /// A map from strings to any element type.
    Map(Map),
    /// A struct, a pointer to one, or a named type with methods.
    Object(Rc<dyn Object>),
}

impl Value {
    /// An `int`.
    pub fn int(value: i64) -> Self {
        Self::Int(IntKind::Int, value)
    }

    /// An `int64`.
    pub fn int64(value: i64) -> Self {
        Self::Int(IntKind::Int64, value)
    }

    /// A `uint64`.
    pub fn uint64(value: u64) -> Self {
        Self::Uint(UintKind::Uint64, value)
    }

    /// A `uint8`, which is what indexing a string gives.
    pub fn byte(value: u8) -> Self {
        Self::Uint(UintKind::Uint8, value.into())
    }

    /// A `string`.
    pub fn str(value: impl Into<Str>) -> Self {
        Self::Str(value.into())
    }

    /// A `[]interface {}`.
    pub fn list(items: Vec<Value>) -> Self {
        Self::List(List::new(items))
    }

    /// A `[]string`.
    pub fn strings<S: Into<Str>>(items: impl IntoIterator<Item = S>) -> Self {
        Self::List(List::typed(&Type::String, items.into_iter().map(Value::str).collect()))
    }

    /// A `[]int`.
    pub fn ints(items: impl IntoIterator<Item = i64>) -> Self {
        Self::List(List::typed(&Type::INT, items.into_iter().map(Value::int).collect()))
    }

    /// A `map[string]interface {}` with these entries.
    pub fn dict<K: Into<Str>>(entries: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(Map::from_entries(&Type::Any, entries.into_iter().map(|(key, value)| (key.into(), value))))
    }

    /// A `map[string]string` with these entries.
    pub fn string_map<K: Into<Str>, V: Into<Str>>(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (key.into(), Value::str(value)));
        Self::Map(Map::from_entries(&Type::String, entries))
    }

    /// A value of a type of one's own.
    pub fn object(object: impl Object + 'static) -> Self {
        Self::Object(Rc::new(object))
    }

    /// The Go type; `interface {}` for the two nils.
    pub fn type_of(&self) -> Type {
        match self {
            Self::NoValue | Self::Nil => Type::Any,
            Self::Bool(_) => Type::Bool,
            Self::Int(kind, _) => Type::Int(*kind),
            Self::Uint(kind, _) => Type::Uint(*kind),
            Self::Float(_) => Type::Float64,
            Self::Complex(..) => Type::Complex128,
            Self::Str(_) => Type::String,
            Self::List(list) => Type::Slice(list.elem()),
            Self::Map(map) => Type::Map(map.elem()),
            Self::Object(object) => Type::Named(object.type_of()),
        }
    }

    /// Go's `reflect.Kind` as text; `invalid` for the two nils.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoValue | Self::Nil => "invalid",
            other => other.type_of().kind(),
        }
    }

    /// Is it one of the two nils?
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::NoValue | Self::Nil)
    }

    /// What `if`, `and` and `not` make of it: empty, zero and nil are false.
    pub fn is_true(&self) -> bool {
        match self {
            Self::NoValue | Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(_, value) => *value != 0,
            Self::Uint(_, value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Complex(re, im) => *re != 0.0 || *im != 0.0,
            Self::Str(value) => !value.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Object(object) => object.underlying().is_none_or(|value| value.is_true()),
        }
    }

    /// The bytes, if it is a string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Str(value) => Some(value),
            _ => None,
        }
    }

    /// The object inside, if it is of the Rust type `T`.
    pub fn downcast<T: 'static>(&self) -> Option<&T> {
        match self {
            Self::Object(object) => object.as_any().downcast_ref(),
            _ => None,
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<Str> for Value {
    fn from(value: Str) -> Self {
        Self::Str(value)
    }
}

impl From<List> for Value {
    fn from(value: List) -> Self {
        Self::List(value)
    }
}

impl From<Map> for Value {
    fn from(value: Map) -> Self {
        Self::Map(value)
    }
}

/// Shows the type and never the content: values are secrets.
impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoValue => out.write_str("no value"),
            Self::Nil => out.write_str("nil"),
            other => write!(out, "value of type {}", other.type_of()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_type_only() {
        assert_eq!(format!("{:?}", Value::str("s3cr3t")), "value of type string");
        assert_eq!(
            format!("{:?}", Value::dict([("k", Value::str("s3cr3t"))])),
            "value of type map[string]interface {}"
        );
    }

    #[test]
    fn deep_values_are_dropped_without_recursion() {
        let mut value = Value::Nil;
        for round in 0..200_000 {
            value = match round % 2 {
                0 => Value::list(vec![value]),
                _ => Value::dict([("k", value)]),
            };
        }
        drop(value);
    }

    /// They are copied all the time.
    #[test]
    fn values_are_small() {
        assert_eq!(size_of::<Value>(), 24);
    }

    #[test]
    fn maps_are_shared() {
        let map = Map::new();
        let other = Value::Map(map.clone());
        map.insert("k", Value::int(1)).unwrap();
        let Value::Map(other) = other else { unreachable!() };
        assert_eq!(other.len(), 1);
    }
}
