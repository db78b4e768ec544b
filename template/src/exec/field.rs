//! Fields and methods.

use super::{State, eval::zero};
use crate::{
    error::{Error, Failure},
    parse::node::Expr,
    template::MissingKey,
    value::{Map, Object, Value},
};

/// Why a field has no value.
const MISSING: &str = "there is no such key";

impl<'t> State<'t, '_, '_> {
    /// `.a.b.c`: arguments go to the last one, which must be a method then.
    pub(super) fn fields(
        &mut self,
        dot: &Value,
        receiver: Value,
        at: &'t Expr,
        fields: &'t [Box<str>],
        args: &'t [Expr],
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let Some((end, before)) = fields.split_last() else {
            return Ok(receiver);
        };
        let mut value = receiver;
        for name in before {
            value = self.field(dot, value, at, name, &[], None)?;
        }
        self.field(dot, value, at, end, args, last)
    }

    fn field(
        &mut self,
        dot: &Value,
        receiver: Value,
        at: &'t Expr,
        name: &'t str,
        args: &'t [Expr],
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let has_args = !args.is_empty() || last.is_some();
        let found = match &receiver {
            Value::NoValue if self.template.missing_key == MissingKey::Error => {
                Err(Failure::about(MISSING, format!("nil data; no entry for key {name:?}")))
            }
            Value::NoValue => Ok(Value::NoValue),
            Value::Nil => Err(Failure::about(MISSING, format!("nil pointer evaluating interface {{}}.{name}"))),
            Value::Object(object) => match object.methods().iter().find(|method| method.name == name) {
                Some(method) => {
                    return self.call(dot, method, Some(receiver.clone()), (at.pos, at), args, last);
                }
                None => field_of(&**object, name, has_args),
            },
            Value::Map(_) if has_args => Err(Failure::new(format!("{name} is not a method but has arguments"))),
            Value::Map(map) => self.entry(map, name),
            other => Err(Failure::about(
                "it is of a type without fields",
                format!("can't evaluate field {name} in type {}", other.type_of()),
            )),
        };
        found.map_err(|failure| self.fail(at.pos, at, failure))
    }

    fn entry(&self, map: &Map, name: &str) -> Result<Value, Failure> {
        match (map.get(name.as_bytes()), self.template.missing_key) {
            (Some(value), _) => Ok(value),
            (None, MissingKey::Default) => Ok(Value::NoValue),
            (None, MissingKey::Zero) => Ok(zero(*map.elem()).unwrap_or(Value::NoValue)),
            (None, MissingKey::Error) => Err(Failure::about(MISSING, format!("map has no entry for key {name:?}"))),
        }
    }
}

fn field_of(object: &dyn Object, name: &str, has_args: bool) -> Result<Value, Failure> {
    let type_name = object.type_of().name;
    let exported = name.starts_with(char::is_uppercase);
    match object.fields().into_iter().find(|(field, _)| *field == name) {
        Some(_) if !exported => Err(Failure::new(format!("{name} is an unexported field of struct type {type_name}"))),
        Some(_) if has_args => Err(Failure::new(format!("{name} has arguments but cannot be invoked as function"))),
        Some((_, value)) => Ok(value),
        None => Err(Failure::new(format!("can't evaluate field {name} in type {type_name}"))),
    }
}
