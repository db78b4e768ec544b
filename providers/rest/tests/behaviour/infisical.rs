//! Infisical.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keyferry_doubles::infisical::{CLIENT, Double, IDENTITY, TOKEN, USER};
use keyferry_doubles::{Server, machine};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, Capabilities, Error, ErrorKind, Provider, Query, Reach, find_all};
use keyferry_provider_rest::INFISICAL;
use keyferry_provider_testkit::{Fault, Fixture, MapCredentials, a_search_under_faults, suite};
use serde_json::{Value, json};

use crate::common::{build, context, context_of_namespace, failing_at, fetched, kind, push, refusing, until, value};

fn named(key: &str) -> Value {
    json!({"name": "infisical", "key": key})
}

fn spec(url: &str) -> Value {
    json!({
        "hostAPI": url,
        "auth": {"universalAuthCredentials": {"clientId": named("id"), "clientSecret": named("secret")}},
        "secretsScope": {"projectSlug": "shop", "environmentSlug": "dev", "recursive": true},
    })
}

fn credentials() -> MapCredentials {
    let texts = [
        ("id", CLIENT.0),
        ("secret", CLIENT.1),
        ("identity", IDENTITY.0),
        ("jwt", IDENTITY.1),
        ("user", USER.0),
        ("password", USER.1),
        ("token", TOKEN),
        ("wrong", "canary-of-something-else"),
    ];
    let all = texts
        .into_iter()
        .fold(MapCredentials::new(), |all, (key, text)| all.with(&format!("infisical/{key}"), format!("{text}\n")));
    all.with("controller/token", IDENTITY.1)
}

async fn store_of(spec: &Value) -> Result<Arc<dyn Provider>, Error> {
    build(&INFISICAL, spec, context(credentials(), &[])).await
}

async fn store(double: &Double) -> Arc<dyn Provider> {
    store_of(&spec(&double.server().url())).await.unwrap()
}

/// The folder and the name of a key.
fn address(key: &str) -> (String, &str) {
    let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
    (format!("/{folder}"), name)
}

/// What logs in after a rotation.
const NEXT: &str = "canary-of-the-next";

