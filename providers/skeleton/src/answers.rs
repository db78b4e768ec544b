//! What answers mean, and what is written. Pure; it decides what a value is, and what becomes of one property of it.

use std::collections::BTreeMap;

use keyferry_provider_core::{Blame, Error, SecretBuf, SecretBytes, json};

/// A secret as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it holds.
    pub value: SecretBytes,
    /// Which version of it this is.
    pub version: String,
    /// Whether it bears the mark of what was written by us.
    pub is_ours: bool,
}

/// The mark, as External Secrets Operator has it.
pub const OWNER: &str = "external-secrets";

/// Reads `{"value": "...", "version": 3, "owner": "..."}`.
pub fn found(body: &SecretBytes) -> Option<Found> {
    let fields = json::object(body.expose())?;
    let owner = fields.get("owner").map(|owner| json::to_bytes(owner));
    Some(Found {
        value: json::to_bytes(fields.get("value")?),
        version: fields.get("version")?.get().to_owned(),
        is_ours: owner.is_some_and(|owner| owner.expose() == OWNER.as_bytes()),
    })
}

/// Reads `{"names": ["...", ...], "next": "..."}`: the names, and where the next page begins.
pub fn names(body: &SecretBytes) -> Option<(Vec<String>, Option<String>)> {
    let fields = json::object(body.expose())?;
    let text = |raw: &serde_json::value::RawValue| json::to_bytes(raw).expose_str().map(str::to_owned);
    let names = json::array(fields.get("names")?.get().as_bytes())?.into_iter().map(text).collect::<Option<_>>()?;
    Some((names, fields.get("next").and_then(|next| text(next)).filter(|next| !next.is_empty())))
}

/// The body that writes a value over the version `was`, 0 where there is none: the server refuses it where somebody wrote
/// in between.
pub fn written(value: &SecretBytes, was: &str) -> Result<SecretBytes, Error> {
    let mut out = SecretBuf::with_capacity(value.len() + 64);
    out.extend(b"{\"owner\":");
    json::write_string(OWNER, &mut out);
    out.extend(format!(",\"was\":{was},\"value\":").as_bytes());
    json::write_string(text(value)?, &mut out);
    out.push(b'}');
    Ok(out.into())
}

/// Whether a value has this property.
pub fn has(value: &SecretBytes, property: &str) -> bool {
    json::object(value.expose()).is_some_and(|fields| fields.contains_key(property))
}

/// The value with a property set, the others as they stand; what is not there, or empty, begins as an object without any.
pub fn with(value: Option<&SecretBytes>, property: &str, new: &SecretBytes) -> Result<SecretBytes, Error> {
    let mut fields = fields(value)?;
    let mut quoted = SecretBuf::default();
    json::write_string(text(new)?, &mut quoted);
    fields.insert(property.to_owned(), quoted.expose());
    Ok(object(&fields))
}

/// The value without a property; `None` where none is left.
pub fn without(value: &SecretBytes, property: &str) -> Result<Option<SecretBytes>, Error> {
    let mut fields = fields(Some(value))?;
    fields.remove(property);
    Ok((!fields.is_empty()).then(|| object(&fields)))
}

/// Several values as one object of texts.
pub fn of_fields(all: &BTreeMap<String, SecretBytes>) -> Result<SecretBytes, Error> {
    let mut whole = SecretBytes::from("{}");
    for (name, value) in all {
        whole = with(Some(&whole), name, value)?;
    }
    Ok(whole)
}

fn text(value: &SecretBytes) -> Result<&str, Error> {
    value.expose_str().ok_or_else(|| {
        Error::invalid("the value is not text, which is all that Cellar keeps").with_blame(Blame::Request)
    })
}

fn fields(value: Option<&SecretBytes>) -> Result<BTreeMap<String, &[u8]>, Error> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(BTreeMap::new()) };
    let fields = json::object(value.expose()).ok_or_else(|| {
        Error::invalid(
            "what is there is no JSON object, so it has no properties: push to another key, or without property",
        )
        .with_blame(Blame::Store)
    })?;
    Ok(fields.into_iter().map(|(name, raw)| (name, raw.get().as_bytes())).collect())
}

fn object(fields: &BTreeMap<String, &[u8]>) -> SecretBytes {
    let mut out = SecretBuf::default();
    for (n, (name, value)) in fields.iter().enumerate() {
        out.push(if n == 0 { b'{' } else { b',' });
        json::write_string(name, &mut out);
        out.push(b':');
        out.extend(value);
    }
    if fields.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_property_is_set_or_taken_away_and_the_others_stay_digit_for_digit() {
        let there = SecretBytes::from(r#"{"n":1.50,"a":"x"}"#);
        let set = with(Some(&there), "b", &"<\"".into()).unwrap();
        assert_eq!(set.expose_str(), Some(r#"{"a":"x","b":"\u003c\"","n":1.50}"#));
        assert_eq!(without(&there, "a").unwrap().unwrap().expose_str(), Some(r#"{"n":1.50}"#));
        assert_eq!(without(&r#"{"a":"x"}"#.into(), "a").unwrap(), None);
        assert_eq!(with(None, "a", &"x".into()).unwrap().expose_str(), Some(r#"{"a":"x"}"#));
        assert!(has(&there, "n") && !has(&there, "b") && !has(&"text".into(), "b"));
        assert_eq!(with(Some(&"text".into()), "a", &"x".into()).unwrap_err().blame(), Blame::Store);
        assert_eq!(of_fields(&BTreeMap::new()).unwrap().expose_str(), Some("{}"));
    }

    #[test]
    fn what_is_no_answer_of_the_server_is_none() {
        for body in ["", "<html>", "{}", r#"{"value":"x"}"#] {
            assert_eq!(found(&body.into()), None, "{body}");
        }
        let whole = found(&r#"{"value":"x","version":2,"owner":"somebody"}"#.into()).unwrap();
        assert_eq!(whole, Found { value: "x".into(), version: "2".to_owned(), is_ours: false });
        assert_eq!(names(&r#"{"names":["a"],"next":"b"}"#.into()), Some((vec!["a".to_owned()], Some("b".to_owned()))));
        assert_eq!((names(&r#"{"names":[1]}"#.into()), names(&r#"{"names":"a"}"#.into())).1, None);
    }
}
