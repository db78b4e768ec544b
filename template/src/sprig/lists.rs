//! Functions on lists.

use super::{
    args::function,
    cast::to_int,
    flow::is_empty,
    growth::{appended, appended_at_once},
    text::strval,
    walk::{deep_copy, deep_equal},
};
use crate::{
    env::{Context, VALUE},
    error::Failure,
    function::Function,
    value::{List, Str, Type, Value},
};

const LISTS: Type = Type::Slice(&Type::LIST);

/// Functions on lists. Those with `must` in their name differ in nothing that a template can see.
pub(super) const FUNCTIONS: &[Function] = &[
    function!("list", (..any => list), list),
    function!("tuple", (..any => list), list),
    function!("append", (any, any => list), append),
    function!("push", (any, any => list), append),
    function!("mustAppend", (any, any => list), append),
    function!("mustPush", (any, any => list), append),
    function!("prepend", (any, any => list), prepend),
    function!("mustPrepend", (any, any => list), prepend),
    function!("first", (any => any), first),
    function!("mustFirst", (any => any), first),
    function!("rest", (any => list), rest),
    function!("mustRest", (any => list), rest),
    function!("last", (any => any), last),
    function!("mustLast", (any => any), last),
    function!("initial", (any => list), initial),
    function!("mustInitial", (any => list), initial),
    function!("reverse", (any => list), reverse),
    function!("mustReverse", (any => list), reverse),
    function!("compact", (any => list), compact),
    function!("mustCompact", (any => list), compact),
    function!("uniq", (any => list), uniq),
    function!("mustUniq", (any => list), uniq),
    function!("without", (any, ..any => list), without),
    function!("mustWithout", (any, ..any => list), without),
    function!("has", (any, any => bool), has),
    function!("mustHas", (any, any => bool), has),
    function!("slice", (any, ..any => any), slice),
    function!("mustSlice", (any, ..any => any), slice),
    function!("concat", (..any => any), concat),
    function!("chunk", (int, any => LISTS), chunk),
    function!("mustChunk", (int, any => LISTS), chunk),
    function!("toStrings", (any => strings), to_strings),
    function!("sortAlpha", (any => strings), sort_alpha),
    function!("deepCopy", (any => any), deep_copy),
    function!("mustDeepCopy", (any => any), deep_copy),
];

const NO_LIST: &str = "it wants a list";

/// The list an argument must be; its elements are paid for.
fn items<'a>(context: &mut Context<'_, '_>, what: &str, value: &'a Value) -> Result<&'a List, Failure> {
    match value {
        Value::List(list) => {
            context.spend(list.len() as u64)?;
            Ok(list)
        }
        other => Err(Failure::about(NO_LIST, format!("Cannot {what} type {}", other.kind()))),
    }
}

fn list(_: &mut Context<'_, '_>, values: &[Value]) -> Result<Value, Failure> {
    Ok(Value::list(values.to_vec()))
}

fn append(context: &mut Context<'_, '_>, list: &Value, value: &Value) -> Result<List, Failure> {
    let list = items(context, "push on", list)?;
    context.fits_list(list.len() + 1)?;
    let mut all = list.to_vec();
    all.push(value.clone());
    Ok(appended(&Type::Any, all, list.len()))
}

fn prepend(context: &mut Context<'_, '_>, list: &Value, value: &Value) -> Result<List, Failure> {
    let list = items(context, "prepend on", list)?;
    context.fits_list(list.len() + 1)?;
    let all = std::iter::once(value).chain(list.iter()).cloned().collect();
    Ok(appended_at_once(&Type::Any, all))
}

fn first(context: &mut Context<'_, '_>, list: &Value) -> Result<Value, Failure> {
    Ok(items(context, "find first on", list)?.first().cloned().unwrap_or(Value::Nil))
}

fn last(context: &mut Context<'_, '_>, list: &Value) -> Result<Value, Failure> {
    Ok(items(context, "find last on", list)?.last().cloned().unwrap_or(Value::Nil))
}

fn rest(context: &mut Context<'_, '_>, list: &Value) -> Result<List, Failure> {
    Ok(match items(context, "find rest on", list)?.split_first() {
        Some((_, rest)) => List::new(rest.to_vec()),
        None => List::nil(&Type::Any),
    })
}

fn initial(context: &mut Context<'_, '_>, list: &Value) -> Result<List, Failure> {
    Ok(match items(context, "find initial on", list)?.split_last() {
        Some((_, initial)) => List::new(initial.to_vec()),
        None => List::nil(&Type::Any),
    })
}

fn reverse(context: &mut Context<'_, '_>, list: &Value) -> Result<List, Failure> {
    Ok(List::new(items(context, "find reverse on", list)?.iter().rev().cloned().collect()))
}

fn compact(context: &mut Context<'_, '_>, list: &Value) -> Result<List, Failure> {
    let list = items(context, "compact on", list)?;
    let kept = list.iter().filter(|item| !is_empty(item)).cloned().collect();
    Ok(appended(&Type::Any, kept, 0))
}

