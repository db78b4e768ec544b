//! The behaviour that every store shares.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyferry_provider_core::{BuildContext, Capabilities, Provider, Query, find_all};
use keyferry_provider_fake::REGISTRATION;
use keyferry_provider_testkit::{Fixture, MapCredentials, suite};
use serde_json::{Value, json};

/// How many secrets a search may find.
const MOST: usize = 10_000;

/// The store's spec is the backend: each put goes into it, and the provider is built anew.
#[derive(Default)]
struct Spec(Mutex<Vec<Value>>);

#[async_trait]
impl Fixture for Spec {
    fn registered(&self) -> Capabilities {
        (REGISTRATION.capabilities)(&json!({}))
    }

    /// An entry without a version has none.
    fn current_has_a_version(&self) -> bool {
        false
    }

    async fn provider(&self) -> Arc<dyn Provider> {
        let spec = json!({"data": *self.0.lock().unwrap()});
        let ctx = BuildContext::new(Arc::new(MapCredentials::new()), Arc::new(()));
        (REGISTRATION.build)(&spec, ctx).await.unwrap()
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        let value = std::str::from_utf8(value).unwrap();
        let mut data = self.0.lock().unwrap();
        let version = format!("v{}", 1 + data.iter().filter(|entry| entry["key"] == name).count() / 2);
        data.push(json!({"key": name, "value": value}));
        data.push(json!({"key": name, "value": value, "version": version}));
        Some(version)
    }

    /// A version is called as the spec calls it.
    async fn stage(&self, name: &str, version: &str) -> Option<String> {
        let mut data = self.0.lock().unwrap();
        let mut staged = data.iter().find(|entry| entry["key"] == name && entry["version"] == version)?.clone();
        staged["version"] = json!("stable");
        data.push(staged);
        Some("stable".to_owned())
    }

    fn takes_empty(&self) -> bool {
        true
    }

    /// What stands in the spec is nobody's to overwrite; all else was pushed.
    fn marks(&self) -> bool {
        false
    }

    async fn delete(&self, name: &str) {
        self.0.lock().unwrap().retain(|entry| entry["key"] != name);
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Spec::default()).await;
}

#[tokio::test]
async fn more_than_a_search_may_find_is_an_error() {
    let many = Spec::default();
    let entries = (0..MOST).map(|n| json!({"key": format!("app-{n}"), "value": "v"}));
    many.0.lock().unwrap().extend(entries);
    let found = async |pattern: &str| {
        let query = Query { name: Some(pattern.parse().unwrap()), ..Query::default() };
        find_all(&*many.provider().await, &query).await
    };
    assert_eq!(found("app").await.unwrap().len(), MOST);
    many.put("app-last", b"v").await;
    let error = found("app").await.unwrap_err();
    assert!(error.message().contains("search-found"), "{error}");
    assert_eq!(found("^app-last$").await.unwrap().len(), 1, "what it does not find does not count");
}
