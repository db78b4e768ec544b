//! The behaviour that every store shares, and what is this store's own, against a double that the vendor's client works
//! with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keyferry_doubles::onepassword::Double;
use keyferry_doubles::{Call, Faults, Server};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::parts::{Part, Parts};
use keyferry_provider_core::{
    BuildContext, Calls, Capabilities, Error, ErrorKind, Key, Origin, Payload, Provider, Push, Query, Reach, Remote,
    find_all,
};
use keyferry_provider_onepassword::REGISTRATION;
use keyferry_provider_testkit::{Fault, Fixture, MapCredentials, a_search_under_faults, suite};
use serde_json::{Value, json};

const TOKEN: &str = "canary-of-the-token";

/// The token after a rotation.
const NEXT: &str = "canary-of-the-next";

/// A server with one vault, and the token that it takes.
struct Prod(Double, Mutex<&'static str>);

impl Prod {
    fn start() -> Self {
        let double = Double::start(TOKEN);
        double.vault("prod");
        Self(double, Mutex::new(TOKEN))
    }

    fn calls(&self) -> Vec<Call> {
        self.0.server().take_calls()
    }

    async fn store(&self, vaults: Value) -> Arc<dyn Provider> {
        store_with(&self.0.server().url(), TOKEN, vaults, Arc::new(())).await.unwrap()
    }
}

async fn store_with(url: &str, token: &str, vaults: Value, calls: Arc<dyn Calls>) -> Result<Arc<dyn Provider>, Error> {
    store_at(url, token, vaults, calls, Addresses::anywhere()).await
}

async fn store_at(
    url: &str,
    token: &str,
    vaults: Value,
    calls: Arc<dyn Calls>,
    addresses: Addresses,
) -> Result<Arc<dyn Provider>, Error> {
    // An error means that a TLS library is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let auth = json!({"secretRef": {"connectTokenSecretRef": {"name": "connect", "key": "token"}}});
    let spec = json!({"connectHost": url, "vaults": vaults, "auth": auth});
    let credentials = MapCredentials::new().with("connect/token", format!("{token}\n"));
    let ctx = BuildContext { addresses, ..BuildContext::new(Arc::new(credentials), calls).trusted() };
    (REGISTRATION.build)(&spec, ctx).await
}

#[async_trait]
impl Fixture for Prod {
    fn registered(&self) -> Capabilities {
        (REGISTRATION.capabilities)(&json!({}))
    }

    fn server(&self) -> Option<Server> {
        Some(self.0.server().clone())
    }

    fn credentials(&self) -> Vec<String> {
        [TOKEN, NEXT].map(str::to_owned).into()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let token = *self.1.lock().unwrap();
        Some(store_at(url, token, json!({"prod": 1}), Arc::new(()), addresses).await.unwrap())
    }

    async fn rotate(&self) -> bool {
        *self.1.lock().unwrap() = NEXT;
        self.0.set_token(NEXT);
        true
    }

    /// The vaults, each item, and one list for each batch of 50.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(1 + keys + keys.div_ceil(50))
    }

    fn takes_empty(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        self.0.put("prod", name, std::str::from_utf8(value).unwrap());
        None
    }

    async fn delete(&self, name: &str) {
        self.0.remove("prod", name);
    }

    fn fetched(&self, value: &[u8]) -> Vec<u8> {
        let password = Part::Value(keyferry_provider_core::SecretBytes::new(value.to_vec()));
        let parts = Parts { fields: [("password".to_owned(), password)].into(), ..Parts::default() };
        parts.write().expose().to_vec()
    }

    fn property(&self) -> Option<String> {
        Some("password".to_owned())
    }

    fn marks(&self) -> bool {
        false
    }
}

fn key(name: &str) -> Key {
    Key { name: name.into(), version: None, metadata: false }
}

async fn read(store: &dyn Provider, name: &str) -> Result<Parts, Error> {
    let answer = store.fetch(&[key(name)]).await?.remove(0)?;
    Ok(Parts::read(&answer.value).expect("parts"))
}

fn text(part: &Part) -> String {
    let Part::Value(value) = part else { panic!("{part:?}") };
    value.expose_str().unwrap().to_owned()
}

