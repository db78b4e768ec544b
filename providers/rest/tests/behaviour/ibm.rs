//! IBM Cloud Secrets Manager.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::ibm::{Double, KEY, PROFILE};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Capabilities, Error, ErrorKind, Provider, SecretBuf, json as parts};
use keyferry_provider_rest::IBM;
use keyferry_provider_testkit::{Fixture, MapCredentials, suite};
use serde_json::{Value, json};

use crate::common::{Prefixed, build, context, context_at, context_of_namespace, fetched, kind, refusing, value};

fn spec(url: &str) -> Value {
    json!({
        "serviceUrl": url,
        "auth": {"secretRef": {"secretApiKeySecretRef": {"name": "ibm", "key": "key"}, "iamEndpoint": url}},
    })
}

async fn store_of(spec: &Value, key: &str) -> Result<Arc<dyn Provider>, Error> {
    build(&IBM, spec, context(MapCredentials::new().with("ibm/key", key), &[])).await
}

async fn store(double: &Double) -> Arc<dyn Provider> {
    store_of(&spec(&double.server().url()), &format!("{KEY}\n")).await.unwrap()
}

/// What logs in after a rotation.
const NEXT: &str = "canary-of-the-next";

/// The double for tests that know nothing of groups and types.
struct Backend(Double, Mutex<&'static str>);

#[async_trait]
impl Fixture for Backend {
    fn name(&self) -> String {
        "ibm".to_owned()
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn registered(&self) -> Capabilities {
        (IBM.capabilities)(&json!({}))
    }

    fn is_proven(&self) -> bool {
        false
    }

    fn credentials(&self) -> Vec<String> {
        [KEY, NEXT, "canary-of-session"].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let text = *self.1.lock().unwrap();
        let inner = build(&IBM, &spec(url), context_at("ibm/key", text, &[], addresses)).await.unwrap();
        Some(Arc::new(Prefixed { inner, prefix: "default/arbitrary/" }))
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_key(NEXT);
        true
    }

    async fn deny(&self, name: &str) -> bool {
        self.0.deny(name);
        true
    }

    /// One each, and one for the login.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys + 1)
    }

    /// What a secret is read as, which shows its value and its fields.
    fn fetched(&self, value: &[u8]) -> Vec<u8> {
        let mut text = SecretBuf::default();
        parts::write_string(std::str::from_utf8(value).unwrap(), &mut text);
        let text = std::str::from_utf8(text.expose()).unwrap();
        format!(r#"{{"fields":{{"arbitrary":{text}}},"value":{text}}}"#).into_bytes()
    }

    /// The vendor's rule: a slash parts what a key is made of.
    fn takes_name(&self, name: &str) -> bool {
        !name.contains('/')
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        self.0.put("default", "arbitrary", name, json!({"payload": std::str::from_utf8(value).unwrap()}));
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
async fn a_secret_is_read_by_its_id_or_by_group_type_and_name() {
    let double = Double::start();
    let id = double.put("team", "kv", "db", json!({"data": {"user": "u"}}));
    let store = store(&double).await;
    let expected = r#"{"fields":{"user":"u"},"value":"{\"user\":\"u\"}"}"#;
    for key in [id.clone(), format!("kv/{id}"), "team/kv/db".to_owned(), format!("team/kv/{id}")] {
        assert_eq!(value(&*store, &key).await.unwrap(), expected, "{key}");
    }
    for (key, expected) in [
        (format!("arbitrary/{id}"), ErrorKind::Invalid),
        ("db".to_owned(), ErrorKind::Invalid),
        ("other/kv/db".to_owned(), ErrorKind::NotFound),
        ("team/kv/other".to_owned(), ErrorKind::NotFound),
    ] {
        assert_eq!(kind(fetched(&*store, &key).await), expected, "{key}");
    }
    assert!(store.identity_note().unwrap().contains("unproven"));
}

#[tokio::test]
async fn what_holds_nothing_now_is_no_reason_to_delete() {
    let double = Double::start();
    double.put("team", "iam_credentials", "gone", json!({}));
    double.put("team", "future_type", "new", json!({}));
    let id = double.put("team", "future_type", "new", json!({}));
    let store = store(&double).await;
    assert_eq!(kind(fetched(&*store, "team/iam_credentials/gone").await), ErrorKind::NoVersion);
    assert_eq!(kind(fetched(&*store, &id).await), ErrorKind::Invalid);
}

#[tokio::test]
async fn one_login_is_for_all_and_is_made_again_when_it_ends() {
    let double = Double::start();
    let id = double.put("team", "arbitrary", "a", json!({"payload": "v"}));
    double.logins_last(Duration::from_secs(2));
    let store = store(&double).await;
    for _ in 0..3 {
        fetched(&*store, &id).await.unwrap();
    }
    assert_eq!(double.logins(), 1);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    store.validate().await.unwrap();
    fetched(&*store, &id).await.unwrap();
    assert!(double.logins() >= 2);
}

#[tokio::test]
async fn what_the_spec_gets_wrong_is_named() {
    let double = Double::start();
    let good = spec(&double.server().url());
    for (field, wrong, words) in [
        ("serviceUrl", json!(null), "serviceUrl is missing"),
        ("serviceUrl", json!("canary"), "serviceUrl must be a URL"),
        ("auth", json!(null), "auth is missing"),
        ("auth", json!({}), "exactly one of secretRef and containerAuth"),
        ("auth", json!({"secretRef": {}}), "secretApiKeySecretRef is missing"),
        ("auth", json!({"containerAuth": {}}), "containerAuth.profile is missing"),
        ("auth", json!({"containerAuth": {"profile": "p", "tokenLocation": "/canary"}}), "there is no such file"),
        ("auth", json!({"containerAuth": {"profile": "p", "tokenLocation": "/"}}), "none that holds a token"),
        (
            "auth",
            json!({"containerAuth": {"profile": "p", "tokenLocation": "/proc/self/environ"}}),
            "none that holds a token",
        ),
    ] {
        let mut spec = good.clone();
        spec[field] = wrong;
        let error = store_of(&spec, KEY).await.err().unwrap();
        assert!(error.message().contains(words) && !error.to_string().contains("canary"), "{error}");
    }
    assert_eq!(kind(store_of(&good, NEXT).await), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_trusted_profile_logs_in_by_the_token_of_the_operators_pod() {
    let double = Double::start();
    let id = double.put("team", "arbitrary", "a", json!({"payload": "v"}));
    let file = std::env::temp_dir().join(format!("keyferry-ibm-{}", std::process::id()));
    let spec = |profile: &str| {
        let url = double.server().url();
        let of = json!({"profile": profile, "tokenLocation": file.to_str().unwrap(), "iamEndpoint": url});
        json!({"serviceUrl": url, "auth": {"containerAuth": of}})
    };
    std::fs::write(&file, format!("{}\n", PROFILE.1)).unwrap();
    let store = build(&IBM, &spec(PROFILE.0), context(MapCredentials::new(), &[])).await.unwrap();
    assert!(value(&*store, &id).await.unwrap().contains("\"v\""));
    let note = store.identity_note().unwrap();
    assert!(note.contains("as the operator itself") && note.contains("unproven"), "{note}");
    let another = build(&IBM, &spec("another"), context(MapCredentials::new(), &[])).await;
    assert_eq!(kind(another), ErrorKind::Unauthenticated);
    // Whoever writes a store of a namespace chooses neither a file here nor who is shown it.
    let calls = double.server().calls().len();
    let of_namespace = build(&IBM, &spec(PROFILE.0), context_of_namespace(MapCredentials::new(), &[])).await;
    assert_eq!(kind(of_namespace), ErrorKind::Denied);
    assert_eq!(double.server().calls().len(), calls);
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    for (status, body, expected) in [
        (400, r#"{"errors":[{"code":"bad_request","message":"canary"}]}"#, ErrorKind::Invalid),
        (401, "canary", ErrorKind::Unauthenticated),
        (403, r#"{"errors":[{"code":"forbidden"}]}"#, ErrorKind::Denied),
        (404, r#"{"errors":[{"code":"secret_not_found","message":"canary"}]}"#, ErrorKind::NotFound),
        (404, r#"{"errors":[{"code":"route_unknown"}]}"#, ErrorKind::Malformed),
        (404, "<html>canary", ErrorKind::Malformed),
        (429, "", ErrorKind::Throttled),
        (500, "canary", ErrorKind::Unavailable),
        (504, "", ErrorKind::Timeout),
        (200, "canary", ErrorKind::Malformed),
        (200, r#"{"secret_type":"kv","data":"canary"}"#, ErrorKind::Malformed),
        (302, "", ErrorKind::Malformed),
    ] {
        let passes = |path: &str| path.ends_with("/token").then_some(r#"{"access_token":"t","expires_in":60}"#);
        let server = refusing(status, body, passes).await;
        let store = store_of(&spec(&server.url()), KEY).await.unwrap();
        assert_eq!(kind(fetched(&*store, "team/kv/a").await), expected, "{status} {body}");
    }
}
