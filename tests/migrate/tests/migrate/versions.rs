//! Objects stored in old versions are stored anew, and nothing else of them changes.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use keyferry_migrate::{Outcome, Output};
use keyferry_migrate_tests::{Cluster, Report, text};
use keyferry_testkit::eventually;
use kube::api::{Api, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

/// More than a page holds.
const MANY: usize = 510;

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_stored_anew_and_stay_what_they_are() {
    let cluster = Cluster::mine("versions").await;
    old_crd(&cluster).await;
    cluster.create(&object("a", "versions"));
    let client = cluster.testbed.kube_client().await;
    let gvk = GroupVersionKind::gvk("external-secrets.io", "v1beta1", "ExternalSecret");
    let api: Api<DynamicObject> =
        Api::namespaced_with(client, "versions", &ApiResource::from_gvk_with_plural(&gvk, "externalsecrets"));
    for n in 1..MANY {
        let manifest = object(&format!("many-{n}"), "versions");
        let manifest: DynamicObject = serde_json::from_str(&manifest).unwrap();
        api.create(&PostParams::default(), &manifest).await.unwrap();
    }
    let uid = cluster.json(&["get", "externalsecret", "a", "--namespace=versions"])["metadata"]["uid"].clone();
    cluster.create(&format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: a, namespace: versions, ownerReferences: [{{apiVersion: external-secrets.io/v1beta1, kind: ExternalSecret, name: a, uid: {uid}}}]}}}}"
    ));
    store_as_v1(&cluster).await;
    let stays = |pointer: &str| cluster.fields("externalsecrets.v1.external-secrets.io", pointer);
    let before = ["/metadata/uid", "/metadata/generation", "/metadata/managedFields", "/spec", "/status"].map(stays);
    let versions = stays("/metadata/resourceVersion");
    let owned = secrets(&cluster);
    assert_eq!(owned.len(), 1);

    let report = cluster.report(false).await;
    assert!(text(report.one("stored-versions"), "/summary").contains("stored as v1beta1"));
    assert!(text(report.one("version-served"), "/summary").contains("served at v1beta1"));
    assert_eq!(
        report.json["would"],
        json!([
            "store anew the objects of crd/externalsecrets.external-secrets.io as v1, its only stored version then"
        ])
    );
    assert_eq!(stays("/metadata/resourceVersion"), versions);

    let said = cluster.migrate(true, Output::Json).await;
    let report = Report::read(&said);
    assert_eq!(report.outcome, Outcome::Clear, "{:#}", report.json);
    assert_eq!(
        said.progress,
        format!(
            "externalsecrets.external-secrets.io: 500 objects\nexternalsecrets.external-secrets.io: {MANY} objects\n"
        )
    );
    assert_eq!(stored(&cluster), json!(["v1"]));
    assert!(report.all("stored-versions").is_empty());
    let after = ["/metadata/uid", "/metadata/generation", "/metadata/managedFields", "/spec", "/status"].map(stays);
    assert!(after == before, "something changed but the version in which it is stored");
    assert_eq!(secrets(&cluster), owned);
    let written = stays("/metadata/resourceVersion");
    assert!(written.iter().zip(&versions).all(|(now, then)| now != then), "not every object was stored anew");

    // The proof: a CRD without the old version is taken, and everything is still there.
    let crd = cluster.json(&["get", "crd", CRD]);
    let only = vec![crd["spec"]["versions"].as_array().unwrap().iter().find(|v| v["name"] == "v1").unwrap().clone()];
    patch(&cluster, &json!({"spec": {"versions": only}}));
    assert_eq!(stays("/spec"), before[3]);
    // What is stored as it should be is not written again.
    assert_eq!(cluster.report(true).await.json["applied"]["done"], json!([]));
    assert_eq!(stays("/metadata/resourceVersion"), written);
}

