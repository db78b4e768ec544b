//! Go's `text/template`, byte for byte: what a template renders under Go it renders here, and where Go reports an
//! error there is an error here.
//!
//! The crate knows neither Kubernetes nor secret stores. Text goes in with named values, bytes come out.
//!
//! Modules, in reading order: [`mod@value`] what a template computes with, [`mod@error`] how things fail,
//! [`mod@env`] what the outside lends (limits, clock, randomness), [`mod@function`] how a function is declared.

#![forbid(unsafe_code)]

pub mod value;

pub mod error;

pub mod env;

pub mod function;

pub mod strconv;

pub mod fmt;

pub use env::{Clock, Context, Env, Limits, Random, SystemClock, SystemRandom};
pub use error::{Error, ErrorKind, Failure, Limit};
pub use function::{Function, Functions, Signature, f};
pub use value::{IntKind, List, Map, Named, Object, Str, Type, UintKind, Value};
