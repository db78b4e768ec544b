//! What Go's standard library does, byte for byte, where more than one crate of ours needs it: External Secrets Operator
//! is written in Go, and what users see of it is what Go makes of text, numbers and patterns.
//!
//! Modules, in reading order: [`strconv`] text and numbers, [`json`] both of them in JSON, [`duration`] lengths of time,
//! [`regexp`] patterns. Texts and numbers may be secrets: what is made of them on the way is zeroed when it is dropped.

#![forbid(unsafe_code)]

pub mod strconv;
pub mod json;
pub mod duration;
pub mod regexp;
