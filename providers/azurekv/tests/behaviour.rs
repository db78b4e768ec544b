//! The behaviour that every store shares, and what is this store's own, against a double that Azure's clients believe.

mod support;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::azurekv::{Double, SECRET};
use keyferry_provider_azurekv::REGISTRATION;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{
    Blame, BuildContext, Capabilities, Error, ErrorKind, Key, Payload, Provider, Push, Query, Reach, Remote, find_all,
};
use keyferry_provider_testkit::{Fault, Fixture, a_search_under_faults, suite};
use serde_json::json;
use support::{fetch, key, store};

/// The secret that the application has after a rotation.
const NEXT: &str = "canary~of.the-next_secret";

/// A vault, and the secret that its application has.
struct Vault(Double, Mutex<&'static str>);

impl Vault {
    /// By TLS, as tokens are sent to nobody else but loopback.
    fn start() -> Self {
        Self(Double::start(), Mutex::new(SECRET))
    }

    async fn at(&self, url: &str, addresses: Addresses) -> Arc<dyn Provider> {
        let secret = *self.1.lock().unwrap();
        let ctx = BuildContext { addresses, ..support::context(support::with_secret(secret)) };
        support::build(&support::spec_at(url, url), ctx).await.unwrap()
    }
}

#[async_trait]
impl Fixture for Vault {
    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    /// Those of the double are called so, and so are its errors.
    fn credentials(&self) -> Vec<String> {
        [SECRET, NEXT, "canary-of-token-", "canary of "].map(str::to_owned).into()
    }

    fn registered(&self) -> Capabilities {
        (REGISTRATION.capabilities)(&json!({}))
    }

    async fn provider(&self) -> Arc<dyn Provider> {
        self.at(&self.0.server().url(), Addresses::anywhere()).await
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        Some(self.at(url, addresses).await)
    }

    async fn deny(&self, name: &str) -> bool {
        self.0.deny(&format!("secrets/get/{name}"));
        true
    }

    async fn disable(&self, name: &str) -> bool {
        let version = self.0.put(name, "disabled");
        self.0.disable(name, &version);
        true
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_secret(NEXT);
        self.0.end_tokens();
        true
    }

    /// The API's bound, which the double has too.
    fn page(&self) -> Option<usize> {
        Some(25)
    }

    /// One each, and one for the login.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys + 1)
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        Some(self.0.put(name, std::str::from_utf8(value).unwrap()))
    }

    async fn put_tagged(&self, name: &str, value: &[u8], tags: &[(&str, &str)]) {
        let tags: serde_json::Map<_, _> = tags.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        self.0.put_with(name, json!({"value": std::str::from_utf8(value).unwrap(), "tags": tags}));
    }

    async fn delete(&self, name: &str) {
        self.0.delete(name);
    }

    fn largest(&self) -> usize {
        25_000
    }

    fn takes_name(&self, name: &str) -> bool {
        name.len() <= 127 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    }
}

/// The name of the certificates that are trusted, which a store has from the environment alone.
const ROOTS: &str = "SSL_CERT_FILE";

/// The environment is that of a process of its own, which runs this same test.
#[tokio::test]
async fn behaves_as_a_store() {
    const INNER: &str = "KEYFERRY_TEST_INNER";
    if std::env::var_os(INNER).is_some() {
        let vault = Vault::start();
        std::fs::write(std::env::var_os(ROOTS).unwrap(), vault.0.server().authority().pem()).unwrap();
        return suite(&vault).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let ran = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "behaves_as_a_store"])
        .env(INNER, "1")
        .env_remove("SSL_CERT_DIR")
        .env(ROOTS, folder.path().join("ca.pem"))
        .output()
        .unwrap();
    let [out, err] = [&ran.stdout, &ran.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(ran.status.success(), "{out}{err}");
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let whole = Double::start_plain();
    for n in 0..60 {
        whole.put(&format!("secret-{n}"), "v");
    }
    let query = Query { name: Some("^secret-".parse().unwrap()), ..Query::default() };
    let fronts = std::sync::Mutex::new(Vec::new());
    let build = async |fault: Option<(usize, Fault)>| match fault {
        None => store(&whole).await.unwrap(),
        Some((pages, fault)) => {
            let front = support::Front::start(&whole, pages, fault);
            let store = support::store_at(&front.url(), &whole).await.unwrap();
            fronts.lock().unwrap().push(front); // it ends with its last holder
            store
        }
    };
    a_search_under_faults(&query, 3, build).await;
}

