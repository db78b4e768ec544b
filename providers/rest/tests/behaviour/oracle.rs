//! Oracle Cloud Infrastructure Vault.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyferry_doubles::oracle::{Double, FINGERPRINT, PLACE, USER};
use keyferry_doubles::{OracleUser, Server};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, Capabilities, Error, ErrorKind, Key, Provider, Query, Reach, Remote};
use keyferry_provider_rest::ORACLE;
use keyferry_provider_testkit::{Fault, Fixture, MapCredentials, a_search_under_faults, suite};
use serde_json::{Value, json};

use crate::common::{build, context, failing_at, fetched, key, kind, push, refusing, value};

fn spec() -> Value {
    let of = |key: &str| json!({"name": "oracle", "key": key});
    json!({
        "region": "eu-frankfurt-1", "vault": PLACE[0], "compartment": PLACE[1], "encryptionKey": PLACE[2],
        "principalType": "UserPrincipal",
        "auth": {
            "tenancy": USER.0, "user": USER.1,
            "secretRef": {"privatekey": of("key"), "fingerprint": of("fingerprint")},
        },
    })
}

fn credentials(user: &OracleUser, fingerprint: &str) -> MapCredentials {
    MapCredentials::new().with("oracle/key", user.private_key()).with("oracle/fingerprint", format!("{fingerprint}\n"))
}

async fn store_at(url: &str, spec: &Value, credentials: MapCredentials) -> Result<Arc<dyn Provider>, Error> {
    build(&ORACLE, spec, context(credentials, &[("OCI_VAULT_ENDPOINT", url)])).await
}

async fn store(double: &Double) -> Arc<dyn Provider> {
    store_at(&double.server().url(), &spec(), credentials(&double.user(), FINGERPRINT)).await.unwrap()
}

/// The double, and the fingerprint of the key that signs.
struct Backend(Double, Mutex<&'static str>);

#[async_trait]
impl Fixture for Backend {
    fn name(&self) -> String {
        "oracle".to_owned()
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn registered(&self) -> Capabilities {
        (ORACLE.capabilities)(&json!({}))
    }

    fn is_proven(&self) -> bool {
        false
    }

    /// A line of the key.
    fn credentials(&self) -> Vec<String> {
        self.0.user().private_key().lines().skip(5).take(1).map(str::to_owned).collect()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let fingerprint = *self.1.lock().unwrap();
        let ctx = context(credentials(&self.0.user(), fingerprint), &[("OCI_VAULT_ENDPOINT", url)]);
        Some(build(&ORACLE, &spec(), BuildContext { addresses, ..ctx }).await.unwrap())
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = "aa:bb:02";
        self.0.add_key("aa:bb:02");
        self.0.retire();
        true
    }

    /// Oracle does not tell what is not there from what is not for us.
    fn missing(&self) -> ErrorKind {
        ErrorKind::Denied
    }

    async fn deny(&self, name: &str) -> bool {
        self.0.hide(name);
        true
    }

    async fn stage(&self, _: &str, _: &str) -> Option<String> {
        Some("PREVIOUS".to_owned())
    }

    /// What the store asks for.
    fn page(&self) -> Option<usize> {
        Some(100)
    }

    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys)
    }

    fn takes_binary(&self) -> bool {
        true
    }

    fn largest(&self) -> usize {
        16 << 10
    }

    fn takes_name(&self, name: &str) -> bool {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        Some(self.0.put(name, value, &[]).to_string())
    }

    async fn put_tagged(&self, name: &str, value: &[u8], tags: &[(&str, &str)]) {
        self.0.put(name, value, tags);
    }

    async fn delete(&self, name: &str) {
        self.0.delete(name);
    }

    fn marks(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Backend(Double::start(), Mutex::new(FINGERPRINT))).await;
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let double = Double::start();
    for n in 0..150 {
        double.put(&format!("many-{n}"), b"v", &[]);
    }
    let query = Query { name: Some("^many-".parse().unwrap()), ..Query::default() };
    let build = async |fault: Option<(usize, Fault)>| {
        double.server().fail(Default::default());
        failing_at(store(&double).await, fault, double.server())
    };
    a_search_under_faults(&query, 2, build).await;
}

