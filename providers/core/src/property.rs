//! One property of a JSON object, written into it and taken out of it: what a push into a part of a secret does.
//!
//! A property is the key that is spelled so, dots and all; where the object has none such, its dots lead into objects and
//! lists, as they do where properties are read. A backslash makes the next character part of a key. All that is not
//! touched stays as it stands, digit for digit.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{Blame, Error, SecretBuf, SecretBytes, json};

/// Deeper than this leads no property.
const MOST_STEPS: usize = 32;

/// What is left of an object without a property.
#[derive(Debug, PartialEq, Eq)]
pub enum Left {
    /// All: there is no such property.
    All,
    /// Nothing: it was the last.
    Nothing,
    /// This.
    Rest(SecretBytes),
}

/// The property, as it is read; `None` where the object, if it is one, has none such.
pub fn get(object: &[u8], property: &str) -> Option<SecretBytes> {
    get_at(object, &steps_in(object, property)?)
}

/// The object with this text as the property: in place of what it was, or beside the others. No bytes are an object without
/// properties. One whose property is this already stays as it was written: order and spaces are no difference.
///
/// # Errors
/// `Invalid` where that is no object, the value is no text, or the property leads through what is neither object nor list.
pub fn set(object: &[u8], property: &str, value: &SecretBytes) -> Result<SecretBytes, Error> {
    put_at(object, &steps_in(object, property).unwrap_or_default(), property, value)
}

/// What is left of the object without the property, and without the objects that had nothing else in them.
pub fn remove(object: &[u8], property: &str) -> Left {
    remove_at(object, &steps_in(object, property).unwrap_or_default())
}

/// [`get`], for a store that knows the way to the property step by step.
pub fn get_at(object: &[u8], way: &[impl AsRef<str>]) -> Option<SecretBytes> {
    let (first, rest) = way.split_first()?;
    let mut value: &RawValue = json::object(object)?.get(first.as_ref())?;
    for step in rest {
        value = match value.get().as_bytes().first() {
            Some(b'{') => json::object(value.get().as_bytes())?.remove(step.as_ref())?,
            Some(b'[') => json::array(value.get().as_bytes())?.into_iter().nth(step.as_ref().parse().ok()?)?,
            _ => return None,
        };
    }
    Some(json::to_bytes(value))
}

/// [`set`], for a store that knows the way to the property step by step.
///
/// # Errors
/// Those of [`set`].
pub fn set_at(object: &[u8], way: &[&str], value: &SecretBytes) -> Result<SecretBytes, Error> {
    put_at(object, way, &way.join("."), value)
}

/// [`remove`], for a store that knows the way to the property step by step.
pub fn remove_at(object: &[u8], way: &[impl AsRef<str>]) -> Left {
    let left = || {
        way.first()?; // which would else lead to the object as a whole
        take(json::object(object).and(json::value(object))?.get(), way)
    };
    match left() {
        None => Left::All,
        Some(None) => Left::Nothing,
        Some(Some(rest)) => Left::Rest(rest),
    }
}

fn put_at(object: &[u8], way: &[impl AsRef<str>], property: &str, value: &SecretBytes) -> Result<SecretBytes, Error> {
    let refuse = |problem: &str| Error::invalid(format!("property {property:?} {problem}"));
    let of_request = |problem: &str| refuse(problem).with_blame(Blame::Request);
    let of_store = |problem: &str| {
        let way_out = "and would be lost: push to another key, or without property";
        refuse(&format!("can't be written: {problem}, {way_out}")).with_blame(Blame::Store)
    };
    let text = value.expose_str().ok_or_else(|| of_request("can only be text"))?;
    if way.is_empty() || way.len() > MOST_STEPS {
        return Err(of_request("leads nowhere: it is empty, or too deep"));
    }
    if get_at(object, way).as_ref() == Some(value) {
        return Ok(SecretBytes::new(object.to_vec()));
    }
    let object: &[u8] = if object.trim_ascii().is_empty() { b"{}" } else { object };
    let whole = json::object(object).and(json::value(object));
    let whole = whole.ok_or_else(|| of_store("what is there is no JSON object"))?;
    let mut quoted = SecretBuf::with_capacity(text.len() + 2);
    json::write_plain_string(text, &mut quoted);
    put(whole.get(), way, quoted.expose())
        .ok_or_else(|| of_store("it leads through a value that is neither an object nor a list"))
}