#[tokio::test]
async fn a_search_passes_over_what_is_disabled_and_asks_for_as_many_as_there_may_be_at_once() {
    let double = Double::start_plain();
    for n in 0..60 {
        double.put_with(&format!("s-{n}"), json!({"value": "v", "tags": {"n": n.to_string()}}));
    }
    let version = double.put("s-disabled", "v");
    double.disable("s-disabled", &version);
    let store = store(&double).await.unwrap();
    double.server().take_calls();
    let names = |query: Query| {
        let store = store.clone();
        async move { find_all(&*store, &query).await.unwrap().len() }
    };
    assert_eq!(names(Query::default()).await, 60);
    assert_eq!(double.server().take_calls().len(), 3);
    assert_eq!(names(Query { tags: [("n".into(), "7".into())].into(), ..Query::default() }).await, 1);
    assert_eq!(names(Query { tags: [("n".into(), "nine".into())].into(), ..Query::default() }).await, 0);
    double.deny("secrets/list");
    assert_eq!(find_all(&*store, &Query::default()).await.unwrap_err().kind(), ErrorKind::Denied);
    assert!(store.validate().await.is_ok(), "who may not list may read");
}

#[tokio::test]
async fn a_link_that_leads_elsewhere_is_not_followed() {
    let double = Double::start_plain();
    let page = r#"{"value":[],"nextLink":"http://169.254.169.254/secrets?api-version=7.4&$skiptoken=x"}"#;
    let front = support::Front::answering(&double, 200, page);
    let store = support::store_at(&front.url(), &double).await.unwrap();
    let error = find_all(&*store, &Query::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.message().contains("leads elsewhere")), (ErrorKind::Malformed, true), "{error}");
}

#[tokio::test]
async fn keys_certificates_and_the_secrets_behind_them() {
    let double = Double::start_plain();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": "AQ", "y": "Ag", "key_ops": ["sign"]});
    double.put_other("keys", "k", json!({"key": jwk, "tags": {"a": "b"}}));
    double.put_other("certificates", "c", json!({"cer": "MAMCAQE="}));
    double.put("c", "canary of the private half");
    let store = store(&double).await.unwrap();
    let read = async |name: &str| fetch(&*store, &key(name)).await;
    assert_eq!(read("cert/c").await.unwrap().value.expose(), [0x30, 3, 2, 1, 1]);
    assert_eq!(read("secret/c").await.unwrap().value.expose(), b"canary of the private half");
    let shown = read("key/k").await.unwrap();
    let whole: serde_json::Value = serde_json::from_slice(shown.value.expose()).unwrap();
    assert_eq!((&whole["crv"], &whole["key_ops"]), (&json!("P-256"), &json!(["sign"])));
    assert!(shown.value.expose().starts_with(br#"{"crv":"P-256","key_ops":["sign"],"kid":"#), "keys are sorted");
    let metadata = fetch(&*store, &Key { metadata: true, ..key("key/k") }).await.unwrap().value;
    let metadata: serde_json::Value = serde_json::from_slice(metadata.expose()).unwrap();
    assert_eq!(metadata["a"], "b");
    assert!(metadata["attribute.created"].as_str().unwrap().ends_with('Z'));
    for missing in ["key/c", "cert/k", "secret/k", "k"] {
        assert_eq!(read(missing).await.unwrap_err().kind(), ErrorKind::NotFound, "{missing}");
    }
    for wrong in ["other/c", "a_b", "secret/c/4387e9f3d6e14c459867679a90fd0f79"] {
        let error = read(wrong).await.unwrap_err();
        assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request), "{wrong}");
    }
}

