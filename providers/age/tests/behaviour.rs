//! The behaviour that every store shares, and what is of these stores alone.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyferry_documents::{Recipients, keys, seal};
use keyferry_provider_age::{REGISTRATION, SOPS};
use keyferry_provider_core::{
    BuildContext, Capabilities, Error, ErrorKind, Files, Key, Provider, Query, SecretBytes, find_all,
};
use keyferry_provider_testkit::{CANARY, Fixture, MapCredentials, suite};
use serde_json::{Value, json};

/// A key, and what seals for it.
struct Pair {
    key: SecretBytes,
    recipients: Recipients,
}

impl Pair {
    fn new() -> Self {
        let (key, recipient) = keys::generate();
        let mut recipients = Recipients::default();
        recipients.add(&recipient).unwrap();
        Self { key, recipients }
    }

    fn seal(&self, text: &str) -> String {
        String::from_utf8(seal(&text.into(), &self.recipients, true).unwrap()).unwrap()
    }

    fn credentials(&self) -> MapCredentials {
        MapCredentials::new().with("keys/age.key", self.key.expose())
    }
}

fn identities() -> Value {
    json!([{"secretRef": {"name": "keys", "key": "age.key"}}])
}

/// Documents in Secrets, sealed as a whole: each put seals one, and the provider is built anew.
struct Documents {
    pair: Pair,
    credentials: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Documents {
    fn new() -> Self {
        Self { pair: Pair::new(), credentials: Mutex::default() }
    }
}

#[async_trait]
impl Fixture for Documents {
    fn registered(&self) -> Capabilities {
        (REGISTRATION.capabilities)(&json!({}))
    }

    fn credentials(&self) -> Vec<String> {
        vec![self.pair.key.expose_str().unwrap().lines().last().unwrap().to_owned()]
    }

    async fn provider(&self) -> Arc<dyn Provider> {
        let mut credentials = self.pair.credentials();
        let mut documents = Vec::new();
        for (n, (name, sealed)) in self.credentials.lock().unwrap().iter().enumerate() {
            credentials = credentials.with(&format!("documents/{n}"), sealed);
            let at = json!({"name": "documents", "key": n.to_string()});
            documents.push(json!({"name": name, "format": "binary", "secretRef": at}));
        }
        if documents.is_empty() {
            documents.push(json!({"name": "first", "format": "binary", "inline": self.pair.seal("x")}));
        }
        let spec = json!({"documents": documents, "identities": identities()});
        (REGISTRATION.build)(&spec, BuildContext::new(Arc::new(credentials), Arc::new(()))).await.unwrap()
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        let sealed = seal(&SecretBytes::new(value.to_vec()), &self.pair.recipients, false).unwrap();
        let mut all = self.credentials.lock().unwrap();
        all.retain(|(known, _)| known != name);
        all.push((name.to_owned(), sealed));
        // A store has so many documents, and no more.
        let most = keyferry_limits::PROVIDER_ENTRIES.size();
        let over = all.len().saturating_sub(most);
        all.drain(..over);
        None
    }

    fn takes_binary(&self) -> bool {
        true
    }

    fn takes_empty(&self) -> bool {
        true
    }

    /// A document may be so long, with what encrypting adds.
    fn largest(&self) -> usize {
        keyferry_limits::DOCUMENT_SIZE.size() - 4096
    }

