//! The Kubernetes store against a real API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use keyferry_builders::key;
use keyferry_doubles::Server;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{
    BuildContext, Caller, Capabilities, Error, ErrorKind, Key, Origin, Payload, Provider, Push, Query, Reach, Remote,
    SecretBytes, find_all,
};
use keyferry_provider_kubernetes::REGISTRATION;
use keyferry_provider_testkit::{Fixture, MapCredentials, suite};
use keyferry_provider_tests::{Counter, Kubernetes, context, front};
use keyferry_testkit::{Namespace, Testbed};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const CANARY: &str = "canary-77b1f0";

fn admin() -> MapCredentials {
    MapCredentials::new().with("admin/token", format!("{}\n", Testbed::shared().kubernetes().token))
}

fn spec(namespace: &Namespace, auth: Value) -> Value {
    let kubernetes = Testbed::shared().kubernetes();
    json!({
        "server": {"url": kubernetes.url, "caBundle": kubernetes.ca_bundle},
        "auth": auth, "remoteNamespace": namespace.name(),
    })
}

fn token() -> Value {
    json!({"token": {"bearerToken": {"name": "admin", "key": "token"}}})
}

async fn build(spec: &Value, ctx: BuildContext) -> Result<Arc<dyn Provider>, Error> {
    keyferry_testkit::install_crypto_provider();
    (REGISTRATION.build)(spec, ctx).await.inspect_err(clean)
}

async fn as_admin(namespace: &Namespace) -> Arc<dyn Provider> {
    build(&spec(namespace, token()), context(admin(), Arc::new(()))).await.unwrap()
}

fn clean(error: &Error) {
    let token = Testbed::shared().kubernetes().token;
    assert!(!error.message().contains(CANARY) && !error.message().contains(&token), "{error}");
}

async fn fetch(provider: &dyn Provider, key: &Key) -> Result<String, Error> {
    let result = provider.fetch(std::slice::from_ref(key)).await.and_then(|mut results| results.remove(0));
    Ok(result.inspect_err(clean)?.value.expose_str().unwrap().to_owned())
}

#[track_caller]
fn expect<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind, words: &str) {
    let error = result.expect_err("it worked");
    clean(&error);
    assert_eq!((error.kind(), error.message().contains(words)), (kind, true), "{:?}: {error}", error.kind());
}

async fn write(namespace: &Namespace, secret: Value) {
    let secret: Secret = serde_json::from_value(secret).unwrap();
    namespace.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
}

/// Secrets with one field, in a namespace, and what stands before the API server: it counts, and fails when it is told to.
struct OneField(Namespace, Server);

impl OneField {
    async fn new() -> Self {
        let kubernetes = Testbed::shared().kubernetes();
        let namespace = Testbed::shared().namespace("kube-suite").await;
        keyferry_testkit::install_crypto_provider();
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&kubernetes.ca_file).unwrap()).unwrap();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
        Self(namespace, front(http, move |_| kubernetes.url.clone(), ""))
    }
}

#[async_trait]
impl Fixture for OneField {
    fn registered(&self) -> Capabilities {
        (REGISTRATION.capabilities)(&json!({}))
    }

    fn name(&self) -> String {
        "kubernetes".to_owned()
    }

    fn credentials(&self) -> Vec<String> {
        vec![Testbed::shared().kubernetes().token]
    }

    fn server(&self) -> Option<Server> {
        Some(self.1.clone())
    }

    async fn provider(&self) -> Arc<dyn Provider> {
        self.provider_at(&self.1.url(), Addresses::anywhere()).await.unwrap()
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let mut spec = spec(&self.0, token());
        spec["server"] = json!({ "url": url });
        Some(build(&spec, BuildContext { addresses, ..context(admin(), Arc::new(())) }).await.unwrap())
    }

    /// What the store asks for.
    fn page(&self) -> Option<usize> {
        Some(500)
    }

