//! Akeyless.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keyferry_doubles::akeyless::{ACCESS, CONFIGURATION, Double, MACHINE, PAGE};
use keyferry_doubles::{Faults, Server, machine};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, Capabilities, Error, ErrorKind, Key, Provider, Query, Reach, find_all};
use keyferry_provider_rest::AKEYLESS;
use keyferry_provider_testkit::{Fault, Fixture, MapCredentials, a_search_under_faults, suite};
use serde_json::{Value, json};

use crate::common::{build, context, context_of_namespace, failing_at, fetched, kind, push, refusing, value};

fn named(key: &str) -> Value {
    json!({"name": "akeyless", "key": key})
}

fn spec(url: &str) -> Value {
    json!({
        "akeylessGWApiURL": url,
        "authSecretRef": {"secretRef": {"accessID": named("id"), "accessType": named("type"), "accessTypeParam": named("key")}},
    })
}

fn credentials() -> MapCredentials {
    let texts = [
        ("id", ACCESS.0),
        ("type", "api_key"),
        ("key", ACCESS.1),
        ("machine", MACHINE.0),
        ("k8s", "k8s"),
        ("azure", "azure_ad"),
        ("google", "gcp"),
        ("aws", "aws_iam"),
        ("config", CONFIGURATION),
        ("token", MACHINE.1),
        ("wrong", "canary-of-something-else"),
    ];
    let all = texts
        .into_iter()
        .fold(MapCredentials::new(), |all, (key, text)| all.with(&format!("akeyless/{key}"), format!("{text}\n")));
    all.with("controller/token", MACHINE.1).with("pod/token", MACHINE.1)
}

async fn store_of(spec: &Value) -> Result<Arc<dyn Provider>, Error> {
    build(&AKEYLESS, spec, context(credentials(), &[])).await
}

async fn store(double: &Double) -> Arc<dyn Provider> {
    store_of(&spec(&double.server().url())).await.unwrap()
}

/// What logs in after a rotation.
const NEXT: &str = "canary-of-the-next";

