//! A node's folders in the machine's cgroup hierarchies. They are all that the end of its processes leaves.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Where a machine has its hierarchies.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// The hierarchies that the kubelet and runc use, the named one among them.
pub(crate) const HIERARCHIES: [&str; 9] =
    ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"];

/// A killed process leaves its cgroup a moment after it is gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);
const TRY_EVERY: Duration = Duration::from_millis(20);

/// The folders of one node, one in each hierarchy. Removed when dropped, by when its processes must be gone.
#[derive(Debug)]
pub(crate) struct Cgroups {
    name: String,
}

impl Cgroups {
    /// Makes them.
    pub fn create(name: &str) -> Result<Self> {
        let cgroups = Self { name: name.to_owned() };
        for folder in folders(name) {
            fs::create_dir(&folder).with_context(|| format!("cannot create the cgroup {}", folder.display()))?;
        }
        // Nothing may join a group that has no processor and no memory of its own to run on.
        for setting in ["cpuset.cpus", "cpuset.mems"] {
            let root = Path::new(ROOT).join("cpuset");
            let value = fs::read(root.join(setting)).with_context(|| format!("cannot read {setting}"))?;
            let own = root.join(name).join(setting);
            fs::write(&own, value).with_context(|| format!("cannot write {}", own.display()))?;
        }
        Ok(cgroups)
    }

    /// Where they are.
    pub fn folders(&self) -> Vec<PathBuf> {
        folders(&self.name)
    }
}

/// The files that a process writes itself into to join.
pub(crate) fn doors(folders: &[PathBuf]) -> Result<Vec<CString>> {
    let door = |folder: &PathBuf| CString::new(folder.join("cgroup.procs").into_os_string().into_encoded_bytes());
    folders.iter().map(door).collect::<Result<_, _>>().context("a path with a zero in it")
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let start = Instant::now();
        while !remove(&self.name) && start.elapsed() < GONE_WITHIN {
            std::thread::sleep(TRY_EVERY);
        }
    }
}

/// Removes what killed supervisors left, by the names of their data folders.
pub(crate) fn remove_leftovers(is_left: impl Fn(&str) -> bool) {
    for hierarchy in HIERARCHIES {
        for entry in fs::read_dir(Path::new(ROOT).join(hierarchy)).into_iter().flatten().flatten() {
            if let Some(name) = entry.file_name().to_str().filter(|name| is_left(name)) {
                remove(name);
            }
        }
    }
}

fn folders(name: &str) -> Vec<PathBuf> {
    HIERARCHIES.iter().map(|hierarchy| Path::new(ROOT).join(hierarchy).join(name)).collect()
}

/// Whether all of them are gone now.
fn remove(name: &str) -> bool {
    folders(name).iter().fold(true, |gone, folder| remove_tree(folder) && gone)
}

/// Only empty groups can be removed, so from the leaves up. What is in a group's folder beside groups goes with it.
fn remove_tree(folder: &Path) -> bool {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    match fs::remove_dir(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}
