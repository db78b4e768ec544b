//! From `spec.provider.kubernetes`, and what it shares with `spec.provider.crd`, to plain data that is known to make sense.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::names::is_label;
use keyferry_provider_core::{BuildContext, CaRef, CaSource, Error, SecretBytes, SecretRef, ServiceAccountRef, filled};
use keyferry_provider_http::{Fields, Way, server_url};
use reqwest::Url;
use serde::Deserialize;

use crate::kubeconfig::Kubeconfig;

/// What the fields of a spec are called, for messages.
#[derive(Clone, Copy, Debug)]
pub struct Root {
    /// The spec itself.
    pub at: &'static str,
    /// What leads to the server where the spec says all of it.
    pub spec: Fields,
    /// What leads to the server where a kubeconfig does.
    pub kubeconfig: Fields,
}

/// The spec of a store of Secrets.
pub const KUBERNETES: Root = Root {
    at: "spec.provider.kubernetes",
    spec: Fields {
        server: "spec.provider.kubernetes.server.url",
        ca: "spec.provider.kubernetes.server.caBundle or caProvider",
        identity: "spec.provider.kubernetes.auth.cert",
    },
    kubeconfig: Fields {
        server: "the server in the kubeconfig of spec.provider.kubernetes.authRef",
        ca: "certificate-authority-data in the kubeconfig of spec.provider.kubernetes.authRef",
        identity: "client-certificate-data in the kubeconfig of spec.provider.kubernetes.authRef",
    },
};

/// The spec of a store of custom resources.
pub const CRD: Root = Root {
    at: "spec.provider.crd",
    spec: Fields {
        server: "spec.provider.crd.server.url",
        ca: "spec.provider.crd.server.caBundle or caProvider",
        identity: "spec.provider.crd.auth.cert",
    },
    kubeconfig: Fields {
        server: "the server in the kubeconfig of spec.provider.crd.authRef",
        ca: "certificate-authority-data in the kubeconfig of spec.provider.crd.authRef",
        identity: "client-certificate-data in the kubeconfig of spec.provider.crd.authRef",
    },
};

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// The namespace that Secrets are read from.
    pub namespace: String,
    /// How to get there.
    pub connection: Connection,
}

/// How to get to an API server, as a spec has it.
#[derive(Debug)]
pub struct Connection {
    from: AccessFrom,
    root: &'static Root,
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
    ServiceAccount { account: ServiceAccountRef, field: &'static str },
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
    ServiceAccount {
        /// Which.
        account: ServiceAccountRef,
        /// The field that names it.
        field: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(flatten)]
    connection: ConnectionSpec,
    remote_namespace: Option<String>,
}

/// The fields of a connection.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionSpec {
    server: Option<ServerSpec>,
    auth: Option<AuthSpec>,
    auth_ref: Option<SecretRef>,
}

impl ConnectionSpec {
    /// Whether it says as whom to log in.
    pub fn names_credentials(&self) -> bool {
        self.auth.is_some() || self.auth_ref.is_some()
    }

    /// Whether it says where the server is.
    pub fn names_server(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.url.as_ref().is_some_and(|url| !url.is_empty()))
    }
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
        let namespace = remote_namespace(spec.remote_namespace, &KUBERNETES)?.unwrap_or_else(|| "default".to_owned());
        Ok(Self { namespace, connection: Connection::new(spec.connection, &KUBERNETES)? })
    }
}

/// The namespace that a spec names.
pub fn remote_namespace(namespace: Option<String>, root: &Root) -> Result<Option<String>, Error> {
    match filled(namespace) {
        Some(namespace) if !is_label(&namespace) => {
            Err(Error::invalid(format!("{}.remoteNamespace is not the name of a namespace", root.at)))
        }
        namespace => Ok(namespace),
    }
}

impl Connection {
    /// Checks the fields of a connection.
    pub fn new(spec: ConnectionSpec, root: &'static Root) -> Result<Self, Error> {
        let from = match (spec.auth_ref, spec.auth) {
            (Some(_), Some(_)) => {
                let message = format!("{} sets both auth and authRef: a kubeconfig holds its own", root.at);
                return Err(Error::invalid(message));
            }
            (Some(kubeconfig), None) => AccessFrom::Kubeconfig(kubeconfig),
            (None, auth) => {
                let ServerSpec { url, ca_bundle, ca_provider } = spec.server.unwrap_or_default();
                let ca = match (filled(ca_bundle), ca_provider) {
                    (Some(bundle), _) => Some(Ca::Pem(pem(&bundle).ok_or_else(|| {
                        Error::invalid(format!("{}.server.caBundle must hold PEM certificates in base64", root.at))
                    })?)),
                    (None, provider) => provider.map(Ca::Ref),
                };
                let url = filled(url).unwrap_or_else(|| "kubernetes.default".to_owned());
                AccessFrom::Spec { server: server(&url, root.spec.server)?, ca, identity: identity(auth, root)? }
            }
        };
        Ok(Self { from, root })
    }

