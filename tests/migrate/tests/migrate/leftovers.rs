//! What is removed, and what is not.

use keyferry_migrate::Outcome;
use keyferry_migrate_tests::{Cluster, Report, text};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_that_nobody_needs_go_and_others_stay() {
    let cluster = Cluster::mine("leftovers").await;
    apply_crds(&cluster).await;
    cluster.create(OBJECTS);
    let report = cluster.report(false).await;
    let named = |code: &str| report.all(code).iter().map(|found| found["objects"].clone()).collect::<Vec<_>>();
    assert_eq!(
        named("store-finalizers"),
        [json!(["ClusterSecretStore idle", "SecretStore leftovers/idle"]), json!(["SecretStore leftovers/used"])]
    );
    assert_eq!(
        named("namespace-finalizers"),
        [json!(["held (ClusterExternalSecret gone)"]), json!(["held (ClusterExternalSecret there)"])]
    );
    assert_eq!(named("pushsecret-finalizers"), [json!(["leftovers/push"])]);
    assert_eq!(report.one("externalsecret-finalizers")["count"], 1);
    assert_eq!(named("kind-not-served"), [json!(["there"]), json!(["leftovers/push"])]);
    assert_eq!(report.outcome, Outcome::Clear, "{:#}", report.json);

    let report = cluster.report(true).await;
    assert_eq!(report.outcome, Outcome::Clear, "{:#}", report.json);
    assert_eq!(
        report.json["applied"]["done"],
        json!([
            "removed the finalizer of ClusterSecretStore idle",
            "removed the finalizer of SecretStore leftovers/idle",
            "removed the finalizer of ClusterExternalSecret gone from namespace/held",
        ])
    );
    let held = |kinds: &str| cluster.fields(kinds, "/metadata/finalizers");
    assert_eq!(
        held("secretstores"),
        [
            ("SecretStore/leftovers/idle".to_owned(), json!(["example.com/other"])),
            ("SecretStore/leftovers/used".to_owned(), json!(["secretstore.externalsecrets.io/finalizer"])),
        ]
    );
    let namespace = cluster.json(&["get", "namespace", "held"]);
    assert_eq!(namespace["metadata"]["finalizers"], json!(["externalsecrets.external-secrets.io/ces-there"]));
    assert_eq!(held("pushsecrets")[0].1, json!(["pushsecret.externalsecrets.io/finalizer"]));
    assert_eq!(cluster.report(true).await.json["applied"]["done"], json!([]));
    cluster
        .kubectl(&["patch", "namespace", "held", "--type=merge", "--patch", r#"{"metadata":{"finalizers":null}}"#], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_of_others_are_left_alone() {
    let cluster = Cluster::mine("policies").await;
    apply_crds(&cluster).await;
    for (name, groups, policy) in [
        ("policy-engine", "[external-secrets.io, apps]", "Ignore"),
        // Only for the groups, but by nothing External Secrets Operator's.
        ("company-policy", "[external-secrets.io]", "Fail"),
        ("not-of-interest", "['*']", "Fail"),
        ("externalsecret-validate", "[external-secrets.io]", "Fail"),
    ] {
        let resource = if name == "not-of-interest" { "nothing-has-this-name" } else { "externalsecrets" };
        cluster.create(&format!(
            "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: {name}}}
webhooks:
- name: {name}.example.com
  failurePolicy: {policy}
  rules: [{{apiGroups: {groups}, apiVersions: ['*'], operations: [CREATE], resources: [{resource}]}}]
  clientConfig: {{service: {{namespace: policies, name: nobody}}}}
  admissionReviewVersions: [v1]
  sideEffects: None
"
        ));
    }
    let severities = |report: &Report| -> Vec<String> {
        report.all("webhook").iter().map(|found| text(found, "/severity")).collect()
    };
    assert_eq!(severities(&cluster.report(false).await), ["blocks", "blocks", "attention"]);
    cluster.create(SERVICE);
    assert_eq!(severities(&cluster.report(false).await), ["blocks", "blocks", "attention"], "it is not ready");
    let ready = r#"[{"op": "replace", "path": "/endpoints/0/conditions/ready", "value": true}]"#;
    let slice = ["patch", "endpointslice", "nobody-1", "--namespace=policies", "--type=json", "--patch", ready];
    cluster.kubectl(&slice, "");
    assert_eq!(severities(&cluster.report(false).await), ["attention", "note", "note"]);
    cluster.kubectl(&["delete", "endpointslice", "nobody-1", "--namespace=policies"], "");
    let report = cluster.report(true).await;
    assert_eq!(
        report.json["applied"]["done"],
        json!(["deleted validatingwebhookconfiguration/externalsecret-validate"])
    );
    assert_eq!(report.outcome, Outcome::Blocked, "the company's policy still refuses writes");
    let left: Vec<_> = report.all("webhook").iter().map(|found| text(found, "/objects/0")).collect();
    assert_eq!(left, ["validatingwebhookconfiguration/company-policy", "validatingwebhookconfiguration/policy-engine"]);
    let there = cluster.fields("validatingwebhookconfigurations", "");
    assert_eq!(there.len(), 3, "{there:?}");
}

/// The CRDs as `keyferry crds` prints them.
pub async fn apply_crds(cluster: &Cluster) {
    let all: String = keyferry_crds::crds().iter().map(|crd| format!("---\n{}", keyferry_crds::yaml(crd))).collect();
    cluster.create(&all);
    cluster.established().await;
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: policies}
spec: {ports: [{port: 443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: nobody-1, namespace: policies, labels: {kubernetes.io/service-name: nobody}}
addressType: IPv4
endpoints: [{addresses: [10.1.2.3], conditions: {ready: false}}]
";

const OBJECTS: &str = "
apiVersion: v1
kind: Namespace
metadata:
  name: held
  finalizers: [externalsecrets.external-secrets.io/ces-gone, externalsecrets.external-secrets.io/ces-there]
---
apiVersion: external-secrets.io/v1
kind: ClusterExternalSecret
metadata: {name: there}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: idle, namespace: leftovers, finalizers: [secretstore.externalsecrets.io/finalizer, example.com/other]}
spec: {provider: {fake: {data: [{key: a, value: b}]}}}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: used, namespace: leftovers, finalizers: [secretstore.externalsecrets.io/finalizer]}
spec: {provider: {fake: {data: [{key: a, value: b}]}}}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: idle, finalizers: [secretstore.externalsecrets.io/finalizer]}
spec: {provider: {fake: {data: [{key: a, value: b}]}}}
---
apiVersion: external-secrets.io/v1alpha1
kind: PushSecret
metadata: {name: push, namespace: leftovers, finalizers: [pushsecret.externalsecrets.io/finalizer]}
spec: {deletionPolicy: Delete, secretStoreRefs: [{name: used}], selector: {secret: {name: app}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: app, namespace: leftovers, finalizers: [externalsecrets.external-secrets.io/externalsecret-cleanup]}
spec:
  secretStoreRef: {name: used, kind: SecretStore}
  data: [{secretKey: a, remoteRef: {key: a}}]
";