/// The double as a backend that the suite writes to.
struct Backend(Double, Mutex<&'static str>);

#[async_trait]
impl Fixture for Backend {
    fn name(&self) -> String {
        "infisical".to_owned()
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn registered(&self) -> Capabilities {
        (INFISICAL.capabilities)(&json!({}))
    }

    fn credentials(&self) -> Vec<String> {
        [CLIENT.1, NEXT, "canary-of-session"].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let text = *self.1.lock().unwrap();
        let credentials = MapCredentials::new().with("infisical/id", CLIENT.0).with("infisical/secret", text);
        let ctx = BuildContext { addresses, ..context(credentials, &[]) };
        Some(build(&INFISICAL, &spec(url), ctx).await.unwrap())
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_secret(NEXT);
        true
    }

    async fn deny(&self, name: &str) -> bool {
        self.0.deny(name);
        true
    }

    /// One each, and one for the login.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys + 1)
    }

    fn takes_empty(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        let (folder, name) = address(name);
        self.0.put(&folder, name, std::str::from_utf8(value).unwrap());
        None
    }

    async fn delete(&self, name: &str) {
        let (folder, name) = address(name);
        self.0.delete(&folder, name);
    }

    fn marks(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Backend(Double::start(), Mutex::new(CLIENT.1))).await;
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let double = Double::start();
    double.put("/", "A", "a");
    double.put("/sub", "B", "b");
    let query = Query { name: Some("^[AB]$".parse().unwrap()), ..Query::default() };
    let build = async |fault: Option<(usize, Fault)>| {
        double.server().fail(Default::default());
        failing_at(store(&double).await, fault, double.server())
    };
    a_search_under_faults(&query, 1, build).await;
}

/// Every login method: what it needs, and which part of that may be wrong.
fn methods() -> Vec<(&'static str, Value, Option<&'static str>)> {
    let of_oracle = |key: &str| json!({"name": "oracle", "key": key});
    vec![
        (
            "universalAuthCredentials",
            json!({"clientId": named("id"), "clientSecret": named("secret")}),
            Some("clientSecret"),
        ),
        ("jwtAuthCredentials", json!({"identityId": named("identity"), "jwt": named("jwt")}), Some("jwt")),
        (
            "ldapAuthCredentials",
            json!({"identityId": named("identity"), "ldapUsername": named("user"), "ldapPassword": named("password")}),
            Some("ldapPassword"),
        ),
        (
            "kubernetesAuthCredentials",
            json!({"identityId": named("identity"), "serviceAccountTokenPath": {}}),
            Some("identityId"),
        ),
        ("azureAuthCredentials", json!({"identityId": named("identity")}), Some("identityId")),
        ("gcpIdTokenAuthCredentials", json!({"identityId": named("identity")}), Some("identityId")),
        (
            "gcpIamAuthCredentials",
            json!({"identityId": named("identity"), "serviceAccountKeyFilePath": named("file")}),
            Some("identityId"),
        ),
        ("awsAuthCredentials", json!({"identityId": named("identity")}), Some("identityId")),
        (
            "ociAuthCredentials",
            json!({
                "identityId": named("identity"), "userId": of_oracle("user"), "tenancyId": of_oracle("tenancy"),
                "region": of_oracle("region"), "fingerprint": of_oracle("fingerprint"), "privateKey": of_oracle("key"),
                "privateKeyPassphrase": {},
            }),
            Some("fingerprint"),
        ),
        ("tokenAuthCredentials", json!({"accessToken": named("token")}), None),
    ]
}

#[tokio::test]
async fn every_method_logs_in_and_a_wrong_one_is_refused_without_a_word_of_it() {
    let double = Double::start();
    double.put("/", "A", "a");
    let metadata = machine::start(IDENTITY.1);
    let host = metadata.url();
    let agent = format!("{host}/pod-identity");
    let settings = [
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", host.as_str()),
        ("GCE_METADATA_HOST", &host[7..]),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent),
        ("AWS_REGION", "eu-central-1"),
    ];
    let (google, oracle) = (double.google(), double.oracle());
    let credentials = || {
        let oracle = [("user", oracle.id()), ("tenancy", "ocid1.tenancy.x"), ("region", "eu-frankfurt-1")];
        let all = oracle.into_iter().fold(credentials(), |all, (key, text)| all.with(&format!("oracle/{key}"), text));
        all.with("oracle/fingerprint", "aa:bb")
            .with("oracle/key", double.oracle().private_key())
            .with("infisical/file", google.key_file())
            .with("infisical/path", "/etc/canary.json")
    };
    for (method, good, bad) in methods() {
        let mut spec = spec(&double.server().url());
        spec["auth"] = json!({method: good});
        let store = build(&INFISICAL, &spec, context(credentials(), &settings)).await.unwrap();
        assert_eq!(value(&*store, "A").await.unwrap(), "a", "{method}");
        let of_cloud = ["azureAuthCredentials", "gcpIdTokenAuthCredentials", "awsAuthCredentials"].contains(&method);
        let own = of_cloud || method == "kubernetesAuthCredentials";
        let note = store.identity_note().unwrap_or_default();
        assert_eq!(note.contains("the operator itself"), own, "{method}: {note}");
        let is_proven = ["universalAuthCredentials", "tokenAuthCredentials"].contains(&method);
        assert_eq!(note.contains("unproven"), !is_proven, "{method}: {note}");
        if let Some(field) = bad {
            spec["auth"][method][field] = named("wrong");
            let refused = build(&INFISICAL, &spec, context(credentials(), &settings)).await;
            assert_eq!(kind(refused), ErrorKind::Unauthenticated, "{method}");
        }
        if of_cloud {
            // The author of a store that may not is told so before anybody is asked.
            let ctx = BuildContext { ambient_identity: false, ..context(credentials(), &settings) };
            assert_eq!(kind(build(&INFISICAL, &spec, ctx).await), ErrorKind::Denied, "{method}");
            // Nor who chose the server: it could be the operator elsewhere with what it is sent.
            metadata.take_calls();
            double.server().take_calls();
            let ctx = context_of_namespace(credentials(), &settings);
            let error = build(&INFISICAL, &spec, ctx).await.err().unwrap();
            assert!(error.to_string().contains("use a ClusterSecretStore"), "{method}: {error}");
            assert!(metadata.take_calls().is_empty() && double.server().take_calls().is_empty(), "{method}");
        }
    }
}

#[tokio::test]
async fn a_login_that_needs_a_file_of_the_machine_or_a_key_that_is_none_is_refused() {
    let double = Double::start();
    let credentials = || credentials().with("infisical/path", "/etc/canary.json").with("infisical/plain", "x");
    for (auth, words) in [
        (
            json!({"gcpIamAuthCredentials": {"identityId": named("identity"), "serviceAccountKeyFilePath": named("path")}}),
            "names a file of the operator's machine",
        ),
        (
            json!({"ociAuthCredentials": {
                "identityId": named("identity"), "userId": named("plain"), "tenancyId": named("plain"),
                "region": named("path"), "fingerprint": named("plain"), "privateKey": named("wrong"),
            }}),
            "region: the secret holds what no such name has",
        ),
        (
            json!({"ociAuthCredentials": {
                "identityId": named("identity"), "userId": named("plain"), "tenancyId": named("plain"),
                "region": named("plain"), "fingerprint": named("plain"), "privateKey": named("wrong"),
            }}),
            "privateKey: it holds no private key",
        ),
        (json!({"awsAuthCredentials": {"identityId": named("identity")}}), "the operator has no AWS identity"),
    ] {
        let mut spec = spec(&double.server().url());
        spec["auth"] = auth;
        let error = build(&INFISICAL, &spec, context(credentials(), &[])).await.err().unwrap();
        assert!(error.message().contains(words) && !error.to_string().contains("canary"), "{error}");
    }
    assert!(double.server().take_calls().is_empty());
}

