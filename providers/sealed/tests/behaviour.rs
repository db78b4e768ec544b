//! The behaviour that every store shares, and what is of these stores alone.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keyferry_provider_core::{
    BuildContext, Caller, Capabilities, Error, ErrorKind, Key, Provider, Query, Scope, SecretBytes, Unseal, find_all,
};
use keyferry_provider_sealed::{REGISTRATION, SEALED_SECRETS};
use keyferry_provider_testkit::{CANARY, Fixture, MapCredentials, suite};
use keyferry_sealing::{Generated, Sealed, SealingKey, SealingKeys, Tries, open, seal};
use serde_json::{Value, json};

const NAMESPACE: &str = "team-a";

static PAIRS: LazyLock<[Generated; 2]> = LazyLock::new(|| {
    [1_700_000_000, 1_710_000_000].map(|at| Generated::new(Timestamp::from_second(at).unwrap(), 2048).unwrap())
});

fn key(n: usize) -> SealingKey {
    SealingKey::of_pem(PAIRS[n].certificate.as_bytes(), PAIRS[n].private.expose(), None).unwrap()
}

/// The operator's keys, in its place.
#[derive(Debug)]
struct Operator(SealingKeys);

#[async_trait]
impl Unseal for Operator {
    async fn unseal(
        &self,
        namespace: &str,
        scope: &Scope,
        sealed: Vec<Vec<u8>>,
    ) -> Result<Vec<Result<SecretBytes, Error>>, Error> {
        assert_eq!(namespace, NAMESPACE);
        if matches!(scope, Scope::ServiceAccount(..)) {
            return Err(Error::new(ErrorKind::Denied, "not for an operator"));
        }
        let mut tries = Tries::default();
        Ok(sealed.iter().map(|one| open(&self.0, scope, one, &mut tries)).collect())
    }
}

fn context(credentials: MapCredentials, has_operator: bool) -> BuildContext {
    let caller = Caller { store_kind: "SecretStore", store: "s".into(), namespace: Some(NAMESPACE.into()) };
    let unseal =
        has_operator.then(|| Arc::new(Operator(SealingKeys::new(vec![key(0), key(1)]).unwrap())) as Arc<dyn Unseal>);
    BuildContext { caller, unseal, ..BuildContext::new(Arc::new(credentials), Arc::new(())) }
}

fn sealed(whom: &str, value: &[u8]) -> String {
    Sealed::new(key(1).public(), keyferry_sealing::text::scope(whom).unwrap(), value).unwrap().to_string()
}

/// Values in the spec: each put seals one, and the provider is built anew.
#[derive(Default)]
struct Values(Mutex<BTreeMap<String, String>>);

#[async_trait]
impl Fixture for Values {
    fn registered(&self) -> Capabilities {
        (REGISTRATION.capabilities)(&json!({}))
    }

    async fn provider(&self) -> Arc<dyn Provider> {
        let mut values = self.0.lock().unwrap().clone();
        if values.is_empty() {
            values.insert("first".into(), sealed(NAMESPACE, b"x"));
        }
        (REGISTRATION.build)(&json!({"values": values}), context(MapCredentials::new(), true)).await.unwrap()
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        let mut all = self.0.lock().unwrap();
        all.insert(name.to_owned(), sealed(NAMESPACE, value));
        // A store has so many values, and no more.
        while all.len() > keyferry_limits::PROVIDER_ENTRIES.size() {
            let first = all.keys().find(|known| *known != name).cloned().unwrap();
            all.remove(&first);
        }
        None
    }

    fn takes_binary(&self) -> bool {
        true
    }

    fn takes_empty(&self) -> bool {
        true
    }

    async fn delete(&self, name: &str) {
        self.0.lock().unwrap().remove(name);
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&Values::default()).await;
}

async fn build(spec: Value, ctx: BuildContext) -> Result<Arc<dyn Provider>, Error> {
    (SEALED_SECRETS.build)(&spec, ctx).await
}

async fn read(store: &dyn Provider, name: &str) -> Result<String, Error> {
    let key = Key { name: name.into(), version: None, metadata: false };
    let answer = store.fetch(&[key]).await?.remove(0);
    let answer = answer.inspect_err(|error| assert!(!error.to_string().contains(CANARY), "{error}"))?;
    Ok(answer.value.expose_str().unwrap().to_owned())
}

/// A SealedSecret of this namespace, sealed for `scope` by the key of this number.
fn manifest(name: &str, namespace: Option<&str>, annotations: Value, n: usize, scope: &Scope) -> Value {
    let value = STANDARD.encode(seal(key(n).public(), scope, CANARY.as_bytes()).unwrap());
    json!({
        "apiVersion": "bitnami.com/v1alpha1",
        "kind": "SealedSecret",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {"encryptedData": {"password": value, "empty": STANDARD.encode(seal(key(n).public(), scope, b"").unwrap())}},
    })
}

fn manifests() -> Value {
    let strict = |namespace: &str, name: &str| Scope::Secret(namespace.into(), name.into());
    let wide = json!({"sealedsecrets.bitnami.com/namespace-wide": "true"});
    let all = json!({"sealedsecrets.bitnami.com/cluster-wide": "true"});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        manifest("strict", Some(NAMESPACE), json!(null), 0, &strict(NAMESPACE, "strict")),
        manifest("unsaid", None, json!({}), 1, &strict(NAMESPACE, "unsaid")),
        manifest("wide", Some(NAMESPACE), wide.clone(), 1, &Scope::Secrets(NAMESPACE.into())),
        manifest("all", Some("elsewhere"), all, 0, &Scope::AnySecret),
        manifest("renamed", Some(NAMESPACE), json!(null), 1, &strict(NAMESPACE, "before")),
        // Somebody else's, copied here: as it was, and with another namespace written over it.
        manifest("theirs", Some("team-b"), json!(null), 1, &strict("team-b", "theirs")),
        manifest("stolen", Some(NAMESPACE), json!(null), 1, &strict("team-b", "stolen")),
        manifest("stolen-wide", Some(NAMESPACE), wide, 1, &Scope::Secrets("team-b".into())),
    ]})
}

