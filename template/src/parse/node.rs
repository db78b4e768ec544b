//! Expressions.

use std::fmt;

use super::number::Number;
use crate::{function::Function, value::Str};

/// A variable's name, as a number; 0 is `$`.
pub(crate) type Name = u32;

/// A pipeline: `$x := a | b | c`.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub pos: usize,
    /// `=` and not `:=`.
    pub assign: bool,
    pub decl: Vec<(Name, Box<str>)>,
    pub cmds: Vec<Command>,
}

/// A command: `f a b`. There is at least one part.
#[derive(Debug)]
pub(crate) struct Command {
    pub pos: usize,
    pub parts: Vec<Expr>,
}

/// A part of a command.
#[derive(Debug)]
pub(crate) struct Expr {
    pub pos: usize,
    pub kind: ExprKind,
}

/// What it is.
#[derive(Debug)]
pub(crate) enum ExprKind {
    Bool(bool),
    Dot,
    Nil,
    Number(Box<Number>),
    Str { quoted: Box<str>, text: Str },
    Field(Vec<Box<str>>),
    Variable { name: Name, text: Box<str>, fields: Vec<Box<str>> },
    Function(&'static Function),
    Chain { of: Box<Expr>, fields: Vec<Box<str>> },
    Pipe(Box<Pipe>),
}

impl ExprKind {
    /// Something that cannot be called: only the first command of a pipeline may be one.
    pub fn is_constant(&self) -> bool {
        matches!(self, Self::Bool(_) | Self::Dot | Self::Nil | Self::Number(_) | Self::Str { .. })
    }
}

/// As Go writes the part of a template that an error is about.
impl fmt::Display for Pipe {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.decl.iter().map(|(_, text)| &**text).collect();
        match (names.is_empty(), self.assign) {
            (true, _) => {}
            (false, true) => write!(out, "{} = ", names.join(", "))?,
            (false, false) => write!(out, "{} := ", names.join(", "))?,
        }
        for (at, command) in self.cmds.iter().enumerate() {
            write!(out, "{}{command}", if at > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.parts.iter().enumerate() {
            let space = if at > 0 { " " } else { "" };
            match &part.kind {
                ExprKind::Pipe(pipe) => write!(out, "{space}({pipe})")?,
                _ => write!(out, "{space}{part}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = match &self.kind {
            ExprKind::Bool(value) => return write!(out, "{value}"),
            ExprKind::Dot => return out.write_str("."),
            ExprKind::Nil => return out.write_str("nil"),
            ExprKind::Number(number) => return out.write_str(&number.text),
            ExprKind::Str { quoted, .. } => return out.write_str(quoted),
            ExprKind::Function(function) => return out.write_str(function.name),
            ExprKind::Pipe(pipe) => return write!(out, "{pipe}"),
            ExprKind::Field(fields) => fields,
            ExprKind::Variable { text, fields, .. } => {
                out.write_str(text)?;
                fields
            }
            ExprKind::Chain { of, fields } => {
                match &of.kind {
                    ExprKind::Pipe(pipe) => write!(out, "({pipe})")?,
                    _ => write!(out, "{of}")?,
                }
                fields
            }
        };
        fields.iter().try_for_each(|field| write!(out, ".{field}"))
    }
}
