//! What an API server would not keep of an object: fields that its schema doesn't name. Strict clients refuse them,
//! others lose them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

/// Schemas by group, kind and version.
static SCHEMAS: LazyLock<BTreeMap<(String, String, String), Value>> = LazyLock::new(|| {
    let versions = super::crds().into_iter().flat_map(|crd| {
        let (group, kind) = (crd.spec.group, crd.spec.names.kind);
        crd.spec.versions.into_iter().map(move |version| {
            let schema = version.schema.and_then(|schema| schema.open_api_v3_schema);
            let schema = serde_json::to_value(schema).expect("a schema is plain data");
            ((group.clone(), kind.clone(), version.name), schema)
        })
    });
    versions.collect()
});

/// The schema of the objects of a kind, as a CRD has it; `None` where none has.
pub fn schema(group: &str, kind: &str, version: &str) -> Option<&'static Value> {
    SCHEMAS.get(&(group.to_owned(), kind.to_owned(), version.to_owned()))
}

/// The kinds and versions of a group that there are schemas of.
pub fn kinds(group: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    SCHEMAS.keys().filter(move |(of, ..)| of == group).map(|(_, kind, version)| (kind.as_str(), version.as_str()))
}

/// The paths of the fields of an object that its CRD would not keep, such as `spec.data[0].remoteRef.propery`, in
/// order. Metadata is the API server's own. An object of another kind, or of a version that no CRD has, has none.
pub fn pruned(object: &Value) -> Vec<String> {
    let word = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let api_version = word("apiVersion");
    let Some((group, version)) = api_version.split_once('/') else { return Vec::new() };
    let Some(schema) = SCHEMAS.get(&(group.to_owned(), word("kind"), version.to_owned())) else { return Vec::new() };
    let mut paths = Vec::new();
    for (name, value) in object.as_object().into_iter().flatten().filter(|(name, _)| *name != "metadata") {
        field(schema, name, value, "", &mut paths);
    }
    paths
}

fn field(schema: &Value, name: &str, value: &Value, parent: &str, paths: &mut Vec<String>) {
    let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
    match (schema["properties"].get(name), &schema["additionalProperties"]) {
        (Some(schema), _) => walk(schema, value, &path, paths),
        (None, of_all @ Value::Object(_)) => walk(of_all, value, &path, paths),
        (None, _) if schema["x-kubernetes-preserve-unknown-fields"] == true => {}
        (None, _) => paths.push(path),
    }
}

fn walk(schema: &Value, value: &Value, path: &str, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                field(schema, name, value, path, paths);
            }
        }
        Value::Array(items) => {
            // Nothing is said of items where all is kept.
            let Some(of_item) = schema.get("items") else { return };
            for (n, item) in items.iter().enumerate() {
                walk(of_item, item, &format!("{path}[{n}]"), paths);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(kind: &str, version: &str, spec: Value) -> Vec<String> {
        pruned(&json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a", "new": 1}, "spec": spec}))
    }

    #[test]
    fn fields_that_no_schema_names_are_found_wherever_they_stand() {
        let spec = json!({
            "refreshIntervall": "1h",
            "secretStoreRef": {"name": "s", "namespace": "n"},
            "target": {
                "name": "t", "labels": {},
                "template": {
                    "data": {"any": "v"}, "metadata": {"labels": {"any.thing/at-all": "v"}, "name": "n"},
                    "templateFrom": [{"secret": {"name": "s", "items": [{"key": "k", "as": 1}]}}, {"literal": "x"}],
                },
            },
            "data": [
                {"secretKey": "a", "remoteRef": {"key": "k", "propery": "p"}},
                {"secretKey": "b", "remoteRef": {"key": "k"}, "new": null},
            ],
            "dataFrom": [{"find": {"tags": {"any": "v"}, "names": {}}, "rewrite": [{"regex": {}}]}],
        });
        let found = [
            "spec.dataFrom[0].find.names",
            "spec.dataFrom[0].rewrite[0].regex",
            "spec.data[0].remoteRef.propery",
            "spec.data[1].new",
            "spec.refreshIntervall",
            "spec.secretStoreRef.namespace",
            "spec.target.labels",
            "spec.target.template.metadata.name",
            "spec.target.template.templateFrom[0].secret.items[0].as",
        ];
        for version in ["external-secrets.io/v1", "external-secrets.io/v1beta1"] {
            let mut pruned = of("ExternalSecret", version, spec.clone());
            pruned.sort();
            assert_eq!(pruned, found, "{version}");
        }
        let whole = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {}, "data": {}, "status": {"new": 1},
        });
        assert_eq!(pruned(&whole), ["data", "status.new"]);
    }

    #[test]
    fn providers_that_are_not_built_are_kept_whole_and_those_that_are_are_not() {
        let new = json!({"deep": [{"list": [1]}]});
        let v1 = "external-secrets.io/v1";
        for kind in ["SecretStore", "ClusterSecretStore"] {
            let kept = json!({"previder": new, "brandNew": new, "vault": {"server": "s", "headers": {"any": "v"}}});
            assert_eq!(of(kind, v1, json!({"provider": kept})), Vec::<String>::new());
            let lost = json!({"vault": {"serverr": "s", "auth": {"kubernetes": {"role": "r", "serviceAccount": "x"}}}});
            let mut pruned = of(kind, v1, json!({"provider": lost, "retries": 1}));
            pruned.sort();
            let found =
                ["spec.provider.vault.auth.kubernetes.serviceAccount", "spec.provider.vault.serverr", "spec.retries"];
            assert_eq!(pruned, found);
        }
    }

    #[test]
    fn kinds_that_are_not_built_are_kept_whole() {
        let new = json!({"deep": [{"list": [1]}]});
        for (kind, version) in [
            ("BeyondtrustWorkloadCredentialsDynamicSecret", "generators.external-secrets.io/v1alpha1"),
            ("Unknown", "external-secrets.io/v1"),
            ("ExternalSecret", "external-secrets.io/v7"),
            ("ConfigMap", "v1"),
        ] {
            assert_eq!(of(kind, version, new.clone()), Vec::<String>::new(), "{kind}");
        }
        let generators = "generators.external-secrets.io/v1alpha1";
        let state = json!({"resource": new, "state": new, "new": 1});
        assert_eq!(of("GeneratorState", generators, state), ["spec.new"]);
        assert_eq!(of("Password", generators, json!({"length": 1, "prefix": "a", "lenght": 1})), ["spec.lenght"]);
        let held = json!({"kind": "BeyondtrustWorkloadCredentialsDynamicSecret", "generator": {"beyondtrustWorkloadCredentialsDynamicSecretSpec": new, "passwordSpec": {"lenght": 1}}});
        assert_eq!(of("ClusterGenerator", generators, held), ["spec.generator.passwordSpec.lenght"]);
    }
}
