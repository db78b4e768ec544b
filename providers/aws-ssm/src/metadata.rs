//! What `metadata.spec` of a push say to Parameter Store, as External Secrets Operator has it.

use aws_sdk_ssm::types::{ParameterTier, ParameterType};
use keyferry_provider_aws_common::tags::{DESCRIPTION, Tags, wanted};
use keyferry_provider_core::{Blame, Error, Remote, filled};
use serde::Deserialize;

/// The key that a parameter is encrypted with where nobody names one.
const KMS_KEY: &str = "alias/aws/ssm";

const FIELDS: [&str; 7] = ["secretType", "kmsKeyID", "kmsKeyId", "tier", "encodeAsDecoded", "tags", "description"];

/// How a parameter is to be.
#[derive(Debug)]
pub struct Options {
    /// Whether it is encrypted, and whether it is a list.
    pub kind: ParameterType,
    /// The key that it is encrypted with, where it is.
    pub kms_key: Option<String>,
    /// Its tier, where it is not the standard one.
    pub tier: Option<ParameterTier>,
    /// Its policies, which tell when it ends.
    pub policies: Option<String>,
    /// Whether several values are written as texts, rather than in base64.
    pub as_texts: bool,
    /// Its tags, beside our mark; `None` where they are left as they are.
    pub tags: Option<Tags>,
    /// What it says of itself.
    pub description: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    secret_type: Option<String>,
    #[serde(rename = "kmsKeyID", alias = "kmsKeyId")]
    kms_key_id: Option<String>,
    tier: Option<TierSpec>,
    encode_as_decoded: Option<bool>,
    tags: Option<Tags>,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TierSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    policies: Option<serde_json::Value>,
}

impl Options {
    /// What a push says, and the defaults.
    pub fn of(remote: &Remote) -> Result<Self, Error> {
        let spec: Spec = remote.metadata_spec(&FIELDS)?;
        let refuse = |message: &str| Err(Error::invalid(format!("metadata: {message}")).with_blame(Blame::Request));
        let kind = match spec.secret_type.as_deref() {
            None | Some("" | "String") => ParameterType::String,
            Some("StringList") => ParameterType::StringList,
            Some("SecureString") => ParameterType::SecureString,
            Some(_) => return refuse("spec.secretType must be String, StringList or SecureString"),
        };
        let (tier, policies) = spec.tier.map_or((None, None), |tier| (tier.kind, tier.policies));
        let tier = match tier.as_deref() {
            None | Some("" | "Standard") => None,
            Some("Advanced") => Some(ParameterTier::Advanced),
            Some("Intelligent-Tiering") => Some(ParameterTier::IntelligentTiering),
            Some(_) => return refuse("spec.tier.type must be Standard, Advanced or Intelligent-Tiering"),
        };
        let policies = policies.filter(|policies| !policies.is_null());
        if policies.is_some() && tier != Some(ParameterTier::Advanced) {
            return refuse("spec.tier.policies are for spec.tier.type Advanced only");
        }
        let kms_key = || filled(spec.kms_key_id).unwrap_or_else(|| KMS_KEY.to_owned());
        Ok(Self {
            kms_key: (kind == ParameterType::SecureString).then(kms_key),
            kind,
            tier,
            policies: policies.map(|policies| policies.to_string()),
            as_texts: spec.encode_as_decoded.unwrap_or_default(),
            tags: wanted(spec.tags)?,
            description: filled(spec.description).unwrap_or_else(|| DESCRIPTION.to_owned()),
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
        let options = options(json!({"kmsKeyID": "alias/unused"})).unwrap();
        assert_eq!((options.kind, options.kms_key, options.tier), (ParameterType::String, None, None));
        assert_eq!((options.as_texts, options.tags, options.policies), (false, None, None));
        assert_eq!(options.description, "secret 'managed-by:external-secrets'");
    }

    #[test]
    fn everything_that_can_be_said() {
        let policies = json!([{"Type": "Expiration", "Version": "1.0"}]);
        let options = options(json!({
            "secretType": "SecureString", "kmsKeyID": "alias/k", "encodeAsDecoded": true, "tags": {"a": "b"},
            "tier": {"type": "Advanced", "policies": policies}, "description": "d",
        }))
        .unwrap();
        assert_eq!((options.kind, options.kms_key.as_deref()), (ParameterType::SecureString, Some("alias/k")));
        assert_eq!(options.tier, Some(ParameterTier::Advanced));
        assert_eq!(options.policies, Some(policies.to_string()));
        assert!(options.as_texts && options.tags.is_some() && options.description == "d");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (spec, word) in [
            (json!({"secretType": "Text"}), "secretType must be"),
            (json!({"tier": {"type": "Best"}}), "tier.type must be"),
            (json!({"tier": {"policies": []}}), "for spec.tier.type Advanced only"),
            (json!({"tags": {"managed-by": "me"}}), "managed-by"),
            (json!({"secretPushFormat": "string"}), "secretPushFormat"),
        ] {
            let error = options(spec).unwrap_err();
            assert!(error.message().contains(word), "{error}");
        }
    }
}
