//! The CustomResourceDefinitions.
//!
//! Modules, in reading order: [`node`] the vocabulary, [`shared`] what several schemas say, and the schemas:
//! [`external_secret`], [`push_secret`], [`store`] with the configuration of each [`provider`], [`copier`] the kinds that make
//! copies, and the [`specs`] of [`generators`];
//! [`prune`] says what they would not keep of an object.

mod node;
mod shared;
mod external_secret;
mod push_secret;
mod store;
mod provider;
mod copier;
mod specs;
mod generators;
mod prune;
#[cfg(test)]
mod tests;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::names;
pub use generators::generator_field;
use node::{Node, object, string};
pub use provider::provider_keys;
pub use prune::{kinds, pruned, schema};

/// The CRDs of every kind of External Secrets Operator: ExternalSecret, PushSecret and the stores first, then what makes
/// copies, then the generators.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![external_secret(), push_secret(), secret_store(), cluster_secret_store()];
    crds.extend(copier::crds());
    crds.extend(generators::crds());
    crds
}

/// Has the CRDs serve v1beta1 too, of the kinds that had it. Its fields are those of v1, so nothing is converted.
pub fn serve_v1beta1(crds: &mut [CustomResourceDefinition]) {
    for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        version.served |= version.name == names::OLD_VERSION;
    }
}

/// Whether objects of a kind are looked after: those of others are kept, and told that they are not.
pub fn is_built(group: &str, kind: &str) -> bool {
    match group {
        names::GROUP => matches!(
            kind,
            "ExternalSecret"
                | names::KIND_PUSH_SECRET
                | "SecretStore"
                | "ClusterSecretStore"
                | names::KIND_CLUSTER_EXTERNAL_SECRET
                | names::KIND_CLUSTER_PUSH_SECRET
        ),
        names::GENERATORS_GROUP => generators::is_built(kind),
        _ => false,
    }
}

/// Name of the file in `crds/yaml` that holds a CRD.
pub fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural)
}

fn external_secret() -> CustomResourceDefinition {
    let names = Names { kind: "ExternalSecret", plural: "externalsecrets", short: Some("es"), scope: NAMESPACED };
    let columns = json!([
        {"name": "StoreType", "type": "string", "jsonPath": ".spec.secretStoreRef.kind"},
        {"name": "Store", "type": "string", "jsonPath": ".spec.secretStoreRef.name"},
        {"name": "Refresh Interval", "type": "string", "jsonPath": ".spec.refreshInterval"},
        {"name": "Status", "type": "string", "jsonPath": READY_REASON},
        {"name": "Ready", "type": "string", "jsonPath": READY_STATUS},
        {"name": "Last Sync", "type": "date", "jsonPath": ".status.refreshTime"},
    ]);
    let selectable =
        [".spec.secretStoreRef.name", ".spec.secretStoreRef.kind", ".spec.target.name", ".spec.refreshInterval"];
    let description = "Fetches values from a store, and keeps a Secret (or another object) equal to them.";
    let schema = root(description, external_secret::spec(), external_secret::status());
    names.crd(schema, columns, &selectable)
}

