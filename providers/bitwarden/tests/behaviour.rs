//! The behaviour that every store shares, and what is this store's own, against a server of ours that nobody's client has
//! proven.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::bitwarden::Double;
use keyferry_provider_bitwarden::REGISTRATION;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{
    BuildContext, Capabilities, Error, ErrorKind, Key, Origin, Payload, Provider, Push, Query, Reach, Remote, find_all,
};
use keyferry_provider_testkit::{Fault, Fixture, MapCredentials, a_search_under_faults, suite};
use serde_json::{Value, json};

const TOKEN: &str = "0.canary-of-the-token";

/// The token after a rotation.
const NEXT: &str = "0.canary-of-the-next";

/// A double, and the token that it takes.
struct Project(Double, Mutex<&'static str>);

impl Project {
    fn start() -> Self {
        Self(Double::start(TOKEN, "org"), Mutex::new(TOKEN))
    }

    async fn store(&self, token: &str) -> Result<Arc<dyn Provider>, Error> {
        self.store_at(&self.0.server().url(), token, Addresses::anywhere()).await
    }

    async fn store_at(&self, url: &str, token: &str, addresses: Addresses) -> Result<Arc<dyn Provider>, Error> {
        // An error means that a TLS library is installed already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let spec = json!({
            "bitwardenServerSDKURL": url, "organizationID": "org", "projectID": "project",
            "caProvider": {"type": "ConfigMap", "name": "ca", "key": "ca.crt"},
            "auth": {"secretRef": {"credentials": {"name": "bitwarden", "key": "token"}}},
        });
        let credentials = MapCredentials::new()
            .with("bitwarden/token", format!("{token}\n"))
            .with("ca/ca.crt", self.0.server().authority().pem());
        let ctx = BuildContext { addresses, ..BuildContext::new(Arc::new(credentials), Arc::new(())).trusted() };
        (REGISTRATION.build)(&spec, ctx).await
    }
}

#[async_trait]
impl Fixture for Project {
    fn registered(&self) -> Capabilities {
        (REGISTRATION.capabilities)(&json!({}))
    }

    fn is_proven(&self) -> bool {
        false
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn credentials(&self) -> Vec<String> {
        [TOKEN, NEXT].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let token = *self.1.lock().unwrap();
        Some(self.store_at(url, token, addresses).await.unwrap())
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_token(NEXT);
        true
    }

    /// One each, and one list for twenty.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys + keys.div_ceil(20))
    }

    /// Bitwarden shows only what the account may see.
    fn missing(&self) -> ErrorKind {
        ErrorKind::Denied
    }

    fn takes_empty(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        self.0.put("project", name, std::str::from_utf8(value).unwrap());
        None
    }

    async fn delete(&self, name: &str) {
        self.0.remove(name);
    }

    fn marks(&self) -> bool {
        false
    }
}

fn key(name: &str) -> Key {
    Key { name: name.into(), version: None, metadata: false }
}

async fn read(store: &dyn Provider, name: &str) -> Result<String, Error> {
    let fetched = store.fetch(&[key(name)]).await?.remove(0)?;
    Ok(fetched.value.expose_str().unwrap().to_owned())
}

fn push(name: &str, value: &str, metadata: Option<Value>) -> Push {
    let remote = Remote { key: name.into(), property: None, metadata };
    Push { remote, payload: Payload::Value(value.into()), origin: Origin::default(), reach: Reach::Ours }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Project::start()).await;
}

#[tokio::test]
async fn a_name_counts_in_its_project_and_an_id_everywhere() {
    let project = Project::start();
    let store = project.provider().await;
    assert!(store.identity_note().unwrap().contains("unproven"));
    let elsewhere = project.0.add("another", "shared", "theirs", "");
    // Whether it is not there or not for us Bitwarden does not say, and nothing must be deleted for a right that was lost.
    assert_eq!(read(&*store, "shared").await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(read(&*store, &elsewhere).await.as_deref(), Ok("theirs"));
    project.0.add("project", "shared", "ours", "");
    assert_eq!(read(&*store, "shared").await.as_deref(), Ok("ours"));
    project.0.add("project", "shared", "twice", "");
    let error = read(&*store, "shared").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("several secrets \"shared\""), "{error}");
    let absent = "00000000-0000-4000-8000-999999999999";
    let error = read(&*store, absent).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.message().contains("may not see it"), "{error}");
}

#[tokio::test]
async fn names_that_are_fetched_together_are_listed_once() {
    let project = Project::start();
    for n in 0..20 {
        project.0.put("project", &format!("s{n}"), "v");
    }
    let store = project.provider().await;
    let keys: Vec<Key> = (0..20).map(|n| key(&format!("s{n}"))).collect();
    assert!(store.fetch(&keys).await.unwrap().iter().all(Result::is_ok));
    assert_eq!(project.0.server().take_calls().len(), 21);
}

