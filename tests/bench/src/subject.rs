//! The operator that is measured: keyferry as it is built, or any command.

use std::time::Duration;

use anyhow::{Result, anyhow};
use keyferry_testkit::{Operator, Testbed};

use crate::double::Double;

/// How long it may take to end when asked.
const STOP: Duration = Duration::from_secs(60);

/// A running operator.
pub struct Subject {
    operator: Operator,
}

impl Subject {
    /// Starts keyferry with further arguments, or `command`: a shell's command line, which finds `KUBECONFIG`,
    /// `METRICS_PORT` and `HEALTH_PORT` in its environment, and AWS's endpoints where External Secrets Operator looks
    /// for them.
    pub fn start(testbed: &Testbed, double: &Double, command: Option<&str>, args: &[&str]) -> Result<Self> {
        let (metrics, health) = (Operator::free_port()?, Operator::free_port()?);
        // Peers bring rights of their own; ours runs with what its chart grants.
        let kubeconfig = match command {
            Some(_) => testbed.kubeconfig(),
            None => {
                // Where no pod says otherwise, the Lease is there.
                let shards = args.iter().find_map(|arg| arg.strip_prefix("--shards=")?.parse().ok());
                testbed.allow_leases("default", "external-secrets-controller", shards.unwrap_or(0))?;
                testbed.operator_kubeconfig()?
            }
        };
        let builder = match command {
            // With exec, so that the process that is measured is the operator and not a shell.
            Some(command) => Operator::builder().program("/bin/sh").args(["-c", &format!("exec {command}")]),
            None => Operator::builder()
                .arg("run")
                .arg(format!("--kubeconfig={}", kubeconfig.display()))
                .arg("--allow-store-addresses=127.0.0.0/8,::1")
                // Nobody asks there, so that any ports will do.
                .args(["--metrics-addr=127.0.0.1:0", "--live-addr=127.0.0.1:0"])
                .args(args),
        };
        let operator = builder
            .env("KUBECONFIG", &kubeconfig)
            .env("METRICS_PORT", metrics.to_string())
            .env("HEALTH_PORT", health.to_string())
            .env("AWS_SECRETSMANAGER_ENDPOINT", double.url())
            .env("AWS_SSM_ENDPOINT", double.url())
            .spawn()?;
        Ok(Self { operator })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.operator.id()
    }

    /// An error with the end of its log, when it has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        match self.operator.exited()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("the operator ended with {status}; the end of its log:\n{}", self.log_end())),
        }
    }

    /// The last lines that it wrote.
    pub fn log_end(&self) -> String {
        let log = self.operator.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// All that it wrote.
    pub fn log(&self) -> String {
        self.operator.log().unwrap_or_default()
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) {
        self.operator.kill9();
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        let status = self.operator.terminate(STOP)?;
        if status.success() {
            Ok(())
        } else {
            Err(anyhow!("the operator ended with {status} after SIGTERM; the end of its log:\n{}", self.log_end()))
        }
    }
}