#[tokio::test]
async fn sealed_secrets_open_for_their_namespace_by_the_operators_keys_or_by_named_ones() {
    let pem = |n: usize, credentials: MapCredentials| {
        let name = format!("pair-{n}");
        credentials
            .with(&format!("{name}/tls.crt"), &PAIRS[n].certificate)
            .with(&format!("{name}/tls.key"), PAIRS[n].private.expose())
    };
    let credentials = pem(0, pem(1, MapCredentials::new()));
    let documents = json!([{"inline": manifests().to_string()}]);
    let keys = json!([{"secretRef": {"name": "pair-0"}}, {"secretRef": {"name": "pair-1"}}]);
    let own = build(json!({"documents": documents, "keys": keys}), context(credentials, false)).await.unwrap();
    let operators = build(json!({"documents": documents}), context(MapCredentials::new(), true)).await.unwrap();
    for store in [own, operators] {
        store.validate().await.unwrap();
        for name in ["strict", "unsaid", "wide", "all"] {
            let expected = format!(r#"{{"empty":"","password":"{}"}}"#, STANDARD.encode(CANARY));
            assert!(read(&*store, name).await == Ok(expected), "{name}");
        }
        for (name, says) in [
            ("renamed", "none of the 2 sealing keys opens it for Secret \"renamed\""),
            ("theirs", "sealed for namespace \"team-b\""),
            ("stolen", "none of the 2 sealing keys"),
            ("stolen-wide", "none of the 2 sealing keys"),
        ] {
            let error = read(&*store, name).await.unwrap_err();
            assert!(error.kind() == ErrorKind::Denied && error.to_string().contains(says), "{name}: {error}");
        }
        assert_eq!(read(&*store, "none").await.unwrap_err().kind(), ErrorKind::NotFound);
        let found = find_all(&*store, &Query::default()).await.unwrap();
        assert_eq!(found.len(), 7, "all but another namespace's");
    }
}

#[tokio::test]
async fn what_can_not_be_read_is_not_taken_for_missing() {
    let documents = json!([{"inline": "a: ["}, {"inline": manifests().to_string()}]);
    let store = build(json!({"documents": documents}), context(MapCredentials::new(), true)).await.unwrap();
    assert!(read(&*store, "strict").await.is_ok());
    let error = read(&*store, "none").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Malformed && error.to_string().contains("documents[0]"), "{error}");
    assert!(find_all(&*store, &Query::default()).await.is_err());
}

#[tokio::test]
async fn values_open_for_their_namespace_only() {
    let mut cut = sealed(NAMESPACE, CANARY.as_bytes());
    cut.truncate(cut.len() - 8);
    // What is for another namespace, with ours written over it.
    let stolen = sealed("team-b", CANARY.as_bytes()).replace(":team-b:", ":team-a:");
    let values = json!({
        "ours": sealed(NAMESPACE, CANARY.as_bytes()),
        "theirs": sealed("team-b", CANARY.as_bytes()),
        "account": sealed("team-a/app", CANARY.as_bytes()),
        "stolen": stolen, "cut": cut, "plain": CANARY,
    });
    let store = (REGISTRATION.build)(&json!({"values": values}), context(MapCredentials::new(), true)).await.unwrap();
    assert!(read(&*store, "ours").await == Ok(CANARY.to_owned()));
    for (name, kind, says) in [
        ("theirs", ErrorKind::Denied, "sealed for namespace \"team-b\", and asked for from namespace \"team-a\""),
        ("account", ErrorKind::Denied, "not for an operator"),
        ("stolen", ErrorKind::Denied, "none of the 2 sealing keys opens it for namespace \"team-a\""),
        ("cut", ErrorKind::Malformed, "changed or cut off"),
        ("plain", ErrorKind::Malformed, "keyferry seal --for"),
        ("none", ErrorKind::NotFound, "names no such value"),
    ] {
        let error = read(&*store, name).await.unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(says), "{name}: {error}");
    }
}

#[tokio::test]
async fn where_nobody_holds_the_keys_it_is_said_what_to_do() {
    let spec = json!({"values": {"a": sealed(NAMESPACE, b"x")}});
    let error = (REGISTRATION.build)(&spec, context(MapCredentials::new(), false)).await.err().unwrap();
    assert!(error.to_string().contains("--sealing-keys"), "{error}");
    let mut ctx = context(MapCredentials::new(), true);
    ctx.caller.namespace = None;
    let error = (REGISTRATION.build)(&spec, ctx).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Referent);
    let keys = json!({"documents": [{"inline": "x"}], "keys": [{"secretRef": {"name": "pair"}}]});
    let wrong = MapCredentials::new().with("pair/tls.crt", "x").with("pair/tls.key", CANARY);
    let error = build(keys, context(wrong, false)).await.err().unwrap();
    assert!(error.to_string().starts_with("spec.provider.sealedsecrets.keys[0].secretRef: the certificate"), "{error}");
}
