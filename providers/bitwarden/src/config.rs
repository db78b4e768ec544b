//! From `spec.provider.bitwardensecretsmanager` to plain data that is known to make sense.

use keyferry_provider_core::{CaRef, Error, SecretRef, filled};
use keyferry_provider_http::{Ca, Fields, Way, server_url};
use reqwest::header::HeaderValue;
use serde::Deserialize;

/// What messages call the fields that lead to the server.
pub const FIELDS: Fields = Fields {
    server: "spec.provider.bitwardensecretsmanager.bitwardenServerSDKURL",
    ca: "spec.provider.bitwardensecretsmanager.caBundle or caProvider",
    identity: "spec.provider.bitwardensecretsmanager",
};

/// Where the token is named.
pub const TOKEN: &str = "spec.provider.bitwardensecretsmanager.auth.secretRef.credentials";

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// The way to bitwarden-sdk-server.
    pub way: Way,
    /// Bitwarden's API and its identity service, where they are not the vendor's own.
    pub addresses: [Option<HeaderValue>; 2],
    /// The token of a machine account.
    pub token: SecretRef,
    /// Whose secrets.
    pub organization: String,
    /// The project that names are looked up in.
    pub project: String,
    /// Whom to believe that the server is who it says.
    pub ca: Ca,
}

/// `spec.provider.bitwardensecretsmanager`. Nulls are taken as absent, as the API server leaves them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "apiURL")]
    api_url: Option<String>,
    #[serde(rename = "identityURL")]
    identity_url: Option<String>,
    #[serde(rename = "bitwardenServerSDKURL")]
    server: Option<String>,
    ca_bundle: Option<String>,
    ca_provider: Option<CaRef>,
    #[serde(rename = "organizationID")]
    organization: Option<String>,
    #[serde(rename = "projectID")]
    project: Option<String>,
    auth: Option<Auth>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auth {
    secret_ref: Option<AuthSecretRef>,
}

#[derive(Deserialize)]
struct AuthSecretRef {
    credentials: Option<SecretRef>,
}

impl Config {
    /// Reads the spec.
    pub fn new(spec: &serde_json::Value) -> Result<Self, Error> {
        let wrong = |field: &str, problem: &str| {
            Error::invalid(format!("spec.provider.bitwardensecretsmanager{field} {problem}"))
        };
        // The parser's own error would quote the value it stumbles over.
        let spec = Spec::deserialize(spec).map_err(|_| wrong("", "is not of the form that the documentation gives"))?;
        let server = filled(spec.server).ok_or_else(|| wrong(".bitwardenServerSDKURL", "is missing"))?;
        let server = server_url(&server, FIELDS.server, "https://bitwarden-sdk-server:9998")?;
        let address = |url: Option<String>, field: &str| {
            let header = |url: String| HeaderValue::from_str(url.trim_end_matches('/'));
            filled(url).map(header).transpose().map_err(|_| wrong(field, "must be a URL"))
        };
        let token = spec.auth.and_then(|auth| auth.secret_ref).and_then(|refs| refs.credentials);
        let ca = Ca::new(spec.ca_bundle, spec.ca_provider, "spec.provider.bitwardensecretsmanager")?;
        Ok(Self {
            way: Way::new(server, FIELDS),
            addresses: [address(spec.api_url, ".apiURL")?, address(spec.identity_url, ".identityURL")?],
            token: token.ok_or_else(|| Error::invalid(format!("{TOKEN} is missing")))?,
            organization: filled(spec.organization).ok_or_else(|| wrong(".organizationID", "is missing"))?,
            project: filled(spec.project).ok_or_else(|| wrong(".projectID", "is missing"))?,
            ca,
        })
    }
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::{Blame, ErrorKind};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_wrong_spec_is_named_without_its_values() {
        let with = |field: &str, value: Value| {
            let mut spec = json!({
                "bitwardenServerSDKURL": "https://sdk:9998", "organizationID": "o", "projectID": "p",
                "auth": {"secretRef": {"credentials": {"name": "n", "key": "k"}}},
            });
            spec[field] = value;
            spec
        };
        assert!(Config::new(&with("apiURL", json!(null))).is_ok());
        for (spec, words) in [
            (json!("canary"), "not of the form"),
            (with("organizationID", json!(["canary"])), "not of the form"),
            (with("bitwardenServerSDKURL", json!("")), "SDKURL is missing"),
            (with("bitwardenServerSDKURL", json!("ftp://canary")), "SDKURL must begin with"),
            (with("organizationID", json!(null)), ".organizationID is missing"),
            (with("projectID", json!("")), ".projectID is missing"),
            (with("auth", json!({})), "credentials is missing"),
            (with("caBundle", json!("canary")), ".caBundle must hold"),
            (with("apiURL", json!("canary\n")), ".apiURL must be a URL"),
        ] {
            let error = Config::new(&spec).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Spec), "{spec}");
            assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
        }
    }
}