#[tokio::test]
async fn an_environment_that_is_called_otherwise_takes_nothing_along() {
    for (path, recursive) in [("/", true), ("/", false), ("/app", true), ("/app", false)] {
        let double = Double::start();
        double.put("/app", "A", "a");
        double.put("/app/sub", "B", "b");
        double.put("/", "C", "c");
        let mut spec = spec(&double.server().url());
        spec["secretsScope"]["secretsPath"] = json!(path);
        spec["secretsScope"]["recursive"] = json!(recursive);
        let store = store_of(&spec).await.unwrap();
        let below = Query { path: Some("/app".into()), ..Query::default() };
        let nowhere = Query { path: Some("/nowhere".into()), ..Query::default() };
        let lists = async |query: &Query| find_all(&*store, query).await.map(|keys| keys.len());
        assert!(lists(&below).await.unwrap() >= 1);
        assert_eq!(lists(&nowhere).await.unwrap(), 0, "a folder that is not there is empty");
        double.rename_environment("production");
        for key in ["A", "/app/A", "sub/B", "/nowhere/A"] {
            let error = fetched(&*store, key).await.unwrap_err();
            assert!(error.kind() == ErrorKind::Invalid && !error.message().contains("canary"), "{path} {key}: {error}");
            assert!(error.message().contains("environmentSlug"), "{path} {key}: {error}");
        }
        for query in [&below, &nowhere, &Query::default()] {
            let error = lists(query).await.unwrap_err();
            assert!(error.message().contains("environmentSlug"), "{path} {query:?}: {error}");
        }
        let remote = push("sub/B", None, "").remote;
        assert_eq!(kind(store.delete(&remote, Reach::Ours).await), ErrorKind::Invalid);
        assert_eq!(kind(store.exists(&remote).await), ErrorKind::Invalid);
        let error = store.validate().await.unwrap_err();
        assert!(error.message().contains("environmentSlug"), "{path}: {error}");
    }
}

#[tokio::test]
async fn a_login_ends_with_its_store() {
    let double = Double::start();
    let store = store(&double).await;
    store.validate().await.unwrap();
    assert_eq!(double.sessions(), 1);
    drop(store);
    until(|| double.sessions() == 0).await;
}

#[tokio::test]
async fn one_login_is_for_all_and_is_made_again_when_it_ends() {
    let double = Double::start();
    double.put("/", "A", "a");
    double.logins_last(Duration::from_secs(2));
    let store = store(&double).await;
    for _ in 0..5 {
        value(&*store, "A").await.unwrap();
    }
    assert_eq!(double.logins(), ["universal-auth"]);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    value(&*store, "A").await.unwrap();
    assert!(double.logins().len() >= 2);
}

#[tokio::test]
async fn a_key_may_lead_into_a_folder_and_a_folder_that_is_gone_takes_its_secrets_along() {
    let double = Double::start();
    double.put("/app", "A", "of app");
    double.put("/app/sub", "A", "of sub");
    double.put("/", "A", "of the root");
    let mut spec = spec(&double.server().url());
    spec["secretsScope"]["secretsPath"] = json!("/app/");
    let store = store_of(&spec).await.unwrap();
    for (key, expected) in [("A", "of app"), ("sub/A", "of sub"), ("/A", "of the root"), ("/app/sub/A", "of sub")] {
        assert_eq!(value(&*store, key).await.unwrap(), expected, "{key}");
    }
    for key in ["B", "sub/B", "nowhere/A", "/nowhere/A"] {
        assert_eq!(kind(fetched(&*store, key).await), ErrorKind::NotFound, "{key}");
    }
    assert_eq!(kind(fetched(&*store, "../A").await), ErrorKind::Invalid);
    // A folder that the spec gets wrong is no secret that is gone.
    spec["secretsScope"]["secretsPath"] = json!("/nowhere");
    let lost = store_of(&spec).await.unwrap();
    let error = fetched(&*lost, "A").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("secretsPath"), "{error}");
    assert_eq!(kind(lost.validate().await), ErrorKind::Invalid);
}

