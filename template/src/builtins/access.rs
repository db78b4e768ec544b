//! `index`, `slice`, `len`.

use super::Answer;
use crate::{
    env::Context,
    error::Failure,
    exec::zero,
    value::{List, Value},
};

pub(super) fn index(_: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    let (first, indexes) = split(args, "index")?;
    let mut item = first.clone();
    for index in indexes {
        item = match &item {
            Value::NoValue | Value::Nil => return Err(Failure::new("index of nil pointer")),
            Value::List(list) => match list.get(position(index, list.len())?) {
                Some(item) => item.clone(),
                None => return Err(Failure::new("index out of range")),
            },
            Value::Str(text) => match text.get(position(index, text.len())?) {
                Some(byte) => Value::byte(*byte),
                None => return Err(Failure::new("index out of range")),
            },
            Value::Map(map) => match index {
                Value::Str(key) => map.get(key).or(zero(*map.elem())).unwrap_or(Value::NoValue),
                Value::NoValue | Value::Nil => return Err(Failure::new("value is nil; should be of type string")),
                other => {
                    let found = other.type_of();
                    return Err(Failure::new(format!("value has type {found}; should be string")));
                }
            },
            other => return Err(Failure::new(format!("can't index item of type {}", other.type_of()))),
        };
    }
    Ok(item)
}

pub(super) fn slice(_: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    let (item, indexes) = split(args, "slice")?;
    if indexes.len() > 3 {
        return Err(Failure::new(format!("too many slice indexes: {}", indexes.len())));
    }
    let (len, cap) = match item {
        Value::Str(_) if indexes.len() == 3 => return Err(Failure::new("cannot 3-index slice a string")),
        Value::Str(text) => (text.len(), text.len()),
        Value::List(list) => (list.len(), list.cap()),
        other => return Err(Failure::new(format!("can't slice item of type {}", other.type_of()))),
    };
    let mut bounds = [0, len, cap];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = position(index, cap)?;
    }
    let [from, to, cap] = bounds;
    let part = match item {
        Value::Str(text) => text.get(from..to).map(Value::str),
        Value::List(list) => List::slice(list, from, to, cap).map(Value::List),
        _ => None,
    };
    part.ok_or_else(|| Failure::new("invalid slice index"))
}

pub(super) fn len(_: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    let len = match args.first() {
        Some(Value::Str(text)) => text.len(),
        Some(Value::List(list)) => list.len(),
        Some(Value::Map(map)) => map.len(),
        None | Some(Value::NoValue | Value::Nil) => return Err(Failure::new("len of nil pointer")),
        Some(other) => return Err(Failure::new(format!("len of type {}", other.type_of()))),
    };
    Ok(Value::int(len as i64))
}

fn split<'a>(args: &'a [Value], what: &str) -> Result<(&'a Value, &'a [Value]), Failure> {
    match args.split_first() {
        None | Some((Value::NoValue | Value::Nil, _)) => Err(Failure::new(format!("{what} of untyped nil"))),
        Some(split) => Ok(split),
    }
}

/// An integer of any type that is no more than `most`. What it is stays unsaid: it may come from the data.
fn position(index: &Value, most: usize) -> Result<usize, Failure> {
    let index = match index {
        Value::Int(_, index) => usize::try_from(*index).ok(),
        Value::Uint(_, index) => usize::try_from(*index).ok(),
        Value::NoValue | Value::Nil => return Err(Failure::new("cannot index slice/array with nil")),
        other => return Err(Failure::new(format!("cannot index slice/array with type {}", other.type_of()))),
    };
    index.filter(|index| *index <= most).ok_or_else(|| Failure::new("index out of range"))
}
