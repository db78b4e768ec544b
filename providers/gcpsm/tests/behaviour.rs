//! The behaviour that every store shares, and how this one reads and searches.

mod around;

use std::collections::BTreeMap;
use std::sync::Arc;

use around::{CANARY, Told, build, context, fetch, key, remote, spec, store, text, version};
use async_trait::async_trait;
use keyferry_doubles::gcpsm::{Double, NUMBER, VersionState};
use keyferry_doubles::{Faults, Server};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, Capabilities, ErrorKind, Key, Provider, Query, find_all};
use keyferry_provider_gcpsm::REGISTRATION;
use keyferry_provider_testkit::{Fault, Fixture, MapCredentials, a_search_under_faults, suite};
use serde_json::{Value, json};

/// How many secrets the double lists on a page; Google's pages are larger.
const PAGE: usize = 10;

/// The double, and where its secrets are.
struct At {
    double: Double,
    location: Option<&'static str>,
}

#[async_trait]
impl Fixture for At {
    fn registered(&self) -> Capabilities {
        (REGISTRATION.capabilities)(&json!({}))
    }

    fn name(&self) -> String {
        if self.location.is_some() { "gcpsm, regional".to_owned() } else { "gcpsm".to_owned() }
    }

    fn server(&self) -> Option<Server> {
        Some(self.double.server().clone())
    }

    /// A line of each of the keys, and what tokens begin with.
    fn credentials(&self) -> Vec<String> {
        let line = |file: String| {
            let file: Value = serde_json::from_str(&file).unwrap();
            file["private_key"].as_str().unwrap().lines().nth(1).unwrap().to_owned()
        };
        vec![line(self.double.key()), line(self.double.deleted_key()), "canary-of-a-token".to_owned()]
    }

    async fn provider(&self) -> Arc<dyn Provider> {
        store(&self.double, &json!({"location": self.location})).await
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let mut file: Value = serde_json::from_str(&self.double.key()).unwrap();
        file["token_uri"] = json!(format!("{url}/token"));
        let credentials = MapCredentials::new().with("google/key.json", file.to_string());
        let ctx = context(&self.double, credentials, Arc::new(()));
        let ctx = BuildContext { environment: around::environment_at(url.to_owned(), &[]), addresses, ..ctx };
        Some(build(&spec(&json!({"location": self.location})), ctx).await.unwrap())
    }

    async fn stage(&self, name: &str, version: &str) -> Option<String> {
        self.double.alias_in(self.location, name, "stable", version.parse().unwrap());
        Some("stable".to_owned())
    }

    async fn deny(&self, name: &str) -> bool {
        self.double.deny(&format!("secretmanager.versions.access {name}"));
        true
    }

    async fn disable(&self, name: &str) -> bool {
        let version = self.double.put_in(self.location, name, b"disabled", &[]);
        self.double.set_state_in(self.location, name, version.parse().unwrap(), VersionState::Disabled);
        true
    }

    async fn rotate(&self) -> bool {
        self.double.rotate_key();
        true
    }

    fn page(&self) -> Option<usize> {
        Some(PAGE)
    }

