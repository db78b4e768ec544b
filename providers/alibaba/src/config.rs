//! From `spec.provider.alibaba` to plain data that is known to make sense.

use keyferry_provider_core::{Environment, Error, SecretRef, filled};
use keyferry_provider_http::{Fields, Way, server_url};
use serde::Deserialize;

/// What messages call what leads to the servers: their names are made of the region.
const FIELDS: Fields = Fields {
    server: "spec.provider.alibaba.regionID",
    ca: "the certificates of the system",
    identity: "spec.provider.alibaba.auth",
};

/// Where the operator's environment may name servers in place of the region's public ones, such as those inside a VPC.
const KMS_ENDPOINT: &str = "ALIBABA_CLOUD_KMS_ENDPOINT";
const STS_ENDPOINT: &str = "ALIBABA_CLOUD_STS_ENDPOINT";

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// The way to KMS.
    pub kms: Way,
    /// How to log in.
    pub method: Method,
}

/// How to log in.
#[derive(Debug)]
pub enum Method {
    /// By an access key.
    Key {
        /// Where its id is.
        id: SecretRef,
        /// Where its secret is.
        secret: SecretRef,
    },
    /// As a role, by the token that the cluster gives the operator itself.
    Role(Box<Role>),
}

/// A role to take.
#[derive(Debug)]
pub struct Role {
    /// The way to STS, which gives the role's keys.
    pub sts: Way,
    /// Who vouches for the token.
    pub provider: String,
    /// The file that the token is in.
    pub token_file: String,
    /// The role.
    pub role: String,
    /// What logs call us.
    pub session: String,
}

