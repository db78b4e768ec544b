//! What answers mean. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keyferry_provider_core::{Fetched, SecretBuf, SecretBytes, json};
use serde_json::value::RawValue;

/// The code of an error.
pub fn code(body: &SecretBytes) -> Option<String> {
    text(json::object(body.expose())?.get("Code")?)
}

/// A time as the API writes it.
pub fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// A secret's value with its version.
pub fn value(body: &[u8]) -> Option<Fetched> {
    let fields = json::object(body)?;
    let value = fields.get("SecretData").filter(|raw| raw.get().starts_with('"'))?;
    Some(Fetched::from(json::to_bytes(value)).of_version(fields.get("VersionId").and_then(|raw| text(raw))))
}

/// What came of one secret of a batch.
pub enum One {
    /// It was read.
    Read(Fetched),
    /// It was not, with this status and code.
    Refused(u16, String),
}

/// The answers of a batch, by the names of the secrets.
pub fn batch(body: &SecretBytes) -> Option<BTreeMap<String, One>> {
    let fields = json::object(body.expose())?;
    let list = |name: &str| json::array(fields.get(name).map_or("[]", |list| list.get()).as_bytes());
    let mut all = BTreeMap::new();
    for raw in list("SecretValues")? {
        let name = text(json::object(raw.get().as_bytes())?.get("SecretName")?)?;
        all.insert(name, One::Read(value(raw.get().as_bytes())?));
    }
    for raw in list("Errors")? {
        let fields = json::object(raw.get().as_bytes())?;
        // A number, or the text of one.
        let status = fields.get("HttpStatus").and_then(|raw| json::to_bytes(raw).expose_str()?.parse().ok());
        all.insert(text(fields.get("SecretName")?)?, One::Refused(status.unwrap_or(400), text(fields.get("Code")?)?));
    }
    Some(all)
}

/// The names of a secret's versions, with their stages, for a message.
pub fn versions(body: &SecretBytes) -> Option<Vec<String>> {
    let list = inner(body.expose(), "VersionIds", "VersionId")?;
    let one = |raw: &RawValue| {
        let fields = json::object(raw.get().as_bytes())?;
        let stages = fields.get("VersionStages").and_then(|raw| {
            let fields = json::object(raw.get().as_bytes())?;
            json::array(fields.get("VersionStage")?.get().as_bytes())?.into_iter().map(text).collect::<Option<Vec<_>>>()
        });
        let id = text(fields.get("VersionId")?)?;
        Some(match stages.filter(|stages| !stages.is_empty()) {
            Some(stages) => format!("{id} ({})", stages.join(", ")),
            None => id,
        })
    };
    list.into_iter().map(one).collect()
}

/// A secret in a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A page of the list of secrets, how many there may be on one, and how many there are on all.
pub fn listed(body: &SecretBytes) -> Option<(Vec<Listed>, usize, usize)> {
    let fields = json::object(body.expose())?;
    let number = |name: &str| fields.get(name)?.get().parse().ok();
    let one = |raw: &RawValue| {
        let name = text(json::object(raw.get().as_bytes())?.get("SecretName")?)?;
        Some(Listed { name, tags: tags(raw.get().as_bytes())? })
    };
    let all = inner(body.expose(), "SecretList", "Secret")?.into_iter().map(one).collect::<Option<_>>()?;
    Some((all, number("PageSize")?, number("TotalCount")?))
}

fn tags(of: &[u8]) -> Option<BTreeMap<String, String>> {
    if json::object(of)?.get("Tags").is_none_or(|tags| tags.get() == "null") {
        return Some(BTreeMap::new());
    }
    let one = |raw: &RawValue| {
        let fields = json::object(raw.get().as_bytes())?;
        Some((text(fields.get("TagKey")?)?, fields.get("TagValue").and_then(|value| text(value)).unwrap_or_default()))
    };
    inner(of, "Tags", "Tag")?.into_iter().map(one).collect()
}

