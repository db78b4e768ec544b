//! CRDs and objects on a testbed.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keyferry::verbs::validate::schema::{judge, with_defaults};
use keyferry_crds::crds;
use keyferry_testkit::{Testbed, eventually};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// A client of the shared testbed, on which our CRDs are installed.
pub async fn client() -> Client {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let client = Testbed::shared().kube_client().await;
    INSTALLED.get_or_init(|| install(&client, crds())).await;
    client
}

/// Installs CRDs, or replaces those that are there, and waits until they are served.
pub async fn install(client: &Client, crds: Vec<CustomResourceDefinition>) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let owner = PatchParams::apply("admission-tests").force();
    for crd in &crds {
        api.patch(&crd.name_any(), &owner, &Patch::Apply(crd)).await.expect("the API server takes our CRD");
    }
    for crd in crds {
        let served = || async {
            let found = api.get(&crd.name_any()).await?;
            let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
            Ok(conditions.iter().any(|c| c.type_ == "Established" && c.status == "True"))
        };
        until(served, "the CRD is established").await;
        let of_kind = Api::<DynamicObject>::all_with(client.clone(), &stored_as(&crd));
        until(|| async { of_kind.list(&Default::default()).await.map(|_| true) }, "the kind is served").await;
    }
}

/// Waits until `is_so`. Errors count as not yet.
pub async fn until<F: Future<Output = kube::Result<bool>>>(is_so: impl Fn() -> F, what: &str) {
    let ask = || async {
        match is_so().await {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("it does not come true that {what}")),
            Err(error) => Err(format!("it can't be seen that {what}: {error}")),
        }
    };
    eventually(Duration::from_secs(120), ask).await;
}

/// The kind of a CRD, at the version that is stored.
pub fn stored_as(crd: &CustomResourceDefinition) -> ApiResource {
    let version = crd.spec.versions.iter().find(|version| version.storage).expect("one is stored");
    let (group, names) = (&crd.spec.group, &crd.spec.names);
    ApiResource {
        group: group.clone(),
        version: version.name.clone(),
        api_version: format!("{group}/{}", version.name),
        kind: names.kind.clone(),
        plural: names.plural.clone(),
    }
}

fn resource(kind: &str) -> ApiResource {
    at_version(kind, "v1")
}

/// A kind of ours at a version.
pub fn at_version(kind: &str, version: &str) -> ApiResource {
    ApiResource {
        group: "external-secrets.io".into(),
        version: version.into(),
        api_version: format!("external-secrets.io/{version}"),
        kind: kind.into(),
        plural: format!("{}s", kind.to_lowercase()),
    }
}

/// All objects of a kind.
pub fn all(client: &Client, kind: &str) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource(kind))
}

/// The objects of a kind where a test puts them: in `default`, or in the cluster.
pub fn api(client: &Client, kind: &str) -> Api<DynamicObject> {
    if kind.starts_with("Cluster") {
        all(client, kind)
    } else {
        Api::default_namespaced_with(client.clone(), &resource(kind))
    }
}

/// An object to create.
pub fn object(kind: &str, name: &str, spec: &Value) -> DynamicObject {
    from(json!({"apiVersion": "external-secrets.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}))
}

/// An object as it stands in a manifest.
pub fn from(manifest: Value) -> DynamicObject {
    serde_json::from_value(manifest).expect("a Kubernetes object")
}

/// What the API server would store, or why it would not. Nothing is stored.
pub async fn try_create(client: &Client, object: &DynamicObject) -> Result<DynamicObject, String> {
    let kind = object.types.as_ref().expect("it names its kind").kind.clone();
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    api(client, &kind).create(&dry_run, object).await.map_err(refusal)
}

/// What `keyferry validate` says of an object without a cluster must be what the API server says of it.
#[track_caller]
pub fn agrees(object: &DynamicObject, refused: Option<&String>) {
    let types = object.types.as_ref().expect("it names its kind");
    let (group, version) = types.api_version.split_once('/').expect("a group and a version");
    let Some(schema) = keyferry_crds::schema(group, &types.kind, version) else { return };
    let mut value = serde_json::to_value(object).expect("plain data");
    with_defaults(schema, &mut value);
    let mut found = Vec::new();
    judge(schema, &value, &mut found);
    // What would be dropped is no reason to refuse it, where nobody asks for that.
    let wrong: Vec<String> = found.iter().filter(|of| of.check != "pruned").map(ToString::to_string).collect();
    match refused {
        Some(refusal) => assert!(!wrong.is_empty(), "{value}\nthe API server alone refuses it: {refusal}"),
        None => assert!(wrong.is_empty(), "{value}\nthe API server takes it, and not: {}", wrong.join("\n")),
    }
}

pub async fn create(client: &Client, object: &DynamicObject) -> DynamicObject {
    let kind = object.types.as_ref().expect("it names its kind").kind.clone();
    let created = api(client, &kind).create(&PostParams::default(), object).await;
    created.unwrap_or_else(|error| panic!("{}: {error}", object.name_any()))
}

/// The message of an API server that judged an object and refused it. Any other failure fails the test.
pub fn refusal(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 422 => status.message,
        other => panic!("the API server did not judge the object: {other}"),
    }
}

pub fn spec(object: &DynamicObject) -> &Value {
    &object.data["spec"]
}

/// What our types read from an object.
pub fn decode<K: Resource + serde::de::DeserializeOwned>(object: &DynamicObject) -> K {
    let value = serde_json::to_value(object).expect("plain data");
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{}: {error}", object.name_any()))
}