/// The way to the property in this object; `None` where there can be none.
fn steps_in(object: &[u8], property: &str) -> Option<Vec<String>> {
    let is_key = json::object(object).is_some_and(|whole| whole.contains_key(property));
    if is_key { Some(vec![property.to_owned()]) } else { steps(property) }
}

fn steps(property: &str) -> Option<Vec<String>> {
    let (mut all, mut step, mut chars) = (Vec::new(), String::new(), property.chars());
    while let Some(c) = chars.next() {
        match c {
            '.' => all.push(std::mem::take(&mut step)),
            '\\' => step.extend(chars.next()),
            c => step.push(c),
        }
    }
    all.push(step);
    let fine = all.len() <= MOST_STEPS && all.iter().all(|step| !step.is_empty());
    fine.then_some(all)
}

/// `raw` with a value at the end of the way; `None` where the way leads through something else.
fn put(raw: &str, steps: &[impl AsRef<str>], value: &[u8]) -> Option<SecretBytes> {
    let Some((step, rest)) = steps.split_first() else { return Some(SecretBytes::new(value.to_vec())) };
    let step = step.as_ref();
    match raw.as_bytes().first() {
        Some(b'{') => {
            let fields = json::object(raw.as_bytes())?;
            let inner = put(fields.get(step).map_or("null", |raw| raw.get()), rest, value)?;
            let mut fields: BTreeMap<&str, &[u8]> = bytes_of(&fields);
            fields.insert(step, inner.expose());
            Some(object_of(&fields))
        }
        Some(b'[') => {
            let items = json::array(raw.as_bytes())?;
            let at: usize = step.parse().ok().filter(|at| *at <= items.len())?;
            let inner = put(items.get(at).map_or("null", |raw| raw.get()), rest, value)?;
            let mut items: Vec<&[u8]> = items.iter().map(|raw| raw.get().as_bytes()).collect();
            if at == items.len() {
                items.push(inner.expose());
            } else {
                items[at] = inner.expose();
            }
            Some(list_of(&items))
        }
        Some(b'n') => put("{}", steps, value),
        _ => None,
    }
}

/// `raw` without what is at the end of the way: nothing, where it had nothing else. `None` where there is no such way.
fn take(raw: &str, steps: &[impl AsRef<str>]) -> Option<Option<SecretBytes>> {
    let Some((step, rest)) = steps.split_first() else { return Some(None) };
    let step = step.as_ref();
    match raw.as_bytes().first() {
        Some(b'{') => {
            let fields = json::object(raw.as_bytes())?;
            let inner = take(fields.get(step)?.get(), rest)?;
            let mut fields: BTreeMap<&str, &[u8]> = bytes_of(&fields);
            match &inner {
                Some(inner) => fields.insert(step, inner.expose()),
                None => fields.remove(step),
            };
            Some((!fields.is_empty()).then(|| object_of(&fields)))
        }
        Some(b'[') => {
            let items = json::array(raw.as_bytes())?;
            let at: usize = step.parse().ok()?;
            let inner = take(items.get(at)?.get(), rest)?;
            let mut items: Vec<&[u8]> = items.iter().map(|raw| raw.get().as_bytes()).collect();
            match &inner {
                Some(inner) => items[at] = inner.expose(),
                None => drop(items.remove(at)),
            }
            Some((!items.is_empty()).then(|| list_of(&items)))
        }
        _ => None,
    }
}

fn bytes_of<'a>(fields: &'a BTreeMap<String, &'a RawValue>) -> BTreeMap<&'a str, &'a [u8]> {
    fields.iter().map(|(key, raw)| (key.as_str(), raw.get().as_bytes())).collect()
}