fn push(key: &str, property: Option<&str>, value: &str, metadata: Option<Value>) -> Push {
    let remote = Remote { key: key.into(), property: property.map(str::to_owned), metadata };
    Push { remote, payload: Payload::Value(value.into()), origin: Origin::default(), reach: Reach::Ours }
}

fn fields(item: &Value) -> BTreeMap<String, String> {
    let all = item["fields"].as_array().unwrap().iter();
    all.map(|field| (field["label"].as_str().unwrap().into(), field["value"].as_str().unwrap().into())).collect()
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Prod::start()).await;
}

#[tokio::test]
async fn ten_fields_of_an_item_are_one_read_and_many_items_one_list() {
    let prod = Prod::start();
    let labels: Vec<String> = (0..10).map(|n| format!("field-{n}")).collect();
    let all: Vec<(&str, &str)> = labels.iter().map(|label| (label.as_str(), "v")).collect();
    prod.0.add("prod", "LOGIN", "db", &all, &[]);
    let store = prod.provider().await;
    assert_eq!(read(&*store, "db").await.unwrap().fields.len(), 10);
    let paths: Vec<_> = prod.calls().into_iter().map(|call| call.path).collect();
    assert_eq!(paths.len(), 3, "vaults, the title, the item: {paths:?}");
    assert_eq!(read(&*store, "db").await.unwrap().fields.len(), 10);
    assert_eq!(prod.calls().len(), 2, "the vaults are known");
    for n in 0..50 {
        prod.0.put("prod", &format!("item-{n}"), "v");
    }
    let keys: Vec<Key> = (0..50).map(|n| key(&format!("item-{n}"))).collect();
    assert!(store.fetch(&keys).await.unwrap().iter().all(Result::is_ok));
    assert_eq!(prod.calls().len(), 51, "one list, and each item once");
}

