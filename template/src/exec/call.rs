//! Function calls.

use std::fmt;

use super::State;
use crate::{
    env::VALUE,
    error::{Error, Failure},
    function::{Function, Special},
    parse::node::Expr,
    value::{Type, Value},
};

impl<'t> State<'t, '_, '_> {
    /// Checks the arguments against the signature, as Go does before it calls, and calls. `last` is what comes
    /// through the pipe; `at` is what errors of the function itself are about.
    pub(super) fn call<At: fmt::Display>(
        &mut self,
        dot: &Value,
        function: &'static Function,
        receiver: Option<Value>,
        at: (usize, At),
        args: &'t [Expr],
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let count = args.len() + usize::from(last.is_some());
        if let Err(failure) = check_count(function, count) {
            return Err(self.fail(at.0, function.name, failure));
        }
        match function.special {
            Special::None => {}
            Special::And => return self.short_circuit(dot, false, args, last),
            Special::Or => return self.short_circuit(dot, true, args, last),
        }
        let base = self.args.len();
        self.args.extend(receiver);
        let result = self.gather(dot, function, &at, args, last).and_then(|()| {
            let called = (function.call)(&mut self.context, &self.args[base..]);
            let called = called.and_then(|value| self.account(&value).map(|()| value));
            debug_assert!(
                called.as_ref().map_or(true, |value| is_result(value, function.signature.result)),
                "{} returned {called:?}",
                function.name
            );
            called.map_err(|failure| self.fail(at.0, &at.1, failure.of(function.name)))
        });
        self.args.truncate(base);
        result
    }

    /// Evaluates the arguments onto the stack.
    fn gather<At: fmt::Display>(
        &mut self,
        dot: &Value,
        function: &Function,
        at: &(usize, At),
        args: &'t [Expr],
        last: Option<Value>,
    ) -> Result<(), Error> {
        let base = self.args.len();
        for (place, arg) in args.iter().enumerate() {
            let value = self.argument(dot, parameter(function, place), arg)?;
            self.args.push(value);
        }
        if let Some(last) = last {
            let checked = self.check(last, parameter(function, args.len()));
            self.args.push(checked.map_err(|failure| self.fail(at.0, &at.1, failure))?);
        }
        // Functions read the texts they get: long ones are work.
        let bytes: usize = self.args[base..].iter().filter_map(Value::as_bytes).map(<[u8]>::len).sum();
        self.context.spend(bytes as u64 / 256).map_err(|failure| self.fail(at.0, &at.1, failure))
    }

    /// `and` and `or`: the first argument that decides, or the last one.
    fn short_circuit(
        &mut self,
        dot: &Value,
        decides: bool,
        args: &'t [Expr],
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let mut value = Value::NoValue;
        for arg in args {
            value = self.argument(dot, Type::Reflect, arg)?;
            if value.is_true() == decides {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    /// Counts what a function returned against the limits, unless it was there before.
    fn account(&mut self, value: &Value) -> Result<(), Failure> {
        match value {
            Value::Str(text) if text.is_shared() => Ok(()),
            Value::Str(text) => self.context.hold(text.len()),
            Value::List(list) => {
                self.context.fits_list(list.len())?;
                self.context.made(VALUE)?;
                let bytes = if list.is_shared() { 0 } else { list.cap().saturating_mul(size_of::<Value>()) };
                self.context.hold(bytes)
            }
            _ => Ok(()),
        }
    }
}

/// Is it what the signature promises?
fn is_result(value: &Value, result: Type) -> bool {
    match (value, result) {
        (_, Type::Reflect) => true,
        (Value::NoValue, _) => false,
        (_, Type::Any) => true,
        (Value::Nil, result) => matches!(result, Type::Named(_)) && result.can_be_nil(),
        (value, result) => value.type_of() == result,
    }
}

fn check_count(function: &Function, count: usize) -> Result<(), Failure> {
    let (name, fixed) = (function.name, function.signature.params.len());
    match function.signature.variadic {
        Some(_) if count < fixed => Err(Failure::about(
            "wrong number of arguments",
            format!("wrong number of args for {name}: want at least {fixed} got {count}"),
        )),
        None if count != fixed => Err(Failure::about(
            "wrong number of arguments",
            format!("wrong number of args for {name}: want {fixed} got {count}"),
        )),
        _ => Ok(()),
    }
}

/// The type of the parameter at a place.
fn parameter(function: &Function, place: usize) -> Type {
    let signature = &function.signature;
    signature.params.get(place).copied().or(signature.variadic).unwrap_or(Type::Any)
}
