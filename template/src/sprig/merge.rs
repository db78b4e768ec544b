//! `merge` and its kin.

use super::flow::is_empty;
use crate::{
    env::{Context, ENTRY},
    error::Failure,
    value::{Map, Str, Type, Value},
};

/// Why two values cannot be merged.
enum Refusal {
    /// An error, which `merge` swallows and `mustMerge` reports.
    Error(Failure),
    /// What makes Go panic, and limits: reported always.
    Panic(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Panic(failure)
    }
}

/// Puts into the first map what the others have and it lacks (or, with `overwrite`, what they have at all), maps
/// within maps included. The first map is changed.
pub(super) fn merge(
    context: &mut Context<'_, '_>,
    first: &Map,
    others: &[Value],
    overwrite: bool,
    must: bool,
) -> Result<Value, Failure> {
    let mut target = first.clone();
    for other in others {
        let merged = match other {
            Value::Map(source) => merge_into(context, &mut target, source, overwrite),
            _ => Ok(()),
        };
        match merged {
            Ok(()) => {}
            Err(Refusal::Panic(failure)) => return Err(failure),
            Err(Refusal::Error(failure)) if must => return Err(failure),
            Err(Refusal::Error(_)) => return Ok(Value::str("")),
        }
    }
    Ok(Value::Map(target))
}

fn merge_into(context: &mut Context<'_, '_>, target: &mut Map, source: &Map, overwrite: bool) -> Result<(), Refusal> {
    if target.is_nil() && !source.is_nil() {
        context.made_map(0)?;
        *target = Map::new();
    }
    let mut pending = vec![(target.clone(), source.clone())];
    while let Some((target, source)) = pending.pop() {
        context.spend(1 + source.len() as u64)?;
        context.made(source.len().saturating_mul(ENTRY))?;
        for (key, new) in source.entries() {
            let old = target.get(&key);
            merge_entry(&target, &source, key, old, new, overwrite, &mut pending)?;
        }
    }
    Ok(())
}

fn merge_entry(
    target: &Map,
    source: &Map,
    key: Str,
    old: Option<Value>,
    new: Value,
    overwrite: bool,
    pending: &mut Vec<(Map, Map)>,
) -> Result<(), Refusal> {
    match (&old, &new) {
        (_, Value::Nil | Value::NoValue) if !overwrite => return Ok(()),
        (Some(Value::Map(old)), Value::Map(new)) if !old.is_empty() || !new.is_empty() => {
            pending.push((old.clone(), new.clone()));
            return Ok(());
        }
        (_, Value::List(_)) if *target.elem() != Type::Any => {
            return Err(Refusal::Panic(Failure::new("cannot merge a list into a map of strings")));
        }
        (Some(old), new) => refuse(old, new, overwrite)?,
        (None, _) => {}
    }
    if overwrite || old.as_ref().is_none_or(is_unset) { put(target, source, key, new) } else { Ok(()) }
}

/// The library's idea of an empty value.
fn is_unset(value: &Value) -> bool {
    !matches!(value, Value::Complex(..)) && is_empty(value)
}

/// What goes wrong when structs and pointers meet values of another kind.
fn refuse(old: &Value, new: &Value, overwrite: bool) -> Result<(), Refusal> {
    let public = |name: &str| name.starts_with(|first: char| first.is_ascii_uppercase());
    match (old, old.kind(), new.kind()) {
        (Value::Object(object), "struct", found @ ("map" | "ptr"))
            if object.fields().iter().any(|(name, _)| public(name)) =>
        {
            Err(Refusal::Panic(Failure::new(format!("cannot merge a {found} into a struct"))))
        }
        (_, "ptr", "struct" | "map") if !overwrite => {
            Err(Refusal::Error(Failure::new("src and dst must be of same type")))
        }
        _ => Ok(()),
    }
}

/// Go's `reflect` refuses a value of type `interface {}` in a map of strings, whatever it holds.
fn put(target: &Map, source: &Map, key: Str, value: Value) -> Result<(), Refusal> {
    if *target.elem() == Type::Any || target.elem() == source.elem() {
        target.insert(key, value).map_err(Refusal::Panic)
    } else {
        Err(Refusal::Panic(Failure::new(format!(
            "value of type {} is not assignable to type {}",
            source.elem(),
            target.elem()
        ))))
    }
}