    /// The server of our own cluster, with the CA that each of its namespaces knows, as a ServiceAccount.
    pub fn of_own_cluster(
        account: ServiceAccountRef,
        namespace: Option<String>,
        root: &'static Root,
    ) -> Result<Self, Error> {
        let name = "kube-root-ca.crt".to_owned();
        let ca = CaRef { source: CaSource::ConfigMap, name, key: Some("ca.crt".to_owned()), namespace };
        let server = server("kubernetes.default", root.spec.server)?;
        let identity = IdentityRef::ServiceAccount { account, field: "serviceAccountRef" };
        Ok(Self { from: AccessFrom::Spec { server, ca: Some(Ca::Ref(ca)), identity }, root })
    }

    /// Reads what the spec refers to.
    pub async fn access(&self, ctx: &BuildContext) -> Result<Access, Error> {
        let read = async |reference: &SecretRef, default: Option<&str>, field: &str| {
            let field = format!("{}.{field}", self.root.at);
            ctx.credentials.secret(reference, default).await.map_err(|error| error.context(field))
        };
        match &self.from {
            AccessFrom::Kubeconfig(reference) => {
                let text = read(reference, Some("kubeconfig"), "authRef").await?;
                let access = Kubeconfig::read(&text).and_then(|kubeconfig| kubeconfig.access(self.root.kubeconfig));
                access.map_err(|error| error.context(format!("the kubeconfig of {}.authRef", self.root.at)))
            }
            AccessFrom::Spec { server, ca, identity } => {
                let ca = match ca {
                    None => None,
                    Some(Ca::Pem(pem)) => Some(pem.clone()),
                    Some(Ca::Ref(reference)) => {
                        let field = format!("{}.server.caProvider", self.root.at);
                        Some(ctx.credentials.ca_bundle(reference).await.map_err(|error| error.context(field))?)
                    }
                };
                let identity = match identity {
                    IdentityRef::Token(token) => Identity::Token(read(token, None, "auth.token.bearerToken").await?),
                    IdentityRef::Certificate { cert, key } => Identity::Certificate {
                        cert: read(cert, Some("tls.crt"), "auth.cert.clientCert").await?,
                        key: read(key, Some("tls.key"), "auth.cert.clientKey").await?,
                    },
                    IdentityRef::ServiceAccount { account, field } => {
                        let field = format!("{}.{field}", self.root.at);
                        Identity::ServiceAccount { account: account.clone(), field }
                    }
                };
                let way = Way::new(server.clone(), self.root.spec);
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

fn identity(auth: Option<AuthSpec>, root: &Root) -> Result<IdentityRef, Error> {
    let auth = auth.unwrap_or_default();
    let refuse = |problem: &str| Err(Error::invalid(format!("{}{problem}", root.at)));
    match (auth.cert, auth.token, auth.service_account) {
        (Some(CertSpec { client_cert: Some(cert), client_key: Some(key) }), None, None) => {
            Ok(IdentityRef::Certificate { cert, key })
        }
        (Some(_), None, None) => refuse(".auth.cert needs both clientCert and clientKey"),
        (None, Some(TokenSpec { bearer_token: Some(token) }), None) => Ok(IdentityRef::Token(token)),
        (None, Some(_), None) => refuse(".auth.token has no bearerToken"),
        (None, None, Some(account)) => Ok(IdentityRef::ServiceAccount { account, field: "auth.serviceAccount" }),
        (None, None, None) => refuse(
            " names no credentials, and the operator's own are never used: set auth.cert, auth.token, \
             auth.serviceAccount or authRef",
        ),
        _ => refuse(".auth must set one of cert, token and serviceAccount, not several"),
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
        let AccessFrom::Spec { server, ca: None, identity: IdentityRef::Token(_) } = config.connection.from else {
            panic!()
        };
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
