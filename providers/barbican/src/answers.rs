//! What answers mean. Pure.

use jiff::Timestamp;
use keyferry_provider_core::{SecretBytes, json};
use serde_json::value::RawValue;

/// Whether an answer says, in Barbican's own form, that there is no such thing.
pub fn says_not_found(body: &SecretBytes) -> bool {
    let fields = json::object(body.expose()).unwrap_or_default();
    fields.contains_key("title") && fields.get("code").is_some_and(|code| code.get() == "404")
}

/// What a login tells beside the token: when it ends, and where Barbican may be.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// The end of the token.
    pub end: Timestamp,
    /// The public endpoints of key managers: region and URL.
    pub endpoints: Vec<(String, String)>,
}

/// Reads the answer to a login.
pub fn told(body: &SecretBytes) -> Option<Told> {
    let fields = json::object(body.expose())?;
    let token = json::object(fields.get("token")?.get().as_bytes())?;
    let end = text(token.get("expires_at")?)?.parse().ok()?;
    let mut endpoints = Vec::new();
    // A token without a project has no catalog.
    for service in json::array(token.get("catalog").map_or("[]", |raw| raw.get()).as_bytes())? {
        let service = json::object(service.get().as_bytes())?;
        if service.get("type").and_then(|raw| text(raw)).as_deref() != Some("key-manager") {
            continue;
        }
        for endpoint in json::array(service.get("endpoints").map_or("[]", |raw| raw.get()).as_bytes())? {
            let endpoint = json::object(endpoint.get().as_bytes())?;
            let field = |name: &str| endpoint.get(name).and_then(|raw| text(raw));
            if field("interface").as_deref() == Some("public") {
                endpoints.push((field("region").or_else(|| field("region_id")).unwrap_or_default(), field("url")?));
            }
        }
    }
    Some(Told { end, endpoints })
}

/// A page of the list of secrets: their ids and names, and whether there are more.
pub fn listed(body: &SecretBytes) -> Option<(Vec<(String, String)>, bool)> {
    let fields = json::object(body.expose())?;
    let one = |raw: &RawValue| {
        let fields = json::object(raw.get().as_bytes())?;
        let href = text(fields.get("secret_ref")?)?;
        let id = href.trim_end_matches('/').rsplit('/').next().filter(|id| !id.is_empty())?.to_owned();
        Some((id, fields.get("name").and_then(|raw| text(raw)).unwrap_or_default()))
    };
    let all = json::array(fields.get("secrets")?.get().as_bytes())?.into_iter().map(one).collect::<Option<_>>()?;
    Some((all, fields.contains_key("next")))
}

/// A text. Names and addresses hold no values.
fn text(raw: &RawValue) -> Option<String> {
    raw.get().starts_with('"').then(|| json::to_bytes(raw).expose_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_tells_its_end_and_where_to_go() {
        let body = r#"{"token":{"expires_at":"2026-11-29T01:32:46.000000Z","catalog":[
            {"type":"identity","endpoints":[{"interface":"public","url":"https://k"}]},
            {"type":"key-manager","endpoints":[{"interface":"admin","region":"a","url":"https://no"},
                {"interface":"public","region":"a","url":"https://b"},{"interface":"public","region_id":"c","url":"https://d"}]}]}}"#;
        let read = told(&body.into()).unwrap();
        let endpoints =
            [("a", "https://b"), ("c", "https://d")].map(|(region, url)| (region.to_owned(), url.to_owned()));
        assert_eq!(read.endpoints, endpoints);
        assert_eq!(read.end.to_string(), "2026-11-29T01:32:46Z");
        let unscoped = r#"{"token":{"expires_at":"2026-11-29T01:32:46.000000Z"}}"#;
        assert!(told(&unscoped.into()).unwrap().endpoints.is_empty());
        for body in ["", "<html>", "{}", r#"{"token":{"expires_at":"canary"}}"#] {
            assert_eq!(told(&body.into()), None, "{body}");
        }
    }

    #[test]
    fn a_list_has_ids_and_names_that_may_be_missing() {
        let body = r#"{"secrets":[{"name":"a","secret_ref":"http://b/v1/secrets/1-2"},
            {"name":null,"secret_ref":"http://b/v1/secrets/3"}],"next":"http://b/v1/secrets?offset=2","total":5}"#;
        let expected = [("1-2", "a"), ("3", "")].map(|(id, name)| (id.to_owned(), name.to_owned()));
        assert_eq!(listed(&body.into()), Some((expected.to_vec(), true)));
        assert_eq!(listed(&r#"{"secrets":[],"total":0}"#.into()), Some((Vec::new(), false)));
        for body in ["", "[]", "{}", r#"{"secrets":[{"name":"a"}]}"#, r#"{"secrets":[{"secret_ref":"/"}]}"#] {
            assert_eq!(listed(&body.into()), None, "{body}");
        }
    }

    #[test]
    fn only_barbican_says_that_a_secret_is_not_there() {
        assert!(says_not_found(&r#"{"code":404,"title":"Not Found","description":"x"}"#.into()));
        for body in ["", "<html>", r#"{"code":404}"#, r#"{"code":500,"title":"Not Found"}"#] {
            assert!(!says_not_found(&body.into()), "{body}");
        }
    }
}
