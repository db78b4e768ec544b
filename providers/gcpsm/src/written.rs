//! What is written: a value as a whole, or one property of what is there.
//!
//! A property is a key of the JSON that is called so, letter for letter, where there is one, and else a path of keys with
//! dots between them (`\.` is a dot of a key): as it is read, so it is written. What else is there stays digit for digit.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{Blame, Error, Payload, SecretBuf, SecretBytes, json};

use crate::checksum::crc32c;

/// The largest value that Google keeps.
const LARGEST: usize = 64 << 10;

/// How deep a property may lead.
const DEEPEST: usize = 32;

/// What a push brings, as one value.
///
/// # Errors
/// `Invalid`, to be blamed on the request.
pub fn payload(payload: &Payload) -> Result<SecretBytes, Error> {
    match payload {
        Payload::Value(value) => Ok(value.clone()),
        Payload::Fields(fields) => {
            let mut out = SecretBuf::default();
            for (n, (name, value)) in fields.iter().enumerate() {
                out.push(if n == 0 { b'{' } else { b',' });
                json::write_plain_string(name, &mut out);
                out.push(b':');
                json::write_plain_string(text(value)?, &mut out);
            }
            out.extend(if fields.is_empty() { b"{}" } else { b"}" });
            Ok(out.into())
        }
    }
}

/// Refuses a value that Google does not keep: to be asked before anything is made for it.
///
/// # Errors
/// `Invalid`, to be blamed on the request.
pub fn check(value: &SecretBytes) -> Result<(), Error> {
    let problem = match value.len() {
        0 => "it is empty",
        length if length > LARGEST => "it is larger than 64 KiB",
        _ => return Ok(()),
    };
    Err(refuse(&format!("Google Secret Manager does not keep the value: {problem}")))
}

/// The body that adds a version, with the checksum by which Google tells whether it arrived whole.
pub fn version(value: &SecretBytes) -> SecretBytes {
    let mut encoded = vec![0; value.len().div_ceil(3) * 4];
    let length = STANDARD.encode_slice(value.expose(), &mut encoded).unwrap_or_default();
    encoded.truncate(length);
    let encoded = SecretBytes::new(encoded);
    let mut out = SecretBuf::with_capacity(encoded.len() + 96);
    out.extend(b"{\"payload\":{\"data\":\"");
    out.extend(encoded.expose());
    out.extend(format!("\",\"dataCrc32c\":\"{}\"}}}}", crc32c(value.expose())).as_bytes());
    out.into()
}

/// The property of a value, as text; `None` where it has none.
pub fn get(value: &SecretBytes, property: &str) -> Option<SecretBytes> {
    let path = path(value, property).ok()?;
    let mut here = value.expose();
    for key in &path {
        here = json::object(here)?.get(key)?.get().as_bytes();
    }
    json::value(here).map(json::to_bytes)
}

/// The value with a property set; what is not there, or empty, begins as an object without any.
///
/// # Errors
/// `Invalid` where what is there has no place for it.
pub fn with(value: Option<&SecretBytes>, property: &str, new: &SecretBytes) -> Result<SecretBytes, Error> {
    let nothing = SecretBytes::from("{}");
    let value = value.filter(|value| !value.is_empty()).unwrap_or(&nothing);
    let path = path(value, property)?;
    let mut quoted = SecretBuf::with_capacity(2 * new.len() + 2);
    json::write_plain_string(text(new)?, &mut quoted);
    let mut out = SecretBuf::with_capacity(value.len() + quoted.len() + property.len() + 64);
    set(Some(value.expose()), &path, quoted.expose(), &mut out)?;
    Ok(out.into())
}

/// The value without a property, and without what holds nothing besides; `None` where nothing is left.
///
/// # Errors
/// `Invalid` where what is there has no properties.
pub fn without(value: &SecretBytes, property: &str) -> Result<Option<SecretBytes>, Error> {
    let path = path(value, property)?;
    let mut out = SecretBuf::with_capacity(value.len());
    let is_left = remove(value.expose(), &path, &mut out)?;
    Ok(is_left.then(|| out.into()))
}

