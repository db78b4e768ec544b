//! What a range goes round.

use std::vec;

use crate::{
    error::Failure,
    value::{IntKind, List, Str, UintKind, Value},
};

/// The rounds of a range: index or key, and element.
pub(super) enum Items {
    None,
    List(List, usize),
    Map(vec::IntoIter<(Str, Value)>),
    Int(IntKind, std::ops::Range<i64>),
    Uint(UintKind, std::ops::Range<u64>),
}

fn not_ranged(value: &Value) -> Failure {
    Failure::about(
        "a range can't go over a value of this type",
        format!("range can't iterate over type {}", value.type_of()),
    )
}

impl Items {
    /// Lists, maps in key order, and numbers up to themselves; `vars` is how many variables the range declares.
    pub fn of(value: &Value, vars: usize) -> Result<Self, Failure> {
        match value {
            Value::NoValue | Value::Nil => Ok(Self::None),
            Value::Int(..) | Value::Uint(..) if vars > 1 => {
                Err(Failure::new("can't use a number to iterate over more than one variable"))
            }
            Value::Int(kind, end) => Ok(Self::Int(*kind, 0..*end)),
            Value::Uint(kind, end) => Ok(Self::Uint(*kind, 0..*end)),
            Value::List(list) => Ok(Self::List(list.clone(), 0)),
            Value::Map(map) => Ok(Self::Map(map.entries().into_iter())),
            Value::Object(object) => match object.underlying() {
                Some(plain) => Self::of(&plain, vars),
                None => Err(not_ranged(value)),
            },
            _ => Err(not_ranged(value)),
        }
    }
}

impl Items {
    /// The bytes that it holds while it goes round.
    pub fn held(&self) -> usize {
        match self {
            Self::Map(entries) => size_of_val(entries.as_slice()),
            Self::None | Self::List(..) | Self::Int(..) | Self::Uint(..) => 0,
        }
    }

    /// What it took to get ready.
    pub fn cost(&self) -> u64 {
        match self {
            Self::Map(entries) => entries.len() as u64 / 16,
            Self::None | Self::List(..) | Self::Int(..) | Self::Uint(..) => 0,
        }
    }
}

impl Iterator for Items {
    type Item = (Value, Value);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::None => None,
            Self::List(list, at) => {
                let item = list.get(*at)?.clone();
                *at += 1;
                Some((Value::int(*at as i64 - 1), item))
            }
            Self::Map(entries) => entries.next().map(|(key, item)| (Value::Str(key), item)),
            Self::Int(kind, numbers) => numbers.next().map(|number| (Value::NoValue, Value::Int(*kind, number))),
            Self::Uint(kind, numbers) => numbers.next().map(|number| (Value::NoValue, Value::Uint(*kind, number))),
        }
    }
}