    /// One each, and one for the login.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys + 1)
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        Some(self.double.put_in(self.location, name, value, &[]))
    }

    async fn put_tagged(&self, name: &str, value: &[u8], tags: &[(&str, &str)]) {
        self.double.put_in(self.location, name, value, tags);
    }

    async fn delete(&self, name: &str) {
        match self.location {
            Some(location) => self.double.remove_in(location, name),
            None => self.double.remove(name),
        }
    }

    fn takes_binary(&self) -> bool {
        true
    }

    fn largest(&self) -> usize {
        64 << 10
    }

    fn separator(&self) -> char {
        '_'
    }

    fn takes_name(&self, name: &str) -> bool {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    for location in [None, Some("europe-west1")] {
        let double = Double::start();
        double.pages_of(PAGE);
        suite(&At { double, location }).await;
    }
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let double = Double::start();
    double.pages_of(10);
    for n in 0..25 {
        double.put(&format!("app-{n}"), b"v");
    }
    let query = Query { name: Some("^app-".parse().unwrap()), ..Query::default() };
    let body = r#"{"error":{"status":"NOT_FOUND","message":"canary"}}"#;
    let build = async |fault: Option<(usize, Fault)>| {
        match fault {
            None => double.answer_after(usize::MAX, 200, ""),
            Some((calls, Fault::Status(status))) => double.answer_after(calls, status, body),
            Some((calls, Fault::Garbage)) => double.answer_after(calls, 200, "<html>canary"),
            Some((calls, Fault::Cut)) => double.answer_after(calls, 200, r#"{"secrets":[{"name":"a"#),
        }
        store(&double, &json!({})).await
    };
    a_search_under_faults(&query, 3, build).await;
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let double = Double::start();
    let store = store(&double, &json!({})).await;
    let word = |word: &str| json!({"error": {"code": 0, "status": word, "message": CANARY}}).to_string();
    for (status, body, expected, words) in [
        (400, word("INVALID_ARGUMENT"), ErrorKind::Invalid, "check its name"),
        (400, word("FAILED_PRECONDITION"), ErrorKind::NoVersion, "disabled or destroyed"),
        (400, "<html>canary".to_owned(), ErrorKind::Malformed, "check the way to Google's APIs"),
        (401, word("UNAUTHENTICATED"), ErrorKind::Unauthenticated, "does not accept the access token"),
        (403, word("PERMISSION_DENIED"), ErrorKind::Denied, "secretmanager.versions.access"),
        (403, String::new(), ErrorKind::Denied, "check the project"),
        // A gateway's word says nothing of a secret.
        (404, "<html>canary".to_owned(), ErrorKind::Malformed, "does not answer as Google does"),
        (404, json!({"error": CANARY}).to_string(), ErrorKind::Malformed, "does not answer as Google does"),
        (409, word("ABORTED"), ErrorKind::Unavailable, "somebody else"),
        (429, word("RESOURCE_EXHAUSTED"), ErrorKind::Throttled, "the quota of the project"),
        (408, String::new(), ErrorKind::Timeout, "in time"),
        (504, word("DEADLINE_EXCEEDED"), ErrorKind::Timeout, "in time"),
        (500, CANARY.to_owned(), ErrorKind::Unavailable, "status 500"),
        (503, word("UNAVAILABLE"), ErrorKind::Unavailable, "status 503"),
        (200, CANARY.to_owned(), ErrorKind::Malformed, "status 200"),
        (200, "{}".to_owned(), ErrorKind::Malformed, "status 200"),
        (302, String::new(), ErrorKind::Malformed, "status 302"),
    ] {
        double.answer_after(0, status, &body);
        let error = fetch(&*store, &key("a")).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{status} {body}: {error}");
        assert!(error.message().contains(words), "{status}: {error}");
    }
}

#[tokio::test]
async fn what_is_no_answer_at_all_is_an_error_of_the_way() {
    let double = Double::start();
    double.put("a", b"v");
    let store = store(&double, &json!({})).await;
    let only = |faults: Faults| Faults { paths: vec!["secrets".into()], ..faults };
    for (faults, expected) in [
        (Faults { reset: 100, ..Faults::default() }, ErrorKind::Unavailable),
        (Faults { garbage: 100, ..Faults::default() }, ErrorKind::Malformed),
        (Faults { huge: 100, ..Faults::default() }, ErrorKind::Malformed),
        (Faults { throttled: 100, told: true, ..Faults::default() }, ErrorKind::Throttled),
    ] {
        double.server().fail(only(faults.clone()));
        assert_eq!(fetch(&*store, &key("a")).await.unwrap_err().kind(), expected, "{faults:?}");
    }
}

#[tokio::test]
async fn a_version_that_is_not_there_is_told_from_a_secret_that_is_not() {
    let double = Double::start();
    double.put("app", b"one");
    double.put("app", b"two");
    double.alias("app", "stable", 1);
    let store = store(&double, &json!({})).await;
    assert_eq!(fetch(&*store, &version("app", "stable")).await.unwrap().version.as_deref(), Some("1"));
    assert_eq!(fetch(&*store, &version("app", "latest")).await.unwrap().version.as_deref(), Some("2"));
    let kind = async |key: Key| fetch(&*store, &key).await.map_err(|error| error.kind()).unwrap_err();
    for none in ["3", "blue", "0", "x/y"] {
        assert_eq!(kind(version("app", none)).await, ErrorKind::NoVersion, "{none}");
    }
    assert_eq!(kind(key("gone")).await, ErrorKind::NotFound);
    assert_eq!(kind(version("gone", "3")).await, ErrorKind::NotFound);
    assert_eq!(kind(key("projects/p-2/secrets/app")).await, ErrorKind::Invalid);
    // Whoever may only read values is not told which of the two it is.
    double.deny("secretmanager.secrets.get");
    let error = fetch(&*store, &key("gone")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoVersion);
    assert!(error.message().contains("roles/secretmanager.viewer"), "{error}");
    assert_eq!(text(&*store, "app").await, "two");
    double.switch_off();
    let error = fetch(&*store, &key("app")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.message().contains("not switched on"), "{error}");
}

#[tokio::test]
async fn a_secret_without_a_version_is_not_gone() {
    let double = Double::start();
    let store = store(&double, &json!({})).await;
    store.push(&around::push(remote("app", None), "v", Default::default())).await.unwrap();
    double.drop_versions("app");
    let error = fetch(&*store, &key("app")).await.unwrap_err();
    assert_eq!((error.kind(), error.message().contains("has no version yet")), (ErrorKind::NoVersion, true), "{error}");
}

#[tokio::test]
async fn a_last_version_that_is_disabled_or_destroyed_fails_or_stands_for_the_last_that_is_enabled() {
    let double = Double::start();
    double.pages_of(2);
    for value in ["one", "two", "three", "four", "five"] {
        double.put("app", value.as_bytes());
    }
    let fails = store(&double, &json!({"secretVersionSelectionPolicy": "LatestOrFail"})).await;
    let takes = store(&double, &json!({"secretVersionSelectionPolicy": "LatestOrFetch"})).await;
    assert_eq!(text(&*takes, "app").await, "five");
    for state in [VersionState::Disabled, VersionState::Destroyed] {
        double.set_state("app", 5, state);
        let error = fetch(&*fails, &key("app")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoVersion);
        assert!(error.message().contains("LatestOrFetch"), "{error}");
        let found = fetch(&*takes, &key("app")).await.unwrap();
        assert_eq!((found.value.expose(), found.version.as_deref()), (&b"four"[..], Some("4")));
        // TRAP: only where no version is asked for; "latest", where it is written, is that one.
        for asked in ["latest", "5"] {
            let error = fetch(&*takes, &version("app", asked)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoVersion, "{asked}: {error}");
        }
    }
    (1..=4).for_each(|number| double.set_state("app", number, VersionState::Disabled));
    let error = fetch(&*takes, &key("app")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::NoVersion && error.message().contains("all versions"), "{error}");
}

#[tokio::test]
async fn a_value_that_was_damaged_on_its_way_is_no_value() {
    let double = Double::start();
    double.put("app", b"value");
    let store = store(&double, &json!({})).await;
    double.damage();
    let error = fetch(&*store, &key("app")).await.unwrap_err();
    assert!(error.is_temporary() && error.message().contains("checksum"), "{error}");
}

#[tokio::test]
async fn metadata_is_annotations_and_labels() {
    let double = Double::start();
    double.put_in(None, "app", b"canary", &[("team", "blue")]);
    double.annotate("app", "owner", "<me>");
    double.put("plain", b"canary");
    let store = store(&double, &json!({})).await;
    let known = async |name: &str| {
        let fetched = fetch(&*store, &Key { metadata: true, ..key(name) }).await.unwrap();
        serde_json::from_slice::<Value>(fetched.value.expose()).unwrap()
    };
    assert_eq!(known("app").await, json!({"annotations": {"owner": "<me>"}, "labels": {"team": "blue"}}));
    assert_eq!(known("plain").await, json!({"annotations": {}, "labels": {}}));
}

fn by_tags(tags: &[(&str, &str)], path: Option<&str>) -> Query {
    let tags: BTreeMap<_, _> = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Query { name: None, path: path.map(str::to_owned), tags }
}

async fn names(store: &dyn Provider, query: &Query) -> Vec<String> {
    let found = find_all(store, query).await.unwrap_or_else(|error| panic!("{query:?}: {error}"));
    found.into_iter().map(|key| key.name).collect()
}

/// BUG of External Secrets Operator: its search by tags passes the location over, and finds what is kept everywhere.
#[tokio::test]
async fn a_search_by_tags_stays_in_the_location() {
    let double = Double::start();
    double.put_in(None, "everywhere", b"v", &[("team", "blue")]);
    double.put_in(Some("europe-west1"), "here", b"v", &[("team", "blue")]);
    let query = by_tags(&[("team", "blue")], None);
    assert_eq!(names(&*store(&double, &json!({"location": "europe-west1"})).await, &query).await, ["here"]);
    assert_eq!(names(&*store(&double, &json!({})).await, &query).await, ["everywhere"]);
}

#[tokio::test]
async fn what_google_looks_for_is_held_against_all_of_the_query() {
    let double = Double::start();
    double.put_in(None, "app-a", b"v", &[("team", "blue")]);
    double.put_in(None, "my-app-b", b"v", &[("team", "blue")]);
    double.put_in(None, "app-c", b"v", &[("team", "grün"), ("tier", "or")]);
    // By its number as by its id.
    let store = store(&double, &json!({"projectID": NUMBER})).await;
    assert_eq!(names(&*store, &by_tags(&[("team", "blue")], Some("app-"))).await, ["app-a"]);
    assert_eq!(names(&*store, &by_tags(&[("team", "grün")], None)).await, ["app-c"]);
    assert_eq!(names(&*store, &by_tags(&[("tier", "or")], None)).await, ["app-c"]);
    assert!(names(&*store, &by_tags(&[("team", "blue OR name:app")], None)).await.is_empty());
    let asked: Vec<String> = double.server().calls().into_iter().map(|call| call.query).collect();
    assert!(asked.iter().any(|query| query.contains("filter=labels.team%3Dblue+AND+name%3Aapp-")), "{asked:?}");
    assert!(asked.iter().all(|query| !query.contains("OR+name")), "{asked:?}");
}

#[tokio::test]
async fn a_thousand_keys_are_a_thousand_calls_and_one_login() {
    let double = Double::start();
    let keys: Vec<Key> = (0..1_000).map(|n| key(&format!("app-{n}"))).collect();
    keys.iter().for_each(|key| _ = double.put(&key.name, b"v"));
    let told = Arc::new(Told::default());
    let credentials = MapCredentials::new().with("google/key.json", double.key());
    let store = build(&spec(&json!({})), context(&double, credentials, told.clone())).await.unwrap();
    double.server().take_calls();
    for answer in store.fetch(&keys).await.unwrap() {
        assert_eq!(answer.unwrap().value.expose(), b"v");
    }
    assert_eq!(double.server().take_calls().len(), 1_000);
    assert_eq!((told.count("GenerateToken"), told.count("AccessSecretVersion")), (1, 1_000));
    let query = Query { name: Some("^app-".parse().unwrap()), ..Query::default() };
    assert_eq!(names(&*store, &query).await.len(), 1_000);
    assert_eq!(double.server().take_calls().len(), 1, "found in one call");
}

#[tokio::test]
async fn what_fails_for_now_may_be_asked_again() {
    let double = Double::start();
    double.put("app", b"v");
    let store = store(&double, &json!({})).await;
    double.server().fail(Faults { throttled: 10, broken: 5, reset: 2, ..Faults::default() });
    double.server().take_calls();
    for _ in 0..300 {
        loop {
            match fetch(&*store, &key("app")).await {
                Ok(fetched) => break assert_eq!(fetched.value.expose(), b"v"),
                Err(error) => assert!(error.is_temporary(), "{error}"),
            }
        }
    }
    let calls = double.server().take_calls().len();
    assert!(calls < 300 * 14 / 10, "{calls}");
}
