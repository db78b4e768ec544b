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
//!
//! Modules, in reading order: `value` what callers see, `eval` the walk through a document along a path; of paths:
//! `path` their syntax, `compare` and `wildcard` the operators of queries, `modifier` `@reverse` and its kin, `pretty`
//! `@pretty` and `@ugly`; of JSON: `scan` where values begin and end, `valid` its strict form, `text` strings, `number`
//! numbers, `buf` buffers that zero themselves.

pub use eval::TooComplex;
pub use value::{Kind, Text, Value};

pub use valid::valid;

mod value;
mod eval;
mod path;
mod compare;
mod wildcard;
mod modifier;
mod pretty;
mod scan;
mod valid;
mod text;
mod number;
mod buf;

/// Gets the value at `path`. That there is none is a [`Value`] of [`Kind::Missing`], no error.
pub fn get<'a>(json: &'a [u8], path: &[u8]) -> Result<Value<'a>, TooComplex> {
    let mut budget = eval::Budget::new(json, None);
    let found = eval::get(&buf::Span::document(json), path, &mut budget)?;
    Ok(Value::new(found))
}

/// Gets the value at `path` with what a look has left.
pub fn get_within<'a>(json: &'a [u8], path: &[u8], look: &keyferry_limits::Budget) -> Result<Value<'a>, Refused> {
    let mut budget = eval::Budget::new(json, Some(look));
    match eval::get(&buf::Span::document(json), path, &mut budget) {
        Ok(found) => Ok(Value::new(found)),
        Err(complaint) => Err(budget.exceeded().map_or(Refused::TooComplex(complaint), Refused::Exceeded)),
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The path asks for too much by itself.
    TooComplex(TooComplex),
    /// The look has nothing left.
    Exceeded(keyferry_limits::Exceeded),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str, path: &str) -> (Kind, String, String) {
        let value = get(json.as_bytes(), path.as_bytes()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (value.kind(), text(&value.text()), text(value.raw()))
    }

    #[test]
    fn kinds_texts_and_raw_texts() {
        let json =
            r#"{"s":"a\nb","n":1.50,"i":12345678901234567890,"t":true,"f":false,"z":null,"o":{ "a":1 },"a":[1, 2]}"#;
        for (path, kind, text, raw) in [
            ("s", Kind::String, "a\nb", r#""a\nb""#),
            ("n", Kind::Number, "1.5", "1.50"),
            ("i", Kind::Number, "12345678901234567890", "12345678901234567890"),
            ("t", Kind::Bool, "true", "true"),
            ("f", Kind::Bool, "false", "false"),
            ("z", Kind::Null, "", "null"),
            ("o", Kind::Object, r#"{ "a":1 }"#, r#"{ "a":1 }"#),
            ("a", Kind::Array, "[1, 2]", "[1, 2]"),
            ("a.#", Kind::Number, "2", "2"),
            ("{n,i}", Kind::Object, r#"{"n":1.50,"i":12345678901234567890}"#, r#"{"n":1.50,"i":12345678901234567890}"#),
            ("x", Kind::Missing, "", ""),
        ] {
            assert_eq!(found(json, path), (kind, text.to_owned(), raw.to_owned()), "{path}");
        }
    }

    #[test]
    fn what_stands_in_the_document_is_not_copied() {
        let json = br#"{"a":{"b":["secret",{"c":1}]}}"#;
        for path in ["a.b.0", "a.b.1", "a|b|0", "@this.a.b.0"] {
            let value = get(json, path.as_bytes()).unwrap();
            assert!(json.as_ptr_range().contains(&value.raw().as_ptr()), "{path}");
            assert!(json.as_ptr_range().contains(&value.text().as_ptr()), "{path}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_pass() {
        let value = get(b"{\"k\xff\":\"\xfe\"}", b"k\xff").unwrap();
        assert_eq!(&*value.text().into_owned().clone(), b"\xfe");
    }

    #[test]
    fn what_a_look_has_left_is_enough_for_one_path_after_another() {
        let json = format!("[{}0]", "0,".repeat(10_000));
        let path = b"[@this,@this,@this,@this]";
        let look = keyferry_limits::Budget::new(500_000, 1_000_000);
        let get = || get_within(json.as_bytes(), path, &look).map(|value| value.raw().len());
        let results = [get(), get(), get(), get(), get(), get(), get()];
        assert!(results[0].is_ok_and(|len| len > 80_000));
        let exceeded = keyferry_limits::Exceeded::Limit(&keyferry_limits::LOOK_BYTES);
        assert_eq!(results[6], Err(Refused::Exceeded(exceeded)));
        look.stop();
        assert_eq!(get(), Err(Refused::Exceeded(keyferry_limits::Exceeded::Stopped)));
    }

    #[test]
    fn limits_are_errors_with_words() {
        let path = "[".repeat(1_000) + &"]".repeat(1_000);
        let error = get(b"{}", path.as_bytes()).err().unwrap();
        assert_eq!(error.to_string(), "the path nests too deep, or makes too much of the value");
    }
}
