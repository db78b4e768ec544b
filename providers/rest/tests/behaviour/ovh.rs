//! OVHcloud.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::ovh::{DOMAIN, Double, TOKEN};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{
    Capabilities, Error, ErrorKind, Origin, Payload, Provider, Push, Query, find_all, json as parts,
};
use keyferry_provider_rest::OVH;
use keyferry_provider_testkit::{Fault, Fixture, MapCredentials, a_search_under_faults, suite};
use serde_json::{Value, json};

use crate::common::{build, context, context_at, failing_at, fetched, kind, push, refusing, value};

fn named(key: &str) -> Value {
    json!({"name": "ovh", "key": key})
}

fn spec(url: &str) -> Value {
    json!({"server": url, "okmsid": DOMAIN, "auth": {"token": {"tokenSecretRef": named("token")}}})
}

async fn store_of(spec: &Value, credentials: MapCredentials) -> Result<Arc<dyn Provider>, Error> {
    build(&OVH, spec, context(credentials, &[])).await
}

async fn store(double: &Double) -> Arc<dyn Provider> {
    let credentials = MapCredentials::new().with("ovh/token", format!("{TOKEN}\n"));
    store_of(&spec(&double.server().url()), credentials).await.unwrap()
}

/// What logs in after a rotation.
const NEXT: &str = "canary-of-the-next";

