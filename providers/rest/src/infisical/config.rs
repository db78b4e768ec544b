//! From `spec.provider.infisical` to plain data that is known to make sense.

use std::collections::BTreeMap;

use keyferry_provider_core::{CaRef, Error, ErrorKind, SecretRef, filled};
use keyferry_provider_http::path::clean;
use keyferry_provider_http::{Ca, server_url};
use reqwest::Url;
use serde::Deserialize;

use super::VENDOR;
use crate::config::{needed, needed_text, read};

/// What a store's spec comes to.
pub struct Config {
    /// The server, below which `v1/` and `v3/` are.
    pub server: Url,
    /// Whom to believe that the server is who it says.
    pub ca: Ca,
    /// How to log in.
    pub method: Method,
    /// Which secrets are the store's.
    pub scope: Scope,
}

/// Which secrets are a store's.
#[derive(Debug, PartialEq, Eq)]
pub struct Scope {
    /// The project.
    pub project: String,
    /// The environment of it.
    pub environment: String,
    /// The folder, without slashes at its ends; the root is nothing.
    pub folder: String,
    /// Whether folders below it are searched too.
    pub recursive: bool,
    /// Whether references to other secrets are expanded.
    pub expand: bool,
    /// The organization to log in to, where an identity is of several.
    pub organization: Option<String>,
}

