//! The functions that are part of the language.
//!
//! Modules, in reading order: [`access`] `index`, `slice`, `len`, [`compare`] `eq` and its like, [`escape`] `html`,
//! `js`, `urlquery`.

mod access;
mod compare;
mod escape;

use crate::{
    env::Context,
    error::Failure,
    fmt,
    function::{Function, Special, f},
    sig,
    value::Value,
};

pub(crate) type Answer = Result<Value, Failure>;

/// Go's builtins.
pub const FUNCTIONS: &[Function] = &[
    Function { name: "and", signature: sig!(value, ..value => value), call: decided, special: Special::And },
    Function { name: "or", signature: sig!(value, ..value => value), call: decided, special: Special::Or },
    f("not", sig!(value => bool), not),
    f("call", sig!(value, ..value => value), call),
    f("index", sig!(value, ..value => value), access::index),
    f("slice", sig!(value, ..value => value), access::slice),
    f("len", sig!(value => int), access::len),
    f("print", sig!(..any => string), print),
    f("printf", sig!(string, ..any => string), printf),
    f("println", sig!(..any => string), println),
    f("html", sig!(..any => string), escape::html),
    f("js", sig!(..any => string), escape::js),
    f("urlquery", sig!(..any => string), escape::urlquery),
    f("eq", sig!(value, ..value => bool), compare::eq),
    f("ne", sig!(value, value => bool), compare::ne),
    f("lt", sig!(value, value => bool), compare::lt),
    f("le", sig!(value, value => bool), compare::le),
    f("gt", sig!(value, value => bool), compare::gt),
    f("ge", sig!(value, value => bool), compare::ge),
];

/// Templates never get this far: `and` and `or` look at their arguments one by one.
fn decided(_: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    Ok(args.last().cloned().unwrap_or(Value::NoValue))
}

fn not(_: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    Ok(Value::Bool(!args.first().is_some_and(Value::is_true)))
}

/// No value is a function here, so there is nothing to call.
fn call(_: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    match args.first() {
        None | Some(Value::NoValue | Value::Nil) => Err(Failure::new("call of nil")),
        Some(other) => Err(Failure::new(format!("non-function of type {}", other.type_of()))),
    }
}

fn print(context: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    fmt::sprint(context, args).map(Value::Str)
}

fn println(context: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    fmt::sprintln(context, args).map(Value::Str)
}

fn printf(context: &mut Context<'_, '_>, args: &[Value]) -> Answer {
    match args {
        [Value::Str(format), args @ ..] => fmt::sprintf(context, format, args).map(Value::Str),
        _ => Err(Failure::new("printf needs a format")),
    }
}
