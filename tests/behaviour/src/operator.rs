//! The operator under test, with its ports and its log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use keyferry_testkit::process::Signal;
use keyferry_testkit::{Operator as Process, Testbed};

/// How long it may take to be ready.
const START: Duration = Duration::from_secs(180);

/// How long it may take to end when asked.
const STOP: Duration = Duration::from_secs(45);

/// A running `keyferry run`.
pub struct Operator {
    process: Process,
    live: u16,
    metrics: u16,
}

impl Operator {
    /// Starts it with this in its environment, appending its output to `log`, and waits until it is ready.
    pub async fn start(testbed: &Testbed, args: &[String], env: &[(&str, String)], log: &Path) -> Result<Self> {
        let mut last = anyhow!("it was never started");
        // A port that was free may be taken by somebody else before the operator gets to it.
        for _ in 0..3 {
            let mut operator = Self::spawn(testbed, args, env, log)?;
            let url = operator.live_url("/readyz");
            match operator.process.wait_ready(&url, START).await {
                Ok(()) => return Ok(operator),
                Err(error) if error.to_string().contains("can't listen on") => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Starts it and waits for nothing.
    pub fn spawn(testbed: &Testbed, args: &[String], env: &[(&str, String)], log: &Path) -> Result<Self> {
        let (live, metrics) = (Process::free_port()?, Process::free_port()?);
        // With the rights that the chart gives, so that tests find what it forgot.
        let kubeconfig = testbed.operator_kubeconfig()?;
        if let Some((namespace, name)) = lease(args) {
            let shards = args.iter().find_map(|arg| arg.strip_prefix("--shards=")?.parse().ok());
            testbed.allow_leases(namespace, name, shards.unwrap_or(0))?;
        }
        // The servers of the testbed are on this machine.
        let own = "--allow-store-addresses=127.0.0.0/8,::1";
        let says_where = args.iter().any(|arg| arg.starts_with("--allow-store-addresses"));
        let process = Process::builder()
            .arg("run")
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args((!says_where).then_some(own))
            .arg(format!("--live-addr=127.0.0.1:{live}"))
            .arg(format!("--metrics-addr=127.0.0.1:{metrics}"))
            .args(args)
            .env("AWS_SECRETSMANAGER_ENDPOINT", testbed.moto_url())
            .env("AWS_SSM_ENDPOINT", testbed.moto_url());
        let process = env.iter().fold(process, |process, (name, value)| process.env(name, value));
        Ok(Self { process: process.log_file(log).spawn()?, live, metrics })
    }

    /// An URL of its health server.
    pub fn live_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.live)
    }

    /// An URL of its metrics server.
    pub fn metrics_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.metrics)
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> Result<String> {
        let (status, text) = get(&self.metrics_url("/metrics")).await?;
        match status {
            200 => Ok(text),
            _ => Err(anyhow!("/metrics answered with {status}")),
        }
    }

    /// The process underneath.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks it to end. An error where it does not, or not well.
    pub fn stop(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait(STOP)?;
        if status.success() { Ok(()) } else { Err(anyhow!("keyferry ended with {status} after SIGTERM")) }
    }

    /// Where its output goes.
    pub fn log_file(&self) -> PathBuf {
        self.process.log_file().to_owned()
    }
}

/// The Lease that an operator with these arguments wants: its namespace and name.
fn lease(args: &[String]) -> Option<(&str, &str)> {
    let value = |flag: &str| args.iter().find_map(|arg| arg.strip_prefix(flag)?.strip_prefix('='));
    match value("--enable-leader-election") {
        Some("false") => None,
        _ => Some((
            value("--leader-election-namespace").unwrap_or("default"),
            value("--leader-election-id").unwrap_or("external-secrets-controller"),
        )),
    }
}

/// The status and body of an HTTP answer.
pub async fn get(url: &str) -> Result<(u16, String)> {
    keyferry_testkit::install_crypto_provider();
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    let answer = client.get(url).send().await.with_context(|| format!("GET {url}"))?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await?))
}

/// The value of one series of an exposition text: of `name` with all these labels; the sum where several match.
pub fn series(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with('{') || rest.starts_with(' '))
        .filter(|rest| wanted.iter().all(|label| rest.contains(label)))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
