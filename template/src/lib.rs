//! Go's `text/template`, byte for byte: what a template renders under Go it renders here, and where Go reports an
//! error there is an error here.
//!
//! The crate knows neither Kubernetes nor secret stores. Text goes in with named values, bytes come out. What Go's
//! standard library does elsewhere too (numbers, durations, patterns) is in [`keyferry_go`].
//!
//! Modules, in reading order: [`mod@value`] what a template computes with, [`mod@error`] how things fail,
//! [`mod@env`] what the outside lends (limits, clock, randomness), [`mod@function`] how a function is declared,
//! [`mod@fmt`] printing, `parse` and `exec` from text to output,
//! [`builtins`] the functions of the language, [`sprig`] and [`eso`] those of sprig and of External Secrets Operator,
//! [`template`] the front door.
//!
//! ```
//! use keyferry_template::{Env, Functions, Options, Template};
//!
//! let options = Options::new(Functions::builtin().into());
//! let template = Template::parse("greeting", "Hello, {{ .name }}!", &options)?;
//! let output = template.render_strings([("name", "Ferry")], &mut Env::default())?;
//! assert_eq!(&*output, b"Hello, Ferry!");
//! # Ok::<(), keyferry_template::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod value;
pub mod error;
pub mod env;
pub mod function;
pub mod fmt;
mod parse;
mod exec;
pub mod builtins;
pub mod sprig;
pub mod eso;
pub mod template;

use keyferry_go::strconv;

pub use env::{Clock, Context, Env, Limits, Random, SystemClock, SystemRandom};
pub use error::{Error, ErrorKind, Failure, Limit};
pub use function::{Function, Functions, Signature, f};
pub use template::{MissingKey, Options, Template};
pub use value::{IntKind, List, Map, Named, Object, Str, Type, UintKind, Value};