#[tokio::test]
async fn the_first_vault_that_has_the_item_counts() {
    let prod = Prod::start();
    prod.0.vault("shared");
    prod.0.put("shared", "only-shared", "s");
    for (vault, value) in [("shared", "s"), ("prod", "p")] {
        prod.0.put(vault, "both", value);
    }
    let prod_first = prod.store(json!({"shared": 2, "prod": 1})).await;
    let shared_first = prod.store(json!({"shared": -1, "prod": 0})).await;
    for (store, expected) in [(&prod_first, "p"), (&shared_first, "s")] {
        assert_eq!(text(&read(&**store, "both").await.unwrap().fields["password"]), expected);
        let together = store.fetch(&[key("both"), key("only-shared"), key("nowhere")]).await.unwrap();
        let read: Vec<_> =
            together.iter().map(|answer| answer.as_ref().map(|read| Parts::read(&read.value).unwrap())).collect();
        assert_eq!(text(&read[0].as_ref().unwrap().fields["password"]), expected);
        assert_eq!(text(&read[1].as_ref().unwrap().fields["password"]), "s");
        assert_eq!(read[2].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn an_item_is_named_by_its_id_where_titles_are_not_its_own() {
    let prod = Prod::start();
    let ids = ["1", "2"].map(|value| prod.0.add("prod", "LOGIN", "twice", &[("password", value)], &[]));
    let store = prod.provider().await;
    let error = read(&*store, "twice").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("2 items with the title \"twice\""), "{error}");
    assert_eq!(text(&read(&*store, &ids[1]).await.unwrap().fields["password"]), "2");
    let both = store.fetch(&[key(&ids[0]), key(&ids[1])]).await.unwrap();
    assert!(both.iter().all(Result::is_ok));
    // A title may look like an id.
    prod.0.put("prod", "abcdefghijklmnopqrstuvwxyz", "alike");
    assert_eq!(text(&read(&*store, "abcdefghijklmnopqrstuvwxyz").await.unwrap().fields["password"]), "alike");
    assert_eq!(read(&*store, "bbcdefghijklmnopqrstuvwxyz").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn no_title_leads_to_another_item() {
    let prod = Prod::start();
    prod.0.put("prod", "victim", "canary");
    let odd = r#"x" or title eq "victim"#;
    let store = prod.provider().await;
    assert_eq!(read(&*store, odd).await.unwrap_err().kind(), ErrorKind::NotFound);
    prod.0.put("prod", odd, "own");
    assert_eq!(text(&read(&*store, odd).await.unwrap().fields["password"]), "own");
    assert_eq!(read(&*store, "../../vaults").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn files_are_read_with_their_item_but_for_what_no_secret_holds() {
    let prod = Prod::start();
    let item = prod.0.add("prod", "DOCUMENT", "cert", &[("notesPlain", "n")], &[]);
    prod.0.attach("prod", &item, "tls.key", b"\x00\xff", None);
    prod.0.attach("prod", &item, "video.mkv", b"", Some(5 << 30));
    let parts = read(&*prod.provider().await, "cert").await.unwrap();
    assert!(parts.files_first && parts.first_file.as_deref() == Some("tls.key"));
    assert!(matches!(&parts.files["tls.key"], Part::Value(value) if value.expose() == b"\x00\xff"));
    assert_eq!(parts.files["video.mkv"], Part::TooLarge);
}

#[tokio::test]
async fn a_search_looks_through_all_vaults() {
    let prod = Prod::start();
    prod.0.vault("shared");
    let a = prod.0.add("prod", "LOGIN", "a", &[("user", "1")], &["db", "blue"]);
    let b = prod.0.add("shared", "LOGIN", "a", &[("user", "2")], &["db"]);
    prod.0.add("shared", "LOGIN", "c", &[("user", "3")], &[]);
    let store = prod.store(json!({"prod": 1, "shared": 2})).await;
    let find = async |path: Option<&str>, tags: &[&str]| {
        let tags = tags.iter().map(|tag| ((*tag).to_owned(), String::new())).collect();
        let query = Query { name: Some("user".parse().unwrap()), path: path.map(str::to_owned), tags };
        find_all(&*store, &query).await.unwrap().into_iter().map(|key| key.name).collect::<Vec<_>>()
    };
    assert_eq!(find(Some("a"), &[]).await, [a.clone(), b.clone()]);
    assert_eq!(find(None, &["db"]).await, [a.clone(), b.clone()], "not only those of the first vault");
    assert_eq!(find(None, &["db", "blue"]).await, std::slice::from_ref(&a));
    assert_eq!(find(Some("c"), &["db"]).await, [""; 0]);
    assert_eq!(find(None, &[]).await.len(), 3);
    let found = store.fetch(&[key(&a), key(&b)]).await.unwrap();
    let ranks: Vec<usize> = found.iter().map(|read| Parts::read(&read.as_ref().unwrap().value).unwrap().rank).collect();
    assert_eq!(ranks, [0, 1]);
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let kept = Mutex::new(Vec::new());
    let query = Query { tags: [("t".to_owned(), String::new())].into(), ..Query::default() };
    let build = async |fault: Option<(usize, Fault)>| {
        let prod = Prod::start();
        let mut vaults = vec!["prod".to_owned()];
        for n in 0..3 {
            vaults.push(prod.0.vault(&format!("vault-{n}")));
        }
        let ids: Vec<String> = vaults.iter().map(|vault| prod.0.vault_id(vault)).collect();
        for vault in &vaults {
            prod.0.add(vault, "LOGIN", "x", &[], &["t"]);
        }
        let all: Value = vaults.iter().enumerate().map(|(n, vault)| (vault.clone(), json!(n))).collect();
        let store = prod.store(all).await;
        if let Some((call, fault)) = fault {
            // The first call lists the vaults, each other one of them.
            let paths = match call {
                0 => vec!["/v1/vaults".to_owned()],
                call => ids[call - 1..].iter().map(|id| format!("{id}/items")).collect(),
            };
            let (status, body) = match fault {
                Fault::Status(status) => (status, "canary".to_owned()),
                Fault::Garbage => (200, "canary".to_owned()),
                Fault::Cut => (200, r#"[{"id":"aaaaaaaaaaaaaaaaaaaaaaaaaa","#.to_owned()),
            };
            prod.0.answer_always(paths, status, &body);
        }
        // The double lives as long as the store is asked.
        kept.lock().unwrap().push(prod);
        store
    };
    a_search_under_faults(&query, 5, build).await;
}

#[tokio::test]
async fn each_property_is_a_field_and_no_second_item_is_made() {
    let prod = Prod::start();
    prod.0.lag(5);
    let store = prod.provider().await;
    for (property, value) in [(Some("user"), "u"), (None, "p"), (Some("url"), "x"), (Some("user"), "u2")] {
        store.push(&push("db", property, value, None)).await.unwrap();
    }
    let items = prod.0.items("prod", "db");
    assert_eq!(items.len(), 1, "one item, although the server shows it late");
    let expected = [("password", "p"), ("url", "x"), ("user", "u2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(fields(&items[0]), expected.into(), "and no push takes back another's");
    assert_eq!((&items[0]["category"], &items[0]["fields"][0]["type"]), (&json!("SERVER"), &json!("CONCEALED")));
    assert_eq!(text(&read(&*store, "db").await.unwrap().fields["user"]), "u2", "who asks after a write reads it");
    prod.calls();
    store.push(&push("db", Some("user"), "u2", None)).await.unwrap();
    assert!(prod.calls().iter().all(|call| call.method == "GET"), "what is equal is not written");
}

#[tokio::test]
async fn pushes_at_once_make_one_item() {
    let prod = Prod::start();
    prod.0.lag(3);
    let store = prod.provider().await;
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.push(&push("db", Some(&format!("f{n}")), "v", None)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let items = prod.0.items("prod", "db");
    assert_eq!((items.len(), fields(&items[0]).len()), (1, 8));
}

#[tokio::test]
async fn tags_vault_and_type_are_said_by_metadata() {
    let prod = Prod::start();
    prod.0.vault("second");
    let store = prod.store(json!({"prod": 1, "second": 2})).await;
    let metadata = |spec: Value| {
        Some(
            json!({"apiVersion": "kubernetes.external-secrets.io/v1alpha1", "kind": "PushSecretMetadata", "spec": spec}),
        )
    };
    let said = metadata(json!({"vault": "second", "tags": ["a", "b"], "fieldType": "text"}));
    store.push(&push("new", Some("f"), "1", said)).await.unwrap();
    let item = &prod.0.items("second", "new")[0];
    assert_eq!((&item["tags"], &item["fields"][0]["type"]), (&json!(["a", "b"]), &json!("STRING")));
    store.push(&push("new", Some("f"), "1", metadata(json!({"tags": ["c"]})))).await.unwrap();
    assert_eq!(prod.0.items("second", "new")[0]["tags"], json!(["c"]), "tags alone are a change");
    store.push(&push("new", Some("f"), "2", None)).await.unwrap();
    assert_eq!(prod.0.items("second", "new")[0]["tags"], json!(["c"]), "what is not said stays");
    for wrong in [json!({"vault": "third"}), json!({"colour": "canary"})] {
        let error = store.push(&push("newer", None, "1", metadata(wrong))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(prod.0.items("prod", "newer").is_empty() && !error.message().contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn what_others_keep_in_an_item_is_not_deleted_with_ours() {
    let prod = Prod::start();
    prod.0.add("prod", "LOGIN", "db", &[("password", "p"), ("by hand", "h")], &[]);
    let store = prod.provider().await;
    let remote =
        |property: Option<&str>| Remote { key: "db".into(), property: property.map(str::to_owned), metadata: None };
    store.delete(&remote(Some("no such field")), Reach::Ours).await.unwrap();
    store.delete(&remote(None), Reach::Ours).await.unwrap();
    assert_eq!(fields(&prod.0.items("prod", "db")[0]).into_keys().collect::<Vec<_>>(), ["by hand"]);
    store.delete(&remote(Some("by hand")), Reach::Ours).await.unwrap();
    assert!(prod.0.items("prod", "db").is_empty());
    assert!(!store.exists(&remote(None)).await.unwrap());
}

#[tokio::test]
async fn a_vault_out_of_sight_is_not_a_vault_without_items() {
    let prod = Prod::start();
    prod.0.put("prod", "db", "v");
    let store = prod.provider().await;
    read(&*store, "db").await.unwrap();
    prod.0.grant("prod", false);
    for name in ["db", "nowhere"] {
        assert_eq!(read(&*store, name).await.unwrap_err().kind(), ErrorKind::Denied, "{name}");
    }
    let error = store.validate().await.unwrap_err();
    assert!(error.message().contains("can't see a vault \"prod\""), "{error}");
    let keys = [key("db"), key("nowhere")];
    let kinds: Vec<_> = store
        .fetch(&keys)
        .await
        .map(|answers| answers.into_iter().map(|a| a.unwrap_err().kind()).collect())
        .unwrap_or_else(|error| vec![error.kind()]);
    assert!(kinds.iter().all(|kind| *kind == ErrorKind::Denied), "{kinds:?}");
}

#[tokio::test]
async fn a_vault_that_is_emptied_behind_our_back_is_asked_for_once_more() {
    let prod = Prod::start();
    prod.0.put("prod", "db", "v");
    let store = prod.provider().await;
    read(&*store, "db").await.unwrap();
    prod.0.rename("prod", "old");
    prod.0.vault("prod");
    assert_eq!(read(&*store, "nowhere").await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(read(&*store, "nowhere").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_refusal_is_doubted_twice() {
    let prod = Prod::start();
    prod.0.put("prod", "db", "v");
    let store = prod.provider().await;
    prod.0.refuse("/items/", 403, 2);
    read(&*store, "db").await.unwrap();
    prod.0.refuse("/items/", 403, 3);
    assert_eq!(read(&*store, "db").await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_wrong_token_is_said_and_never_shown() {
    let prod = Prod::start();
    let url = prod.0.server().url();
    let store = store_with(&url, "canary-of-another", json!({"prod": 1}), Arc::new(())).await.unwrap();
    let error = store.validate().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(!error.to_string().contains("canary") && !format!("{error:?}").contains("canary"), "{error}");
    assert_eq!(store.fetch(&[key("db")]).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    for token in ["", "canary\u{7f}"] {
        let error = store_with(&url, token, json!({"prod": 1}), Arc::new(())).await.err().unwrap();
        assert!(error.kind() == ErrorKind::Invalid && !error.message().contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let prod = Prod::start();
    prod.0.put("prod", "db", "v");
    let store = prod.provider().await;
    read(&*store, "db").await.unwrap();
    let own = |status: u16| json!({"status": status, "message": "canary"}).to_string();
    for (status, body, expected) in [
        (400, own(400), ErrorKind::Invalid),
        (401, own(401), ErrorKind::Unauthenticated),
        (403, own(403), ErrorKind::Denied),
        (404, own(404), ErrorKind::Unavailable),
        (404, "<html>canary".into(), ErrorKind::Malformed),
        (404, r#"{"error":"canary"}"#.into(), ErrorKind::Malformed),
        (409, String::new(), ErrorKind::Unavailable),
        (413, own(413), ErrorKind::Invalid),
        (429, String::new(), ErrorKind::Throttled),
        (504, String::new(), ErrorKind::Timeout),
        (500, own(500), ErrorKind::Unavailable),
        (200, "canary".into(), ErrorKind::Malformed),
        (302, String::new(), ErrorKind::Malformed),
    ] {
        prod.0.answer_always(vec!["/v1/vaults/".into()], status, &body);
        let remote = Remote { key: "db".into(), ..Remote::default() };
        let error = store.exists(&remote).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{status} {body}: {error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

#[derive(Default)]
struct Counted(Mutex<Vec<(&'static str, &'static str, bool)>>);

impl Calls for Counted {
    fn record(&self, provider: &'static str, call: &'static str, ok: bool, _: Duration) {
        self.0.lock().unwrap().push((provider, call, ok));
    }
}

#[tokio::test]
async fn every_attempt_is_counted_and_faults_pass_by() {
    let prod = Prod::start();
    prod.0.put("prod", "db", "v");
    let counted = Arc::new(Counted::default());
    let store = store_with(&prod.0.server().url(), TOKEN, json!({"prod": 1}), counted.clone()).await.unwrap();
    prod.0.server().fail(Faults { throttled: 100, ..Faults::default() });
    assert!(store.fetch(&[key("db")]).await.unwrap_err().is_temporary());
    prod.0.server().fail(Faults::default());
    read(&*store, "db").await.unwrap();
    let calls = counted.0.lock().unwrap().clone();
    assert_eq!(calls.len(), prod.calls().len());
    assert_eq!(calls.last(), Some(&("OnePassword", "GetItem", true)));
    assert_eq!(calls.first(), Some(&("OnePassword", "GetVaults", false)));
}
