//! The handle that tests hold.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use crate::cargo_bin;
use crate::description::{Description, KEYFERRY_TESTBED, Kubernetes};
use crate::guests::Node;
use crate::namespace::Namespace;
use crate::process::{Signal, is_running, send_signal};
use crate::rights::Granted;
use crate::vault::Vault;

/// Names another `testbed` program than the one that cargo built.
const TESTBED_BIN: &str = "KEYFERRY_TESTBED_BIN";

/// A running testbed. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct Testbed {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Changes when a server is restarted.
    description: Mutex<Description>,
    supervisor: Option<Supervisor>,
    granted: Granted,
    node: OnceLock<Node>,
}

/// The program that runs the servers. It ends when its stdin closes, which the kernel
/// does for us however this process ends.
#[derive(Debug)]
struct Supervisor {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Testbed {
    /// The testbed of this process, started when first asked for: the one that the
    /// variable `KEYFERRY_TESTBED` names, or a new one. Blocks until it is ready, and
    /// panics when it does not start: tests fail then, all with the same cause.
    #[track_caller]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Testbed, String>> = OnceLock::new();
        Self::once(&SHARED, &[])
    }

    /// The same with a node, on which pods run. It needs what `testbed up --node` needs, and names it where it is missing.
    #[track_caller]
    pub fn with_node() -> &'static Self {
        static SHARED: OnceLock<Result<Testbed, String>> = OnceLock::new();
        let testbed = Self::once(&SHARED, &["--node"]);
        assert!(
            testbed.description().node.is_some(),
            "the testbed of {KEYFERRY_TESTBED} has no node; `up --node` has one"
        );
        testbed
    }

    #[track_caller]
    fn once(shared: &'static OnceLock<Result<Testbed, String>>, args: &[&str]) -> &'static Self {
        let shared = shared.get_or_init(|| {
            let named = std::env::var_os(KEYFERRY_TESTBED).filter(|file| !file.is_empty());
            let testbed = match named {
                Some(file) => Self::attach(Path::new(&file)),
                None => Self::private(args),
            };
            testbed.map_err(|error| format!("{error:#}"))
        });
        match shared {
            Ok(testbed) => testbed,
            Err(error) => panic!("the testbed did not start: {error}"),
        }
    }

    /// A new testbed for a test that breaks things; it ends when the last handle is
    /// dropped. `args` are further arguments of `testbed up`. Blocks until it is ready.
    pub fn private(args: &[&str]) -> Result<Self> {
        // One after the other: each start alone keeps all cores busy, and together they are late for each other.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let program = cargo_bin::find("keyferry-testkit", "testbed", TESTBED_BIN)?;
        let mut child = Command::new(&program)
            .args(["up", "--until-stdin-closes"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(|| anyhow!("no stdout"))?;
        let supervisor = Supervisor { child, stdin };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("cannot read what the supervisor prints")?;
        if line.is_empty() {
            Err(anyhow!("`testbed up` ended early; it says why on stderr, above"))
        } else {
            Ok(Self::new(Description::parse(&line)?, Some(supervisor)))
        }
    }

    /// The testbed that a `testbed.json` describes; whoever started it ends it.
    pub fn attach(file: &Path) -> Result<Self> {
        let description = Description::read(file)?;
        if is_running(description.supervisor_pid) {
            Ok(Self::new(description, None))
        } else {
            Err(anyhow!(
                "the testbed of {} does not run any more; unset {KEYFERRY_TESTBED} to start one, \
             or start one with `testbed up`",
                file.display()
            ))
        }
    }

    fn new(description: Description, supervisor: Option<Supervisor>) -> Self {
        let inner = Inner {
            description: Mutex::new(description),
            supervisor,
            granted: Granted::default(),
            node: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Everything about it.
    pub fn description(&self) -> Description {
        let description = self.inner.description.lock();
        description.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How to reach the API server.
    pub fn kubernetes(&self) -> Kubernetes {
        self.description().kubernetes
    }

    /// A kubeconfig file of a cluster admin.
    pub fn kubeconfig(&self) -> std::path::PathBuf {
        self.kubernetes().kubeconfig
    }

    /// The URL of OpenBao.
    pub fn vault_url(&self) -> String {
        self.description().vault.url
    }

    /// The root token of OpenBao.
    pub fn vault_token(&self) -> String {
        self.description().vault.token
    }

    /// A client of OpenBao with the root token.
    pub fn vault(&self) -> Vault {
        Vault::new(&self.vault_url(), &self.vault_token(), None).expect("a plain HTTP client")
    }

    /// The endpoint of every AWS service.
    pub fn moto_url(&self) -> String {
        self.description().moto.url
    }

    /// The node, which a testbed of [`Self::with_node`] or with the argument `--node` has.
    #[track_caller]
    pub fn node(&self) -> &Node {
        self.inner.node.get_or_init(|| {
            let node = Node::of(&self.description());
            node.unwrap_or_else(|error| panic!("no node to be had: {error:#}"))
        })
    }

    pub(crate) fn granted(&self) -> &Granted {
        &self.inner.granted
    }

    /// A client of a cluster admin. A client belongs to the runtime that made it, and
    /// each test has its own: ask for one in each test.
    pub async fn kube_client(&self) -> Client {
        let client = async {
            crate::install_crypto_provider();
            let kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
            let options = KubeConfigOptions::default();
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
            // A proxy of the developer's environment does not reach our loopback.
            config.proxy_url = None;
            anyhow::Ok(Client::try_from(config)?)
        };
        client.await.expect("the testbed's own kubeconfig is good")
    }

    /// A fresh namespace, named by `prefix` and something random.
    pub async fn namespace(&self, prefix: &str) -> Namespace {
        self.namespace_named(&format!("{prefix}-{:08x}", rand::random::<u32>())).await
    }

    /// A fresh namespace of exactly this name: only one test may have it at a time.
    pub async fn namespace_named(&self, name: &str) -> Namespace {
        let namespace = Namespace::create(self, name.to_owned()).await;
        namespace.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// The process id of a server: `etcd`, `kube-apiserver`, `kube-controller-manager`,
    /// `openbao` or `moto`; with a node also `kubelet`, `containerd`, `kube-proxy` or `kube-scheduler`.
    pub fn pid(&self, server: &str) -> Result<u32> {
        let servers = self.description().servers;
        let process = servers.get(server).ok_or_else(|| {
            let names: Vec<&str> = servers.keys().map(String::as_str).collect();
            anyhow!("no server {server:?}; there are {}", names.join(", "))
        })?;
        Ok(process.pid)
    }

    /// What a server has logged.
    pub fn log(&self, server: &str) -> Result<String> {
        self.pid(server)?;
        let log = self.description().servers[server].log.clone();
        std::fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))
    }

    /// Kills a server with SIGKILL; [`Self::restart`] brings it back.
    pub fn kill(&self, server: &str) -> Result<()> {
        send_signal(self.pid(server)?, Signal::KILL)
    }

    /// Freezes a server: connections stay open and nothing is answered.
    pub fn freeze(&self, server: &str) -> Result<()> {
        send_signal(self.pid(server)?, Signal::STOP)
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self, server: &str) -> Result<()> {
        send_signal(self.pid(server)?, Signal::CONT)
    }

    /// Stops a server if it runs, and starts it on its old port. etcd keeps its data,
    /// OpenBao and moto begin empty. Blocks until it is ready.
    pub fn restart(&self, server: &str) -> Result<()> {
        let description = self.description();
        let restarted = ask(&description, &format!("restart {server}"));
        *self.inner.description.lock().unwrap_or_else(PoisonError::into_inner) =
            Description::read(&description.file())?;
        restarted.with_context(|| format!("cannot restart {server}"))
    }

    /// The process id of the supervisor, where this process started it.
    pub fn supervisor_pid(&self) -> Option<u32> {
        self.inner.supervisor.as_ref().map(|s| s.child.id())
    }
}

/// Has the supervisor do something, and waits until it is done.
pub(crate) fn ask(description: &Description, command: &str) -> Result<()> {
    let mut control =
        UnixStream::connect(&description.control_socket).context("cannot reach the supervisor; does it still run?")?;
    writeln!(control, "{command}").context("cannot ask the supervisor")?;
    let mut answer = String::new();
    control.read_to_string(&mut answer).context("the supervisor did not answer")?;
    match answer.trim() {
        "ok" => Ok(()),
        cause => Err(anyhow!("{cause}")),
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It fails only if it was waited for already.
        let _ = self.child.wait();
    }
}
