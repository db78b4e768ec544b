//! What External Secrets Operator leaves behind in a cluster, and how to lay it down in another.
//!
//! [`Situation`] is one ExternalSecret as it stands with its store and target; [`variants`](Situation::variants) are
//! others made from it; [`lay`] writes one, each part under its recorded field manager; [`eso_crds`] is a schema without
//! our additions.

mod situation;
mod lay;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

pub use lay::{Laid, api, lay, managers};
pub use situation::{Situation, situations};

/// The CRDs as a release without our rules has them: none in CEL, and unknown fields are dropped.
pub fn eso_crds() -> Vec<CustomResourceDefinition> {
    fn strip(node: &mut Value) {
        match node {
            Value::Object(fields) => {
                fields.remove("x-kubernetes-validations");
                if fields.contains_key("properties") {
                    fields.remove("x-kubernetes-preserve-unknown-fields");
                }
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let stripped = keyferry_crds::crds().into_iter().map(|crd| {
        let mut crd = serde_json::to_value(crd).expect("plain data");
        strip(&mut crd);
        serde_json::from_value(crd).expect("it is a CRD still")
    });
    stripped.collect()
}
