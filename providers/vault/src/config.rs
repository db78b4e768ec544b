//! From `spec.provider.vault` to plain data that is known to make sense.

use std::collections::BTreeMap;

use keyferry_provider_core::{Blame, CaRef, Error, ErrorKind, SecretRef, ServiceAccountRef, filled};
use keyferry_provider_http::path::clean;
use keyferry_provider_http::{pem, server_url};
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::path::KvVersion;

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// The server, without user, query and fragment.
    pub server: Url,
    /// The mount of the KV engine, where the spec names one.
    pub mount: Option<String>,
    /// The version of the engine.
    pub version: KvVersion,
    /// The namespace that secrets are read in.
    pub namespace: Option<HeaderValue>,
    /// The namespace that the token is of: where the login is made and the token looked up and renewed.
    pub auth_namespace: Option<HeaderValue>,
    /// How to get a token.
    pub method: Method,
    /// Whom to believe that the server is who it says.
    pub ca: Option<Ca>,
    /// The certificate and key we show to the server.
    pub identity: Option<(SecretRef, SecretRef)>,
    /// Headers of every request.
    pub headers: Vec<(HeaderName, HeaderSource)>,
    /// Whether a server that is behind must have seen our login before it answers.
    pub read_your_writes: bool,
}

/// How to get a token.
#[derive(Debug)]
pub enum Method {
    /// Not at all: an agent between us and the server adds one.
    None,
    /// It is in a secret.
    Token(SecretRef),
    /// A role id and a secret id buy one.
    AppRole {
        /// Where the method is mounted, below `auth/`.
        mount: String,
        /// The role id.
        role: RoleId,
        /// The secret id.
        secret: SecretRef,
    },
    /// A token of a Kubernetes ServiceAccount buys one.
    Kubernetes {
        /// Where the method is mounted, below `auth/`.
        mount: String,
        /// The role to log in as.
        role: String,
        /// Whose token.
        jwt: Jwt,
    },
}

/// Where the role id of an AppRole stands.
#[derive(Debug)]
pub enum RoleId {
    /// In the spec.
    Plain(String),
    /// In a secret.
    Ref(SecretRef),
}

/// Whose Kubernetes token to log in with.
#[derive(Debug)]
pub enum Jwt {
    /// A ServiceAccount's, minted for the login.
    ServiceAccount(ServiceAccountRef),
    /// One that is kept in a secret.
    Secret(SecretRef),
    /// The operator's own.
    Controller,
}

/// Where the CA certificates are.
#[derive(Debug)]
pub enum Ca {
    /// In the spec: PEM.
    Pem(Vec<u8>),
    /// In an object.
    Ref(CaRef),
}

/// Where the value of a header stands.
#[derive(Debug)]
pub enum HeaderSource {
    /// In the spec.
    Plain(HeaderValue),
    /// In a secret.
    Ref(SecretRef),
}

/// Of the methods that External Secrets Operator has, those that are not here yet.
const NOT_YET: [&str; 6] = ["ldap", "userPass", "jwt", "cert", "iam", "gcp"];

