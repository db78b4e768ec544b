//! What `metadata.spec` of a push say to Secrets Manager, as External Secrets Operator has it.

use keyferry_provider_aws_common::tags::{DESCRIPTION, Tags, wanted};
use keyferry_provider_core::{Blame, Error, Remote, filled};
use serde::Deserialize;

/// The key that a secret is encrypted with where nobody names one.
const KMS_KEY: &str = "alias/aws/secretsmanager";

const FIELDS: [&str; 7] =
    ["tags", "description", "secretPushFormat", "kmsKeyId", "kmsKeyID", "resourcePolicy", "replicationLocations"];

/// How a secret is to be.
#[derive(Debug)]
pub struct Options {
    /// Its tags, beside our mark; `None` where they are left as they are.
    pub tags: Option<Tags>,
    /// What it says of itself.
    pub description: String,
    /// Whether its value is written as text, rather than as bytes.
    pub is_text: bool,
    /// The key that it is encrypted with.
    pub kms_key: String,
    /// Who may use it, by a policy of its own.
    pub policy: Option<Policy>,
    /// The regions that it is copied to; `None` where they are left as they are.
    pub regions: Option<Vec<String>>,
}

/// Where a resource policy stands.
#[derive(Debug)]
pub struct Policy {
    /// Where.
    pub from: PolicyFrom,
    /// The object's name.
    pub name: String,
    /// The key inside it.
    pub key: String,
    /// Whether AWS is to refuse one that lets everybody in.
    pub block_public: Option<bool>,
}

/// The kinds of objects that a policy may stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum PolicyFrom {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    tags: Option<Tags>,
    description: Option<String>,
    secret_push_format: Option<String>,
    #[serde(alias = "kmsKeyID")]
    kms_key_id: Option<String>,
    resource_policy: Option<PolicySpec>,
    replication_locations: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PolicySpec {
    block_public_policy: Option<bool>,
    policy_source_ref: Option<PolicySource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicySource {
    kind: PolicyFrom,
    name: String,
    key: String,
}

impl Options {
    /// What a push says, and the defaults.
    pub fn of(remote: &Remote) -> Result<Self, Error> {
        let spec: Spec = remote.metadata_spec(&FIELDS)?;
        let refuse = |message: &str| Err(Error::invalid(format!("metadata: {message}")).with_blame(Blame::Request));
        let is_text = match spec.secret_push_format.as_deref() {
            None | Some("" | "binary") => false,
            Some("string") => true,
            Some(_) => return refuse("spec.secretPushFormat must be binary or string"),
        };
        let policy = match spec.resource_policy {
            None => None,
            Some(PolicySpec { block_public_policy, policy_source_ref: Some(PolicySource { kind, name, key }) }) => {
                Some(Policy { from: kind, name, key, block_public: block_public_policy })
            }
            Some(_) => return refuse("spec.resourcePolicy has no policySourceRef"),
        };
        Ok(Self {
            tags: wanted(spec.tags)?,
            description: filled(spec.description).unwrap_or_else(|| DESCRIPTION.to_owned()),
            is_text,
            kms_key: filled(spec.kms_key_id).unwrap_or_else(|| KMS_KEY.to_owned()),
            policy,
            regions: spec.replication_locations,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn options(spec: Value) -> Result<Options, Error> {
        let metadata = json!({"apiVersion": "kubernetes.external-secrets.io/v1alpha1", "kind": "PushSecretMetadata", "spec": spec});
        Options::of(&Remote { key: "app".into(), property: None, metadata: Some(metadata) })
    }

    #[test]
    fn defaults_are_those_of_external_secrets_operator() {
        let options = options(json!({})).unwrap();
        assert_eq!((options.is_text, options.kms_key.as_str()), (false, "alias/aws/secretsmanager"));
        assert_eq!(options.description, "secret 'managed-by:external-secrets'");
        assert!(options.tags.is_none() && options.policy.is_none() && options.regions.is_none());
    }

    #[test]
    fn everything_that_can_be_said() {
        let options = options(json!({
            "tags": {"a": "b"}, "description": "d", "secretPushFormat": "string", "kmsKeyId": "alias/k",
            "resourcePolicy": {
                "blockPublicPolicy": true, "policySourceRef": {"kind": "ConfigMap", "name": "n", "key": "k"},
            },
            "replicationLocations": ["eu-west-2"],
        }))
        .unwrap();
        let policy = options.policy.unwrap();
        assert_eq!((policy.from, policy.block_public), (PolicyFrom::ConfigMap, Some(true)));
        assert_eq!((options.is_text, options.description.as_str(), options.kms_key.as_str()), (true, "d", "alias/k"));
        assert_eq!(options.regions.unwrap(), ["eu-west-2"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (spec, word) in [
            (json!({"secretPushFormat": "yaml"}), "secretPushFormat must be"),
            (json!({"resourcePolicy": {}}), "no policySourceRef"),
            (json!({"resourcePolicy": {"policySourceRef": {"kind": "Pod", "name": "n", "key": "k"}}}), "types"),
            (json!({"tags": {"managed-by": "me"}}), "managed-by"),
            (json!({"secretType": "SecureString"}), "secretType"),
        ] {
            let error = options(spec).unwrap_err();
            assert!(error.message().contains(word), "{error}");
        }
    }
}
