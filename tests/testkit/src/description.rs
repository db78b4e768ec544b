//! What a running testbed offers, as JSON: the one contract between the supervisor
//! and those who use it, whatever language they are written in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// Names a `testbed.json`: tests use that testbed and start none.
pub const KEYFERRY_TESTBED: &str = "KEYFERRY_TESTBED";

/// The contents of `testbed.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// The process that keeps all of it running.
    pub supervisor_pid: u32,
    /// Holds data, logs, and the description itself as `testbed.json`.
    pub data_dir: PathBuf,
    /// A Unix socket that takes commands; see [`crate::supervisor`].
    pub control_socket: PathBuf,
    /// The control plane.
    pub kubernetes: Kubernetes,
    /// OpenBao.
    pub vault: Vault,
    /// The AWS double.
    pub moto: Moto,
    /// The node, where there is one.
    pub node: Option<Node>,
    /// The server processes by name.
    pub servers: BTreeMap<String, ServerProcess>,
}

/// How to reach the API server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kubernetes {
    /// Its URL.
    pub url: String,
    /// A kubeconfig of a cluster admin.
    pub kubeconfig: PathBuf,
    /// The CA of its certificate, as a PEM file.
    pub ca_file: PathBuf,
    /// The same CA: base64 of the PEM, as `caBundle` fields want it.
    pub ca_bundle: String,
    /// A bearer token of a cluster admin.
    pub token: String,
    /// A kubectl of the same version.
    pub kubectl: PathBuf,
}

/// How to reach OpenBao.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vault {
    /// Its URL.
    pub url: String,
    /// The root token.
    pub token: String,
}

/// How to reach moto. It takes any credentials.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moto {
    /// Its URL, the endpoint of every AWS service.
    pub url: String,
}

/// How to reach the node, and what runs in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// The name of its object.
    pub name: String,
    /// Its address, for pods: what listens on the machine's loopback is there once a test has asked for it.
    pub address: String,
    /// Its first process, with which all of it ends. The node's files are below the root that /proc shows of it.
    pub init: u32,
    /// Its folders in the machine's cgroup hierarchies.
    pub cgroups: Vec<PathBuf>,
    /// Where the kubelet keeps what pods mount, and where drivers register: inside.
    pub kubelet_root: PathBuf,
    /// What gives containerd images, to be run inside.
    pub ctr: PathBuf,
    /// A shell and what goes with it, linked to nothing.
    pub busybox: PathBuf,
}

/// A server process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerProcess {
    /// Its process id. Another one after a restart.
    pub pid: u32,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Description {
    /// Where the description is kept.
    pub fn file(&self) -> PathBuf {
        self.data_dir.join("testbed.json")
    }

    /// Reads a `testbed.json`.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read the testbed's {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", file.display()))
    }

    /// Takes the line that the supervisor prints.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context(
            "not a testbed's description; is it of another version? \
             `cargo build -p keyferry-testkit` builds the current one",
        )
    }

    /// One line of JSON.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).context("cannot write the description as JSON")
    }

    /// Writes it in one step: readers see the old or the new one.
    pub(crate) fn write(&self) -> Result<()> {
        let file = self.file();
        let new = file.with_extension("json.new");
        fs::write(&new, self.to_json()?)
            .and_then(|()| fs::rename(&new, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }
}
