//! One server: how it is started, when it is ready, and how it is started again.
//!
//! Modules, in reading order: [`pki`] keys and certificates, and the servers: [`control_plane`], [`node`], [`openbao`],
//! [`moto`], [`barbican`].

mod pki;
mod control_plane;
mod node;
mod openbao;
mod moto;
mod barbican;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

pub use barbican::Barbican;
pub(crate) use control_plane::{ControlPlane, ControlPlaneOptions};
pub(crate) use moto::start as start_moto;
pub(crate) use node::{Node, Tokens};
pub(crate) use openbao::start as start_openbao;
pub use openbao::{OpenBao, OpenBaoOptions};

use crate::node::Inside;
use crate::process::{Process, tail};

/// How long a server may take to be ready. Machines that compile at the same time are slow.
const READY_WITHIN: Duration = Duration::from_secs(300);
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// How often a start is tried with other ports when somebody took ours.
const PORT_ATTEMPTS: u32 = 5;
const PORT_PAUSE: Duration = Duration::from_secs(2);
/// Where we take ports from: below those that the kernel gives to whoever connects, which come and go all the time.
const PORTS: RangeInclusive<u16> = 15_000..=32_000;

/// All that is needed to start a server, the first time and again.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub name: &'static str,
    pub program: PathBuf,
    pub args: Vec<String>,
    /// Its home and working directory.
    pub dir: PathBuf,
    pub log: PathBuf,
    /// The node that it is to run in.
    pub inside: Option<Inside>,
    pub ready: Probe,
}

/// When a server is ready.
#[derive(Debug, Clone)]
pub(crate) enum Probe {
    /// A URL answers with a success.
    Http(HttpProbe),
    /// The inside of a node has this Unix socket, and somebody listens there.
    Socket(PathBuf),
}

#[derive(Debug, Clone)]
pub(crate) struct HttpProbe {
    pub url: String,
    pub header: Option<(&'static str, String)>,
    /// PEM file with the CA to trust. Read at each start: some servers make it themselves.
    pub ca_file: Option<PathBuf>,
}

/// A server that was ready when it was started.
#[derive(Debug)]
pub(crate) struct Server {
    spec: Spec,
    pub process: Process,
}

/// Why a server did not start.
enum Failure {
    PortTaken(anyhow::Error),
    Other(anyhow::Error),
}

impl Server {
    /// Starts what `make` describes. `make` picks free ports, and is asked again when
    /// somebody else took one of them in the meantime.
    pub async fn start(make: impl Fn() -> Result<Spec>) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::try_start(make()?).await {
                Ok(server) => return Ok(server),
                Err(Failure::PortTaken(_)) if attempt < PORT_ATTEMPTS => attempt += 1,
                Err(Failure::PortTaken(error) | Failure::Other(error)) => return Err(error),
            }
        }
    }

    /// Starts it again with the same ports and data; stops it first if it runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill();
        let mut attempt = 1;
        loop {
            match Self::try_start(self.spec.clone()).await {
                Ok(server) => {
                    *self = server;
                    return Ok(());
                }
                // Whoever has it may need it for a moment only.
                Err(Failure::PortTaken(_)) if attempt < PORT_ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(PORT_PAUSE).await;
                }
                Err(Failure::PortTaken(error) | Failure::Other(error)) => return Err(error),
            }
        }
    }

    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    async fn try_start(spec: Spec) -> Result<Self, Failure> {
        let process = match &spec.inside {
            Some(inside) => inside.start(spec.name, spec.command(), &spec.dir, &spec.log),
            None => Process::start(spec.name, spec.command(), &spec.log),
        };
        let process = process.map_err(Failure::Other)?;
        let mut server = Self { spec, process };
        match server.wait_ready().await {
            Ok(()) => Ok(server),
            Err(error) => {
                let log = tail(&server.spec.log, 25);
                let error = error.context(format!("{} did not start; the end of its log:\n{log}\n", server.spec.name));
                if log.to_lowercase().contains("address already in use") {
                    Err(Failure::PortTaken(error))
                } else {
                    Err(Failure::Other(error))
                }
            }
        }
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.exited()? {
                return Err(anyhow!("it ended with {status}"));
            }
            match self.spec.ready.ask().await {
                Ok(()) => return Ok(()),
                Err(error) if start.elapsed() > READY_WITHIN => {
                    return Err(error.context(format!("it was not ready within {READY_WITHIN:?}")));
                }
                Err(_) => tokio::time::sleep(PROBE_EVERY).await,
            }
        }
    }
}

