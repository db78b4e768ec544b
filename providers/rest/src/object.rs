//! JSON objects: those that are sent, and one property of those that are kept. No value is copied where nobody zeroes it,
//! and no number loses a digit.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{Blame, Error, SecretBuf, SecretBytes, json};
use serde_json::value::RawValue;

/// An object that is being written.
pub struct Object(SecretBuf);

impl Object {
    /// One without fields.
    pub fn new() -> Self {
        let mut out = SecretBuf::with_capacity(256);
        out.push(b'{');
        Self(out)
    }

    /// The same with a text.
    pub fn text(mut self, name: &str, text: &str) -> Self {
        self.name(name);
        json::write_string(text, &mut self.0);
        self
    }

    /// The same with a text, where there is one.
    pub fn maybe(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    /// The same with what is JSON already.
    pub fn json(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.0.extend(value.as_bytes());
        self
    }

    /// The same with an object or a list of ours.
    pub fn nested(mut self, name: &str, value: &SecretBytes) -> Self {
        self.name(name);
        self.0.extend(value.expose());
        self
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        json::write_string(name, &mut self.0);
        self.0.push(b':');
    }

    /// The object as it is sent.
    pub fn done(mut self) -> SecretBytes {
        self.0.push(b'}');
        self.0.into()
    }
}

/// A list of texts.
pub fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> SecretBytes {
    let mut out = SecretBuf::default();
    for (n, text) in texts.into_iter().enumerate() {
        out.push(if n == 0 { b'[' } else { b',' });
        json::write_string(text, &mut out);
    }
    if out.is_empty() {
        out.push(b'[');
    }
    out.push(b']');
    out.into()
}

/// An object that is sent, with one more text in it.
pub fn with_text(object: &SecretBytes, name: &str, text: &SecretBytes) -> SecretBytes {
    let open = object.expose().strip_suffix(b"}").unwrap_or_default();
    let mut out = SecretBuf::with_capacity(object.len() + name.len() + text.len() + 8);
    out.extend(open);
    Object(out).maybe(name, text.expose_str()).done()
}

/// A text of an answer, by its names from the outermost.
pub fn text_at(body: &SecretBytes, path: &[&str]) -> Option<String> {
    let value = json::to_bytes(at(body.expose(), path)?);
    value.expose_str().map(str::to_owned).filter(|text| !text.is_empty())
}

/// What stands in an answer under these names, from the outermost.
pub fn at<'a>(body: &'a [u8], path: &[&str]) -> Option<&'a RawValue> {
    let Some((name, rest)) = path.split_first() else { return json::value(body) };
    let found = *json::object(body)?.get(*name)?;
    at(found.get().as_bytes(), rest)
}

/// Whether a value has what is under this path.
pub fn has(value: &SecretBytes, path: &[&str]) -> bool {
    at(value.expose(), path).is_some()
}

/// The value with a text under this path, all else as it stands; what is not there, or empty, begins as an object without
/// fields.
///
/// # Errors
/// `Invalid` where what is there is no object, or the text is none.
pub fn with(value: Option<&SecretBytes>, path: &[&str], new: &SecretBytes) -> Result<SecretBytes, Error> {
    let mut quoted = SecretBuf::default();
    json::write_string(text(new)?, &mut quoted);
    let there = value.map_or(&b""[..], SecretBytes::expose);
    put(there, path, quoted.expose())
}

fn put(there: &[u8], path: &[&str], new: &[u8]) -> Result<SecretBytes, Error> {
    let Some((name, rest)) = path.split_first() else { return Ok(SecretBytes::new(new.to_vec())) };
    let mut fields = fields(there)?;
    let inner = put(fields.get(*name).copied().unwrap_or_default(), rest, new)?;
    fields.insert((*name).to_owned(), inner.expose());
    Ok(written(&fields))
}

/// The value without what is under this path; `None` where nothing is left.
///
/// # Errors
/// `Invalid` where what is there is no object.
pub fn without(value: &SecretBytes, path: &[&str]) -> Result<Option<SecretBytes>, Error> {
    let left = take(value.expose(), path)?;
    Ok(json::object(left.expose()).is_some_and(|fields| !fields.is_empty()).then_some(left))
}

fn take(there: &[u8], path: &[&str]) -> Result<SecretBytes, Error> {
    let mut fields = fields(there)?;
    let inner;
    match path {
        [name] => {
            fields.remove(*name);
        }
        [name, rest @ ..] if fields.contains_key(*name) => {
            inner = take(fields[*name], rest)?;
            fields.insert((*name).to_owned(), inner.expose());
        }
        _ => {}
    }
    Ok(written(&fields))
}

