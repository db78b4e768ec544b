//! The whole way: from a release that would take everything with it to a cluster without it.

use std::time::Duration;

use keyferry_migrate::{Outcome, Output};
use keyferry_migrate_tests::{Cluster, HIDDEN, Report, chart, text};
use keyferry_testkit::eventually;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn from_a_release_to_none() {
    let cluster = Cluster::mine("journey").await;
    let chart = chart();
    let chart = chart.path().to_str().unwrap();
    let upgrade = |values: &[&str]| {
        let mut args = vec!["upgrade", "--install", "old", chart, "--namespace", "journey", "--reuse-values"];
        args.extend(values);
        cluster.helm(&args);
    };
    upgrade(&[]);
    cluster.established().await;
    lay(&cluster);
    // From now on the webhook of which nobody answers refuses stores.
    upgrade(&["--set", "webhook=true"]);

    let report = cluster.report(false).await;
    says_all_that_is_in_the_way(&report);

    // Nothing is touched while the release is dangerous.
    let before = resource_versions(&cluster);
    let said = cluster.migrate(true, Output::Text).await;
    assert_eq!(said.outcome, Ok(Outcome::Blocked));
    assert!(said.out.contains("Refused to change anything: uninstalling the Helm release journey/old"), "{}", said.out);
    assert!(!said.out.contains(HIDDEN) && !said.progress.contains(HIDDEN));
    assert_eq!(resource_versions(&cluster), before);

    // An annotation in the cluster does not help, as the report says.
    cluster.kubectl(&["annotate", "crd", "externalsecrets.external-secrets.io", "helm.sh/resource-policy=keep"], "");
    assert!(cluster.report(false).await.blocking().contains(&"helm-deletes-crds".to_owned()));
    upgrade(&["--set", "keep=true"]);
    let report = cluster.report(false).await;
    assert_eq!(report.blocking(), ["webhook", "eso-runs"]);
    let before = resource_versions(&cluster);
    let report = cluster.report(true).await;
    assert_eq!(report.outcome, Outcome::Blocked);
    assert!(text(&report.json, "/refusal").contains("deployment/journey/external-secrets"), "{:#}", report.json);
    assert_eq!(resource_versions(&cluster), before);

    upgrade(&["--set", "replicas=0"]);
    eventually(SOON, || async {
        match cluster.report(false).await.blocking() {
            blocking if blocking == ["webhook"] => Ok(()),
            blocking => Err(format!("{blocking:?}")),
        }
    })
    .await;
    let before = uids(&cluster);
    let said = cluster.migrate(true, Output::Text).await;
    assert_eq!(said.outcome, Ok(Outcome::Clear), "{}", said.out);
    assert!(said.out.starts_with("deleted validatingwebhookconfiguration/secretstore-validate\n"), "{}", said.out);
    assert_eq!(cluster.fields("validatingwebhookconfigurations", ""), []);
    let again = cluster.report(true).await;
    assert_eq!((again.outcome, &again.json["applied"]["done"]), (Outcome::Clear, &serde_json::json!([])));

    cluster.helm(&["uninstall", "old", "--namespace", "journey"]);
    // Time for a garbage collector that had a reason.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let left = uids(&cluster);
    let of_helm = |name: &str| name.contains("sh.helm.release") || name.ends_with("/of-the-chart");
    let kept: Vec<_> = before.into_iter().filter(|(name, _)| !of_helm(name)).collect();
    assert_eq!(left, kept);
    assert!(left.iter().any(|(name, _)| name == "Secret/journey/app"), "{left:?}");
    let said = cluster.migrate(false, Output::Text).await;
    assert_eq!((said.outcome, said.out.as_str()), (Ok(Outcome::Clear), "Nothing is in the way.\n"));
}

fn says_all_that_is_in_the_way(report: &Report) {
    assert_eq!(report.outcome, Outcome::Blocked);
    assert!(!report.json.to_string().contains(HIDDEN));
    assert_eq!(report.blocking(), ["helm-deletes-crds", "webhook", "eso-runs"]);
    let helm = report.one("helm-deletes-crds");
    assert!(text(helm, "/summary").contains("journey/old (revision 2, chart external-secrets 2.9.0)"), "{helm}");
    assert_eq!(helm["count"], keyferry_crds::crds().len() + 2);
    let command = text(helm, "/commands/1");
    assert!(command.contains("helm upgrade old external-secrets/external-secrets --namespace journey"), "{command}");
    let identity = text(report.one("ambient-identity"), "/next");
    assert!(identity.contains("eks.amazonaws.com/role-arn=arn:aws:iam::1:role/eso"), "{identity}");
    assert!(text(&report.json, "/refusal").contains("journey/old"));
    let notes: Vec<_> = report.all("operator").iter().map(|note| text(note, "/summary")).collect();
    assert!(notes.len() == 1 && notes[0].contains("deployment/journey/cert-controller"), "{notes:?}");
}

fn is_ours(name: &str) -> bool {
    !name.starts_with("Secret/") || name.starts_with("Secret/journey/")
}

/// They tell whether anything was written.
fn resource_versions(cluster: &Cluster) -> Vec<(String, Value)> {
    let kinds = "crd,validatingwebhookconfigurations,externalsecrets,secretstores,secrets,deployments";
    let mut all = cluster.fields(kinds, "/metadata/resourceVersion");
    // Deployments get a status from others, and Secrets of other tests may be collected at any time.
    all.retain(|(name, _)| !name.starts_with("Deployment") && is_ours(name));
    all
}

fn uids(cluster: &Cluster) -> Vec<(String, Value)> {
    let mut all = cluster.fields("crd,externalsecrets,secretstores,secrets", "/metadata/uid");
    all.retain(|(name, _)| is_ours(name));
    all
}

/// An ExternalSecret, and the Secret that it owns.
fn lay(cluster: &Cluster) {
    cluster.create(
        "
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: fixed, namespace: journey}
spec: {provider: {fake: {data: [{key: password, value: sesame}]}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: app, namespace: journey}
spec:
  secretStoreRef: {name: fixed, kind: SecretStore}
  data: [{secretKey: password, remoteRef: {key: password}}]
",
    );
    let owner = cluster.json(&["get", "externalsecret", "app", "--namespace=journey"]);
    cluster.create(&format!(
        "
apiVersion: v1
kind: Secret
metadata:
  name: app
  namespace: journey
  ownerReferences: [{{apiVersion: external-secrets.io/v1, kind: ExternalSecret, name: app, uid: {}, controller: true}}]
stringData: {{password: sesame}}
",
        text(&owner, "/metadata/uid")
    ));
}