/// Those of other tests may be collected at any time.
fn secrets(cluster: &Cluster) -> Vec<(String, Value)> {
    let mut all = cluster.fields("secrets", "/metadata/resourceVersion");
    all.retain(|(name, _)| name.starts_with("Secret/versions/"));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_stays_where_an_object_could_not_be_written() {
    let cluster = Cluster::mine("refused").await;
    old_crd(&cluster).await;
    let namespaces: Api<Namespace> = Api::all(cluster.testbed.kube_client().await);
    let closed = json!({"metadata": {"name": "closed"}});
    namespaces.create(&PostParams::default(), &serde_json::from_value(closed).unwrap()).await.unwrap();
    cluster.create(&object("a", "refused"));
    cluster.create(&object("b", "closed"));
    store_as_v1(&cluster).await;
    // May do everything, but write in that namespace.
    cluster.create(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {name: half, namespace: refused}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: half}
rules:
- {apiGroups: ['*'], resources: ['*'], verbs: [get, list]}
- {apiGroups: [apiextensions.k8s.io], resources: ['*'], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: half}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: half}
subjects: [{kind: ServiceAccount, name: half, namespace: refused}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: half, namespace: refused}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: half, namespace: refused}]
",
    );
    let user = "system:serviceaccount:refused:half";
    for (verb, resource, namespace) in [
        ("patch", "customresourcedefinitions.apiextensions.k8s.io", None),
        ("update", "externalsecrets.external-secrets.io", Some("refused")),
    ] {
        cluster.testbed.until_allowed(user, verb, resource, namespace).await;
    }
    let half = cluster.testbed.account_kubeconfig("refused", "half").unwrap();
    let said = cluster.migrate_as(half, true, Output::Json).await;
    let report = Report::read(&said);
    assert_eq!(report.outcome, Outcome::Blocked);
    let failed = text(&report.json, "/applied/failed/0");
    assert!(failed.contains("closed/b could not be stored anew: the API server forbids it"), "{failed}");
    assert_eq!(stored(&cluster), json!(["v1beta1", "v1"]));
    // Somebody who may finishes it.
    assert_eq!(cluster.report(true).await.outcome, Outcome::Clear);
    assert_eq!(stored(&cluster), json!(["v1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn conversion_webhooks_are_removed_where_nothing_needs_them() {
    let cluster = Cluster::mine("converted").await;
    old_crd(&cluster).await;
    let webhook = json!({"spec": {"conversion": {"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"],
        "clientConfig": {"service": {"namespace": "converted", "name": "nobody"}},
    }}}});
    cluster.create(&object("a", "converted"));
    patch(&cluster, &webhook);
    store_as_v1(&cluster).await;
    let report = cluster.report(false).await;
    // Nothing is read at v1 any more, and nobody is told why but here.
    assert_eq!(report.blocking(), ["conversion-webhook"]);
    assert!(!report.all("unread").is_empty(), "{:#}", report.json);
    let report = cluster.report(true).await;
    assert_eq!(report.outcome, Outcome::Clear, "{:#}", report.json);
    assert_eq!(stored(&cluster), json!(["v1"]));
    assert_eq!(cluster.json(&["get", "crd", CRD])["spec"]["conversion"], json!({"strategy": "None"}));
}

const CRD: &str = "externalsecrets.external-secrets.io";

/// The CRD as an older release had it: stored as v1beta1.
async fn old_crd(cluster: &Cluster) {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"refreshInterval": {"type": "string", "default": "1h"}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}});
    let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema, "subresources": {"status": {}}});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": CRD},
        "spec": {
            "group": "external-secrets.io", "scope": "Namespaced",
            "names": {"kind": "ExternalSecret", "plural": "externalsecrets", "singular": "externalsecret"},
            "versions": [version("v1", false), version("v1beta1", true)],
        },
    });
    cluster.create(&crd.to_string());
    cluster.established().await;
}

/// Makes v1 the version of storage, and waits until the API server stores so.
async fn store_as_v1(cluster: &Cluster) {
    let crd = cluster.json(&["get", "crd", CRD]);
    // Where a dead webhook converts, objects can't be read once v1 is stored, and nothing is stored anew before it goes.
    let is_readable = crd["spec"]["conversion"]["strategy"] != "Webhook";
    if is_readable {
        cluster.create(&object("canary", "default"));
    }
    let mut versions = crd["spec"]["versions"].clone();
    for version in versions.as_array_mut().unwrap() {
        version["storage"] = Value::Bool(version["name"] == "v1");
    }
    patch(cluster, &json!({"spec": {"versions": versions}}));
    assert_eq!(stored(cluster), json!(["v1beta1", "v1"]));
    if is_readable {
        let get = || cluster.json(&["get", "externalsecrets.v1.external-secrets.io", "canary", "--namespace=default"]);
        eventually(Duration::from_secs(180), || async {
            let before = get();
            cluster.kubectl(&["replace", "--filename=-"], &before.to_string());
            if get()["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"] {
                Err("it is not stored anew yet")
            } else {
                Ok(())
            }
        })
        .await;
        cluster.kubectl(&["delete", "externalsecret", "canary", "--namespace=default"], "");
    }
}

fn patch(cluster: &Cluster, patch: &Value) {
    cluster.kubectl(&["patch", "crd", CRD, "--type=merge", "--patch", &patch.to_string()], "");
}

fn stored(cluster: &Cluster) -> Value {
    cluster.json(&["get", "crd", CRD])["status"]["storedVersions"].clone()
}

fn object(name: &str, namespace: &str) -> String {
    json!({
        "apiVersion": "external-secrets.io/v1beta1", "kind": "ExternalSecret",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"secretStoreRef": {"name": "none"}, "data": [], "large": 9007199254740993u64, "ratio": 1.5},
    })
    .to_string()
}
