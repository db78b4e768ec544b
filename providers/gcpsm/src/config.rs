//! From `spec.provider.gcpsm` to plain data that is known to make sense.

use keyferry_provider_core::{Error, filled};
use keyferry_provider_gcp_common::{Auth, AuthSpec, Identity};
use serde::Deserialize;

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// The project, by its id or its number; `None` is that of the operator's machine.
    pub project: Option<String>,
    /// Where secrets are, where they are in one location only: a label of a host name, and nothing else.
    pub location: Option<String>,
    /// Whether a last version that is disabled or destroyed stands for the last that is enabled.
    pub takes_enabled: bool,
    /// How to log in.
    pub auth: Auth,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "projectID")]
    project: Option<String>,
    location: Option<String>,
    secret_version_selection_policy: Option<String>,
    auth: Option<AuthSpec>,
}

impl Config {
    /// Checks a spec as a whole; every refusal names the field.
    pub fn new(spec: &serde_json::Value) -> Result<Self, Error> {
        // The parser's own error would quote what it stumbles over.
        let spec = Spec::deserialize(spec).map_err(|_| {
            Error::invalid(
                "spec.provider.gcpsm does not have the form of a store of Google Secret Manager: check the types of its \
                 fields",
            )
        })?;
        let takes_enabled = match spec.secret_version_selection_policy.as_deref() {
            None | Some("" | "LatestOrFail") => false,
            Some("LatestOrFetch") => true,
            Some(_) => {
                return Err(Error::invalid(
                    "spec.provider.gcpsm.secretVersionSelectionPolicy must be LatestOrFail or LatestOrFetch",
                ));
            }
        };
        let auth = Auth::new(spec.auth, "spec.provider.gcpsm.auth")?;
        Ok(Self { project: project(spec.project, &auth)?, location: location(spec.location)?, takes_enabled, auth })
    }
}

/// Whoever has a key of somebody says where the secrets are: the machine we run on may be nobody's.
fn project(text: Option<String>, auth: &Auth) -> Result<Option<String>, Error> {
    let of_cluster = match &auth.identity {
        Identity::Cluster(cluster) => cluster.project.clone(),
        Identity::Key(_) | Identity::Federation(_) | Identity::Operator => None,
    };
    let Some(project) = filled(text).or(of_cluster) else {
        return match &auth.identity {
            Identity::Key(_) => {
                Err(Error::invalid("spec.provider.gcpsm.projectID is empty, and a login by key needs it"))
            }
            Identity::Cluster(_) | Identity::Federation(_) | Identity::Operator => Ok(None),
        };
    };
    // Ids of domains have a colon and dots; a number is digits.
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    if project.bytes().all(fits) && project.len() <= 128 && project.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Ok(Some(project))
    } else {
        Err(Error::invalid("spec.provider.gcpsm.projectID is neither the id nor the number of a project"))
    }
}

/// It becomes part of the host that calls go to: anything but a label could lead them elsewhere.
fn location(text: Option<String>) -> Result<Option<String>, Error> {
    let Some(location) = filled(text) else { return Ok(None) };
    let is_label = location.len() <= 63
        && location.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !location.starts_with('-')
        && !location.ends_with('-');
    if is_label {
        Ok(Some(location))
    } else {
        Err(Error::invalid("spec.provider.gcpsm.location is not the name of a location, such as europe-west1"))
    }
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::{Blame, ErrorKind};
    use serde_json::{Value, json};

    use super::*;

    fn read(spec: Value) -> Result<Config, Error> {
        Config::new(&spec)
    }

    #[test]
    fn defaults_and_nulls() {
        let nulls = json!({"projectID": null, "location": null, "secretVersionSelectionPolicy": null, "auth": null});
        for spec in [json!({}), nulls, json!({"projectID": "", "location": "", "auth": {"secretRef": null}})] {
            let config = read(spec).unwrap();
            assert!(config.project.is_none() && config.location.is_none() && !config.takes_enabled);
            assert!(matches!(config.auth.identity, Identity::Operator));
        }
    }

    #[test]
    fn projects_go_by_id_or_number_and_that_of_the_cluster_is_the_one_where_none_is_named() {
        for project in ["p-1", "123456789012", "example.com:p-1"] {
            assert_eq!(read(json!({"projectID": project})).unwrap().project.as_deref(), Some(project));
        }
        let cluster = json!({"workloadIdentity": {"serviceAccountRef": {"name": "a"}, "clusterProjectID": "p-2"}});
        assert_eq!(read(json!({"auth": cluster})).unwrap().project.as_deref(), Some("p-2"));
        assert_eq!(read(json!({"auth": cluster, "projectID": "p-1"})).unwrap().project.as_deref(), Some("p-1"));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field_and_not_by_its_value() {
        let key = json!({"secretRef": {"secretAccessKeySecretRef": {"name": "n", "key": "k"}}});
        for (spec, words) in [
            (json!("canary"), "does not have the form"),
            (json!({"projectID": ["canary"]}), "does not have the form"),
            (json!({"auth": key}), "projectID is empty"),
            (json!({"projectID": "p/secrets/canary"}), "projectID is neither"),
            (json!({"projectID": "../canary"}), "projectID is neither"),
            (json!({"location": "canary.example.com/"}), "location is not"),
            (json!({"location": "-canary"}), "location is not"),
            (json!({"secretVersionSelectionPolicy": "canary"}), "LatestOrFail or LatestOrFetch"),
            (json!({"auth": {"secretRef": {}}, "projectID": "p"}), "auth.secretRef needs"),
        ] {
            let error = read(spec).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Spec));
            assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
        }
    }
}
