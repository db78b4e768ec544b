//! Doppler.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keyferry_doubles::doppler::{Double, IDENTITY, TOKEN};
use keyferry_doubles::{Faults, Server};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Capabilities, Error, ErrorKind, Provider, Query, find_all};
use keyferry_provider_rest::DOPPLER;
use keyferry_provider_testkit::{Fixture, MapCredentials, suite};
use serde_json::{Value, json};

use crate::common::{build, context, context_at, fetched, key, kind, push, refusing, value};

fn spec() -> Value {
    json!({"auth": {"secretRef": {"dopplerToken": {"name": "doppler"}}}})
}

async fn store_of(url: &str, spec: &Value, token: &str) -> Result<Arc<dyn Provider>, Error> {
    let credentials = MapCredentials::new().with("doppler/dopplerToken", token).with("pod/token", IDENTITY.1);
    build(&DOPPLER, spec, context(credentials, &[("DOPPLER_BASE_URL", url)])).await
}

async fn store(double: &Double, spec: &Value) -> Arc<dyn Provider> {
    store_of(&double.server().url(), spec, &format!("{TOKEN}\n")).await.unwrap()
}

/// What logs in after a rotation.
const NEXT: &str = "dp.st.dev.canary-of-the-next";

/// The double as a backend that the suite writes to, and what logs in.
struct Backend(Double, Mutex<&'static str>);

#[async_trait]
impl Fixture for Backend {
    fn name(&self) -> String {
        "doppler".to_owned()
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn registered(&self) -> Capabilities {
        (DOPPLER.capabilities)(&json!({}))
    }

    fn credentials(&self) -> Vec<String> {
        [TOKEN, NEXT].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let text = *self.1.lock().unwrap();
        let ctx = context_at("doppler/dopplerToken", text, &[("DOPPLER_BASE_URL", url)], addresses);
        Some(build(&DOPPLER, &spec(), ctx).await.unwrap())
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_token(NEXT);
        true
    }

    async fn deny(&self, name: &str) -> bool {
        self.0.restrict(name);
        true
    }

    /// A config is read whole.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys.div_ceil(1000))
    }

    fn takes_empty(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        self.0.put(name, std::str::from_utf8(value).unwrap());
        None
    }

    async fn delete(&self, name: &str) {
        self.0.delete(name);
    }

    fn largest(&self) -> usize {
        50 << 10
    }

    fn marks(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Backend(Double::start(), Mutex::new(TOKEN))).await;
}

#[tokio::test]
async fn a_batch_is_one_call() {
    let double = Double::start();
    let keys: Vec<_> = (0..1000).map(|n| key(&format!("KEY_{n}"))).collect();
    for key in &keys {
        double.put(&key.name, "v");
    }
    let store = store(&double, &spec()).await;
    double.server().take_calls();
    assert!(store.fetch(&keys).await.unwrap().iter().all(Result::is_ok));
    assert_eq!((double.server().take_calls().len(), store.capabilities().max_batch), (1, 1000));
    // Whether something is not there is asked by its name.
    assert_eq!(kind(fetched(&*store, "MISSING").await), ErrorKind::NotFound);
    assert_eq!(double.server().take_calls().len(), 2);
}

#[tokio::test]
async fn what_a_search_finds_is_fetched_by_the_name_that_the_transformer_makes() {
    let double = Double::start();
    double.put("API_KEY", "k");
    double.put("DB__HOST", "h");
    for (transformer, name) in [
        ("upper-camel", "ApiKey"),
        ("camel", "apiKey"),
        ("lower-snake", "api_key"),
        ("tf-var", "TF_VAR_api_key"),
        ("dotnet-env", "ApiKey"),
        ("lower-kebab", "api-key"),
    ] {
        let mut spec = spec();
        spec["nameTransformer"] = json!(transformer);
        let store = store(&double, &spec).await;
        let query = Query { name: Some("(?i)api.?key".parse().unwrap()), ..Query::default() };
        assert_eq!(find_all(&*store, &query).await.unwrap(), [key(name)], "{transformer}");
        assert_eq!(value(&*store, name).await.unwrap(), "k", "{transformer}");
        // Entries of `data` go by the secret's own name.
        assert_eq!(value(&*store, "API_KEY").await.unwrap(), "k", "{transformer}");
    }
}

#[tokio::test]
async fn a_search_of_a_store_with_a_format_finds_one_file() {
    let double = Double::start();
    double.put("API_KEY", "k");
    for (format, holds) in [
        ("env", "API_KEY=\"k\""),
        ("yaml", "API_KEY: \"k\""),
        ("docker", "API_KEY=k"),
        ("json", "\"API_KEY\":\"k\""),
        ("dotnet-json", "DotNet"),
    ] {
        let mut spec = spec();
        spec["format"] = json!(format);
        let store = store(&double, &spec).await;
        let found = find_all(&*store, &Query::default()).await.unwrap();
        assert_eq!(found, [key("DOPPLER_SECRETS_FILE")]);
        double.server().take_calls();
        assert!(value(&*store, "DOPPLER_SECRETS_FILE").await.unwrap().contains(holds), "{format}");
        assert_eq!(double.server().take_calls().len(), 1);
        let both = store.fetch(&[key("API_KEY"), key("DOPPLER_SECRETS_FILE")]).await.unwrap();
        assert!(both.iter().all(Result::is_ok) && both[0].as_ref().unwrap().value.expose() == b"k");
    }
}

#[tokio::test]
async fn a_path_is_the_beginning_of_a_name_and_nothing_finds_all() {
    let double = Double::start();
    double.put("APP_A", "a");
    double.put("OTHER", "o");
    let store = store(&double, &spec()).await;
    let names = async |path: Option<&str>| -> Vec<String> {
        let query = Query { path: path.map(str::to_owned), ..Query::default() };
        find_all(&*store, &query).await.unwrap().into_iter().map(|key| key.name).collect()
    };
    assert_eq!(names(Some("APP_")).await, ["APP_A"]);
    assert_eq!(names(None).await, ["APP_A", "DOPPLER_CONFIG", "DOPPLER_ENVIRONMENT", "DOPPLER_PROJECT", "OTHER"]);
}

/// They are of everybody who uses the store.
#[tokio::test]
async fn names_that_are_not_there_cost_one_call_and_take_no_value_along() {
    let double = Double::start();
    double.put("A", "a");
    let store = store(&double, &spec()).await;
    let keys: Vec<_> = (0..50).map(|n| key(&format!("NONE_{n}"))).chain([key("A")]).collect();
    double.server().take_calls();
    let answers = store.fetch(&keys).await.unwrap();
    assert_eq!(double.server().take_calls().len(), 2);
    assert!(answers[..50].iter().all(|answer| answer.as_ref().unwrap_err().kind() == ErrorKind::NotFound));
    assert!(answers[50].is_ok());
    for (faults, expected) in [
        (Faults { throttled: 100, ..Faults::default() }, ErrorKind::Throttled),
        (Faults { broken: 100, ..Faults::default() }, ErrorKind::Unavailable),
    ] {
        double.server().fail(Faults { paths: vec!["/v3/configs/config/secrets/names".to_owned()], ..faults });
        let answers = store.fetch(&[key("NONE"), key("A")]).await.unwrap();
        assert_eq!(answers[0].as_ref().unwrap_err().kind(), expected);
        assert!(answers[1].is_ok(), "what is there is not touched");
    }
}

#[tokio::test]
async fn a_restricted_secret_is_there_and_not_for_us() {
    let double = Double::start();
    double.put("HIDDEN", "canary");
    double.restrict("HIDDEN");
    let store = store(&double, &spec()).await;
    assert_eq!(kind(fetched(&*store, "HIDDEN").await), ErrorKind::Denied);
}

#[tokio::test]
async fn a_service_account_logs_in_and_its_token_is_replaced() {
    let double = Double::start();
    double.put("A", "a");
    let oidc = json!({"auth": {"oidcConfig": {"identity": IDENTITY.0, "serviceAccountRef": {"name": "pod"}}}, "project": "auth-api", "config": "dev"});
    double.logins_last(Duration::from_secs(2));
    let store = store(&double, &oidc).await;
    for _ in 0..5 {
        assert_eq!(value(&*store, "A").await.unwrap(), "a");
    }
    assert_eq!(double.logins(), 1);
    assert!(store.identity_note().unwrap().contains("this login is built from the vendor's documents and unproven"));
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(value(&*store, "A").await.unwrap(), "a");
    assert!(double.logins() >= 2);
    let mut other = oidc.clone();
    other["auth"]["oidcConfig"]["identity"] = json!("canary-of-another");
    assert_eq!(kind(store_of(&double.server().url(), &other, TOKEN).await), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn what_the_spec_gets_wrong_is_named() {
    let double = Double::start();
    let url = double.server().url();
    let token = json!({"secretRef": {"dopplerToken": {"name": "doppler"}}});
    for (spec, words) in [
        (json!({}), "spec.provider.doppler.auth is missing"),
        (json!({"auth": {}}), "exactly one of secretRef and oidcConfig"),
        (json!({"auth": {"secretRef": {}}}), "dopplerToken is missing"),
        (json!({"auth": token, "nameTransformer": "canary"}), "nameTransformer must be one of"),
        (json!({"auth": token, "format": "canary"}), "format must be one of"),
        (json!({"auth": ["canary"]}), "not of the form"),
    ] {
        let error = store_of(&url, &spec, TOKEN).await.err().unwrap();
        assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
    }
    let wrong = store_of(&url, &spec(), "canary-of-another").await.unwrap();
    assert_eq!(kind(wrong.validate().await), ErrorKind::Unauthenticated);
    let mut elsewhere = spec();
    elsewhere["project"] = json!("canary");
    let error = store(&double, &elsewhere).await.validate().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("spec.provider.doppler.project"), "{error}");
}

#[tokio::test]
async fn a_property_is_pushed_into_what_is_there_and_no_equal_value_is_written_again() {
    let double = Double::start();
    let store = store(&double, &spec()).await;
    store.push(&push("A", Some("p"), "1")).await.unwrap();
    store.push(&push("A", Some("q"), "2")).await.unwrap();
    assert_eq!(value(&*store, "A").await.unwrap(), r#"{"p":"1","q":"2"}"#);
    double.server().take_calls();
    store.push(&push("A", Some("q"), "2")).await.unwrap();
    assert!(double.server().take_calls().iter().all(|call| call.method == "GET"));
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    for (status, body, expected) in [
        (400, r#"{"messages":["canary"],"success":false}"#, ErrorKind::Invalid),
        (401, r#"{"messages":["canary"],"success":false}"#, ErrorKind::Unauthenticated),
        (403, r#"{"messages":["canary"],"success":false}"#, ErrorKind::Denied),
        (404, "<html>canary", ErrorKind::Malformed),
        (404, r#"{"messages":["canary"],"success":false}"#, ErrorKind::Malformed),
        (429, "", ErrorKind::Throttled),
        (500, "canary", ErrorKind::Unavailable),
        (504, "", ErrorKind::Timeout),
        (200, "canary", ErrorKind::Malformed),
        (302, "", ErrorKind::Malformed),
    ] {
        let server = refusing(status, body, |_| None).await;
        let store = store_of(&server.url(), &spec(), TOKEN).await.unwrap();
        assert_eq!(kind(fetched(&*store, "A").await), expected, "{status}");
    }
    // Only the names of the config tell that one is not there: not a gateway, and not that there is no project.
    for (status, body, expected) in [
        (200, r#"{"names":["DOPPLER_PROJECT"],"success":true}"#, ErrorKind::NotFound),
        (200, r#"{"names":["A"],"success":true}"#, ErrorKind::Malformed),
        (200, r#"{"names":[],"success":true}"#, ErrorKind::Malformed),
        (404, r#"{"messages":["Could not find requested secret: A"]}"#, ErrorKind::Invalid),
        (404, r#"{"messages":["Could not find requested project"]}"#, ErrorKind::Invalid),
        (404, "<html>canary", ErrorKind::Malformed),
        (429, "", ErrorKind::Throttled),
    ] {
        let server = refusing(status, body, |path| path.ends_with("/download").then_some("{}")).await;
        let store = store_of(&server.url(), &spec(), TOKEN).await.unwrap();
        assert_eq!(kind(fetched(&*store, "A").await), expected, "{body}");
    }
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let double = Double::start();
    double.put("A", "a");
    let store = store(&double, &spec()).await;
    for faults in [
        Faults { broken: 100, ..Faults::default() },
        Faults { throttled: 100, ..Faults::default() },
        Faults { reset: 100, ..Faults::default() },
        Faults { garbage: 100, ..Faults::default() },
        Faults { huge: 100, ..Faults::default() },
    ] {
        double.server().fail(faults);
        assert_ne!(kind(find_all(&*store, &Query::default()).await), ErrorKind::NotFound);
    }
}
