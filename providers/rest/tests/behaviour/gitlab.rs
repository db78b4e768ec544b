//! GitLab.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::gitlab::{Double, TOKEN};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Capabilities, Error, ErrorKind, Provider, Query, find_all};
use keyferry_provider_rest::GITLAB;
use keyferry_provider_testkit::{Fault, Fixture, MapCredentials, a_search_under_faults, suite};
use serde_json::{Value, json};

use crate::common::{Searched, build, context, context_at, failing_at, fetched, kind, refusing, value};

fn spec(url: &str) -> Value {
    json!({"url": url, "auth": {"SecretRef": {"accessToken": {"name": "gitlab", "key": "token"}}}, "projectID": "1"})
}

async fn store_of(spec: &Value, token: &str) -> Result<Arc<dyn Provider>, Error> {
    build(&GITLAB, spec, context(MapCredentials::new().with("gitlab/token", token), &[])).await
}

async fn store(double: &Double, more: Value) -> Arc<dyn Provider> {
    let mut spec = spec(&double.server().url());
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    store_of(&spec, &format!("{TOKEN}\n")).await.unwrap()
}

/// What logs in after a rotation.
const NEXT: &str = "glpat-canary-of-the-next";

/// The double for tests that know nothing of GitLab: what they call `a-b` is `a_b` there.
struct Dashed(Double, Mutex<&'static str>);

#[async_trait]
impl Fixture for Dashed {
    fn name(&self) -> String {
        "gitlab".to_owned()
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn registered(&self) -> Capabilities {
        Capabilities { find_by_tags: false, ..(GITLAB.capabilities)(&json!({})) }
    }

    fn credentials(&self) -> Vec<String> {
        [TOKEN, NEXT].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        // Patterns are of names with dashes, so that they are tried on what is found.
        let before = |query: &Query| Query { name: None, ..query.clone() };
        // The only tag that variables have is none that a test chooses.
        let can = self.registered();
        let text = *self.1.lock().unwrap();
        let inner = build(&GITLAB, &spec(url), context_at("gitlab/token", text, &[], addresses)).await.unwrap();
        Some(Arc::new(Searched { inner, can, before, after: |name| name.replace('_', "-") }))
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_token(NEXT);
        true
    }

    /// What the store asks for, and GitLab has at most.
    fn page(&self) -> Option<usize> {
        Some(100)
    }

    /// One each.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys)
    }

    fn takes_empty(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        self.0.put("projects/1", &name.replace('-', "_"), std::str::from_utf8(value).unwrap(), "*");
        None
    }

    async fn delete(&self, name: &str) {
        self.0.delete("projects/1", &name.replace('-', "_"));
    }

    fn takes_name(&self, name: &str) -> bool {
        name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Dashed(Double::start(), Mutex::new(TOKEN))).await;
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let double = Double::start();
    double.project("1", &[("top", 7)]);
    for n in 0..150 {
        double.put("projects/1", &format!("OF_PROJECT_{n}"), "v", "*");
        double.put("groups/7", &format!("OF_GROUP_{n}"), "v", "*");
    }
    let query = Query { name: Some("^OF_".parse().unwrap()), ..Query::default() };
    let built = store(&double, json!({"inheritFromGroups": true})).await;
    double.server().take_calls();
    assert_eq!(find_all(&*built, &query).await.unwrap().len(), 300);
    assert_eq!(double.server().take_calls().len(), 5, "the groups, and two pages of each");
    // Faults at each call: those before it are let pass by failing only what comes later.
    let build = async |fault: Option<(usize, Fault)>| -> Arc<dyn Provider> {
        failing_at(store(&double, json!({"groupIDs": ["7"]})).await, fault, double.server())
    };
    a_search_under_faults(&query, 4, build).await;
}

#[tokio::test]
async fn the_project_comes_first_and_groups_from_the_last_to_the_first() {
    let double = Double::start();
    double.project("1", &[("top/middle", 8), ("top", 7), ("top/middle/low", 9)]);
    for (owner, key) in [
        ("projects/1", "P"),
        ("groups/7", "P"),
        ("groups/7", "A"),
        ("groups/8", "A"),
        ("groups/8", "B"),
        ("groups/9", "B"),
        ("groups/7", "C"),
    ] {
        double.put(owner, key, owner, "*");
    }
    let of_groups = store(&double, json!({"groupIDs": ["7", "8", "9"]})).await;
    let inherited = store(&double, json!({"inheritFromGroups": true})).await;
    for store in [&of_groups, &inherited] {
        for (key, owner) in [("P", "projects/1"), ("A", "groups/8"), ("B", "groups/9"), ("C", "groups/7")] {
            assert_eq!(value(&**store, key).await.unwrap(), owner, "{key}");
        }
        assert_eq!(kind(fetched(&**store, "D").await), ErrorKind::NotFound);
        store.validate().await.unwrap();
    }
    double.server().take_calls();
    for _ in 0..3 {
        value(&*inherited, "C").await.unwrap();
    }
    let calls = double.server().take_calls();
    assert!(calls.iter().all(|call| !call.path.ends_with("/groups")), "the groups are held for a while");
    let groups_only = store(&double, json!({"projectID": null, "groupIDs": ["7"]})).await;
    assert_eq!(value(&*groups_only, "P").await.unwrap(), "groups/7");
}

#[tokio::test]
async fn a_project_in_more_groups_than_anybody_nests_is_refused() {
    let double = Double::start();
    let names: Vec<String> = (0..101).map(|n| format!("group-{n}")).collect();
    let groups: Vec<(&str, u64)> = names.iter().map(String::as_str).zip(1..).collect();
    double.project("1", &groups[..100]);
    double.put("groups/100", "A", "a", "*");
    let inherits = store(&double, json!({"inheritFromGroups": true})).await;
    assert_eq!(value(&*inherits, "A").await.unwrap(), "a");
    double.project("1", &groups);
    let inherits = store(&double, json!({"inheritFromGroups": true})).await;
    double.server().take_calls();
    let error = fetched(&*inherits, "A").await.unwrap_err();
    assert!(error.message().contains("project-groups"), "{error}");
    assert!(double.server().take_calls().len() <= 3, "nobody asks for all of them");
}

#[tokio::test]
async fn an_environment_is_looked_in_before_all_of_them() {
    let double = Double::start();
    for (key, environment) in [
        ("A", "*"),
        ("A", "prod"),
        ("B", "*"),
        ("C", "stage"),
        ("D", "stage"),
        ("D", "prod"),
        ("E", "*"),
        ("E", "stage"),
    ] {
        double.put("projects/1", key, environment, environment);
    }
    let prod = store(&double, json!({"environment": "prod"})).await;
    assert_eq!(value(&*prod, "A").await.unwrap(), "prod");
    assert_eq!(value(&*prod, "B").await.unwrap(), "*");
    assert_eq!(kind(fetched(&*prod, "C").await), ErrorKind::NotFound);
    let any = store(&double, json!({})).await;
    assert_eq!(value(&*any, "C").await.unwrap(), "stage");
    assert_eq!(value(&*any, "E").await.unwrap(), "*", "of several, that for all");
    let error = fetched(&*any, "D").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("set spec.provider.gitlab.environment"), "{error}");
}

