//! All of it together: a control plane, the operator on it, both tenants, and the probe.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use keyferry_behaviour_tests::{Operator, cluster};
use keyferry_testkit::{OPERATOR_ACCOUNT, OPERATOR_NAMESPACE, Operator as Program, Testbed};

use crate::attacker::Attacker;
use crate::honest::{self, Honest};
use crate::probe::{LEASE, LEASE_NAMESPACE, Probe};
use crate::report::progress;
use crate::server::Server;
use crate::stranger::Listeners;

/// How long anything may take before an attack has begun.
const START: Duration = Duration::from_secs(120);

/// The flag that lets stores be on this machine, where the operator knows it.
const ALLOW: &str = "--allow-store-addresses";

/// Everything that runs. All of it ends when this is dropped.
pub struct Ground {
    // The operator first: it ends before what it works on.
    operator: Option<Operator>,
    /// How the operator fares.
    pub probe: Option<Probe>,
    /// The tenant who behaves.
    pub honest: Honest,
    /// The tenant who attacks.
    pub attacker: Attacker,
    /// His store.
    pub server: Server,
    args: Vec<String>,
    dir: tempfile::TempDir,
    testbed: Testbed,
}

impl Ground {
    /// Starts everything, and waits until the honest tenant is served.
    pub async fn start() -> Result<Self> {
        progress("starting a control plane");
        let testbed = tokio::task::spawn_blocking(|| cluster::private(&[])).await??;
        allow_restarts(&testbed).context("the operator's rights over workloads")?;
        let listeners = Listeners::new()?;
        let attacker = Attacker::new(&testbed, listeners).await.context("the attacker")?;
        let honest = Honest::start(&testbed).await.context("the honest tenant")?;
        let server = Server::start(vec![
            ("the honest tenant's token".to_owned(), honest::TOKEN.to_owned()),
            ("the honest tenant's generated value".to_owned(), honest::GENERATED.to_owned()),
            ("the operator's own token".to_owned(), operator_token(&testbed)?),
        ]);
        let dir = tempfile::Builder::new().prefix("keyferry-hostile-").tempdir()?;
        let mut args = arguments()?;
        args.extend(listeners.flags(OPERATOR_NAMESPACE, dir.path())?);
        let mut ground = Self { operator: None, probe: None, honest, attacker, server, args, dir, testbed };
        ground.start_operator().await?;
        ground.honest.until_served(START).await.context("the honest tenant is not served, and nobody attacks")?;
        ground.begin();
        Ok(ground)
    }

    /// Starts the operator, and begins to ask about it.
    pub async fn start_operator(&mut self) -> Result<()> {
        let mut operator = Operator::start(&self.testbed, &self.args, &[], &self.log_file()).await?;
        let id = operator.process().id();
        self.probe = Some(Probe::start(&self.testbed, id, operator.live_url("/healthz")));
        self.operator = Some(operator);
        Ok(())
    }

    /// Ends the operator as the kernel does when memory is short.
    pub fn kill_operator(&mut self) {
        self.probe = None;
        if let Some(mut operator) = self.operator.take() {
            operator.process().kill9();
        }
    }

    /// Counts anew what tenant and operator come to.
    pub fn begin(&self) {
        self.honest.forget();
        if let Some(probe) = &self.probe {
            probe.forget();
        }
    }

    /// The last lines of the operator's log.
    pub fn log_end(&self, lines: usize) -> String {
        let log = std::fs::read(self.log_file()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("keyferry.log")
    }
}

/// The operator's arguments: the Lease is on, as in the chart.
fn arguments() -> Result<Vec<String>> {
    let mut args = vec![
        format!("--leader-election-id={LEASE}"),
        format!("--leader-election-namespace={LEASE_NAMESPACE}"),
        "--loglevel=info".to_owned(),
        "--enable-restarts".to_owned(),
    ];
    let help = std::process::Command::new(Program::program()?).args(["run", "--help"]).output()?;
    if String::from_utf8_lossy(&help.stdout).contains(ALLOW) {
        args.push(format!("{ALLOW}=127.0.0.0/8"));
    }
    Ok(args)
}

/// Lets the operator restart workloads, as the chart does where its values say so.
fn allow_restarts(testbed: &Testbed) -> Result<()> {
    // Its rights without that are granted when it is first asked for.
    testbed.operator_kubeconfig()?;
    let chart = Testbed::chart()?;
    let chart = chart.to_str().context("the chart's folder is no text")?;
    let args = ["template", OPERATOR_ACCOUNT, chart, "--namespace", OPERATOR_NAMESPACE];
    let rights = ["--show-only", "templates/rbac.yaml", "--set", "restarts.enabled=true"];
    let manifest = testbed.helm(&[args.as_slice(), &rights].concat(), "")?;
    testbed.kubectl(&["apply", "--server-side", "--force-conflicts", "--filename=-"], &manifest)?;
    Ok(())
}

/// The operator's own token, by which it is known where it is sent.
fn operator_token(testbed: &Testbed) -> Result<String> {
    let kubeconfig: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(testbed.operator_kubeconfig()?)?)?;
    let token = kubeconfig["users"][0]["user"]["token"].as_str();
    Ok(token.context("the operator's kubeconfig has no token")?.to_owned())
}