impl Spec {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .current_dir(&self.dir)
            // Proxies, VAULT_* and the like of the developer are not for our servers.
            .env_clear()
            .env("HOME", &self.dir)
            .env("PATH", self.path());
        command
    }

    /// Those of a node call others: what lies beside them, and what administrators use.
    fn path(&self) -> OsString {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = self.program.parent().filter(|_| self.inside.is_some()).map(Path::to_owned);
        let more = ["/usr/sbin", "/sbin"].map(PathBuf::from).into_iter().filter(|_| self.inside.is_some());
        let folders = own.into_iter().chain(std::env::split_paths(&path)).chain(more);
        std::env::join_paths(folders).unwrap_or_else(|_| path.clone())
    }
}

impl Probe {
    /// Asks without authentication.
    pub fn plain(url: String) -> Self {
        Self::Http(HttpProbe { url, header: None, ca_file: None })
    }

    /// Where it asks, if that has a URL.
    fn url(&self) -> &str {
        match self {
            Self::Http(probe) => &probe.url,
            Self::Socket(_) => "",
        }
    }

    async fn ask(&self) -> Result<()> {
        match self {
            Self::Http(probe) => probe.ask().await,
            Self::Socket(path) => {
                let listening = tokio::net::UnixStream::connect(path).await;
                listening.map(|_| ()).with_context(|| format!("nobody listens at {}", path.display()))
            }
        }
    }
}

impl HttpProbe {
    async fn ask(&self) -> Result<()> {
        let client = http_client(self.ca_file.as_deref())?;
        let request = client.get(&self.url).timeout(Duration::from_secs(5));
        let request = match &self.header {
            Some((name, value)) => request.header(*name, value),
            None => request,
        };
        request.send().await?.error_for_status()?;
        Ok(())
    }
}

/// A client that trusts the CA of the file, and takes no proxy from the environment.
pub(crate) fn http_client(ca_file: Option<&Path>) -> Result<reqwest::Client> {
    crate::install_crypto_provider();
    let builder = reqwest::Client::builder().no_proxy();
    let builder = match ca_file {
        None => builder.tls_certs_only([]),
        Some(file) => {
            let pem = std::fs::read(file).with_context(|| format!("cannot read the CA {}", file.display()))?;
            builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?)
        }
    };
    builder.build().context("cannot make an HTTP client")
}

/// A loopback port that nobody uses now.
pub(crate) fn free_port() -> Result<u16> {
    free_ports(1)
}

/// A loopback port that nobody uses now, nor the one after it.
pub(crate) fn free_port_pair() -> Result<u16> {
    free_ports(2)
}

/// The first of so many ports in a row that nobody uses now, and that this process has given to nobody yet: who gets
/// one needs a while until it listens. They are random, as other processes do the same.
fn free_ports(count: u16) -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1000 {
        let first = rand::random_range(PORTS);
        let ports = first..first + count;
        let is_free = |port: u16| !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if ports.clone().all(is_free) {
            given.extend(ports);
            return Ok(first);
        }
    }
    Err(anyhow!("no {count} free ports in a row"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let mut ports: Vec<u16> = (0..200).map(|_| free_port().unwrap()).collect();
        let pair = free_port_pair().unwrap();
        ports.extend([pair, pair + 1]);
        assert!(ports.iter().all(|port| (*port).clamp(15_000, 32_001) == *port), "{ports:?}");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 202);
    }

    /// A server that is a shell script, and is ready when the one at `port` answers.
    fn script(dir: &Path, text: &str, port: u16) -> Spec {
        Spec {
            name: "script",
            program: "/bin/sh".into(),
            args: vec!["-c".into(), text.into()],
            dir: dir.to_owned(),
            log: dir.join("script.log"),
            inside: None,
            ready: Probe::plain(format!("http://127.0.0.1:{port}/")),
        }
    }

    /// Answers every request with success.
    fn healthy() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        });
        port
    }

    #[tokio::test]
    async fn a_taken_port_means_another_try_with_other_ports() {
        let dir = tempfile::tempdir().unwrap();
        let tries = AtomicUsize::new(0);
        let healthy = healthy();
        let server = Server::start(|| match tries.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(script(dir.path(), "echo 'bind: Address already in use'; exit 1", 1)),
            _ => Ok(script(dir.path(), "exec sleep 600", healthy)),
        });
        let id = server.await.unwrap().process.id();
        assert_eq!(tries.load(Ordering::SeqCst), 2);
        assert!(!crate::process::is_running(id), "dropped with the server");
    }

    #[tokio::test]
    async fn another_failure_is_told_with_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let tries = AtomicUsize::new(0);
        let server = Server::start(|| {
            tries.fetch_add(1, Ordering::SeqCst);
            Ok(script(dir.path(), "echo no such disk; exit 4", 1))
        });
        let error = format!("{:#}", server.await.unwrap_err());
        assert!(error.contains("no such disk") && error.contains("exit status: 4"), "{error}");
        assert_eq!(tries.load(Ordering::SeqCst), 1);
    }
}
