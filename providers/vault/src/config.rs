//! From what stands under `vault` or `openBao` in a store's spec to plain data that is known to make sense. How to log in is
//! in `method`.

use std::collections::BTreeMap;

use keyferry_provider_core::{Blame, CaRef, Error, SecretRef, filled};
use keyferry_provider_http::path::clean;
use keyferry_provider_http::{Ca, server_url};
use keyferry_provider_identity::cloud::header_value;
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::method::{self, AuthSpec, Method};
use crate::path::{KvVersion, Layout, Mount};
use crate::product::Product;

/// What a store's spec comes to.
#[derive(Debug)]
pub struct Config {
    /// The server, without user, query and fragment.
    pub server: Url,
    /// Which server it is.
    pub product: Product,
    /// How keys become paths.
    pub layout: Layout,
    /// The namespace that secrets are read in.
    pub namespace: Option<HeaderValue>,
    /// The namespace that the token is of: where the login is made and the token looked up and renewed.
    pub auth_namespace: Option<HeaderValue>,
    /// How to get a token.
    pub method: Method,
    /// Whom to believe that the server is who it says.
    pub ca: Ca,
    /// The certificate and key we show to the server.
    pub identity: Option<(SecretRef, SecretRef)>,
    /// Headers of every request.
    pub headers: Vec<(HeaderName, HeaderSource)>,
    /// Whether a server that is behind must have seen our login before it answers.
    pub read_your_writes: bool,
}

/// Where the value of a header stands.
#[derive(Debug)]
pub enum HeaderSource {
    /// In the spec.
    Plain(HeaderValue),
    /// In a secret.
    Ref(SecretRef),
}

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
    pub fn new(product: Product, spec: &serde_json::Value) -> Result<Self, Error> {
        // The parser's own error would quote what it stumbles over.
        let spec = Spec::deserialize(spec).map_err(|_| {
            let name = product.name();
            Error::invalid(format!(
                "{product} does not have the form of a store of {name}: check the types of its fields"
            ))
        })?;
        let header = |text: Option<&str>, field: &str| match text {
            None | Some("") => Ok(None),
            Some(text) => header_value(text.as_bytes(), &format!("{product}.{field}")).map(Some),
        };
        let namespace = header(spec.namespace.as_deref(), "namespace")?;
        let auth_namespace = match &spec.auth {
            Some(auth) => header(auth.namespace.as_deref(), "auth.namespace")?,
            None => None,
        };
        let server = server_url(
            spec.server.as_deref().unwrap_or_default(),
            product.fields().server,
            "https://vault.example.com:8200",
        )?;
        let method = method::of(product, spec.auth)?;
        let identity = match &method {
            Method::Cert { .. } if server.scheme() == "http" => {
                return Err(Error::invalid(format!(
                    "{product}.auth.cert shows a certificate, which takes TLS: {product}.server must begin with https://"
                )));
            }
            // As in External Secrets Operator, the connection has one certificate, and that of the login counts.
            Method::Cert { cert, key, .. } => Some((cert.clone(), key.clone())),
            _ => identity(product, spec.tls)?,
        };
        let (read_your_writes, forward) =
            (spec.read_your_writes == Some(true), spec.forward_inconsistent == Some(true));
        Ok(Self {
            server,
            product,
            layout: Layout {
                product,
                version: version(product, spec.version.as_deref())?,
                mount: mount(product, spec.path)?,
            },
            auth_namespace: auth_namespace.or_else(|| namespace.clone()),
            namespace,
            method,
            ca: Ca::new(spec.ca_bundle, spec.ca_provider, &product.to_string())?,
            identity,
            headers: headers(product, spec.headers.unwrap_or_default(), read_your_writes && forward)?,
            read_your_writes: read_your_writes || forward,
        })
    }
}

fn mount(product: Product, path: Option<String>) -> Result<Option<Mount>, Error> {
    let path = match (filled(path), product) {
        (Some(path), _) => path,
        (None, Product::Vault) => return Ok(None),
        // As in External Secrets Operator.
        (None, Product::OpenBao) => "kv".to_owned(),
    };
    let field = format!("{product}.path");
    if clean(&path).map_err(|error| error.context(&field).with_blame(Blame::Spec))?.is_empty() {
        Err(Error::invalid(format!("{field} names no mount")))
    } else {
        Ok(Some(Mount { path, keys_may_repeat_it: product == Product::Vault }))
    }
}

/// The version of the engine by the spec of a store alone; that of most where it makes no sense.
pub fn version_of(spec: &serde_json::Value) -> KvVersion {
    version(Product::Vault, spec["version"].as_str()).unwrap_or(KvVersion::V2)
}

fn version(product: Product, text: Option<&str>) -> Result<KvVersion, Error> {
    match text {
        None | Some("" | "v2") => Ok(KvVersion::V2),
        Some("v1") => Ok(KvVersion::V1),
        Some(_) => Err(Error::invalid(format!("{product}.version must be v1 or v2"))),
    }
}

fn identity(product: Product, tls: Option<TlsSpec>) -> Result<Option<(SecretRef, SecretRef)>, Error> {
    match tls.map(|tls| (tls.cert_secret_ref, tls.key_secret_ref)) {
        None | Some((None, None)) => Ok(None),
        Some((Some(cert), Some(key))) => Ok(Some((cert, key))),
        Some(_) => Err(Error::invalid(format!("{product}.tls needs both certSecretRef and keySecretRef"))),
    }
}

fn headers(
    product: Product,
    spec: BTreeMap<String, Option<HeaderSpec>>,
    forward_inconsistent: bool,
) -> Result<Vec<(HeaderName, HeaderSource)>, Error> {
    let mut headers = Vec::with_capacity(spec.len() + 1);
    for (name, source) in spec {
        let field = format!("{product}.headers[{name:?}]");
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

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
