//! Generators: with whose identity they log in, where they lead, and what of them keyferry refuses.

use std::collections::BTreeSet;

use keyferry_crds::generator_field;
use kube::core::DynamicObject;
use serde_json::Value;

use super::objects::{identity, local_hosts};
use super::{full_name, text};
use crate::facts::{Generator, Identity};
use crate::refused::refusals;

/// A generator, or what a ClusterGenerator holds.
pub fn generator(kind: &str, object: &DynamicObject) -> Generator {
    let own = object.data.get("spec").unwrap_or(&Value::Null);
    let (held, spec) = match kind {
        "ClusterGenerator" => {
            let held = text(own, "/kind");
            let field = generator_field(held).unwrap_or_default();
            (held, own.pointer(&format!("/generator/{field}")).unwrap_or(&Value::Null))
        }
        kind => (kind, own),
    };
    Generator {
        name: format!("{kind} {}", full_name(&object.metadata)),
        class: text(spec, "/controller").to_owned(),
        identity: identity_of(held, spec),
        // What a Fake holds is values.
        local: if held == "Fake" { BTreeSet::new() } else { local_hosts(spec) },
        refused: refusals(held, spec),
    }
}

fn identity_of(kind: &str, spec: &Value) -> Identity {
    let is_set = |pointer: &str| spec.pointer(pointer).is_some_and(|value| !value.is_null());
    match kind {
        "VaultDynamicSecret" => identity("vault", spec.get("provider").unwrap_or(&Value::Null)),
        "ECRAuthorizationToken" | "STSSessionToken" => identity("aws", spec),
        "GCRAccessToken" => identity("gcpsm", spec),
        "ACRAccessToken"
            if is_set("/auth/managedIdentity")
                || is_set("/auth/workloadIdentity") && !is_set("/auth/workloadIdentity/serviceAccountRef") =>
        {
            let registry = text(spec, "/registry").to_ascii_lowercase();
            let is_azures = [".azurecr.io", ".azurecr.us", ".azurecr.cn"].iter().any(|end| registry.ends_with(end));
            if is_azures { Identity::Ambient } else { Identity::AmbientElsewhere }
        }
        _ => Identity::Own,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: &str, spec: Value) -> Generator {
        let metadata = match kind {
            "ClusterGenerator" => json!({"name": "it"}),
            _ => json!({"name": "it", "namespace": "a"}),
        };
        let version = "generators.external-secrets.io/v1alpha1";
        let object = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
        generator(kind, &serde_json::from_value(object).unwrap())
    }

    #[test]
    fn with_whose_identity_a_generator_logs_in_by_itself_or_held() {
        let vault = |auth: Value| json!({"path": "p", "provider": {"server": "https://v", "auth": auth}});
        let acr = |registry: &str, auth: Value| json!({"registry": registry, "auth": auth});
        for (kind, spec, expected) in [
            ("VaultDynamicSecret", vault(json!({"iam": {"vaultRole": "r"}})), Identity::AmbientElsewhere),
            ("VaultDynamicSecret", vault(json!({"gcp": {"role": "r"}})), Identity::AmbientElsewhere),
            ("VaultDynamicSecret", vault(json!({"iam": {"jwt": {}}})), Identity::Own),
            ("VaultDynamicSecret", vault(json!({"kubernetes": {"role": "r"}})), Identity::ControllerToken),
            ("VaultDynamicSecret", vault(json!({"tokenSecretRef": {"name": "t"}})), Identity::Own),
            ("ECRAuthorizationToken", json!({"region": "r"}), Identity::Ambient),
            ("ECRAuthorizationToken", json!({"auth": {"jwt": {}}}), Identity::Own),
            ("STSSessionToken", json!({"auth": {"secretRef": {}}}), Identity::Own),
            ("GCRAccessToken", json!({"projectID": "p"}), Identity::Ambient),
            ("GCRAccessToken", json!({"auth": {"secretRef": {}}}), Identity::Own),
            ("ACRAccessToken", acr("a.azurecr.io", json!({"managedIdentity": {}})), Identity::Ambient),
            ("ACRAccessToken", acr("registry.example.com", json!({"managedIdentity": {}})), Identity::AmbientElsewhere),
            ("ACRAccessToken", acr("a.azurecr.io", json!({"servicePrincipal": {}})), Identity::Own),
            ("UUID", json!({}), Identity::Own),
        ] {
            assert_eq!(read(kind, spec.clone()).identity, expected, "{kind} {spec}");
            let held = json!({"kind": kind, "generator": {generator_field(kind).unwrap(): spec}});
            let cluster = read("ClusterGenerator", held);
            assert_eq!((cluster.identity, cluster.name.as_str()), (expected, "ClusterGenerator it"), "{kind} {spec}");
        }
    }

    #[test]
    fn what_is_refused_is_read_of_what_a_cluster_generator_holds_too() {
        let spec = json!({"secretKeys": ["a", "a"]});
        let held = json!({"kind": "Password", "generator": {"passwordSpec": spec}});
        let found = [read("Password", spec), read("ClusterGenerator", held)].map(|read| read.refused);
        assert_eq!(found, [["the same name twice in secretKeys"]; 2]);
    }

    #[test]
    fn where_a_generator_leads() {
        let local = |kind: &str, spec: Value| Vec::from_iter(read(kind, spec).local);
        let url = json!({"provider": {"server": "http://127.0.0.1:8200"}, "controller": "blue"});
        assert_eq!(read("VaultDynamicSecret", url.clone()).class, "blue");
        assert_eq!(local("VaultDynamicSecret", url), ["127.0.0.1"]);
        assert_eq!(local("Fake", json!({"data": {"url": "http://localhost"}})), [""; 0]);
        let held = json!({"kind": "Webhook", "generator": {"webhookSpec": {"url": "http://localhost"}}});
        assert_eq!(local("ClusterGenerator", held), ["localhost"]);
    }
}
