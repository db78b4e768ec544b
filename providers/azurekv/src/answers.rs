//! What answers mean. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::Timestamp;
use keyferry_provider_core::{Error, SecretBytes, json};
use serde_json::value::RawValue;

use crate::object::Kind;

/// The mark of what was written by us, as External Secrets Operator has it.
pub const MARK: (&str, &str) = ("managed-by", "external-secrets");

/// Times of an object, as the API has them and as metadata name them.
const TIMES: [(&str, &str); 4] = [
    ("exp", "attribute.expires"),
    ("created", "attribute.created"),
    ("updated", "attribute.updated"),
    ("nbf", "attribute.notBefore"),
];

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a vault keeps, as it has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The text of a secret, the public half of a key as a JWK, a certificate in DER.
    pub value: SecretBytes,
    /// Which version of it this is.
    pub version: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// What it says that its text is.
    pub content_type: Option<String>,
    times: BTreeMap<&'static str, i64>,
}

impl Found {
    /// Reads what a vault answers for something of this kind. `None` where it is no such answer.
    pub fn new(kind: Kind, body: &SecretBytes) -> Option<Self> {
        let fields = json::object(body.expose())?;
        let value = match kind {
            Kind::Secret => json::to_bytes(fields.get("value").filter(|value| value.get().starts_with('"'))?),
            Kind::Key => json::canonical(fields.get("key").filter(|key| key.get().starts_with('{'))?)?,
            Kind::Certificate => SecretBytes::new(BASE64.decode(json::to_bytes(fields.get("cer")?).expose()).ok()?),
        };
        // A key names itself inside.
        let id = match kind {
            Kind::Key => json::object(value.expose()).and_then(|key| text(key.get("kid")?)),
            Kind::Secret | Kind::Certificate => text(fields.get("id")?),
        };
        let version = id.and_then(|id| name_and_version(&id, kind)?.1);
        let attributes =
            fields.get("attributes").and_then(|all| json::object(all.get().as_bytes())).unwrap_or_default();
        let time = |(name, _): (&'static str, _)| Some((name, attributes.get(name)?.get().parse().ok()?));
        Some(Self {
            value,
            version,
            tags: fields.get("tags").map(|tags| self::tags(tags)).unwrap_or_default(),
            content_type: fields.get("contentType").and_then(|raw| text(raw)).filter(|text| !text.is_empty()),
            times: TIMES.into_iter().filter_map(time).collect(),
        })
    }

    /// Whether it bears the mark.
    pub fn is_ours(&self) -> bool {
        is_marked(&self.tags)
    }

    /// When it ends, in seconds of 1970.
    pub fn expires(&self) -> Option<i64> {
        self.times.get("exp").copied()
    }

    /// The same as a time.
    pub fn end(&self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.expires()?.try_into().ok()?))
    }

    /// What `metadataPolicy: Fetch` gives: tags, and times.
    pub fn metadata(&self) -> SecretBytes {
        let time = |(name, told): &(&str, &'static str)| {
            let time = Timestamp::from_second(*self.times.get(name)?).ok()?;
            Some((*told, time.to_string()))
        };
        let times: Vec<(&str, String)> = TIMES.iter().filter_map(time).collect();
        let mut all: BTreeMap<&str, &str> =
            self.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.extend(times.iter().map(|(name, value)| (*name, value.as_str())));
        json::object_of_texts(all)
    }
}

/// Whether these tags mark what was written by us.
pub fn is_marked(tags: &BTreeMap<String, String>) -> bool {
    tags.get(MARK.0).is_some_and(|value| value == MARK.1)
}

/// The tags in an answer about something that was deleted.
pub fn tags_of(body: &SecretBytes) -> Option<BTreeMap<String, String>> {
    let fields = json::object(body.expose())?;
    fields.get("id").or(fields.get("key")).or(fields.get("recoveryId"))?;
    Some(fields.get("tags").map(|tags| self::tags(tags)).unwrap_or_default())
}

/// A secret in a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Whether its value can be had.
    pub is_enabled: bool,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// Reads a piece of a list, one secret after the other, and the link to the next; `malformed` says what else it is.
pub fn list(
    body: &SecretBytes,
    malformed: impl Fn() -> Error,
    mut found: impl FnMut(Listed) -> Result<(), Error>,
) -> Result<Option<String>, Error> {
    let fields = json::object(body.expose()).ok_or_else(&malformed)?;
    let all = fields.get("value").and_then(|all| json::elements(all)).ok_or_else(&malformed)?;
    for one in all {
        found(one.and_then(listed).ok_or_else(&malformed)?)?;
    }
    match fields.get("nextLink").filter(|link| link.get() != "null") {
        Some(link) => Ok(Some(text(link).ok_or_else(&malformed)?).filter(|link| !link.is_empty())),
        None => Ok(None),
    }
}

fn listed(one: &RawValue) -> Option<Listed> {
    let fields = json::object(one.get().as_bytes())?;
    let (name, _) = name_and_version(&text(fields.get("id")?)?, Kind::Secret)?;
    let attributes = fields.get("attributes").and_then(|all| json::object(all.get().as_bytes())).unwrap_or_default();
    Some(Listed {
        name,
        is_enabled: attributes.get("enabled").is_none_or(|enabled| enabled.get() != "false"),
        tags: fields.get("tags").map(|tags| self::tags(tags)).unwrap_or_default(),
    })
}