fn object_of(fields: &BTreeMap<&str, &[u8]>) -> SecretBytes {
    let mut out = SecretBuf::default();
    for (n, (key, value)) in fields.iter().enumerate() {
        out.push(if n == 0 { b'{' } else { b',' });
        json::write_plain_string(key, &mut out);
        out.push(b':');
        out.extend(value);
    }
    if out.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    out.into()
}

fn list_of(items: &[&[u8]]) -> SecretBytes {
    let mut out = SecretBuf::default();
    for (n, item) in items.iter().enumerate() {
        out.push(if n == 0 { b'[' } else { b',' });
        out.extend(item);
    }
    out.push(b']');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn set_in(object: &str, property: &str, text: &str) -> Option<String> {
        set(object.as_bytes(), property, &text.into()).ok().map(|bytes| bytes.expose_str().unwrap().to_owned())
    }

    #[test]
    fn a_property_is_written_and_all_else_stays() {
        for (object, property, expected) in [
            ("", "a", Some(r#"{"a":"v"}"#)),
            (" \n", "a", Some(r#"{"a":"v"}"#)),
            ("{}", "a.b", Some(r#"{"a":{"b":"v"}}"#)),
            ("{}", "a.b.c", Some(r#"{"a":{"b":{"c":"v"}}}"#)),
            (r#"{"b":1.50,"o":{"z": [1, 2]}}"#, "a", Some(r#"{"a":"v","b":1.50,"o":{"z": [1, 2]}}"#)),
            (r#"{"b":1.50,"a":"old"}"#, "a", Some(r#"{"a":"v","b":1.50}"#)),
            (r#"{"n":12345678901234567890}"#, "a", Some(r#"{"a":"v","n":12345678901234567890}"#)),
            // A key that is spelled so goes before a way.
            (r#"{"a.b":"old","a":{"b":"other"}}"#, "a.b", Some(r#"{"a":{"b":"other"},"a.b":"v"}"#)),
            (r#"{"a":{"c":1}}"#, "a.b", Some(r#"{"a":{"b":"v","c":1}}"#)),
            (r#"{"a":null}"#, "a.b", Some(r#"{"a":{"b":"v"}}"#)),
            (r#"{"a":[1,2]}"#, "a.1", Some(r#"{"a":[1,"v"]}"#)),
            (r#"{"a":[1,2]}"#, "a.2", Some(r#"{"a":[1,2,"v"]}"#)),
            (r#"{"a":[1,2]}"#, "a.4", None),
            // What is equal stays as it was written.
            (r#"{"b": 1, "a": "v"}"#, "a", Some(r#"{"b": 1, "a": "v"}"#)),
            (r#"{"a":"text"}"#, "a.b", None),
            (r#"{"a":7}"#, "a.b", None),
            ("{}", r"file\.txt", Some(r#"{"file.txt":"v"}"#)),
            ("{}", "a..b", None),
            ("{}", ".a", None),
            ("{}", "a.", None),
            ("{}", "", None),
            ("not JSON", "a", None),
            ("[1]", "0", None),
            ("7", "a", None),
        ] {
            assert_eq!(set_in(object, property, "v").as_deref(), expected, "{object} {property}");
        }
        assert_eq!(set_in("{}", "a", "<\"é\n>").unwrap(), "{\"a\":\"<\\\"é\\n>\"}");
        assert!(set_in("{}", &vec!["a"; 33].join("."), "v").is_none());
    }

    #[test]
    fn what_is_written_can_be_read() {
        for property in ["a", "a.b", r"a\.b", "list.0"] {
            let object = set(br#"{"list":["x"],"other":1}"#, property, &"v".into()).unwrap();
            assert_eq!(get(object.expose(), property), Some("v".into()), "{property}");
            assert_eq!(get(object.expose(), "other"), Some("1".into()));
        }
        for (object, property) in [("", "a"), ("[]", "0"), ("{}", "a"), (r#"{"a":"b"}"#, "a.b"), (r#"{"a":[]}"#, "a.0")]
        {
            assert_eq!(get(object.as_bytes(), property), None, "{object} {property}");
        }
    }

    /// BUG of External Secrets Operator, in Google Secret Manager: it reads a key with a dot by its letters and writes it as
    /// a path, so that every refresh adds a version.
    #[test]
    fn a_key_with_a_dot_is_written_where_it_is_read() {
        let there = br#"{"a.b":"x","a":{"b":"y"}}"#;
        assert_eq!(get(there, "a.b"), Some("x".into()));
        let written = set(there, "a.b", &"new".into()).unwrap();
        assert_eq!(written.expose_str(), Some(r#"{"a":{"b":"y"},"a.b":"new"}"#));
        assert_eq!(get(written.expose(), "a.b"), Some("new".into()));
    }

    #[test]
    fn a_property_takes_along_what_held_nothing_else() {
        let rest = |text: &str| Left::Rest(text.into());
        for (object, property, expected) in [
            (r#"{"a":1,"b":2}"#, "a", rest(r#"{"b":2}"#)),
            (r#"{"a":1}"#, "a", Left::Nothing),
            (r#"{"a":{"b":1}}"#, "a.b", Left::Nothing),
            (r#"{"a":{"b":{"c":1}}}"#, "a.b", Left::Nothing),
            (r#"{"a":{"b":1,"c":2}}"#, "a.b", rest(r#"{"a":{"c":2}}"#)),
            (r#"{"a":{"b":1},"c":2}"#, "a.b", rest(r#"{"c":2}"#)),
            (r#"{"a":[1,2]}"#, "a.0", rest(r#"{"a":[2]}"#)),
            (r#"{"a.b":1,"a":{"b":2}}"#, "a.b", rest(r#"{"a":{"b":2}}"#)),
            (r#"{"a":1}"#, "b", Left::All),
            (r#"{"a":1}"#, "a.b", Left::All),
            ("not JSON", "a", Left::All),
        ] {
            assert_eq!(remove(object.as_bytes(), property), expected, "{object} {property}");
        }
    }

    #[test]
    fn a_way_is_taken_step_by_step() {
        let there = br#"{"a":{"b":"x","n":2},"a.b":1}"#;
        let set = |way: &[&str]| set_at(there, way, &"v".into()).map(|all| all.expose_str().unwrap().to_owned());
        assert_eq!(set(&["a", "b"]).unwrap(), r#"{"a":{"b":"v","n":2},"a.b":1}"#);
        assert_eq!(set(&["a", "d", "e"]).unwrap(), r#"{"a":{"b":"x","d":{"e":"v"},"n":2},"a.b":1}"#);
        assert_eq!(set(&["a.b"]).unwrap(), r#"{"a":{"b":"x","n":2},"a.b":"v"}"#);
        assert_eq!(set(&["c.d"]).unwrap(), r#"{"a":{"b":"x","n":2},"a.b":1,"c.d":"v"}"#);
        assert_eq!(set(&[]).unwrap_err().blame(), Blame::Request);
        assert_eq!((get_at(there, &["a", "b"]), get_at(there, &["a.b"])), (Some("x".into()), Some("1".into())));
        assert_eq!((get_at(there, &["x", "b"]), get_at(b"text", &["a"])), (None, None));
        assert_eq!(remove_at(there, &["a", "b"]), Left::Rest(r#"{"a":{"n":2},"a.b":1}"#.into()));
        assert_eq!(remove_at(there, &["x", "b"]), Left::All);
        assert_eq!(remove_at(there, &[] as &[&str]), Left::All);
    }

    #[test]
    fn no_refusal_holds_a_value() {
        for (object, property) in [("canary", "a"), (r#"["canary"]"#, "a"), (r#"{"a":"canary"}"#, "a.b")] {
            let error = set(object.as_bytes(), property, &"canary".into()).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Store));
            assert!(!error.message().contains("canary") && error.message().contains(property), "{error}");
        }
        for property in ["", "a..b", &vec!["a"; 33].join(".")] {
            assert_eq!(set(b"{}", property, &"v".into()).unwrap_err().blame(), Blame::Request, "{property}");
        }
        let error = set(b"", "a", &SecretBytes::new(b"canary\xff".to_vec())).unwrap_err();
        assert_eq!((error.message(), error.blame()), ("property \"a\" can only be text", Blame::Request));
    }
}