/// What is known of a secret beside its value, as one JSON object: as the API tells it, with tags as an object.
pub fn described(body: &SecretBytes) -> Option<SecretBytes> {
    let fields = json::object(body.expose())?;
    fields.get("SecretName")?;
    let tags = serde_json::to_string(&tags(body.expose())?).ok()?;
    let mut out = SecretBuf::default();
    for (name, raw) in fields.iter().filter(|(name, _)| *name != "RequestId") {
        out.push(if out.is_empty() { b'{' } else { b',' });
        json::write_string(name, &mut out);
        out.push(b':');
        out.extend(if name == "Tags" { tags.as_bytes() } else { raw.get().as_bytes() });
    }
    out.push(b'}');
    json::canonical(json::value(out.expose())?)
}

/// The list under two names, as this API writes its lists; none where the outer is not there.
fn inner<'a>(body: &'a [u8], outer: &str, name: &str) -> Option<Vec<&'a RawValue>> {
    let fields: BTreeMap<String, &'a RawValue> = json::object(body)?;
    let fields: BTreeMap<String, &'a RawValue> = json::object(fields.get(outer)?.get().as_bytes())?;
    fields.get(name).map_or_else(|| Some(Vec::new()), |list| json::array(list.get().as_bytes()))
}

/// A text. Names, codes and tags hold no values.
fn text(raw: &RawValue) -> Option<String> {
    raw.get().starts_with('"').then(|| json::to_bytes(raw).expose_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_its_version() {
        let read = value(br#"{"SecretData":"{\"a\":1.50}","VersionId":"v1","SecretDataType":"text"}"#).unwrap();
        assert_eq!((read.value.expose_str(), read.version.as_deref()), (Some(r#"{"a":1.50}"#), Some("v1")));
        for body in ["", "<html>", "{}", r#"{"SecretData":{"canary":1}}"#] {
            assert_eq!(value(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn a_batch_tells_what_is_wrong_with_each() {
        let body = r#"{"SecretValues":[{"SecretName":"a","SecretData":"x","VersionId":"1"}],
            "Errors":[{"SecretName":"b","Code":"Forbidden.ResourceNotFound","HttpStatus":"404"},
                {"SecretName":"c","Code":"Forbidden.NoPermission","HttpStatus":403}]}"#;
        let all = batch(&body.into()).unwrap();
        let told: Vec<_> =
            all.values().map(|one| if let One::Refused(status, _) = one { *status } else { 0 }).collect();
        assert_eq!(told, [0, 404, 403]);
        assert!(
            batch(&r#"{"SecretValues":[{"SecretName":"a"}]}"#.into()).is_none() && batch(&"canary".into()).is_none()
        );
        assert!(batch(&"{}".into()).unwrap().is_empty());
    }

    #[test]
    fn lists_stand_under_two_names() {
        let body = r#"{"PageSize":100,"TotalCount":2,"SecretList":{"Secret":[
            {"SecretName":"a","Tags":{"Tag":[{"TagKey":"team","TagValue":"blue"}]}},{"SecretName":"b"}]}}"#;
        let (all, size, total) = listed(&body.into()).unwrap();
        assert_eq!((all[0].tags["team"].as_str(), all[1].name.as_str(), size, total), ("blue", "b", 100, 2));
        for body in ["[]", r#"{"SecretList":{"Secret":[]}}"#, r#"{"PageSize":1,"TotalCount":1}"#] {
            assert_eq!(listed(&body.into()), None, "{body}");
        }
        let body = r#"{"VersionIds":{"VersionId":[{"VersionId":"2","VersionStages":{"VersionStage":["ACSCurrent"]}},{"VersionId":"1"}]}}"#;
        assert_eq!(versions(&body.into()).unwrap(), ["2 (ACSCurrent)", "1"]);
    }

    #[test]
    fn a_description_is_an_object_with_tags_as_one() {
        let body = r#"{"RequestId":"x","SecretName":"a","Tags":{"Tag":[{"TagKey":"k","TagValue":"v"}]},"Arn":"acs:a"}"#;
        let described = described(&body.into()).unwrap();
        assert_eq!(described.expose_str(), Some(r#"{"Arn":"acs:a","SecretName":"a","Tags":{"k":"v"}}"#));
    }

    #[test]
    fn times_and_codes() {
        assert!(time("2026-10-20T04:27:09Z").is_some() && time("canary").is_none());
        assert_eq!(code(&r#"{"Code":"Forbidden.NoPermission"}"#.into()).as_deref(), Some("Forbidden.NoPermission"));
        assert_eq!((code(&"".into()), code(&r#"{"Code":1}"#.into())), (None, None));
    }
}
