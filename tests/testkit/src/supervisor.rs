//! Starts the servers, keeps them until it is told to stop, and leaves nothing.
//!
//! All of it runs on the main thread of `testbed up`. While it runs it listens on a
//! Unix socket in the data folder: the line `restart SERVER` stops and starts one
//! server on its old port with its old data, `let-out PORT` opens a way from the node to
//! a port of loopback. Each is answered with `ok` or the cause of the failure on one line.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::description::{self, Description, KEYFERRY_TESTBED, ServerProcess};
use crate::install::{NodeTools, Tools};
use crate::node::{self, House};
use crate::process::{Signal, send_signal, spawn, tail};
use crate::server::{
    ControlPlane, ControlPlaneOptions, Node, OpenBaoOptions, Server, Tokens, start_moto, start_openbao,
};

const DIR_PREFIX: &str = "keyferry-testbed-";
/// Folders of `--keep`, which nobody removes but their user.
const KEPT_PREFIX: &str = "keyferry-kept-testbed-";
const LOCK: &str = "lock";
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the command of `up -- COMMAND` may take to end after SIGTERM.
const COMMAND_ENDS_WITHIN: Duration = Duration::from_secs(10);

/// What a caller may want different.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Leave data and logs in place at the end.
    pub keep: bool,
    /// Further arguments of kube-apiserver.
    pub apiserver_args: Vec<String>,
    /// Further arguments of kube-controller-manager.
    pub controller_manager_args: Vec<String>,
    /// Manifests applied before the controllers start: above all CRDs.
    pub manifests: Vec<PathBuf>,
    /// The programs of a node, where there shall be one.
    pub node: Option<NodeTools>,
}

/// All servers, running.
#[derive(Debug)]
pub struct Supervisor {
    description: Description,
    servers: Vec<Server>,
    control: UnixListener,
    /// Where the node is. What it has open goes with it.
    house: Option<House>,
    /// Ports that the node reaches already.
    let_out: BTreeSet<u16>,
    // Declared last: the servers end before their folder goes.
    _dir: DataDir,
}

impl Supervisor {
    /// Starts everything and waits until everything is ready.
    pub async fn start(tools: &Tools, options: &Options) -> Result<Self> {
        let dir = DataDir::create(options.keep)?;
        let house = match &options.node {
            Some(_) => Some(House::start(&dir.node()?, &dir.name()).await?),
            None => None,
        };
        let control_socket = dir.path().join("control.sock");
        let control = UnixListener::bind(&control_socket)
            .with_context(|| format!("cannot listen on {}", control_socket.display()))?;
        let (servers, description) = Self::start_in(tools, &dir, house.as_ref(), options).await?;
        description.write()?;
        Ok(Self { description, servers, control, house, let_out: BTreeSet::new(), _dir: dir })
    }

    async fn start_in(
        tools: &Tools,
        data: &DataDir,
        house: Option<&House>,
        options: &Options,
    ) -> Result<(Vec<Server>, Description)> {
        let dir = data.path();
        let tokens = Tokens::new();
        let control_plane_options = ControlPlaneOptions {
            apiserver_args: options.apiserver_args.clone(),
            controller_manager_args: options.controller_manager_args.clone(),
            manifests: options.manifests.clone(),
            node: house.is_some().then(|| data.node()).transpose()?.map(|node| tokens.newcomer(&node)),
        };
        let openbao_options = OpenBaoOptions::default();
        let (control_plane, (openbao, vault), (moto, moto_access)) = tokio::try_join!(
            ControlPlane::start(tools, dir, &control_plane_options),
            start_openbao(tools, dir, &openbao_options),
            start_moto(tools, dir),
        )?;
        let (node, node_servers) = match (house, &options.node) {
            (Some(house), Some(tools)) => {
                let node = Node::start(tools, &data.node()?, house, &control_plane, &tokens).await?;
                (Some(describe(house, tools)), Vec::from(node.servers))
            }
            _ => (None, Vec::new()),
        };
        // The node's end first: without the API server they would only complain.
        let mut servers = node_servers;
        servers.extend(control_plane.servers);
        servers.extend([openbao, moto]);
        let description = Description {
            supervisor_pid: std::process::id(),
            data_dir: dir.to_owned(),
            control_socket: dir.join("control.sock"),
            kubernetes: control_plane.access,
            vault,
            moto: moto_access,
            node,
            servers: processes(&servers),
        };
        Ok((servers, description))
    }