#[tokio::test]
async fn a_search_finds_what_is_in_the_project_and_nothing_of_others() {
    let project = Project::start();
    for (of, name) in [("project", "db-a"), ("another", "db-b"), ("project", "db-c"), ("project", "other")] {
        project.0.add(of, name, "v", "");
    }
    let store = project.provider().await;
    project.0.server().take_calls();
    let query = Query { name: Some("^db-".parse().unwrap()), ..Query::default() };
    let found = find_all(&*store, &query).await.unwrap();
    assert_eq!(found.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["db-a", "db-c"]);
    assert_eq!(project.0.server().take_calls().len(), 4, "one list, and one for each that bears a name");
}

/// Each call of a search has half a minute, and each secret that bears a name is a call of the server.
#[tokio::test]
async fn a_search_of_many_goes_on_call_by_call() {
    let project = Project::start();
    for n in 0..50 {
        project.0.add("project", &format!("db-{n:02}"), "v", "");
    }
    let store = project.provider().await;
    let query = Query { name: Some("^db-".parse().unwrap()), ..Query::default() };
    project.0.server().take_calls();
    let first = store.find(&query, &[]).await.unwrap();
    assert_eq!((first.keys.len(), first.next.len(), project.0.server().take_calls().len()), (20, 30, 21));
    let found = find_all(&*store, &query).await.unwrap();
    assert_eq!(found.len(), 50);
    assert!(project.0.server().take_calls().len() == 51, "the list is asked for once");
}

#[tokio::test]
async fn a_push_writes_over_what_bears_the_name_and_keeps_its_note() {
    let project = Project::start();
    project.0.add("project", "db", "old", "by hand");
    let store = project.provider().await;
    store.push(&push("db", "new", None)).await.unwrap();
    let there = project.0.secrets("db");
    assert_eq!((there.len(), &there[0]["value"], &there[0]["note"]), (1, &json!("new"), &json!("by hand")));
    project.0.server().take_calls();
    store.push(&push("db", "new", None)).await.unwrap();
    assert!(project.0.server().take_calls().iter().all(|call| call.method == "GET"), "what is equal is not written");
    store.push(&push("db", "new", Some(json!({"note": "ours"})))).await.unwrap();
    assert_eq!(project.0.secrets("db")[0]["note"], json!("ours"));
    project.0.read_only(true);
    assert_eq!(store.push(&push("db", "x", None)).await.unwrap_err().kind(), ErrorKind::Denied);
    let remote = Remote { key: "db".into(), ..Remote::default() };
    let error = store.delete(&remote, Reach::Ours).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && !error.message().contains("canary"), "{error}");
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let kept = std::sync::Mutex::new(Vec::new());
    let query = Query { name: Some("^secret-".parse().unwrap()), ..Query::default() };
    let build = async |fault: Option<(usize, Fault)>| {
        let project = Project::start();
        project.0.put("project", "secret-a", "v");
        if let Some((0, fault)) = fault {
            match fault {
                Fault::Status(status) => project.0.answer_always("secrets", status, "canary"),
                Fault::Garbage => project.0.answer_always("secrets", 200, "canary"),
                Fault::Cut => project.0.answer_always("secrets", 200, r#"{"data":[{"id":"#),
            }
        }
        let store = project.provider().await;
        kept.lock().unwrap().push(project);
        store
    };
    a_search_under_faults(&query, 1, build).await;
}

#[tokio::test]
async fn every_answer_has_its_meaning() {
    let project = Project::start();
    let id = project.0.add("project", "db", "v", "");
    let store = project.provider().await;
    let wrong = project.store("0.canary-of-another").await.unwrap();
    assert_eq!(wrong.validate().await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    let said = |status: &str| format!("failed: Received error message from server: [{status}] canary");
    for (status, body, expected) in [
        (400, said("404 Not Found"), ErrorKind::Denied),
        (400, said("403 Forbidden"), ErrorKind::Denied),
        (400, said("429 Too Many Requests"), ErrorKind::Throttled),
        (500, said("502 Bad Gateway"), ErrorKind::Unavailable),
        (400, said("422 Unprocessable"), ErrorKind::Invalid),
        (400, "canary".into(), ErrorKind::Unavailable),
        (404, "<html>canary".into(), ErrorKind::Malformed),
        (401, "canary".into(), ErrorKind::Unauthenticated),
        (429, String::new(), ErrorKind::Throttled),
        (504, String::new(), ErrorKind::Timeout),
        (200, "canary".into(), ErrorKind::Malformed),
        (302, String::new(), ErrorKind::Malformed),
    ] {
        project.0.answer_always("secret", status, &body);
        let error = read(&*store, &id).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{status} {body}: {error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    project.0.answer_always("secrets", 400, &said("404 Not Found"));
    assert_eq!(
        read(&*store, "db").await.unwrap_err().kind(),
        ErrorKind::Invalid,
        "of an organization, not of a secret"
    );
}
