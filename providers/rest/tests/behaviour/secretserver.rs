//! Delinea Secret Server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::secretserver::{DOMAIN, Double, FOLDER, OTHER, TEMPLATE, USER};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{
    Answer, Blame, Capabilities, Dialect, Error, ErrorKind, Key, Page, Provider, Push, Query, Reach, Remote,
    SecretBytes, json as body,
};
use keyferry_provider_rest::SECRET_SERVER;
use keyferry_provider_testkit::{Fixture, MapCredentials, suite};
use serde_json::{Value, json};

use crate::common::{build, context, context_at, fetched, kind, push, refusing, value};

fn spec(url: &str) -> Value {
    json!({
        "serverURL": url, "username": {"value": USER.0},
        "password": {"secretRef": {"name": "secretserver", "key": "password"}},
    })
}

async fn store_of(spec: &Value, password: &str) -> Result<Arc<dyn Provider>, Error> {
    build(&SECRET_SERVER, spec, context(MapCredentials::new().with("secretserver/password", password), &[])).await
}

async fn store(double: &Double) -> Arc<dyn Provider> {
    store_of(&spec(&double.server().url()), &format!("{}\n", USER.1)).await.unwrap()
}

/// What logs in after a rotation.
const NEXT: &str = "canary-of-the-next";

fn place() -> Value {
    place_in(FOLDER.0)
}

fn place_in(folder: u64) -> Value {
    json!({
        "apiVersion": "kubernetes.external-secrets.io/v1alpha1", "kind": "PushSecretMetadata",
        "spec": {"folderId": folder, "secretTemplateId": TEMPLATE.0},
    })
}

/// A push with these metadata.
fn push_at(key: &str, property: Option<&str>, metadata: Value) -> Push {
    let push = push(key, property, "made");
    Push { remote: Remote { metadata: Some(metadata), ..push.remote }, ..push }
}

/// A store that shows no more than the first field, and makes secrets in the one folder: tests of many stores know nothing of
/// fields and folders.
struct First(Arc<dyn Provider>);

fn first(value: &SecretBytes) -> Option<SecretBytes> {
    let items = *body::object(value.expose())?.get("Items")?;
    let item = body::object(body::array(items.get().as_bytes())?.first()?.get().as_bytes())?;
    item.get("ItemValue").map(|raw| body::to_bytes(raw))
}

#[async_trait]
impl Provider for First {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn dialect(&self) -> Dialect {
        Dialect::default()
    }

    fn joins(&self, batch: &[Key], key: &Key) -> bool {
        self.0.joins(batch, key)
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        let answers = self.0.fetch(keys).await?.into_iter();
        let shown = answers.map(|answer| answer.map(|found| first(&found.value).expect("a first field").into()));
        Ok(shown.collect())
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        self.0.find(query, at).await
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        let remote = Remote { metadata: Some(place()), ..push.remote.clone() };
        self.0.push(&Push { remote, ..push.clone() }).await
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        self.0.delete(remote, reach).await
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        self.0.exists(remote).await
    }

    async fn validate(&self) -> Result<(), Error> {
        self.0.validate().await
    }

    fn identity_note(&self) -> Option<String> {
        self.0.identity_note()
    }
}