    /// One each; a token needs no login.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys)
    }

    fn takes_empty(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        let mut secret = Secret::default();
        secret.metadata.name = Some(name.to_owned());
        secret.data = Some([("value".to_owned(), ByteString(value.to_vec()))].into());
        let api: Api<Secret> = self.0.api();
        if api.get_opt(name).await.unwrap().is_some() {
            api.replace(name, &PostParams::default(), &secret).await.unwrap();
        } else {
            api.create(&PostParams::default(), &secret).await.unwrap();
        }
        None
    }

    async fn put_tagged(&self, name: &str, value: &[u8], tags: &[(&str, &str)]) {
        self.put(name, value).await;
        let labels: BTreeMap<_, _> = tags.iter().copied().collect();
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        self.0.api::<Secret>().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn delete(&self, name: &str) {
        self.0.api::<Secret>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    fn fetched(&self, value: &[u8]) -> Vec<u8> {
        format!("{{\"value\":\"{}\"}}", STANDARD.encode(value)).into_bytes()
    }

    fn takes_binary(&self) -> bool {
        true
    }

    fn property(&self) -> Option<String> {
        Some("value".to_owned())
    }

    fn marks(&self) -> bool {
        false
    }

    fn takes_name(&self, name: &str) -> bool {
        name.len() < 240 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    }
}

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&OneField::new().await).await;
}

