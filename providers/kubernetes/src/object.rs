//! A Secret as an API server has it, to be changed and written anew: what is not data, labels or annotations stays as it
//! stands.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{SecretBuf, SecretBytes, json};
use serde_json::value::RawValue;

use crate::answers::is_secret;

/// What a Secret holds of what is pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Values by their keys.
    pub data: BTreeMap<String, SecretBytes>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A Secret.
#[derive(Debug)]
pub struct Object {
    /// As the API server has it.
    answer: SecretBytes,
    /// What it holds.
    pub content: Content,
    /// Its type.
    pub kind: String,
    /// The version of this state, and which object of this name it is.
    pub version: String,
    /// See `version`.
    pub uid: String,
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

impl Object {
    /// Reads an answer; `None` where it is no Secret.
    pub fn read(answer: SecretBytes) -> Option<Self> {
        let whole = json::object(answer.expose())?;
        is_secret(&whole)?;
        let metadata = part(&whole, "metadata")?;
        let text = |fields: &Fields<'_>, name: &str| {
            Some(json::to_bytes(fields.get(name)?).expose_str()?.to_owned()).filter(|text| !text.is_empty())
        };
        let texts = |fields: &Fields<'_>| {
            let texts =
                fields.iter().map(|(key, raw)| Some((key.clone(), json::to_bytes(raw).expose_str()?.to_owned())));
            texts.collect::<Option<BTreeMap<_, _>>>()
        };
        let data = part(&whole, "data")?.into_iter().map(|(key, raw)| {
            let value = STANDARD.decode(json::to_bytes(raw).expose()).ok()?;
            Some((key, SecretBytes::new(value)))
        });
        let content = Content {
            data: data.collect::<Option<_>>()?,
            labels: texts(&part(&metadata, "labels")?)?,
            annotations: texts(&part(&metadata, "annotations")?)?,
        };
        let kind = text(&whole, "type").unwrap_or_else(|| "Opaque".to_owned());
        let (version, uid) = (text(&metadata, "resourceVersion")?, text(&metadata, "uid")?);
        Some(Self { answer, content, kind, version, uid })
    }

    /// The body that writes it with other content. The version in it makes the server refuse what was changed since.
    pub fn body_with(&self, content: &Content) -> Option<SecretBytes> {
        let whole = json::object(self.answer.expose())?;
        let metadata = part(&whole, "metadata")?;
        let mut out = SecretBuf::default();
        out.push(b'{');
        for (key, raw) in whole.iter().filter(|(key, _)| !matches!(key.as_str(), "metadata" | "data")) {
            field(key, &mut out);
            out.extend(raw.get().as_bytes());
            out.push(b',');
        }
        out.extend(b"\"metadata\":{");
        for (key, raw) in metadata.iter().filter(|(key, _)| !matches!(key.as_str(), "labels" | "annotations")) {
            field(key, &mut out);
            out.extend(raw.get().as_bytes());
            out.push(b',');
        }
        write_content(content, &mut out);
        Some(out.into())
    }
}

/// The body that makes a Secret.
pub fn new_body(name: &str, kind: &str, content: &Content) -> SecretBytes {
    let mut out = SecretBuf::default();
    out.extend(b"{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"type\":");
    json::write_plain_string(kind, &mut out);
    out.extend(b",\"metadata\":{\"name\":");
    json::write_plain_string(name, &mut out);
    out.push(b',');
    write_content(content, &mut out);
    out.into()
}

/// The end of metadata, and the data behind.
fn write_content(content: &Content, out: &mut SecretBuf) {
    for (name, end, map) in [("labels", b",", &content.labels), ("annotations", b"}", &content.annotations)] {
        field(name, out);
        write_map(map.iter().map(|(key, value)| (key, value.as_bytes())), json::write_plain_string, out);
        out.extend(end);
    }
    out.extend(b",\"data\":");
    let data: Vec<(&String, SecretBytes)> = content
        .data
        .iter()
        .map(|(key, value)| (key, SecretBytes::new(STANDARD.encode(value.expose()).into_bytes())))
        .collect();
    write_map(data.iter().map(|(key, value)| (*key, value.expose())), json::write_plain_string, out);
    out.push(b'}');
}

fn write_map<'a>(
    map: impl Iterator<Item = (&'a String, &'a [u8])>,
    write: fn(&str, &mut SecretBuf),
    out: &mut SecretBuf,
) {
    out.push(b'{');
    for (n, (key, value)) in map.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        field(key, out);
        write(std::str::from_utf8(value).unwrap_or_default(), out);
    }
    out.push(b'}');
}

fn field(name: &str, out: &mut SecretBuf) {
    json::write_plain_string(name, out);
    out.push(b':');
}

/// An object in another; an empty one where there is none.
fn part<'a>(whole: &Fields<'a>, name: &str) -> Option<Fields<'a>> {
    match whole.get(name) {
        None => Some(Fields::new()),
        Some(raw) => json::object_or_null(raw.get().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"kind":"Secret","apiVersion":"v1","immutable":false,"type":"x/y",
        "metadata":{"name":"app","uid":"u","resourceVersion":"7","labels":{"l":"1"},"finalizers":["f"]},
        "data":{"a":"YQ==","b":"/w=="}}"#;

    fn canonical(body: &SecretBytes) -> String {
        let body = json::canonical(json::value(body.expose()).unwrap()).unwrap();
        body.expose_str().unwrap().to_owned()
    }

    #[test]
    fn what_is_not_changed_stays_as_it_stands() {
        let object = Object::read(ANSWER.into()).unwrap();
        assert_eq!((object.kind.as_str(), object.version.as_str(), object.uid.as_str()), ("x/y", "7", "u"));
        assert_eq!(object.content.data["b"].expose(), b"\xff");
        let mut content = object.content.clone();
        content.data.insert("c".into(), "<\"".into());
        content.annotations.insert("k".into(), "v\n".into());
        assert_eq!(
            canonical(&object.body_with(&content).unwrap()),
            concat!(
                r#"{"apiVersion":"v1","data":{"a":"YQ==","b":"/w==","c":"PCI="},"immutable":false,"kind":"Secret","#,
                r#""metadata":{"annotations":{"k":"v\n"},"finalizers":["f"],"labels":{"l":"1"},"name":"app","#,
                r#""resourceVersion":"7","uid":"u"},"type":"x/y"}"#
            )
        );
    }

    #[test]
    fn a_new_secret() {
        let content = Content { data: [("a".to_owned(), "b".into())].into(), ..Content::default() };
        assert_eq!(
            canonical(&new_body("app", "Opaque", &content)),
            concat!(
                r#"{"apiVersion":"v1","data":{"a":"Yg=="},"kind":"Secret","#,
                r#""metadata":{"annotations":{},"labels":{},"name":"app"},"type":"Opaque"}"#
            )
        );
    }

    #[test]
    fn what_is_no_secret() {
        for answer in
            ["", "{}", r#"{"kind":"Pod","metadata":{"uid":"u","resourceVersion":"1"}}"#, r#"{"kind":"Secret"}"#]
        {
            assert!(Object::read(answer.into()).is_none(), "{answer}");
        }
        let empty =
            Object::read(r#"{"kind":"Secret","metadata":{"uid":"u","resourceVersion":"1"},"data":null}"#.into());
        assert_eq!((empty.as_ref().unwrap().content.data.len(), empty.unwrap().kind.as_str()), (0, "Opaque"));
    }
}
