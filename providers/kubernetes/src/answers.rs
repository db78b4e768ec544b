//! What answers mean.

use keyferry_provider_core::{SecretBuf, SecretBytes, json};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The data of a Secret, as it stands in the answer: a JSON object of base64 strings, sorted and compact. Values may be
/// any bytes, which JSON can't hold in another way.
pub fn fields(answer: &SecretBytes) -> Option<SecretBytes> {
    let object = json::object(answer.expose())?;
    is_secret(&object)?;
    match object.get("data") {
        None => Some("{}".into()),
        Some(data) if data.get() == "null" => Some("{}".into()),
        Some(data) => {
            json::check_parts(data).ok()?;
            json::object(data.get().as_bytes())?;
            json::canonical(data)
        }
    }
}

/// The labels and annotations of a Secret; null where there are none, as in External Secrets Operator.
pub fn metadata(answer: &SecretBytes) -> Option<SecretBytes> {
    let object = json::object(answer.expose())?;
    is_secret(&object)?;
    let metadata = json::object(object.get("metadata")?.get().as_bytes())?;
    let mut out = SecretBuf::default();
    for (open, name) in [("{\"annotations\":", "annotations"), (",\"labels\":", "labels")] {
        out.extend(open.as_bytes());
        match metadata.get(name) {
            Some(map) => out.extend(json::compact(map)?.expose()),
            None => out.extend(b"null"),
        }
    }
    out.push(b'}');
    Some(out.into())
}

/// The version that the API server gives every state of an object.
pub fn version(answer: &SecretBytes) -> Option<String> {
    let object = json::object(answer.expose())?;
    let metadata = json::object(object.get("metadata")?.get().as_bytes())?;
    Some(json::to_bytes(metadata.get("resourceVersion")?).expose_str()?.to_owned())
}

/// Whether an API server says that there is no object of this kind, by the word for many of them, and of this name.
pub fn is_missing(answer: &SecretBytes, plural: &str, name: &str) -> bool {
    #[derive(Deserialize)]
    struct Status {
        kind: String,
        reason: String,
        details: Details,
    }
    #[derive(Deserialize)]
    struct Details {
        kind: String,
        name: String,
    }
    let status: Result<Status, _> = serde_json::from_slice(answer.expose());
    status.is_ok_and(|Status { kind, reason, details }| {
        (kind.as_str(), reason.as_str(), details.kind.as_str()) == ("Status", "NotFound", plural)
            && details.name == name
    })
}

/// Whoever answers 200 with something else is no API server.
pub fn is_secret(object: &std::collections::BTreeMap<String, &RawValue>) -> Option<()> {
    (json::to_bytes(object.get("kind")?).expose_str() == Some("Secret")).then_some(())
}

/// A page of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The names.
    pub names: Vec<String>,
    /// The namespaces that they are in, one for each.
    pub namespaces: Vec<Option<String>>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// More than this is in no page: a server that does not know pages answers all at once, and few have so many.
const MOST_NAMES: usize = 10_000;

