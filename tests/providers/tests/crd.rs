//! The store of custom resources against a real API server.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keyferry_builders::key;
use keyferry_doubles::Server;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::property;
use keyferry_provider_core::{
    Answer, BuildContext, Caller, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Page, Provider, Push, Query,
    Reach, Remote, find_all,
};
use keyferry_provider_kubernetes::CRD;
use keyferry_provider_testkit::{Fixture, MapCredentials, suite};
use keyferry_provider_tests::{context, front};
use keyferry_testkit::{Namespace, Testbed};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams};
use serde_json::{Value, json};

async fn build(kind: &'static str, namespace: &str, more: Value) -> Result<Arc<dyn Provider>, Error> {
    keyferry_testkit::install_crypto_provider();
    let kubernetes = Testbed::shared().kubernetes();
    let mut spec = json!({
        "server": {"url": kubernetes.url, "caBundle": kubernetes.ca_bundle},
        "auth": {"token": {"bearerToken": {"name": "admin", "key": "token"}}},
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut ctx = context(MapCredentials::new().with("admin/token", &kubernetes.token), Arc::new(()));
    ctx.caller = Caller { store_kind: kind, store: "s".into(), namespace: Some(namespace.to_owned()) };
    (CRD.build)(&spec, ctx).await
}

async fn fetch(store: &dyn Provider, key: &Key) -> Result<Value, Error> {
    let answer = store.fetch(std::slice::from_ref(key)).await?.remove(0)?;
    Ok(serde_json::from_slice(answer.value.expose()).unwrap())
}

async fn found(store: &dyn Provider, pattern: &str) -> Vec<String> {
    let query = Query { name: Some(pattern.parse().unwrap()), ..Query::default() };
    find_all(store, &query).await.unwrap().into_iter().map(|key| key.name).collect()
}

fn config_maps() -> Value {
    json!({"resource": {"group": "", "version": "v1", "kind": "ConfigMap"}})
}

async fn put(namespace: &Namespace, name: &str, value: &str) {
    let map = json!({"metadata": {"name": name}, "data": {"a": value, "b": "other"}});
    let map: ConfigMap = serde_json::from_value(map).unwrap();
    namespace.api::<ConfigMap>().create(&PostParams::default(), &map).await.unwrap();
}

/// ConfigMaps of a namespace, and what stands before the API server: it counts, and fails when it is told to.
struct ConfigMaps(Namespace, Server);

impl ConfigMaps {
    async fn new() -> Self {
        let testbed = Testbed::shared();
        keyferry_testkit::install_crypto_provider();
        let kubernetes = testbed.kubernetes();
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&kubernetes.ca_file).unwrap()).unwrap();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
        let server = front(http, move |_| kubernetes.url.clone(), "");
        Self(testbed.namespace("crd-suite").await, server)
    }
}

#[async_trait]
impl Fixture for ConfigMaps {
    fn name(&self) -> String {
        "crd".to_owned()
    }

    fn registered(&self) -> Capabilities {
        (CRD.capabilities)(&json!({}))
    }

    fn credentials(&self) -> Vec<String> {
        vec![Testbed::shared().kubernetes().token]
    }

    fn server(&self) -> Option<Server> {
        Some(self.1.clone())
    }

    async fn provider_at(&self, url: &str, addresses: Addresses) -> Option<Arc<dyn Provider>> {
        let mut spec = config_maps();
        spec["server"] = json!({ "url": url });
        spec["auth"] = json!({"token": {"bearerToken": {"name": "admin", "key": "token"}}});
        let admin = MapCredentials::new().with("admin/token", &Testbed::shared().kubernetes().token);
        let namespace = Some(self.0.name().to_owned());
        let caller = Caller { store_kind: "SecretStore", store: "s".into(), namespace };
        let ctx = BuildContext { addresses, caller, ..context(admin, Arc::new(())) };
        Some(Arc::new(OneField((CRD.build)(&spec, ctx).await.unwrap())))
    }

    /// What the store asks for.
    fn page(&self) -> Option<usize> {
        Some(500)
    }

    /// One each, and the question for what the kind is called.
    fn calls_for(&self, keys: usize) -> Option<usize> {
        Some(keys + 1)
    }

    fn takes_empty(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, value: &[u8]) -> Option<String> {
        let map = json!({"metadata": {"name": name}, "data": {"value": std::str::from_utf8(value).unwrap()}});
        let map: ConfigMap = serde_json::from_value(map).unwrap();
        let api: Api<ConfigMap> = self.0.api();
        if api.get_opt(name).await.unwrap().is_some() {
            api.replace(name, &PostParams::default(), &map).await.unwrap();
        } else {
            api.create(&PostParams::default(), &map).await.unwrap();
        }
        None
    }

    async fn delete(&self, name: &str) {
        self.0.api::<ConfigMap>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    fn takes_name(&self, name: &str) -> bool {
        name.len() < 240 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    }
}

/// The store as `property: data.value` sees it: of an object everything else is the API server's affair.
struct OneField(Arc<dyn Provider>);

#[async_trait]
impl Provider for OneField {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn dialect(&self) -> Dialect {
        self.0.dialect()
    }

