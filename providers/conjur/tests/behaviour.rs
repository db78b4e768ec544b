//! The behaviour that every store shares, and what is Conjur's own, against a double that Conjur's own client works with.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::conjur::{Double, HOST};
use keyferry_provider_conjur::REGISTRATION;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{
    Answer, BuildContext, Capabilities, Dialect, Error, ErrorKind, Key, Origin, Page, Payload, Provider, Push, Query,
    Reach, Remote, find_all,
};
use keyferry_provider_testkit::{Fault, Fixture, MapCredentials, a_search_under_faults, suite};
use serde_json::{Value, json};

const KEY: &str = "canary-of-the-key";
const JWT: &str = "canary-of-the-jwt";

fn double() -> Double {
    Double::start(KEY, JWT)
}

fn by_key() -> Value {
    let of = |key: &str| json!({"name": "conjur", "key": key});
    json!({"apikey": {"account": "lab", "userRef": of("user"), "apiKeyRef": of("key")}})
}

async fn with(spec: Value, credentials: Arc<MapCredentials>) -> Result<Arc<dyn Provider>, Error> {
    // An error means that a TLS library is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    (REGISTRATION.build)(&spec, BuildContext::new(credentials, Arc::new(())).trusted()).await
}

async fn logged_in(double: &Double, auth: Value, credentials: MapCredentials) -> Result<Arc<dyn Provider>, Error> {
    with(json!({"url": double.server().url(), "auth": auth}), Arc::new(credentials)).await
}

fn keys() -> MapCredentials {
    MapCredentials::new().with("conjur/user", format!("{HOST}\n")).with("conjur/key", format!("{KEY}\n"))
}

async fn store(double: &Double) -> Arc<dyn Provider> {
    logged_in(double, by_key(), keys()).await.unwrap()
}

fn key(name: &str) -> Key {
    Key { name: name.into(), version: None, metadata: false }
}

fn kinds(answers: &[Answer]) -> Vec<Option<ErrorKind>> {
    answers.iter().map(|answer| answer.as_ref().err().map(Error::kind)).collect()
}

/// The store without its pushes. Those write variables below a policy that the remote key names, so that nothing is pushed
/// to the name under which it is read; they have tests of their own.
struct Read(Arc<dyn Provider>);

#[async_trait]
impl Provider for Read {
    fn capabilities(&self) -> Capabilities {
        Capabilities { push: false, ..self.0.capabilities() }
    }

    fn dialect(&self) -> Dialect {
        self.0.dialect()
    }

    fn joins(&self, batch: &[Key], key: &Key) -> bool {
        self.0.joins(batch, key)
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        self.0.fetch(keys).await
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        self.0.find(query, at).await
    }

    async fn push(&self, _: &Push) -> Result<(), Error> {
        Err(Error::cannot("pushed to"))
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        self.0.delete(remote, reach).await
    }

    async fn exists(&self, _: &Remote) -> Result<bool, Error> {
        Err(Error::cannot("pushed to"))
    }

    async fn validate(&self) -> Result<(), Error> {
        self.0.validate().await
    }

    fn identity_note(&self) -> Option<String> {
        self.0.identity_note()
    }
}

/// The API key after a rotation.
const NEXT: &str = "canary-of-the-next";

