//! What answers mean. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keyferry_provider_core::{SecretBuf, SecretBytes, json};
use serde_json::value::RawValue;

/// For how long a token is good that does not say it.
const LIFE: Duration = Duration::from_secs(8 * 60);

/// The mark of what was written by us, an annotation, as External Secrets Operator has it.
pub const MARK: (&str, &str) = ("managed-by", "external-secrets");

/// What the server says is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It is not there, or not to be seen.
    NotFound,
    /// Something else.
    Other,
}

/// The server's own word, as one that we know: the text of an answer goes nowhere.
pub fn word(body: &SecretBytes) -> Option<Word> {
    let code = text(error(body)?.get("code")?)?;
    Some(if code == "not_found" { Word::NotFound } else { Word::Other })
}

/// Which of these variables, by their full ids, the server says is missing.
pub fn missing(body: &SecretBytes, ids: &[String]) -> Option<usize> {
    let message = text(error(body)?.get("message")?)?;
    ids.iter().position(|id| message.contains(&format!("Variable {id} is ")))
}

fn error(body: &SecretBytes) -> Option<BTreeMap<String, &RawValue>> {
    json::object(json::object(body.expose())?.get("error")?.get().as_bytes())
}

/// For how long a token is good: `None` where the body is none.
pub fn life(token: &SecretBytes) -> Option<Duration> {
    let fields = json::object(token.expose())?;
    fields.get("signature")?;
    let payload = text(fields.get("payload")?)?;
    let payload = SecretBytes::new(URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?);
    let claims = json::object(payload.expose())?;
    // Only the time between the two counts: whose clock is right does not matter.
    let seconds = |claim: &str| claims.get(claim)?.get().parse::<u64>().ok();
    let said = seconds("exp").zip(seconds("iat")).and_then(|(end, begin)| end.checked_sub(begin));
    Some(said.map_or(LIFE, Duration::from_secs))
}

/// The values of a batch, by the full ids of the variables.
pub fn batch(body: &SecretBytes, is_base64: bool) -> Option<BTreeMap<String, SecretBytes>> {
    let values = json::object(body.expose())?.into_iter().map(|(id, raw)| {
        let value = json::to_bytes(raw);
        Some((id, if is_base64 { decoded(&value)? } else { value }))
    });
    values.collect()
}

/// The bytes behind base64 that is broken into lines.
fn decoded(text: &SecretBytes) -> Option<SecretBytes> {
    let mut whole = SecretBuf::with_capacity(text.len());
    for line in text.expose().split(u8::is_ascii_whitespace) {
        whole.extend(line);
    }
    STANDARD.decode(whole.expose()).ok().map(SecretBytes::new)
}

/// A resource, as lists and questions about one tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// Its name, without account and kind.
    pub name: String,
    /// What is written on it.
    pub annotations: BTreeMap<String, String>,
}

impl Resource {
    /// Whether it bears the mark.
    pub fn is_ours(&self) -> bool {
        self.bears(MARK.0, MARK.1)
    }

    /// Whether this is written on it.
    pub fn bears(&self, name: &str, value: &str) -> bool {
        self.annotations.get(name).is_some_and(|own| own == value)
    }
}

/// Reads a list of resources.
pub fn resources(body: &SecretBytes) -> Option<Vec<Resource>> {
    json::array(body.expose())?.into_iter().map(|raw| resource(raw.get().as_bytes())).collect()
}

/// Reads `{"id": "account:variable:name", "annotations": [{"name": "...", "value": "..."}]}`.
pub fn resource(body: &[u8]) -> Option<Resource> {
    let fields = json::object(body)?;
    let id = text(fields.get("id")?)?;
    let name = id.splitn(3, ':').nth(2)?.to_owned();
    let list = fields.get("annotations").map_or("[]", |list| list.get());
    let list = if list == "null" { "[]" } else { list };
    let annotation = |raw: &RawValue| {
        let fields = json::object(raw.get().as_bytes())?;
        Some((text(fields.get("name")?)?, fields.get("value").and_then(|value| text(value)).unwrap_or_default()))
    };
    let annotations = json::array(list.as_bytes())?.into_iter().map(annotation).collect::<Option<_>>()?;
    Some(Resource { name, annotations })
}

/// A text. Names and what is written on things hold no values.
fn text(raw: &RawValue) -> Option<String> {
    raw.get().starts_with('"').then(|| json::to_bytes(raw).expose_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_of_a_token_is_what_it_says_or_eight_minutes() {
        for (payload, expected) in [
            (r#"{"sub":"host/a","iat":1700000000,"exp":1700000060}"#, Some(60)),
            (r#"{"sub":"host/a","iat":1700000000}"#, Some(480)),
            (r#"{"iat":5,"exp":4}"#, Some(480)),
            (r#"{"iat":"x","exp":4}"#, Some(480)),
            ("canary", None),
        ] {
            let token =
                format!(r#"{{"protected":"x","payload":"{}","signature":"y"}}"#, URL_SAFE_NO_PAD.encode(payload));
            assert_eq!(life(&token.as_str().into()).map(|life| life.as_secs()), expected, "{payload}");
        }
        for body in ["", "<html>", "{}", r#"{"payload":"e30","protected":"x"}"#, r#"{"payload":1,"signature":""}"#] {
            assert_eq!(life(&body.into()), None, "{body}");
        }
    }

    #[test]
    fn a_batch_is_text_or_base64_in_lines() {
        let read = |body: &str, is_base64| batch(&body.into(), is_base64);
        assert_eq!(read(r#"{"a:variable:b":"x"}"#, false).unwrap()["a:variable:b"], "x".into());
        let lines = read(r#"{"a:variable:b":"AP9j\nYW5h\ncnk=\n"}"#, true).unwrap();
        assert_eq!(lines["a:variable:b"].expose(), b"\x00\xffcanary");
        assert_eq!((read("[]", false), read(r#"{"a":"canary!"}"#, true)), (None, None));
    }

    #[test]
    fn the_missing_one_of_a_batch_is_known_by_its_whole_name() {
        let ids = ["lab:variable:a".to_owned(), "lab:variable:ab".to_owned()];
        let told = |message: &str| {
            let body = format!(r#"{{"error":{{"code":"not_found","message":"{message}"}}}}"#);
            (word(&body.as_str().into()), missing(&body.as_str().into(), &ids))
        };
        assert_eq!(told("CONJ00076E Variable lab:variable:ab is empty or not found."), (Some(Word::NotFound), Some(1)));
        assert_eq!(told("Variable lab:variable:abc is empty or not found."), (Some(Word::NotFound), None));
        assert_eq!((word(&"".into()), word(&"<html>".into()), word(&"{}".into())), (None, None, None));
        assert_eq!(word(&r#"{"error":{"code":"validation_failed"}}"#.into()), Some(Word::Other));
    }

    #[test]
    fn resources_have_a_name_and_annotations() {
        let body = r#"[{"id":"lab:variable:a:b/c","annotations":[{"name":"managed-by","value":"external-secrets"}]},
            {"id":"lab:variable:d"},{"id":"lab:variable:e","annotations":null}]"#;
        let all = resources(&body.into()).unwrap();
        assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a:b/c", "d", "e"]);
        assert_eq!(all.iter().map(Resource::is_ours).collect::<Vec<_>>(), [true, false, false]);
        for body in ["", "{}", "[1]", r#"[{"id":"lab"}]"#, r#"[{"id":1}]"#, r#"[{"id":"a:b:c","annotations":{}}]"#] {
            assert_eq!(resources(&body.into()), None, "{body}");
        }
    }
}