#[tokio::test]
async fn a_version_is_a_number_or_a_stage() {
    let double = Double::start();
    double.put("a", b"one", &[]);
    double.put("a", b"two", &[]);
    let store = store(&double).await;
    let read = async |version: &str| {
        let key = Key { version: Some(version.to_owned()), ..key("a") };
        store.fetch(&[key]).await.unwrap().remove(0).map(|fetched| (fetched.value, fetched.version))
    };
    for (version, expected, number) in
        [("1", "one", "1"), ("2", "two", "2"), ("CURRENT", "two", "2"), ("PREVIOUS", "one", "1")]
    {
        assert_eq!(read(version).await.unwrap(), (expected.into(), Some(number.to_owned())), "{version}");
    }
    assert_eq!(read("3").await.unwrap_err().kind(), ErrorKind::NoVersion);
    assert_eq!(kind(fetched(&*store, "").await), ErrorKind::Invalid);
    assert!(store.identity_note().unwrap().contains("unproven"));
}

#[tokio::test]
async fn what_is_deleted_waits_for_it_and_keeps_its_name() {
    let double = Double::start();
    double.put("a", b"v", &[]);
    let mut waiting = spec();
    waiting["deletionGracePeriod"] = json!("48h");
    let url = double.server().url();
    let store = store_at(&url, &waiting, credentials(&double.user(), FINGERPRINT)).await.unwrap();
    let remote = Remote { key: "a".to_owned(), ..Remote::default() };
    assert!(store.exists(&remote).await.unwrap());
    store.delete(&remote, Reach::Ours).await.unwrap();
    store.delete(&remote, Reach::Ours).await.unwrap();
    let going = double.going();
    assert!(going.len() == 1 && going[0].1.as_str().is_some_and(|time| time.ends_with('Z')), "{going:?}");
    assert!(!store.exists(&remote).await.unwrap());
    let error = store.push(&push("a", None, "again")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.message().contains("waits for its deletion"), "{error}");
}

/// Oracle says of both that it is not there, or not for us.
#[tokio::test]
async fn a_secret_that_we_may_not_read_any_more_is_not_deleted() {
    let double = Double::start();
    double.put("hidden", b"v", &[]);
    double.hide("hidden");
    let store = store(&double).await;
    let remote = |key: &str| Remote { key: key.to_owned(), ..Remote::default() };
    assert_eq!(kind(store.delete(&remote("hidden"), Reach::Ours).await), ErrorKind::Denied);
    assert_eq!(kind(store.exists(&remote("hidden")).await), ErrorKind::Denied);
    assert_eq!(kind(store.push(&push("hidden", None, "w")).await), ErrorKind::Denied);
    store.delete(&remote("missing"), Reach::Ours).await.unwrap();
    assert!(!store.exists(&remote("missing")).await.unwrap());
    let with_compartment = async |compartment: Value| {
        let mut spec = spec();
        spec["compartment"] = compartment;
        store_at(&double.server().url(), &spec, credentials(&double.user(), FINGERPRINT)).await.unwrap()
    };
    let elsewhere = with_compartment(json!("elsewhere")).await;
    assert_ne!(kind(elsewhere.delete(&remote("missing"), Reach::Ours).await), ErrorKind::NotFound);
    let without = with_compartment(json!(null)).await;
    for error in [
        without.delete(&remote("missing"), Reach::Ours).await.unwrap_err(),
        without.exists(&remote("missing")).await.unwrap_err(),
    ] {
        assert!(
            error.kind() == ErrorKind::Invalid && error.to_string().contains("set spec.provider.oracle.compartment"),
            "{error}"
        );
    }
    // Of what is there nobody need be asked besides.
    double.put("shown", b"v", &[]);
    assert!(without.exists(&remote("shown")).await.unwrap());
    without.push(&push("shown", None, "w")).await.unwrap();
    without.delete(&remote("shown"), Reach::Ours).await.unwrap();
    let listed =
        double.server().calls().iter().filter(|call| call.path == "/20180608/secrets" && call.method == "GET").count();
    store.push(&push("new", None, "v")).await.unwrap();
    let after =
        double.server().calls().iter().filter(|call| call.path == "/20180608/secrets" && call.method == "GET").count();
    assert_eq!(listed, after, "a push asks for no list");
}

