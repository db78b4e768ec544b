//! What an object tells besides what it is for: whom it needs, what of it would be lost, and who writes it how.

use std::collections::BTreeSet;

use keyferry_crds::names;
use kube::core::DynamicObject;
use serde_json::Value;

use super::{full_name, text};
use crate::facts::{Cluster, Crd, Named, Need};
use crate::{kinds, lost};

impl Cluster {
    /// Notes what of an object keyferry's CRD does not know, and whether somebody writes it in the old version.
    pub(super) fn told_by(&mut self, crd: &Crd, object: &DynamicObject) {
        let schema = kinds::find(&crd.group, &crd.kind).and_then(|kind| kind.schema.as_ref());
        for path in schema.into_iter().flat_map(|schema| lost::fields(schema, &object.data)) {
            self.lost.entry((crd.kind.clone(), path)).or_default().add(|| full_name(&object.metadata));
        }
        if let Some(who) = old_writer(object) {
            let names = self.old_writers.entry(crd.kind.clone()).or_default();
            names.add(|| format!("{} (by {who})", full_name(&object.metadata)));
        }
    }
}

/// Who writes the spec of an object in the old version: a manifest that says so is applied by somebody.
fn old_writer(object: &DynamicObject) -> Option<&str> {
    let old = format!("{}/{}", names::GROUP, names::OLD_VERSION);
    let mut managers = object.metadata.managed_fields.iter().flatten();
    let found = managers.find(|entry| {
        let writes_spec = entry.fields_v1.as_ref().is_some_and(|fields| fields.0.get("f:spec").is_some());
        entry.api_version.as_deref() == Some(&old) && entry.subresource.is_none() && writes_spec
    })?;
    found.manager.as_deref()
}

/// Keys under which specs name a ServiceAccount, whatever the provider.
const ACCOUNTS: [&str; 2] = ["serviceAccountRef", "serviceAccount"];

/// What a store or a generator names.
pub fn need(kind: &str, object: &DynamicObject) -> Need {
    let mut need = Need { by: format!("{kind} {}", full_name(&object.metadata)), ..Default::default() };
    // An object in a namespace can name nothing of another.
    let own = object.metadata.namespace.as_deref();
    if let Some(spec) = object.data.get("spec") {
        walk(spec, own, &mut need);
    }
    need
}

fn walk(value: &Value, own: Option<&str>, need: &mut Need) {
    match value {
        Value::Object(fields) => {
            need.names.extend(named(value, own));
            for (key, value) in fields {
                if ACCOUNTS.contains(&key.as_str()) {
                    need.accounts.extend(named(value, own));
                }
                walk(value, own, need);
            }
        }
        Value::Array(entries) => entries.iter().for_each(|entry| walk(entry, own, need)),
        _ => {}
    }
}

fn named(value: &Value, own: Option<&str>) -> BTreeSet<Named> {
    let name = text(value, "/name");
    let said = Some(text(value, "/namespace")).filter(|namespace| !namespace.is_empty());
    let namespace = own.or(said).map(str::to_owned);
    Some(Named { namespace, name: name.to_owned() }).filter(|_| !name.is_empty()).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn accounts(kind: &str, metadata: Value, spec: Value) -> Vec<String> {
        let object = json!({"apiVersion": "external-secrets.io/v1", "kind": kind, "metadata": metadata, "spec": spec});
        let need = need(kind, &self::object(object));
        need.accounts.into_iter().map(|a| format!("{}/{}", a.namespace.unwrap_or_default(), a.name)).collect()
    }

    #[test]
    fn accounts_wherever_they_are_named() {
        let account = json!({"name": "eso", "namespace": "ns"});
        for provider in [
            json!({"vault": {"auth": {"kubernetes": {"serviceAccountRef": account}}}}),
            json!({"vault": {"auth": {"jwt": {"kubernetesServiceAccountToken": {"serviceAccountRef": account}}}}}),
            json!({"aws": {"auth": {"jwt": {"serviceAccountRef": account}}}}),
            json!({"gcpsm": {"auth": {"workloadIdentity": {"serviceAccountRef": account}}}}),
            json!({"azurekv": {"serviceAccountRef": account}}),
            json!({"kubernetes": {"auth": {"serviceAccount": account}}}),
            json!({"new": {"list": [{"deep": {"serviceAccountRef": account}}]}}),
        ] {
            let spec = json!({"provider": provider});
            assert_eq!(accounts("ClusterSecretStore", json!({"name": "x"}), spec.clone()), ["ns/eso"], "{spec}");
            // What a namespaced store says of another namespace counts for nothing.
            assert_eq!(accounts("SecretStore", json!({"name": "x", "namespace": "a"}), spec), ["a/eso"]);
        }
        let referent = json!({"provider": {"aws": {"auth": {"jwt": {"serviceAccountRef": {"name": "eso"}}}}}});
        assert_eq!(accounts("ClusterSecretStore", json!({"name": "x"}), referent), ["/eso"]);
        let none = json!({"provider": {"onepasswordSDK": {"auth": {"serviceAccountSecretRef": {"name": "t"}}}}});
        assert_eq!(accounts("ClusterSecretStore", json!({"name": "x"}), none), [] as [&str; 0]);
        let generator = json!({"generator": {"ecrAuthorizationTokenSpec": {"auth": {"jwt": {"serviceAccountRef": {"name": "e", "namespace": "n"}}}}}});
        assert_eq!(accounts("ClusterGenerator", json!({"name": "x"}), generator), ["n/e"]);
    }

    #[test]
    fn who_writes_in_the_old_version() {
        let written = |entries: Value| {
            let object = object(json!({
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
                "metadata": {"name": "a", "namespace": "b", "managedFields": entries}, "spec": {},
            }));
            old_writer(&object).map(str::to_owned)
        };
        let entry = |version: &str, manager: &str, fields: Value| json!({"apiVersion": format!("external-secrets.io/{version}"), "manager": manager, "fieldsType": "FieldsV1", "fieldsV1": fields});
        let spec = json!({"f:spec": {}});
        assert_eq!(written(json!([entry("v1", "kubectl", spec.clone())])), None);
        assert_eq!(written(json!([entry("v1beta1", "argocd", spec)])).as_deref(), Some("argocd"));
        assert_eq!(written(json!([entry("v1beta1", "external-secrets", json!({"f:metadata": {}}))])), None);
    }
}
