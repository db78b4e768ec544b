//! Go's `regexp`: its syntax, as trees and expressions of the `regex` crate.
//!
//! Both engines descend from RE2 and find the same matches; only the syntax differs in details. So patterns are read
//! here, and matched there.
//!
//! Modules, in reading order: [`mod@parse`] from pattern to tree, [`class`] classes of characters by name, [`counts`] of
//! repetitions, [`pattern`] what is ready to match, [`expand`] what stands in place of a match.

pub use expand::Replacement;
pub use parse::{Parsed, Wrong, parse};
pub use pattern::{Pattern, Replacer, compile, compile_with_groups, first_wrong};

mod parse;
mod class;
mod counts;
mod pattern;
mod expand;
