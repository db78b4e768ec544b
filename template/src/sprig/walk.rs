//! Walks through values of any depth, without recursion: a template may nest them deeper than the stack is.

use std::collections::HashSet;

use super::semver::Version;
use crate::{
    env::{Context, VALUE},
    error::Failure,
    value::{Map, Object, Str, Type, Value},
};

/// Go's `reflect.DeepEqual`: the types must be the same, NaN differs from itself, and one and the same map is equal
/// whatever it holds.
pub(super) fn deep_equal(context: &mut Context<'_, '_>, left: &Value, right: &Value) -> Result<bool, Failure> {
    let mut pending = vec![(left.clone(), right.clone())];
    let mut seen = HashSet::new();
    while let Some((left, right)) = pending.pop() {
        context.spend(1)?;
        let equal = match (&left, &right) {
            (Value::Nil | Value::NoValue, Value::Nil | Value::NoValue) => true,
            (Value::List(left), Value::List(right)) => {
                let equal = left.elem() == right.elem() && left.is_nil() == right.is_nil() && left.len() == right.len();
                if equal && !left.same(right) {
                    context.spend(left.len() as u64)?;
                    context.made(left.len().saturating_mul(2 * size_of::<Value>()))?;
                    pending.extend(left.iter().cloned().zip(right.iter().cloned()));
                }
                equal
            }
            (Value::Map(left), Value::Map(right)) => {
                let equal = left.elem() == right.elem() && left.is_nil() == right.is_nil() && left.len() == right.len();
                let known = left.same(right) || !seen.insert((left.address(), right.address()));
                if equal && !known {
                    context.spend(left.len() as u64)?;
                    context.made(left.len().saturating_mul(3 * size_of::<Value>()))?;
                    equal_keys(left, right, &mut pending)
                } else {
                    equal
                }
            }
            (Value::Object(left), Value::Object(right)) => equal_objects(&**left, &**right),
            (left, right) => equal_scalars(left, right),
        };
        if !equal {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Have both the same keys? Then their values are left to be compared.
fn equal_keys(left: &Map, right: &Map, pending: &mut Vec<(Value, Value)>) -> bool {
    left.entries().into_iter().all(|(key, value)| match right.get(&key) {
        Some(other) => {
            pending.push((value, other));
            true
        }
        None => false,
    })
}

fn equal_objects(left: &dyn Object, right: &dyn Object) -> bool {
    match (left.as_any().downcast_ref::<Version>(), right.as_any().downcast_ref::<Version>()) {
        (Some(left), Some(right)) => left.is_same(right),
        _ => left.type_of() == right.type_of() && left.equals(right).unwrap_or(false),
    }
}

fn equal_scalars(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Int(kind, left), Value::Int(other, right)) => kind == other && left == right,
        (Value::Uint(kind, left), Value::Uint(other, right)) => kind == other && left == right,
        (Value::Float(left), Value::Float(right)) => left == right,
        (Value::Complex(left, left_i), Value::Complex(right, right_i)) => left == right && left_i == right_i,
        (Value::Str(left), Value::Str(right)) => left == right,
        _ => false,
    }
}

/// A list or a map that is being copied.
enum Copying {
    List { items: std::vec::IntoIter<Value>, copied: Vec<Value>, elem: &'static Type, capacity: usize },
    Map { entries: std::vec::IntoIter<(Str, Value)>, key: Str, copied: Map },
}

/// What became of a value.
enum Step {
    Done(Value),
    Into(Copying),
}

/// A copy that shares no list and no map with the value. Structs come out with what is private to them at zero.
pub(super) fn deep_copy(context: &mut Context<'_, '_>, value: &Value) -> Result<Value, Failure> {
    if value.is_nil() {
        return Err(Failure::new("cannot copy nil"));
    }
    let mut open: Vec<Copying> = Vec::new();
    let mut step = begin(context, value)?;
    loop {
        step = match step {
            Step::Into(inner) => {
                open.push(inner);
                next(context, &mut open)?
            }
            Step::Done(value) => match open.last_mut() {
                None => return Ok(value),
                Some(Copying::List { copied, .. }) => {
                    copied.push(value);
                    next(context, &mut open)?
                }
                Some(Copying::Map { copied, key, .. }) => {
                    copied.insert(&*key, value)?;
                    next(context, &mut open)?
                }
            },
        };
    }
}

fn begin(context: &mut Context<'_, '_>, value: &Value) -> Result<Step, Failure> {
    context.spend(1)?;
    match value {
        // The elements that are still to be copied, and the copies.
        Value::List(list) => {
            context.made(2 * VALUE + (list.len() + list.cap()).saturating_mul(size_of::<Value>()))?;
        }
        Value::Map(map) => context.made_map(map.len())?,
        _ => context.made(VALUE)?,
    }
    Ok(match value {
        Value::List(list) if !list.is_nil() => Step::Into(Copying::List {
            items: Vec::from(&**list).into_iter(),
            copied: Vec::with_capacity(list.len()),
            elem: list.elem(),
            capacity: list.cap(),
        }),
        Value::Map(map) if !map.is_nil() => Step::Into(Copying::Map {
            entries: map.entries().into_iter(),
            key: "".into(),
            copied: Map::typed(map.elem()),
        }),
        Value::Object(object) => Step::Done(copy_object(value, &**object)),
        other => Step::Done(other.clone()),
    })
}

/// The next element of the innermost list or map, or the finished copy of it.
fn next(context: &mut Context<'_, '_>, open: &mut Vec<Copying>) -> Result<Step, Failure> {
    let inner = match open.last_mut() {
        Some(Copying::List { items, .. }) => items.next(),
        Some(Copying::Map { entries, key, .. }) => entries.next().map(|(next, value)| {
            *key = next;
            value
        }),
        None => None,
    };
    match inner {
        Some(value) => begin(context, &value),
        None => Ok(Step::Done(match open.pop() {
            Some(Copying::List { copied, elem, capacity, .. }) => {
                Value::List(super::growth::with_capacity(elem, copied, capacity))
            }
            Some(Copying::Map { copied, .. }) => Value::Map(copied),
            None => Value::Nil,
        })),
    }
}

fn copy_object(value: &Value, object: &dyn Object) -> Value {
    match object.as_any() {
        any if any.is::<Version>() => Value::object(Version::zero()),
        _ => value.clone(),
    }
}
