//! The kinds of `external-secrets.io` that are not built: PushSecret. Its spec is open, so that nothing is lost until it
//! is; its status is what External Secrets Operator writes, and holds the condition that says so.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use super::node::*;
use super::shared::conditions;
use super::{NAMESPACED, Names, READY_REASON, version, without_rule};
use crate::names;

/// The kinds, and the version of each that is stored.
pub(super) const KINDS: &[(&str, &str)] = &[(names::KIND_PUSH_SECRET, names::PUSH_VERSION)];

pub(super) fn crds() -> Vec<CustomResourceDefinition> {
    vec![push_secret()]
}

fn spec(kind: &str) -> Node {
    anything(&format!("What to do: see External Secrets Operator's {kind}; it is not built here yet."))
}

fn push_secret() -> CustomResourceDefinition {
    let kind = names::KIND_PUSH_SECRET;
    let names = Names { kind, plural: "pushsecrets", short: Some("ps"), scope: NAMESPACED };
    let pushed = map("By the place that it went to.", anything("The entry of the spec that was pushed."));
    let status = object("What the operator last saw and did.")
        .field("refreshTime", time("When it was last pushed."))
        .field("syncedResourceVersion", string("Which version of this object that was."))
        .field("syncedPushSecrets", map("What was pushed, by store.", pushed))
        .field("conditions", conditions(string("What the statement is about.")));
    let schema = without_rule("Writes what Secrets hold into stores.", spec(kind)).field("status", status);
    let columns = json!([
        {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Status", "type": "string", "jsonPath": READY_REASON},
        {"name": "Last Sync", "type": "date", "jsonPath": ".status.refreshTime"},
    ]);
    crd(&names, vec![with_columns(version(names::PUSH_VERSION, schema), columns)])
}

fn with_columns(mut version: Value, columns: Value) -> Value {
    version["additionalPrinterColumns"] = columns;
    version
}

fn crd(names: &Names, versions: Vec<Value>) -> CustomResourceDefinition {
    names.of_group(names::GROUP, &[names::CATEGORY], versions)
}
