//! Pipelines, commands and arguments.

use super::State;
use crate::{
    error::{Error, Failure},
    parse::node::{Command, Expr, ExprKind, Pipe},
    value::{List, Map, Type, Value},
};

impl<'t> State<'t, '_, '_> {
    /// The value of a pipeline; declared variables stay until the scope ends.
    pub(super) fn pipeline(&mut self, dot: &Value, pipe: &'t Pipe) -> Result<Value, Error> {
        let mut value = None;
        for command in &pipe.cmds {
            // What leaves a command is no longer an interface: a nil inside one is no value.
            value = match self.command(dot, command, value)? {
                Value::Nil => Some(Value::NoValue),
                value => Some(value),
            };
        }
        let value = value.unwrap_or(Value::NoValue);
        for (name, text) in &pipe.decl {
            match pipe.assign {
                false => self.vars.push((*name, value.clone())),
                true if self.set(*name, value.clone()) => {}
                true => return Err(self.fail(pipe.pos, pipe, undefined(text))),
            }
        }
        Ok(value)
    }

    /// The value of a command; `last` is what comes through the pipe.
    fn command(&mut self, dot: &Value, command: &'t Command, last: Option<Value>) -> Result<Value, Error> {
        let Some((first, rest)) = command.parts.split_first() else {
            return Ok(Value::NoValue);
        };
        self.context.spend(1).map_err(|failure| self.fail(command.pos, command, failure))?;
        match &first.kind {
            ExprKind::Field(fields) => return self.fields(dot, dot.clone(), first, fields, rest, last),
            ExprKind::Chain { of, fields } => {
                let receiver = self.chain(dot, first, of)?;
                return self.fields(dot, receiver, first, fields, rest, last);
            }
            ExprKind::Variable { name, text, fields } if !fields.is_empty() => {
                let receiver = self.variable_of(first, *name, text)?;
                return self.fields(dot, receiver, first, fields, rest, last);
            }
            ExprKind::Function(function) => {
                return self.call(dot, function, None, (command.pos, command), rest, last);
            }
            _ => {}
        }
        if !rest.is_empty() || last.is_some() {
            let failure = Failure::new(format!("can't give argument to non-function {first}"));
            return Err(self.fail(first.pos, first, failure));
        }
        match &first.kind {
            ExprKind::Pipe(pipe) => self.pipeline(dot, pipe),
            ExprKind::Variable { name, text, .. } => self.variable_of(first, *name, text),
            ExprKind::Nil => Err(self.fail(first.pos, first, Failure::new("nil is not a command"))),
            _ => self.literal(dot, first),
        }
    }

    fn variable_of(&mut self, at: &Expr, name: u32, text: &str) -> Result<Value, Error> {
        match self.variable(name) {
            Some((value, distance)) => {
                let value = value.clone();
                self.context.spend(distance / 64).map_err(|failure| self.fail(at.pos, at, failure))?;
                Ok(value)
            }
            None => Err(self.fail(at.pos, at, undefined(text))),
        }
    }

    /// What fields are taken of, in `(pipeline).field` and `function.field`.
    fn chain(&mut self, dot: &Value, at: &'t Expr, of: &'t Expr) -> Result<Value, Error> {
        match &of.kind {
            ExprKind::Pipe(pipe) => self.pipeline(dot, pipe),
            ExprKind::Function(function) => self.call(dot, function, None, (of.pos, of), &[], None),
            _ => Err(self.fail(at.pos, at, Failure::new("can't take a field of that"))),
        }
    }

    /// A part that stands for itself, where nothing says which type is wanted.
    fn literal(&mut self, dot: &Value, expr: &'t Expr) -> Result<Value, Error> {
        match &expr.kind {
            ExprKind::Bool(value) => Ok(Value::Bool(*value)),
            ExprKind::Dot => Ok(dot.clone()),
            ExprKind::Str { text, .. } => Ok(Value::Str(text.clone())),
            ExprKind::Number(number) => match number.ideal() {
                Some(value) => Ok(value),
                None => Err(self.fail(expr.pos, expr, Failure::new(format!("{} overflows int", number.text)))),
            },
            _ => Err(self.fail(expr.pos, expr, Failure::new(format!("can't handle {expr}")))),
        }
    }