/// `https://vault/secrets/name/version`, whose version may be missing.
fn name_and_version(id: &str, kind: Kind) -> Option<(String, Option<String>)> {
    let (_, rest) = id.split_once(&format!("/{}/", kind.collection()))?;
    let (name, version) = rest.split_once('/').unwrap_or((rest, ""));
    (!name.is_empty()).then(|| (name.to_owned(), Some(version.to_owned()).filter(|version| !version.is_empty())))
}

fn text(raw: &RawValue) -> Option<String> {
    raw.get().starts_with('"').then(|| json::to_bytes(raw).expose_str().map(str::to_owned))?
}

/// Tags; one that is null is none.
fn tags(raw: &RawValue) -> BTreeMap<String, String> {
    let all = json::object_or_null(raw.get().as_bytes()).unwrap_or_default();
    all.into_iter().filter_map(|(name, raw)| Some((name, text(raw)?))).collect()
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::ErrorKind;

    use super::*;

    const SECRET: &str = r#"{"value":"canary","contentType":"text/plain","id":"https://v/secrets/db/438ad","attributes":
        {"enabled":true,"exp":1735675200,"nbf":0,"created":1493938289,"updated":1493938290,"recoveryLevel":"Recoverable"},
        "tags":{"managed-by":"external-secrets","a<b":"{\"x\":1}","none":null}}"#;

    #[test]
    fn a_secret_with_all_that_is_known_of_it() {
        let found = Found::new(Kind::Secret, &SECRET.into()).unwrap();
        assert_eq!((found.value.expose_str(), found.version.as_deref()), (Some("canary"), Some("438ad")));
        assert!(found.is_ours() && found.expires() == Some(1_735_675_200));
        assert_eq!(found.content_type.as_deref(), Some("text/plain"));
        let expected = concat!(
            r#"{"a\u003cb":"{\"x\":1}","attribute.created":"2017-05-04T22:51:29Z","#,
            r#""attribute.expires":"2024-12-31T20:00:00Z","attribute.notBefore":"1970-01-01T00:00:00Z","#,
            r#""attribute.updated":"2017-05-04T22:51:30Z","managed-by":"external-secrets"}"#
        );
        assert_eq!(found.metadata().expose_str(), Some(expected));
        let bare = Found::new(Kind::Secret, &r#"{"value":"","id":"https://v/secrets/db/1"}"#.into()).unwrap();
        assert_eq!((bare.metadata().expose_str(), bare.is_ours(), bare.end()), (Some("{}"), false, None));
    }

    #[test]
    fn a_key_is_a_jwk_and_a_certificate_is_der() {
        let key = r#"{"key":{"n":"AQ","kty":"RSA","kid":"https://v/keys/k/1","key_ops":["sign"]},"attributes":{}}"#;
        let found = Found::new(Kind::Key, &key.into()).unwrap();
        let jwk = r#"{"key_ops":["sign"],"kid":"https://v/keys/k/1","kty":"RSA","n":"AQ"}"#;
        assert_eq!((found.value.expose_str(), found.version.as_deref()), (Some(jwk), Some("1")));
        for cer in ["+/8=", "+/8"] {
            let certificate = format!(r#"{{"id":"https://v/certificates/c/2","cer":"{cer}"}}"#);
            let found = Found::new(Kind::Certificate, &certificate.as_str().into()).unwrap();
            assert_eq!((found.value.expose(), found.version.as_deref()), (&[0xfb, 0xff][..], Some("2")));
        }
    }

    #[test]
    fn what_is_no_answer_of_a_vault_is_none() {
        for body in ["", "<html>", "{}", r#"{"value":null,"id":"https://v/secrets/a/1"}"#, r#"{"value":"x"}"#, "[]"] {
            assert_eq!(Found::new(Kind::Secret, &body.into()), None, "{body}");
            assert_eq!(Found::new(Kind::Key, &body.into()), None, "{body}");
            assert_eq!(Found::new(Kind::Certificate, &body.into()), None, "{body}");
        }
        let broken = r#"{"id":"https://v/certificates/c/2","cer":"not base64!"}"#;
        assert_eq!(Found::new(Kind::Certificate, &broken.into()), None);
        assert_eq!((tags_of(&"{}".into()), tags_of(&"<html>".into())), (None, None));
    }

    #[test]
    fn a_list_tells_what_is_disabled_and_where_it_goes_on() {
        let read = |body: &str| {
            let mut all = Vec::new();
            let malformed = || Error::new(ErrorKind::Malformed, "malformed");
            let next = list(&body.into(), malformed, |one| {
                all.push((one.name, one.is_enabled, one.tags.len()));
                Ok(())
            });
            next.map(|next| (all, next))
        };
        let body = r#"{"value":[{"id":"https://v/secrets/a","attributes":{"enabled":true},"tags":{"x":"y"}},
            {"id":"https://v/secrets/b","attributes":{"enabled":false}},{"id":"https://v/secrets/c"}],
            "nextLink":"https://v/secrets?api-version=7.4&$skiptoken=x"}"#;
        let (all, next) = read(body).unwrap();
        assert_eq!(all, [("a".into(), true, 1), ("b".into(), false, 0), ("c".into(), true, 0)]);
        assert_eq!(next.as_deref(), Some("https://v/secrets?api-version=7.4&$skiptoken=x"));
        for last in [r#"{"value":[],"nextLink":null}"#, r#"{"value":[]}"#, r#"{"value":[],"nextLink":""}"#] {
            assert_eq!(read(last), Ok((vec![], None)), "{last}");
        }
        for broken in [
            "",
            "{}",
            r#"{"value":{}}"#,
            r#"{"value":[1]}"#,
            r#"{"value":[{"id":"https://v/keys/a"}]}"#,
            r#"{"value":[],"nextLink":1}"#,
        ] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }
}
