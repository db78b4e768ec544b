//! Defaults, choices, types and failures.

use super::{args::function, walk::deep_equal};
use crate::{
    error::Failure,
    function::Function,
    value::{Str, Value},
};

/// Functions that choose between values or ask what they are.
pub(super) const FUNCTIONS: &[Function] = &[
    function!("default", (any, ..any => any), |_: &mut _, default: &Value, given: &[Value]| {
        Ok(given.first().filter(|value| !is_empty(value)).unwrap_or(default).clone())
    }),
    function!("empty", (any => bool), |_: &mut _, value: &Value| Ok(is_empty(value))),
    function!("coalesce", (..any => any), |_: &mut _, values: &[Value]| {
        Ok(values.iter().find(|value| !is_empty(value)).cloned().unwrap_or(Value::Nil))
    }),
    function!("all", (..any => bool), |_: &mut _, values: &[Value]| Ok(!values.iter().any(is_empty))),
    function!("any", (..any => bool), |_: &mut _, values: &[Value]| Ok(!values.iter().all(is_empty))),
    function!("ternary", (any, any, bool => any), |_: &mut _, yes: &Value, no: &Value, choice| {
        Ok(if choice { yes.clone() } else { no.clone() })
    }),
    function!("fail", (string => string), |_: &mut _, message: &Str| -> Result<Value, _> {
        Err(Failure::foreign("the template called fail", message))
    }),
    function!("typeOf", (any => string), |_: &mut _, value: &Value| Ok(type_of(value))),
    function!("typeIs", (string, any => bool), |_: &mut _, name: &Str, value: &Value| {
        Ok(**name == *type_of(value).as_bytes())
    }),
    function!("typeIsLike", (string, any => bool), |_: &mut _, name: &Str, value: &Value| {
        let found = type_of(value);
        Ok(**name == *found.as_bytes() || found.strip_prefix('*').is_some_and(|found| **name == *found.as_bytes()))
    }),
    function!("kindOf", (any => string), |_: &mut _, value: &Value| Ok(value.kind())),
    function!("kindIs", (string, any => bool), |_: &mut _, name: &Str, value: &Value| {
        Ok(**name == *value.kind().as_bytes())
    }),
    function!("deepEqual", (any, any => bool), deep_equal),
];

/// Is it nil, zero, false or without elements? Structs never are.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.underlying().is_some_and(|value| is_empty(&value)),
        other => !other.is_true(),
    }
}

fn type_of(value: &Value) -> String {
    match value {
        Value::Nil | Value::NoValue => "<nil>".to_owned(),
        other => other.type_of().to_string(),
    }
}
