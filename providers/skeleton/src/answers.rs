//! What answers mean, and what is written. Pure; it decides what a value is.

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

fn text(value: &SecretBytes) -> Result<&str, Error> {
    value.expose_str().ok_or_else(|| {
        Error::invalid("the value is not text, which is all that Cellar keeps").with_blame(Blame::Request)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
