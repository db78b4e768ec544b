//! What is not built yet. A case that uses one of these is listed with the reason, and not run.
//!
//! Whoever builds a feature deletes its line here: nothing else decides what runs.

use serde_json::Value;

use crate::case::Case;

/// A feature, and whether an object uses it.
struct Feature {
    name: &'static str,
    used_by: fn(&Value) -> bool,
}

const NOT_BUILT_YET: &[Feature] = &[
    Feature {
        name: "generators other than Fake, Password, UUID and ClusterGenerator",
        used_by: |object| {
            api_group(object) == GENERATORS && !GENERATOR_KINDS.iter().any(|kind| object["kind"] == **kind)
        },
    },
    Feature { name: "PushSecrets", used_by: |object| object["kind"] == "PushSecret" },
];

const GENERATORS: &str = "generators.external-secrets.io";
const GENERATOR_KINDS: &[&str] = &["Fake", "Password", "UUID", "ClusterGenerator"];

/// Whether a field of a status is told otherwise than External Secrets Operator tells it, since a feature is not built yet.
/// It says what its clients can do; we say what can be done today, and nothing can be pushed.
pub fn is_told_truly(path: &str, expected: &str, got: &str) -> bool {
    path.ends_with(".capabilities") && (expected, got) == ("ReadWrite", "ReadOnly")
}

/// The features of a case that are not built yet; empty where it can be run.
pub fn missing(case: &Case) -> Vec<&'static str> {
    let mut missing: Vec<&str> = Vec::new();
    for feature in NOT_BUILT_YET {
        if case.objects().any(feature.used_by) && !missing.contains(&feature.name) {
            missing.push(feature.name);
        }
    }
    missing
}

fn api_group(object: &Value) -> &str {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn case(object: Value) -> Case {
        let step = json!({"apply": [object], "expect": {}});
        serde_json::from_value(json!({"namespace": "n", "steps": [step]})).unwrap()
    }

    #[test]
    fn what_is_built_is_run() {
        let es = json!({"kind": "ExternalSecret", "spec": {"target": {"name": "t"}, "dataFrom": [{"extract": {}}]}});
        assert!(missing(&case(es)).is_empty());
        assert!(missing(&case(json!({"kind": "SecretStore", "spec": {"provider": {"vault": {}}}}))).is_empty());
    }

    #[test]
    fn what_is_not_is_named_once() {
        let mfa = json!({"kind": "MFA", "apiVersion": "generators.external-secrets.io/v1alpha1"});
        assert_eq!(missing(&case(mfa)).len(), 1);
        assert_eq!(missing(&case(json!({"kind": "PushSecret"}))), ["PushSecrets"]);
    }
}
