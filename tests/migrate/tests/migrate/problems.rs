//! Clusters that can't be looked at, or only in part.

use keyferry_cluster::connection::Connection;
use keyferry_migrate::{Eso, Outcome, Output};
use keyferry_migrate_tests::{Cluster, Report, migrate, text};
use serde_json::Value;

use crate::leftovers::apply_crds;

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_read_is_said() {
    let cluster = Cluster::mine("forbidden").await;
    apply_crds(&cluster).await;
    cluster.kubectl(&["create", "serviceaccount", "nobody", "--namespace=forbidden"], "");
    let nobody = cluster.testbed.account_kubeconfig("forbidden", "nobody").unwrap();
    let report = Report::read(&cluster.migrate_as(nobody.clone(), false, Output::Json).await);
    assert_eq!(report.outcome, Outcome::Blocked);
    let unread: Vec<String> = report.all("unread").iter().map(|found| text(found, "/objects/0")).collect();
    for what in
        ["Helm's records (Secrets", "CustomResourceDefinitions", "ValidatingWebhook", "Deployments", "Namespaces"]
    {
        assert!(unread.iter().any(|known| known.starts_with(what)), "{what}: {unread:?}");
    }
    let said = cluster.migrate_as(nobody, true, Output::Text).await;
    assert_eq!(said.outcome, Ok(Outcome::Blocked));
    assert!(said.out.contains("the API server forbids it to this user"), "{}", said.out);
    assert!(said.out.contains("Refused to change anything"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_kind_that_may_not_be_read_hides_no_other() {
    let cluster = Cluster::mine("partly").await;
    apply_crds(&cluster).await;
    cluster.create(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {name: partly, namespace: partly}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: partly}
rules:
- {apiGroups: [apiextensions.k8s.io, admissionregistration.k8s.io, apps], resources: ['*'], verbs: [get, list]}
- {apiGroups: [''], resources: [secrets, configmaps, namespaces], verbs: [get, list]}
- {apiGroups: [external-secrets.io], resources: [externalsecrets, clustersecretstores], verbs: [list]}
- {apiGroups: [generators.external-secrets.io], resources: [passwords, fakes, uuids], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: partly}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: partly}
subjects: [{kind: ServiceAccount, name: partly, namespace: partly}]
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: cloud}
spec: {provider: {aws: {service: SecretsManager, region: eu-west-1}}}
",
    );
    let user = "system:serviceaccount:partly:partly";
    cluster.testbed.until_allowed(user, "list", "externalsecrets.external-secrets.io", None).await;
    let partly = cluster.testbed.account_kubeconfig("partly", "partly").unwrap();
    let report = Report::read(&cluster.migrate_as(partly, false, Output::Json).await);
    assert_eq!(report.outcome, Outcome::Clear, "{:#}", report.json);
    let unread: Vec<String> = report.all("unread").iter().map(|found| text(found, "/objects/0")).collect();
    assert!(["ClusterGenerators", "PushSecrets", "SecretStores"].iter().all(|kind| unread.iter().any(|is| is == kind)));
    let read = ["ExternalSecrets", "ClusterSecretStores", "Passwords", "Fakes", "UUIDs"];
    assert!(!read.iter().any(|kind| unread.iter().any(|is| is == kind)), "{unread:?}");
    assert_eq!(text(report.one("provider-not-served"), "/objects/0"), "ClusterSecretStore cloud (0 ExternalSecrets)");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_to_the_api_server() {
    keyferry_testkit::install_crypto_provider();
    let dir = tempfile::tempdir().unwrap();
    let eso = |name: &str, text: &str| {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        Eso {
            connection: Connection { kubeconfig: Some(file), context: None },
            apply: true,
            controller_class: "default".to_owned(),
            chart: "config/chart".to_owned(),
            eso_chart: None,
            output: Output::Json,
        }
    };
    let error = async |eso: Eso| match migrate(&eso).await.outcome {
        Err(error) => error,
        Ok(outcome) => panic!("{outcome:?}"),
    };
    let server = keyferry_testkit::Operator::free_port().unwrap();
    let config = |port: u16| {
        format!(
            "{{apiVersion: v1, kind: Config, current-context: a, clusters: [{{name: a, cluster: {{server: 'http://127.0.0.1:{port}'}}}}], \
             users: [{{name: a, user: {{token: sesame}}}}], contexts: [{{name: a, context: {{cluster: a, user: a}}}}]}}"
        )
    };
    let closed = error(eso("closed", &config(server))).await;
    assert!(closed.starts_with("can't look at the cluster: the API server can't be reached"), "{closed}");
    let mut other = eso("other", &config(server));
    other.connection.context = Some("b".to_owned());
    let other = error(other).await;
    assert!(other.contains("has no context \"b\"; it has: a"), "{other}");
    let garbage = error(eso("garbage", "sesame: [")).await;
    assert!(garbage.starts_with("can't read the kubeconfig") && !garbage.contains("sesame"), "{garbage}");
    let mut absent = eso("absent", "");
    absent.connection.kubeconfig = Some(dir.path().join("nothing-here"));
    let absent = error(absent).await;
    assert!(absent.starts_with("can't read the kubeconfig"), "{absent}");
    let empty = error(eso("empty", "{apiVersion: v1, kind: Config}")).await;
    assert!(empty.contains("is not complete"), "{empty}");
}

/// Records that Helm did not write, and one that it keeps in a ConfigMap.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_helm_of_every_kind() {
    let cluster = Cluster::mine("records").await;
    let manifest = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: externalsecrets.external-secrets.io\nspec:\n  group: external-secrets.io\n";
    let record = serde_json::json!({
        "name": "umbrella", "namespace": "records", "version": 3, "info": {"status": "failed"}, "manifest": manifest,
        "chart": {"metadata": {"name": "platform", "version": "1.0.0", "dependencies": [{"name": "external-secrets", "alias": "eso"}]}},
    });
    let encoded = base64(record.to_string().as_bytes());
    let labels =
        |name: &str, version: u32| format!("{{owner: helm, name: {name}, version: '{version}', status: deployed}}");
    cluster.create(&format!(
        "
apiVersion: v1
kind: ConfigMap
metadata: {{name: sh.helm.release.v1.umbrella.v3, namespace: records, labels: {}}}
data: {{release: {encoded}}}
---
apiVersion: v1
kind: Secret
type: helm.sh/release.v1
metadata: {{name: sh.helm.release.v1.broken.v2, namespace: records, labels: {}}}
stringData: {{release: H4sIAAAA}}
",
        labels("umbrella", 3),
        labels("broken", 2),
    ));
    let report = cluster.report(false).await;
    assert_eq!(report.blocking(), ["helm-deletes-crds"]);
    let found: &Value = report.one("helm-deletes-crds");
    assert!(text(found, "/summary").contains("records/umbrella (revision 3, chart platform 1.0.0)"), "{found}");
    assert!(
        text(found, "/commands/0").contains(r"--set-string 'eso.crds.annotations.helm\.sh/resource-policy=keep'"),
        "{found}"
    );
    assert_eq!(text(report.one("helm-record-unreadable"), "/objects/0"), "secret/records/sh.helm.release.v1.broken.v2");
    // Helm says so, too.
    cluster.kubectl(&["delete", "configmap,secret", "--namespace=records", "--selector=owner=helm"], "");
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
