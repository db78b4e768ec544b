//! The kinds of `external-secrets.io` that are not built: ClusterExternalSecret, ClusterPushSecret. Their
//! specs are open, so that nothing is lost until they are; their status is what External Secrets Operator writes, and
//! holds the condition that says so.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use super::node::*;
use super::shared::conditions;
use super::{CLUSTER, Names, READY_REASON, READY_STATUS, old_version, version, with_columns, without_rule};
use crate::names;

/// The kinds, and the version of each that is stored.
pub(super) const KINDS: &[(&str, &str)] =
    &[(names::KIND_CLUSTER_EXTERNAL_SECRET, names::VERSION), (names::KIND_CLUSTER_PUSH_SECRET, names::PUSH_VERSION)];

pub(super) fn crds() -> Vec<CustomResourceDefinition> {
    vec![cluster_external_secret(), cluster_push_secret()]
}

fn spec(kind: &str) -> Node {
    anything(&format!("What to do: see External Secrets Operator's {kind}; it is not built here yet."))
}

fn cluster_external_secret() -> CustomResourceDefinition {
    let kind = names::KIND_CLUSTER_EXTERNAL_SECRET;
    let names = Names { kind, plural: "clusterexternalsecrets", short: Some("ces"), scope: CLUSTER };
    // As in External Secrets Operator: without reason and time.
    let condition = object("One statement about the object.")
        .required("type", string("What the statement is about."))
        .required("status", string("Does it hold: True, False or Unknown."))
        .field("message", string("Why, in one sentence, and what to do."));
    let status = namespaces_of("externalSecretName", "ExternalSecrets")
        .field("conditions", list("How the object is.", condition));
    let schema =
        without_rule("Makes an ExternalSecret in each of some namespaces.", spec(kind)).field("status", status);
    let columns = json!([
        {"name": "Store", "type": "string", "jsonPath": ".spec.externalSecretSpec.secretStoreRef.name"},
        {"name": "Refresh Interval", "type": "string", "jsonPath": ".spec.refreshTime"},
        {"name": "Ready", "type": "string", "jsonPath": READY_STATUS},
    ]);
    let current = with_columns(version(names::VERSION, schema), columns);
    let old = old_version(&current);
    crd(&names, vec![current, old])
}

fn cluster_push_secret() -> CustomResourceDefinition {
    let kind = names::KIND_CLUSTER_PUSH_SECRET;
    let names = Names { kind, plural: "clusterpushsecrets", short: None, scope: CLUSTER };
    let status = namespaces_of("pushSecretName", "PushSecrets")
        .field("conditions", conditions(string("What the statement is about.")));
    let schema = without_rule("Makes a PushSecret in each of some namespaces.", spec(kind)).field("status", status);
    let columns = json!([
        {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Status", "type": "string", "jsonPath": READY_REASON},
    ]);
    crd(&names, vec![with_columns(version(names::PUSH_VERSION, schema), columns)])
}

/// Where what it makes is, and where it could not be made.
fn namespaces_of(name: &str, made: &str) -> Node {
    let failed = object("One namespace.")
        .required("namespace", string("Its name."))
        .field("reason", string("Why it failed there."));
    object("What the operator last saw and did.")
        .field(name, string(&format!("Name of the {made}.")))
        .field("failedNamespaces", list("Where it failed.", failed))
        .field("provisionedNamespaces", strings(&format!("Where the {made} are.")))
}

fn crd(names: &Names, versions: Vec<Value>) -> CustomResourceDefinition {
    names.of_group(names::GROUP, &[names::CATEGORY], versions)
}
