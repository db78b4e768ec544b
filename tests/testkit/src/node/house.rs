//! The place that a node's programs run in: the first process, its cgroups, and the ways in and out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use super::cgroups::Cgroups;
use super::inside::Inside;
use super::ways::Ways;
use crate::process::{Process, tail};

/// The first process mounts some twenty things.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Ends with all that runs in it when dropped.
#[derive(Debug)]
pub(crate) struct House {
    pub inside: Inside,
    pub ways: Ways,
    init: Process,
    // Declared last: only empty groups can be removed.
    cgroups: Cgroups,
}

impl House {
    /// Makes it. `dir` is a folder of its own that is there already; `name` is that of its cgroups.
    pub async fn start(dir: &Path, name: &str) -> Result<Self> {
        super::check()?;
        let cgroups = Cgroups::create(name)?;
        let (ready, log) = (dir.join("ready"), dir.join("init.log"));
        let mut command = Command::new(std::env::current_exe().context("cannot tell which program is running")?);
        command.arg("node-init").arg(&ready).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let (mut init, inside) = Inside::create(command, &cgroups.folders(), &log)?;
        let start = Instant::now();
        while !fs::exists(&ready)? {
            if let Some(status) = init.exited()? {
                return Err(anyhow!("the node's first process ended with {status}:\n{}", tail(&log, 10)));
            }
            if start.elapsed() > READY_WITHIN {
                return Err(anyhow!("the node's first process was not ready within {READY_WITHIN:?}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let ways = Ways::open(&inside, &proxy_socket(dir))?;
        Ok(Self { inside, ways, init, cgroups })
    }

    /// The process id of its first process.
    pub fn init(&self) -> u32 {
        self.init.id()
    }

    /// Its cgroups, one in each hierarchy.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        self.cgroups.folders()
    }
}

/// Where the API server finds its way in.
pub(crate) fn proxy_socket(dir: &Path) -> PathBuf {
    dir.join("egress.sock")
}
