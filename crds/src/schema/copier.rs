//! ClusterExternalSecret and ClusterPushSecret. What they copy has the schema, the defaults and the rules of its own
//! kind, so that what no namespace would take is refused once, before anything is made.
//!
//! Left to the operator, with a condition: selectors that Kubernetes would not take, and durations that don't parse.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keyferry_limits as limits;
use serde_json::json;

use super::node::*;
use super::shared::{conditions, label_selector};
use super::{
    CLUSTER, Names, READY_REASON, READY_STATUS, external_secret, old_version, push_secret, version, with_columns,
    without_rule,
};
use crate::names;

pub(super) fn crds() -> Vec<CustomResourceDefinition> {
    vec![cluster_external_secret(), cluster_push_secret()]
}

fn cluster_external_secret() -> CustomResourceDefinition {
    let kind = names::KIND_CLUSTER_EXTERNAL_SECRET;
    let names = Names { kind, plural: "clusterexternalsecrets", short: Some("ces"), scope: CLUSTER };
    let namespaces = strings("Namespaces with one of these names; namespaceSelectors can say the same.")
        .set(
            "items",
            json!({"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}),
        )
        .at_most(&limits::COPY_NAMESPACES);
    let spec = copier("Which namespaces get which ExternalSecret.", "externalSecret", external_secret::spec())
        .field("namespaceSelector", label_selector("Namespaces with these labels, too; use namespaceSelectors."))
        .field("namespaces", namespaces);
    // As in External Secrets Operator: without reason and time.
    let condition = object("One statement about the object.")
        .required("type", string("What the statement is about."))
        .required("status", string("Does it hold: True, False or Unknown."))
        .field("message", string("Why, in one sentence, and what to do."));
    let status = namespaces_of("externalSecretName", "ExternalSecrets")
        .field("conditions", list("How the object is.", condition));
    let schema = without_rule("Makes an ExternalSecret in each of some namespaces.", spec).field("status", status);
    let columns = json!([
        {"name": "Store", "type": "string", "jsonPath": ".spec.externalSecretSpec.secretStoreRef.name"},
        {"name": "Refresh Interval", "type": "string", "jsonPath": ".spec.refreshTime"},
        {"name": "Ready", "type": "string", "jsonPath": READY_STATUS},
    ]);
    let current = with_columns(version(names::VERSION, schema), columns);
    let old = old_version(&current);
    names.of_group(names::GROUP, &[names::CATEGORY], vec![current, old])
}

fn cluster_push_secret() -> CustomResourceDefinition {
    let kind = names::KIND_CLUSTER_PUSH_SECRET;
    let names = Names { kind, plural: "clusterpushsecrets", short: None, scope: CLUSTER };
    let spec = copier("Which namespaces get which PushSecret.", "pushSecret", push_secret::spec());
    let status = namespaces_of("pushSecretName", "PushSecrets")
        .field("conditions", conditions(string("What the statement is about.")));
    let schema = without_rule("Makes a PushSecret in each of some namespaces.", spec).field("status", status);
    let columns = json!([
        {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Status", "type": "string", "jsonPath": READY_REASON},
    ]);
    let current = with_columns(version(names::PUSH_VERSION, schema), columns);
    names.of_group(names::GROUP, &[names::CATEGORY], vec![current])
}

/// The spec of either kind; the names of its fields begin with what is copied.
fn copier(description: &str, what: &str, copied: Node) -> Node {
    let metadata = object("Labels and annotations of each copy; it has no others.")
        .field("labels", map_of_strings("Labels."))
        .field("annotations", map_of_strings("Annotations."));
    let selectors = list(
        "Namespaces with the labels of any of these; an empty one is every namespace.",
        label_selector("Namespaces with these labels."),
    );
    object(description)
        .required(&format!("{what}Spec"), copied)
        .field(&format!("{what}Name"), object_name("Name of each copy; that of this object if not set."))
        .field(&format!("{what}Metadata"), metadata)
        .field("namespaceSelectors", selectors.at_most(&limits::COPY_SELECTORS))
        .field(
            "refreshTime",
            string("How often all copies are looked through, beside at each change; 1h if not set.")
                .within(&limits::WORD_LENGTH),
        )
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
