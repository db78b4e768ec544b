//! A PostgreSQL of the machine's own, which knows the users that an engine makes in it. Debian's package `postgresql` brings it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use keyferry_testkit::{Operator, eventually, process::Process};
use tempfile::TempDir;

/// Where Debian's packages have its programs, by version.
const PACKAGES: &str = "/usr/lib/postgresql";

/// Whom it runs as where root runs the tests, which it refuses to.
const ACCOUNT: &str = "postgres";

/// The user who may make users.
pub const ADMIN: &str = "admin";

/// A running server, whose data go with it.
pub struct Postgres {
    programs: PathBuf,
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Postgres {
    /// The folder of its programs: those of the newest version; `None` where there is none.
    pub fn programs() -> Option<PathBuf> {
        let versions = std::fs::read_dir(PACKAGES).ok()?.filter_map(Result::ok);
        let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
        let newest = versions.map(|version| version.path()).max_by_key(|path| number(path))?.join("bin");
        newest.join("initdb").exists().then_some(newest)
    }

    /// Starts one, with [`ADMIN`] and this password.
    pub async fn start(password: &str) -> Result<Self> {
        let programs = Self::programs().context("there is no PostgreSQL")?;
        let folder = tempfile::tempdir()?;
        let (data, secret) = (folder.path().join("data"), folder.path().join("password"));
        std::fs::write(&secret, password)?;
        if is_root() {
            succeed(Command::new("chown").arg("-R").arg(ACCOUNT).arg(folder.path()).output()?)?;
        }
        let mut init = program(&programs, "initdb");
        init.arg("-D").arg(&data).args(["-U", ADMIN, "-A", "scram-sha-256", "--no-sync", "--pwfile"]).arg(&secret);
        succeed(tokio::task::spawn_blocking(move || init.output()).await??)?;
        let port = Operator::free_port()?;
        let mut server = program(&programs, "postgres");
        server.arg("-D").arg(&data).arg("-p").arg(port.to_string());
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"] {
            server.arg("-c").arg(setting);
        }
        let process = Process::start("postgres", server, &folder.path().join("log"))?;
        let postgres = Self { programs, port, _process: process, _folder: folder };
        eventually(Duration::from_secs(60), || async { postgres.login(ADMIN, password) }).await;
        Ok(postgres)
    }

    /// Where it is, as an engine of Vault's wants it.
    pub fn url(&self) -> String {
        format!("postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// Logs in; an error where that is refused.
    pub fn login(&self, user: &str, password: &str) -> Result<()> {
        let port = self.port.to_string();
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-h", "127.0.0.1", "-p", &port, "-U", user, "-d", "postgres", "-tAc", "select current_user"]);
        let shown = succeed(psql.env("PGPASSWORD", password).output()?)?;
        ensure!(shown.trim() == user, "it takes us for somebody else");
        Ok(())
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn program(programs: &Path, name: &str) -> Command {
    let path = programs.join(name);
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    // The kernel forgets whose end ends it where the user changes.
    command.args(["--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups", "--pdeathsig", "KILL"]).arg(path);
    command
}

fn succeed(output: Output) -> Result<String> {
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
