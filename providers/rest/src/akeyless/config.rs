//! From `spec.provider.akeyless` to plain data that is known to make sense.

use keyferry_provider_core::{CaRef, Error, ErrorKind, SecretRef, ServiceAccountRef, filled};
use keyferry_provider_http::{Ca, server_url};
use reqwest::Url;
use serde::Deserialize;

use super::VENDOR;
use crate::config::{needed, needed_text, read};

/// What a store's spec comes to.
pub struct Config {
    /// The server as the spec has it; `None` is the vendor's own.
    pub gateway: Option<Url>,
    /// Whom to believe that the server is who it says.
    pub ca: Ca,
    /// Who logs in.
    pub auth: Auth,
    /// Whether a gateway is to ask for values anew.
    pub ignores_cache: bool,
}

/// Who logs in.
#[derive(Debug, PartialEq, Eq)]
pub enum Auth {
    /// As secrets say: an id, how it is shown to be ours, and what that takes.
    Secrets {
        /// The id.
        id: SecretRef,
        /// The kind of login: `api_key`, `k8s`, ...
        kind: SecretRef,
        /// The key, the name of a configuration, an audience: what the kind takes.
        param: Option<SecretRef>,
    },
    /// With a Kubernetes token.
    Kubernetes {
        /// The id.
        id: String,
        /// The name of the configuration in the gateway.
        config: String,
        /// Whose token.
        token: Token,
    },
}

/// Whose Kubernetes token logs in.
#[derive(Debug, PartialEq, Eq)]
pub enum Token {
    /// A ServiceAccount's.
    Account(ServiceAccountRef),
    /// One that is kept in a secret.
    Secret(SecretRef),
    /// The operator's own.
    Controller,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "akeylessGWApiURL")]
    gateway: Option<String>,
    auth_secret_ref: Option<AuthSpec>,
    ignore_cache: Option<bool>,
    ca_bundle: Option<String>,
    ca_provider: Option<CaRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthSpec {
    secret_ref: Option<SecretsSpec>,
    kubernetes_auth: Option<KubernetesSpec>,
    service_account_ref: Option<ServiceAccountRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretsSpec {
    #[serde(rename = "accessID")]
    id: Option<SecretRef>,
    access_type: Option<SecretRef>,
    access_type_param: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KubernetesSpec {
    #[serde(rename = "accessID")]
    id: Option<String>,
    k8s_conf_name: Option<String>,
    service_account_ref: Option<ServiceAccountRef>,
    secret_ref: Option<SecretRef>,
}

impl Config {
    /// Checks a spec as a whole; every refusal names the field.
    pub fn new(spec: &serde_json::Value) -> Result<Self, Error> {
        let spec: Spec = read(spec, "akeyless")?;
        let url = |url: String| server_url(&url, VENDOR.fields.server, "https://api.akeyless.io");
        Ok(Self {
            gateway: filled(spec.gateway).map(url).transpose()?,
            ca: Ca::new(spec.ca_bundle, spec.ca_provider, "spec.provider.akeyless")?,
            auth: auth(needed(spec.auth_secret_ref, VENDOR.login)?)?,
            ignores_cache: spec.ignore_cache.unwrap_or(false),
        })
    }
}

fn auth(spec: AuthSpec) -> Result<Auth, Error> {
    let field = |name: &str| format!("{}.{name}", VENDOR.login);
    // Where both are set Kubernetes counts.
    if let Some(spec) = spec.kubernetes_auth {
        let token = match (spec.service_account_ref, spec.secret_ref) {
            (Some(account), _) => Token::Account(account),
            (None, Some(secret)) => Token::Secret(secret),
            (None, None) => Token::Controller,
        };
        return Ok(Auth::Kubernetes {
            id: needed_text(spec.id, &field("kubernetesAuth.accessID"))?,
            config: needed_text(spec.k8s_conf_name, &field("kubernetesAuth.k8sConfName"))?,
            token,
        });
    }
    if spec.service_account_ref.is_some() {
        let message = format!("{} is not supported", field("serviceAccountRef"));
        return Err(Error::new(ErrorKind::Unsupported, message).with_hint("use kubernetesAuth"));
    }
    let secrets = needed(spec.secret_ref, &format!("{}.secretRef or kubernetesAuth", VENDOR.login))?;
    let named = |reference: Option<SecretRef>| {
        reference.filter(|reference| reference.name.as_deref().is_some_and(|name| !name.is_empty()))
    };
    Ok(Auth::Secrets {
        id: needed(named(secrets.id), &field("secretRef.accessID"))?,
        kind: needed(named(secrets.access_type), &field("secretRef.accessType"))?,
        param: named(secrets.access_type_param),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wrong_spec_is_named_without_its_values() {
        let named = json!({"name": "canary", "key": "k"});
        for (spec, words) in [
            (json!("canary"), "not of the form"),
            (json!({"akeylessGWApiURL": "canary", "authSecretRef": {}}), "akeylessGWApiURL must be a URL"),
            (json!({}), "authSecretRef is missing"),
            (json!({"authSecretRef": {}}), "secretRef or kubernetesAuth is missing"),
            (json!({"authSecretRef": {"secretRef": {"accessID": named}}}), "accessType is missing"),
            (json!({"authSecretRef": {"secretRef": {"accessID": {"key": "canary"}}}}), "accessID is missing"),
            (json!({"authSecretRef": {"kubernetesAuth": {"accessID": "canary"}}}), "k8sConfName is missing"),
            (json!({"authSecretRef": {"serviceAccountRef": {"name": "canary"}}}), "is not supported"),
        ] {
            let error = Config::new(&spec).err().unwrap();
            assert!(error.message().contains(words) && !error.to_string().contains("canary"), "{error}");
        }
    }
}
