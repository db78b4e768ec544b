//! What answers mean, and what is written. Pure.

use std::collections::BTreeMap;

use keyferry_provider_core::{Blame, Error, Payload, SecretBuf, SecretBytes, json, property};
use serde_json::value::RawValue;

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it holds.
    pub value: SecretBytes,
    /// What people noted about it.
    pub note: SecretBytes,
    /// The project that it is in.
    pub project: Option<String>,
    /// When it was last written.
    pub revision: Option<String>,
}

/// Whether a key is an id.
pub fn is_id(key: &str) -> bool {
    let parts: Vec<&str> = key.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && key.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Reads a secret.
pub fn secret(body: &SecretBytes) -> Option<Secret> {
    let fields = json::object(body.expose())?;
    Some(Secret {
        id: text(fields.get("id")?)?,
        name: text(fields.get("key")?)?,
        value: json::to_bytes(fields.get("value")?),
        note: fields.get("note").map(|note| json::to_bytes(note)).unwrap_or_default(),
        project: fields.get("projectId").and_then(|project| text(project)).filter(|project| !project.is_empty()),
        revision: fields.get("revisionDate").and_then(|date| text(date)),
    })
}

/// Reads a list: ids and names.
pub fn list(body: &SecretBytes) -> Option<Vec<(String, String)>> {
    let fields = json::object(body.expose())?;
    let data = fields.get("data").filter(|data| data.get() != "null");
    let Some(data) = data else { return Some(Vec::new()) };
    let one = |raw: &RawValue| {
        let fields = json::object(raw.get().as_bytes())?;
        Some((text(fields.get("id")?)?, text(fields.get("key")?)?))
    };
    json::array(data.get().as_bytes())?.into_iter().map(one).collect()
}

/// Whether an answer to a deletion names no error.
pub fn is_deleted(body: &SecretBytes) -> Option<bool> {
    let fields = json::object(body.expose())?;
    let has_error = |raw: &RawValue| {
        let fields = json::object(raw.get().as_bytes())?;
        Some(fields.get("error").is_some_and(|error| error.get() != "null"))
    };
    let errors: Option<Vec<bool>> =
        json::array(fields.get("data")?.get().as_bytes())?.into_iter().map(has_error).collect();
    Some(!errors?.contains(&true))
}

fn text(raw: &RawValue) -> Option<String> {
    raw.get().starts_with('"').then(|| json::to_bytes(raw))?.expose_str().map(str::to_owned)
}

/// An object of these texts, and of lists of one text.
pub fn object(texts: &[(&str, &str)], lists: &[(&str, &str)]) -> SecretBytes {
    let mut out = SecretBuf::default();
    for (key, value) in texts {
        out.push(if out.is_empty() { b'{' } else { b',' });
        json::write_string(key, &mut out);
        out.push(b':');
        json::write_string(value, &mut out);
    }
    for (key, value) in lists {
        out.push(if out.is_empty() { b'{' } else { b',' });
        json::write_string(key, &mut out);
        out.extend(b":[");
        json::write_string(value, &mut out);
        out.push(b']');
    }
    out.push(b'}');
    out.into()
}

/// The value that a push writes over what is there.
pub fn pushed(payload: &Payload, property: Option<&str>, there: Option<&SecretBytes>) -> Result<SecretBytes, Error> {
    let value = match payload {
        Payload::Value(value) => value.clone(),
        Payload::Fields(fields) => {
            let fields = fields.iter().map(|(name, value)| Ok((name.clone(), quoted(value)?)));
            written(&fields.collect::<Result<_, Error>>()?)
        }
    };
    match property.filter(|property| !property.is_empty()) {
        Some(property) => property::set_at(there.map(SecretBytes::expose).unwrap_or_default(), &[property], &value),
        None => as_text(&value).map(|_| value.clone()),
    }
}

/// What was said as `metadata`: a note, and nothing else.
pub fn note(metadata: Option<&serde_json::Value>) -> Result<Option<String>, Error> {
    let Some(metadata) = metadata.filter(|metadata| !metadata.is_null()) else { return Ok(None) };
    let wrong =
        || Error::invalid("metadata may have a note, which is text, and nothing else").with_blame(Blame::Request);
    let fields = metadata.as_object().ok_or_else(wrong)?;
    match (fields.len(), fields.get("note")) {
        (0, _) => Ok(None),
        (1, Some(note)) => note.as_str().map(|note| Some(note.to_owned())).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

/// A value as text, which is all that Bitwarden keeps.
pub fn as_text(value: &SecretBytes) -> Result<&str, Error> {
    value.expose_str().ok_or_else(|| {
        Error::invalid("the value is not text, which is all that Bitwarden keeps").with_blame(Blame::Request)
    })
}

fn quoted(value: &SecretBytes) -> Result<SecretBytes, Error> {
    let mut out = SecretBuf::default();
    json::write_string(as_text(value)?, &mut out);
    Ok(out.into())
}

fn written(fields: &BTreeMap<String, SecretBytes>) -> SecretBytes {
    let mut out = SecretBuf::default();
    for (name, value) in fields {
        out.push(if out.is_empty() { b'{' } else { b',' });
        json::write_string(name, &mut out);
        out.push(b':');
        out.extend(value.expose());
    }
    out.extend(if out.is_empty() { b"{}" } else { b"}" });
    out.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_answer_of_the_server_is_none() {
        for body in ["", "<html>", "[]", r#"{"id":1}"#] {
            assert_eq!(secret(&body.into()), None, "{body}");
        }
        assert_eq!((list(&"<html>".into()), list(&r#"{"data":[{}]}"#.into())), (None, None));
        assert_eq!(list(&r#"{"data":null}"#.into()), Some(Vec::new()), "as Go writes an empty list");
        assert_eq!(is_deleted(&r#"{"data":[{"id":"a","error":"canary"}]}"#.into()), Some(false));
        assert_eq!(is_deleted(&r#"{"data":[{"id":"a"},{"error":null}]}"#.into()), Some(true));
    }

    #[test]
    fn ids_are_known_by_their_form() {
        assert!(is_id("339062b8-a5a1-4303-bf1d-b1920146a622"));
        for name in [
            "",
            "name",
            "339062b8-a5a1-4303-bf1d-b1920146a62",
            "339062b8-a5a1-4303-bf1d-b1920146a62g",
            "-----------------------------------",
        ] {
            assert!(!is_id(name), "{name}");
        }
    }

    #[test]
    fn one_property_is_set_and_the_others_stay_digit_for_digit() {
        let there = SecretBytes::from(r#"{"n":1.50,"a":"x"}"#);
        let set = pushed(&Payload::Value("<".into()), Some("b"), Some(&there)).unwrap();
        assert_eq!(set.expose_str(), Some(r#"{"a":"x","b":"<","n":1.50}"#));
        let error = pushed(&Payload::Value("x".into()), Some("a"), Some(&"canary".into())).unwrap_err();
        assert!(error.blame() == Blame::Store && !error.message().contains("canary"), "{error}");
        assert!(pushed(&Payload::Value(SecretBytes::new(vec![255])), None, None).is_err());
    }

    #[test]
    fn metadata_is_a_note_or_refused() {
        assert_eq!(note(Some(&json!({"note": "n"}))), Ok(Some("n".into())));
        assert_eq!((note(None), note(Some(&json!({})))), (Ok(None), Ok(None)));
        for wrong in [json!("canary"), json!({"note": 1}), json!({"note": "n", "canary": 1})] {
            assert!(!note(Some(&wrong)).unwrap_err().message().contains("canary"));
        }
    }
}