struct Backend(Double, Mutex<&'static str>);

#[async_trait]
impl Fixture for Backend {
    fn name(&self) -> String {
        "secretserver".to_owned()
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn registered(&self) -> Capabilities {
        (SECRET_SERVER.capabilities)(&json!({}))
    }

    /// The vendor's client has only read from it.
    fn is_proven_for_writes(&self) -> bool {
        false
    }

    fn credentials(&self) -> Vec<String> {
        [USER.1, NEXT, "canary-of-session"].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let text = *self.1.lock().unwrap();
        let ctx = context_at("secretserver/password", text, &[], addresses);
        Some(Arc::new(First(build(&SECRET_SERVER, &spec(url), ctx).await.unwrap())))
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_password(NEXT);
        true
    }

    async fn deny(&self, name: &str) -> bool {
        self.0.deny(name);
        true
    }

    /// A search passes over what the user may not view.
    fn missing(&self) -> ErrorKind {
        ErrorKind::Denied
    }

    /// What a name leads to, and the secret, and one for the login.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(2 * keys + 1)
    }

    fn takes_empty(&self) -> bool {
        true
    }

    /// A path begins with a slash, and is another way to name a secret.
    fn takes_name(&self, name: &str) -> bool {
        !name.starts_with('/')
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        self.0.put(name, [std::str::from_utf8(value).unwrap(), "", ""]);
        None
    }

    async fn delete(&self, name: &str) {
        self.0.delete(name);
    }

    /// Fields are those of a template.
    fn keeps_other_properties(&self) -> bool {
        false
    }

    fn marks(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Backend(Double::start(), Mutex::new(USER.1))).await;
}

#[tokio::test]
async fn a_key_is_a_number_a_path_or_a_name() {
    let double = Double::start();
    let id = double.put("db", [r#"{"user":"u"}"#, "p", "the file"]).to_string();
    double.put("DB", ["other", "", ""]);
    let store = store(&double).await;
    let whole = value(&*store, &id).await.unwrap();
    for key in ["db", "/app/db"] {
        assert_eq!(value(&*store, key).await.unwrap(), whole, "{key}");
    }
    let shown: Value = serde_json::from_str(&whole).unwrap();
    assert_eq!((&shown["ID"], &shown["Name"], &shown["FolderID"]), (&json!(1), &json!("db"), &json!(73)));
    let held: Vec<_> = (0..3).map(|n| shown["Items"][n]["ItemValue"].as_str().unwrap()).collect();
    assert_eq!(held, [r#"{"user":"u"}"#, "p", "the file"]);
    // Nobody but the server knows whether they are not there, or not for us; it does not say.
    for key in ["99", "/app/missing", "missing", "folderId:74/db"] {
        assert_eq!(kind(fetched(&*store, key).await), ErrorKind::Denied, "{key}");
    }
    assert_eq!(kind(fetched(&*store, "").await), ErrorKind::Invalid);
    assert!(store.identity_note().unwrap().contains("unproven"));
}

#[tokio::test]
async fn a_push_writes_one_field_and_leaves_the_others() {
    let double = Double::start();
    double.put("db", ["data", "old", "file"]);
    let store = store(&double).await;
    for property in ["password", "Password"] {
        store.push(&push("db", Some(property), "new")).await.unwrap();
        assert_eq!(double.held("db").unwrap().0, ["data", "new", "file"]);
    }
    store.push(&push("db", None, "first")).await.unwrap();
    assert_eq!(double.held("db").unwrap().0, ["first", "new", "file"]);
    let calls = double.server().calls().len();
    store.push(&push("db", None, "first")).await.unwrap();
    assert_eq!(double.server().calls().len() - calls, 2, "what is equal is not written");
    for property in ["nothing", "file"] {
        assert_eq!(kind(store.push(&push("db", Some(property), "v")).await), ErrorKind::Invalid, "{property}");
    }
}

#[tokio::test]
async fn a_secret_is_made_where_metadata_say() {
    let double = Double::start();
    let store = store(&double).await;
    store.push(&push_at("new", Some("password"), place())).await.unwrap();
    assert_eq!(double.held("new").unwrap(), (["", "made", ""].map(str::to_owned), FOLDER.0, 1));
    let mut elsewhere = place();
    elsewhere["spec"]["siteId"] = json!(4);
    store.push(&push_at("second", None, elsewhere)).await.unwrap();
    assert_eq!(double.held("second").unwrap(), (["made", "", ""].map(str::to_owned), FOLDER.0, 4));
    let error = store.push(&push("third", None, "v")).await.unwrap_err();
    assert!(error.message().contains("set folderId and secretTemplateId in metadata to create a secret"), "{error}");
    let error = store.push(&push_at("third", Some("nothing"), place())).await.unwrap_err();
    assert!(error.message().contains("no such field"), "{error}");
    let mut unknown = place();
    unknown["spec"]["canary"] = json!(1);
    assert!(store.push(&push_at("third", None, unknown)).await.is_err());
}

#[tokio::test]
async fn what_no_push_would_find_again_is_not_made() {
    let double = Double::start();
    let store = store(&double).await;
    for key in ["folder/second", "second/", "folderId:73/folder/second"] {
        for _ in 0..2 {
            let error = store.push(&push_at(key, None, place())).await.unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request), "{key}");
            assert!(error.message().contains("begin it with a slash for a path, or push to the name alone"), "{error}");
        }
    }
    for key in ["99", "/app/second"] {
        let error = store.push(&push_at(key, None, place())).await.unwrap_err();
        assert_eq!(error.hint(), Some("to have a secret made, push to its name"), "{error}");
    }
    assert_eq!(double.count(), 0);
    // A server that says that there is none is not asked to make it either.
    let passes = |path: &str| path.ends_with("/token").then_some(r#"{"access_token":"t","expires_in":60}"#);
    let server = refusing(404, r#"{"message":"canary"}"#, passes).await;
    let without = store_of(&spec(&server.url()), USER.1).await.unwrap();
    for key in ["99", "/app/second"] {
        let error = without.push(&push_at(key, None, place())).await.unwrap_err();
        assert!(error.message().contains("none is made by number or path"), "{error}");
    }
    // One that is there is written, whatever it is called.
    double.put("odd/name", ["", "", ""]);
    for key in ["odd/name", "/app/odd/name", "1"] {
        store.push(&push(key, None, key)).await.unwrap();
        assert_eq!(double.held("odd/name").unwrap().0[0], key);
    }
}

#[tokio::test]
async fn what_is_changed_is_the_one_of_the_folder_and_no_other() {
    let double = Double::start();
    // The first that a search finds is somebody else's.
    double.put_in(OTHER.0, "db", ["theirs", "", ""]);
    let store = store(&double).await;
    let ours = push_at("db", None, place());
    assert!(!store.exists(&ours.remote).await.unwrap());
    store.push(&ours).await.unwrap();
    assert_eq!(double.held_in(FOLDER.0, "db").unwrap()[0], "made");
    assert!(store.exists(&ours.remote).await.unwrap());
    // Which of the two is meant nobody says.
    let unclear = push("db", None, "v");
    let done = [
        store.push(&unclear).await.err(),
        store.exists(&unclear.remote).await.err(),
        store.delete(&unclear.remote, Reach::Ours).await.err(),
    ];
    for error in done {
        let error = error.expect("a name that several bear");
        assert!(error.message().contains("name it by number or path"), "{error}");
    }
    store.delete(&ours.remote, Reach::Ours).await.unwrap();
    assert!(double.held_in(FOLDER.0, "db").is_none());
    for _ in 0..2 {
        store.delete(&ours.remote, Reach::Ours).await.unwrap();
        assert_eq!(double.held_in(OTHER.0, "db").unwrap()[0], "theirs");
    }
    // One folder may have several of a name.
    double.put("twice", ["v", "", ""]);
    double.put("TWICE", ["v", "", ""]);
    for remote in ["twice", "TWICE"].map(|key| push_at(key, None, place()).remote) {
        assert!(store.exists(&remote).await.unwrap());
    }
    assert_eq!(kind(store.delete(&push_at("Twice", None, place()).remote, Reach::Ours).await), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_key_may_say_in_which_folder_a_name_is() {
    let double = Double::start();
    double.put("db", ["of app", "", ""]);
    let store = store(&double).await;
    // The key is before the metadata.
    let push = push_at("folderId:74/db", None, place());
    store.push(&push).await.unwrap();
    assert_eq!(double.held_in(OTHER.0, "db").unwrap()[0], "made");
    assert!(value(&*store, "folderId:74/db").await.unwrap().contains("\"made\""));
    assert!(value(&*store, "folderId:73/db").await.unwrap().contains("\"of app\""));
    store.delete(&Remote { metadata: None, ..push.remote }, Reach::Ours).await.unwrap();
    assert!(double.held_in(OTHER.0, "db").is_none() && double.held_in(FOLDER.0, "db").is_some());
}

#[tokio::test]
async fn a_right_that_was_lost_deletes_nothing() {
    let double = Double::start();
    double.put("db", ["v", "", ""]);
    let store = store(&double).await;
    value(&*store, "db").await.unwrap();
    double.deny("db");
    for key in ["db", "1", "/app/db"] {
        assert_eq!(kind(fetched(&*store, key).await), ErrorKind::Denied, "{key}");
    }
}

#[tokio::test]
async fn a_field_is_emptied_and_the_last_takes_the_secret_along() {
    let double = Double::start();
    double.put("db", ["data", "p", ""]);
    let store = store(&double).await;
    let remote = |property: &str| Remote { key: "db".into(), property: Some(property.into()), metadata: None };
    store.delete(&remote("nothing"), Reach::Ours).await.unwrap();
    store.delete(&remote("password"), Reach::Ours).await.unwrap();
    assert_eq!(double.held("db").unwrap().0, ["data", "", ""]);
    assert!(!store.exists(&remote("password")).await.unwrap() && store.exists(&remote("data")).await.unwrap());
    store.delete(&remote("data"), Reach::Ours).await.unwrap();
    assert!(double.held("db").is_none());
    store.delete(&remote("data"), Reach::Ours).await.unwrap();
}

#[tokio::test]
async fn a_deletion_takes_no_more_than_a_push_writes() {
    let double = Double::start();
    double.put("db", ["data", "p", "the file"]);
    let store = store(&double).await;
    let remote = |property: Option<&str>| push("db", property, "").remote;
    // A push without a property writes the first field.
    store.delete(&remote(None), Reach::Ours).await.unwrap();
    assert_eq!(double.held("db").unwrap().0, ["", "p", "the file"]);
    assert!(!store.exists(&remote(None)).await.unwrap() && store.exists(&remote(Some("password"))).await.unwrap());
    // None writes a file.
    store.delete(&remote(Some("file")), Reach::Ours).await.unwrap();
    store.delete(&remote(Some("password")), Reach::Ours).await.unwrap();
    assert_eq!(double.held("db").unwrap().0, ["", "", "the file"]);
    store.delete(&remote(Some("file")), Reach::Ours).await.unwrap();
    assert_eq!(double.held("db").unwrap().0, ["", "", "the file"]);
    double.put("alone", ["data", "", ""]);
    store.delete(&push("alone", None, "").remote, Reach::Ours).await.unwrap();
    assert!(double.held("alone").is_none());
}

#[tokio::test]
async fn logins_are_a_user_s_or_a_token() {
    let double = Double::start();
    double.put("db", ["v", "", ""]);
    let mut of_domain = spec(&double.server().url());
    of_domain["domain"] = json!(DOMAIN);
    let store = store_of(&of_domain, USER.1).await.unwrap();
    value(&*store, "db").await.unwrap();
    of_domain["domain"] = json!("another");
    assert_eq!(kind(store_of(&of_domain, USER.1).await), ErrorKind::Unauthenticated);
    let kept = json!({"serverURL": double.server().url(), "token": {"value": "canary-of-session-1"}});
    let by_token = store_of(&kept, "").await.unwrap();
    value(&*by_token, "db").await.unwrap();
    assert_eq!(double.logins(), 1);
    let wrong = store_of(&json!({"serverURL": double.server().url(), "token": {"value": "canary"}}), "").await.unwrap();
    assert_eq!(kind(fetched(&*wrong, "db").await), ErrorKind::Unauthenticated);
    // That one has it says nothing: nobody has taken it yet.
    by_token.validate().await.unwrap();
    assert_eq!(kind(wrong.validate().await), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn delinea_platform_leads_to_its_vault() {
    let double = Double::start_platform();
    double.put("db", ["v", "", ""]);
    double.logins_last(Duration::from_secs(2));
    let store = store(&double).await;
    value(&*store, "db").await.unwrap();
    let paths = |double: &Double| -> Vec<String> {
        double.server().calls().into_iter().map(|call| format!("{} {}", call.method, call.path)).collect()
    };
    let asked = paths(&double);
    assert_eq!(
        asked[..5],
        [
            "POST /oauth2/token",
            "GET /health",
            "POST /identity/api/oauth2/token/xpmplatform",
            "GET /vaultbroker/api/vaults",
            "POST /identity/api/oauth2/token/xpmplatform",
        ]
    );
    assert!(asked[5..].iter().all(|call| call.starts_with("GET /vault/api/v1/secrets")), "{asked:?}");
    // A later login is made at Platform again, and nothing else is found out anew.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    value(&*store, "db").await.unwrap();
    let more = paths(&double).split_off(asked.len());
    assert_eq!(more[0], "POST /identity/api/oauth2/token/xpmplatform", "{more:?}");
    assert!(more.iter().all(|call| !call.contains("oauth2/token") || call.contains("xpmplatform")), "{more:?}");
    store.push(&push_at("new", None, place())).await.unwrap();
    assert_eq!(double.held("new").unwrap().0[0], "made");

    let url = double.server().url();
    assert_eq!(kind(store_of(&spec(&url), "canary-of-another").await), ErrorKind::Unauthenticated);
    double.lead_nowhere();
    let error = store_of(&spec(&url), USER.1).await.err().unwrap();
    assert!(error.message().contains("no active vault for its default"), "{error}");
}

#[tokio::test]
async fn one_login_is_for_all_and_is_made_again_when_it_ends() {
    let double = Double::start();
    double.put("db", ["v", "", ""]);
    double.logins_last(Duration::from_secs(2));
    let store = store(&double).await;
    for _ in 0..3 {
        value(&*store, "db").await.unwrap();
    }
    assert_eq!(double.logins(), 1);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    store.validate().await.unwrap();
    value(&*store, "db").await.unwrap();
    assert!(double.logins() >= 2);
}

#[tokio::test]
async fn what_the_spec_gets_wrong_is_named() {
    let double = Double::start();
    let good = spec(&double.server().url());
    for (field, wrong, words) in [
        ("serverURL", json!(""), "serverURL is missing"),
        ("serverURL", json!("canary"), "serverURL must be a URL"),
        ("username", json!(null), "username is missing"),
        ("password", json!(null), "password is missing"),
        ("password", json!({"value": "canary", "secretRef": {"name": "n"}}), "not of the form"),
    ] {
        let mut spec = good.clone();
        spec[field] = wrong;
        let error = store_of(&spec, USER.1).await.err().unwrap();
        assert!(error.message().contains(words), "{error}");
    }
    assert_eq!(kind(store_of(&good, "canary-of-another").await), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    for (status, body, expected) in [
        (400, r#"{"message":"canary","errorCode":"API_AccessDenied"}"#, ErrorKind::Denied),
        (400, r#"{"message":"canary","errorCode":"API_Other"}"#, ErrorKind::Invalid),
        (401, r#"{"message":"canary"}"#, ErrorKind::Unauthenticated),
        (403, r#"{"message":"canary"}"#, ErrorKind::Denied),
        (404, r#"{"message":"canary"}"#, ErrorKind::NotFound),
        (404, "<html>canary", ErrorKind::Malformed),
        (429, "", ErrorKind::Throttled),
        (500, "canary", ErrorKind::Unavailable),
        (504, "", ErrorKind::Timeout),
        (200, "canary", ErrorKind::Malformed),
        (200, "{}", ErrorKind::Malformed),
        (302, "", ErrorKind::Malformed),
    ] {
        let passes = |path: &str| path.ends_with("/token").then_some(r#"{"access_token":"t","expires_in":60}"#);
        let server = refusing(status, body, passes).await;
        let store = store_of(&spec(&server.url()), USER.1).await.unwrap();
        assert_eq!(kind(fetched(&*store, "1").await), expected, "{status} {body}");
    }
}
