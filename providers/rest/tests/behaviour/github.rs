//! GitHub.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::actions::{Double, PLACE};
use keyferry_doubles::github::{APP, INSTALLATION};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, Capabilities, Error, ErrorKind, Provider, Reach, Remote};
use keyferry_provider_rest::GITHUB;
use keyferry_provider_testkit::{Fixture, MapCredentials, suite};
use serde_json::{Value, json};

use crate::common::{build, context, kind, push, refusing, until};

const ORGANIZATION: &str = "orgs/shop/actions";

fn spec(url: &str) -> Value {
    let number = |text: &str| text.parse::<u64>().unwrap();
    json!({
        "url": url, "appID": number(APP), "installationID": number(INSTALLATION), "organization": PLACE.0,
        "auth": {"privateKey": {"name": "github", "key": "key"}},
    })
}

fn credentials(key: &str) -> MapCredentials {
    MapCredentials::new().with("github/key", key)
}

async fn store_of(spec: &Value, key: &str) -> Result<Arc<dyn Provider>, Error> {
    build(&GITHUB, spec, context(credentials(key), &[])).await
}

async fn store(double: &Double) -> Arc<dyn Provider> {
    store_of(&spec(&double.server().url()), &double.key()).await.unwrap()
}

struct Backend(Double);