/// The names in a list.
pub fn names(answer: &SecretBytes) -> Option<Page> {
    #[derive(Deserialize)]
    struct List<'a> {
        metadata: ListMeta,
        #[serde(borrow)]
        items: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct ListMeta {
        #[serde(rename = "continue")]
        next: Option<String>,
    }
    #[derive(Deserialize)]
    struct Item {
        metadata: ItemMeta,
    }
    #[derive(Deserialize)]
    struct ItemMeta {
        name: String,
        namespace: Option<String>,
    }
    let list: List<'_> = serde_json::from_slice(answer.expose()).ok()?;
    let (mut names, mut namespaces) = (Vec::new(), Vec::new());
    for item in list.items.map_or(Some(None), |items| json::elements(items).map(Some))?.into_iter().flatten() {
        let item: Item = serde_json::from_str(item?.get()).ok()?;
        names.push(item.metadata.name);
        namespaces.push(item.metadata.namespace);
        // Nobody asked for so many at once.
        if names.len() > MOST_NAMES {
            return None;
        }
    }
    Some(Page { names, namespaces, next: list.metadata.next.filter(|token| !token.is_empty()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields_of(answer: &str) -> Option<String> {
        fields(&answer.into()).map(|value| value.expose_str().unwrap().to_owned())
    }

    #[test]
    fn the_data_as_it_stands() {
        let answer = r#"{"kind":"Secret","metadata":{},"data":{"b":"/w==","a":"YQ=="},"type":"Opaque"}"#;
        assert_eq!(fields_of(answer).as_deref(), Some(r#"{"a":"YQ==","b":"/w=="}"#));
        for empty in [r#"{"kind":"Secret"}"#, r#"{"kind":"Secret","data":null}"#, r#"{"kind":"Secret","data":{}}"#] {
            assert_eq!(fields_of(empty).as_deref(), Some("{}"), "{empty}");
        }
        for other in ["", "{}", "[]", "<html>", r#"{"kind":"Status"}"#, r#"{"kind":"Secret","data":"x"}"#] {
            assert_eq!(fields_of(other), None, "{other}");
        }
    }

    #[test]
    fn only_the_word_about_the_secret_itself_counts() {
        let status = |kind: &str, reason: &str, details: &str| {
            let text = format!(r#"{{"kind":"{kind}","reason":"{reason}","details":{details},"code":404}}"#);
            is_missing(&text.as_str().into(), "secrets", "app")
        };
        assert!(status("Status", "NotFound", r#"{"name":"app","kind":"secrets"}"#));
        for details in [
            r#"{"name":"other","kind":"secrets"}"#,
            r#"{"name":"app","kind":"configmaps"}"#,
            r#"{"name":"default","kind":"namespaces"}"#,
            r#"{"kind":"secrets"}"#,
            "{}",
            "null",
        ] {
            assert!(!status("Status", "NotFound", details), "{details}");
        }
        assert!(!status("Status", "Expired", r#"{"name":"app","kind":"secrets"}"#));
        assert!(!status("Secret", "NotFound", r#"{"name":"app","kind":"secrets"}"#));
        for other in ["", "404 page not found", "{}", "[]", r#"{"kind":"Status"}"#] {
            assert!(!is_missing(&other.into(), "secrets", "app"), "{other}");
        }
    }

    #[test]
    fn labels_and_annotations() {
        let of = |answer: &str| metadata(&answer.into()).map(|value| value.expose_str().unwrap().to_owned());
        assert_eq!(
            of(r#"{"kind":"Secret","metadata":{"labels":{"b":"2","a":"<"},"name":"x"},"data":{"k":"dg=="}}"#)
                .as_deref(),
            Some(r#"{"annotations":null,"labels":{"a":"<","b":"2"}}"#)
        );
        assert_eq!(of(r#"{"kind":"Pod","metadata":{}}"#), None);
    }

    #[test]
    fn every_state_has_a_version() {
        let of = |answer: &str| version(&answer.into());
        assert_eq!(of(r#"{"kind":"Secret","metadata":{"resourceVersion":"42"}}"#).as_deref(), Some("42"));
        assert_eq!(of(r#"{"kind":"Secret","metadata":{}}"#), None);
        assert_eq!(of(r#"{"kind":"Secret"}"#), None);
    }

    #[test]
    fn pages() {
        let page = names(&r#"{"metadata":{"continue":"t"},"items":[{"metadata":{"name":"a"}}]}"#.into());
        assert_eq!(page, Some(Page { names: vec!["a".into()], namespaces: vec![None], next: Some("t".into()) }));
        assert_eq!(
            names(&r#"{"metadata":{"continue":""}}"#.into()),
            Some(Page { names: vec![], namespaces: vec![], next: None })
        );
        assert_eq!(
            names(&r#"{"metadata":{},"items":null}"#.into()),
            Some(Page { names: vec![], namespaces: vec![], next: None })
        );
        for broken in ["{}", r#"{"metadata":{},"items":{}}"#, r#"{"metadata":{},"items":[{}]}"#] {
            assert_eq!(names(&broken.into()), None);
        }
    }

    #[test]
    fn a_page_larger_than_asked_for_is_not_held() {
        let page = |count: usize| {
            let items = vec![r#"{"metadata":{"name":"a"}}"#; count].join(",");
            names(&format!(r#"{{"metadata":{{}},"items":[{items}]}}"#).as_str().into())
        };
        assert_eq!(page(MOST_NAMES).map(|page| page.names.len()), Some(MOST_NAMES));
        assert_eq!(page(MOST_NAMES + 1), None);
    }
}