#[tokio::test]
async fn missing_disabled_and_denied_are_told_apart() {
    let double = Double::start_plain();
    let first = double.put("off", "canary");
    let second = double.put("off", "canary");
    double.disable("off", &second);
    let store = store(&double).await.unwrap();
    let read = async |version: Option<&str>| {
        let key = Key { version: version.map(str::to_owned), ..key("off") };
        fetch(&*store, &key).await.map(|fetched| fetched.version)
    };
    let error = read(None).await.unwrap_err();
    assert_eq!((error.kind(), error.blame()), (ErrorKind::Denied, Blame::Store));
    assert!(error.message().contains("is disabled: enable it"), "{error}");
    assert_eq!(read(Some(&first)).await.unwrap().as_deref(), Some(first.as_str()), "an older version that is not");
    assert_eq!(read(Some(&"0".repeat(32))).await.unwrap_err().kind(), ErrorKind::NoVersion);
    assert_eq!(read(Some("../../keys/off")).await.unwrap_err().kind(), ErrorKind::NoVersion);
    assert!(store.exists(&Remote { key: "off".into(), ..Remote::default() }).await.unwrap(), "it is there");
    double.deny("secrets/get");
    let error = read(None).await.unwrap_err();
    assert_eq!((error.kind(), error.blame()), (ErrorKind::Denied, Blame::Credentials));
    assert!(error.message().contains("Key Vault Secrets User"), "{error}");
    double.wall();
    let error = read(None).await.unwrap_err();
    assert_eq!((error.kind(), error.blame()), (ErrorKind::Denied, Blame::Way));
    assert!(error.message().contains("firewall"), "{error}");
    assert_eq!(store.validate().await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let double = Double::start_plain();
    let word = |code: &str, inner: &str| {
        format!(r#"{{"error":{{"code":"{code}","message":"canary","innererror":{{"code":"{inner}"}}}}}}"#)
    };
    for (status, body, expected) in [
        (400, word("BadParameter", "canary"), ErrorKind::Invalid),
        (400, "canary".to_owned(), ErrorKind::Malformed),
        (403, word("Forbidden", "AccessDenied"), ErrorKind::Denied),
        (403, "<html>canary".to_owned(), ErrorKind::Denied),
        (404, word("SecretNotFound", ""), ErrorKind::NotFound),
        (404, word("VaultNotFound", ""), ErrorKind::Invalid),
        (404, word("ResourceNotFound", "canary"), ErrorKind::Malformed),
        (404, "<html>canary".to_owned(), ErrorKind::Malformed),
        (404, String::new(), ErrorKind::Malformed),
        (409, word("Conflict", "ObjectIsBeingRecovered"), ErrorKind::Unavailable),
        (429, word("Throttled", ""), ErrorKind::Throttled),
        (408, String::new(), ErrorKind::Timeout),
        (504, String::new(), ErrorKind::Timeout),
        (500, "canary".to_owned(), ErrorKind::Unavailable),
        (503, "canary".to_owned(), ErrorKind::Unavailable),
        (200, "canary".to_owned(), ErrorKind::Malformed),
        (200, r#"{"id":"https://v/secrets/a/1"}"#.to_owned(), ErrorKind::Malformed),
        (302, String::new(), ErrorKind::Malformed),
    ] {
        let front = support::Front::answering(&double, status, &body);
        let store = support::store_at(&front.url(), &double).await.unwrap();
        let error = fetch(&*store, &key("a")).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{status} {body}: {error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
}

fn push(name: &str, value: &str) -> Push {
    let remote = Remote { key: name.into(), ..Remote::default() };
    Push { remote, payload: Payload::Value(value.into()), origin: Default::default(), reach: Reach::Ours }
}

#[tokio::test]
async fn what_was_deleted_comes_back_before_it_is_written() {
    let double = Double::start_plain();
    let store = store(&double).await.unwrap();
    store.push(&push("a", "one")).await.unwrap();
    let remote = Remote { key: "a".into(), ..Remote::default() };
    store.delete(&remote, Reach::Ours).await.unwrap();
    store.delete(&remote, Reach::Ours).await.unwrap();
    let error = store.push(&push("a", "two")).await.unwrap_err();
    assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unavailable, true), "{error}");
    assert!(error.message().contains("is being recovered"), "{error}");
    store.push(&push("a", "two")).await.unwrap();
    assert_eq!(double.current("secrets", "a").unwrap()["value"], "two");
    // While it takes its time, nothing is written and nothing else goes wrong.
    store.delete(&remote, Reach::Ours).await.unwrap();
    double.recover_in(std::time::Duration::from_secs(60));
    for _ in 0..2 {
        assert_eq!(store.push(&push("a", "three")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    // What others deleted is not ours to bring back.
    double.put("b", "theirs");
    double.delete("b");
    assert_eq!(store.push(&push("b", "ours")).await.unwrap_err().kind(), ErrorKind::Denied);
    assert!(double.current("secrets", "b").is_none());
    double.recover_in(std::time::Duration::ZERO);
    let all = Push { reach: Reach::All, ..push("b", "ours") };
    assert_eq!(store.push(&all).await.unwrap_err().kind(), ErrorKind::Unavailable);
    store.push(&all).await.unwrap();
    assert_eq!(double.current("secrets", "b").unwrap()["tags"]["managed-by"], "external-secrets");
    // And who may not recover is told so.
    double.put_with("c", json!({"value": "x", "tags": {"managed-by": "external-secrets"}}));
    double.delete("c");
    double.deny("deletedsecrets/recover");
    let error = store.push(&push("c", "y")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.message().contains("recovered or purged"), "{error}");
}

#[tokio::test]
async fn a_push_says_when_it_ends_what_it_is_and_its_tags() {
    let double = Double::start_plain();
    let store = store(&double).await.unwrap();
    let said = |spec: serde_json::Value| {
        let metadata = json!({"apiVersion": "kubernetes.external-secrets.io/v1alpha1", "kind": "PushSecretMetadata", "spec": spec});
        let mut push = push("a", "v");
        push.remote.metadata = Some(metadata);
        push
    };
    let whole = said(json!({"expirationDate": "2030-01-02T03:04:05Z", "contentType": "t", "tags": {"x": "y"}}));
    for _ in 0..2 {
        store.push(&whole).await.unwrap();
    }
    let current = double.current("secrets", "a").unwrap();
    assert_eq!(current["tags"], json!({"managed-by": "external-secrets", "x": "y"}));
    assert_eq!((&current["attributes"]["exp"], &current["contentType"]), (&json!(1_893_553_445), &json!("t")));
    assert_eq!(double.versions("a"), 1, "equal");
    store.push(&said(json!({"expirationDate": "2031-01-02T03:04:05Z", "contentType": "t"}))).await.unwrap();
    assert_eq!(double.versions("a"), 2, "another end is another secret");
    let fetched = fetch(&*store, &key("a")).await.unwrap();
    let end = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_925_089_445);
    assert_eq!(fetched.expires, Some(end));
    // Nothing is written, or asked for, where what is said makes no sense.
    double.server().take_calls();
    for wrong in [json!({"expires": "x"}), json!({"tags": {"managed-by": "me"}}), json!({"expirationDate": "soon"})] {
        let error = store.push(&said(wrong)).await.unwrap_err();
        assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request));
    }
    assert!(double.server().calls().is_empty());
}

#[tokio::test]
async fn keys_and_certificates_are_imported_marked_and_deleted() {
    let double = Double::start_plain();
    let store = store(&double).await.unwrap();
    let pem = include_str!("../../../keys/tests/fixtures/bundle.pem");
    for (name, collection) in [("key/pushed", "keys"), ("cert/pushed", "certificates")] {
        double.server().take_calls();
        for _ in 0..2 {
            store.push(&push(name, pem)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert_eq!(double.current(collection, "pushed").unwrap()["tags"]["managed-by"], "external-secrets");
        let imports = double.server().take_calls();
        let imports = imports
            .iter()
            .filter(|call| matches!(call.method.as_str(), "PUT" | "POST") && call.path.contains("pushed"));
        assert_eq!(imports.count(), 1, "{name}: equal is not written again");
        let remote = Remote { key: name.into(), ..Remote::default() };
        assert!(store.exists(&remote).await.unwrap());
        store.delete(&remote, Reach::Ours).await.unwrap();
        assert!(!store.exists(&remote).await.unwrap() && double.current(collection, "pushed").is_none());
        assert_eq!(store.push(&push(name, pem)).await.unwrap_err().kind(), ErrorKind::Unavailable, "it is recovered");
        store.push(&push(name, pem)).await.unwrap();
    }
    double.put_other("keys", "theirs", json!({"key": {"kty": "RSA", "n": "AQ", "e": "AQAB"}}));
    assert_eq!(store.push(&push("key/theirs", pem)).await.unwrap_err().kind(), ErrorKind::Denied);
    for (name, value) in
        [("cert/other", "canary"), ("key/other", "-----BEGIN PUBLIC KEY-----\nYQ==\n-----END PUBLIC KEY-----")]
    {
        let error = store.push(&push(name, value)).await.unwrap_err();
        assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request), "{name}");
        assert!(!error.message().contains("canary"), "{error}");
    }
    let several = Push { payload: Payload::Fields([("a".to_owned(), "b".into())].into()), ..push("cert/other", "") };
    assert!(store.push(&several).await.unwrap_err().message().contains("match.secretKey"));
    let mut property = push("key/other", pem);
    property.remote.property = Some("p".into());
    assert!(store.push(&property).await.unwrap_err().message().contains("no properties"));
}

#[tokio::test]
async fn pkcs12_is_imported_as_base64() {
    let double = Double::start_plain();
    let store = store(&double).await.unwrap();
    let file = include_bytes!("../../../keys/tests/fixtures/bundle.p12");
    let payload = Payload::Value(keyferry_provider_core::SecretBytes::new(file.to_vec()));
    store.push(&Push { payload, ..push("cert/file", "") }).await.unwrap();
    let policy = &double.current("certificates", "file").unwrap()["policy"];
    assert_eq!(policy["secret_props"]["contentType"], "application/x-pkcs12");
}

#[tokio::test]
async fn what_is_not_ours_to_say_is_not_said() {
    let double = Double::start_plain();
    double.put("a", "canary");
    let store = store(&double).await.unwrap();
    let error: Error = store.push(&push("a", "x")).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Denied && error.message().contains("secret not managed by external-secrets"),
        "{error}"
    );
    assert_eq!(store.identity_note(), None);
}
