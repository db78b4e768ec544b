//! The behaviour that every store shares, and what is this store's own, against a server of ours.

mod double;

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, Capabilities, Error, ErrorKind, Key, Provider, Query, Remote};
use keyferry_provider_skeleton::REGISTRATION;
use keyferry_provider_testkit::{Fault, Fixture, MapCredentials, a_search_under_faults, suite};
use serde_json::json;

use crate::double::{Double, PAGE};

const KEY: &str = "canary-of-the-key";

async fn store(double: &Double, key: &str) -> Result<Arc<dyn Provider>, Error> {
    store_at(&double.url(), key, Addresses::anywhere()).await
}

async fn store_at(url: &str, key: &str, addresses: Addresses) -> Result<Arc<dyn Provider>, Error> {
    // An error means that a TLS library is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let spec = json!({"url": url, "auth": {"keySecretRef": {"name": "cellar", "key": "key"}}});
    let credentials = MapCredentials::new().with("cellar/key", key);
    let context = BuildContext { addresses, ..BuildContext::new(Arc::new(credentials), Arc::new(())) };
    (REGISTRATION.build)(&spec, context).await
}

#[async_trait]
impl Fixture for Double {
    fn registered(&self) -> Capabilities {
        (REGISTRATION.capabilities)(&json!({}))
    }

    async fn provider(&self) -> Arc<dyn Provider> {
        store(self, &format!("{}\n", self.key())).await.unwrap()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        Some(store_at(url, &self.key(), addresses).await.unwrap())
    }

    /// There is no such vendor.
    fn is_proven(&self) -> bool {
        false
    }

    fn server(&self) -> Option<Server> {
        Some(Double::server(self))
    }

    fn credentials(&self) -> Vec<String> {
        vec![self.key()]
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        Some(self.write(name, std::str::from_utf8(value).unwrap()))
    }

    async fn delete(&self, name: &str) {
        self.remove(name);
    }

    async fn deny(&self, name: &str) -> bool {
        self.refuse(name, "denied");
        true
    }

    async fn disable(&self, name: &str) -> bool {
        self.refuse(name, "disabled");
        true
    }

    async fn rotate(&self) -> bool {
        self.change_key("canary-of-the-next-key");
        true
    }

    fn takes_empty(&self) -> bool {
        true
    }

    fn page(&self) -> Option<usize> {
        Some(PAGE)
    }

    /// One each, and one for the login.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys + 1)
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Double::start(KEY)).await;
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let double = Double::start(KEY);
    for n in 0..25 {
        double.write(&format!("secret-{n}"), "v");
    }
    let query = Query { name: Some("^secret-".parse().unwrap()), ..Query::default() };
    let build = async |fault: Option<(usize, Fault)>| {
        let (pages, fault) = fault.unwrap_or((usize::MAX, Fault::Garbage));
        match fault {
            Fault::Status(status) => double.answer_lists_after(pages, status, "canary"),
            Fault::Garbage => double.answer_lists_after(pages, 200, "canary"),
            Fault::Cut => double.answer_lists_after(pages, 200, r#"{"names":["secret-1","#),
        }
        store(&double, KEY).await.unwrap()
    };
    a_search_under_faults(&query, 3, build).await;
}

#[tokio::test]
async fn a_wrong_key_is_said_when_the_store_is_built() {
    let double = Double::start(KEY);
    let error = store(&double, "canary-of-another").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(!error.message().contains("canary"), "{error}");
}

#[tokio::test]
async fn a_young_token_that_is_refused_is_wrong_rather_than_ended() {
    let double = Double::start(KEY);
    double.write("a", "v");
    let store = store(&double, KEY).await.unwrap();
    double.end_sessions();
    let key = Key { name: "a".into(), version: None, metadata: false };
    assert_eq!(store.fetch(&[key]).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(double.logins(), 1);
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let double = Double::start(KEY);
    let store = store(&double, KEY).await.unwrap();
    for (status, body, expected) in [
        (400, r#"{"error":"canary"}"#, ErrorKind::Invalid),
        (403, "", ErrorKind::Denied),
        (403, r#"{"error":"disabled"}"#, ErrorKind::Denied),
        (404, "<html>canary", ErrorKind::Malformed),
        (409, "", ErrorKind::Unavailable),
        (429, "", ErrorKind::Throttled),
        (504, "", ErrorKind::Timeout),
        (500, "canary", ErrorKind::Unavailable),
        (200, "canary", ErrorKind::Malformed),
        (302, "", ErrorKind::Malformed),
    ] {
        double.answer_always(status, body);
        let error = store.exists(&Remote { key: "a".into(), ..Remote::default() }).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{status}: {error}");
        assert!(!error.message().contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_store_that_can_not_be_used_says_what_is_wrong_and_what_to_do() {
    let double = Double::start(KEY);
    let check = async |url: &str, key: &str| match store_at(url, key, Addresses::anywhere()).await {
        Ok(store) => store.validate().await.err(),
        Err(error) => Some(error),
    };
    assert_eq!(check(&double.url(), KEY).await, None);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let tls = double.url().replace("http://", "https://");
    for (url, key, kind, words) in [
        (
            "http://no-such-host.invalid",
            KEY,
            ErrorKind::Unavailable,
            "can't be resolved: check spec.provider.cellar.url",
        ),
        (&gone, KEY, ErrorKind::Unavailable, "refuses connections: nothing listens there: start it, or check spec.pro"),
        (&tls, KEY, ErrorKind::Tls, "does not speak TLS: spec.provider.cellar.url may need http://"),
        (&double.url(), "canary-of-another", ErrorKind::Unauthenticated, "does not accept the store's key"),
    ] {
        let error = check(url, key).await.expect("it can't be used");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let store = store(&double, KEY).await.unwrap();
    double.answer_always(403, "");
    let error = store.validate().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.message().contains("allow it to the key"), "{error}");
}