    /// The value of an argument, as the type its parameter has.
    pub(super) fn argument(&mut self, dot: &Value, wanted: Type, expr: &'t Expr) -> Result<Value, Error> {
        self.context.spend(1).map_err(|failure| self.fail(expr.pos, expr, failure))?;
        let value = match &expr.kind {
            ExprKind::Dot => dot.clone(),
            ExprKind::Nil => match zero(wanted).filter(|_| wanted.can_be_nil()) {
                Some(nil) => return Ok(nil),
                None => return Err(self.fail(expr.pos, expr, Failure::new(format!("cannot assign nil to {wanted}")))),
            },
            ExprKind::Field(fields) => self.fields(dot, dot.clone(), expr, fields, &[], None)?,
            ExprKind::Variable { name, text, fields } => {
                let receiver = self.variable_of(expr, *name, text)?;
                self.fields(dot, receiver, expr, fields, &[], None)?
            }
            ExprKind::Chain { of, fields } => {
                let receiver = self.chain(dot, expr, of)?;
                self.fields(dot, receiver, expr, fields, &[], None)?
            }
            ExprKind::Pipe(pipe) => self.pipeline(dot, pipe)?,
            ExprKind::Function(function) => self.call(dot, function, None, (expr.pos, expr), &[], None)?,
            ExprKind::Bool(_) | ExprKind::Number(_) | ExprKind::Str { .. } => {
                return self.constant(dot, wanted, expr);
            }
        };
        self.check(value, wanted).map_err(|failure| self.fail(expr.pos, expr, failure))
    }

    /// A constant takes the type of the parameter, if it can.
    fn constant(&mut self, dot: &Value, wanted: Type, expr: &'t Expr) -> Result<Value, Error> {
        let (found, kind) = match (wanted, &expr.kind) {
            (Type::Any | Type::Reflect, _) => return self.literal(dot, expr),
            (Type::Bool, ExprKind::Bool(value)) => (Some(Value::Bool(*value)), "bool"),
            (Type::String, ExprKind::Str { text, .. }) => (Some(Value::Str(text.clone())), "string"),
            (Type::Int(kind), ExprKind::Number(number)) => {
                (number.int.map(|int| Value::Int(kind, kind.wrap(int))), "integer")
            }
            (Type::Uint(kind), ExprKind::Number(number)) => {
                (number.uint.map(|uint| Value::Uint(kind, kind.wrap(uint))), "unsigned integer")
            }
            (Type::Float64, ExprKind::Number(number)) => (number.float.map(Value::Float), "float"),
            (Type::Complex128, ExprKind::Number(number)) => {
                (number.complex.map(|(re, im)| Value::Complex(re, im)), "complex")
            }
            // Only its author can make such a value, so the number goes as it is.
            (Type::Named(named), ExprKind::Number(number)) if matches!(named.kind, "int" | "int64") => {
                (number.int.map(Value::int64), "integer")
            }
            (Type::Named(named), _) if matches!(named.kind, "int" | "int64") => (None, "integer"),
            (Type::Bool, _) => (None, "bool"),
            (Type::String, _) => (None, "string"),
            (Type::Int(_), _) => (None, "integer"),
            (Type::Uint(_), _) => (None, "unsigned integer"),
            (Type::Float64, _) => (None, "float"),
            (Type::Complex128, _) => (None, "complex"),
            (Type::Slice(_) | Type::Map(_) | Type::Named(_), _) => {
                let failure = Failure::new(format!("can't handle {expr} for arg of type {wanted}"));
                return Err(self.fail(expr.pos, expr, failure));
            }
        };
        match found {
            Some(value) => Ok(value),
            None => {
                Err(self.fail(expr.pos, expr, Failure::about(WRONG_TYPE, format!("expected {kind}; found {expr}"))))
            }
        }
    }

    /// May the value go where that type is wanted?
    pub(super) fn check(&self, value: Value, wanted: Type) -> Result<Value, Failure> {
        match (value, wanted) {
            (value, Type::Reflect) => Ok(value),
            (Value::NoValue, wanted) => match zero(wanted).filter(|_| wanted.can_be_nil()) {
                Some(nil) => Ok(nil),
                None => Err(Failure::about(WRONG_TYPE, format!("invalid value; expected {wanted}"))),
            },
            (value, Type::Any) => Ok(value),
            (Value::Nil, wanted) => Err(wrong_type(wanted, Type::Any)),
            (value, wanted) if value.type_of() == wanted => Ok(value),
            (value, wanted) => Err(wrong_type(wanted, value.type_of())),
        }
    }
}

fn wrong_type(wanted: Type, found: Type) -> Failure {
    Failure::about(WRONG_TYPE, format!("wrong type for value; expected {wanted}; got {found}"))
}

const WRONG_TYPE: &str = "an argument is of a type that the function does not take";

fn undefined(variable: &str) -> Failure {
    Failure::about("undefined variable", format!("undefined variable: {variable}"))
}

/// The zero value of a type; `None` for structs, of which only their author knows it.
pub(crate) fn zero(wanted: Type) -> Option<Value> {
    Some(match wanted {
        Type::Any => Value::Nil,
        Type::Reflect => Value::NoValue,
        Type::Bool => Value::Bool(false),
        Type::Int(kind) => Value::Int(kind, 0),
        Type::Uint(kind) => Value::Uint(kind, 0),
        Type::Float64 => Value::Float(0.0),
        Type::Complex128 => Value::Complex(0.0, 0.0),
        Type::String => Value::str(""),
        Type::Slice(elem) => Value::List(List::nil(elem)),
        Type::Map(elem) => Value::Map(Map::nil(elem)),
        Type::Named(_) if wanted.can_be_nil() => Value::Nil,
        Type::Named(_) => return None,
    })
}
