//! Statements, as a flat program with jumps.

use std::ops::Range;

use super::node::Pipe;

/// One step. Targets are indices into the program.
#[derive(Debug)]
pub(crate) enum Op {
    /// Writes a piece of the template's text.
    Text(Range<usize>),
    /// Evaluates, and writes the result unless it is declared or assigned.
    Action(Pipe),
    /// Opens a scope; goes on, or to `otherwise`.
    If { pipe: Pipe, otherwise: usize },
    /// As `If`, with the value as the new dot.
    With { pipe: Pipe, otherwise: usize },
    /// Opens a scope; goes round the body up to [`Op::Next`], or to `otherwise` if there is nothing to go round.
    Range { pipe: Pipe, otherwise: usize, end: usize },
    /// The end of a range's body.
    Next,
    /// Leaves the range.
    Break,
    /// Goes on with the range's next round.
    Continue,
    /// The end of the first part of an `if` or `with` that has an `else`.
    Jump(usize),
    /// Closes a scope.
    End,
    /// Runs another template.
    Call { pos: usize, name: Box<str>, pipe: Option<Pipe> },
}

/// A defined template.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub ops: Vec<Op>,
}
