//! The behaviour that every store shares, and what is Alibaba's own, against a double that Alibaba's own client works with.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::alibaba::{Double, PROVIDER, ROLE};
use keyferry_provider_alibaba::REGISTRATION;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Answer, BuildContext, Capabilities, Error, ErrorKind, Key, Provider, Query, find_all};
use keyferry_provider_testkit::{Fault, Fixture, MapCredentials, a_search_under_faults, suite};
use serde_json::{Value, json};

const SECRET: &str = "canary-of-the-secret";
const TOKEN: &str = "canary.of.the-token";

fn double() -> Double {
    Double::start("lab-id", SECRET, TOKEN)
}

fn by_key() -> Value {
    let of = |key: &str| json!({"name": "ali", "key": key});
    json!({"secretRef": {"accessKeyIDSecretRef": of("id"), "accessKeySecretSecretRef": of("secret")}})
}

fn by_role(file: &str, role: &str) -> Value {
    json!({"rrsa": {"oidcProviderArn": PROVIDER, "oidcTokenFilePath": file, "roleArn": role, "sessionName": "lab"}})
}

/// What a store is built with that is led to the double by the operator's environment.
fn context(double: &Double, credentials: Arc<MapCredentials>) -> BuildContext {
    context_at(double.server().url(), credentials)
}

/// The same where all of Alibaba is at this URL.
fn context_at(url: String, credentials: Arc<MapCredentials>) -> BuildContext {
    // An error means that a TLS library is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let environment = move |name: &str| name.starts_with("ALIBABA_CLOUD_").then(|| url.clone());
    BuildContext { environment: Arc::new(environment), ..BuildContext::new(credentials, Arc::new(())) }
}

async fn with(double: &Double, auth: Value, credentials: Arc<MapCredentials>) -> Result<Arc<dyn Provider>, Error> {
    let spec = json!({"regionID": "cn-hangzhou", "auth": auth});
    (REGISTRATION.build)(&spec, context(double, credentials).trusted()).await
}

fn keys() -> MapCredentials {
    MapCredentials::new().with("ali/id", "lab-id\n").with("ali/secret", format!("{SECRET}\n"))
}

async fn store(double: &Double) -> Arc<dyn Provider> {
    with(double, by_key(), Arc::new(keys())).await.unwrap()
}

fn key(name: &str) -> Key {
    Key { name: name.into(), version: None, metadata: false }
}

fn of_version(name: &str, version: &str) -> Key {
    Key { version: Some(version.into()), ..key(name) }
}

fn kinds(answers: &[Answer]) -> Vec<Option<ErrorKind>> {
    answers.iter().map(|answer| answer.as_ref().err().map(Error::kind)).collect()
}

/// The access key after a rotation.
const NEXT: (&str, &str) = ("lab-next", "canary-of-the-next");

/// A double, and the access key of its user.
struct Lab(Double, Mutex<(&'static str, &'static str)>);

#[async_trait]
impl Fixture for Lab {
    fn registered(&self) -> Capabilities {
        (REGISTRATION.capabilities)(&json!({}))
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn credentials(&self) -> Vec<String> {
        [SECRET, NEXT.1].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let (id, secret) = *self.1.lock().unwrap();
        let credentials = MapCredentials::new().with("ali/id", id).with("ali/secret", format!("{secret}\n"));
        let ctx = BuildContext { addresses, ..context_at(url.to_owned(), Arc::new(credentials)).trusted() };
        let spec = json!({"regionID": "cn-hangzhou", "auth": by_key()});
        Some((REGISTRATION.build)(&spec, ctx).await.unwrap())
    }

    /// What was current is this after the next version.
    async fn stage(&self, _: &str, _: &str) -> Option<String> {
        Some("ACSPrevious".to_owned())
    }

    async fn deny(&self, name: &str) -> bool {
        self.0.forbid(name);
        true
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_key(NEXT.0, NEXT.1);
        true
    }

    /// What the store asks for, and KMS has at most.
    fn page(&self) -> Option<usize> {
        Some(100)
    }

    /// Twenty at once; keys need no login.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys.div_ceil(20))
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        Some(self.0.put(name, std::str::from_utf8(value).unwrap()))
    }