#[async_trait]
impl Fixture for Backend {
    fn name(&self) -> String {
        "github".to_owned()
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn registered(&self) -> Capabilities {
        (GITHUB.capabilities)(&json!({}))
    }

    fn is_proven(&self) -> bool {
        false
    }

    /// A line of the key, and what begins tokens.
    fn credentials(&self) -> Vec<String> {
        let key = self.0.key();
        key.lines().skip(5).take(1).chain(["ghs_canary-of-session"]).map(str::to_owned).collect()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let ctx = BuildContext { addresses, ..context(credentials(&self.0.key()), &[]) };
        Some(build(&GITHUB, &spec(url), ctx).await.unwrap())
    }

    async fn rotate(&self) -> bool {
        self.0.change_key();
        true
    }

    async fn held(&self, name: &str) -> Option<Vec<u8>> {
        self.0.held(ORGANIZATION, name).map(|(value, ..)| value)
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        self.0.put(name, value, "all", &[]);
        None
    }

    async fn delete(&self, name: &str) {
        self.0.delete(name);
    }

    fn takes_binary(&self) -> bool {
        true
    }

    /// Nobody can be shown the others.
    fn keeps_other_properties(&self) -> bool {
        false
    }

    fn marks(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Backend(Double::start())).await;
}

#[tokio::test]
async fn a_secret_is_of_an_organization_a_repository_or_an_environment() {
    let double = Double::start();
    for (more, place, visibility) in [
        (json!({}), ORGANIZATION, Some("all")),
        (json!({"orgSecretVisibility": "private"}), ORGANIZATION, Some("private")),
        (json!({"repository": "app"}), "repos/shop/app/actions", None),
        (json!({"repository": "app", "environment": "live"}), "repos/shop/app/environments/live", None),
    ] {
        let mut spec = spec(&double.server().url());
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let store = store_of(&spec, &double.key()).await.unwrap();
        store.validate().await.unwrap();
        let remote = Remote { key: "TOKEN".to_owned(), ..Remote::default() };
        store.delete(&remote, Reach::Ours).await.unwrap();
        assert!(!store.exists(&remote).await.unwrap());
        store.push(&push("TOKEN", None, "a value")).await.unwrap();
        assert!(store.exists(&remote).await.unwrap());
        let (value, seen, _) = double.held(place, "TOKEN").unwrap();
        assert_eq!((value.as_slice(), seen.as_deref()), (&b"a value"[..], visibility), "{place}");
        assert!(store.identity_note().unwrap().contains("unproven"));
    }
}

#[tokio::test]
async fn what_is_in_a_repository_that_is_lost_is_not_deleted() {
    let double = Double::start();
    let mut spec = spec(&double.server().url());
    spec["repository"] = json!("renamed");
    let store = store_of(&spec, &double.key()).await.unwrap();
    let remote = Remote { key: "TOKEN".to_owned(), ..Remote::default() };
    assert!(store.delete(&remote, Reach::Ours).await.is_err());
}

#[tokio::test]
async fn a_login_ends_with_its_store() {
    let double = Double::start();
    let store = store(&double).await;
    store.validate().await.unwrap();
    assert_eq!(double.tokens(), 1);
    drop(store);
    until(|| double.tokens() == 0).await;
}

#[tokio::test]
async fn who_sees_a_secret_stays_so() {
    let double = Double::start();
    let many: Vec<u64> = (1..=250).collect();
    double.put("SELECTED", b"old", "selected", &many);
    double.put("PRIVATE", b"old", "private", &[]);
    let store = store(&double).await;
    for name in ["SELECTED", "PRIVATE"] {
        store.push(&push(name, None, "new")).await.unwrap();
    }
    let held = |name: &str| double.held(ORGANIZATION, name).unwrap();
    assert_eq!(held("SELECTED"), (b"new".to_vec(), Some("selected".to_owned()), many));
    assert_eq!(held("PRIVATE"), (b"new".to_vec(), Some("private".to_owned()), Vec::new()));
    assert_eq!(kind(store.push(&push("PRIVATE", Some("a"), "new")).await), ErrorKind::Invalid);
    // A server of the author's own may name more than anybody wants to hold.
    double.put("ENDLESS", b"old", "selected", &(1..=10_050).collect::<Vec<u64>>());
    let error = store.push(&push("ENDLESS", None, "new")).await.unwrap_err();
    assert!(error.message().contains("selected-repositories"), "{error}");
    assert_eq!(held("ENDLESS").0, b"old");
}

#[tokio::test]
async fn what_the_spec_gets_wrong_is_named() {
    let double = Double::start();
    let good = spec(&double.server().url());
    for (field, wrong, words) in [
        ("url", json!("canary"), "url must be a URL"),
        ("appID", json!(null), "appID is missing"),
        ("installationID", json!(null), "installationID is missing"),
        ("organization", json!(""), "organization is missing"),
        ("auth", json!(null), "auth.privateKey is missing"),
        ("auth", json!({"privateKey": {"name": "github", "key": "wrong"}}), "no RSA key in PEM"),
    ] {
        let mut spec = good.clone();
        spec[field] = wrong;
        let credentials = credentials(&double.key()).with("github/wrong", "canary");
        let error = build(&GITHUB, &spec, context(credentials, &[])).await.err().unwrap();
        assert!(error.message().contains(words) && !error.to_string().contains("canary"), "{error}");
    }
    let another = Double::start().key();
    assert_eq!(kind(store_of(&good, &another).await), ErrorKind::Unauthenticated);
    let mut elsewhere = good.clone();
    elsewhere["organization"] = json!("other");
    let error = store_of(&elsewhere, &double.key()).await.unwrap().validate().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("organization"), "{error}");
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    for (status, body, expected) in [
        (401, r#"{"message":"canary"}"#, ErrorKind::Unauthenticated),
        (403, r#"{"message":"canary"}"#, ErrorKind::Denied),
        (404, "<html>canary", ErrorKind::Malformed),
        (422, r#"{"message":"canary"}"#, ErrorKind::Invalid),
        (429, "", ErrorKind::Throttled),
        (500, "canary", ErrorKind::Unavailable),
        (504, "", ErrorKind::Timeout),
        (200, "canary", ErrorKind::Malformed),
        (302, "", ErrorKind::Malformed),
    ] {
        let passes = |path: &str| {
            path.ends_with("/access_tokens").then_some(r#"{"token":"t","expires_at":"2099-01-01T00:00:00Z"}"#)
        };
        let server = refusing(status, body, passes).await;
        let store = store_of(&spec(&server.url()), &Double::start().key()).await.unwrap();
        assert_eq!(kind(store.push(&push("A", None, "v")).await), expected, "{status} {body}");
    }
}
