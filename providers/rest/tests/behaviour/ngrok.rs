//! ngrok.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::ngrok::{Double, KEY, VAULT};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Capabilities, Error, ErrorKind, Provider, Push, Reach, Remote};
use keyferry_provider_rest::NGROK;
use keyferry_provider_testkit::{Fixture, MapCredentials, suite};
use serde_json::{Value, json};

use crate::common::{build, context, context_at, kind, push, refusing};

fn spec(url: &str) -> Value {
    json!({
        "apiUrl": url, "auth": {"apiKey": {"secretRef": {"name": "ngrok", "key": "key"}}}, "vault": {"name": VAULT},
    })
}

async fn store_of(spec: &Value, key: &str) -> Result<Arc<dyn Provider>, Error> {
    build(&NGROK, spec, context(MapCredentials::new().with("ngrok/key", key), &[])).await
}

async fn store(double: &Double) -> Arc<dyn Provider> {
    store_of(&spec(&double.server().url()), &format!("{KEY}\n")).await.unwrap()
}

/// What logs in after a rotation.
const NEXT: &str = "canary-of-the-next";

struct Backend(Double, Mutex<&'static str>);

#[async_trait]
impl Fixture for Backend {
    fn name(&self) -> String {
        "ngrok".to_owned()
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn registered(&self) -> Capabilities {
        (NGROK.capabilities)(&json!({}))
    }

    fn credentials(&self) -> Vec<String> {
        [KEY, NEXT].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let text = *self.1.lock().unwrap();
        Some(build(&NGROK, &spec(url), context_at("ngrok/key", text, &[], addresses)).await.unwrap())
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_key(NEXT);
        true
    }

    async fn held(&self, name: &str) -> Option<Vec<u8>> {
        self.0.held(name).map(|(value, ..)| value.into_bytes())
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        self.0.put(name, std::str::from_utf8(value).unwrap());
        None
    }

    async fn delete(&self, name: &str) {
        self.0.delete(name);
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
    suite(&Backend(Double::start(), Mutex::new(KEY))).await;
}

#[tokio::test]
async fn what_a_push_says_of_a_secret_is_there() {
    let double = Double::start();
    let store = store(&double).await;
    store.push(&push("a", None, "abc")).await.unwrap();
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let (value, metadata, description) = double.held("a").unwrap();
    assert_eq!((value.as_str(), description.as_str()), ("abc", "Managed by External Secrets Operator"));
    assert_eq!(metadata, format!(r#"{{"_sha256":"{hash}"}}"#));
    let said = json!({
        "apiVersion": "kubernetes.external-secrets.io/v1alpha1", "kind": "PushSecretMetadata",
        "spec": {"description": "of a", "metadata": {"team": "x"}},
    });
    let plain = push("a", None, "abc");
    store.push(&Push { remote: Remote { metadata: Some(said), ..plain.remote.clone() }, ..plain }).await.unwrap();
    let (_, metadata, description) = double.held("a").unwrap();
    assert_eq!((metadata, description.as_str()), (format!(r#"{{"_sha256":"{hash}","team":"x"}}"#), "of a"));
}

#[tokio::test]
async fn a_name_is_found_on_any_page() {
    let double = Double::start();
    for n in 0..250 {
        double.put(&format!("many-{n}"), "v");
        double.vault(&format!("other-{n}"));
    }
    let store = store(&double).await;
    store.push(&push("many-0", None, "w")).await.unwrap();
    assert_eq!(double.held("many-0").unwrap().0, "w");
    let remote = |key: &str, property: Option<&str>| Remote {
        key: key.to_owned(),
        property: property.map(str::to_owned),
        metadata: None,
    };
    assert!(store.exists(&remote("many-1", None)).await.unwrap());
    assert!(!store.exists(&remote("many-250", None)).await.unwrap());
    store.delete(&remote("many-1", None), Reach::Ours).await.unwrap();
    assert!(double.held("many-1").is_none());
}

#[tokio::test]
async fn a_property_can_t_be_written_into_what_nobody_is_shown() {
    let double = Double::start();
    double.put("a", "theirs");
    let store = store(&double).await;
    assert_eq!(kind(store.push(&push("a", Some("p"), "v")).await), ErrorKind::Invalid);
    let property = Remote { key: "a".to_owned(), property: Some("p".to_owned()), metadata: None };
    store.delete(&property, Reach::All).await.unwrap();
    assert_eq!(double.held("a").unwrap().0, "theirs");
}

#[tokio::test]
async fn what_the_spec_gets_wrong_is_named() {
    let double = Double::start();
    let good = spec(&double.server().url());
    for (field, wrong, words) in [
        ("apiUrl", json!("canary"), "apiUrl must be a URL"),
        ("auth", json!({}), "auth.apiKey.secretRef is missing"),
        ("vault", json!({"name": ""}), "vault.name is missing"),
    ] {
        let mut spec = good.clone();
        spec[field] = wrong;
        let error = store_of(&spec, KEY).await.err().unwrap();
        assert!(error.message().contains(words), "{error}");
    }
    let mut elsewhere = good.clone();
    elsewhere["vault"]["name"] = json!("nowhere");
    let nowhere = store_of(&elsewhere, KEY).await.unwrap();
    let error = nowhere.validate().await.unwrap_err();
    assert!(error.message().contains("there is no vault \"nowhere\""), "{error}");
    assert_eq!(kind(nowhere.push(&push("a", None, "v")).await), ErrorKind::Invalid);
    // What is in a vault that is out of sight is not known, and stays to be deleted.
    assert_eq!(kind(nowhere.exists(&push("a", None, "v").remote).await), ErrorKind::Invalid);
    assert_eq!(kind(nowhere.delete(&push("a", None, "v").remote, Reach::Ours).await), ErrorKind::Invalid);
    let wrong = store_of(&good, "canary-of-another").await.unwrap();
    assert_eq!(kind(wrong.validate().await), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    for (status, body, expected) in [
        (400, r#"{"msg":"canary"}"#, ErrorKind::Invalid),
        (401, r#"{"msg":"canary"}"#, ErrorKind::Unauthenticated),
        (403, r#"{"msg":"canary"}"#, ErrorKind::Denied),
        (404, "<html>canary", ErrorKind::Malformed),
        (429, "", ErrorKind::Throttled),
        (500, "canary", ErrorKind::Unavailable),
        (504, "", ErrorKind::Timeout),
        (200, "canary", ErrorKind::Malformed),
        (200, r#"{"vaults":[{}]}"#, ErrorKind::Malformed),
        (200, r#"{"vaults":[],"next_page_uri":"canary"}"#, ErrorKind::Malformed),
        (302, "", ErrorKind::Malformed),
    ] {
        let server = refusing(status, body, |_| None).await;
        let store = store_of(&spec(&server.url()), KEY).await.unwrap();
        assert_eq!(kind(store.validate().await), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn pages_without_an_end_are_not_looked_through_for_ever() {
    let endless = r#"{"vaults":[{"id":"v","name":"other"}],"next_page_uri":"http://h/vaults?before_id=v"}"#;
    let server = refusing(200, endless, |_| None).await;
    let store = store_of(&spec(&server.url()), KEY).await.unwrap();
    assert_eq!(kind(store.validate().await), ErrorKind::Invalid);
    assert_eq!(server.calls().len(), 100);
}