/// A double, and the API key of its host.
struct Lab(Double, Mutex<&'static str>);

#[async_trait]
impl Fixture for Lab {
    fn registered(&self) -> Capabilities {
        Capabilities { push: false, ..(REGISTRATION.capabilities)(&json!({})) }
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn credentials(&self) -> Vec<String> {
        [KEY, NEXT, "canary-of-a-token"].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        // An error means that a TLS library is installed already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let key = *self.1.lock().unwrap();
        let credentials = MapCredentials::new().with("conjur/user", HOST).with("conjur/key", format!("{key}\n"));
        let ctx = BuildContext { addresses, ..BuildContext::new(Arc::new(credentials), Arc::new(())).trusted() };
        let spec = json!({"url": url, "auth": by_key()});
        Some(Arc::new(Read((REGISTRATION.build)(&spec, ctx).await.unwrap())))
    }

    /// Conjur answers alike for what is not there and for what is not to be seen.
    fn missing(&self) -> ErrorKind {
        ErrorKind::Denied
    }

    async fn deny(&self, name: &str) -> bool {
        self.0.forbid(name);
        true
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_key(NEXT);
        self.0.end_sessions();
        true
    }

    /// What the store asks for.
    fn page(&self) -> Option<usize> {
        Some(100)
    }

    /// Fifty at once, and one for the login.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys.div_ceil(50) + 1)
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        self.0.put(name, value);
        None
    }

    async fn put_tagged(&self, name: &str, value: &[u8], tags: &[(&str, &str)]) {
        self.0.put(name, value);
        self.0.annotate(name, tags);
    }

    async fn delete(&self, name: &str) {
        self.0.delete(name);
    }

    fn takes_binary(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Lab(double(), Mutex::new(KEY))).await;
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let double = double();
    for n in 0..250 {
        double.put(&format!("secret-{n}"), b"v");
    }
    let query = Query { name: Some("^secret-".parse().unwrap()), ..Query::default() };
    let build = async |fault: Option<(usize, Fault)>| {
        let (lists, fault) = fault.unwrap_or((usize::MAX, Fault::Garbage));
        match fault {
            Fault::Status(status) => double.answer_lists_after(lists, status, "canary"),
            Fault::Garbage => double.answer_lists_after(lists, 200, "canary"),
            Fault::Cut => double.answer_lists_after(lists, 200, r#"[{"id":"lab:variable:secret-1"},{"#),
        }
        store(&double).await
    };
    a_search_under_faults(&query, 3, build).await;
}

#[tokio::test]
async fn many_variables_are_read_in_few_calls_and_a_bad_one_takes_none_along() {
    let double = double();
    let mut asked = Vec::new();
    for n in 0..40 {
        let name = format!("apps/secret-{n:02}");
        double.put(&name, format!("canary-{n}\u{0}\u{1}").as_bytes());
        asked.push(key(&name));
    }
    double.put("apps/binary", b"\xff\0canary");
    asked.push(key("lab:variable:apps/binary"));
    let store = store(&double).await;
    double.server().take_calls();
    let answers = store.fetch(&asked).await.unwrap();
    assert_eq!(answers[7].as_ref().unwrap().value, "canary-7\u{0}\u{1}".into());
    assert_eq!(answers[40].as_ref().unwrap().value.expose(), b"\xff\0canary");
    assert_eq!(double.server().take_calls().len(), 1);
    // One that is missing is told by its name: the batch, the one, the one as a resource, the rest.
    asked.push(key("apps/never"));
    let answers = store.fetch(&asked).await.unwrap();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 41);
    assert_eq!(kinds(&answers[41..]), [Some(ErrorKind::Denied)]);
    assert_eq!(double.server().take_calls().len(), 4);
    // One that is denied is not, so that it is looked for by halves.
    double.forbid("apps/secret-03");
    double.annotate("apps/empty", &[]);
    double.hide("apps/secret-20");
    asked.push(key("apps/empty"));
    let answers = store.fetch(&asked).await.unwrap();
    for (key, answer) in asked.iter().zip(&answers) {
        let expected = match key.name.as_str() {
            // What is hidden is told as what never was: neither is a reason to delete.
            "apps/secret-03" | "apps/secret-20" | "apps/never" => Some(ErrorKind::Denied),
            // It is there, and nobody has given it a value: nothing is deleted for that.
            "apps/empty" => Some(ErrorKind::NoVersion),
            _ => None,
        };
        assert_eq!(answer.as_ref().err().map(Error::kind), expected, "{}", key.name);
        assert!(answer.as_ref().err().is_none_or(|error| !error.to_string().contains("canary")));
    }
    assert!(double.server().take_calls().len() <= 25);
}

#[tokio::test]
async fn what_can_not_travel_in_one_list_is_asked_for_alone() {
    let store = store(&double()).await;
    assert!(store.joins(&[key("a")], &key("b")));
    assert!(!store.joins(&[key("a")], &key("b,c")) && !store.joins(&[key("b,c")], &key("a")));
    assert!(!store.joins(&[key("a")], &key("lab:variable:a")) && !store.joins(&[key("a")], &key("a/../b")));
    let long: Vec<Key> = (0..9).map(|n| key(&format!("{n}{}", "x".repeat(650)))).collect();
    assert!(store.joins(&long[..8], &key("a")) && !store.joins(&long, &key("a")));
}

#[tokio::test]
async fn every_login_lets_in_who_it_should() {
    let double = Double::start_tls(KEY, JWT);
    double.put("a", b"canary");
    let (cert, cert_key) = double.server().authority().client("apps/keyferry");
    let jwt = |more: Value| {
        let mut jwt = json!({"account": "lab", "serviceID": "dev"});
        jwt.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"jwt": jwt})
    };
    let of = |key: &str| json!({"name": "conjur", "key": key});
    let cert_auth = |host: Value, key: &str| {
        json!({"cert": {"account": "lab", "serviceID": "dev", "hostId": host, "clientCertRef": of("cert"),
            "clientKeyRef": of(key)}})
    };
    let credentials = || {
        let keys = keys().with("conjur/cert", &cert).with("conjur/cert-key", &cert_key);
        Arc::new(keys.with("conjur/token", JWT).with("app/token", JWT).with("conjur/wrong", "canary"))
    };
    let wrong = json!({"apikey": {"account": "lab", "userRef": of("user"), "apiKeyRef": of("wrong")}});
    for (auth, expected) in [
        (by_key(), None),
        (jwt(json!({"secretRef": {"name": "conjur"}})), None),
        (jwt(json!({"serviceAccountRef": {"name": "app"}, "hostId": HOST})), None),
        (cert_auth(json!("apps/keyferry"), "cert-key"), None),
        (cert_auth(Value::Null, "cert-key"), None),
        (wrong, Some(ErrorKind::Unauthenticated)),
        (jwt(json!({"secretRef": of("wrong")})), Some(ErrorKind::Unauthenticated)),
        (jwt(json!({"secretRef": {"name": "conjur"}, "hostId": "host/another"})), Some(ErrorKind::Unauthenticated)),
        (cert_auth(json!("another"), "cert-key"), Some(ErrorKind::Unauthenticated)),
        (cert_auth(json!("another"), "wrong"), Some(ErrorKind::Invalid)),
        (jwt(json!({"secretRef": of("never")})), Some(ErrorKind::Invalid)),
    ] {
        let spec = json!({"url": double.server().url(), "caBundle": double.server().authority().pem(), "auth": auth});
        match with(spec, credentials()).await {
            Ok(store) => {
                assert_eq!(expected, None, "{auth}");
                let answers = store.fetch(&[key("a")]).await.unwrap();
                assert_eq!(answers[0].as_ref().unwrap().value, "canary".into());
                store.validate().await.unwrap();
            }
            Err(error) => {
                assert_eq!(Some(error.kind()), expected, "{auth}: {error}");
                assert!(!error.to_string().contains("canary"), "{error}");
            }
        }
    }
    let untrusted = json!({"url": double.server().url(), "auth": by_key()});
    let error = with(untrusted, credentials()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_by_what_the_credentials_are_then() {
    let double = double();
    double.put("a", b"v");
    double.set_life(Duration::from_secs(3));
    let credentials = Arc::new(keys());
    let store = with(json!({"url": double.server().url(), "auth": by_key()}), credentials.clone()).await.unwrap();
    for _ in 0..3 {
        store.fetch(&[key("a")]).await.unwrap().remove(0).unwrap();
    }
    assert_eq!(double.logins(), 1);
    double.set_key("canary-of-the-next-key");
    credentials.set("conjur/key", "canary-of-the-next-key");
    tokio::time::sleep(Duration::from_millis(3100)).await;
    store.fetch(&[key("a")]).await.unwrap().remove(0).unwrap();
    assert_eq!(double.logins(), 2);
}

#[tokio::test]
async fn a_young_token_that_is_refused_is_wrong_rather_than_ended() {
    let double = double();
    let store = store(&double).await;
    double.end_sessions();
    assert_eq!(store.fetch(&[key("a")]).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(store.validate().await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(double.logins(), 1);
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let double = double();
    let store = store(&double).await;
    let push = Push {
        remote: Remote { key: "apps/a".into(), property: Some("p".into()), metadata: None },
        payload: Payload::Value("canary".into()),
        origin: Origin::default(),
        reach: Reach::Ours,
    };
    for (status, body, expected) in [
        (403, "", ErrorKind::Denied),
        (404, "<html>canary", ErrorKind::Malformed),
        (404, r#"{"error":{"code":"canary"}}"#, ErrorKind::Malformed),
        (409, r#"{"error":{"code":"canary"}}"#, ErrorKind::Unavailable),
        (422, r#"{"error":{"code":"canary"}}"#, ErrorKind::Invalid),
        (422, "canary", ErrorKind::Malformed),
        (429, "", ErrorKind::Throttled),
        (504, "", ErrorKind::Timeout),
        (500, "canary", ErrorKind::Unavailable),
        (302, "", ErrorKind::Malformed),
    ] {
        double.answer_always(status, body);
        let errors = [
            store.fetch(&[key("a")]).await.and_then(|mut answers| answers.remove(0).map(|_| ())).unwrap_err(),
            store.find(&Query::default(), &[]).await.unwrap_err(),
            store.exists(&push.remote).await.unwrap_err(),
            store.push(&push).await.unwrap_err(),
            store.validate().await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), expected, "{status}: {error}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
    // Of a place to search in that is not there nothing is known about any secret.
    double.answer_always(404, r#"{"error":{"code":"not_found"}}"#);
    assert_eq!(store.find(&Query::default(), &[]).await.unwrap_err().kind(), ErrorKind::Invalid);
    for body in ["canary", r#"{"lab:variable:a":"canary"}"#, "[]"] {
        double.answer_always(200, body);
        let answers = store.fetch(&[key("b"), key("c")]).await;
        let error = answers.and_then(|mut answers| answers.remove(0).map(|_| ())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{body}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

fn push(remote: &str, property: Option<&str>, payload: Payload) -> Push {
    Push {
        remote: Remote { key: remote.into(), property: property.map(str::to_owned), metadata: None },
        payload,
        origin: Origin { key: Some("source".into()), ..Origin::default() },
        reach: Reach::Ours,
    }
}

#[tokio::test]
async fn what_is_pushed_is_declared_marked_and_written_once() {
    let double = double();
    let store = store(&double).await;
    let fields = || Payload::Fields([("a".into(), "canary-a".into()), ("b".into(), "canary-b".into())].into());
    let remote = |property: Option<&str>| push("apps/db", property, fields()).remote;
    assert!(!store.exists(&remote(None)).await.unwrap() && !store.exists(&remote(Some("a"))).await.unwrap());
    store.push(&push("apps/db", None, fields())).await.unwrap();
    assert_eq!(double.versions("apps/db/a"), [b"canary-a"]);
    assert!(double.bears("apps/db/b", "managed-by", "external-secrets"));
    assert!(store.exists(&remote(None)).await.unwrap() && store.exists(&remote(Some("a"))).await.unwrap());
    // What is equal is not written again, and a policy that stands is not loaded again.
    double.server().take_calls();
    store.push(&push("apps/db", None, fields())).await.unwrap();
    assert!(double.server().take_calls().iter().all(|call| call.method == "GET"));
    store.push(&push("apps/db", Some("a"), Payload::Value("canary-2".into()))).await.unwrap();
    assert_eq!(double.versions("apps/db/a"), [&b"canary-a"[..], b"canary-2"]);
    assert!(double.server().take_calls().iter().all(|call| !call.path.starts_with("/policies/")));
    store.push(&push("apps/db", None, Payload::Value("canary-3".into()))).await.unwrap();
    assert_eq!(double.versions("apps/db/source"), [b"canary-3"]);
    store.push(&push("apps/db", Some("whole"), fields())).await.unwrap();
    assert_eq!(double.versions("apps/db/whole"), [br#"{"a":"canary-a","b":"canary-b"}"#]);
    let ours = Query { tags: [("managed-by".into(), "external-secrets".into())].into(), ..Query::default() };
    let names: Vec<String> = find_all(&*store, &ours).await.unwrap().into_iter().map(|key| key.name).collect();
    assert_eq!(names, ["apps/db/a", "apps/db/b", "apps/db/source", "apps/db/whole"]);
    let error = store.push(&push("never/db", Some("a"), Payload::Value("canary".into()))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.message().contains("policy \"never\"") && !error.message().contains("canary"), "{error}");
}

#[tokio::test]
async fn what_others_made_is_told_and_not_passed_over() {
    let double = double();
    double.put("apps/db/a", b"canary-theirs");
    double.put("apps/db/unreadable", b"canary-theirs");
    double.annotate("apps/db/unreadable", &[("managed-by", "external-secrets")]);
    double.forbid("apps/db/unreadable");
    let store = store(&double).await;
    let both = Payload::Fields([("a".into(), "canary-ours".into()), ("b".into(), "canary-ours".into())].into());
    let refused = push("apps/db", None, both);
    let error = store.push(&refused).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error.message().contains("apps/db/a\" was not made by us") && !error.message().contains("canary"),
        "{error}"
    );
    // Before anything is written.
    assert_eq!((double.versions("apps/db/a").len(), double.versions("apps/db/b").len()), (1, 0));
    let error = store.push(&push("apps/db", Some("unreadable"), Payload::Value("x".into()))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    store.push(&Push { reach: Reach::All, ..refused.clone() }).await.unwrap();
    assert!(double.bears("apps/db/a", "managed-by", "external-secrets"));
    store.push(&refused).await.unwrap();
    assert_eq!(double.versions("apps/db/a").last().unwrap(), b"canary-ours");
}

#[tokio::test]
async fn a_store_of_a_namespace_leads_to_no_local_address() {
    let double = double();
    let spec = json!({"url": double.server().url(), "auth": by_key()});
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let error = (REGISTRATION.build)(&spec, BuildContext::new(Arc::new(keys()), Arc::new(()))).await.err().unwrap();
    assert!(error.message().contains("spec.provider.conjur.url leads to 127.0.0.1"), "{error}");
    assert!(double.server().calls().is_empty());
}