fn contains(context: &mut Context<'_, '_>, list: &[Value], wanted: &Value) -> Result<bool, Failure> {
    for item in list {
        if deep_equal(context, wanted, item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn uniq(context: &mut Context<'_, '_>, list: &Value) -> Result<List, Failure> {
    let mut kept = Vec::new();
    for item in items(context, "find uniq on", list)?.iter() {
        if !contains(context, &kept, item)? {
            kept.push(item.clone());
        }
    }
    Ok(appended(&Type::Any, kept, 0))
}

fn without(context: &mut Context<'_, '_>, list: &Value, unwanted: &[Value]) -> Result<List, Failure> {
    let mut kept = Vec::new();
    for item in items(context, "find without on", list)?.iter() {
        if !contains(context, unwanted, item)? {
            kept.push(item.clone());
        }
    }
    Ok(appended(&Type::Any, kept, 0))
}

fn has(context: &mut Context<'_, '_>, wanted: &Value, list: &Value) -> Result<bool, Failure> {
    if list.is_nil() {
        Ok(false)
    } else {
        let list = items(context, "find has on", list)?;
        contains(context, list, wanted)
    }
}

fn slice(context: &mut Context<'_, '_>, list: &Value, bounds: &[Value]) -> Result<Value, Failure> {
    let list = match list {
        Value::List(list) => list,
        other => {
            return Err(Failure::about(NO_LIST, format!("list should be type of slice or array but {}", other.kind())));
        }
    };
    if list.is_empty() {
        return Ok(Value::Nil);
    }
    let from = bounds.first().map_or(0, to_int);
    let to = bounds.get(1).map_or(list.len() as i64, to_int);
    context.spend(1)?;
    match (usize::try_from(from), usize::try_from(to)) {
        (Ok(from), Ok(to)) => list.slice(from, to, list.cap()).map(Value::List),
        _ => None,
    }
    .ok_or(Failure::new("slice bounds out of range"))
}

fn concat(context: &mut Context<'_, '_>, lists: &[Value]) -> Result<List, Failure> {
    let mut all: Vec<Value> = Vec::new();
    for list in lists {
        let list = items(context, "concat", list)?;
        context.fits_list(all.len() + list.len())?;
        all.extend(list.iter().cloned());
    }
    Ok(if all.is_empty() { List::nil(&Type::Any) } else { appended(&Type::Any, all, 0) })
}

fn chunk(context: &mut Context<'_, '_>, size: i64, list: &Value) -> Result<List, Failure> {
    let list = items(context, "chunk", list)?;
    let chunks = ((list.len() as f64 - 1.0) / size as f64).floor() + 1.0;
    match size {
        1.. => {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            context.made(list.len().div_ceil(size).saturating_mul(2 * VALUE))?;
            context.made(list.len().saturating_mul(size_of::<Value>()))?;
            let chunks = list.chunks(size).map(|chunk| Value::list(chunk.to_vec())).collect();
            Ok(List::typed(&Type::LIST, chunks))
        }
        // Go computes the number of chunks in floating point. For some lists it is zero, or one of a single element,
        // and nothing fails.
        _ if chunks == 0.0 => Ok(List::typed(&Type::LIST, Vec::new())),
        ..=-2 if list.len() == 1 => Ok(List::typed(&Type::LIST, vec![Value::list(list.to_vec())])),
        _ => Err(Failure::new("makeslice: len out of range")),
    }
}

/// The texts of a list without its nils; of anything else its text.
pub(super) fn strslice(context: &mut Context<'_, '_>, value: &Value) -> Result<Vec<Str>, Failure> {
    match value {
        Value::Nil | Value::NoValue => Ok(Vec::new()),
        Value::List(list) => {
            context.spend(list.len() as u64)?;
            let mut texts = Vec::new();
            for item in list.iter().filter(|item| !item.is_nil()) {
                let text = strval(context, item)?;
                let made = if text.is_shared() { 0 } else { text.len() };
                context.made(VALUE + made)?;
                texts.push(text);
            }
            Ok(texts)
        }
        other => Ok(vec![strval(context, other)?]),
    }
}

fn to_strings(context: &mut Context<'_, '_>, value: &Value) -> Result<List, Failure> {
    match value {
        Value::List(list) if *list.elem() == Type::String => Ok(list.clone()),
        Value::List(list) => {
            let texts = strslice(context, value)?.into_iter().map(Value::Str).collect();
            Ok(appended(&Type::String, texts, list.len()))
        }
        other => {
            let texts = strslice(context, other)?.into_iter().map(Value::Str).collect();
            Ok(List::typed(&Type::String, texts))
        }
    }
}

fn sort_alpha(context: &mut Context<'_, '_>, value: &Value) -> Result<List, Failure> {
    match value {
        // What is sorted then is the nil slice itself.
        Value::List(list) if list.is_nil() && *list.elem() == Type::String => Ok(list.clone()),
        Value::List(list) => {
            let mut texts = strslice(context, value)?;
            texts.sort_unstable();
            Ok(appended(&Type::String, texts.into_iter().map(Value::Str).collect(), list.len()))
        }
        other => Ok(List::typed(&Type::String, vec![Value::Str(strval(context, other)?)])),
    }
}
