//! Clusters that have CRDs already: from kubectl, or from a release of External Secrets Operator.

use std::path::Path;

use keyferry_chart_tests::{crds, files, folder};

use crate::cluster::{Cluster, Crd, crd_files};

#[tokio::test(flavor = "multi_thread")]
async fn crds_that_kubectl_applied() {
    let cluster = Cluster::mine("kubectl").await;
    let mut args = vec!["apply".to_owned()];
    args.extend(crd_files().iter().map(|file| format!("--filename={}", file.display())));
    cluster.kubectl(&args.iter().map(String::as_str).collect::<Vec<_>>(), "").unwrap();
    let crds = cluster.crds();

    // Helm takes nothing that it did not make, and says whose it is.
    let refusal = cluster.install("ferry", "kubectl", &[]).unwrap_err().to_string();
    assert!(refusal.contains("cannot be imported into the current release"), "{refusal}");
    // Two ways on, as the README has them: leave them alone ...
    cluster.install("ferry", "kubectl", &["--set", "installCRDs=false"]).unwrap();
    assert_eq!(cluster.crds(), crds);
    cluster.helm(&["uninstall", "ferry", "--namespace", "kubectl"]).unwrap();
    assert_eq!(cluster.crds(), crds);
    // ... or take them over.
    cluster.install("ferry", "kubectl", &["--take-ownership"]).unwrap();
    assert_eq!(cluster.crds(), crds, "they are the same, so nothing changes");
    let mut operator = cluster.operator("ferry", "kubectl").await;
    cluster.synced("kubectl").await;
    operator.kill9();
    cluster.helm(&["uninstall", "ferry", "--namespace", "kubectl"]).unwrap();
    assert_eq!(cluster.crds(), crds);
}

/// A new release beside the old one, which is then uninstalled.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_another_operator_is_replaced() {
    let cluster = Cluster::mine("beside").await;
    let chart = another_operator();
    let old = chart.path().to_str().unwrap();
    cluster.helm(&["install", "external-secrets", old, "--namespace", "beside"]).unwrap();
    let before = cluster.crds();
    assert_eq!(before.len(), files(&crds()).len() + 2, "{before:?}");
    // Its CRDs go with it, unless the release that is uninstalled says otherwise: an annotation put on with kubectl
    // would not help.
    cluster.helm(&["upgrade", "external-secrets", old, "--namespace", "beside", "--set", "keep=true"]).unwrap();

    cluster.install("ferry", "beside", &["--take-ownership", "--force-conflicts"]).unwrap();
    let (ours, others) = split(cluster.crds());
    assert_eq!(others, split(before.clone()).1, "kinds that we do not serve are none of our business");
    assert_eq!(uids(&ours), uids(&split(before.clone()).0), "no CRD was made anew: its objects would be gone");
    let mut operator = cluster.operator("ferry", "beside").await;
    let made = cluster.synced("beside").await;

    cluster.helm(&["uninstall", "external-secrets", "--namespace", "beside"]).unwrap();
    assert_eq!(uids(&cluster.crds()), uids(&before));
    assert_eq!(cluster.synced("beside").await, made);
    operator.kill9();
    cluster.helm(&["uninstall", "ferry", "--namespace", "beside"]).unwrap();
    assert_eq!(uids(&cluster.crds()), uids(&before));
}

/// The old release, upgraded to our chart.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_another_operator_is_upgraded() {
    let cluster = Cluster::mine("instead").await;
    let chart = another_operator();
    let old = chart.path().to_str().unwrap();
    cluster.helm(&["install", "external-secrets", old, "--namespace", "instead"]).unwrap();
    let before = cluster.crds();
    // An upgrade deletes what the new chart has not, unless the object itself says otherwise.
    let mut annotate = vec!["annotate", "crd"];
    annotate.extend(before.iter().map(|crd| crd.name.as_str()));
    annotate.push("helm.sh/resource-policy=keep");
    cluster.kubectl(&annotate, "").unwrap();
    let ours = folder();
    let account =
        |cluster: &Cluster| cluster.get("instead", "serviceaccount", "external-secrets").expect("it is there");
    let known = account(&cluster)["metadata"]["uid"].clone();
    cluster.helm(&["upgrade", "external-secrets", ours.to_str().unwrap(), "--namespace", "instead"]).unwrap();
    assert_eq!(account(&cluster)["metadata"]["uid"], known, "who trusts it by name and namespace goes on to");
    assert_eq!(uids(&cluster.crds()), uids(&before));
    assert_eq!(split(cluster.crds()).1, split(before.clone()).1);
    let mut operator = cluster.operator("external-secrets", "instead").await;
    cluster.synced("instead").await;
    operator.kill9();
    cluster.helm(&["uninstall", "external-secrets", "--namespace", "instead"]).unwrap();
    assert_eq!(uids(&cluster.crds()), uids(&before));
}

/// CRDs of kinds that we serve, and others.
fn split(crds: Vec<Crd>) -> (Vec<Crd>, Vec<Crd>) {
    let served = files(&keyferry_chart_tests::crds());
    crds.into_iter().partition(|crd| served.iter().any(|(_, text)| text.contains(&format!("\n  name: {}\n", crd.name))))
}

fn uids(crds: &[Crd]) -> Vec<(&str, &str)> {
    crds.iter().map(|crd| (crd.name.as_str(), crd.uid.as_str())).collect()
}

/// A chart that is like another operator's where it matters: CRDs as templates, without the annotation that keeps them,
/// some of kinds that we do not serve, and those that we serve with other contents.
fn another_operator() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("Chart.yaml", "apiVersion: v2\nname: external-secrets\nversion: 2.9.0\n");
    write("values.yaml", "keep: false\n");
    let keep = "\nmetadata:\n  annotations:\n    other: \"yes\"\n{{- if .Values.keep }}\n    helm.sh/resource-policy: keep\n{{- end }}\n";
    for (name, text) in files(&crds()) {
        // Nothing in them may look like a template.
        assert!(!text.contains("{{"));
        let text = text
            .replace("\nmetadata:\n", keep)
            .replace("- external-secrets\n", "- external-secrets\n    - all-of-them\n");
        write(&format!("templates/{name}"), &text);
    }
    for (kind, group) in [("Workflow", "external-secrets.io"), ("OIDC", "generators.external-secrets.io")] {
        let singular = kind.to_lowercase();
        let crd = format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition{keep}  name: {singular}s.{group}\nspec:\n  group: {group}\n  \
             scope: Namespaced\n  names: {{kind: {kind}, plural: {singular}s, singular: {singular}}}\n  versions:\n  - name: v1alpha1\n    \
             served: true\n    storage: true\n    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}\n"
        );
        write(&format!("templates/{singular}.yaml"), &crd);
    }
    write("templates/operator.yaml", OPERATOR);
    dir
}

/// Its Deployment and ServiceAccount, with the names and the selector that its chart gives to a release
/// `external-secrets`.
const OPERATOR: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: external-secrets}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: external-secrets}
spec:
  replicas: 0
  selector:
    matchLabels: {app.kubernetes.io/name: external-secrets, app.kubernetes.io/instance: external-secrets}
  template:
    metadata: {labels: {app.kubernetes.io/name: external-secrets, app.kubernetes.io/instance: external-secrets}}
    spec:
      serviceAccountName: external-secrets
      containers: [{name: external-secrets, image: 'ghcr.io/external-secrets/external-secrets:v2.9.0'}]
";