#[tokio::test]
async fn a_search_may_name_the_environment() {
    let double = Double::start();
    for (key, environment) in [("A", "prod"), ("A", "stage"), ("B", "*"), ("C", "stage")] {
        double.put("projects/1", key, &format!("{key} of {environment}"), environment);
    }
    let any = store(&double, json!({})).await;
    let query = |environment: &str| Query {
        name: Some(".".parse().unwrap()),
        tags: [("environment_scope".to_owned(), environment.to_owned())].into(),
        ..Query::default()
    };
    for (environment, expected) in
        [("prod", vec!["A of prod", "B of *"]), ("stage", vec!["A of stage", "B of *", "C of stage"])]
    {
        let found = find_all(&*any, &query(environment)).await.unwrap();
        let mut values = Vec::new();
        for key in &found {
            let answer = any.fetch(std::slice::from_ref(key)).await.unwrap().remove(0).unwrap();
            values.push(answer.value.expose_str().unwrap().to_owned());
        }
        assert_eq!(values, expected);
    }
    let prod = store(&double, json!({"environment": "prod"})).await;
    assert_eq!(kind(find_all(&*prod, &query("stage")).await), ErrorKind::Invalid);
    assert_eq!(find_all(&*prod, &query("prod")).await.unwrap().len(), 2);
    let other = Query { tags: [("team".to_owned(), "blue".to_owned())].into(), ..Query::default() };
    assert_eq!(kind(find_all(&*any, &other).await), ErrorKind::Unsupported);
}