/// Headers that are HTTP's own: a spec that sets them could only break the request.
const NOT_OURS: [&str; 6] = ["connection", "content-length", "te", "trailer", "transfer-encoding", "upgrade"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    server: Option<String>,
    path: Option<String>,
    version: Option<String>,
    namespace: Option<String>,
    auth: Option<AuthSpec>,
    ca_bundle: Option<String>,
    ca_provider: Option<CaRef>,
    tls: Option<TlsSpec>,
    headers: Option<BTreeMap<String, Option<HeaderSpec>>>,
    read_your_writes: Option<bool>,
    forward_inconsistent: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthSpec {
    namespace: Option<String>,
    token_secret_ref: Option<SecretRef>,
    app_role: Option<AppRoleSpec>,
    kubernetes: Option<KubernetesSpec>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AppRoleSpec {
    path: Option<String>,
    role_id: Option<String>,
    role_ref: Option<SecretRef>,
    secret_ref: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KubernetesSpec {
    mount_path: Option<String>,
    role: Option<String>,
    service_account_ref: Option<ServiceAccountRef>,
    secret_ref: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TlsSpec {
    cert_secret_ref: Option<SecretRef>,
    key_secret_ref: Option<SecretRef>,
}

/// A header's value, or, in later versions of External Secrets Operator, where to find it.
#[derive(Deserialize)]
#[serde(untagged)]
enum HeaderSpec {
    Plain(String),
    #[serde(rename_all = "camelCase")]
    Source {
        value: Option<String>,
        secret_key_ref: Option<SecretRef>,
    },
}

impl Config {
    /// Checks a spec as a whole; every refusal names the field.
    pub fn new(spec: &serde_json::Value) -> Result<Self, Error> {
        // The parser's own error would quote what it stumbles over.
        let spec = Spec::deserialize(spec).map_err(|_| {
            Error::invalid("spec.provider.vault does not have the form of a Vault store: check the types of its fields")
        })?;
        let namespace = header(spec.namespace.as_deref(), "namespace")?;
        let auth_namespace = match &spec.auth {
            Some(auth) => header(auth.namespace.as_deref(), "auth.namespace")?,
            None => None,
        };
        let (read_your_writes, forward) =
            (spec.read_your_writes == Some(true), spec.forward_inconsistent == Some(true));
        Ok(Self {
            server: server_url(
                spec.server.as_deref().unwrap_or_default(),
                "spec.provider.vault.server",
                "https://vault.example.com:8200",
            )?,
            mount: mount(spec.path)?,
            version: version(spec.version.as_deref())?,
            auth_namespace: auth_namespace.or_else(|| namespace.clone()),
            namespace,
            method: method(spec.auth)?,
            ca: ca(spec.ca_bundle, spec.ca_provider)?,
            identity: identity(spec.tls)?,
            headers: headers(spec.headers.unwrap_or_default(), read_your_writes && forward)?,
            read_your_writes: read_your_writes || forward,
        })
    }
}

fn mount(path: Option<String>) -> Result<Option<String>, Error> {
    let Some(mount) = filled(path) else { return Ok(None) };
    if clean(&mount).map_err(|error| error.context("spec.provider.vault.path").with_blame(Blame::Spec))?.is_empty() {
        Err(Error::invalid("spec.provider.vault.path names no mount"))
    } else {
        Ok(Some(mount))
    }
}

/// The version of the engine by the spec of a store alone; that of most where it makes no sense.
pub fn version_of(spec: &serde_json::Value) -> KvVersion {
    version(spec["version"].as_str()).unwrap_or(KvVersion::V2)
}

fn version(text: Option<&str>) -> Result<KvVersion, Error> {
    match text {
        None | Some("" | "v2") => Ok(KvVersion::V2),
        Some("v1") => Ok(KvVersion::V1),
        Some(_) => Err(Error::invalid("spec.provider.vault.version must be v1 or v2")),
    }
}

fn method(auth: Option<AuthSpec>) -> Result<Method, Error> {
    const SUPPORTED: &str = "tokenSecretRef, appRole and kubernetes";
    let Some(auth) = auth else { return Ok(Method::None) };
    let others: Vec<_> =
        NOT_YET.into_iter().filter(|name| auth.others.get(*name).is_some_and(|value| !value.is_null())).collect();
    match (auth.token_secret_ref, auth.app_role, auth.kubernetes, &others[..]) {
        (Some(token), None, None, []) => Ok(Method::Token(token)),
        (None, Some(spec), None, []) => app_role(spec),
        (None, None, Some(spec), []) => kubernetes(spec),
        (None, None, None, []) => {
            Err(Error::invalid(format!("spec.provider.vault.auth sets no login method: set one of {SUPPORTED}")))
        }
        (None, None, None, [other]) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("spec.provider.vault.auth.{other} is not supported yet; what is: {SUPPORTED}"),
        )),
        (token, app_role, kubernetes, others) => {
            let mut set = others.to_vec();
            set.extend(token.map(|_| "tokenSecretRef"));
            set.extend(app_role.map(|_| "appRole"));
            set.extend(kubernetes.map(|_| "kubernetes"));
            let set = set.join(", ");
            Err(Error::invalid(format!("spec.provider.vault.auth sets more than one login method: keep one of {set}")))
        }
    }
}

fn app_role(spec: AppRoleSpec) -> Result<Method, Error> {
    let role = match (filled(spec.role_id), spec.role_ref) {
        (Some(id), _) => RoleId::Plain(id.trim().to_owned()), // where both are set the plain one counts
        (None, Some(reference)) => RoleId::Ref(reference),
        (None, None) => return Err(Error::invalid("spec.provider.vault.auth.appRole needs roleId or roleRef")),
    };
    let Some(secret) = spec.secret_ref else {
        return Err(Error::invalid("spec.provider.vault.auth.appRole needs secretRef"));
    };
    Ok(Method::AppRole { mount: login_mount(spec.path, "approle", "appRole.path")?, role, secret })
}

fn kubernetes(spec: KubernetesSpec) -> Result<Method, Error> {
    let Some(role) = filled(spec.role) else {
        return Err(Error::invalid("spec.provider.vault.auth.kubernetes needs role"));
    };
    let jwt = match (spec.service_account_ref, spec.secret_ref) {
        (Some(account), _) => Jwt::ServiceAccount(account), // where both are set this one counts
        (None, Some(secret)) => Jwt::Secret(secret),
        (None, None) => Jwt::Controller,
    };
    Ok(Method::Kubernetes { mount: login_mount(spec.mount_path, "kubernetes", "kubernetes.mountPath")?, role, jwt })
}

fn login_mount(path: Option<String>, default: &str, field: &str) -> Result<String, Error> {
    let mount = filled(path).unwrap_or_else(|| default.to_owned());
    let field = format!("spec.provider.vault.auth.{field}");
    let mount = clean(&mount).map_err(|error| error.context(&field))?;
    if mount.is_empty() { Err(Error::invalid(format!("{field} names no mount"))) } else { Ok(mount) }
}

fn ca(bundle: Option<String>, provider: Option<CaRef>) -> Result<Option<Ca>, Error> {
    match (filled(bundle), provider) {
        (Some(bundle), _) => match pem::bundle(bundle.into_bytes()) {
            Some(pem) => Ok(Some(Ca::Pem(pem))),
            None => Err(Error::invalid("spec.provider.vault.caBundle must hold PEM certificates in base64")),
        },
        (None, provider) => Ok(provider.map(Ca::Ref)),
    }
}

fn identity(tls: Option<TlsSpec>) -> Result<Option<(SecretRef, SecretRef)>, Error> {
    match tls.map(|tls| (tls.cert_secret_ref, tls.key_secret_ref)) {
        None | Some((None, None)) => Ok(None),
        Some((Some(cert), Some(key))) => Ok(Some((cert, key))),
        Some(_) => Err(Error::invalid("spec.provider.vault.tls needs both certSecretRef and keySecretRef")),
    }
}

fn headers(
    spec: BTreeMap<String, Option<HeaderSpec>>,
    forward_inconsistent: bool,
) -> Result<Vec<(HeaderName, HeaderSource)>, Error> {
    let mut headers = Vec::with_capacity(spec.len() + 1);
    for (name, source) in spec {
        let field = format!("spec.provider.vault.headers[{name:?}]");
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Error::invalid(format!("{field} is not a name that a header can have")))?;
        if NOT_OURS.contains(&name.as_str()) {
            return Err(Error::invalid(format!("{field} can't be set: the header is part of the protocol")));
        }
        let source = match source {
            Some(HeaderSpec::Plain(value)) | Some(HeaderSpec::Source { value: Some(value), secret_key_ref: None }) => {
                HeaderSource::Plain(header_value(value.as_bytes(), &field)?)
            }
            Some(HeaderSpec::Source { value: None, secret_key_ref: Some(reference) }) => HeaderSource::Ref(reference),
            _ => return Err(Error::invalid(format!("{field} needs either value or secretKeyRef"))),
        };
        headers.push((name, source));
    }
    // TRAP: as in External Secrets Operator, forwardInconsistent asks for nothing without readYourWrites.
    if forward_inconsistent {
        let value = HeaderSource::Plain(HeaderValue::from_static("forward-active-node"));
        headers.push((HeaderName::from_static("x-vault-inconsistent"), value));
    }
    Ok(headers)
}

fn header(text: Option<&str>, field: &str) -> Result<Option<HeaderValue>, Error> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => header_value(text.as_bytes(), &format!("spec.provider.vault.{field}")).map(Some),
    }
}