fn push_secret() -> CustomResourceDefinition {
    let crd = Names { kind: names::KIND_PUSH_SECRET, plural: "pushsecrets", short: Some("ps"), scope: NAMESPACED };
    let schema = root("Writes what Secrets hold into stores.", push_secret::spec(), push_secret::status());
    let columns = json!([
        {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Status", "type": "string", "jsonPath": READY_REASON},
        {"name": "Last Sync", "type": "date", "jsonPath": ".status.refreshTime"},
    ]);
    let current = with_columns(version(names::PUSH_VERSION, schema), columns);
    crd.of_group(names::GROUP, &[names::CATEGORY], vec![current])
}

fn secret_store() -> CustomResourceDefinition {
    let names = Names { kind: "SecretStore", plural: "secretstores", short: Some("ss"), scope: NAMESPACED };
    let description = "A place where secrets are kept, for the ExternalSecrets of its namespace.";
    names.crd(root(description, store::spec(), store::status()), store_columns(), &[])
}

fn cluster_secret_store() -> CustomResourceDefinition {
    let names = Names { kind: "ClusterSecretStore", plural: "clustersecretstores", short: Some("css"), scope: CLUSTER };
    let description = "A place where secrets are kept, for the namespaces that its conditions let in.";
    names.crd(root(description, store::spec(), store::status()), store_columns(), &[])
}

const NAMESPACED: &str = "Namespaced";
const CLUSTER: &str = "Cluster";

const READY_REASON: &str = r#".status.conditions[?(@.type=="Ready")].reason"#;
const READY_STATUS: &str = r#".status.conditions[?(@.type=="Ready")].status"#;

fn store_columns() -> Value {
    json!([
        {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Status", "type": "string", "jsonPath": READY_REASON},
        {"name": "Capabilities", "type": "string", "jsonPath": ".status.capabilities"},
        {"name": "Ready", "type": "string", "jsonPath": READY_STATUS},
    ])
}

/// The whole object.
///
/// Rules belong on `spec` or below, never here: the API server skips a rule on update where the node that carries it is
/// unchanged, and that is what lets an object older than the rule get its status, lose its finalizers and go. The one
/// rule that must stand here (a missing spec has no node) therefore looks at the old object itself.
fn root(description: &str, spec: Node, status: Node) -> Node {
    without_rule(description, spec).field("status", status).rule_with_old(
        "has(self.spec) || (oldSelf.hasValue() && !has(oldSelf.value().spec))",
        "spec is missing: say what you want in it",
    )
}

/// The whole object, where it may be without a spec, and has no status.
fn without_rule(description: &str, spec: Node) -> Node {
    object(description)
        .field("apiVersion", string("Group and version of this object."))
        .field("kind", string("Kind of this object."))
        .field("metadata", Node::metadata())
        .field("spec", spec)
}

struct Names {
    kind: &'static str,
    plural: &'static str,
    short: Option<&'static str>,
    scope: &'static str,
}

impl Names {
    /// A kind of `external-secrets.io`.
    fn crd(&self, schema: Node, columns: Value, selectable: &[&str]) -> CustomResourceDefinition {
        let selectable: Vec<Value> = selectable.iter().map(|path| json!({"jsonPath": path})).collect();
        let mut current = version(names::VERSION, schema);
        current["additionalPrinterColumns"] = columns;
        if !selectable.is_empty() {
            current["selectableFields"] = Value::Array(selectable);
        }
        let old = old_version(&current);
        self.of_group(names::GROUP, &[names::CATEGORY], vec![current, old])
    }

    fn of_group(&self, group: &str, categories: &[&str], versions: Vec<Value>) -> CustomResourceDefinition {
        let mut crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": format!("{}.{group}", self.plural),
                "labels": {names::LABEL_COMPONENT: names::COMPONENT_CONTROLLER},
            },
            "spec": {
                "group": group,
                "scope": self.scope,
                "names": {
                    "kind": self.kind,
                    "listKind": format!("{}List", self.kind),
                    "plural": self.plural,
                    "singular": self.kind.to_lowercase(),
                    "categories": categories,
                },
                "conversion": {"strategy": "None"},
                "versions": versions,
            },
        });
        if let Some(short) = self.short {
            crd["spec"]["names"]["shortNames"] = json!([short]);
        }
        serde_json::from_value(crd).expect("the schema uses only what the type of a CRD knows")
    }
}

/// The version before `current`, of the same fields. A cluster that ran older releases names it in
/// `status.storedVersions`, and refuses a CRD without it. Whoever has its objects in manifests only may have it served.
fn old_version(current: &Value) -> Value {
    let mut old = current.clone();
    old["name"] = json!(names::OLD_VERSION);
    old["served"] = json!(false);
    old["storage"] = json!(false);
    old["deprecated"] = json!(true);
    // Whoever asks what a field means asks v1, and client-side apply takes a CRD of so many bytes and no more.
    undescribe(&mut old["schema"]["openAPIV3Schema"]);
    // Schemas that are all alike the API server takes for one of the whole CRD, which has no fields to select by.
    old["schema"]["openAPIV3Schema"]["description"] = json!("An older version, of the same fields: use v1.");
    // Fields to select by are indexed for the version that is stored.
    old.as_object_mut().map(|old| old.remove("selectableFields"));
    old
}

/// Takes the descriptions out of a schema. A field may have this name, and is an object then.
fn undescribe(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.retain(|name, field| name != "description" || !field.is_string());
            fields.values_mut().for_each(undescribe);
        }
        Value::Array(items) => items.iter_mut().for_each(undescribe),
        _ => {}
    }
}

fn with_columns(mut version: Value, columns: Value) -> Value {
    version["additionalPrinterColumns"] = columns;
    version
}

/// The version that is served and stored.
fn version(name: &str, schema: Node) -> Value {
    json!({
        "name": name,
        "served": true,
        "storage": true,
        "schema": {"openAPIV3Schema": schema.into_json()},
        "subresources": {"status": {}},
    })
}
