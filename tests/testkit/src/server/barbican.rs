//! Barbican and the Keystone that it believes, for suites that need them: with a project, and a user who may keep secrets
//! there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Probe, Server, Spec, free_port, http_client};
use crate::install;

const SERVE: &str = include_str!("../../../tools/barbican/serve.py");
const ADMIN: &str = "admin-of-the-testbed";

/// A running Barbican with its Keystone. Both end when dropped.
#[derive(Debug)]
pub struct Barbican {
    keystone: String,
    barbican: String,
    token: String,
    user: String,
    _servers: [Server; 2],
    // Declared last: the servers end before their folder goes.
    _dir: TempDir,
}

impl Barbican {
    /// The project that secrets are kept in; it is of the domain `Default`.
    pub const PROJECT: &str = "lab";
    /// The user who may keep them.
    pub const USER: &str = "app";
    /// The user's password.
    pub const PASSWORD: &str = "canary-of-the-password";
    /// A user of the same password, who may log in to the project and not use Barbican there.
    pub const READER: &str = "reader";

    /// Starts both on free loopback ports. Installs them the first time, in a minute or two.
    pub async fn start() -> Result<Self> {
        let python = install::barbican()?;
        let dir = tempfile::Builder::new().prefix("keyferry-barbican-").tempdir()?;
        fs::write(dir.path().join("serve.py"), SERVE)?;
        let server = async |name: &'static str, ready: &str, more: &[String]| {
            Server::start(|| spec(&python, dir.path(), name, ready, more)).await
        };
        let first = server("keystone", "/v3", &[]).await?;
        let keystone = first.spec.ready.url().to_owned();
        let port = first.spec.args.last().cloned().unwrap_or_default();
        let second = server("barbican", "/healthcheck", &[port]).await?;
        let barbican = second.spec.ready.url().trim_end_matches("/healthcheck").to_owned();
        let mut this = Self {
            keystone,
            barbican,
            token: String::new(),
            user: String::new(),
            _servers: [first, second],
            _dir: dir,
        };
        this.set_up().await.context("cannot set up Keystone")?;
        Ok(this)
    }

    /// Where Keystone is, with the version of its API.
    pub fn auth_url(&self) -> &str {
        &self.keystone
    }

    /// Where Barbican is, as Keystone says.
    pub fn url(&self) -> &str {
        &self.barbican
    }

    /// The project, its users and the way to Barbican.
    async fn set_up(&mut self) -> Result<()> {
        self.token = self.log_in("admin", ADMIN, "admin").await?;
        let service = self.make("services", json!({"service": {"type": "key-manager"}})).await?;
        let endpoint = json!({"service_id": service, "interface": "public", "region_id": "RegionOne",
            "url": self.barbican});
        self.make("endpoints", json!({ "endpoint": endpoint })).await?;
        let project = json!({"name": Self::PROJECT, "domain_id": "default"});
        let project = self.make("projects", json!({ "project": project })).await?;
        let (_, roles) = self.ask(Method::GET, &format!("{}/roles", self.keystone), Value::Null).await?;
        for (name, role) in [(Self::READER, "reader"), (Self::USER, "member")] {
            let user = json!({"name": name, "domain_id": "default", "password": Self::PASSWORD});
            self.user = self.make("users", json!({ "user": user })).await?;
            let of_name = |one: &&Value| one["name"] == role;
            let role = roles["roles"].as_array().and_then(|all| all.iter().find(of_name)).context("a role")?;
            let (user, role) = (&self.user, role["id"].as_str().unwrap_or_default());
            let url = format!("{}/projects/{project}/users/{user}/roles/{role}", self.keystone);
            self.ask(Method::PUT, &url, Value::Null).await?;
        }
        self.token = self.log_in(Self::USER, Self::PASSWORD, Self::PROJECT).await?;
        Ok(())
    }

    async fn log_in(&self, user: &str, password: &str, project: &str) -> Result<String> {
        let domain = json!({"id": "default"});
        let user = json!({"name": user, "password": password, "domain": domain});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": project, "domain": domain}},
        }});
        let request = http_client(None)?.post(format!("{}/auth/tokens", self.keystone));
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await?;
        let token = answer.error_for_status()?.headers().get("x-subject-token").cloned();
        Ok(token.context("a login gives a token")?.to_str()?.to_owned())
    }

    /// Makes something in Keystone; gives its id.
    async fn make(&self, what: &str, body: Value) -> Result<String> {
        let (_, made) = self.ask(Method::POST, &format!("{}/{what}", self.keystone), body).await?;
        let id = made.as_object().and_then(|made| made.values().next()).and_then(|made| made["id"].as_str());
        Ok(id.with_context(|| format!("{what}: no id"))?.to_owned())
    }

    /// Asks one of the two, as who is logged in; gives the status, which is none of an error, and the answer.
    async fn ask(&self, method: Method, url: &str, body: Value) -> Result<(u16, Value)> {
        let request = http_client(None)?.request(method, url).header("x-auth-token", &self.token);
        let request = match body {
            Value::Null => request,
            body => request.header("content-type", "application/json").body(body.to_string()),
        };
        let answer = request.header("accept", "application/json").send().await?;
        let (status, text) = (answer.status().as_u16(), answer.text().await?);
        if status >= 400 {
            return Err(anyhow!("{url}: {status} {text}"));
        }
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    /// Keeps a secret: text, bytes, or none yet. Gives its id.
    pub async fn put(&self, name: &str, value: Option<&[u8]>) -> Result<String> {
        use base64::Engine as _;
        let mut secret = json!({ "name": name });
        if let Some(value) = value {
            match std::str::from_utf8(value) {
                Ok(text) => {
                    secret["payload"] = json!(text);
                    secret["payload_content_type"] = json!("text/plain");
                }
                Err(_) => {
                    secret["payload"] = json!(base64::engine::general_purpose::STANDARD.encode(value));
                    secret["payload_content_type"] = json!("application/octet-stream");
                    secret["payload_content_encoding"] = json!("base64");
                }
            }
        }
        let (_, made) = self.ask(Method::POST, &format!("{}/v1/secrets", self.barbican), secret).await?;
        let id = made["secret_ref"].as_str().and_then(|href| href.rsplit('/').next());
        Ok(id.context("a secret has a URL")?.to_owned())
    }

    /// Deletes a secret.
    pub async fn delete(&self, id: &str) -> Result<()> {
        self.ask(Method::DELETE, &format!("{}/v1/secrets/{id}", self.barbican), Value::Null).await.map(|_| ())
    }

    /// Makes an application credential of the user's with this secret; gives its id.
    pub async fn application_credential(&self, secret: &str) -> Result<String> {
        // One user has no two of one name.
        let body = json!({"application_credential": {"name": secret, "secret": secret}});
        self.make(&format!("users/{}/application_credentials", self.user), body).await
    }

    /// Deletes one of those.
    pub async fn delete_application_credential(&self, id: &str) -> Result<()> {
        let url = format!("{}/users/{}/application_credentials/{id}", self.keystone, self.user);
        self.ask(Method::DELETE, &url, Value::Null).await.map(|_| ())
    }
}

fn spec(python: &Path, dir: &Path, name: &'static str, ready: &str, more: &[String]) -> Result<Spec> {
    let port = free_port()?;
    // Another try must not find what the one before left behind.
    let home: PathBuf = dir.join(format!("{name}-{port}"));
    fs::create_dir_all(&home)?;
    fs::write(home.join("password"), ADMIN)?;
    let mut args = vec![dir.join("serve.py").display().to_string(), name.to_owned(), port.to_string()];
    args.extend_from_slice(more);
    Ok(Spec {
        name,
        program: python.to_owned(),
        args,
        log: home.join("log"),
        inside: None,
        dir: home,
        ready: Probe::plain(format!("http://127.0.0.1:{port}{ready}")),
    })
}