/// A header's value, never shown in debug output: what users put into headers may be a credential.
pub fn header_value(bytes: &[u8], field: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_bytes(bytes)
        .map_err(|_| Error::invalid(format!("{field} holds control characters, which a request can't carry")))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::*;

    const CANARY: &str = "canary-51d2";

    fn spec(more: Value) -> Value {
        let mut spec = json!({"server": "https://vault:8200", "auth": {"tokenSecretRef": {"name": "t", "key": "k"}}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    }

    fn refusal(more: Value) -> Error {
        let error = Config::new(&spec(more)).unwrap_err();
        assert!(!error.message().contains(CANARY), "{error}");
        error
    }

    #[test]
    fn defaults() {
        let config = Config::new(&spec(json!({}))).unwrap();
        assert_eq!(config.version, KvVersion::V2);
        assert!(config.mount.is_none() && config.namespace.is_none() && config.auth_namespace.is_none());
        assert!(config.ca.is_none() && config.identity.is_none() && config.headers.is_empty());
        assert!(!config.read_your_writes);
        assert!(matches!(config.method, Method::Token(_)));
    }

    #[test]
    fn nulls_are_absent() {
        let nulls = json!({"path": null, "version": null, "namespace": null, "caBundle": null, "caProvider": null,
            "tls": {"certSecretRef": null, "keySecretRef": null}, "headers": null, "readYourWrites": null,
            "forwardInconsistent": null, "checkAndSet": null,
            "auth": {"namespace": null, "tokenSecretRef": {"name": "t", "key": null, "namespace": null},
                "appRole": null, "kubernetes": null, "ldap": null}});
        assert!(matches!(Config::new(&spec(nulls)).unwrap().method, Method::Token(_)));
        assert!(matches!(Config::new(&spec(json!({"auth": null}))).unwrap().method, Method::None));
    }

    #[test]
    fn exactly_one_login_method() {
        let error = refusal(json!({"auth": {}}));
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("tokenSecretRef, appRole and kubernetes"), "{error}");

        let error = refusal(json!({"auth": {"tokenSecretRef": {}, "kubernetes": {"role": "r"}, "ldap": {}}}));
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().ends_with("keep one of ldap, tokenSecretRef, kubernetes"), "{error}");

        for name in NOT_YET {
            let error = refusal(json!({"auth": {name: {"secretRef": CANARY}}}));
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(
                error.message().starts_with(&format!("spec.provider.vault.auth.{name} is not supported")),
                "{error}"
            );
        }
    }

    #[test]
    fn login_methods() {
        let approle =
            json!({"auth": {"appRole": {"path": "/team/approle/", "roleId": " id ", "secretRef": {"name": "s"}}}});
        let Method::AppRole { mount, role: RoleId::Plain(id), .. } = Config::new(&spec(approle)).unwrap().method else {
            panic!()
        };
        assert_eq!((mount.as_str(), id.as_str()), ("team/approle", "id"));

        let kubernetes = json!({"auth": {"kubernetes": {"role": "r"}}});
        let Method::Kubernetes { mount, jwt: Jwt::Controller, .. } = Config::new(&spec(kubernetes)).unwrap().method
        else {
            panic!()
        };
        assert_eq!(mount, "kubernetes");

        for (auth, field) in [
            (json!({"appRole": {"secretRef": {"name": "s"}}}), "roleId or roleRef"),
            (json!({"appRole": {"roleId": "", "secretRef": {"name": "s"}}}), "roleId or roleRef"),
            (json!({"appRole": {"roleId": "r"}}), "secretRef"),
            (json!({"appRole": {"roleId": "r", "secretRef": {}, "path": "../x"}}), "appRole.path"),
            (json!({"kubernetes": {}}), "needs role"),
            (json!({"kubernetes": {"role": "r", "mountPath": "/"}}), "kubernetes.mountPath"),
        ] {
            let error = refusal(json!({"auth": auth}));
            assert!(error.message().contains(field), "{error}");
        }
    }

    #[test]
    fn servers() {
        for good in ["http://127.0.0.1:8200", "https://vault.example.com", " https://[::1]:8200/prefix/ "] {
            Config::new(&spec(json!({"server": good}))).unwrap();
        }
        let user = format!("https://{CANARY}:{CANARY}@vault:8200");
        let query = format!("https://vault:8200?token={CANARY}");
        for bad in ["", "vault:8200", "unix:///run/vault.sock", "ftp://vault", "file:///etc", "https://", &user, &query]
        {
            let error = refusal(json!({"server": bad}));
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains("spec.provider.vault.server"), "{error}");
        }
    }

    #[test]
    fn fields_that_make_no_sense_are_named() {
        let canary = json!([CANARY]);
        for (more, field) in [
            (json!({"server": canary}), "spec.provider.vault "),
            (json!({"version": "v3"}), "version"),
            (json!({"path": "a/../b"}), "spec.provider.vault.path"),
            (json!({"path": "//"}), "spec.provider.vault.path"),
            (json!({"namespace": format!("{CANARY}\r\nX-Evil: 1")}), "spec.provider.vault.namespace"),
            (json!({"auth": {"namespace": "a\0", "tokenSecretRef": {}}}), "spec.provider.vault.auth.namespace"),
            (json!({"caBundle": CANARY}), "caBundle"),
            (json!({"tls": {"certSecretRef": {"name": "a"}}}), "keySecretRef"),
            (json!({"headers": {"a b": "c"}}), "headers[\"a b\"]"),
            (json!({"headers": {"x": format!("{CANARY}\n")}}), "headers[\"x\"]"),
            (json!({"headers": {"x": null}}), "headers[\"x\"]"),
            (json!({"headers": {"x": {"value": "a", "secretKeyRef": {"name": "b"}}}}), "headers[\"x\"]"),
            (json!({"headers": {"Content-Length": "1"}}), "headers[\"Content-Length\"]"),
        ] {
            let error = refusal(more);
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains(field), "{error}");
        }
    }

    #[test]
    fn a_ca_bundle_however_often_encoded() {
        let text = "# a comment\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let once = STANDARD.encode(text);
        let twice = STANDARD.encode(&once);
        let wrapped = format!("{}\n{}\n", &once[..40], &once[40..]);
        for bundle in [text, &once, &twice, &wrapped] {
            let config = Config::new(&spec(json!({"caBundle": bundle}))).unwrap();
            let Some(Ca::Pem(pem)) = config.ca else { panic!() };
            assert_eq!(pem, text.as_bytes());
        }
    }

    #[test]
    fn consistency_headers() {
        for (read, forward, header, index) in [
            (false, false, false, false),
            (true, false, false, true),
            (false, true, false, true),
            (true, true, true, true),
        ] {
            let more = json!({"readYourWrites": read, "forwardInconsistent": forward});
            let config = Config::new(&spec(more)).unwrap();
            assert_eq!(config.headers.iter().any(|(name, _)| name == "x-vault-inconsistent"), header);
            assert_eq!(config.read_your_writes, index);
        }
    }

    #[test]
    fn namespaces() {
        let auth = json!({"namespace": "parent", "tokenSecretRef": {}});
        let config = Config::new(&spec(json!({"namespace": "parent/child", "auth": auth}))).unwrap();
        assert_eq!(config.namespace.unwrap(), "parent/child");
        assert_eq!(config.auth_namespace.unwrap(), "parent");
        let config = Config::new(&spec(json!({"namespace": "n"}))).unwrap();
        assert_eq!(config.auth_namespace.unwrap(), "n");
    }
}
