//! Delinea DevOps Secrets Vault.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::delinea::{CLIENT, Double};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Capabilities, Error, ErrorKind, Provider};
use keyferry_provider_rest::DELINEA;
use keyferry_provider_testkit::{Fixture, MapCredentials, suite};
use serde_json::{Value, json};

use crate::common::{build, context, context_at, fetched, kind, refusing, value};

fn spec(url: &str) -> Value {
    json!({
        "tenant": "tenant", "urlTemplate": format!("{url}/%s/%s/v1/%s%s"), "clientId": {"value": CLIENT.0},
        "clientSecret": {"secretRef": {"name": "delinea", "key": "secret"}},
    })
}

async fn store_of(spec: &Value, secret: &str) -> Result<Arc<dyn Provider>, Error> {
    build(&DELINEA, spec, context(MapCredentials::new().with("delinea/secret", secret), &[])).await
}

async fn store(double: &Double) -> Arc<dyn Provider> {
    store_of(&spec(&double.server().url()), &format!("{}\n", CLIENT.1)).await.unwrap()
}

/// What logs in after a rotation.
const NEXT: &str = "canary-of-the-next";

/// The double as a backend that the suite writes to: each value is a field of its own.
struct Backend(Double, Mutex<&'static str>);

#[async_trait]
impl Fixture for Backend {
    fn name(&self) -> String {
        "delinea".to_owned()
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn registered(&self) -> Capabilities {
        (DELINEA.capabilities)(&json!({}))
    }

    fn is_proven(&self) -> bool {
        false
    }

    fn credentials(&self) -> Vec<String> {
        [CLIENT.1, NEXT, "canary-of-session"].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let text = *self.1.lock().unwrap();
        Some(build(&DELINEA, &spec(url), context_at("delinea/secret", text, &[], addresses)).await.unwrap())
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_secret(NEXT);
        true
    }

    /// One each, and one for the login.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys + 1)
    }

    fn takes_empty(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        self.0.put(name, json!({"value": std::str::from_utf8(value).unwrap()}));
        None
    }

    async fn delete(&self, name: &str) {
        self.0.delete(name);
    }

    fn fetched(&self, value: &[u8]) -> Vec<u8> {
        // As Go writes it.
        let text = json!({"value": std::str::from_utf8(value).unwrap()}).to_string();
        let escapes =
            [("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u{2028}", "\\u2028"), ("\u{2029}", "\\u2029")];
        escapes.into_iter().fold(text, |text, (plain, escaped)| text.replace(plain, escaped)).into_bytes()
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Backend(Double::start(), Mutex::new(CLIENT.1))).await;
}

#[tokio::test]
async fn one_login_is_for_all_and_is_made_again_when_it_ends() {
    let double = Double::start();
    double.put("a/b", json!({"user": "u", "n": 1}));
    double.logins_last(Duration::from_secs(2));
    let store = store(&double).await;
    for _ in 0..3 {
        assert_eq!(value(&*store, "/a//b").await.unwrap(), r#"{"n":1,"user":"u"}"#);
    }
    assert_eq!(double.logins(), 1);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    store.validate().await.unwrap();
    value(&*store, "a/b").await.unwrap();
    assert!(double.logins() >= 2 && store.identity_note().unwrap().contains("unproven"));
}

#[tokio::test]
async fn what_the_spec_gets_wrong_is_named() {
    let double = Double::start();
    let good = spec(&double.server().url());
    for (field, wrong, words) in [
        ("tenant", json!(""), "tenant is missing"),
        ("clientId", json!(null), "clientId is missing"),
        ("clientSecret", json!({}), "not of the form"),
        ("urlTemplate", json!("https://canary"), "must hold %s four times"),
    ] {
        let mut spec = good.clone();
        spec[field] = wrong;
        let error = store_of(&spec, CLIENT.1).await.err().unwrap();
        assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
    }
    assert_eq!(kind(store_of(&good, "canary-of-another").await), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    for (status, body, expected) in [
        (400, r#"{"code":400,"message":"canary"}"#, ErrorKind::Invalid),
        (401, r#"{"code":401,"message":"canary"}"#, ErrorKind::Unauthenticated),
        (403, r#"{"code":403,"message":"canary"}"#, ErrorKind::Denied),
        (404, r#"{"code":404,"message":"canary"}"#, ErrorKind::NotFound),
        (404, r#"{"message":"canary"}"#, ErrorKind::Malformed),
        (404, "<html>canary", ErrorKind::Malformed),
        (429, "", ErrorKind::Throttled),
        (500, "canary", ErrorKind::Unavailable),
        (504, "", ErrorKind::Timeout),
        (200, "canary", ErrorKind::Malformed),
        (200, "{}", ErrorKind::Malformed),
        (302, "", ErrorKind::Malformed),
    ] {
        let passes = |path: &str| path.ends_with("/token").then_some(r#"{"accessToken":"t","expiresIn":60}"#);
        let server = refusing(status, body, passes).await;
        let store = store_of(&spec(&server.url()), CLIENT.1).await.unwrap();
        assert_eq!(kind(fetched(&*store, "a").await), expected, "{status} {body}");
    }
}
