//! Fortanix Data Security Manager.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::fortanix::{Double, KEY};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Capabilities, Error, ErrorKind, Provider};
use keyferry_provider_rest::FORTANIX;
use keyferry_provider_testkit::{Fixture, MapCredentials, suite};
use serde_json::{Value, json};

use crate::common::{build, context, context_at, fetched, kind, refusing, until, value};

fn spec(url: &str) -> Value {
    json!({"apiUrl": url, "apiKey": {"secretRef": {"name": "fortanix", "key": "key"}}})
}

async fn store_of(spec: &Value, key: &str) -> Result<Arc<dyn Provider>, Error> {
    build(&FORTANIX, spec, context(MapCredentials::new().with("fortanix/key", key), &[])).await
}

async fn store(double: &Double) -> Arc<dyn Provider> {
    store_of(&spec(&double.server().url()), &format!("{KEY}\n")).await.unwrap()
}

/// What logs in after a rotation.
const NEXT: &str = "YXBwLTE6Y2FuYXJ5LW9mLXRoZS1uZXh0";

struct Backend(Double, Mutex<&'static str>);

#[async_trait]
impl Fixture for Backend {
    fn name(&self) -> String {
        "fortanix".to_owned()
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn registered(&self) -> Capabilities {
        (FORTANIX.capabilities)(&json!({}))
    }

    fn credentials(&self) -> Vec<String> {
        [KEY, NEXT, "canary-of-session"].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let text = *self.1.lock().unwrap();
        Some(build(&FORTANIX, &spec(url), context_at("fortanix/key", text, &[], addresses)).await.unwrap())
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_key(NEXT);
        true
    }

    /// An app is shown the objects of its groups, as if there were no others.
    fn missing(&self) -> ErrorKind {
        ErrorKind::Denied
    }

    async fn deny(&self, name: &str) -> bool {
        self.0.keep(name);
        true
    }

    /// What it is and what it holds, and one for the login.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(2 * keys + 1)
    }

    fn takes_binary(&self) -> bool {
        true
    }

    fn largest(&self) -> usize {
        64 << 10
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        self.0.put(name, "SECRET", value);
        None
    }

    async fn delete(&self, name: &str) {
        self.0.delete(name);
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Backend(Double::start(), Mutex::new(KEY))).await;
}

#[tokio::test]
async fn secrets_are_exported_opaque_objects_are_shown_and_keys_are_neither() {
    let double = Double::start();
    double.put("app/db", "SECRET", br#"{"user":"u"}"#);
    double.put("blob", "OPAQUE", b"text");
    double.put("key", "AES", b"canary");
    double.keep("blob");
    let store = store(&double).await;
    assert_eq!(value(&*store, "app/db").await.unwrap(), r#"{"user":"u"}"#);
    assert_eq!(value(&*store, "blob").await.unwrap(), "text");
    assert_eq!(kind(fetched(&*store, "key").await), ErrorKind::Invalid);
    assert_eq!(kind(fetched(&*store, "").await), ErrorKind::Invalid);
    assert!(store.identity_note().is_none());
}

#[tokio::test]
async fn a_login_ends_with_its_store() {
    let double = Double::start();
    let store = store(&double).await;
    store.validate().await.unwrap();
    assert_eq!(double.sessions(), 1);
    drop(store);
    until(|| double.sessions() == 0).await;
}

#[tokio::test]
async fn one_login_is_for_all_and_is_made_again_when_it_ends() {
    let double = Double::start();
    double.put("a", "SECRET", b"v");
    double.logins_last(Duration::from_secs(2));
    let store = store(&double).await;
    for _ in 0..3 {
        assert_eq!(value(&*store, "a").await.unwrap(), "v");
    }
    assert_eq!(double.logins(), 1);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    store.validate().await.unwrap();
    value(&*store, "a").await.unwrap();
    assert!(double.logins() >= 2);
}

#[tokio::test]
async fn what_the_spec_gets_wrong_is_named() {
    let double = Double::start();
    let good = spec(&double.server().url());
    for (field, wrong, words) in [
        ("apiKey", json!(null), "apiKey.secretRef is missing"),
        ("apiKey", json!({}), "apiKey.secretRef is missing"),
        ("apiUrl", json!("canary"), "apiUrl must be a URL"),
    ] {
        let mut spec = good.clone();
        spec[field] = wrong;
        let error = store_of(&spec, KEY).await.err().unwrap();
        assert!(error.message().contains(words), "{error}");
    }
    assert_eq!(kind(store_of(&good, NEXT).await), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    for (status, body, expected) in [
        (400, r#"{"message":"canary"}"#, ErrorKind::Invalid),
        (400, "the canary is not exportable", ErrorKind::Denied),
        (401, "canary", ErrorKind::Unauthenticated),
        (403, "canary", ErrorKind::Denied),
        (404, "sobject does not exist", ErrorKind::Denied),
        (404, r#"{"message":"Sobject does not exist"}"#, ErrorKind::Denied),
        (404, "<html>canary", ErrorKind::Malformed),
        (429, "", ErrorKind::Throttled),
        (500, "canary", ErrorKind::Unavailable),
        (504, "", ErrorKind::Timeout),
        (200, "canary", ErrorKind::Malformed),
        (200, r#"{"obj_type":"OPAQUE"}"#, ErrorKind::Malformed),
        (200, r#"{"obj_type":"SECRET"}"#, ErrorKind::Malformed),
        (302, "", ErrorKind::Malformed),
    ] {
        let passes = |path: &str| path.ends_with("/auth").then_some(r#"{"access_token":"t","expires_in":60}"#);
        let server = refusing(status, body, passes).await;
        let store = store_of(&spec(&server.url()), KEY).await.unwrap();
        assert_eq!(kind(fetched(&*store, "a").await), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn a_login_that_is_refused_is_named() {
    for status in [400, 401, 403] {
        let server = refusing(status, "canary", |_| None).await;
        assert_eq!(kind(store_of(&spec(&server.url()), KEY).await), ErrorKind::Unauthenticated, "{status}");
    }
}
