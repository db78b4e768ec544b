//! A real node beside the control plane: kubelet, containerd and kube-proxy in namespaces of their own (mounts, network,
//! processes, cgroups, host name), so that they change nothing of the machine and nothing of them can stay behind. The
//! control plane, OpenBao and moto stay where they are, on loopback; what crosses the border passes [`ways`].
//!
//! Modules, in reading order: [`machine`] whether a node can be had here, [`cgroups`] its place in the machine's
//! hierarchies, [`inside`] how a process gets in, [`init`] the first one there, [`ways`] in and out for connections,
//! [`config`] what its programs are told, [`house`] all of that together.

mod machine;
mod cgroups;
mod inside;
pub mod init;
mod ways;
pub(crate) mod config;
mod house;

pub(crate) use cgroups::remove_leftovers;
pub(crate) use house::{House, proxy_socket};
pub(crate) use inside::Inside;
pub(crate) use machine::{check, find};

use std::path::Path;
use std::process::Command;

/// The name of the node.
pub const NAME: &str = "node-1";

/// The node's own address in its network, where pods find the API server and the stores.
pub const ADDRESS: &str = "10.89.0.1";

/// The first address of the range of Services: that of the API server.
pub const API_SERVICE: &str = "10.96.0.1";

/// Where the kubelet keeps what pods mount, and where drivers register: inside.
pub const KUBELET_ROOT: &str = "/run/keyferry/kubelet";

/// Where containerd listens: inside.
pub const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// Gives containerd an image; to be run inside.
pub(crate) fn import_command(ctr: &Path, archive: &Path) -> Command {
    let mut command = Command::new(ctr);
    command.args(["--namespace=k8s.io", "images", "import", "--digests=false"]).arg(archive);
    command
}