    async fn put_tagged(&self, name: &str, value: &[u8], tags: &[(&str, &str)]) {
        self.0.put(name, std::str::from_utf8(value).unwrap());
        self.0.tag(name, tags);
    }

    async fn delete(&self, name: &str) {
        self.0.delete(name);
    }

    fn largest(&self) -> usize {
        30 << 10
    }

    fn takes_name(&self, name: &str) -> bool {
        name.len() < 180 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_/+=.@-".contains(&byte))
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Lab(double(), Mutex::new(("lab-id", SECRET)))).await;
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let double = double();
    for n in 0..250 {
        double.put(&format!("secret-{n}"), "v");
    }
    let query = Query { name: Some("^secret-".parse().unwrap()), ..Query::default() };
    let build = async |fault: Option<(usize, Fault)>| {
        let (lists, fault) = fault.unwrap_or((usize::MAX, Fault::Garbage));
        match fault {
            Fault::Status(404) => double.answer_lists_after(lists, 404, r#"{"Code":"Forbidden.ResourceNotFound"}"#),
            Fault::Status(status) => double.answer_lists_after(lists, status, "canary"),
            Fault::Garbage => double.answer_lists_after(lists, 200, "canary"),
            Fault::Cut => double.answer_lists_after(lists, 200, r#"{"SecretList":{"Secret":[{"SecretName":"secr"#),
        }
        store(&double).await
    };
    a_search_under_faults(&query, 3, build).await;
    // A server that lists fewer at once than were asked for would leave some out.
    let fewer =
        r#"{"PageNumber":1,"PageSize":50,"TotalCount":250,"SecretList":{"Secret":[{"SecretName":"secret-1"}]}}"#;
    double.answer_lists_after(0, 200, fewer);
    assert_eq!(find_all(&*store(&double).await, &query).await.unwrap_err().kind(), ErrorKind::Malformed);
}

#[tokio::test]
async fn twenty_are_read_in_one_call_each_in_its_version_and_a_bad_one_takes_none_along() {
    let double = double();
    let names: Vec<String> = (0..14).map(|n| format!("secret-{n}")).collect();
    for name in &names {
        double.put(name, &format!("canary-of-{name}"));
    }
    double.put("secret-0", "canary-second");
    double.put("forbidden", "canary");
    double.forbid("forbidden");
    double.put("deleted", "canary");
    double.mark_deleted("deleted");
    let mut asked: Vec<Key> = names[2..].iter().map(|name| key(name)).collect();
    asked.extend([of_version("secret-0", "v1"), of_version("secret-1", "ACSCurrent")]);
    let store = store(&double).await;
    let answers = store.fetch(&asked).await.unwrap();
    assert!(answers.iter().all(Result::is_ok));
    let old = answers[12].as_ref().unwrap();
    assert_eq!((old.value.expose_str(), old.version.as_deref()), (Some("canary-of-secret-0"), Some("v1")));
    assert_eq!(double.server().take_calls().len(), 1);
    asked.truncate(2);
    asked.extend([key("never"), key("forbidden"), key("deleted"), of_version("secret-0", "v9")]);
    let answers = store.fetch(&asked).await.unwrap();
    let (gone, denied, version) = (ErrorKind::NotFound, ErrorKind::Denied, ErrorKind::NoVersion);
    assert_eq!(kinds(&answers), [None, None, Some(gone), Some(denied), Some(gone), Some(version)]);
    // The batch, and once what versions there are.
    assert_eq!(double.server().take_calls().len(), 2);
    let messages: Vec<String> = answers.iter().filter_map(|answer| Some(answer.as_ref().err()?.to_string())).collect();
    assert!(messages.iter().all(|message| !message.contains("canary")), "{messages:?}");
    assert!(messages[3].ends_with("there are v1 (ACSPrevious), v2 (ACSCurrent)"), "{messages:?}");
    double.refuse_batches();
    assert_eq!(store.fetch(&asked).await.unwrap_err().kind(), ErrorKind::BatchDenied);
}

#[tokio::test]
async fn a_version_is_an_id_or_a_stage() {
    let double = double();
    double.put("a", "canary-1");
    double.put("a", "canary-2");
    let store = store(&double).await;
    for (version, expected) in [
        ("v1", Some("canary-1")),
        ("ACSPrevious", Some("canary-1")),
        ("ACSCurrent", Some("canary-2")),
        ("stage/ACSCurrent", Some("canary-2")),
        ("stage/never", None),
        ("ACSPending", None),
        ("", Some("canary-2")),
    ] {
        let answer = store.fetch(&[of_version("a", version)]).await.unwrap().remove(0);
        let read = answer.as_ref().ok().and_then(|fetched| fetched.value.expose_str());
        assert_eq!(read, expected, "{version}");
        assert!(answer.err().is_none_or(|error| error.kind() == ErrorKind::NoVersion), "{version}");
    }
}

#[tokio::test]
async fn metadata_are_the_description_with_tags_and_never_a_reason_to_delete() {
    let double = double();
    double.put("a", "canary");
    double.tag("a", &[("team", "blue")]);
    let store = store(&double).await;
    let metadata = |name: &str| Key { metadata: true, ..key(name) };
    let read = store.fetch(&[metadata("a")]).await.unwrap().remove(0).unwrap().value;
    let fields: Value = serde_json::from_slice(read.expose()).unwrap();
    assert_eq!((&fields["SecretName"], &fields["Tags"]["team"]), (&json!("a"), &json!("blue")));
    let kinds = kinds(&store.fetch(&[metadata("never")]).await.unwrap());
    assert_eq!(kinds, [Some(ErrorKind::Invalid)]);
}

#[tokio::test]
async fn what_can_not_travel_in_one_batch_is_asked_for_alone() {
    let store = store(&double()).await;
    assert!(store.joins(&[key("a")], &key("b")) && store.joins(&[key("a")], &of_version("b", "v1")));
    assert!(!store.joins(&[key("a")], &of_version("a", "v1")));
    assert!(!store.joins(&[key("a")], &key("acs:kms:cn-hangzhou:1:secret/b")));
    assert!(!store.joins(&[key("a")], &Key { metadata: true, ..key("b") }));
    let long: Vec<Key> = (0..19).map(|n| key(&format!("{n}{}", "/".repeat(185)))).collect();
    assert!(store.joins(&long[..5], &key("a")) && !store.joins(&long, &key("a")));
}

#[tokio::test]
async fn keys_and_roles_let_in_who_they_should() {
    let double = double();
    double.put("a", "canary");
    let file = std::env::temp_dir().join(format!("keyferry-rrsa-{}", std::process::id()));
    let path = file.display().to_string();
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let wrong_secret = || Arc::new(MapCredentials::new().with("ali/id", "lab-id").with("ali/secret", "canary"));
    let wrong_id = || Arc::new(MapCredentials::new().with("ali/id", "canary").with("ali/secret", SECRET));
    for (auth, credentials) in [(by_key(), Arc::new(keys())), (by_role(&path, ROLE), Arc::default())] {
        let store = with(&double, auth, credentials).await.unwrap();
        assert!(store.fetch(&[key("a")]).await.unwrap()[0].is_ok());
        store.validate().await.unwrap();
    }
    for credentials in [wrong_secret(), wrong_id()] {
        let store = with(&double, by_key(), credentials).await.unwrap();
        for error in [store.validate().await.unwrap_err(), store.fetch(&[key("a")]).await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
    for (auth, expected) in [
        (by_role(&path, "acs:ram::1:role/another"), ErrorKind::Unauthenticated),
        (by_role("/no/such/file", ROLE), ErrorKind::Invalid),
        (by_role("/", ROLE), ErrorKind::Invalid),
    ] {
        let error = with(&double, auth, Arc::default()).await.err().unwrap();
        assert_eq!(error.kind(), expected, "{error}");
    }
    for content in ["another.token", "not a token&canary", ""] {
        std::fs::write(&file, content).unwrap();
        let error = with(&double, by_role(&path, ROLE), Arc::default()).await.err().unwrap();
        assert!(!error.to_string().contains("canary") && !error.to_string().contains("another"), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    // Who may read need not be allowed to list.
    double.refuse_lists();
    store(&double).await.validate().await.unwrap();
}

#[tokio::test]
async fn the_operators_own_identity_is_not_for_stores_of_a_namespace() {
    let double = double();
    let file = std::env::temp_dir().join(format!("keyferry-rrsa-ns-{}", std::process::id()));
    std::fs::write(&file, TOKEN).unwrap();
    let spec = json!({"regionID": "cn-hangzhou", "auth": by_role(&file.display().to_string(), ROLE)});
    let ctx = context(&double, Arc::default());
    let ctx = BuildContext { addresses: keyferry_provider_core::address::Addresses::anywhere(), ..ctx };
    let error = (REGISTRATION.build)(&spec, ctx).await.err().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(error.message().contains("use a ClusterSecretStore"), "{error}");
    let spec = json!({"regionID": "cn-hangzhou", "auth": by_key()});
    let error = (REGISTRATION.build)(&spec, context(&double, Arc::new(keys()))).await.err().unwrap();
    assert!(error.message().contains("leads to 127.0.0.1"), "{error}");
    assert!(double.server().calls().is_empty());
}

#[tokio::test]
async fn a_key_that_is_lent_is_renewed_before_it_ends() {
    let double = double();
    double.put("a", "v");
    double.set_life(Duration::from_secs(3));
    let file = std::env::temp_dir().join(format!("keyferry-rrsa-life-{}", std::process::id()));
    std::fs::write(&file, TOKEN).unwrap();
    let store = with(&double, by_role(&file.display().to_string(), ROLE), Arc::default()).await.unwrap();
    for _ in 0..3 {
        assert!(store.fetch(&[key("a")]).await.unwrap()[0].is_ok());
    }
    assert_eq!(double.server().take_calls().len(), 4);
    tokio::time::sleep(Duration::from_millis(3100)).await;
    assert!(store.fetch(&[key("a")]).await.unwrap()[0].is_ok());
    std::fs::remove_file(&file).unwrap();
    assert_eq!(double.server().take_calls().len(), 2);
}

#[tokio::test]
async fn every_status_and_code_has_its_meaning() {
    let double = double();
    let store = store(&double).await;
    for (status, body, expected) in [
        (403, r#"{"Code":"Forbidden.NoPermission","Message":"canary"}"#, ErrorKind::Denied),
        (403, "canary", ErrorKind::Malformed),
        (404, "<html>canary", ErrorKind::Malformed),
        (404, r#"{"Code":"InvalidAccessKeyId.NotFound"}"#, ErrorKind::Unauthenticated),
        (400, r#"{"Code":"InvalidSecurityToken.Expired"}"#, ErrorKind::Unauthenticated),
        (400, r#"{"Code":"canary.Canary"}"#, ErrorKind::Invalid),
        (429, r#"{"Code":"Rejected.Throttling"}"#, ErrorKind::Throttled),
        (400, r#"{"Code":"Throttling.User"}"#, ErrorKind::Throttled),
        (503, r#"{"Code":"ServiceUnavailableTemporary"}"#, ErrorKind::Unavailable),
        (504, "", ErrorKind::Timeout),
        (500, "canary", ErrorKind::Unavailable),
        (429, "", ErrorKind::Throttled),
        (302, "", ErrorKind::Malformed),
    ] {
        double.answer_always(status, body);
        let errors = [
            store.fetch(&[key("a")]).await.and_then(|mut answers| answers.remove(0).map(|_| ())).unwrap_err(),
            store.find(&Query::default(), &[]).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), expected, "{status} {body}: {error}");
            assert!(!error.to_string().contains("anary"), "{error}");
        }
    }
    for body in ["canary", r#"{"SecretData":{"canary":1}}"#, "[]"] {
        double.answer_always(200, body);
        for keys in [&[key("b")][..], &[key("b"), key("c")]] {
            let answers = store.fetch(keys).await;
            let error = answers.and_then(|mut answers| answers.remove(0).map(|_| ())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{body}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}
