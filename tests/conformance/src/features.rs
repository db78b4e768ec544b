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

const NOT_BUILT_YET: &[Feature] =
    &[Feature { name: "BeyondTrust's generator", used_by: |object| object["kind"] == BEYOND_TRUST }];

const BEYOND_TRUST: &str = "BeyondtrustWorkloadCredentialsDynamicSecret";

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
        assert_eq!(missing(&case(json!({"kind": BEYOND_TRUST}))).len(), 1);
        for kind in ["PushSecret", "ClusterPushSecret", "ClusterExternalSecret", "VaultDynamicSecret"] {
            assert!(missing(&case(json!({"kind": kind}))).is_empty(), "{kind}");
        }
    }
}