/// Where a property is, or would be.
fn path(value: &SecretBytes, property: &str) -> Result<Vec<String>, Error> {
    if json::object(value.expose()).is_some_and(|fields| fields.contains_key(property)) {
        return Ok(vec![property.to_owned()]);
    }
    let mut keys = vec![String::new()];
    let mut rest = property.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '.' => keys.push(String::new()),
            '\\' => keys.last_mut().into_iter().for_each(|key| key.extend(rest.next())),
            _ => keys.last_mut().into_iter().for_each(|key| key.push(letter)),
        }
    }
    if keys.iter().any(String::is_empty) || keys.len() > DEEPEST {
        return Err(refuse(&format!("the property {property:?} is no path of keys with dots between them")));
    }
    Ok(keys)
}

fn set(here: Option<&[u8]>, path: &[String], new: &[u8], out: &mut SecretBuf) -> Result<(), Error> {
    let Some((key, rest)) = path.split_first() else {
        out.extend(new);
        return Ok(());
    };
    let fields = here.map_or(Ok(BTreeMap::new()), fields)?;
    let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
    if let Err(place) = names.binary_search(&key.as_str()) {
        names.insert(place, key);
    }
    for (n, name) in names.into_iter().enumerate() {
        out.push(if n == 0 { b'{' } else { b',' });
        json::write_plain_string(name, out);
        out.push(b':');
        let field = fields.get(name).copied();
        if name == key {
            set(field, rest, new, out)?;
        } else {
            out.extend(field.unwrap_or_default());
        }
    }
    out.push(b'}');
    Ok(())
}

/// Writes an object without what the path leads to. Answers whether any field is left.
fn remove(here: &[u8], path: &[String], out: &mut SecretBuf) -> Result<bool, Error> {
    let Some((key, rest)) = path.split_first() else { return Ok(false) };
    let mut is_left = false;
    for (name, field) in fields(here)? {
        let mut kept = SecretBuf::with_capacity(field.len());
        if name == *key {
            if !remove(field, rest, &mut kept)? {
                continue;
            }
        } else {
            kept.extend(field);
        }
        out.push(if is_left { b',' } else { b'{' });
        is_left = true;
        json::write_plain_string(&name, out);
        out.push(b':');
        out.extend(kept.expose());
    }
    out.extend(if is_left { b"}" } else { b"{}" });
    Ok(is_left)
}

fn fields(value: &[u8]) -> Result<BTreeMap<String, &[u8]>, Error> {
    let fields = json::object(value).ok_or_else(|| {
        refuse("what is there is no JSON object where the property would be: push to another key, or without property")
            .with_blame(Blame::Store)
    })?;
    Ok(fields.into_iter().map(|(name, raw)| (name, raw.get().as_bytes())).collect())
}

fn text(value: &SecretBytes) -> Result<&str, Error> {
    value.expose_str().ok_or_else(|| refuse("the value is not text, as a property in JSON must be"))
}