#[tokio::test]
async fn dashes_are_underscores_and_hidden_variables_have_no_value() {
    let double = Double::start();
    double.put("projects/1", "MY_KEY", "", "*");
    double.put("projects/1", "SECRET", "canary", "*");
    double.hide("projects/1", "SECRET");
    let store = store(&double, json!({})).await;
    assert_eq!(value(&*store, "MY-KEY").await.unwrap(), "", "an empty variable is a value like any other");
    let error = fetched(&*store, "SECRET").await.unwrap_err();
    assert!(error.message().contains("is hidden"), "{error}");
    assert_eq!(kind(Err::<(), _>(error)), ErrorKind::Invalid);
}

#[tokio::test]
async fn what_the_spec_gets_wrong_is_named() {
    let double = Double::start();
    let good = spec(&double.server().url());
    let but = |field: &str, value: Value| {
        let mut spec = good.clone();
        spec[field] = value;
        spec
    };
    for (spec, words) in [
        (but("projectID", json!("")), "needs projectID or groupIDs"),
        (but("auth", json!({"SecretRef": {}})), "accessToken is missing"),
        (but("url", json!("canary")), "spec.provider.gitlab.url must be a URL"),
        (but("projectID", json!("../canary")), "spec.provider.gitlab.projectID"),
        (but("projectID", json!(["canary"])), "not of the form"),
    ] {
        let error = store_of(&spec, TOKEN).await.err().unwrap();
        assert!(error.message().contains(words), "{error}");
    }
    let mut both = but("groupIDs", json!(["7"]));
    both["inheritFromGroups"] = json!(true);
    assert!(store_of(&both, TOKEN).await.err().unwrap().message().contains("keep one of them"));
    let store = store_of(&good, "canary-of-another").await.unwrap();
    assert_eq!(kind(store.validate().await), ErrorKind::Unauthenticated);
    let nowhere = store_of(&but("projectID", json!("4711")), TOKEN).await.unwrap();
    for error in [nowhere.validate().await.err(), fetched(&*nowhere, "A").await.err()] {
        let error = error.unwrap();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains("projectID"), "{error}");
    }
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    for (status, body, expected) in [
        (400, r#"{"message":"canary"}"#, ErrorKind::Invalid),
        (401, r#"{"message":"401 Unauthorized canary"}"#, ErrorKind::Unauthenticated),
        (403, r#"{"message":"403 Forbidden canary"}"#, ErrorKind::Denied),
        (404, r#"{"message":"404 Variable Not Found"}"#, ErrorKind::NotFound),
        (404, r#"{"message":"404 Project Not Found"}"#, ErrorKind::Invalid),
        (404, r#"{"error":"404 Not Found"}"#, ErrorKind::Malformed),
        (404, "<html>canary", ErrorKind::Malformed),
        (429, "", ErrorKind::Throttled),
        (500, "canary", ErrorKind::Unavailable),
        (504, "", ErrorKind::Timeout),
        (200, "canary", ErrorKind::Malformed),
        (200, "{}", ErrorKind::Malformed),
        (302, "", ErrorKind::Malformed),
    ] {
        let server = refusing(status, body, |_| None).await;
        let store = store_of(&spec(&server.url()), TOKEN).await.unwrap();
        assert_eq!(kind(fetched(&*store, "A").await), expected, "{status} {body}");
    }
}
