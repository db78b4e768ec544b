//! Values out of JSON, by paths in the syntax of [gjson](https://github.com/tidwall/gjson), answered as gjson 1.18
//! answers.
//!
//! A `property` of an ExternalSecret is such a path. Everything works on the text of the document: a number keeps its
//! digits, an object its blanks, and nothing is parsed that the path doesn't lead to. A document that isn't valid is
//! read as far as it goes, as gjson does.
//!
//! ```
//! let json = br#"{"users":[{"name":"ann","pin":0042},{"name":"bob","pin":7}]}"#;
//! let value = keyferry_gjson::get(json, b"users.#(name==\"bob\").pin")?;
//! assert_eq!(&*value.text(), b"7");
//! # Ok::<(), keyferry_gjson::TooComplex>(())
//! ```
//!
//! The values are secrets. No type here can be printed but [`Kind`] and [`TooComplex`], and what is made on the way
//! (escapes resolved, documents that modifiers make) is zeroed when it is dropped.
//!
//! No input makes this panic or go on without end: what nests too deep or multiplies itself is [`TooComplex`].

pub use eval::TooComplex;
pub use value::{Kind, Text, Value};

pub use valid::valid;

/// What callers see.
mod value;

/// The walk through a document along a path.
mod eval;

/// The syntax of paths.
mod path;

/// The operators of queries.
mod compare;

/// `*` and `?`.
mod wildcard;

/// `@reverse` and its kin.
mod modifier;

/// `@pretty` and `@ugly`.
mod pretty;

/// Where values begin and end.
mod scan;

/// Strict JSON.
mod valid;

/// Strings.
mod text;

/// Numbers.
mod number;

/// Buffers that zero themselves.
mod buf;

/// Gets the value at `path`. That there is none is a [`Value`] of [`Kind::Missing`], no error.
pub fn get<'a>(json: &'a [u8], path: &[u8]) -> Result<Value<'a>, TooComplex> {
    let mut budget = eval::Budget::new(json);
    let found = eval::get(&buf::Span::document(json), path, &mut budget)?;
    Ok(Value::new(found))
}
