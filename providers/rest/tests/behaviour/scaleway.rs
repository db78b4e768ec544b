//! Scaleway.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::scaleway::{Double, KEY, PLACE};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Capabilities, Error, ErrorKind, Key, Provider, Query, Reach};
use keyferry_provider_rest::SCALEWAY;
use keyferry_provider_testkit::{Fault, Fixture, MapCredentials, a_search_under_faults, suite};
use serde_json::{Value, json};

use crate::common::{Prefixed, build, context, context_at, failing_at, fetched, key, kind, push, refusing, value};

fn spec(url: &str) -> Value {
    json!({
        "apiUrl": url, "region": PLACE.0, "projectId": PLACE.1,
        "accessKey": {"value": "SCWX"}, "secretKey": {"secretRef": {"name": "scaleway", "key": "secret"}},
    })
}

async fn store_of(spec: &Value, secret: &str) -> Result<Arc<dyn Provider>, Error> {
    build(&SCALEWAY, spec, context(MapCredentials::new().with("scaleway/secret", secret), &[])).await
}

async fn store(double: &Double) -> Arc<dyn Provider> {
    store_of(&spec(&double.server().url()), &format!("{KEY}\n")).await.unwrap()
}

/// What logs in after a rotation.
const NEXT: &str = "canary-of-the-next";

