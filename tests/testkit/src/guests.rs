//! The node in the hands of a test: images for it, programs in it, and ways from it to servers of the test.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use keyferry_image::Image;

use crate::description::{self, Description};
use crate::node::{Inside, import_command};
use crate::operator::Operator;
use crate::process::Process;
use crate::testbed::ask;

const IMPORTED_WITHIN: Duration = Duration::from_secs(120);

/// The image of [`Node::busybox`].
const BUSYBOX: &str = "localhost/busybox:1";

/// The image of [`Node::keyferry`].
const KEYFERRY: &str = "localhost/keyferry:test";

/// The node of a testbed.
pub struct Node {
    testbed: Description,
    node: description::Node,
    inside: Inside,
    imported: Mutex<BTreeMap<String, String>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Node {
    pub(crate) fn of(testbed: &Description) -> Result<Self> {
        let node = testbed.node.clone().ok_or_else(|| anyhow!("the testbed was started without `--node`"))?;
        let inside = Inside::of(node.init, &node.cgroups)?;
        Ok(Self { testbed: testbed.clone(), node, inside, imported: Mutex::default() })
    }

    /// What is told of it.
    pub fn description(&self) -> &description::Node {
        &self.node
    }

    /// Gives it an image. Pods that name it find it there: nothing is ever pulled. Blocks.
    pub fn import(&self, image: &Image) -> Result<()> {
        let dir = tempfile::Builder::new().prefix("image-").tempdir_in(&self.testbed.data_dir)?;
        let archive = dir.path().join("image.tar");
        image.write_archive(&archive)?;
        let mut ctr = self.start("ctr", import_command(&self.node.ctr, &archive), &dir.path().join("ctr.log"))?;
        let status = ctr.wait(IMPORTED_WITHIN)?;
        if status.success() {
            Ok(())
        } else {
            let said = std::fs::read_to_string(ctr.log_file()).unwrap_or_default();
            Err(anyhow!("cannot import {}: ctr ended with {status}: {}", image.name(), said.trim()))
        }
    }

    /// The image with a shell and what goes with it, given to the node when first asked for. Its `wget` does not work.
    pub fn busybox(&self) -> Result<String> {
        self.once(BUSYBOX, || busybox(&self.node.busybox))
    }

    /// The image of the built `keyferry`, given to the node when first asked for.
    pub fn keyferry(&self) -> Result<String> {
        self.once(KEYFERRY, || {
            let dir = tempfile::tempdir()?;
            // What debuggers read is most of it.
            let stripped = dir.path().join("keyferry");
            let mut strip = Command::new("strip");
            strip.arg("-o").arg(&stripped).arg(Operator::program()?);
            let status = strip.status().context("cannot run strip; a C compiler brings it")?;
            if status.success() {
                keyferry_image::keyferry(KEYFERRY, &stripped)
            } else {
                Err(anyhow!("strip: {status}"))
            }
        })
    }

    fn once(&self, name: &str, make: impl FnOnce() -> Result<Image>) -> Result<String> {
        let mut imported = self.imported.lock().unwrap_or_else(PoisonError::into_inner);
        if !imported.contains_key(name) {
            self.import(&make()?)?;
            imported.insert(name.to_owned(), name.to_owned());
        }
        Ok(name.to_owned())
    }

    /// The URL at which pods reach what listens at this one, on the machine's loopback.
    pub fn url(&self, url: &str) -> Result<String> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| anyhow!("{url} is no URL"))?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let port: u16 = authority
            .rsplit_once(':')
            .and_then(|(host, port)| ["127.0.0.1", "localhost"].contains(&host).then_some(port))
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| anyhow!("{url} has no port of the machine's loopback"))?;
        ask(&self.testbed, &format!("let-out {port}")).context("cannot open a way from the node")?;
        Ok(format!("{scheme}://{}:{port}{path}", self.node.address))
    }

    /// Starts a program of this machine as a process of the node: in its network, with its mounts, as root, and its own
    /// mounts are seen by kubelet and pods. It ends when the handle is dropped, and with the node.
    pub fn start(&self, name: &str, command: Command, log: &Path) -> Result<Process> {
        self.inside.start(name, command, &self.testbed.data_dir, log)
    }

    /// Runs a program of this machine in the node to its end, and gives what it writes to stdout. Blocks.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.inside.spawn(command, &self.testbed.data_dir)?;
        let output = child.wait_with_output().with_context(|| format!("cannot wait for {program}"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(anyhow!("{program} {} ended with {}: {}", args.join(" "), output.status, said.trim()))
        }
    }

    /// Where a file of the node is to be had from outside. Sockets can be connected to there.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        Path::new(&format!("/proc/{}/root", self.node.init)).join(inside.strip_prefix("/").unwrap_or(inside))
    }
}

/// All its commands by name.
fn busybox(program: &Path) -> Result<Image> {
    let listed = Command::new(program).arg("--list").output().context("cannot run busybox")?;
    let image = Image::new(BUSYBOX).file("/bin/busybox", 0o755, program)?.entrypoint(&["/bin/sh"]);
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names = names.lines().filter(|name| *name != "busybox");
    Ok(names.fold(image, |image, name| image.link(&format!("/bin/{name}"), "/bin/busybox")))
}
