//! What answers mean. Pure; it decides what a value is, whose a secret is, and what metadata looks like.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{Fetched, SecretBuf, SecretBytes, json};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::checksum::crc32c;
use crate::place::last;

/// The label of what was written by us, as External Secrets Operator has it.
pub const MARK: (&str, &str) = ("managed-by", "external-secrets");

/// What a version holds.
#[derive(Debug)]
pub enum Accessed {
    /// A value, and which version it is.
    Value(Fetched),
    /// A value that is not what was sent.
    Damaged,
}

/// What the server knows about a secret.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// The name of the resource.
    pub name: String,
    /// What it is labelled with.
    pub labels: BTreeMap<String, String>,
    /// What is noted on it.
    pub annotations: BTreeMap<String, String>,
    /// Where changes of it are told.
    pub topics: Vec<Topic>,
    /// Changes with every change of these, quotes and all.
    pub etag: String,
}

/// Where changes are told.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Topic {
    /// `projects/P/topics/T`
    pub name: String,
}

impl Secret {
    /// Whether it bears the mark.
    pub fn is_ours(&self) -> bool {
        self.labels.get(MARK.0).is_some_and(|owner| owner == MARK.1)
    }

    /// Whether it bears these labels.
    pub fn bears(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().all(|(label, value)| self.labels.get(label) == Some(value))
    }

    /// Its annotations and labels, as External Secrets Operator shows them.
    pub fn described(&self) -> SecretBytes {
        let mut out = SecretBuf::default();
        for (name, all) in [("{\"annotations\":", &self.annotations), (",\"labels\":", &self.labels)] {
            out.extend(name.as_bytes());
            out.push(b'{');
            for (n, (key, value)) in all.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                json::write_string(key, &mut out);
                out.push(b':');
                json::write_string(value, &mut out);
            }
            out.push(b'}');
        }
        out.push(b'}');
        out.into()
    }
}

/// Reads a secret.
pub fn secret(body: &SecretBytes) -> Option<Secret> {
    serde_json::from_slice(body.expose()).ok().filter(|secret: &Secret| !secret.name.is_empty())
}

#[derive(Deserialize)]
struct Version<'a> {
    name: String,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow, rename = "dataCrc32c")]
    sum: Option<&'a RawValue>,
}

/// Reads `{"name": ".../versions/3", "payload": {"data": "base64", "dataCrc32c": "123"}}`. What is empty is left out there.
pub fn accessed(body: &SecretBytes) -> Option<Accessed> {
    let version: Version<'_> = serde_json::from_slice(body.expose()).ok()?;
    let text = version.payload.data.map(json::to_bytes).unwrap_or_default();
    let value = SecretBytes::new(STANDARD.decode(text.expose()).ok()?);
    if let Some(sum) = version.payload.sum {
        let sum: u32 = json::to_bytes(sum).expose_str()?.parse().ok()?;
        if sum != crc32c(value.expose()) {
            return Some(Accessed::Damaged);
        }
    }
    Some(Accessed::Value(Fetched::from(value).of_version(Some(last(&version.name).to_owned()))))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Page<T> {
    #[serde(alias = "versions")]
    secrets: Vec<T>,
    next_page_token: String,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { secrets: Vec::new(), next_page_token: String::new() }
    }
}

fn page<'a, T: Deserialize<'a>>(body: &'a SecretBytes) -> Option<(Vec<T>, Option<String>)> {
    // An empty page is an object without fields; anything else is no page.
    json::object(body.expose())?;
    let page: Page<T> = serde_json::from_slice(body.expose()).ok()?;
    Some((page.secrets, Some(page.next_page_token).filter(|token| !token.is_empty())))
}

/// Reads a page of secrets, and where the next begins.
pub fn secrets(body: &SecretBytes) -> Option<(Vec<Secret>, Option<String>)> {
    page(body)
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Reads a page of versions: their numbers, and where the next page begins.
pub fn versions(body: &SecretBytes) -> Option<(Vec<u64>, Option<String>)> {
    let (versions, next) = page::<Named>(body)?;
    let numbers = versions.iter().map(|version| last(&version.name).parse().ok()).collect::<Option<_>>()?;
    Some((numbers, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(body: &str) -> Option<Accessed> {
        accessed(&body.into())
    }

    #[test]
    fn a_value_is_checked_against_its_sum() {
        let Some(Accessed::Value(fetched)) = value(
            r#"{"name":"projects/1/secrets/a/versions/3","payload":{"data":"MTIzNDU2Nzg5","dataCrc32c":"3808858755"}}"#,
        ) else {
            panic!("a value")
        };
        assert_eq!((fetched.value.expose(), fetched.version.as_deref()), (&b"123456789"[..], Some("3")));
        let damaged = r#"{"name":"a/versions/3","payload":{"data":"MTIzNDU2Nzg4","dataCrc32c":"3808858755"}}"#;
        assert!(matches!(value(damaged), Some(Accessed::Damaged)));
        let without = r#"{"name":"a/versions/3","payload":{"data":"MTIz"}}"#;
        assert!(matches!(value(without), Some(Accessed::Value(_))));
        let empty = r#"{"name":"a/versions/3","payload":{}}"#;
        assert!(matches!(value(empty), Some(Accessed::Value(fetched)) if fetched.value.is_empty()));
    }

    #[test]
    fn what_is_no_answer_of_the_server_is_none() {
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"name":"a/versions/1"}"#,
            r#"{"name":"a/versions/1","payload":{"data":"%"}}"#,
            r#"{"name":"a/versions/1","payload":{"data":"MTIz","dataCrc32c":"x"}}"#,
            r#"{"name":"a/versions/1","payload":{"data":["MTIz"]}}"#,
        ] {
            assert!(value(body).is_none(), "{body}");
        }
        assert!(secret(&"{}".into()).is_none() && secret(&"[]".into()).is_none());
        for body in ["", "[]", r#"{"secrets":["#, r#"{"secrets":"a"}"#] {
            assert!(secrets(&body.into()).is_none(), "{body}");
        }
        assert_eq!(versions(&r#"{"versions":[{"name":"a/versions/x"}]}"#.into()), None);
        assert_eq!(
            versions(&r#"{"versions":[{"name":"a/versions/9"}],"nextPageToken":"t"}"#.into()),
            Some((vec![9], Some("t".to_owned())))
        );
        assert_eq!(versions(&"{}".into()), Some((vec![], None)));
    }

    #[test]
    fn metadata_is_annotations_and_labels() {
        let secret = secret(
            &r#"{"name":"projects/1/secrets/a","labels":{"team":"blue","managed-by":"external-secrets"},
                "annotations":{"a.b":"<x>"},"etag":"\"1\"","replication":{"automatic":{}}}"#
                .into(),
        )
        .unwrap();
        assert!(secret.is_ours() && secret.etag == "\"1\"");
        assert_eq!(
            secret.described().expose_str(),
            Some(r#"{"annotations":{"a.b":"\u003cx\u003e"},"labels":{"managed-by":"external-secrets","team":"blue"}}"#)
        );
        assert_eq!(Secret::default().described().expose_str(), Some(r#"{"annotations":{},"labels":{}}"#));
    }
}
