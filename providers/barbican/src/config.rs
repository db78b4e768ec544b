//! From `spec.provider.barbican` to plain data that is known to make sense.

use keyferry_provider_core::{Error, SecretRef, filled};
use keyferry_provider_http::{Fields, Way, server_url};
use serde::Deserialize;

/// What messages call the fields that lead to Keystone.
const FIELDS: Fields = Fields {
    server: "spec.provider.barbican.authURL",
    ca: "the certificates of the system",
    identity: "spec.provider.barbican",
};

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// The way to Keystone, with the version of its API.
    pub keystone: Way,
    /// The region whose Barbican is asked; any where there is none.
    pub region: Option<String>,
    /// How to log in.
    pub method: Method,
}

/// How to log in.
#[derive(Debug)]
pub enum Method {
    /// By a user's password.
    Password {
        /// The user.
        user: Source,
        /// Where the password is.
        password: SecretRef,
        /// The domain of user and project.
        domain: String,
        /// The project whose secrets are read; the user's own where there is none.
        project: Option<String>,
    },
    /// By an application credential, which is of one user and project.
    Application {
        /// Its id.
        id: Source,
        /// Where its secret is.
        secret: SecretRef,
    },
}

/// Where a name stands.
#[derive(Debug)]
pub enum Source {
    /// In the spec.
    Plain(String),
    /// In a secret.
    Ref(SecretRef),
}

/// `spec.provider.barbican`. Nulls are taken as absent, as the API server leaves them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "authURL")]
    auth_url: Option<String>,
    tenant_name: Option<String>,
    domain_name: Option<String>,
    region: Option<String>,
    auth: Option<AuthSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthSpec {
    auth_type: Option<String>,
    username: Option<SourceSpec>,
    password: Option<SourceSpec>,
    #[serde(rename = "applicationCredentialID")]
    application_credential_id: Option<SourceSpec>,
    application_credential_secret: Option<SourceSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SourceSpec {
    value: Option<String>,
    secret_ref: Option<SecretRef>,
}

impl Config {
    /// Reads the spec.
    pub fn new(spec: &serde_json::Value) -> Result<Self, Error> {
        // The parser's own error would quote the value it stumbles over.
        let spec = Spec::deserialize(spec)
            .map_err(|_| Error::invalid("spec.provider.barbican is not of the form that the documentation gives"))?;
        let url = filled(spec.auth_url).ok_or_else(|| missing("authURL"))?;
        let mut server = server_url(&url, FIELDS.server, "https://keystone.example.com:5000/v3")?;
        let path = server.path().trim_end_matches('/').to_owned();
        match path.rsplit('/').next() {
            Some("v3") => server.set_path(&path),
            Some("v2.0") => {
                return Err(Error::invalid(format!("{} must lead to version 3 of Keystone", FIELDS.server)));
            }
            _ => server.set_path(&format!("{path}/v3")),
        }
        let auth = spec.auth.unwrap_or_default();
        let method = match filled(auth.auth_type).as_deref().unwrap_or("password") {
            "password" => Method::Password {
                user: source(auth.username, "auth.username")?,
                password: secret(auth.password, "auth.password.secretRef")?,
                domain: filled(spec.domain_name).ok_or_else(|| missing("domainName"))?,
                project: filled(spec.tenant_name),
            },
            "applicationCredential" => Method::Application {
                id: source(auth.application_credential_id, "auth.applicationCredentialID")?,
                secret: secret(auth.application_credential_secret, "auth.applicationCredentialSecret.secretRef")?,
            },
            _ => {
                let message = "spec.provider.barbican.auth.authType must be password or applicationCredential";
                return Err(Error::invalid(message));
            }
        };
        Ok(Self { keystone: Way::new(server, FIELDS), region: filled(spec.region), method })
    }
}

fn missing(field: &str) -> Error {
    Error::invalid(format!("spec.provider.barbican.{field} is missing"))
}

fn source(spec: Option<SourceSpec>, field: &str) -> Result<Source, Error> {
    let spec = spec.ok_or_else(|| missing(field))?;
    match (filled(spec.value), spec.secret_ref) {
        (Some(value), _) => Ok(Source::Plain(value)),
        (None, Some(reference)) => Ok(Source::Ref(reference)),
        (None, None) => Err(missing(&format!("{field}.value or secretRef"))),
    }
}

fn secret(spec: Option<SourceSpec>, field: &str) -> Result<SecretRef, Error> {
    spec.and_then(|spec| spec.secret_ref).ok_or_else(|| missing(field))
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::{Blame, ErrorKind};
    use serde_json::{Value, json};

    use super::*;

    fn password() -> Value {
        json!({"username": {"value": "app"}, "password": {"secretRef": {"name": "b", "key": "p"}}})
    }

    fn application() -> Value {
        json!({"authType": "applicationCredential", "applicationCredentialID": {"secretRef": {"name": "b", "key": "i"}},
            "applicationCredentialSecret": {"secretRef": {"name": "b", "key": "s"}}})
    }

    fn spec(auth: Value) -> Value {
        json!({"authURL": "https://k:5000", "domainName": "Default", "tenantName": "lab", "auth": auth})
    }

    #[test]
    fn a_wrong_spec_is_named_without_its_values() {
        let without = |mut auth: Value, field: &str| {
            auth.as_object_mut().unwrap().remove(field).unwrap();
            spec(auth)
        };
        for (spec, words) in [
            (json!("canary"), "not of the form"),
            (json!({"authURL": ["canary"]}), "not of the form"),
            (json!({"auth": password()}), "authURL is missing"),
            (json!({"authURL": "ftp://canary", "auth": password()}), "authURL must begin with"),
            (json!({"authURL": "https://k/v2.0", "auth": password()}), "must lead to version 3"),
            (json!({"authURL": "https://k", "auth": password()}), "domainName is missing"),
            (spec(json!({"authType": "canary"})), "authType must be password or applicationCredential"),
            (spec(json!({})), "auth.username is missing"),
            (spec(json!({"username": {"value": ""}})), "auth.username.value or secretRef is missing"),
            (without(password(), "password"), "auth.password.secretRef is missing"),
            (without(application(), "applicationCredentialID"), "auth.applicationCredentialID is missing"),
            (without(application(), "applicationCredentialSecret"), "applicationCredentialSecret.secretRef is missing"),
        ] {
            let error = Config::new(&spec).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Spec));
            assert!(error.message().contains(words) && !error.message().contains("canary"), "{error}");
        }
        // An application credential says itself whose it is.
        let alone = json!({"authURL": "https://k", "auth": application()});
        assert!(matches!(Config::new(&alone).unwrap().method, Method::Application { .. }));
    }

    #[test]
    fn keystone_is_asked_by_version_3() {
        for (given, expected) in [
            ("https://k:5000", "https://k:5000/v3"),
            ("https://k:5000/v3/", "https://k:5000/v3"),
            ("https://k/identity/", "https://k/identity/v3"),
            ("https://k/identity/v3", "https://k/identity/v3"),
        ] {
            let mut spec = spec(password());
            spec["authURL"] = json!(given);
            assert_eq!(Config::new(&spec).unwrap().keystone.server.as_str(), expected);
        }
    }
}
