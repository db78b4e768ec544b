//! The store of custom resources against a real API server.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keyferry_builders::key;
use keyferry_provider_core::{Caller, Error, ErrorKind, Key, Provider, Query, find_all};
use keyferry_provider_kubernetes::CRD;
use keyferry_provider_testkit::MapCredentials;
use keyferry_provider_tests::context;
use keyferry_testkit::{Namespace, Testbed};
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
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