struct Backend(Double, Mutex<&'static str>);

#[async_trait]
impl Fixture for Backend {
    fn name(&self) -> String {
        "ovh".to_owned()
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn registered(&self) -> Capabilities {
        (OVH.capabilities)(&json!({}))
    }

    fn is_proven(&self) -> bool {
        false
    }

    fn credentials(&self) -> Vec<String> {
        [TOKEN, NEXT].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let text = *self.1.lock().unwrap();
        Some(build(&OVH, &spec(url), context_at("ovh/token", text, &[], addresses)).await.unwrap())
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_token(NEXT);
        true
    }

    async fn deny(&self, name: &str) -> bool {
        self.0.deny(name);
        true
    }

    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys)
    }

    fn takes_empty(&self) -> bool {
        true
    }

    /// The vendor's rule.
    fn takes_name(&self, name: &str) -> bool {
        !name.starts_with('/') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:/=@-".contains(&byte))
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        Some(self.0.put(name, json!({"value": std::str::from_utf8(value).unwrap()})).to_string())
    }

    async fn delete(&self, name: &str) {
        self.0.delete(name);
    }

    fn fetched(&self, value: &[u8]) -> Vec<u8> {
        let object = json!({"value": std::str::from_utf8(value).unwrap()}).to_string();
        parts::canonical(parts::value(object.as_bytes()).unwrap()).unwrap().expose().to_vec()
    }

    fn property(&self) -> Option<String> {
        Some("value".to_owned())
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
async fn a_search_is_whole_or_an_error() {
    let double = Double::start();
    for path in ["a", "app/b", "app/deep/c"] {
        double.put(path, json!({"k": "v"}));
    }
    let build = async |fault: Option<(usize, Fault)>| {
        double.server().fail(Default::default());
        failing_at(store(&double).await, fault, double.server())
    };
    a_search_under_faults(&Query::default(), 3, build).await;
}

#[tokio::test]
async fn a_search_goes_into_folders() {
    let double = Double::start();
    for path in ["a", "app/b", "app/deep/c", "other/d"] {
        double.put(path, json!({"k": "v"}));
    }
    let store = store(&double).await;
    let found = async |path: Option<&str>, name: &str| -> Vec<String> {
        let query = Query { path: path.map(str::to_owned), name: Some(name.parse().unwrap()), ..Query::default() };
        find_all(&*store, &query).await.unwrap().into_iter().map(|key| key.name).collect()
    };
    assert_eq!(found(None, ".").await, ["a", "app/b", "app/deep/c", "other/d"]);
    assert_eq!(found(Some("app"), ".").await, ["app/b", "app/deep/c"]);
    assert_eq!(found(Some("/app/"), "c$").await, ["app/deep/c"]);
    assert_eq!(found(Some("nothing"), ".").await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_pushed_without_a_property_goes_by_the_key_of_the_secret() {
    let double = Double::start();
    let store = store(&double).await;
    let of_key = |value: &str, key: &str| {
        let origin = Origin { key: Some(key.to_owned()), ..Origin::default() };
        Push { origin, ..push("db", None, value) }
    };
    store.push(&of_key("v", "password")).await.unwrap();
    assert_eq!(double.held("db").unwrap(), json!({"password": "v"}));
    store.push(&of_key(r#"{"a":[1]}"#, "config")).await.unwrap();
    assert_eq!(double.held("db").unwrap(), json!({"config": {"a": [1]}}));
    store.push(&push("db", Some("user"), "u")).await.unwrap();
    assert_eq!(double.held("db").unwrap(), json!({"config": {"a": [1]}, "user": "u"}));
    let fields = [("a".to_owned(), "x".into()), ("b".to_owned(), "1".into())].into();
    store.push(&Push { payload: Payload::Fields(fields), ..push("db", None, "") }).await.unwrap();
    assert_eq!(double.held("db").unwrap(), json!({"a": "x", "b": 1}));
    double.server().take_calls();
    store
        .push(&Push {
            payload: Payload::Fields([("a".to_owned(), "x".into()), ("b".to_owned(), "1".into())].into()),
            ..push("db", None, "")
        })
        .await
        .unwrap();
    assert!(double.server().take_calls().iter().all(|call| call.method == "GET"), "what is equal is not written");
}

#[tokio::test]
async fn a_write_names_the_version_that_it_follows_where_the_store_says_so() {
    let double = Double::start();
    double.put("db", json!({"k": "v"}));
    double.want_version();
    assert_eq!(kind(store(&double).await.push(&push("db", Some("k"), "w")).await), ErrorKind::Invalid);
    let mut spec = spec(&double.server().url());
    spec["casRequired"] = json!(true);
    let store = store_of(&spec, MapCredentials::new().with("ovh/token", TOKEN)).await.unwrap();
    store.push(&push("db", Some("k"), "w")).await.unwrap();
    store.push(&push("new", Some("k"), "w")).await.unwrap();
    assert_eq!((double.held("db").unwrap(), double.held("new").unwrap()), (json!({"k": "w"}), json!({"k": "w"})));
}

#[tokio::test]
async fn a_version_without_data_is_no_reason_to_delete() {
    let double = Double::start();
    double.put("db", json!({"k": "v"}));
    double.deactivate("db");
    let store = store(&double).await;
    assert_eq!(kind(fetched(&*store, "db").await), ErrorKind::NoVersion);
    store.push(&push("db", Some("k"), "w")).await.unwrap();
    assert_eq!(value(&*store, "db").await.unwrap(), r#"{"k":"w"}"#);
    assert!(store.identity_note().unwrap().contains("unproven"));
}

#[tokio::test]
async fn a_certificate_logs_in_too() {
    let double = Double::start_tls();
    double.put("db", json!({"k": "v"}));
    let (certificate, key) = double.server().authority().client("app");
    let credentials = || {
        let ca = double.server().authority().pem();
        MapCredentials::new().with("ovh/cert", &*certificate).with("ovh/key", &*key).with("ca/ca.crt", ca)
    };
    let mut spec = spec(&double.server().url());
    spec["caProvider"] = json!({"type": "ConfigMap", "name": "ca", "key": "ca.crt"});
    spec["auth"] = json!({"mtls": {"certSecretRef": named("cert"), "keySecretRef": named("key")}});
    let store = store_of(&spec, credentials()).await.unwrap();
    store.validate().await.unwrap();
    assert_eq!(value(&*store, "db").await.unwrap(), r#"{"k":"v"}"#);
    spec["auth"]["mtls"]["keySecretRef"] = named("cert");
    let error = store_of(&spec, credentials()).await.err().unwrap();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("auth.mtls"), "{error}");
}

#[tokio::test]
async fn what_the_spec_gets_wrong_is_named() {
    let double = Double::start();
    let good = spec(&double.server().url());
    let token = json!({"tokenSecretRef": named("token")});
    for (field, wrong, words) in [
        ("server", json!(""), "server is missing"),
        ("server", json!("canary"), "server must be a URL"),
        ("okmsid", json!(null), "okmsid is missing"),
        ("auth", json!(null), "auth is missing"),
        ("auth", json!({}), "needs mtls or token"),
        ("auth", json!({"token": {}}), "tokenSecretRef is missing"),
        ("auth", json!({"token": token, "mtls": {}}), "both mtls and token"),
        ("auth", json!({"mtls": {}}), "certSecretRef is missing"),
    ] {
        let mut spec = good.clone();
        spec[field] = wrong;
        let error = store_of(&spec, MapCredentials::new().with("ovh/token", TOKEN)).await.err().unwrap();
        assert!(error.message().contains(words) && !error.to_string().contains("canary"), "{error}");
    }
    let wrong = store_of(&good, MapCredentials::new().with("ovh/token", NEXT)).await.unwrap();
    assert_eq!(kind(wrong.validate().await), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let code = |category: u64, number: u64| {
        format!(r#"{{"error_code":{},"errors":["canary"]}}"#, 0x0105_0000 | (category << 12) | number)
    };
    for (status, body, expected) in [
        (400, code(8, 1), ErrorKind::Invalid),
        (401, code(3, 1), ErrorKind::Unauthenticated),
        (401, code(4, 1), ErrorKind::Denied),
        (403, code(4, 1), ErrorKind::Denied),
        (404, code(5, 1), ErrorKind::NotFound),
        // Something else is not there.
        (404, code(5, 7), ErrorKind::Malformed),
        (404, "<html>canary".to_owned(), ErrorKind::Malformed),
        (429, String::new(), ErrorKind::Throttled),
        (500, "canary".to_owned(), ErrorKind::Unavailable),
        (504, String::new(), ErrorKind::Timeout),
        (200, "canary".to_owned(), ErrorKind::Malformed),
        (200, r#"{"version":{"id":1,"data":[]}}"#.to_owned(), ErrorKind::Malformed),
        (302, String::new(), ErrorKind::Malformed),
    ] {
        let told: &'static str = Box::leak(body.into_boxed_str());
        let server = refusing(status, told, |_| None).await;
        let store = store_of(&spec(&server.url()), MapCredentials::new().with("ovh/token", TOKEN)).await.unwrap();
        assert_eq!(kind(fetched(&*store, "a").await), expected, "{status} {told}");
    }
}