/// `spec.provider.alibaba`. Nulls are taken as absent, as the API server leaves them.
#[derive(Deserialize)]
struct Spec {
    #[serde(rename = "regionID")]
    region_id: Option<String>,
    auth: Option<AuthSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthSpec {
    secret_ref: Option<KeySpec>,
    rrsa: Option<RoleSpec>,
}

#[derive(Deserialize)]
struct KeySpec {
    #[serde(rename = "accessKeyIDSecretRef")]
    id: Option<SecretRef>,
    #[serde(rename = "accessKeySecretSecretRef")]
    secret: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleSpec {
    oidc_provider_arn: Option<String>,
    oidc_token_file_path: Option<String>,
    role_arn: Option<String>,
    session_name: Option<String>,
}

impl Config {
    /// Reads the spec, and the servers of the environment where it names any.
    pub fn new(spec: &serde_json::Value, environment: &Environment) -> Result<Self, Error> {
        // The parser's own error would quote the value it stumbles over.
        let spec = Spec::deserialize(spec)
            .map_err(|_| Error::invalid("spec.provider.alibaba is not of the form that the documentation gives"))?;
        let region = filled(spec.region_id).ok_or_else(|| missing("regionID"))?;
        // It becomes part of a server's name, and nothing else may.
        if !region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            return Err(Error::invalid(format!("{} must be the id of a region, such as cn-hangzhou", FIELDS.server)));
        }
        let way = |variable: &str, default: String| {
            let url = environment(variable).filter(|url| !url.is_empty());
            let server = match url {
                Some(url) => server_url(&url, &format!("the environment's {variable}"), &default)?,
                None => server_url(&default, FIELDS.server, &default)?,
            };
            Ok(Way::new(server, FIELDS))
        };
        let kms = way(KMS_ENDPOINT, format!("https://kms.{region}.aliyuncs.com"))?;
        let auth = spec.auth.unwrap_or_default();
        // Of both External Secrets Operator takes the role.
        let method = match (auth.rrsa, auth.secret_ref) {
            (Some(role), _) => Method::Role(Box::new(Role {
                sts: way(STS_ENDPOINT, "https://sts.aliyuncs.com".to_owned())?,
                provider: filled(role.oidc_provider_arn).ok_or_else(|| missing("auth.rrsa.oidcProviderArn"))?,
                token_file: filled(role.oidc_token_file_path).ok_or_else(|| missing("auth.rrsa.oidcTokenFilePath"))?,
                role: filled(role.role_arn).ok_or_else(|| missing("auth.rrsa.roleArn"))?,
                session: filled(role.session_name).ok_or_else(|| missing("auth.rrsa.sessionName"))?,
            })),
            (None, Some(key)) => Method::Key {
                id: key.id.ok_or_else(|| missing("auth.secretRef.accessKeyIDSecretRef"))?,
                secret: key.secret.ok_or_else(|| missing("auth.secretRef.accessKeySecretSecretRef"))?,
            },
            (None, None) => return Err(missing("auth.secretRef or rrsa")),
        };
        Ok(Self { kms, method })
    }
}

fn missing(field: &str) -> Error {
    Error::invalid(format!("spec.provider.alibaba.{field} is missing"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyferry_provider_core::{Blame, ErrorKind};
    use serde_json::{Value, json};

    use super::*;

    fn read(spec: &Value) -> Result<Config, Error> {
        let environment: Environment = Arc::new(|_| None);
        Config::new(spec, &environment)
    }

    fn key() -> Value {
        let of = |key: &str| json!({"name": "ali", "key": key});
        json!({"secretRef": {"accessKeyIDSecretRef": of("id"), "accessKeySecretSecretRef": of("secret")}})
    }

    fn role() -> Value {
        json!({"rrsa": {"oidcProviderArn": "acs:p", "oidcTokenFilePath": "/f", "roleArn": "acs:r", "sessionName": "s"}})
    }

    #[test]
    fn a_wrong_spec_is_named_without_its_values() {
        let without = |field: &str| {
            let mut auth = role();
            auth["rrsa"].as_object_mut().unwrap().remove(field).unwrap();
            json!({"regionID": "cn-hangzhou", "auth": auth})
        };
        for (spec, words) in [
            (json!("canary"), "not of the form"),
            (json!({"regionID": ["canary"]}), "not of the form"),
            (json!({"regionID": "", "auth": key()}), "regionID is missing"),
            (json!({"regionID": "canary.example.com/", "auth": key()}), "regionID must be the id of a region"),
            (json!({"regionID": "canary@x", "auth": key()}), "regionID must be the id of a region"),
            (json!({"regionID": "cn-hangzhou"}), "auth.secretRef or rrsa is missing"),
            (json!({"regionID": "cn-hangzhou", "auth": {"secretRef": {}}}), "accessKeyIDSecretRef is missing"),
            (without("oidcProviderArn"), "auth.rrsa.oidcProviderArn is missing"),
            (without("oidcTokenFilePath"), "auth.rrsa.oidcTokenFilePath is missing"),
            (without("roleArn"), "auth.rrsa.roleArn is missing"),
            (without("sessionName"), "auth.rrsa.sessionName is missing"),
        ] {
            let error = read(&spec).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Spec));
            assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
        }
    }

    #[test]
    fn the_region_names_the_servers_unless_the_environment_does() {
        let config = read(&json!({"regionID": "eu-central-1", "auth": key()})).unwrap();
        assert_eq!(config.kms.server.as_str(), "https://kms.eu-central-1.aliyuncs.com/");
        let both = json!({"regionID": "cn-beijing", "auth": {"rrsa": role()["rrsa"], "secretRef": key()["secretRef"]}});
        let Method::Role(role) = read(&both).unwrap().method else { panic!("a role") };
        assert_eq!(role.sts.server.as_str(), "https://sts.aliyuncs.com/");
        let environment: Environment = Arc::new(|name| Some(format!("https://{}.internal", name.to_lowercase())));
        let config = Config::new(&both, &environment).unwrap();
        assert_eq!(config.kms.server.as_str(), "https://alibaba_cloud_kms_endpoint.internal/");
        let Method::Role(role) = config.method else { panic!("a role") };
        assert_eq!(role.sts.server.as_str(), "https://alibaba_cloud_sts_endpoint.internal/");
        let environment: Environment = Arc::new(|_| Some("canary".to_owned()));
        let error = Config::new(&both, &environment).unwrap_err();
        assert!(error.message().starts_with("the environment's ALIBABA_CLOUD_KMS_ENDPOINT must be"), "{error}");
    }
}
