//! From `spec.provider.cellar` to plain data that is known to make sense.

use keyferry_provider_core::{Error, SecretRef, filled};
use keyferry_provider_http::{Fields, Way, server_url};
use serde::Deserialize;

/// What messages call the fields that lead to the server.
const FIELDS: Fields = Fields {
    server: "spec.provider.cellar.url",
    ca: "the certificates of the system",
    identity: "spec.provider.cellar",
};

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// The way to the server.
    pub way: Way,
    /// The key that logs in.
    pub key: SecretRef,
}

/// `spec.provider.cellar`. Nulls are taken as absent, as the API server leaves them.
#[derive(Deserialize)]
struct Spec {
    url: Option<String>,
    auth: Option<Auth>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auth {
    key_secret_ref: Option<SecretRef>,
}

impl Config {
    /// Reads the spec.
    pub fn new(spec: &serde_json::Value) -> Result<Self, Error> {
        // The parser's own error would quote the value it stumbles over.
        let spec = Spec::deserialize(spec)
            .map_err(|_| Error::invalid("spec.provider.cellar is not of the form that the documentation gives"))?;
        let url = filled(spec.url).ok_or_else(|| Error::invalid("spec.provider.cellar.url is missing"))?;
        let server = server_url(&url, FIELDS.server, "https://cellar.example.com")?;
        let key = spec.auth.and_then(|auth| auth.key_secret_ref);
        let key = key.ok_or_else(|| Error::invalid("spec.provider.cellar.auth.keySecretRef is missing"))?;
        Ok(Self { way: Way::new(server, FIELDS), key })
    }
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::{Blame, ErrorKind};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wrong_spec_is_named_without_its_values() {
        let key = json!({"keySecretRef": {"name": "cellar", "key": "key"}});
        for (spec, words) in [
            (json!("canary"), "not of the form"),
            (json!({"url": ["canary"]}), "not of the form"),
            (json!({"url": "", "auth": key}), "url is missing"),
            (json!({"url": "ftp://canary", "auth": key}), "url must begin with"),
            (json!({"url": "https://x", "auth": null}), "keySecretRef is missing"),
        ] {
            let error = Config::new(&spec).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Spec));
            assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
        }
        assert!(Config::new(&json!({"url": "https://x", "auth": key})).is_ok());
    }
}