/// Several values as one object of texts.
///
/// # Errors
/// `Invalid` where one is no text.
pub fn of_fields(all: &BTreeMap<String, SecretBytes>) -> Result<SecretBytes, Error> {
    let mut whole = Object::new();
    for (name, value) in all {
        whole = whole.text(name, text(value)?);
    }
    Ok(whole.done())
}

/// A value that is to be written, which must be text.
///
/// # Errors
/// `Invalid` where it is not.
pub fn text(value: &SecretBytes) -> Result<&str, Error> {
    value.expose_str().ok_or_else(|| {
        Error::invalid("the value is not text, which is all that this store keeps").with_blame(Blame::Request)
    })
}

/// A secret in base64, without a copy that nobody zeroes.
pub fn base64(secret: &SecretBytes) -> SecretBytes {
    let mut encoded = vec![0; secret.len().div_ceil(3) * 4];
    let _ = STANDARD.encode_slice(secret.expose(), &mut encoded);
    SecretBytes::new(encoded)
}

fn fields(there: &[u8]) -> Result<BTreeMap<String, &[u8]>, Error> {
    if there.is_empty() {
        return Ok(BTreeMap::new());
    }
    let fields = json::object(there).ok_or_else(|| {
        let message =
            "what is there is no JSON object, so it has no properties: push to another key, or without property";
        Error::invalid(message).with_blame(Blame::Store)
    })?;
    Ok(fields.into_iter().map(|(name, raw)| (name, raw.get().as_bytes())).collect())
}

fn written(fields: &BTreeMap<String, &[u8]>) -> SecretBytes {
    let mut out = Object::new();
    for (name, value) in fields {
        out.name(name);
        out.0.extend(value);
    }
    out.done()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: SecretBytes) -> String {
        value.expose_str().unwrap().to_owned()
    }

    #[test]
    fn an_object_is_written_field_by_field() {
        let nested = texts(["a", "b\""]);
        let whole = Object::new().text("t", "<x>").maybe("no", None).json("n", "1").nested("l", &nested).done();
        assert_eq!(shown(whole.clone()), r#"{"t":"\u003cx\u003e","n":1,"l":["a","b\""]}"#);
        assert_eq!(
            shown(with_text(&whole, "token", &"k".into())),
            r#"{"t":"\u003cx\u003e","n":1,"l":["a","b\""],"token":"k"}"#
        );
        assert_eq!(shown(with_text(&Object::new().done(), "token", &"k".into())), r#"{"token":"k"}"#);
        assert_eq!(shown(texts([])), "[]");
        assert_eq!((shown(base64(&"ab".into())), shown(base64(&"".into()))), ("YWI=".to_owned(), String::new()));
    }

    #[test]
    fn one_property_is_set_or_taken_away_and_the_others_stay_digit_for_digit() {
        let there = SecretBytes::from(r#"{"n":1.50,"a":"x"}"#);
        assert_eq!(shown(with(Some(&there), &["b"], &"<\"".into()).unwrap()), r#"{"a":"x","b":"\u003c\"","n":1.50}"#);
        assert_eq!(shown(without(&there, &["a"]).unwrap().unwrap()), r#"{"n":1.50}"#);
        assert_eq!(without(&r#"{"a":"x"}"#.into(), &["a"]).unwrap(), None);
        assert_eq!(shown(with(None, &["a"], &"x".into()).unwrap()), r#"{"a":"x"}"#);
        assert!(has(&there, &["n"]) && !has(&there, &["b"]) && !has(&"text".into(), &["b"]));
        assert_eq!(with(Some(&"text".into()), &["a"], &"x".into()).unwrap_err().blame(), Blame::Store);
        assert_eq!(shown(of_fields(&BTreeMap::new()).unwrap()), "{}");
    }

    #[test]
    fn a_property_may_lie_deeper() {
        let there = SecretBytes::from(r#"{"a":{"b":"x","n":2},"c":1}"#);
        assert_eq!(
            shown(with(Some(&there), &["a", "d", "e"], &"y".into()).unwrap()),
            r#"{"a":{"b":"x","d":{"e":"y"},"n":2},"c":1}"#
        );
        assert_eq!(shown(without(&there, &["a", "b"]).unwrap().unwrap()), r#"{"a":{"n":2},"c":1}"#);
        assert_eq!(shown(without(&there, &["x", "b"]).unwrap().unwrap()), r#"{"a":{"b":"x","n":2},"c":1}"#);
        assert!(has(&there, &["a", "b"]) && !has(&there, &["a", "c"]) && !has(&there, &["c", "b"]));
        assert_eq!(text_at(&there, &["a", "b"]).as_deref(), Some("x"));
        assert_eq!(text_at(&there, &["a", "x"]), None);
    }
}
