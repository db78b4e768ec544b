//! Functions on maps.

use super::{args::function, growth::appended, merge::merge, text::strval};
use crate::{
    env::{Context, ENTRY},
    error::Failure,
    function::Function,
    value::{List, Map, Str, Type, Value},
};

/// Functions on maps. Where Go's order is that of its random map iteration, it is that of the keys here.
pub(super) const FUNCTIONS: &[Function] = &[
    function!("dict", (..any => dict), dict),
    function!("get", (dict, string => any), |_: &mut _, map: &Map, key: &Str| {
        Ok(map.get(key).unwrap_or_else(|| Value::str("")))
    }),
    function!("set", (dict, string, any => dict), |context: &mut Context<'_, '_>, map: &Map, key: &Str, value: &Value| {
        context.made(ENTRY + key.len())?;
        map.insert(key, value.clone())?;
        Ok(map.clone())
    }),
    function!("unset", (dict, string => dict), |_: &mut _, map: &Map, key: &Str| {
        map.remove(key);
        Ok(map.clone())
    }),
    function!("hasKey", (dict, string => bool), |_: &mut _, map: &Map, key: &Str| Ok(map.contains(key))),
    function!("pluck", (string, ..dict => list), pluck),
    function!("keys", (..dict => strings), keys),
    function!("values", (dict => list), values),
    function!("pick", (dict, ..string => dict), pick),
    function!("omit", (dict, ..string => dict), omit),
    function!("dig", (..any => any), dig),
    function!("merge", (dict, ..dict => any), |context: &mut _, first: &Map, others: &[Value]| {
        merge(context, first, others, false, false)
    }),
    function!("mustMerge", (dict, ..dict => any), |context: &mut _, first: &Map, others: &[Value]| {
        merge(context, first, others, false, true)
    }),
    function!("mergeOverwrite", (dict, ..dict => any), |context: &mut _, first: &Map, others: &[Value]| {
        merge(context, first, others, true, false)
    }),
    function!("mustMergeOverwrite", (dict, ..dict => any), |context: &mut _, first: &Map, others: &[Value]| {
        merge(context, first, others, true, true)
    }),
];

fn dict(context: &mut Context<'_, '_>, values: &[Value]) -> Result<Map, Failure> {
    let map = Map::new();
    context.made_map(values.len().div_ceil(2))?;
    for pair in values.chunks(2) {
        match pair {
            [key, value] => map.insert(strval(context, key)?, value.clone())?,
            [key] => map.insert(strval(context, key)?, Value::str(""))?,
            _ => {}
        }
    }
    Ok(map)
}

fn maps(values: &[Value]) -> impl Iterator<Item = &Map> {
    values.iter().filter_map(|value| match value {
        Value::Map(map) => Some(map),
        _ => None,
    })
}

fn pluck(context: &mut Context<'_, '_>, key: &Str, values: &[Value]) -> Result<List, Failure> {
    context.spend(values.len() as u64)?;
    Ok(appended(&Type::Any, maps(values).filter_map(|map| map.get(key)).collect(), 0))
}

fn keys(context: &mut Context<'_, '_>, values: &[Value]) -> Result<List, Failure> {
    let count = maps(values).map(Map::len).sum();
    context.fits_list(count)?;
    context.spend(count as u64)?;
    Ok(appended(&Type::String, maps(values).flat_map(Map::keys).map(Value::Str).collect(), 0))
}

fn values(context: &mut Context<'_, '_>, map: &Map) -> Result<List, Failure> {
    context.fits_list(map.len())?;
    context.spend(map.len() as u64)?;
    Ok(appended(&Type::Any, map.entries().into_iter().map(|(_, value)| value).collect(), 0))
}

fn pick(context: &mut Context<'_, '_>, map: &Map, keys: &[Value]) -> Result<Map, Failure> {
    let picked = Map::new();
    context.spend(keys.len() as u64)?;
    context.made_map(keys.len())?;
    for key in keys.iter().filter_map(Value::as_bytes) {
        if let Some(value) = map.get(key) {
            picked.insert(key, value)?;
        }
    }
    Ok(picked)
}

fn omit(context: &mut Context<'_, '_>, map: &Map, keys: &[Value]) -> Result<Map, Failure> {
    let left = Map::new();
    context.spend((map.len() + keys.len()) as u64)?;
    context.made_map(map.len())?;
    for (key, value) in map.entries() {
        left.insert(key, value)?;
    }
    keys.iter().filter_map(Value::as_bytes).for_each(|key| left.remove(key));
    Ok(left)
}

fn dig(context: &mut Context<'_, '_>, path: &[Value]) -> Result<Value, Failure> {
    let (keys, default, mut place) = match path {
        [keys @ .., default, map] if !keys.is_empty() => (keys, default, map.clone()),
        _ => return Err(Failure::new("dig needs at least three arguments")),
    };
    context.spend(keys.len() as u64)?;
    if !keys.iter().all(|key| matches!(key, Value::Str(_))) {
        return Err(Failure::new("dig needs strings as keys"));
    }
    for key in keys.iter().filter_map(Value::as_bytes) {
        place = match &place {
            Value::Map(map) if *map.elem() == Type::Any => match map.get(key) {
                Some(value) => value,
                None => return Ok(default.clone()),
            },
            Value::Nil | Value::NoValue => {
                return Err(Failure::new("interface conversion: interface {} is nil, not map[string]interface {}"));
            }
            other => {
                let found = other.type_of();
                return Err(Failure::new(format!(
                    "interface conversion: interface {{}} is {found}, not map[string]interface {{}}"
                )));
            }
        };
    }
    Ok(place)
}
