//! The built `keyferry`, run as a user runs it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use tempfile::TempDir;

use crate::cargo_bin;
use crate::process::{Process, Signal};
use crate::server::{free_port, http_client};

/// Names another `keyferry` than the one that cargo built.
const KEYFERRY_BIN: &str = "KEYFERRY_BIN";
const ASK_EVERY: Duration = Duration::from_millis(20);

/// For a test that is not about the Lease: whoever can't renew it by the deadline ends, as it should, and a busy machine
/// may keep an API server from answering for long.
pub const PATIENT_LEASE: [&str; 2] = ["--leader-election-lease-duration=60s", "--leader-election-renew-deadline=50s"];

/// A running `keyferry` whose output goes to a file. Killed when dropped.
#[derive(Debug)]
pub struct Operator {
    process: Process,
    // Declared last: the process ends before its folder goes.
    _dir: Option<TempDir>,
}

/// How to start it.
#[derive(Debug, Default)]
pub struct OperatorBuilder {
    program: Option<PathBuf>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    log: Option<PathBuf>,
}

impl Operator {
    /// Begins with `keyferry` and nothing more.
    pub fn builder() -> OperatorBuilder {
        OperatorBuilder::default()
    }

    /// The program under test.
    pub fn program() -> Result<PathBuf> {
        cargo_bin::find("keyferry", "keyferry", KEYFERRY_BIN)
    }

    /// A port for one of its listeners.
    pub fn free_port() -> Result<u16> {
        free_port()
    }

    /// Waits until `url` answers with a success. An error when the operator ends before,
    /// or takes longer than `limit`; it holds the end of the log.
    pub async fn wait_ready(&mut self, url: &str, limit: Duration) -> Result<()> {
        let http = http_client(None)?;
        let start = Instant::now();
        let cause = loop {
            if let Some(status) = self.process.exited()? {
                break format!("it ended with {status}");
            }
            let answer = http.get(url).timeout(Duration::from_secs(2)).send().await;
            match answer.and_then(reqwest::Response::error_for_status) {
                // Where somebody else has the port, it was they who answered, and ours has ended.
                Ok(_) => match self.process.exited()? {
                    None => return Ok(()),
                    Some(status) => break format!("it ended with {status}"),
                },
                Err(error) if start.elapsed() > limit => break format!("{error:#}"),
                Err(_) => tokio::time::sleep(ASK_EVERY).await,
            }
        };
        let log = crate::process::tail(self.log_file(), 30);
        Err(anyhow!("keyferry is not ready: {cause}; the end of its log:\n{log}"))
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.process.exited()
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.wait(limit)
    }

    /// Asks it to end with SIGTERM, and waits until it has.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(limit)
    }

    /// Ends it at once, as a crash does.
    pub fn kill9(&mut self) {
        self.process.kill();
    }

    /// Sends any signal.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// All that it has written to stdout and stderr.
    pub fn log(&self) -> Result<String> {
        let file = self.log_file();
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Where its output goes.
    pub fn log_file(&self) -> &Path {
        self.process.log_file()
    }
}

impl Drop for Operator {
    /// A test that fails says what the operator said last: it may have ended, and its log goes with it.
    #[expect(clippy::print_stderr, reason = "where tests tell why they failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ended = self.process.exited().ok().flatten().map_or("it runs".to_owned(), |status| status.to_string());
            eprintln!("keyferry ({ended}) said last:\n{}", crate::process::tail(self.log_file(), 20));
        }
    }
}

impl OperatorBuilder {
    /// Another program than the built `keyferry`: an older version, say.
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// A variable of its environment, besides those of this process.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Appends its output to this file, which then outlives it; several runs may share it.
    pub fn log_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// Starts it. It dies with this process.
    pub fn spawn(self) -> Result<Operator> {
        let (log, dir) = match self.log {
            Some(log) => (log, None),
            None => {
                let dir = tempfile::Builder::new().prefix("keyferry-operator-").tempdir()?;
                (dir.path().join("keyferry.log"), Some(dir))
            }
        };
        let program = self.program.map_or_else(Operator::program, Ok)?;
        let mut command = Command::new(program);
        command.args(self.args).envs(self.env);
        let process = Process::start("keyferry", command, &log)?;
        Ok(Operator { process, _dir: dir })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Operator {
        let builder = Operator::builder().program("/bin/sh");
        builder.args(["-c", script]).spawn().unwrap()
    }

    fn wait_for_output(operator: &Operator) {
        let start = Instant::now();
        while operator.log().unwrap().is_empty() {
            assert!(start.elapsed() < LIMIT, "no output");
            std::thread::sleep(ASK_EVERY);
        }
    }

    #[test]
    fn ends_on_sigterm_with_its_own_exit_code() {
        let script = "trap 'echo stopping >&2; exit 3' TERM; echo ready; while :; do sleep 0.01; done";
        let mut operator = shell(script);
        wait_for_output(&operator);
        assert_eq!(operator.terminate(LIMIT).unwrap().code(), Some(3));
        assert_eq!(operator.log().unwrap(), "ready\nstopping\n");
    }

    #[test]
    fn can_be_killed() {
        let mut operator = shell("exec sleep 600");
        operator.kill9();
        assert_eq!(operator.exited().unwrap().unwrap().signal(), Some(9));
    }

    #[test]
    fn dies_when_dropped() {
        let operator = shell("exec sleep 600");
        let id = operator.id();
        drop(operator);
        assert!(!crate::process::is_running(id));
    }

    #[test]
    fn one_that_does_not_end_is_an_error_with_its_log() {
        let mut operator = shell("trap '' TERM; echo stubborn; while :; do sleep 0.01; done");
        wait_for_output(&operator);
        let error = operator.terminate(Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().contains("stubborn"), "{error}");
    }

    #[tokio::test]
    async fn one_that_ends_is_not_waited_for() {
        let mut operator = shell("echo no such flag; exit 2");
        let error = operator.wait_ready("http://127.0.0.1:1/readyz", LIMIT).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("exit status: 2") && error.contains("no such flag"), "{error}");
    }
}