    fn joins(&self, batch: &[Key], key: &Key) -> bool {
        self.0.joins(batch, key)
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        let field = |whole: Fetched| {
            let value = property::get_at(whole.value.expose(), &["data", "value"]).expect("the suite wrote it");
            Fetched { value, ..whole }
        };
        Ok(self.0.fetch(keys).await?.into_iter().map(|answer| answer.map(field)).collect())
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        self.0.find(query, at).await
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        self.0.push(push).await
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

#[tokio::test]
async fn behaves_as_a_store() {
    suite(&ConfigMaps::new().await).await;
}

#[tokio::test]
async fn any_kind_of_objects_but_secrets() {
    let testbed = Testbed::shared();
    let namespace = testbed.namespace("crd-read").await;
    let group = format!("g{:08x}.example.com", rand::random::<u32>());
    let definition = json!({
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            }}}],
        },
    });
    let client = testbed.kube_client().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = serde_json::from_value(definition).unwrap();
    definitions.create(&PostParams::default(), &definition).await.unwrap();
    let resource = ApiResource {
        group: group.clone(),
        version: "v1".into(),
        api_version: format!("{group}/v1"),
        kind: "Widget".into(),
        plural: "widgets".into(),
    };
    let widgets: Api<DynamicObject> = Api::namespaced_with(client, namespace.name(), &resource);
    let widget = json!({"apiVersion": format!("{group}/v1"), "kind": "Widget", "metadata": {"name": "one"},
        "spec": {"password": "p", "count": 12345678901u64, "list": [{"x": "y"}]}});
    let widget: DynamicObject = serde_json::from_value(widget).unwrap();
    keyferry_testkit::eventually(std::time::Duration::from_secs(60), || async {
        let made = widgets.create(&PostParams::default(), &widget).await;
        made.map(drop).map_err(|error| keyferry_testkit::Error::msg(error.to_string()))
    })
    .await;

    let of = |kind: &str| json!({"resource": {"group": group, "version": "v1", "kind": kind}});
    let store = build("SecretStore", namespace.name(), of("widget")).await.unwrap();
    store.validate().await.unwrap();
    let read = fetch(&*store, &key("one")).await.unwrap();
    assert_eq!(read["spec"], json!({"password": "p", "count": 12345678901u64, "list": [{"x": "y"}]}));
    let error = fetch(&*store, &key("two")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.message().contains("widget \"two\""), "{error}");
    for name in ["../one", "other/one", "", "a%2fb"] {
        assert_eq!(fetch(&*store, &key(name)).await.unwrap_err().kind(), ErrorKind::Invalid, "{name}");
    }
    for (resource, words) in [
        (of("Gadget"), "no kind Gadget"),
        (json!({"resource": {"group": "none.example.com", "version": "v1", "kind": "X"}}), "no version v1"),
        (json!({"resource": {"group": "", "version": "v1", "kind": "SECRET"}}), "must not be Secret"),
    ] {
        let error = build("SecretStore", namespace.name(), resource).await.err().unwrap();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_store_of_the_cluster_names_namespaces() {
    let testbed = Testbed::shared();
    let (one, two) = (testbed.namespace("crd-one").await, testbed.namespace("crd-two").await);
    let prefix = format!("m{:08x}", rand::random::<u32>());
    for (namespace, value) in [(&one, "1"), (&two, "2")] {
        put(namespace, &format!("{prefix}-app"), value).await;
    }
    let app = |namespace: &str| key(format!("{namespace}/{prefix}-app"));
    let store = build("ClusterSecretStore", "team", config_maps()).await.unwrap();
    assert_eq!(fetch(&*store, &app(one.name())).await.unwrap()["data"]["a"], "1");
    assert_eq!(fetch(&*store, &app(two.name())).await.unwrap()["data"]["a"], "2");
    let error = fetch(&*store, &key(format!("{prefix}-app"))).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("a namespace and a name"), "{error}");
    let mut all = [&one, &two].map(|namespace| format!("{}/{prefix}-app", namespace.name()));
    all.sort_unstable();
    assert_eq!(found(&*store, &prefix).await, all);

    let mut narrow = config_maps();
    narrow["remoteNamespace"] = json!(one.name());
    let store = build("ClusterSecretStore", "team", narrow).await.unwrap();
    assert_eq!(found(&*store, &prefix).await, [format!("{prefix}-app")]);
    assert_eq!(fetch(&*store, &key(format!("{prefix}-app"))).await.unwrap()["data"]["a"], "1");

    // What is in no namespace has a name alone.
    let of = json!({"resource": {"group": "", "version": "v1", "kind": "Namespace"}});
    let store = build("ClusterSecretStore", "team", of).await.unwrap();
    assert_eq!(fetch(&*store, &key(one.name())).await.unwrap()["metadata"]["name"], one.name());
    let error = fetch(&*store, &key(format!("x/{}", one.name()))).await.unwrap_err();
    assert!(error.message().contains("in no namespace"), "{error}");
}

#[tokio::test]
async fn what_no_rule_lets_through_is_not_read() {
    let namespace = Testbed::shared().namespace("crd-rules").await;
    for name in ["open", "part", "shut"] {
        put(&namespace, name, "secret").await;
    }
    let mut spec = config_maps();
    spec["whitelist"] = json!({"rules": [{"name": "^open$"}, {"name": "^part$", "properties": ["^data\\.b$"]}]});
    let store = build("SecretStore", namespace.name(), spec).await.unwrap();
    assert_eq!(fetch(&*store, &key("open")).await.unwrap()["data"]["a"], "secret");
    assert_eq!(fetch(&*store, &key("part")).await.unwrap(), json!({"data": {"b": "other"}}));
    let error = fetch(&*store, &key("shut")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.message().contains("whitelist"), "{error}");
    assert_eq!(found(&*store, ".").await, ["open"]);
}
