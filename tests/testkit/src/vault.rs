//! A small client for OpenBao, so that tests read as what they do to the store.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A client with a token, and optionally a namespace.
#[derive(Debug, Clone)]
pub struct Vault {
    http: reqwest::Client,
    url: String,
    token: String,
    namespace: Option<String>,
}

impl Vault {
    /// A client of the server at `url`, which trusts the CAs of `ca_pem` only.
    pub fn new(url: &str, token: &str, ca_pem: Option<&str>) -> Result<Self> {
        crate::install_crypto_provider();
        let trusted =
            reqwest::Certificate::from_pem_bundle(ca_pem.unwrap_or_default().as_bytes()).context("the CA is no PEM")?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            // A kept connection would fail the first request after a restart.
            .pool_max_idle_per_host(0)
            .tls_certs_only(trusted)
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), token: token.to_owned(), namespace: None })
    }

    /// The server's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The token it sends.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The same with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The same inside a namespace of OpenBao.
    pub fn with_namespace(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// Any request below `/v1/`. Gives the answer as it is, whatever its status.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        let url = format!("{}/v1/{}", self.url, path.trim_start_matches('/'));
        let mut request = self.http.request(method.clone(), &url).header("X-Vault-Token", &self.token);
        if let Some(namespace) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.with_context(|| format!("{method} {url}"))?;
        let status = answer.status();
        let text = answer.text().await?;
        // Deletions and writes are often answered with nothing.
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// Any request below `/v1/` that must succeed.
    pub async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, answer) = self.send(method.clone(), path, body).await?;
        if status.is_success() {
            Ok(answer)
        } else {
            Err(anyhow!("{method} {path} was answered with {status}: {}", answer.get("errors").unwrap_or(&Value::Null)))
        }
    }

    /// Writes a secret to KV version 2 at `secret/`; gives its new version.
    pub async fn put(&self, path: &str, data: Value) -> Result<u64> {
        self.put_at("secret", path, data).await
    }

    /// Writes a secret to KV version 2 at `mount`; gives its new version.
    pub async fn put_at(&self, mount: &str, path: &str, data: Value) -> Result<u64> {
        let body = json!({ "data": data });
        let path = format!("{mount}/data/{path}");
        let answer = self.request(Method::POST, &path, Some(&body)).await?;
        let version = answer.pointer("/data/version").and_then(Value::as_u64);
        version.ok_or_else(|| anyhow!("no version in the answer; is {mount} KV version 2?"))
    }

    /// The newest version of a secret in KV version 2 at `secret/`; `None` where there is none.
    pub async fn get(&self, path: &str) -> Result<Option<Value>> {
        let path = format!("secret/data/{path}");
        let (status, mut answer) = self.send(Method::GET, &path, None).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            _ if status.is_success() => Ok(answer.pointer_mut("/data/data").map(Value::take)),
            _ => Err(anyhow!("GET {path} was answered with {status}")),
        }
    }

    /// Removes a secret and all its versions from KV version 2 at `secret/`.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let path = format!("secret/metadata/{path}");
        self.request(Method::DELETE, &path, None).await.map(drop)
    }

    /// Mounts a secrets engine, such as `kv` with the options `{"version": "1"}`.
    pub async fn mount(&self, path: &str, kind: &str, options: Value) -> Result<()> {
        let body = json!({ "type": kind, "options": options });
        let path = format!("sys/mounts/{path}");
        self.request(Method::POST, &path, Some(&body)).await.map(drop)
    }

    /// Enables an auth method such as `approle` at `path`; one that is there already stays.
    pub async fn enable_auth(&self, path: &str, kind: &str) -> Result<()> {
        let methods = self.request(Method::GET, "sys/auth", None).await?;
        match methods.get(format!("{path}/")) {
            Some(_) => Ok(()),
            None => {
                let body = json!({ "type": kind });
                let path = format!("sys/auth/{path}");
                self.request(Method::POST, &path, Some(&body)).await.map(drop)
            }
        }
    }

    /// Enables kubernetes auth at `path`, which checks tokens at this API server.
    /// The reviewer's token must be allowed to create TokenReviews.
    pub async fn enable_kubernetes_auth(&self, path: &str, kubernetes: &crate::description::Kubernetes) -> Result<()> {
        self.enable_auth(path, "kubernetes").await?;
        let ca = std::fs::read_to_string(&kubernetes.ca_file).context("cannot read the CA")?;
        let body = json!({
            "kubernetes_host": kubernetes.url,
            "kubernetes_ca_cert": ca,
            "token_reviewer_jwt": kubernetes.token,
            "disable_local_ca_jwt": true,
        });
        let path = format!("auth/{path}/config");
        self.request(Method::POST, &path, Some(&body)).await.map(drop)
    }

    /// Writes a policy; `rules` are HCL.
    pub async fn write_policy(&self, name: &str, rules: impl Display) -> Result<()> {
        let body = json!({ "policy": rules.to_string() });
        let path = format!("sys/policies/acl/{name}");
        self.request(Method::PUT, &path, Some(&body)).await.map(drop)
    }

    /// A new token that has these policies only.
    pub async fn create_token(&self, policies: &[&str]) -> Result<String> {
        let body = json!({ "policies": policies, "no_default_policy": true });
        let answer = self.request(Method::POST, "auth/token/create", Some(&body)).await?;
        let token = answer.pointer("/auth/client_token").and_then(Value::as_str);
        token.map(str::to_owned).ok_or_else(|| anyhow!("no token in the answer"))
    }
}