/// The double as a backend that the suite writes to.
struct Backend(Double, Mutex<&'static str>);

#[async_trait]
impl Fixture for Backend {
    fn name(&self) -> String {
        "akeyless".to_owned()
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn registered(&self) -> Capabilities {
        (AKEYLESS.capabilities)(&json!({}))
    }

    fn credentials(&self) -> Vec<String> {
        [ACCESS.1, NEXT, "t-canary."].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let text = *self.1.lock().unwrap();
        let credentials = MapCredentials::new().with("akeyless/id", ACCESS.0).with("akeyless/type", "api_key");
        let ctx = BuildContext { addresses, ..context(credentials.with("akeyless/key", text), &[]) };
        Some(build(&AKEYLESS, &spec(url), ctx).await.unwrap())
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

    fn page(&self) -> Option<usize> {
        Some(PAGE)
    }

    /// One each, one for the login, and one that finds where the API of the gateway is.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys + 2)
    }

    fn takes_empty(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        Some(self.0.put(name, std::str::from_utf8(value).unwrap(), &[]).to_string())
    }

    async fn put_tagged(&self, name: &str, value: &[u8], tags: &[(&str, &str)]) {
        let tags: Vec<_> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let tags: Vec<_> = tags.iter().map(String::as_str).collect();
        self.0.put(name, std::str::from_utf8(value).unwrap(), &tags);
    }

    async fn delete(&self, name: &str) {
        self.0.delete(name);
    }

    fn current_has_a_version(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Backend(Double::start_with_plain_names(), Mutex::new(ACCESS.1))).await;
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let double = Double::start();
    for n in 0..25 {
        double.put(&format!("app/secret-{n}"), "v", &[]);
    }
    let query = Query { name: Some("^/app/secret-".parse().unwrap()), ..Query::default() };
    let build = async |fault: Option<(usize, Fault)>| {
        double.server().fail(Default::default());
        failing_at(store(&double).await, fault, double.server())
    };
    a_search_under_faults(&query, 3, build).await;
}

#[tokio::test]
async fn a_static_secret_is_one_call_and_a_name_goes_with_or_without_a_slash() {
    let double = Double::start();
    double.put("/app/a", "v", &[]);
    let store = store(&double).await;
    double.server().take_calls();
    for name in ["app/a", "/app/a"] {
        assert_eq!(value(&*store, name).await.unwrap(), "v");
        assert_eq!(double.server().take_calls().len(), 1);
    }
    assert_eq!((kind(fetched(&*store, "app/b").await), double.logins()), (ErrorKind::NotFound, 1));
}

#[tokio::test]
async fn every_kind_of_item_is_read_as_what_it_holds() {
    let double = Double::start();
    double.put_other("dynamic", "DYNAMIC_SECRET", json!({"user": "u", "password": "p", "ttl": 60}));
    double.put_other("rotated", "ROTATED_SECRET", json!({"value": {"username": "u", "password": "p"}}));
    double.put_other("payload", "ROTATED_SECRET", json!({"value": {"payload": "p"}}));
    double.put_other("certificate", "CERTIFICATE", json!({"private_key_pem": "k", "certificate_pem": "c"}));
    double.put_other("key", "RSA2048", json!({}));
    let store = store(&double).await;
    for (name, expected) in [
        ("dynamic", r#"{"password":"p","ttl":60,"user":"u"}"#),
        ("rotated", r#"{"password":"p","username":"u"}"#),
        ("payload", "p"),
        ("certificate", r#"{"certificate_pem":"c","private_key_pem":"k"}"#),
    ] {
        assert_eq!(value(&*store, name).await.unwrap(), expected);
    }
    assert_eq!(kind(fetched(&*store, "key").await), ErrorKind::Invalid);
    let old = Key { version: Some("7".to_owned()), ..crate::common::key("rotated") };
    assert_eq!(kind(store.fetch(&[old]).await.unwrap().remove(0)), ErrorKind::NoVersion);
}

#[tokio::test]
async fn tags_are_texts_or_names_and_values() {
    let double = Double::start();
    double.put("app/a", "v", &["blue", "k:v"]);
    double.put("app/b", "v", &["team=blue"]);
    double.put("other/c", "v", &["blue"]);
    let store = store(&double).await;
    let found = async |path: Option<&str>, tag: (&str, &str)| -> Vec<String> {
        let tags = [(tag.0.to_owned(), tag.1.to_owned())].into();
        let query = Query { path: path.map(str::to_owned), tags, ..Query::default() };
        find_all(&*store, &query).await.unwrap().into_iter().map(|key| key.name).collect()
    };
    assert_eq!(found(None, ("team", "blue")).await, ["/app/a", "/app/b", "/other/c"]);
    assert_eq!(found(Some("app"), ("any", "blue")).await, ["/app/a"]);
    assert_eq!(found(None, ("k", "v")).await, ["/app/a"]);
}

#[tokio::test]
async fn every_method_logs_in_and_a_wrong_one_is_refused_without_a_word_of_it() {
    let double = Double::start();
    double.put("a", "v", &[]);
    let metadata = machine::start(MACHINE.1);
    let host = metadata.url();
    let agent = format!("{host}/pod-identity");
    let settings = [
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", host.as_str()),
        ("GCE_METADATA_HOST", &host[7..]),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent),
    ];
    let secrets = |id: &str, kind: &str, param: Option<&str>| json!({"secretRef": {"accessID": named(id), "accessType": named(kind), "accessTypeParam": param.map(named)}});
    let kubernetes = |more: Value| {
        let mut auth = json!({"accessID": MACHINE.0, "k8sConfName": CONFIGURATION});
        for (name, value) in more.as_object().unwrap() {
            auth[name] = value.clone();
        }
        json!({"kubernetesAuth": auth})
    };
    let of = async |auth: Value, ambient_identity: bool| {
        let mut spec = spec(&double.server().url());
        spec["authSecretRef"] = auth;
        build(&AKEYLESS, &spec, BuildContext { ambient_identity, ..context(credentials(), &settings) }).await
    };
    for (auth, own) in [
        (secrets("id", "type", Some("key")), false),
        (secrets("machine", "k8s", Some("config")), true),
        (secrets("machine", "aws", None), true),
        (secrets("machine", "azure", None), true),
        (secrets("machine", "google", None), true),
        (kubernetes(json!({"serviceAccountRef": {"name": "pod"}})), false),
        (kubernetes(json!({"secretRef": {"name": "akeyless", "key": "token"}})), false),
        (kubernetes(json!({"secretRef": {"name": "akeyless"}})), false),
        (kubernetes(json!({})), true),
    ] {
        let store = of(auth.clone(), true).await.unwrap();
        assert_eq!(value(&*store, "a").await.unwrap(), "v", "{auth}");
        let note = store.identity_note().unwrap_or_default();
        assert_eq!(note.contains("the operator itself"), own, "{auth}: {note}");
        assert_eq!(note.contains("unproven"), auth != secrets("id", "type", Some("key")), "{auth}: {note}");
    }
    for (auth, expected) in [
        (secrets("id", "type", Some("wrong")), ErrorKind::Unauthenticated),
        (secrets("wrong", "type", Some("key")), ErrorKind::Unauthenticated),
        (secrets("machine", "k8s", Some("wrong")), ErrorKind::Unauthenticated),
        (kubernetes(json!({"secretRef": named("wrong")})), ErrorKind::Unauthenticated),
        (secrets("id", "type", None), ErrorKind::Invalid),
        (secrets("wrong", "aws", None), ErrorKind::Unauthenticated),
        (secrets("id", "wrong", None), ErrorKind::Unsupported),
    ] {
        assert_eq!(kind(of(auth.clone(), true).await), expected, "{auth}");
    }
    for cloud in ["aws", "azure", "google"] {
        assert_eq!(kind(of(secrets("machine", cloud, None), false).await), ErrorKind::Denied);
    }
}

/// What such a server is shown is as good at another.
#[tokio::test]
async fn a_gateway_that_a_store_of_a_namespace_names_is_shown_nothing_of_the_operator() {
    let double = Double::start();
    let metadata = machine::start(MACHINE.1);
    let host = metadata.url();
    let settings = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", host.as_str()), ("GCE_METADATA_HOST", &host[7..])];
    for cloud in ["aws", "azure", "google"] {
        let mut spec = spec(&double.server().url());
        spec["authSecretRef"] = json!({"secretRef": {"accessID": named("machine"), "accessType": named(cloud)}});
        let ctx = context_of_namespace(credentials(), &settings);
        let error = build(&AKEYLESS, &spec, ctx).await.err().unwrap();
        assert!(error.to_string().contains("use a ClusterSecretStore"), "{cloud}: {error}");
        assert!(metadata.take_calls().is_empty());
        assert!(double.server().take_calls().iter().all(|call| !call.path.contains("auth")));
    }
}

#[tokio::test]
async fn a_gateway_is_asked_where_its_api_is_and_a_token_is_replaced_when_it_ends() {
    for (double, path) in [(Double::start_below_v2(), ""), (Double::start_below_v2(), "/v2"), (Double::start(), "/")] {
        double.put("a", "v", &[]);
        double.logins_last(Duration::from_secs(2));
        let store = store_of(&spec(&format!("{}{path}", double.server().url()))).await.unwrap();
        assert_eq!(value(&*store, "a").await.unwrap(), "v", "{path}");
        assert_eq!(double.logins(), 1);
        tokio::time::sleep(Duration::from_millis(2100)).await;
        assert_eq!(value(&*store, "a").await.unwrap(), "v", "{path}");
        assert!(double.logins() >= 2);
    }
}

#[tokio::test]
async fn a_gateway_that_can_not_answer_has_not_said_where_its_api_is() {
    let double = Double::start();
    for (faults, expected) in [
        (Faults { throttled: 100, ..Faults::default() }, ErrorKind::Throttled),
        (Faults { broken: 100, ..Faults::default() }, ErrorKind::Unavailable),
    ] {
        double.server().fail(faults);
        assert_eq!(kind(store_of(&spec(&double.server().url())).await), expected);
        assert_eq!(double.server().take_calls().len(), 1, "nobody logs in somewhere else");
    }
}

#[tokio::test]
async fn what_is_taken_over_bears_the_mark_and_no_other_kind_is_written() {
    let double = Double::start();
    double.put("theirs", "v", &["blue"]);
    double.put_other("dynamic", "DYNAMIC_SECRET", json!({}));
    let store = store(&double).await;
    store.push(&push("ours", None, "v")).await.unwrap();
    assert_eq!(double.tags("ours"), ["k8s-external-secrets"]);
    assert_eq!(kind(store.push(&push("theirs", None, "w")).await), ErrorKind::Denied);
    let mut over = push("theirs", None, "v");
    over.reach = Reach::All;
    store.push(&over).await.unwrap();
    assert_eq!(double.tags("theirs"), ["blue", "k8s-external-secrets"]);
    assert_eq!(kind(store.push(&push("dynamic", None, "w")).await), ErrorKind::Invalid);
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    for (status, body, expected) in [
        (400, r#"{"error":"canary"}"#, ErrorKind::Invalid),
        (401, r#"{"error":"canary"}"#, ErrorKind::Unauthenticated),
        (403, r#"{"error":"canary"}"#, ErrorKind::Denied),
        (404, r#"{"error":"canary"}"#, ErrorKind::NotFound),
        (404, "<html>canary", ErrorKind::Malformed),
        (429, "", ErrorKind::Throttled),
        (500, "canary", ErrorKind::Unavailable),
        (504, "", ErrorKind::Timeout),
        (200, "canary", ErrorKind::Malformed),
        (200, "{}", ErrorKind::Malformed),
        (302, "", ErrorKind::Malformed),
    ] {
        let passes = |path: &str| match path {
            "/" => Some("unknown command"),
            "/auth" => Some(r#"{"token":"t-x"}"#),
            _ => None,
        };
        let server = refusing(status, body, passes).await;
        let store = store_of(&spec(&server.url())).await.unwrap();
        assert_eq!(kind(fetched(&*store, "a").await), expected, "{status} {body}");
    }
}
