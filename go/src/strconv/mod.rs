//! Text and numbers as Go reads and writes them.
//!
//! Modules, in reading order: [`unicode`] code points in bytes that may not be UTF-8, `tables` which of them are
//! letters, [`quote`] Go string literals, [`number`] numbers from text, [`float`] numbers to text.

pub mod unicode;
mod tables;
pub mod quote;
pub mod number;
pub mod float;