    /// What is there to be used.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Watches the servers and serves the control socket, for ever. A server that ends
    /// is reported, not started again: a test may have ended it on purpose.
    pub async fn run(&mut self) -> Result<()> {
        let mut ended: Vec<u32> = Vec::new();
        loop {
            tokio::select! {
                connection = self.control.accept() => {
                    let (stream, _) = connection.context("the control socket failed")?;
                    self.serve(stream).await;
                }
                () = tokio::time::sleep(LOOK_EVERY) => self.report_ended(&mut ended)?,
            }
        }
    }

    /// Runs `command` with the environment that points to this testbed, until it ends.
    pub async fn run_command(&mut self, command: &[String]) -> Result<ExitStatus> {
        let mut child = Child::start(command, &self.description)?;
        tokio::select! {
            status = child.ended() => status,
            failed = self.run() => Err(failed.err().unwrap_or_else(|| anyhow!("stopped"))),
        }
    }

    /// Ends everything.
    pub fn stop(self) {
        drop(self);
    }

    #[expect(clippy::print_stderr, reason = "for whoever watches the testbed")]
    fn report_ended(&mut self, ended: &mut Vec<u32>) -> Result<()> {
        for server in &mut self.servers {
            let id = server.process.id();
            match server.process.exited()? {
                Some(status) if !ended.contains(&id) => {
                    ended.push(id);
                    eprintln!(
                        "testbed: {} ended with {status}; the end of its log:\n{}",
                        server.name(),
                        tail(server.process.log_file(), 10)
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes one command of one client. What the client does wrong is its own problem.
    async fn serve(&mut self, stream: UnixStream) {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let _ = BufReader::new(read).read_line(&mut line).await;
        let answer = match self.obey(line.trim()).await {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{error:#}").replace('\n', " | "),
        };
        let _ = write.write_all(format!("{answer}\n").as_bytes()).await;
    }

    async fn obey(&mut self, command: &str) -> Result<()> {
        match command.split_once(' ') {
            Some(("restart", name)) => self.restart(name).await,
            Some(("let-out", port)) => self.let_out(port.parse().context("that is no port")?).await,
            _ => Err(anyhow!("unknown command {command:?}; there are `restart SERVER` and `let-out PORT`")),
        }
    }

    async fn let_out(&mut self, port: u16) -> Result<()> {
        let house = self.house.as_ref().ok_or_else(|| anyhow!("this testbed has no node; `up --node` has one"))?;
        if !self.let_out.contains(&port) {
            house.ways.let_out(port).await?;
            self.let_out.insert(port);
        }
        Ok(())
    }

    async fn restart(&mut self, name: &str) -> Result<()> {
        let server = self.servers.iter_mut().find(|s| s.name() == name);
        let server = server.ok_or_else(|| {
            let names: Vec<&str> = self.description.servers.keys().map(String::as_str).collect();
            anyhow!("no server {name:?}; there are {}", names.join(", "))
        })?;
        let restarted = server.restart().await;
        self.description.servers = processes(&self.servers);
        self.description.write()?;
        restarted
    }
}

fn describe(house: &House, tools: &NodeTools) -> description::Node {
    description::Node {
        name: node::NAME.into(),
        address: node::ADDRESS.into(),
        init: house.init(),
        cgroups: house.cgroups(),
        kubelet_root: node::KUBELET_ROOT.into(),
        ctr: tools.ctr.clone(),
        busybox: tools.busybox.clone(),
    }
}

fn processes(servers: &[Server]) -> BTreeMap<String, ServerProcess> {
    let process =
        |server: &Server| ServerProcess { pid: server.process.id(), log: server.process.log_file().to_owned() };
    servers.iter().map(|server| (server.name().to_owned(), process(server))).collect()
}

/// The command of `up -- COMMAND`. It keeps the terminal, so Ctrl-C reaches it too.
struct Child(std::process::Child);

impl Child {
    fn start(command: &[String], description: &Description) -> Result<Self> {
        let (program, args) = command.split_first().ok_or_else(|| anyhow!("no command given"))?;
        let mut process = Command::new(program);
        process
            .args(args)
            .env("PATH", path_with(&description.kubernetes.kubectl)?)
            .env(KEYFERRY_TESTBED, description.file())
            .env("KUBECONFIG", &description.kubernetes.kubeconfig)
            .env("VAULT_ADDR", &description.vault.url)
            .env("VAULT_TOKEN", &description.vault.token)
            .env("AWS_ENDPOINT_URL", &description.moto.url)
            .env("AWS_ACCESS_KEY_ID", "testbed")
            .env("AWS_SECRET_ACCESS_KEY", "testbed")
            .env("AWS_REGION", "eu-west-1");
        let child =
            spawn(process, Signal::TERM).with_context(|| format!("cannot run {program}; is it on the PATH?"))?;
        Ok(Self(child))
    }

    async fn ended(&mut self) -> Result<ExitStatus> {
        loop {
            match self.0.try_wait().context("cannot wait for the command")? {
                Some(status) => return Ok(status),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// The PATH with the folder of `kubectl` first: one of another version may refuse ours.
fn path_with(kubectl: &Path) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let ours = kubectl.parent().map(Path::to_owned);
    let folders = ours.into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(folders).context("the PATH cannot be extended")
}

impl Drop for Child {
    /// On the way out through a signal: asks politely, then insists.
    fn drop(&mut self) {
        let start = Instant::now();
        // Only a command that was not waited for still owns its process id.
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = send_signal(self.0.id(), Signal::TERM);
        }
        while matches!(self.0.try_wait(), Ok(None)) {
            if start.elapsed() < COMMAND_ENDS_WITHIN {
                std::thread::sleep(Duration::from_millis(20))
            } else {
                let _ = self.0.kill();
                let _ = self.0.wait();
            }
        }
    }
}

/// A fresh folder for one run. While the run lasts it holds a locked file.
#[derive(Debug)]
struct DataDir {
    path: PathBuf,
    _removed_on_drop: Option<TempDir>,
    _lock: File,
}

impl DataDir {
    fn create(keep: bool) -> Result<Self> {
        remove_leftovers(&std::env::temp_dir());
        let prefix = if keep { KEPT_PREFIX } else { DIR_PREFIX };
        let dir = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir()
            .context("cannot create a folder for the testbed's data")?;
        let path = dir.path().to_owned();
        let lock = lock(&path).context("cannot lock the testbed's data folder")?;
        let removed_on_drop = if keep {
            let _ = dir.keep();
            None
        } else {
            Some(dir)
        };
        Ok(Self { path, _removed_on_drop: removed_on_drop, _lock: lock })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    /// Its last part, by which the node's cgroups are found again.
    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The node's part of it.
    fn node(&self) -> Result<PathBuf> {
        let folder = self.path.join("node");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }
}

/// The file gets its name once it is locked, so that nobody finds it unlocked.
fn lock(dir: &Path) -> std::io::Result<File> {
    let unnamed = dir.join("lock.new");
    let file = File::create(&unnamed)?;
    file.lock()?;
    std::fs::rename(unnamed, dir.join(LOCK))?;
    Ok(file)
}

/// Removes the folders of supervisors that were killed: nobody holds their locks.
/// What cannot be removed now is tried again by the next run.
fn remove_leftovers(parent: &Path) {
    // A folder that is not there any more, or whose lock nobody holds.
    node::remove_leftovers(|name| {
        let lock = File::open(parent.join(name).join(LOCK));
        let is_ours = name.starts_with(DIR_PREFIX) || name.starts_with(KEPT_PREFIX);
        is_ours && lock.map_or(!parent.join(name).exists(), |lock| lock.try_lock().is_ok())
    });
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(DIR_PREFIX));
        let lock = File::open(entry.path().join(LOCK));
        if is_ours && lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_dead_are_removed_and_others_are_not() {
        let parent = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let dir = parent.path().join(name);
            std::fs::create_dir(&dir).unwrap();
            dir
        };
        let (dead, alive) = (folder("keyferry-testbed-dead"), folder("keyferry-testbed-alive"));
        let (kept, new) = (folder("keyferry-kept-testbed-x"), folder("keyferry-testbed-new"));
        drop(lock(&dead).unwrap());
        drop(lock(&kept).unwrap());
        let _held = lock(&alive).unwrap();

        remove_leftovers(parent.path());

        assert!(!dead.exists());
        assert!(alive.exists() && kept.exists() && new.exists());
    }
}
