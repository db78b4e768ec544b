//! The first process of a node: it makes the place habitable, and reaps what loses its parent.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::WaitOptions;

use super::cgroups::{HIERARCHIES, ROOT};
use super::{ADDRESS, KUBELET_ROOT, NAME};

/// What the kubelet would set for the whole machine. It finds these values instead, and leaves the machine alone.
const SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Folders of the node's programs. All of them are in memory and end with the node.
const FOLDERS: [&str; 7] = [
    "/run/keyferry/settings",
    "/run/keyferry/containerd",
    "/run/containerd",
    "/run/lock",
    "/run/netns",
    "/var/log/pods",
    "/var/log/containers",
];

/// Runs as the first process of a node, for ever. Writes the file `ready` when programs can be started.
pub fn run(ready: &Path) -> Result<Infallible> {
    mounts()?;
    settings()?;
    network()?;
    rustix::system::sethostname(NAME.as_bytes()).context("cannot set the host name")?;
    fs::write(ready, "").with_context(|| format!("cannot write {}", ready.display()))?;
    loop {
        // Without children there is nothing to wait for yet.
        if rustix::process::wait(WaitOptions::empty()).is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn mounts() -> Result<()> {
    let everything =
        |how| mount_change("/", how | MountPropagationFlags::REC).context("cannot change how mounts spread");
    // Nothing that is mounted here reaches the machine ...
    everything(MountPropagationFlags::PRIVATE)?;
    // ... and what a driver mounts reaches the pods.
    everything(MountPropagationFlags::SHARED)?;
    let strict = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    new("proc", "/proc", strict, None)?;
    new("sysfs", "/sys", strict, None)?;
    new("tmpfs", ROOT, strict, Some(c"mode=755"))?;
    for name in HIERARCHIES {
        let folder = format!("{ROOT}/{name}");
        fs::create_dir(&folder).with_context(|| format!("cannot create {folder}"))?;
        let options = if name == "systemd" { "none,name=systemd".to_owned() } else { name.to_owned() };
        let options = std::ffi::CString::new(options).context("a name with a zero in it")?;
        new("cgroup", &folder, strict, Some(&options))?;
    }
    let state = MountFlags::NOSUID | MountFlags::NODEV;
    new("tmpfs", "/run", state, Some(c"mode=755"))?;
    new("tmpfs", "/var/log", state, Some(c"mode=755"))?;
    for folder in FOLDERS.into_iter().chain([KUBELET_ROOT]) {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {folder}"))?;
    }
    Ok(())
}

fn new(kind: &str, target: &str, flags: MountFlags, options: Option<&std::ffi::CStr>) -> Result<()> {
    mount(kind, target, kind, flags, options).with_context(|| format!("cannot mount {kind} on {target}"))
}

fn settings() -> Result<()> {
    for (name, value) in SETTINGS {
        let file = format!("/run/keyferry/settings/{}", name.replace('/', "."));
        fs::write(&file, value).with_context(|| format!("cannot write {file}"))?;
        let setting = format!("/proc/sys/{name}");
        mount_bind(&file, &setting).with_context(|| format!("cannot cover {setting}"))?;
    }
    Ok(())
}

/// Its network leads nowhere else. The default route has no end either; but addresses of Services are looked up by it.
fn network() -> Result<()> {
    let address = format!("{ADDRESS}/24");
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", "kf0", "type", "bridge"])?;
    ip(&["address", "add", &address, "dev", "kf0"])?;
    ip(&["link", "set", "kf0", "up"])?;
    ip(&["route", "add", "default", "dev", "kf0"])?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot let packets pass to pods")
}

fn ip(args: &[&str]) -> Result<()> {
    let program = super::machine::find("ip").ok_or_else(|| anyhow!("there is no program `ip`"))?;
    let output = Command::new(program).args(args).output().context("cannot run ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(anyhow!("ip {}: {}", args.join(" "), said.trim())) }
}