#[tokio::test]
async fn fields_labels_and_annotations() {
    let namespace = Testbed::shared().namespace("kube-fields").await;
    let metadata = json!({"name": "a", "labels": {"l": "1"}, "annotations": {"x.y/z": "2"}});
    write(&namespace, json!({"metadata": metadata, "data": {"b": "/w==", "a": "YQ=="}})).await;
    write(&namespace, json!({"metadata": {"name": "empty"}})).await;
    let counter = Arc::new(Counter::default());
    let provider = build(&spec(&namespace, token()), context(admin(), counter.clone())).await.unwrap();
    assert_eq!(fetch(&*provider, &key("a")).await.unwrap(), r#"{"a":"YQ==","b":"/w=="}"#);
    assert_eq!(fetch(&*provider, &key("empty")).await.unwrap(), "{}");
    let metadata = Key { metadata: true, ..key("a") };
    assert_eq!(fetch(&*provider, &metadata).await.unwrap(), r#"{"annotations":{"x.y/z":"2"},"labels":{"l":"1"}}"#);
    expect(fetch(&*provider, &key("gone")).await, ErrorKind::NotFound, "there is no Secret \"gone\"");
    for name in ["../secrets/a", "a?x=y", "A", ""] {
        expect(fetch(&*provider, &key(name)).await, ErrorKind::Invalid, "no Secret such a name");
    }
    let counted = [("!Kubernetes GetSecret".to_owned(), 1), ("Kubernetes GetSecret".to_owned(), 3)];
    assert_eq!(counter.take(), counted.into());
}

#[tokio::test]
async fn secrets_are_found_by_name_and_by_label() {
    let namespace = Testbed::shared().namespace("kube-find").await;
    for (name, team) in [("app-a", "x"), ("app-b", "y"), ("other", "x")] {
        write(&namespace, json!({"metadata": {"name": name, "labels": {"team": team}}})).await;
    }
    let provider = as_admin(&namespace).await;
    let found = async |query: Query| {
        let keys = find_all(&*provider, &query).await.unwrap();
        keys.into_iter().map(|key| key.name).collect::<Vec<_>>()
    };
    let by_name = |pattern: &str| Query { name: Some(pattern.parse().unwrap()), ..Query::default() };
    let tags: BTreeMap<String, String> = [("team".to_owned(), "x".to_owned())].into();
    assert_eq!(found(by_name("^app-")).await, ["app-a", "app-b"]);
    assert_eq!(found(by_name("nothing")).await, [""; 0]);
    assert_eq!(found(Query { tags: tags.clone(), ..Query::default() }).await, ["app-a", "other"]);
    assert_eq!(found(Query { tags, ..by_name("^app-") }).await, ["app-a"], "a name and labels must both hold");
}

#[tokio::test]
async fn a_service_account_that_may_and_one_that_may_not() {
    let testbed = Testbed::shared();
    let namespace = testbed.namespace("kube-account").await;
    write(&namespace, json!({"metadata": {"name": "a"}, "data": {"k": STANDARD.encode(CANARY)}})).await;
    for name in ["reader", "nobody"] {
        let account = json!({"metadata": {"name": name}});
        let account: ServiceAccount = serde_json::from_value(account).unwrap();
        namespace.api().create(&PostParams::default(), &account).await.unwrap();
    }
    // By name, so that the review of rules finds it and the review of access is not needed.
    let role =
        json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
    let role: Role = serde_json::from_value(role).unwrap();
    namespace.api().create(&PostParams::default(), &role).await.unwrap();
    let binding = json!({
        "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace.name()}],
    });
    let binding: RoleBinding = serde_json::from_value(binding).unwrap();
    namespace.api().create(&PostParams::default(), &binding).await.unwrap();

    let build = async |account: &str| {
        let credentials = Kubernetes {
            client: testbed.kube_client().await,
            namespace: namespace.name().to_owned(),
            map: MapCredentials::new(),
        };
        let spec = spec(&namespace, json!({"serviceAccount": {"name": account}}));
        build(&spec, context(credentials, Arc::new(()))).await
    };
    let reader = build("reader").await.unwrap();
    keyferry_testkit::eventually(std::time::Duration::from_secs(120), || async {
        reader.validate().await.map_err(|error| keyferry_testkit::Error::msg(error.to_string()))
    })
    .await;
    fetch(&*reader, &key("a")).await.unwrap();
    let nobody = build("nobody").await.unwrap();
    expect(nobody.validate().await, ErrorKind::Denied, "client is not allowed to get secrets");
    expect(fetch(&*nobody, &key("a")).await, ErrorKind::Denied, "does not let us get secrets");
    expect(build("never-was").await.map(|_| ()), ErrorKind::Invalid, "serviceAccount");
}

#[tokio::test]
async fn a_kubeconfig_and_what_it_must_not_hold() {
    let namespace = Testbed::shared().namespace("kube-config").await;
    write(&namespace, json!({"metadata": {"name": "a"}, "data": {"k": "dg=="}})).await;
    let kubernetes = Testbed::shared().kubernetes();
    let known = json!({"server": kubernetes.url, "certificate-authority-data": kubernetes.ca_bundle});
    let kubeconfig = |cluster: &Value, user: Value| {
        json!({
            "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": cluster}], "users": [{"name": "u", "user": user}],
        })
    };
    let spec = json!({"authRef": {"name": "k", "key": "config"}, "remoteNamespace": namespace.name()});
    let context_of = |cluster: &Value, user: Value| {
        let credentials = MapCredentials::new().with("k/config", kubeconfig(cluster, user).to_string());
        context(credentials, Arc::new(()))
    };
    let build_in = build;
    let build = async |cluster: &Value, user: Value| build_in(&spec, context_of(cluster, user)).await;
    let admin = || json!({"token": kubernetes.token});
    let provider = build(&known, admin()).await.unwrap();
    provider.validate().await.unwrap();
    assert_eq!(fetch(&*provider, &key("a")).await.unwrap(), r#"{"k":"dg=="}"#);
    for (user, word) in [
        (json!({"exec": {"command": "touch", "args": ["/tmp/ran"]}}), "commands are not run"),
        (json!({"auth-provider": {"name": "gcp"}}), "plugins are not run"),
        (json!({"tokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token"}), "files are not read"),
    ] {
        expect(build(&known, user).await.map(|_| ()), ErrorKind::Invalid, word);
    }
    // What is wrong is said of the kubeconfig: fields of the spec would not help.
    let stranger = build(&json!({"server": kubernetes.url}), admin()).await.unwrap();
    let words = "set or renew certificate-authority-data in the kubeconfig of spec.provider.kubernetes.authRef";
    expect(fetch(&*stranger, &key("a")).await, ErrorKind::Tls, words);
    let words =
        "the server in the kubeconfig of spec.provider.kubernetes.authRef leads to 169.254.169.254, a link-local";
    let server = json!({"server": "https://169.254.169.254"});
    let of_a_tenant = BuildContext { addresses: Addresses::default(), ..context_of(&server, admin()) };
    let link_local = build_in(&spec, of_a_tenant).await;
    expect(link_local.map(|_| ()), ErrorKind::Invalid, words);
}

#[tokio::test]
async fn what_the_server_and_the_way_can_answer() {
    let namespace = Testbed::shared().namespace("kube-way").await;
    let good = spec(&namespace, token());
    let with = async |pointer: &str, value: Value, credentials: MapCredentials| {
        let mut spec = good.clone();
        *spec.pointer_mut(pointer).unwrap() = value;
        build(&spec, context(credentials, Arc::new(()))).await
    };
    let wrong = MapCredentials::new().with("admin/token", CANARY);
    let provider = build(&good, context(wrong, Arc::new(()))).await.unwrap();
    expect(fetch(&*provider, &key("a")).await, ErrorKind::Unauthenticated, "does not accept");
    // As in External Secrets Operator, whoever can't tell does not say that the store is bad.
    expect(provider.validate().await, ErrorKind::Unverified, "does not accept");

    let provider = with("/server/url", json!("https://127.0.0.1:1"), admin()).await.unwrap();
    expect(fetch(&*provider, &key("a")).await, ErrorKind::Unavailable, "refuses connections");
    let provider = with("/server/url", json!(Testbed::shared().vault_url()), admin()).await.unwrap();
    expect(
        fetch(&*provider, &key("a")).await,
        ErrorKind::Malformed,
        "an API server does (status 404): check spec.provider.kubernetes.server.url",
    );
    let provider = with("/server/caBundle", Value::Null, admin()).await.unwrap();
    expect(
        fetch(&*provider, &key("a")).await,
        ErrorKind::Tls,
        "set or renew spec.provider.kubernetes.server.caBundle or",
    );
    let nonsense = json!(STANDARD.encode("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n"));
    expect(
        with("/server/caBundle", nonsense, admin()).await.map(|_| ()),
        ErrorKind::Invalid,
        "server.caBundle or caProvider holds a certificate",
    );
    let mut metadata = good.clone();
    metadata["server"]["url"] = json!("https://169.254.169.254");
    let of_a_tenant = BuildContext { addresses: Addresses::default(), ..context(admin(), Arc::new(())) };
    let words = "spec.provider.kubernetes.server.url leads to 169.254.169.254, a link-local address";
    expect(build(&metadata, of_a_tenant).await.map(|_| ()), ErrorKind::Invalid, words);
}

/// A push of these fields, or of one value into a key.
fn push_of(name: &str, property: Option<&str>, fields: &[(&str, &str)], spec: Value) -> Push {
    let metadata = (!spec.is_null()).then(
        || json!({"apiVersion": "kubernetes.external-secrets.io/v1alpha1", "kind": "PushSecretMetadata", "spec": spec}),
    );
    let payload = match (property, fields) {
        (Some(_), [(_, value)]) => Payload::Value((*value).into()),
        _ => {
            Payload::Fields(fields.iter().map(|(key, value)| ((*key).to_owned(), SecretBytes::from(*value))).collect())
        }
    };
    let remote = Remote { key: name.to_owned(), property: property.map(str::to_owned), metadata };
    Push { remote, payload, origin: Origin::default(), reach: Reach::Ours }
}

fn bytes_of(secret: &Secret) -> BTreeMap<String, String> {
    let text = |value: &ByteString| String::from_utf8(value.0.clone()).unwrap();
    secret.data.iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn what_is_pushed_is_a_secret_and_what_is_equal_is_not_written() {
    let namespace = Testbed::shared().namespace("kube-push").await;
    let counter = Arc::new(Counter::default());
    let store = build(&spec(&namespace, token()), context(admin(), counter.clone())).await.unwrap();
    let read = async || namespace.api::<Secret>().get("app").await.unwrap();
    let origin = Origin {
        key: None,
        secret_type: Some("kubernetes.io/basic-auth".to_owned()),
        labels: texts(&[("team", "a"), ("app.kubernetes.io/instance", "argo")]).into(),
        annotations: texts(&[("kubectl.kubernetes.io/last-applied-configuration", CANARY), ("note", "n")]).into(),
    };
    let whole = |fields: &[(&str, &str)], spec| Push { origin: origin.clone(), ..push_of("app", None, fields, spec) };
    let fields = [("username", "u"), ("password", "p")];
    store.push(&whole(&fields, json!({"labels": {"x": "y"}}))).await.unwrap();
    let made = read().await;
    assert_eq!(made.type_.as_deref(), Some("kubernetes.io/basic-auth"));
    assert_eq!(bytes_of(&made), texts(&fields));
    assert_eq!(made.metadata.labels.clone().unwrap(), texts(&[("team", "a"), ("x", "y")]));
    assert_eq!(made.metadata.annotations.clone().unwrap(), texts(&[("note", "n")]), "no marks of tools");
    store.push(&whole(&fields, json!({"labels": {"x": "y"}}))).await.unwrap();
    assert_eq!(read().await.metadata.resource_version, made.metadata.resource_version);
    let counted = [("!Kubernetes GetSecret", 1), ("Kubernetes GetSecret", 1), ("Kubernetes CreateSecret", 1)];
    assert_eq!(counter.take(), counted.map(|(call, count)| (call.to_owned(), count)).into());

    // What else is there may be somebody else's: keys stay, and so does the rest of the object.
    let patch = Patch::Merge(json!({"metadata": {"labels": {"theirs": "1"}, "finalizers": ["x.y/z"]}}));
    namespace.api::<Secret>().patch("app", &PatchParams::default(), &patch).await.unwrap();
    store.push(&whole(&[("username", "v"), ("password", "q")], Value::Null)).await.unwrap();
    store.push(&push_of("app", Some("extra"), &[("", "e")], json!({"targetMergePolicy": "Ignore"}))).await.unwrap();
    let there = read().await;
    assert_eq!(bytes_of(&there), texts(&[("username", "v"), ("password", "q"), ("extra", "e")]));
    assert_eq!(there.metadata.labels.unwrap(), texts(&[("team", "a"), ("theirs", "1"), ("x", "y")]));
    assert_eq!(there.metadata.finalizers.unwrap(), ["x.y/z"]);
    store.push(&whole(&[("username", "v"), ("password", "q")], json!({"targetMergePolicy": "Replace"}))).await.unwrap();
    let there = read().await;
    assert_eq!(bytes_of(&there), texts(&[("username", "v"), ("password", "q"), ("extra", "e")]));
    assert_eq!(there.metadata.labels.unwrap(), texts(&[("team", "a")]));
    store.push(&push_of("app", Some("all"), &[("a", "1"), ("b", "2")], Value::Null)).await.unwrap();
    assert_eq!(bytes_of(&read().await)["all"], r#"{"a":"1","b":"2"}"#);
}

#[tokio::test]
async fn what_can_not_be_pushed_is_said() {
    let testbed = Testbed::shared();
    let (namespace, other) = (testbed.namespace("kube-push-no").await, testbed.namespace("kube-push-other").await);
    let store = as_admin(&namespace).await;
    let push = |name: &str, kind: Option<&str>, spec: Value| {
        let mut push = push_of(name, None, &[("k", CANARY)], spec);
        push.origin.secret_type = kind.map(str::to_owned);
        push
    };
    write(&namespace, json!({"metadata": {"name": "typed"}, "type": "x/y"})).await;
    write(&namespace, json!({"metadata": {"name": "fixed"}, "immutable": true})).await;
    write(&namespace, json!({"metadata": {"name": "release"}, "type": "helm.sh/release.v1"})).await;
    for (push, kind, words) in [
        (push("typed", None, Value::Null), ErrorKind::Invalid, "of the type x/y, and can't become Opaque"),
        (push("fixed", None, Value::Null), ErrorKind::Invalid, "is it immutable?"),
        (push("release", None, Value::Null), ErrorKind::Denied, "helm.sh/release.v1"),
        (push("new", Some("kubernetes.io/service-account-token"), Value::Null), ErrorKind::Denied, "never pushed"),
        (push("../x", None, Value::Null), ErrorKind::Invalid, "no Secret such a name"),
        (push("new", None, json!({"remoteNamespace": other.name()})), ErrorKind::Invalid, "ClusterSecretStores only"),
        (push("new", None, json!({"targetMergePolicy": "x"})), ErrorKind::Invalid, "targetMergePolicy"),
        (push("new", None, json!({"tags": {}})), ErrorKind::Invalid, "tags"),
    ] {
        expect(store.push(&push).await, kind, words);
    }
    expect(store.delete(&push("release", None, Value::Null).remote, Reach::All).await, ErrorKind::Denied, "never");

    // A ClusterSecretStore may write elsewhere, and finds there what it wrote.
    let caller = Caller { store_kind: "ClusterSecretStore", store: "s".into(), namespace: None };
    let ctx = BuildContext { caller, ..context(admin(), Arc::new(())) };
    let store = build(&spec(&namespace, token()), ctx).await.unwrap();
    let elsewhere = push("new", None, json!({"remoteNamespace": other.name()}));
    store.push(&elsewhere).await.unwrap();
    assert_eq!(bytes_of(&other.api::<Secret>().get("new").await.unwrap()), texts(&[("k", CANARY)]));
    assert!(store.exists(&elsewhere.remote).await.unwrap());
    assert!(!store.exists(&push("new", None, Value::Null).remote).await.unwrap());
    store.delete(&elsewhere.remote, Reach::Ours).await.unwrap();
    assert!(other.api::<Secret>().get_opt("new").await.unwrap().is_none());
    let nowhere = push("new", None, json!({"remoteNamespace": "never-was"}));
    expect(store.push(&nowhere).await, ErrorKind::Invalid, "no namespace \"never-was\"");
    for name in ["../x", "a/b", "UPPER"] {
        let nowhere = push("new", None, json!({ "remoteNamespace": name }));
        expect(store.push(&nowhere).await, ErrorKind::Invalid, "not the name of a namespace");
    }
}
