//! From text to something that runs.
//!
//! Statements become a flat program with jumps, so that neither parsing nor running nor dropping nested blocks uses
//! the native stack. Expressions are small trees whose depth is bounded.
//!
//! Modules, in reading order: [`lexer`] tokens, [`number`] constants, [`node`] expressions, [`program`] statements,
//! [`parser`] blocks and definitions, [`expression`] pipelines and their parts.

mod lexer;
pub(crate) mod number;
pub(crate) mod node;
pub(crate) mod program;
mod parser;
mod expression;

pub(crate) use parser::parse;
