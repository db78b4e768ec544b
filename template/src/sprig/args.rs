//! How sprig's functions are declared and take their arguments.

use crate::{
    error::Failure,
    value::{List, Map, Str, Value},
};

/// The arguments of a call, taken one after the other. The renderer has checked them against the signature, so a
/// mismatch is a fault of this crate; it is reported like any other failure.
pub(super) struct Args<'a>(pub &'a [Value]);

macro_rules! take {
    ($($method:ident: $pattern:pat => $value:expr, $type:ty;)*) => {
        $(
            #[allow(dead_code, reason = "the table holds every kind of parameter")]
            pub(super) fn $method(&mut self) -> Result<$type, Failure> {
                match self.any()? {
                    $pattern => Ok($value),
                    _ => Err(Failure::new(concat!("internal error: expected ", stringify!($method)))),
                }
            }
        )*
    };
}

impl<'a> Args<'a> {
    pub(super) fn any(&mut self) -> Result<&'a Value, Failure> {
        let (first, rest) = self.0.split_first().ok_or(Failure::new("internal error: missing argument"))?;
        self.0 = rest;
        Ok(first)
    }

    pub(super) fn rest(&mut self) -> &'a [Value] {
        std::mem::take(&mut self.0)
    }

    take! {
        string: Value::Str(text) => text, &'a Str;
        int: Value::Int(_, number) => *number, i64;
        float64: Value::Float(number) => *number, f64;
        bool: Value::Bool(flag) => *flag, bool;
        list: Value::List(list) => list, &'a List;
        dict: Value::Map(map) => map, &'a Map;
    }
}

/// What a function may return without wrapping it.
pub(super) trait Answer {
    fn value(self) -> Value;
}

macro_rules! answer {
    ($($type:ty: $value:ident => $made:expr;)*) => {
        $(
            impl Answer for $type {
                fn value(self) -> Value {
                    let $value = self;
                    $made
                }
            }
        )*
    };
}

answer! {
    Value: value => value;
    bool: flag => Value::Bool(flag);
    f64: number => Value::Float(number);
    Str: text => Value::Str(text);
    Vec<u8>: bytes => Value::str(bytes);
    String: text => Value::str(text);
    &str: text => Value::str(text);
    Map: map => Value::Map(map);
    List: list => Value::List(list);
}

/// Declares a function: its name, its Go type as `sig!` takes it, and a Rust function that takes the context and the
/// arguments.
macro_rules! function {
    ($name:literal, ($($param:ident),* => $result:ident), $call:expr) => {
        $crate::function::f($name, $crate::sig!($($param),* => $result), |context, args| {
            #[allow(unused_mut, unused_variables, reason = "there are functions without parameters")]
            let mut args = $crate::sprig::args::Args(args);
            $call(context, $(args.$param()?),*).map($crate::sprig::args::Answer::value)
        })
    };
    ($name:literal, ($($param:ident,)* ..$rest:ident => $result:ident), $call:expr) => {
        $crate::function::f($name, $crate::sig!($($param,)* ..$rest => $result), |context, args| {
            let mut args = $crate::sprig::args::Args(args);
            $call(context, $(args.$param()?,)* args.rest()).map($crate::sprig::args::Answer::value)
        })
    };
}

pub(super) use function;
