//! `eq`, `ne`, `lt`, `le`, `gt`, `ge`.
//!
//! Values of different kinds are not compared: that is an error, except between integers of either sign, and except
//! with nil, which equals nothing but nil.

use std::cmp::Ordering;

use super::Answer;
use crate::{env::Context, error::Failure, value::Value};

pub(super) fn eq(_: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    match args.split_first() {
        Some((first, rest)) if !rest.is_empty() => {
            for other in rest {
                if equal(first, other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        _ => Err(Failure::new("missing argument for comparison")),
    }
}

pub(super) fn ne(context: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    eq(context, args).map(|equal| Value::Bool(!equal.is_true()))
}

pub(super) fn lt(_: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    pair(args).and_then(|(left, right)| less(left, right)).map(Value::Bool)
}

pub(super) fn le(_: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    pair(args).and_then(|(left, right)| Ok(less(left, right)? || equal(left, right)?)).map(Value::Bool)
}

pub(super) fn gt(context: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    le(context, args).map(|not| Value::Bool(!not.is_true()))
}

pub(super) fn ge(context: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    lt(context, args).map(|not| Value::Bool(!not.is_true()))
}

fn pair(args: &[Value]) -> Result<(&Value, &Value), Failure> {
    match args {
        [left, right] => Ok((left, right)),
        _ => Err(Failure::new("missing argument for comparison")),
    }
}

fn equal(left: &Value, right: &Value) -> Result<bool, Failure> {
    if let (Some(left), Some(right)) = (plain(left), plain(right)) {
        return match (&left, &right) {
            (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
            (Value::Float(left), Value::Float(right)) => Ok(left == right),
            (Value::Complex(re, im), Value::Complex(other_re, other_im)) => Ok((re, im) == (other_re, other_im)),
            (Value::Str(left), Value::Str(right)) => Ok(left == right),
            _ => integers(&left, &right).map(|ordering| ordering == Ordering::Equal),
        };
    }
    match (left, right) {
        (left, right) if left.is_nil() || right.is_nil() => Ok(is_nil(left) && is_nil(right) && !mixed(left, right)),
        (left, right) if plain(left).is_some() != plain(right).is_some() => Err(incompatible(left, right)),
        (left, right) if left.kind() != right.kind() => {
            Err(Failure::new(format!("non-comparable types {}, {}", left.type_of(), right.type_of())))
        }
        (left, right) if is_nil(left) || is_nil(right) => Ok(is_nil(left) == is_nil(right)),
        (Value::Object(one), Value::Object(other)) if one.type_of() == other.type_of() => {
            let incomparable = || Failure::new(format!("non-comparable type {}", right.type_of()));
            one.equals(&**other).ok_or_else(incomparable)
        }
        (Value::Object(_), Value::Object(_)) => Ok(false),
        (_, right) => Err(Failure::new(format!("non-comparable type {}", right.type_of()))),
    }
}

/// A constant against nil is unequal, without being nil.
fn mixed(left: &Value, right: &Value) -> bool {
    plain(left).is_some() || plain(right).is_some()
}

fn less(left: &Value, right: &Value) -> Result<bool, Failure> {
    let (Some(left), Some(right)) = (plain(left), plain(right)) else {
        return Err(Failure::new("invalid type for comparison"));
    };
    match (&left, &right) {
        (Value::Bool(_), Value::Bool(_)) | (Value::Complex(..), Value::Complex(..)) => {
            Err(Failure::new("invalid type for comparison"))
        }
        (Value::Float(left), Value::Float(right)) => Ok(left < right),
        (Value::Str(left), Value::Str(right)) => Ok(left < right),
        _ => integers(&left, &right).map(|ordering| ordering == Ordering::Less),
    }
}

/// Compares integers of either sign.
fn integers(left: &Value, right: &Value) -> Result<Ordering, Failure> {
    match (wide(left), wide(right)) {
        (Some(left), Some(right)) => Ok(left.cmp(&right)),
        _ => Err(incompatible(left, right)),
    }
}

fn wide(value: &Value) -> Option<i128> {
    match value {
        Value::Int(_, value) => Some((*value).into()),
        Value::Uint(_, value) => Some((*value).into()),
        _ => None,
    }
}

fn incompatible(left: &Value, right: &Value) -> Failure {
    Failure::about(
        "incompatible types for comparison",
        format!("incompatible types for comparison: {} and {}", left.type_of(), right.type_of()),
    )
}

/// The value as one of the basic kinds, if it is.
fn plain(value: &Value) -> Option<Value> {
    match value {
        Value::NoValue | Value::Nil | Value::List(_) | Value::Map(_) => None,
        Value::Object(object) => object.underlying(),
        other => Some(other.clone()),
    }
}

/// Nil, or nil of its type.
fn is_nil(value: &Value) -> bool {
    match value {
        Value::NoValue | Value::Nil => true,
        Value::List(list) => list.is_nil(),
        Value::Map(map) => map.is_nil(),
        _ => false,
    }
}
