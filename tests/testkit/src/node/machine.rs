//! Whether this machine allows a node.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use rustix::process::geteuid;

use super::cgroups::{HIERARCHIES, ROOT};

/// Programs that come as packages of the machine, and Debian's name of each.
const PROGRAMS: [(&str, &str); 4] =
    [("runc", "runc"), ("busybox", "busybox-static"), ("nft", "nftables"), ("ip", "iproute2")];

/// Administrators' programs are not on everybody's PATH.
const FOLDERS: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/bin"];

/// An error that names all that is missing.
pub(crate) fn check() -> Result<()> {
    let mut missing = Vec::new();
    if !geteuid().is_root() {
        missing.push("root: a node mounts, and makes namespaces and cgroups".to_owned());
    }
    let absent: Vec<&str> =
        HIERARCHIES.into_iter().filter(|name| !Path::new(ROOT).join(name).join("cgroup.procs").is_file()).collect();
    if !absent.is_empty() {
        missing.push(format!("the cgroup hierarchies (version 1) {} in {ROOT}", absent.join(", ")));
    }
    for (program, package) in PROGRAMS {
        if find(program).is_none() {
            missing.push(format!("the program {program} (Debian's package {package}; `scripts/packages` installs it)"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(anyhow!(
        "this machine allows no node; it lacks {}. Where it can't be had, `KEYFERRY_WITHOUT_NODE=1 make test` leaves out \
         the suites that need one",
        missing.join("; ")
    ))
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-of-anybody"), None);
    }
}
