//! From `spec.provider.sealed` and `spec.provider.sealedsecrets` to plain data that is known to make sense.

use std::collections::BTreeMap;
use std::fmt;

use keyferry_documents::place::Place;
use keyferry_limits::{DOCUMENT_KEYS, Limit, PROVIDER_ENTRIES};
use keyferry_provider_core::{Error, SecretRef};
use serde::Deserialize;
use serde_json::Value;

/// What is sealed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Values in keyferry's own form.
    Sealed,
    /// SealedSecrets.
    SealedSecrets,
}

impl fmt::Display for Kind {
    /// The path of the spec.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sealed => "spec.provider.sealed",
            Self::SealedSecrets => "spec.provider.sealedsecrets",
        })
    }
}

/// What a store's spec comes to.
#[derive(Debug)]
pub enum Config {
    /// Values by their names.
    Values(BTreeMap<String, String>),
    /// Manifests of SealedSecrets, each by its field, and the Secrets that hold pairs of keys; where there are none, those of the
    /// operator open.
    Manifests(Vec<(String, Place)>, Vec<(String, SecretRef)>),
}

#[derive(Deserialize)]
struct SealedSpec {
    values: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct SealedSecretsSpec {
    documents: Option<Vec<DocumentSpec>>,
    keys: Option<Vec<KeySpec>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentSpec {
    inline: Option<String>,
    config_map_ref: Option<SecretRef>,
    secret_ref: Option<SecretRef>,
    file: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeySpec {
    secret_ref: Option<SecretRef>,
}

impl Config {
    /// Reads the spec.
    pub fn new(kind: Kind, spec: &Value) -> Result<Self, Error> {
        // The parser's own error would quote the value it stumbles over.
        let wrong = |_| Error::invalid(format!("{kind} is not of its form: check the types of its fields"));
        match kind {
            Kind::Sealed => {
                let values = SealedSpec::deserialize(spec).map_err(wrong)?.values.unwrap_or_default();
                if values.is_empty() {
                    return Err(Error::invalid(format!(
                        "{kind}.values is empty: `keyferry seal --for` prints what to put there"
                    )));
                }
                within(values.len(), &PROVIDER_ENTRIES)?;
                Ok(Self::Values(values))
            }
            Kind::SealedSecrets => {
                let spec = SealedSecretsSpec::deserialize(spec).map_err(wrong)?;
                let (documents, keys) = (spec.documents.unwrap_or_default(), spec.keys.unwrap_or_default());
                if documents.is_empty() {
                    return Err(Error::invalid(format!("{kind}.documents is empty: name at least one manifest")));
                }
                within(documents.len(), &PROVIDER_ENTRIES)?;
                within(keys.len(), &DOCUMENT_KEYS)?;
                let documents = documents.into_iter().enumerate().map(|(n, one)| {
                    let field = format!("{kind}.documents[{n}]");
                    let place = Place::one_of(&field, one.inline, one.config_map_ref, one.secret_ref, one.file)?;
                    Ok((field, place))
                });
                let keys = keys.into_iter().enumerate().map(|(n, one)| {
                    let field = format!("{kind}.keys[{n}].secretRef");
                    let reference = one.secret_ref.ok_or_else(|| Error::invalid(format!("{field} is missing")))?;
                    Ok((field, reference))
                });
                Ok(Self::Manifests(documents.collect::<Result<_, Error>>()?, keys.collect::<Result<_, Error>>()?))
            }
        }
    }
}

fn within(length: usize, limit: &'static Limit) -> Result<(), Error> {
    if length > limit.size() { Err(Error::limit(limit)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CANARY: &str = "canary-31c7";

    #[test]
    fn a_wrong_spec_is_named_by_its_field() {
        let one = json!([{"inline": "x"}]);
        for (kind, spec, expected) in [
            (Kind::Sealed, json!({"values": CANARY}), "spec.provider.sealed is not of its form"),
            (Kind::Sealed, json!({}), "spec.provider.sealed.values is empty"),
            (
                Kind::Sealed,
                json!({"values": (0..101).map(|n| (n.to_string(), "x".into())).collect::<BTreeMap<_, String>>()}),
                "limit provider-entries",
            ),
            (Kind::SealedSecrets, json!({"documents": null}), "spec.provider.sealedsecrets.documents is empty"),
            (Kind::SealedSecrets, json!({"documents": [{}]}), "documents[0] must have one of inline"),
            (Kind::SealedSecrets, json!({"documents": vec![json!({"file": "a"}); 101]}), "limit provider-entries"),
            (Kind::SealedSecrets, json!({"documents": one, "keys": [{}]}), "keys[0].secretRef is missing"),
            (
                Kind::SealedSecrets,
                json!({"documents": one, "keys": vec![json!({"secretRef": {}}); 101]}),
                "limit document-keys",
            ),
        ] {
            let error = Config::new(kind, &spec).unwrap_err();
            assert!(error.message().contains(expected) && !error.message().contains(CANARY), "{error}");
        }
    }
}