#[tokio::test]
async fn a_machine_logs_in_by_the_certificate_that_its_cloud_gave_it() {
    let double = Double::start();
    double.put("a", b"v", &[]);
    let (url, metadata) = (double.server().url(), format!("{}/opc/v2", double.server().url()));
    let settings = [("OCI_VAULT_ENDPOINT", &*url), ("OCI_METADATA_BASE_URL", &*metadata)];
    let mut spec = spec();
    spec["auth"] = json!(null);
    for principal in [json!(null), json!("InstancePrincipal")] {
        spec["principalType"] = principal;
        let store = build(&ORACLE, &spec, context(MapCredentials::new(), &settings)).await.unwrap();
        assert_eq!(value(&*store, "a").await.unwrap(), "v");
        store.push(&push("b", None, "pushed")).await.unwrap();
        assert_eq!(value(&*store, "b").await.unwrap(), "pushed");
        let note = store.identity_note().unwrap();
        assert!(note.contains("as the operator itself") && note.contains("unproven"), "{note}");
    }
    let store = build(&ORACLE, &spec, context(MapCredentials::new(), &settings)).await.unwrap();
    let given = double.tokens_given();
    value(&*store, "a").await.unwrap();
    assert_eq!(double.tokens_given(), given, "one token is for all");
    double.forget_machine();
    let error = build(&ORACLE, &spec, context(MapCredentials::new(), &settings)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("the dynamic group") && !error.to_string().contains("canary"), "{error}");
    let calls = double.server().calls().len();
    let ctx = BuildContext { ambient_identity: false, ..context(MapCredentials::new(), &settings) };
    assert_eq!(kind(build(&ORACLE, &spec, ctx).await), ErrorKind::Denied);
    assert_eq!(double.server().calls().len(), calls, "nothing is asked for who may not be the operator");
}

#[tokio::test]
async fn what_the_spec_gets_wrong_is_named() {
    let double = Double::start();
    let url = double.server().url();
    for (at, wrong, words) in [
        ("/region", json!(""), "region is missing"),
        ("/region", json!("canary.example"), "region is not the name of a region"),
        ("/vault", json!(null), "vault is missing"),
        ("/principalType", json!("Workload"), "as a workload of Oracle's cloud, which is not supported"),
        ("/auth", json!(null), "auth is missing"),
        ("/auth/user", json!("canary\"x"), "auth.user is no OCID"),
        ("/auth/tenancy", json!(null), "auth.tenancy is missing"),
        ("/auth/secretRef/privatekey", json!(null), "secretRef.privatekey is missing"),
        ("/auth/secretRef/privatekey", json!({"name": "oracle", "key": "fingerprint"}), "holds no private key"),
        ("/auth/secretRef/fingerprint", json!({"name": "oracle", "key": "wrong"}), "holds no fingerprint"),
    ] {
        let mut spec = spec();
        *spec.pointer_mut(at).unwrap() = wrong;
        let credentials = credentials(&double.user(), FINGERPRINT).with("oracle/wrong", "canary");
        let error = store_at(&url, &spec, credentials).await.err().unwrap();
        assert!(error.message().contains(words) && !error.to_string().contains("canary"), "{error}");
    }
    for (field, what) in [("compartment", "compartment is missing"), ("encryptionKey", "encryptionKey is missing")] {
        let mut spec = spec();
        spec[field] = json!(null);
        let store = store_at(&url, &spec, credentials(&double.user(), FINGERPRINT)).await.unwrap();
        let error = store.push(&push("new", None, "v")).await.unwrap_err();
        assert!(error.message().contains(what), "{error}");
    }
    let another = OracleUser::new(USER.0, USER.1, FINGERPRINT);
    let store = store_at(&url, &spec(), credentials(&another, FINGERPRINT)).await.unwrap();
    assert_eq!(kind(store.validate().await), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    for (status, body, expected) in [
        (400, r#"{"code":"InvalidParameter","message":"canary"}"#, ErrorKind::Invalid),
        (401, r#"{"code":"NotAuthenticated","message":"canary"}"#, ErrorKind::Unauthenticated),
        (404, r#"{"code":"NotAuthorizedOrNotFound","message":"canary"}"#, ErrorKind::Denied),
        (404, "<html>canary", ErrorKind::Malformed),
        (409, r#"{"code":"IncorrectState","message":"canary"}"#, ErrorKind::Unavailable),
        (429, r#"{"code":"TooManyRequests"}"#, ErrorKind::Throttled),
        (500, "canary", ErrorKind::Unavailable),
        (504, "", ErrorKind::Timeout),
        (200, "canary", ErrorKind::Malformed),
        (200, "{}", ErrorKind::Malformed),
        (302, "", ErrorKind::Malformed),
    ] {
        let server = refusing(status, body, |_| None).await;
        let user = OracleUser::new(USER.0, USER.1, FINGERPRINT);
        let store = store_at(&server.url(), &spec(), credentials(&user, FINGERPRINT)).await.unwrap();
        assert_eq!(kind(value(&*store, "a").await), expected, "{status} {body}");
    }
}