/// The double for tests that know nothing of `path:`.
struct Backend(Double, Mutex<&'static str>);

fn address(name: &str) -> (String, &str) {
    let (folder, name) = name.rsplit_once('/').unwrap_or(("", name));
    (format!("/{folder}"), name)
}

#[async_trait]
impl Fixture for Backend {
    fn name(&self) -> String {
        "scaleway".to_owned()
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn registered(&self) -> Capabilities {
        (SCALEWAY.capabilities)(&json!({}))
    }

    fn is_proven(&self) -> bool {
        false
    }

    fn credentials(&self) -> Vec<String> {
        [KEY, NEXT].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let text = *self.1.lock().unwrap();
        let inner = build(&SCALEWAY, &spec(url), context_at("scaleway/secret", text, &[], addresses)).await.unwrap();
        Some(Arc::new(Prefixed { inner, prefix: "path:/" }))
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_key(NEXT);
        true
    }

    /// By its path a secret is looked up in a list.
    fn missing(&self) -> ErrorKind {
        ErrorKind::Denied
    }

    async fn disable(&self, name: &str) -> bool {
        self.0.disable(name);
        true
    }

    /// What the store asks for.
    fn page(&self) -> Option<usize> {
        Some(50)
    }

    /// What a path leads to, and its value.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(2 * keys)
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        let (folder, name) = address(name);
        Some(self.0.put(&folder, name, value, &[]).to_string())
    }

    async fn put_tagged(&self, name: &str, value: &[u8], tags: &[(&str, &str)]) {
        let (folder, name) = address(name);
        let tags: Vec<_> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.0.put(&folder, name, value, &tags.iter().map(String::as_str).collect::<Vec<_>>());
    }

    async fn delete(&self, name: &str) {
        let (folder, name) = address(name);
        self.0.delete(&folder, name);
    }

    fn takes_binary(&self) -> bool {
        true
    }

    fn largest(&self) -> usize {
        64 << 10
    }

    fn marks(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Backend(Double::start(), Mutex::new(KEY))).await;
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let double = Double::start();
    for n in 0..120 {
        double.put("/", &format!("secret-{n}"), b"v", &[]);
    }
    let query = Query { name: Some("^secret-".parse().unwrap()), ..Query::default() };
    let build = async |fault: Option<(usize, Fault)>| {
        double.server().fail(Default::default());
        failing_at(store(&double).await, fault, double.server())
    };
    a_search_under_faults(&query, 3, build).await;
}

#[tokio::test]
async fn a_key_is_an_id_a_name_or_a_path() {
    let double = Double::start();
    double.put("/", "a", b"of the root", &[]);
    double.put("/app", "a", b"of app", &[]);
    double.put("/app", "b", b"b", &[]);
    let store = store(&double).await;
    let id = format!("id:{}", double.id("/app", "a"));
    for (key, expected) in [
        ("name:a", "of the root"),
        ("name:b", "b"),
        ("path:/a", "of the root"),
        ("path:/app/a", "of app"),
        (&id, "of app"),
    ] {
        assert_eq!(value(&*store, key).await.unwrap(), expected, "{key}");
    }
    // A list shows what the key may see; that an id is nobody's the vendor says itself.
    for (key, expected) in [
        ("name:c", ErrorKind::Denied),
        ("path:/c", ErrorKind::Denied),
        ("path:/app/c", ErrorKind::Denied),
        ("id:nobody", ErrorKind::NotFound),
    ] {
        assert_eq!(kind(fetched(&*store, key).await), expected, "{key}");
    }
    assert_eq!(kind(fetched(&*store, "a").await), ErrorKind::Invalid);
    assert_eq!(kind(store.push(&push("id:x", None, "v")).await), ErrorKind::Invalid);
    assert!(store.identity_note().unwrap().contains("unproven"));
}

#[tokio::test]
async fn a_name_that_several_folders_have_is_not_changed() {
    let double = Double::start();
    double.put("/theirs", "a", b"theirs", &[]);
    double.put("/app", "a", b"ours", &[]);
    let store = store(&double).await;
    let unclear = push("name:a", None, "v");
    let done = [
        store.push(&unclear).await.err(),
        store.exists(&unclear.remote).await.err(),
        store.delete(&unclear.remote, Reach::Ours).await.err(),
    ];
    for error in done {
        let error = error.expect("a name that several bear");
        assert!(error.message().contains("name the one that is meant by path:"), "{error}");
    }
    store.push(&push("path:/app/a", None, "new")).await.unwrap();
    store.delete(&push("path:/app/a", None, "").remote, Reach::Ours).await.unwrap();
    assert_eq!(value(&*store, "path:/theirs/a").await.unwrap(), "theirs");
    // Now it is the only one.
    store.push(&push("name:a", None, "v")).await.unwrap();
    assert_eq!(value(&*store, "path:/theirs/a").await.unwrap(), "v");
}

#[tokio::test]
async fn a_secret_without_an_enabled_version_is_no_secret_that_is_gone() {
    let double = Double::start();
    double.put("/", "a", b"v", &[]);
    double.disable("a");
    let store = store(&double).await;
    assert_eq!(kind(fetched(&*store, "name:a").await), ErrorKind::NoVersion);
    let first = Key { version: Some("1".to_owned()), ..key("name:a") };
    assert_eq!(store.fetch(&[first]).await.unwrap().remove(0).unwrap().version.as_deref(), Some("1"));
}

#[tokio::test]
async fn what_the_spec_gets_wrong_is_named() {
    let double = Double::start();
    let good = spec(&double.server().url());
    for (field, wrong, words) in [
        ("region", json!(""), "region is missing"),
        ("region", json!("../canary"), "spec.provider.scaleway.region"),
        ("projectId", json!(null), "projectId is missing"),
        ("accessKey", json!(null), "accessKey is missing"),
        ("secretKey", json!({}), "not of the form"),
        ("apiUrl", json!("canary"), "apiUrl must be a URL"),
        ("secretKey", json!({"value": "canary", "secretRef": {"name": "n"}}), "not of the form"),
    ] {
        let mut spec = good.clone();
        spec[field] = wrong;
        let error = store_of(&spec, KEY).await.err().unwrap();
        assert!(error.message().contains(words), "{error}");
    }
    let wrong = store_of(&good, "canary-of-another").await.unwrap();
    assert_eq!(kind(wrong.validate().await), ErrorKind::Unauthenticated);
    let mut plain = good.clone();
    plain["secretKey"] = json!({"value": KEY});
    store_of(&plain, "").await.unwrap().validate().await.unwrap();
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    for (status, body, expected) in [
        (400, r#"{"message":"canary"}"#, ErrorKind::Invalid),
        (401, r#"{"message":"canary"}"#, ErrorKind::Unauthenticated),
        (403, r#"{"message":"canary"}"#, ErrorKind::Denied),
        (404, r#"{"type":"not_found","resource":"secret"}"#, ErrorKind::NotFound),
        (404, r#"{"type":"not_found","resource":"canary"}"#, ErrorKind::Malformed),
        (404, "<html>canary", ErrorKind::Malformed),
        (429, "", ErrorKind::Throttled),
        (500, "canary", ErrorKind::Unavailable),
        (504, "", ErrorKind::Timeout),
        (200, "canary", ErrorKind::Malformed),
        (200, "{}", ErrorKind::Malformed),
        (302, "", ErrorKind::Malformed),
    ] {
        let server = refusing(status, body, |_| None).await;
        let store = store_of(&spec(&server.url()), KEY).await.unwrap();
        assert_eq!(kind(fetched(&*store, "id:a").await), expected, "{status} {body}");
    }
}
