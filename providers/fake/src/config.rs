//! From `spec.provider.fake` to plain data that is known to make sense.

use keyferry_provider_core::{Error, ErrorKind, SecretBytes, filled};
use serde::Deserialize;

/// What a store's spec comes to.
pub struct Config {
    /// The secrets, in the order of the spec.
    pub secrets: Vec<Secret>,
    /// What the check of the store comes to.
    pub validation: Result<(), Error>,
}

/// A secret.
pub struct Secret {
    /// What it is called.
    pub key: String,
    /// Its version; empty where it has none.
    pub version: String,
    /// What it holds.
    pub value: SecretBytes,
}

/// `spec.provider.fake`. Nulls are taken as absent.
#[derive(Deserialize)]
struct Spec {
    data: Option<Vec<Entry>>,
    #[serde(rename = "validationResult")]
    validation_result: Option<i64>,
}

#[derive(Deserialize)]
struct Entry {
    key: Option<String>,
    value: Option<String>,
    version: Option<String>,
}

impl Config {
    /// Reads the spec.
    pub fn new(spec: &serde_json::Value) -> Result<Self, Error> {
        // The parser's own error would quote the value it stumbles over.
        let spec = Spec::deserialize(spec)
            .map_err(|_| Error::invalid("spec.provider.fake must hold a list of {key, value, version} under data"))?;
        let entries = spec.data.unwrap_or_default().into_iter().enumerate();
        Ok(Self {
            secrets: entries.map(|(n, entry)| secret(n, entry)).collect::<Result<_, _>>()?,
            validation: validation(spec.validation_result.unwrap_or(0)),
        })
    }
}

fn secret(n: usize, entry: Entry) -> Result<Secret, Error> {
    let Some(key) = filled(entry.key) else {
        return Err(Error::invalid(format!("spec.provider.fake.data[{n}].key must not be empty")));
    };
    // The peer's webhook asks for more than nothing here; its controller takes nothing for a value.
    let Some(value) = entry.value else {
        return Err(Error::invalid(format!("spec.provider.fake.data[{n}].value is missing")));
    };
    Ok(Secret { key, version: entry.version.unwrap_or_default(), value: SecretBytes::new(value.into_bytes()) })
}

/// What a user set the store's check to come out as.
fn validation(result: i64) -> Result<(), Error> {
    match result {
        0 => Ok(()),
        1 => {
            Err(Error::new(ErrorKind::Unverified, "spec.provider.fake.validationResult is 1, which stands for unknown"))
        }
        _ => Err(Error::invalid("spec.provider.fake.validationResult is set to fail")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CANARY: &str = "canary-7f3a";

    #[test]
    fn a_wrong_spec_is_named_without_its_values() {
        for (spec, expected) in [
            (json!({"data": [{"key": "a", "value": "b"}, {"value": CANARY}]}), "data[1].key"),
            (json!({"data": [{"key": "a"}]}), "data[0].value"),
            (json!({"data": CANARY}), "under data"),
            (json!({"data": [{"key": "a", "value": [CANARY]}]}), "under data"),
        ] {
            let error = Config::new(&spec).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains(expected) && !error.message().contains(CANARY), "{error}");
        }
    }

    #[test]
    fn the_check_comes_out_as_the_spec_says() {
        for (result, expected) in [(0, None), (1, Some(ErrorKind::Unverified)), (2, Some(ErrorKind::Invalid))] {
            let config = Config::new(&json!({"validationResult": result})).unwrap();
            assert_eq!(config.validation.err().map(|error| error.kind()), expected);
        }
    }
}
