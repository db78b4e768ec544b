//! JSON objects: those that are sent, and texts of those that are answered. No value is copied where nobody zeroes it.

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

/// A list of objects of ours.
pub fn list<'a>(objects: impl IntoIterator<Item = &'a SecretBytes>) -> SecretBytes {
    let mut out = SecretBuf::default();
    for object in objects {
        out.push(if out.is_empty() { b'[' } else { b',' });
        out.extend(object.expose());
    }
    if out.is_empty() {
        out.push(b'[');
    }
    out.push(b']');
    out.into()
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
        assert_eq!((shown(texts([])), shown(list([])), shown(list([&whole, &nested]))), {
            let (whole, nested) = (shown(whole.clone()), shown(nested.clone()));
            ("[]".to_owned(), "[]".to_owned(), format!("[{whole},{nested}]"))
        });
        assert_eq!((shown(base64(&"ab".into())), shown(base64(&"".into()))), ("YWI=".to_owned(), String::new()));
    }

    #[test]
    fn several_values_are_one_object_of_texts() {
        assert_eq!(shown(of_fields(&BTreeMap::new()).unwrap()), "{}");
        let two = [("b".to_owned(), "<1>".into()), ("a".to_owned(), "2".into())].into();
        assert_eq!(shown(of_fields(&two).unwrap()), r#"{"a":"2","b":"\u003c1\u003e"}"#);
    }

    #[test]
    fn texts_of_an_answer_are_found_by_their_names() {
        let there = SecretBytes::from(r#"{"a":{"b":"x"}}"#);
        assert_eq!(text_at(&there, &["a", "b"]).as_deref(), Some("x"));
        assert_eq!(text_at(&there, &["a", "x"]), None);
    }
}