fn refuse(problem: &str) -> Error {
    Error::invalid(problem).with_blame(Blame::Request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(there: Option<&str>, property: &str, new: &str) -> String {
        let there = there.map(SecretBytes::from);
        with(there.as_ref(), property, &new.into()).unwrap().expose_str().unwrap().to_owned()
    }

    fn removed(there: &str, property: &str) -> Option<String> {
        without(&there.into(), property).unwrap().map(|left| left.expose_str().unwrap().to_owned())
    }

    #[test]
    fn one_property_is_set_and_the_others_stay_digit_for_digit() {
        let there = r#"{"n":1.50,"a":"x","o":{"z": [1, 2]}}"#;
        assert_eq!(set(Some(there), "b", "<\""), r#"{"a":"x","b":"<\"","n":1.50,"o":{"z": [1, 2]}}"#);
        assert_eq!(set(Some(there), "a", "y"), r#"{"a":"y","n":1.50,"o":{"z": [1, 2]}}"#);
        assert_eq!(set(None, "a", "x"), r#"{"a":"x"}"#);
        assert_eq!(set(Some(""), "a", "x"), r#"{"a":"x"}"#);
        assert_eq!(set(None, "a.b.c", "x"), r#"{"a":{"b":{"c":"x"}}}"#);
        assert_eq!(set(Some(r#"{"a":{"k":1}}"#), "a.b", "x"), r#"{"a":{"b":"x","k":1}}"#);
        assert_eq!(set(None, r"a\.b", "x"), r#"{"a.b":"x"}"#);
    }

    /// BUG of External Secrets Operator: it reads a key with a dot by its letters and writes it as a path, so that every
    /// refresh adds a version.
    #[test]
    fn a_key_with_a_dot_is_written_where_it_is_read() {
        let there = r#"{"a.b":"x","a":{"b":"y"}}"#;
        assert_eq!(get(&there.into(), "a.b").unwrap().expose(), b"x");
        let set = set(Some(there), "a.b", "new");
        assert_eq!(set, r#"{"a":{"b":"y"},"a.b":"new"}"#);
        assert_eq!(get(&set.as_str().into(), "a.b").unwrap().expose(), b"new");
        assert_eq!(removed(there, "a.b").as_deref(), Some(r#"{"a":{"b":"y"}}"#));
    }

    #[test]
    fn the_last_property_leaves_nothing() {
        assert_eq!(removed(r#"{"n":1.50,"a":"x"}"#, "a").as_deref(), Some(r#"{"n":1.50}"#));
        assert_eq!(removed(r#"{"a":"x"}"#, "a"), None);
        assert_eq!(removed(r#"{"a":{"b":{"c":1}}}"#, "a.b"), None);
        assert_eq!(removed(r#"{"a":{"b":1,"c":2}}"#, "a.b").as_deref(), Some(r#"{"a":{"c":2}}"#));
        assert_eq!(removed(r#"{"a":1}"#, "b").as_deref(), Some(r#"{"a":1}"#));
    }

    #[test]
    fn what_has_no_place_for_a_property_is_refused_without_its_value() {
        for (there, property) in [("canary", "a"), (r#"["canary"]"#, "a"), (r#"{"a":"canary"}"#, "a.b")] {
            let error = with(Some(&there.into()), property, &"canary".into()).unwrap_err();
            assert!(error.blame() == Blame::Store && !error.message().contains("canary"), "{error}");
            assert!(get(&there.into(), property).is_none());
        }
        let deep = "a.".repeat(40) + "a";
        for property in ["", "a..b", ".a", "a.", &deep] {
            assert_eq!(with(None, property, &"x".into()).unwrap_err().blame(), Blame::Request, "{property}");
        }
        let binary = SecretBytes::new(vec![0xff]);
        assert!(with(None, "a", &binary).is_err());
        assert!(payload(&Payload::Fields(BTreeMap::from([("a".to_owned(), binary)]))).is_err());
    }

    #[test]
    fn a_version_bears_its_checksum() {
        assert_eq!(
            version(&"123456789".into()).expose_str(),
            Some(r#"{"payload":{"data":"MTIzNDU2Nzg5","dataCrc32c":"3808858755"}}"#)
        );
        assert!(check(&SecretBytes::new(vec![0; LARGEST])).is_ok());
        for length in [0, LARGEST + 1] {
            assert_eq!(check(&SecretBytes::new(vec![0; length])).unwrap_err().blame(), Blame::Request);
        }
        let fields = BTreeMap::from([("b".to_owned(), "<2>".into()), ("a".to_owned(), SecretBytes::from("1"))]);
        assert_eq!(payload(&Payload::Fields(fields)).unwrap().expose_str(), Some(r#"{"a":"1","b":"<2>"}"#));
        assert_eq!(payload(&Payload::Fields(BTreeMap::new())).unwrap().expose_str(), Some("{}"));
    }
}