    async fn delete(&self, name: &str) {
        self.credentials.lock().unwrap().retain(|(known, _)| known != name);
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Documents::new()).await;
}

async fn build(spec: Value, credentials: MapCredentials) -> Result<Arc<dyn Provider>, Error> {
    (REGISTRATION.build)(&spec, BuildContext::new(Arc::new(credentials), Arc::new(()))).await
}

async fn read(store: &dyn Provider, name: &str) -> Result<String, Error> {
    let key = Key { name: name.into(), version: None, metadata: false };
    let answer = store.fetch(&[key]).await?.remove(0)?;
    Ok(answer.value.expose_str().unwrap().to_owned())
}

fn told(error: Error) -> String {
    assert_eq!((error.to_string().contains(CANARY), error.kind()), (false, error.kind()));
    format!("{:?}: {error}", error.kind())
}

#[tokio::test]
async fn documents_of_every_kind_and_place_are_read() {
    let pair = Pair::new();
    let value = keyferry_documents::values::seal_value(&CANARY.into(), &pair.recipients).unwrap();
    let yaml = format!("db:\n  user: app\n  password: {value}\n");
    let credentials = pair
        .credentials()
        .with("settings/prod.env", pair.seal(&format!("# why\nPASSWORD='{CANARY}'\n")))
        .with("sealed/app.json.age", pair.seal(&format!("{{\"b\": 1.50, \"a\": \"{CANARY}\"}}")));
    let spec = json!({"identities": identities(), "documents": [
        {"name": "app.yaml", "inline": yaml},
        {"configMapRef": {"name": "settings", "key": "prod.env"}},
        {"secretRef": {"name": "sealed", "key": "app.json.age"}},
        {"name": "raw", "inline": pair.seal(CANARY)},
    ]});
    let store = build(spec, credentials).await.unwrap();
    for (name, expected) in [
        ("app.yaml", format!(r#"{{"db":{{"password":"{CANARY}","user":"app"}}}}"#)),
        ("prod.env", format!(r#"{{"PASSWORD":"{CANARY}"}}"#)),
        ("app.json.age", format!(r#"{{"a":"{CANARY}","b":1.50}}"#)),
        ("raw", CANARY.to_owned()),
    ] {
        assert_eq!(read(&*store, name).await, Ok(expected), "{name}");
    }
    store.validate().await.unwrap();
    let query = Query { name: Some("^app".parse().unwrap()), ..Query::default() };
    assert_eq!(find_all(&*store, &query).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_document_that_does_not_open_leaves_the_others_readable() {
    let (pair, other) = (Pair::new(), Pair::new());
    let whole = pair.seal(CANARY);
    let spec = json!({"identities": identities(), "documents": [
        {"name": "good", "inline": whole},
        {"name": "other", "inline": other.seal(CANARY)},
        {"name": "cut", "inline": &whole[..whole.len() / 2]},
        {"name": "plain.yaml", "inline": format!("password: {CANARY}\n")},
        {"name": "plain", "inline": CANARY},
        {"name": "gone", "secretRef": {"name": "none", "key": "none"}},
        {"name": "file", "file": "secrets.yaml"},
        {"name": "wrong.yaml", "inline": pair.seal(&format!("a: [{CANARY}"))},
    ]});
    let store = build(spec, pair.credentials()).await.unwrap();
    store.validate().await.unwrap();
    assert_eq!(read(&*store, "good").await.as_deref(), Ok(CANARY));
    for (name, says) in [
        ("other", "Denied: document \"other\": the identity does not open it"),
        ("cut", "Malformed: document \"cut\": it is no whole file of age"),
        ("plain.yaml", "Malformed: document \"plain.yaml\": nothing in it is encrypted by age"),
        ("plain", "Malformed: document \"plain\": nothing in it is encrypted by age"),
        ("gone", "Invalid: document \"gone\": spec.provider.age.documents[5]: "),
        ("file", "can't be read by an operator"),
        ("wrong.yaml", "it is not YAML"),
        ("nobody", "NotFound: spec.provider.age.documents names no such document"),
    ] {
        let error = told(read(&*store, name).await.unwrap_err());
        assert!(error.contains(says), "{name}: {error}");
    }
}

#[tokio::test]
async fn what_opens_must_be_there() {
    let pair = Pair::new();
    let documents = json!([{"name": "a", "inline": pair.seal(CANARY)}]);
    let store =
        build(json!({"documents": documents, "identities": identities()}), MapCredentials::new()).await.unwrap();
    let error = told(store.validate().await.unwrap_err());
    assert!(error.contains("spec.provider.age.identities[0]") && error.contains("has no key \"age.key\""), "{error}");
    let broken = MapCredentials::new().with("keys/age.key", "AGE-SECRET-KEY-1CANARY");
    let store = build(json!({"documents": documents, "identities": identities()}), broken).await.unwrap();
    let error = told(read(&*store, "a").await.unwrap_err());
    assert!(error.contains("line 1 is no identity") && !error.contains("1CANARY"), "{error}");
    let spec = json!({"documents": [{"name": "a", "inline": "x"}], "vault": {"server": "http://127.0.0.1:1"}});
    let none = (SOPS.build)(&spec, BuildContext::new(Arc::new(MapCredentials::new()), Arc::new(()))).await;
    let error = told(none.err().unwrap());
    assert!(error.contains("spec.provider.sops.vault: this build of keyferry has no provider"), "{error}");
}

#[tokio::test]
async fn an_identity_that_can_not_be_read_leaves_the_others_to_open() {
    let (pair, other) = (Pair::new(), Pair::new());
    let identities = json!([
        {"secretRef": {"name": "gone", "key": "age.key"}},
        {"secretRef": {"name": "keys", "key": "age.key"}},
    ]);
    let documents = json!([{"name": "a", "inline": pair.seal(CANARY)}, {"name": "b", "inline": other.seal(CANARY)}]);
    let store = build(json!({"documents": documents, "identities": identities}), pair.credentials()).await.unwrap();
    assert_eq!(read(&*store, "a").await.as_deref(), Ok(CANARY));
    let error = told(read(&*store, "b").await.unwrap_err());
    assert!(error.contains("does not open it") && error.contains("spec.provider.age.identities[0]"), "{error}");
}

#[derive(Debug)]
struct Disk(Mutex<String>);

impl Files for Disk {
    fn read(&self, path: &str, _: usize) -> Result<SecretBytes, Error> {
        match path {
            "a/secrets.yaml" => Ok(self.0.lock().unwrap().as_str().into()),
            _ => Err(Error::invalid(format!("file {path:?} is not there"))),
        }
    }
}

#[tokio::test]
async fn a_file_is_read_at_each_fetch_where_files_may_be_read() {
    let pair = Pair::new();
    let disk = Arc::new(Disk(Mutex::new(pair.seal("a: one"))));
    let spec = json!({"documents": [{"file": "a/secrets.yaml"}, {"file": "none"}], "identities": identities()});
    let mut ctx = BuildContext::new(Arc::new(pair.credentials()), Arc::new(()));
    ctx.files = Some(disk.clone());
    let store = (REGISTRATION.build)(&spec, ctx).await.unwrap();
    assert_eq!(read(&*store, "secrets.yaml").await.as_deref(), Ok(r#"{"a":"one"}"#));
    *disk.0.lock().unwrap() = pair.seal("a: two");
    assert_eq!(read(&*store, "secrets.yaml").await.as_deref(), Ok(r#"{"a":"two"}"#));
    let error = read(&*store, "none").await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, "document \"none\": file \"none\" is not there"));
}
