//! What the compiler does not check; the rules are the tests of this crate. Here is what they read the tree with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

pub mod measure;
pub mod modules;

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Files that git knows or would take, below `folder`, relative to the root.
///
/// # Panics
/// Where git can't be run.
pub fn files(folder: &str) -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--", folder])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(listed.status.success(), "git ls-files failed");
    let mut files: Vec<String> = String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect();
    // What is generated is held to what it is generated of, and to nothing else.
    files.retain(|file| root().join(file).is_file() && !file.starts_with("node/src/rpc/"));
    files.sort();
    files.dedup();
    files
}

/// The text of a file of the tree.
///
/// # Panics
/// Where it can't be read.
pub fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The graph of crates, as cargo resolves it with all features.
pub struct Graph {
    names: BTreeMap<String, String>,
    folders: BTreeMap<String, String>,
    edges: BTreeMap<String, Vec<(String, bool)>>,
}

impl Graph {
    /// Asks cargo.
    ///
    /// # Panics
    /// Where cargo can't answer.
    pub fn load() -> Self {
        let answer = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--all-features", "--locked"])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        let metadata: Value = serde_json::from_slice(&answer.stdout).expect("cargo metadata is JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut graph = Self { names: BTreeMap::new(), folders: BTreeMap::new(), edges: BTreeMap::new() };
        let members: BTreeSet<String> = list(&metadata["workspace_members"]).iter().map(text).collect();
        for package in list(&metadata["packages"]) {
            let id = text(&package["id"]);
            graph.names.insert(id.clone(), text(&package["name"]));
            if members.contains(&id) {
                let manifest = PathBuf::from(text(&package["manifest_path"]));
                let folder = manifest.parent().and_then(|folder| folder.strip_prefix(root()).ok());
                graph.folders.insert(id, folder.map(|folder| folder.display().to_string()).unwrap_or_default());
            }
        }
        for node in list(&metadata["resolve"]["nodes"]) {
            let edge = |dep: &Value| {
                let only_dev = list(&dep["dep_kinds"]).iter().all(|kind| kind["kind"] == "dev");
                (text(&dep["pkg"]), only_dev)
            };
            graph.edges.insert(text(&node["id"]), list(&node["deps"]).iter().map(edge).collect());
        }
        graph
    }

    /// The crates of this workspace: name and folder.
    pub fn members(&self) -> Vec<(String, String)> {
        self.folders.iter().map(|(id, folder)| (self.names[id].clone(), folder.clone())).collect()
    }

    /// The names of crates that `name` names itself, for tests too.
    pub fn direct(&self, name: &str) -> BTreeSet<String> {
        self.edges_of(name).map(|(id, _)| self.names[id].clone()).collect()
    }

    /// The names of all crates that get into a build of `name`, its own tests' included.
    pub fn closure(&self, name: &str) -> BTreeSet<String> {
        self.reach(self.edges_of(name).map(|(id, _)| id).collect())
    }

    /// As [`Graph::closure`], without what only its tests need.
    pub fn closure_without_tests(&self, name: &str) -> BTreeSet<String> {
        self.reach(self.edges_of(name).filter(|(_, only_dev)| !only_dev).map(|(id, _)| id).collect())
    }

    fn reach<'a>(&'a self, mut open: Vec<&'a String>) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        while let Some(id) = open.pop() {
            if reached.insert(id) {
                let edges = self.edges.get(id).into_iter().flatten();
                open.extend(edges.filter(|(_, only_dev)| !only_dev).map(|(id, _)| id));
            }
        }
        reached.into_iter().map(|id| self.names[id].clone()).collect()
    }

    fn edges_of(&self, name: &str) -> impl Iterator<Item = &(String, bool)> {
        let id = self.folders.keys().find(|id| self.names[*id] == name);
        id.and_then(|id| self.edges.get(id)).into_iter().flatten()
    }
}
