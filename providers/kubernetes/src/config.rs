//! From `spec.provider.kubernetes` to plain data that is known to make sense.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::names::is_label;
use keyferry_provider_core::{BuildContext, CaRef, Error, SecretBytes, SecretRef, ServiceAccountRef, filled};
use keyferry_provider_http::{Fields, Way, server_url};
use reqwest::Url;
use serde::Deserialize;

use crate::kubeconfig::Kubeconfig;

/// What leads to the server where the spec says all of it.
pub const OF_SPEC: Fields = Fields {
    server: "spec.provider.kubernetes.server.url",
    ca: "spec.provider.kubernetes.server.caBundle or caProvider",
    identity: "spec.provider.kubernetes.auth.cert",
};

/// What leads to the server where a kubeconfig does.
pub const OF_KUBECONFIG: Fields = Fields {
    server: "the server in the kubeconfig of spec.provider.kubernetes.authRef",
    ca: "certificate-authority-data in the kubeconfig of spec.provider.kubernetes.authRef",
    identity: "client-certificate-data in the kubeconfig of spec.provider.kubernetes.authRef",
};

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// The namespace that Secrets are read from.
    pub namespace: String,
    from: AccessFrom,
}

/// Where it stands how to get in.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it, for as long as a store is built")]
enum AccessFrom {
    Spec { server: Url, ca: Option<Ca>, identity: IdentityRef },
    Kubeconfig(SecretRef),
}

#[derive(Debug)]
enum Ca {
    Pem(Vec<u8>),
    Ref(CaRef),
}

#[derive(Debug)]
enum IdentityRef {
    Token(SecretRef),
    Certificate { cert: SecretRef, key: SecretRef },
    ServiceAccount(ServiceAccountRef),
}

/// All that is needed to get in.
#[derive(Debug)]
pub struct Access {
    /// The API server, and where it is named.
    pub way: Way,
    /// Whom to believe that the server is who it says: PEM, or whoever the system trusts.
    pub ca: Option<Vec<u8>>,
    /// Whether to believe anybody.
    pub insecure: bool,
    /// Who we are.
    pub identity: Identity,
}