/// How to log in.
#[derive(Debug, PartialEq, Eq)]
pub enum Method {
    /// A token that somebody made.
    Token(SecretRef),
    /// Texts that are sent to a login as they are: the path of the login, and the name, place and field of each.
    Texts(&'static str, &'static str, Vec<(&'static str, SecretRef, String)>),
    /// The operator's own Kubernetes token.
    Kubernetes(SecretRef),
    /// A token of Azure's for the operator's machine, for the resource that a secret names.
    Azure(SecretRef, Option<SecretRef>),
    /// A token of Google's for the operator's machine.
    Google(SecretRef),
    /// A JWT that is signed with the key file of a service account.
    GoogleKey(SecretRef, SecretRef),
    /// The operator's own identity in AWS.
    Aws(SecretRef),
    /// A question to Oracle's cloud that its user signed.
    Oracle(Box<Oracle>),
}

/// A user of Oracle's cloud: what each text is in.
#[derive(Debug, PartialEq, Eq)]
pub struct Oracle {
    pub identity: SecretRef,
    pub user: SecretRef,
    pub tenancy: SecretRef,
    pub region: SecretRef,
    pub fingerprint: SecretRef,
    pub key: SecretRef,
    pub passphrase: Option<SecretRef>,
}

impl Method {
    /// Whether the vendor's own client logs in so where we have seen it.
    pub fn is_proven(&self) -> bool {
        matches!(self, Self::Token(_)) || matches!(self, Self::Texts("universal-auth", ..))
    }

    /// Whether a login of ours makes the token.
    pub fn is_made(&self) -> bool {
        !matches!(self, Self::Token(_))
    }

    /// Whether it is the operator itself that logs in.
    pub fn is_operators_own(&self) -> bool {
        matches!(self, Self::Kubernetes(_) | Self::Azure(..) | Self::Google(_) | Self::Aws(_))
    }
}

/// The fields of a login, each a text in a secret.
type Named = BTreeMap<String, Option<SecretRef>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    auth: Option<BTreeMap<String, Option<Named>>>,
    secrets_scope: Option<ScopeSpec>,
    #[serde(rename = "hostAPI")]
    host_api: Option<String>,
    ca_bundle: Option<String>,
    ca_provider: Option<CaRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScopeSpec {
    secrets_path: Option<String>,
    recursive: Option<bool>,
    environment_slug: Option<String>,
    project_slug: Option<String>,
    expand_secret_references: Option<bool>,
    organization_slug: Option<String>,
}

impl Config {
    /// Checks a spec as a whole; every refusal names the field.
    pub fn new(spec: &serde_json::Value) -> Result<Self, Error> {
        let spec: Spec = read(spec, "infisical")?;
        let host = filled(spec.host_api).unwrap_or_else(|| "https://app.infisical.com/api".to_owned());
        let mut server = server_url(&host, VENDOR.fields.server, "https://app.infisical.com/api")?;
        // The vendor's clients take the URL with and without the path of the API.
        let path = server.path().trim_end_matches('/').to_owned();
        if !path.ends_with("/api") {
            server.set_path(&format!("{path}/api"));
        }
        let scope = needed(spec.secrets_scope, "spec.provider.infisical.secretsScope")?;
        let auth = spec.auth.unwrap_or_default();
        let methods: Vec<_> = auth.into_iter().filter_map(|(name, spec)| Some((name, spec?))).collect();
        Ok(Self {
            server,
            ca: Ca::new(spec.ca_bundle, spec.ca_provider, "spec.provider.infisical")?,
            method: method(methods)?,
            scope: scope.checked()?,
        })
    }
}

impl ScopeSpec {
    fn checked(self) -> Result<Scope, Error> {
        let folder = clean(self.secrets_path.as_deref().unwrap_or_default());
        Ok(Scope {
            project: needed_text(self.project_slug, "spec.provider.infisical.secretsScope.projectSlug")?,
            environment: needed_text(self.environment_slug, "spec.provider.infisical.secretsScope.environmentSlug")?,
            folder: folder.map_err(|error| error.context("spec.provider.infisical.secretsScope.secretsPath"))?,
            recursive: self.recursive.unwrap_or(false),
            expand: self.expand_secret_references.unwrap_or(true),
            organization: filled(self.organization_slug),
        })
    }
}

/// A login by texts.
struct ByTexts {
    /// Its name under `auth`.
    name: &'static str,
    /// The path of the login.
    path: &'static str,
    /// What metrics call it.
    call: &'static str,
    /// Its fields, and what each is called when it is sent.
    fields: &'static [(&'static str, &'static str)],
}

const BY_TEXTS: [ByTexts; 3] = [
    ByTexts {
        name: "universalAuthCredentials",
        path: "universal-auth",
        call: "MachineIdentityLoginViaUniversalAuth",
        fields: &[("clientId", "clientId"), ("clientSecret", "clientSecret")],
    },
    ByTexts {
        name: "jwtAuthCredentials",
        path: "jwt-auth",
        call: "MachineIdentityLoginViaJwtAuth",
        fields: &[("identityId", "identityId"), ("jwt", "jwt")],
    },
    ByTexts {
        name: "ldapAuthCredentials",
        path: "ldap-auth",
        call: "MachineIdentityLoginViaLdapAuth",
        fields: &[("identityId", "identityId"), ("ldapUsername", "username"), ("ldapPassword", "password")],
    },
];

const SUPPORTED: &str = "universalAuthCredentials, tokenAuthCredentials, jwtAuthCredentials, ldapAuthCredentials, \
                         kubernetesAuthCredentials, azureAuthCredentials, gcpIdTokenAuthCredentials, \
                         gcpIamAuthCredentials, awsAuthCredentials and ociAuthCredentials";

/// The one method that is set.
fn only(mut methods: Vec<(String, Named)>) -> Result<(String, Named), Error> {
    let auth = VENDOR.login;
    match (methods.pop(), methods.is_empty()) {
        (Some(method), true) => Ok(method),
        (None, _) => Err(Error::invalid(format!("{auth} sets no login method: set one of {SUPPORTED}"))),
        (Some((last, _)), false) => {
            let names: Vec<String> = methods.into_iter().map(|(name, _)| name).chain([last]).collect();
            let names = names.join(", ");
            Err(Error::invalid(format!("{auth} sets more than one login method: keep one of {names}")))
        }
    }
}

fn method(methods: Vec<(String, Named)>) -> Result<Method, Error> {
    let auth = VENDOR.login;
    let (name, mut spec) = only(methods)?;
    // A reference without a name is as good as none: the type of the field has no other way to be left out.
    let mut taken = |field: &str| {
        let found = spec.remove(field).flatten().filter(|found| found.name.as_deref().is_some_and(|n| !n.is_empty()));
        let path = format!("{auth}.{name}.{field}");
        (found, path)
    };
    let mut required = |field: &str| {
        let (found, path) = taken(field);
        needed(found, &path)
    };
    match name.as_str() {
        "tokenAuthCredentials" => Ok(Method::Token(required("accessToken")?)),
        "kubernetesAuthCredentials" => {
            let identity = required("identityId")?;
            let (None, _) = taken("serviceAccountTokenPath") else {
                let message = format!("{auth}.{name}.serviceAccountTokenPath names a file of the operator's machine");
                let hint = "leave it out: a ClusterSecretStore logs in with the operator's own token";
                return Err(Error::invalid(message).with_hint(hint));
            };
            Ok(Method::Kubernetes(identity))
        }
        "azureAuthCredentials" => Ok(Method::Azure(required("identityId")?, taken("resource").0)),
        "gcpIdTokenAuthCredentials" => Ok(Method::Google(required("identityId")?)),
        "gcpIamAuthCredentials" => {
            Ok(Method::GoogleKey(required("identityId")?, required("serviceAccountKeyFilePath")?))
        }
        "awsAuthCredentials" => Ok(Method::Aws(required("identityId")?)),
        "ociAuthCredentials" => Ok(Method::Oracle(Box::new(Oracle {
            identity: required("identityId")?,
            user: required("userId")?,
            tenancy: required("tenancyId")?,
            region: required("region")?,
            fingerprint: required("fingerprint")?,
            key: required("privateKey")?,
            passphrase: taken("privateKeyPassphrase").0,
        }))),
        other => match BY_TEXTS.iter().find(|login| login.name == other) {
            Some(ByTexts { path, call, fields, .. }) => {
                let mut texts = Vec::with_capacity(fields.len());
                for (field, sent) in *fields {
                    texts.push((*sent, required(field)?, format!("{auth}.{name}.{field}")));
                }
                Ok(Method::Texts(path, call, texts))
            }
            None => Err(Error::new(
                ErrorKind::Unsupported,
                format!("{auth}.{other} is not supported; what is: {SUPPORTED}"),
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(auth: Value) -> Value {
        json!({"auth": auth, "secretsScope": {"projectSlug": "p", "environmentSlug": "e"}})
    }

    fn universal() -> Value {
        json!({"universalAuthCredentials": {"clientId": {"name": "n", "key": "a"}, "clientSecret": {"name": "n", "key": "b"}}})
    }

    #[test]
    fn what_is_left_out_is_as_in_external_secrets_operator() {
        let config = Config::new(&spec(universal())).unwrap();
        assert_eq!(config.server.as_str(), "https://app.infisical.com/api");
        let Scope { folder, recursive, expand, .. } = config.scope;
        assert_eq!((folder.as_str(), recursive, expand), ("", false, true));
        for (host, server) in [
            ("https://i.example.com", "https://i.example.com/api"),
            ("https://i.example.com/api/", "https://i.example.com/api/"),
            ("https://i.example.com/sub/", "https://i.example.com/sub/api"),
        ] {
            let mut spec = spec(universal());
            spec["hostAPI"] = json!(host);
            assert_eq!(Config::new(&spec).unwrap().server.as_str(), server);
        }
    }

    #[test]
    fn a_wrong_spec_is_named_without_its_values() {
        let identity = json!({"name": "n", "key": "canary"});
        for (wrong, words) in [
            (json!("canary"), "not of the form"),
            (json!({"secretsScope": {"projectSlug": "canary"}, "auth": universal()}), "environmentSlug is missing"),
            (json!({"auth": universal()}), "secretsScope is missing"),
            (spec(json!({})), "sets no login method"),
            (spec(json!({"universalAuthCredentials": {"clientId": identity}})), "clientSecret is missing"),
            (spec(json!({"universalAuthCredentials": {"clientId": {"key": "canary"}}})), "clientId is missing"),
            (spec(json!({"jwtAuthCredentials": {}, "ldapAuthCredentials": {}})), "more than one login method"),
            (spec(json!({"ociAuthCredentials": {"identityId": identity}})), "userId is missing"),
            (spec(json!({"gcpIamAuthCredentials": {"identityId": identity}})), "serviceAccountKeyFilePath is missing"),
            (spec(json!({"vaultAuthCredentials": {"identityId": identity}})), "vaultAuthCredentials is not supported"),
            (
                spec(
                    json!({"kubernetesAuthCredentials": {"identityId": identity, "serviceAccountTokenPath": identity}}),
                ),
                "names a file",
            ),
        ] {
            let error = Config::new(&wrong).err().unwrap();
            assert!(error.message().contains(words) && !error.to_string().contains("canary"), "{error}");
        }
    }
}