#[tokio::test]
async fn what_is_found_in_a_folder_is_fetched_from_there() {
    let double = Double::start();
    double.put("/app", "A", "of app");
    double.put("/app/sub", "B", "of sub");
    double.put("/application", "C", "of another");
    double.put("/shared", "D", "imported");
    double.import("/app", "/shared");
    for (path, recursive, expected) in [
        (Some("/app"), true, vec![("A", "of app"), ("B", "of sub"), ("D", "imported")]),
        (Some("app"), false, vec![("A", "of app"), ("D", "imported")]),
        (Some("/nowhere"), true, vec![]),
        (None, true, vec![("A", "of app"), ("B", "of sub"), ("C", "of another"), ("D", "imported")]),
        (None, false, vec![]),
    ] {
        let mut spec = spec(&double.server().url());
        spec["secretsScope"]["recursive"] = json!(recursive);
        let store = store_of(&spec).await.unwrap();
        let query = Query { path: path.map(str::to_owned), ..Query::default() };
        let mut found = Vec::new();
        for key in find_all(&*store, &query).await.unwrap() {
            let fetched = store.fetch(std::slice::from_ref(&key)).await.unwrap().remove(0).unwrap();
            found.push((key.name, fetched.value.expose_str().unwrap().to_owned()));
        }
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, expected, "{path:?} {recursive}");
    }
}

#[tokio::test]
async fn references_are_expanded_unless_the_store_says_otherwise() {
    let double = Double::start();
    double.put("/", "HOST", "db");
    double.put("/", "URL", "pg://${HOST}");
    let mut spec = spec(&double.server().url());
    assert_eq!(value(&*store_of(&spec).await.unwrap(), "URL").await.unwrap(), "pg://db");
    spec["secretsScope"]["expandSecretReferences"] = json!(false);
    assert_eq!(value(&*store_of(&spec).await.unwrap(), "URL").await.unwrap(), "pg://${HOST}");
}

#[tokio::test]
async fn a_value_that_we_may_not_see_is_denied_rather_than_what_the_server_puts_in_its_place() {
    let double = Double::start();
    double.put("/", "A", "canary");
    let store = store(&double).await;
    double.hide_values();
    assert_eq!(kind(fetched(&*store, "A").await), ErrorKind::Denied);
}

#[tokio::test]
async fn a_property_may_lie_deeper_and_imported_secrets_are_not_written_over() {
    let double = Double::start();
    double.put("/shared", "A", "imported");
    double.import("/", "/shared");
    let store = store(&double).await;
    assert_eq!(value(&*store, "A").await.unwrap(), "imported");
    assert!(!store.exists(&push("A", None, "").remote).await.unwrap(), "it is another folder's");
    store.push(&push("J", Some("db.user"), "u")).await.unwrap();
    store.push(&push("J", Some("db.host"), "h")).await.unwrap();
    assert_eq!(value(&*store, "J").await.unwrap(), r#"{"db":{"host":"h","user":"u"}}"#);
    store.delete(&push("J", Some("db.host"), "").remote, Reach::Ours).await.unwrap();
    assert_eq!(value(&*store, "J").await.unwrap(), r#"{"db":{"user":"u"}}"#);
}

#[tokio::test]
async fn a_push_asks_for_the_project_once() {
    let double = Double::start();
    let store = store(&double).await;
    for n in 0..3 {
        store.push(&push(&format!("A{n}"), None, "v")).await.unwrap();
    }
    let asked = double.server().calls().iter().filter(|call| call.path.contains("/projects/")).count();
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    for (status, body, expected) in [
        (400, r#"{"message":"canary"}"#, ErrorKind::Invalid),
        (401, r#"{"message":"canary"}"#, ErrorKind::Unauthenticated),
        (403, r#"{"message":"canary"}"#, ErrorKind::Denied),
        (404, r#"{"message":"Secret with name 'A' not found","error":"NotFound"}"#, ErrorKind::NotFound),
        (404, r#"{"message":"Environment with slug 'canary' not found"}"#, ErrorKind::Invalid),
        (404, r#"{"message":"Project with slug 'canary' not found"}"#, ErrorKind::Invalid),
        (404, r#"{"message":"canary"}"#, ErrorKind::Malformed),
        (404, "<html>canary", ErrorKind::Malformed),
        (429, "", ErrorKind::Throttled),
        (500, "canary", ErrorKind::Unavailable),
        (504, "", ErrorKind::Timeout),
        (200, "canary", ErrorKind::Malformed),
        (200, r#"{"secret":{}}"#, ErrorKind::Malformed),
        (302, "", ErrorKind::Malformed),
    ] {
        let passes = |path: &str| path.ends_with("/login").then_some(r#"{"accessToken":"t","expiresIn":60}"#);
        let server = refusing(status, body, passes).await;
        let store = store_of(&spec(&server.url())).await.unwrap();
        assert_eq!(kind(fetched(&*store, "A").await), expected, "{status} {body}");
    }
}