/// Who we are.
#[derive(Debug)]
pub enum Identity {
    /// Who has this token.
    Token(SecretBytes),
    /// Who has this certificate and key, PEM.
    Certificate {
        /// The certificate.
        cert: SecretBytes,
        /// Its key.
        key: SecretBytes,
    },
    /// A ServiceAccount of our own cluster.
    ServiceAccount(ServiceAccountRef),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    server: Option<ServerSpec>,
    auth: Option<AuthSpec>,
    auth_ref: Option<SecretRef>,
    remote_namespace: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServerSpec {
    url: Option<String>,
    ca_bundle: Option<String>,
    ca_provider: Option<CaRef>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthSpec {
    cert: Option<CertSpec>,
    token: Option<TokenSpec>,
    service_account: Option<ServiceAccountRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertSpec {
    client_cert: Option<SecretRef>,
    client_key: Option<SecretRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenSpec {
    bearer_token: Option<SecretRef>,
}

impl Config {
    /// Checks a spec as a whole; every refusal names the field.
    pub fn new(spec: &serde_json::Value) -> Result<Self, Error> {
        // The parser's own error would quote what it stumbles over.
        let spec = Spec::deserialize(spec).map_err(|_| {
            Error::invalid(
                "spec.provider.kubernetes does not have the form of a Kubernetes store: check the types of its fields",
            )
        })?;
        let namespace = filled(spec.remote_namespace).unwrap_or_else(|| "default".to_owned());
        if !is_label(&namespace) {
            return Err(Error::invalid("spec.provider.kubernetes.remoteNamespace is not the name of a namespace"));
        }
        let from = match (spec.auth_ref, spec.auth) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid(
                    "spec.provider.kubernetes sets both auth and authRef: a kubeconfig holds its own",
                ));
            }
            (Some(kubeconfig), None) => AccessFrom::Kubeconfig(kubeconfig),
            (None, auth) => {
                let ServerSpec { url, ca_bundle, ca_provider } = spec.server.unwrap_or_default();
                let ca = match (filled(ca_bundle), ca_provider) {
                    (Some(bundle), _) => Some(Ca::Pem(pem(&bundle).ok_or_else(|| {
                        Error::invalid("spec.provider.kubernetes.server.caBundle must hold PEM certificates in base64")
                    })?)),
                    (None, provider) => provider.map(Ca::Ref),
                };
                let url = filled(url).unwrap_or_else(|| "kubernetes.default".to_owned());
                AccessFrom::Spec { server: server(&url, OF_SPEC.server)?, ca, identity: identity(auth)? }
            }
        };
        Ok(Self { namespace, from })
    }

    /// Reads what the spec refers to.
    pub async fn access(&self, ctx: &BuildContext) -> Result<Access, Error> {
        let read = async |reference: &SecretRef, default: Option<&str>, field: &str| {
            let field = format!("spec.provider.kubernetes.{field}");
            ctx.credentials.secret(reference, default).await.map_err(|error| error.context(field))
        };
        match &self.from {
            AccessFrom::Kubeconfig(reference) => {
                let text = read(reference, Some("kubeconfig"), "authRef").await?;
                Kubeconfig::read(&text)?.access().map_err(|error| error.context("the kubeconfig of authRef"))
            }
            AccessFrom::Spec { server, ca, identity } => {
                let ca = match ca {
                    None => None,
                    Some(Ca::Pem(pem)) => Some(pem.clone()),
                    Some(Ca::Ref(reference)) => {
                        let field = "spec.provider.kubernetes.server.caProvider";
                        Some(ctx.credentials.ca_bundle(reference).await.map_err(|error| error.context(field))?)
                    }
                };
                let identity = match identity {
                    IdentityRef::Token(token) => Identity::Token(read(token, None, "auth.token.bearerToken").await?),
                    IdentityRef::Certificate { cert, key } => Identity::Certificate {
                        cert: read(cert, Some("tls.crt"), "auth.cert.clientCert").await?,
                        key: read(key, Some("tls.key"), "auth.cert.clientKey").await?,
                    },
                    IdentityRef::ServiceAccount(account) => Identity::ServiceAccount(account.clone()),
                };
                let way = Way { server: server.clone(), fields: OF_SPEC };
                Ok(Access { way, ca, insecure: false, identity })
            }
        }
    }
}

/// Reads the address of an API server; without a scheme it is https.
pub fn server(text: &str, field: &str) -> Result<Url, Error> {
    let text = text.trim();
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    server_url(&whole, field, "https://kubernetes.example.com:6443")
}

fn identity(auth: Option<AuthSpec>) -> Result<IdentityRef, Error> {
    let auth = auth.unwrap_or_default();
    match (auth.cert, auth.token, auth.service_account) {
        (Some(CertSpec { client_cert: Some(cert), client_key: Some(key) }), None, None) => {
            Ok(IdentityRef::Certificate { cert, key })
        }
        (Some(_), None, None) => {
            Err(Error::invalid("spec.provider.kubernetes.auth.cert needs both clientCert and clientKey"))
        }
        (None, Some(TokenSpec { bearer_token: Some(token) }), None) => Ok(IdentityRef::Token(token)),
        (None, Some(_), None) => Err(Error::invalid("spec.provider.kubernetes.auth.token has no bearerToken")),
        (None, None, Some(account)) => Ok(IdentityRef::ServiceAccount(account)),
        (None, None, None) => Err(Error::invalid(
            "spec.provider.kubernetes names no credentials, and the operator's own are never used: set auth.cert, \
             auth.token, auth.serviceAccount or authRef",
        )),
        _ => Err(Error::invalid(
            "spec.provider.kubernetes.auth must set one of cert, token and serviceAccount, not several",
        )),
    }
}

/// PEM in base64, as specs and kubeconfigs hold it.
pub fn pem(text: &str) -> Option<Vec<u8>> {
    let compact: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(compact).ok().filter(|pem| !pem.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refusal(spec: Value) -> String {
        let error = Config::new(&spec).expect_err("it was taken");
        assert_eq!(error.kind(), keyferry_provider_core::ErrorKind::Invalid);
        error.message().to_owned()
    }

    fn token() -> Value {
        json!({"token": {"bearerToken": {"name": "t", "key": "k"}}})
    }

    #[test]
    fn defaults() {
        let config = Config::new(&json!({ "auth": token() })).unwrap();
        assert_eq!(config.namespace, "default");
        let AccessFrom::Spec { server, ca: None, identity: IdentityRef::Token(_) } = config.from else { panic!() };
        assert_eq!(server.as_str(), "https://kubernetes.default/");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_field() {
        let both = json!({"token": {"bearerToken": {"name": "t"}}, "serviceAccount": {"name": "a"}});
        let at = |url: &str| json!({"server": {"url": url}, "auth": token()});
        for (spec, word) in [
            (json!({}), "the operator's own are never used"),
            (json!({"auth": {}}), "names no credentials"),
            (json!({ "auth": both }), "not several"),
            (json!({"auth": token(), "authRef": {"name": "k"}}), "both auth and authRef"),
            (json!({"auth": {"token": {}}}), "bearerToken"),
            (json!({"auth": {"cert": {"clientCert": {"name": "c"}}}}), "clientKey"),
            (json!({"auth": token(), "server": {"caBundle": "not base64!"}}), "caBundle"),
            (json!({"auth": token(), "remoteNamespace": "a/../b"}), "remoteNamespace"),
            (at("ftp://x"), "server.url"),
            (at("https://user:pass@x"), "server.url"),
            (at("https://x?y"), "server.url"),
            (json!({"auth": 7}), "types"),
        ] {
            let message = refusal(spec.clone());
            assert!(message.contains(word), "{spec}: {message}");
        }
    }
}
