//! OpenBao, which speaks the API of Vault: in memory, unsealed, with KV version 2
//! at `secret/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{HttpProbe, Probe, Server, Spec, free_port_pair};
use crate::description::Vault as Access;
use crate::install::{self, Tools};
use crate::process::Process;
use crate::vault::Vault;

/// What a caller may want different.
#[derive(Debug, Clone, Default)]
pub struct OpenBaoOptions {
    /// Serve https with a certificate of a CA made for it.
    pub tls: bool,
    /// Further arguments of `bao server`.
    pub args: Vec<String>,
}

/// An OpenBao of a test's own, besides the one of the testbed: to seal it, stop it,
/// or to have one with TLS. Ends when dropped.
#[derive(Debug)]
pub struct OpenBao {
    server: Server,
    access: Access,
    ca_file: Option<PathBuf>,
    // Declared last: the server ends before its folder goes.
    _dir: TempDir,
}

impl OpenBao {
    /// Starts one on a free loopback port.
    pub async fn start(options: &OpenBaoOptions) -> Result<Self> {
        let tools = install::ensure()?;
        let dir = tempfile::Builder::new().prefix("keyferry-openbao-").tempdir()?;
        let (server, access) = start(&tools, dir.path(), options).await?;
        let ca_file = options.tls.then(|| ca_file(dir.path()));
        Ok(Self { server, access, ca_file, _dir: dir })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.access.url
    }

    /// The root token.
    pub fn token(&self) -> &str {
        &self.access.token
    }

    /// The CA to trust, as PEM, where it has TLS.
    pub fn ca_pem(&self) -> Result<Option<String>> {
        let read = |file: &PathBuf| fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
        self.ca_file.as_ref().map(read).transpose()
    }

    /// A client with the root token.
    pub fn client(&self) -> Result<Vault> {
        Vault::new(self.url(), self.token(), self.ca_pem()?.as_deref())
    }

    /// The running server: to stop it, to freeze it, to read its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.server.process
    }

    /// Starts it again on the same port. Its data was in memory and is gone.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.restart().await
    }
}

pub(crate) async fn start(tools: &Tools, dir: &Path, options: &OpenBaoOptions) -> Result<(Server, Access)> {
    let server = Server::start(|| spec(tools, dir, options)).await?;
    let url = server.spec.ready.url().trim_end_matches(READY).to_owned();
    let access = Access { url, token: ROOT_TOKEN.into() };
    Ok((server, access))
}

const ROOT_TOKEN: &str = "root";
/// Answers once KV version 2 is usable, which is a moment after the server calls itself healthy.
const READY: &str = "/v1/secret/config";

fn spec(tools: &Tools, dir: &Path, options: &OpenBaoOptions) -> Result<Spec> {
    // It also listens on the next port, for a cluster that it will never have.
    let address = format!("127.0.0.1:{}", free_port_pair()?);
    let mut args: Vec<String> = vec![
        "server".into(),
        "-dev".into(),
        "-dev-no-store-token".into(),
        format!("-dev-root-token-id={ROOT_TOKEN}"),
        format!("-dev-listen-address={address}"),
    ];
    if options.tls {
        args.push("-dev-tls".into());
        args.push(format!("-dev-tls-cert-dir={}", dir.display()));
    }
    args.extend(options.args.iter().cloned());
    let scheme = if options.tls { "https" } else { "http" };
    Ok(Spec {
        name: "openbao",
        program: tools.bao.clone(),
        args,
        dir: dir.to_owned(),
        log: dir.join("openbao.log"),
        inside: None,
        ready: Probe::Http(HttpProbe {
            url: format!("{scheme}://{address}{READY}"),
            header: Some(("X-Vault-Token", ROOT_TOKEN.into())),
            ca_file: options.tls.then(|| ca_file(dir)),
        }),
    })
}

/// The name that `bao server -dev-tls` gives the CA that it makes.
fn ca_file(dir: &Path) -> PathBuf {
    dir.join("vault-ca.pem")
}
