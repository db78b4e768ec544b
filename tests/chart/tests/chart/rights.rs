//! What the chart's role allows, asked of the API server itself.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use keyferry_chart_tests::render;
use keyferry_testkit::{OPERATOR_ACCOUNT, OPERATOR_NAMESPACE, Testbed, eventually};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

/// A right: verb, `group/resource/subresource` (`core` is the group without a name), namespace, name.
type Right<'a> = (&'a str, &'a str, &'a str, &'a str);

async fn may(client: &Client, user: &str, (verb, resource, namespace, name): Right<'_>) -> bool {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut parts = resource.split('/');
    let group = parts.next().filter(|group| *group != "core").unwrap_or_default();
    let attributes = ResourceAttributes {
        verb: some(verb),
        group: some(group),
        resource: parts.next().and_then(some),
        subresource: parts.next().and_then(some),
        namespace: some(namespace),
        name: some(name),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: some(user),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await.unwrap();
    answer.status.unwrap().allowed
}

fn account(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// `allowed` is waited for, as the API server knows some moments later what was just granted, and a controller puts some
/// roles together.
async fn check(client: &Client, user: &str, allowed: &[Right<'_>], denied: &[Right<'_>]) {
    for right in allowed {
        eventually(Duration::from_secs(120), || async {
            if may(client, user, *right).await { Ok(()) } else { Err(format!("not allowed: {right:?}")) }
        })
        .await;
    }
    for right in denied {
        assert!(!may(client, user, *right).await, "allowed: {right:?}");
    }
}

#[tokio::test]
async fn the_operator_may_do_its_work_and_nothing_else() {
    let testbed = Testbed::shared();
    testbed.operator_kubeconfig().unwrap();
    let client = testbed.kube_client().await;
    let allowed = [
        ("watch", "external-secrets.io/externalsecrets", "", ""),
        ("patch", "external-secrets.io/externalsecrets/status", "default", "any"),
        ("patch", "external-secrets.io/clustersecretstores/status", "", "any"),
        ("update", "external-secrets.io/externalsecrets/finalizers", "default", "any"),
        ("create", "external-secrets.io/externalsecrets", "default", ""),
        ("delete", "external-secrets.io/pushsecrets", "default", "any"),
        ("update", "external-secrets.io/clusterexternalsecrets/finalizers", "", "any"),
        ("patch", "external-secrets.io/clusterexternalsecrets", "", "any"),
        ("patch", "core/namespaces", "", "any"),
        ("delete", "core/secrets", "default", "any"),
        ("watch", "core/configmaps", "", ""),
        ("create", "core/serviceaccounts/token", "default", "any"),
        ("create", "core/events", "default", ""),
        ("update", "coordination.k8s.io/leases", OPERATOR_NAMESPACE, "external-secrets-controller"),
        ("create", "coordination.k8s.io/leases", OPERATOR_NAMESPACE, ""),
    ];
    let denied = [
        // Whom the cluster runs, and where.
        ("get", "core/pods", "default", "any"),
        ("create", "core/pods", "default", ""),
        ("create", "core/pods/exec", "default", "any"),
        ("get", "core/nodes", "", "any"),
        ("create", "apps/deployments", "default", ""),
        ("patch", "apps/deployments", "default", "any"),
        // What belongs to others.
        ("delete", "core/namespaces", "", "any"),
        ("update", "core/namespaces", "", "any"),
        ("patch", "core/configmaps", "default", "any"),
        ("patch", "core/serviceaccounts", "default", "any"),
        ("list", "core/serviceaccounts", "", ""),
        ("deletecollection", "core/secrets", "default", ""),
        // What users write.
        ("deletecollection", "external-secrets.io/externalsecrets", "default", ""),
        ("create", "external-secrets.io/clusterexternalsecrets", "", ""),
        ("delete", "external-secrets.io/clusterexternalsecrets", "", "any"),
        ("patch", "external-secrets.io/clusterpushsecrets", "", "any"),
        ("patch", "external-secrets.io/secretstores", "default", "any"),
        ("patch", "external-secrets.io/clustersecretstores", "", "any"),
        ("patch", "apiextensions.k8s.io/customresourcedefinitions", "", "any"),
        ("get", "apiextensions.k8s.io/customresourcedefinitions", "", "any"),
        // More rights than it has.
        ("escalate", "rbac.authorization.k8s.io/clusterroles", "", "any"),
        ("bind", "rbac.authorization.k8s.io/clusterroles", "", "cluster-admin"),
        ("create", "rbac.authorization.k8s.io/clusterrolebindings", "", ""),
        ("create", "rbac.authorization.k8s.io/rolebindings", "default", ""),
        ("impersonate", "core/users", "", "admin"),
        ("impersonate", "core/serviceaccounts", "kube-system", "any"),
        ("create", "certificates.k8s.io/certificatesigningrequests", "", ""),
        ("create", "authentication.k8s.io/tokenreviews", "", ""),
        ("create", "admissionregistration.k8s.io/validatingwebhookconfigurations", "", ""),
        // Leases of others.
        ("update", "coordination.k8s.io/leases", OPERATOR_NAMESPACE, "somebody-elses"),
        ("delete", "coordination.k8s.io/leases", OPERATOR_NAMESPACE, "external-secrets-controller"),
        ("update", "coordination.k8s.io/leases", "kube-system", "kube-controller-manager"),
        ("create", "coordination.k8s.io/leases", "default", ""),
    ];
    check(&client, &account(OPERATOR_NAMESPACE, OPERATOR_ACCOUNT), &allowed, &denied).await;
}

/// A rule with a star in it, or a verb that gives away more than is meant, would be seen by nobody.
#[test]
fn no_rule_is_open() {
    for values in [json!({}), json!({"scopedRBAC": true, "scopedNamespace": "team"})] {
        let rendered = render(&values);
        for role in rendered.all("ClusterRole").chain(rendered.all("Role")) {
            for rule in role["rules"].as_array().unwrap() {
                for list in ["apiGroups", "resources", "verbs"] {
                    let open = rule[list].as_array().unwrap().iter().any(|item| item == "*");
                    assert!(!open, "{role}");
                }
            }
        }
    }
}

#[tokio::test]
async fn scoped_rights_end_at_the_namespace() {
    let testbed = Testbed::shared();
    let team = testbed.namespace("scoped").await;
    let values = json!({
        "scopedRBAC": true, "scopedNamespace": team.name(), "namespaceOverride": team.name(), "installCRDs": false,
        "createOperator": false, "fullnameOverride": "scoped",
    });
    apply(testbed, &values);
    let user = account(team.name(), "scoped");
    let allowed = [
        ("delete", "core/secrets", team.name(), "any"),
        ("watch", "external-secrets.io/secretstores", team.name(), ""),
        ("update", "coordination.k8s.io/leases", team.name(), "external-secrets-controller"),
    ];
    let denied = [
        ("get", "core/secrets", "default", "any"),
        ("list", "core/secrets", "", ""),
        ("list", "core/namespaces", "", ""),
        ("list", "external-secrets.io/clustersecretstores", "", ""),
        ("list", "external-secrets.io/externalsecrets", "", ""),
        ("create", "core/serviceaccounts/token", "kube-system", "any"),
    ];
    check(&team.client(), &user, &allowed, &denied).await;
}

#[tokio::test]
async fn view_edit_and_admin_cover_our_kinds() {
    let testbed = Testbed::shared();
    let team = testbed.namespace("people").await;
    let values = json!({"installCRDs": false, "createOperator": false, "fullnameOverride": team.name(),
        "namespaceOverride": team.name()});
    apply(testbed, &values);
    for role in ["view", "edit", "admin"] {
        let args = ["create", "rolebinding", role, "--namespace", team.name(), "--clusterrole", role, "--user", role];
        testbed.kubectl(&args, "").unwrap();
    }
    let client = team.client();
    let create = ("create", "external-secrets.io/externalsecrets", team.name(), "");
    let list = ("list", "external-secrets.io/externalsecrets", team.name(), "");
    let status = ("patch", "external-secrets.io/externalsecrets/status", team.name(), "a");
    check(&client, "view", &[list], &[create, status]).await;
    check(&client, "edit", &[list, create], &[status]).await;
    check(&client, "admin", &[("delete", "external-secrets.io/secretstores", team.name(), "a")], &[status]).await;
    let delete = |kind: &str, name: &str| {
        testbed.kubectl(&["delete", kind, &format!("{}-{name}", team.name()), "--ignore-not-found"], "").unwrap()
    };
    for name in ["view", "edit", "controller", "servicebindings"] {
        delete("clusterrole", name);
    }
    delete("clusterrolebinding", "controller");
}

/// Applies what the chart renders.
fn apply(testbed: &Testbed, values: &Value) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": render(values).0});
    testbed.kubectl(&["apply", "--server-side", "--filename=-"], &list.to_string()).unwrap();
}
