//! The programs that the testbed runs, built or installed once into a cache folder.
//!
//! Nothing here is downloaded as a binary from a web page: Go builds the control
//! plane and helm from their published modules, and pip and npm install the rest.
//!
//! Modules, in reading order: [`cache`] where they are, [`step`] how a tool is run, [`go`], [`python`] and [`npm`] what each
//! installs.

mod cache;
mod step;
mod go;
mod python;
mod npm;

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::node;

pub use cache::{cache_dir, workspace_root};

/// The convention of controller tests: a folder with etcd, kube-apiserver and kubectl.
pub const KUBEBUILDER_ASSETS: &str = "KUBEBUILDER_ASSETS";

/// Where each program is.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The database of the API server.
    pub etcd: PathBuf,
    /// The API server.
    pub kube_apiserver: PathBuf,
    /// The controllers of Kubernetes itself: garbage collection, namespaces, service accounts.
    pub kube_controller_manager: PathBuf,
    /// The command line of Kubernetes.
    pub kubectl: PathBuf,
    /// OpenBao, which speaks the API of Vault.
    pub bao: PathBuf,
    /// A Python that has moto.
    pub python: PathBuf,
    /// Helm, which renders and installs the chart.
    pub helm: PathBuf,
}

/// The programs of a node.
#[derive(Debug, Clone)]
pub struct NodeTools {
    /// What runs containers, and beside it what it needs for that.
    pub containerd: PathBuf,
    /// Gives containerd images.
    pub ctr: PathBuf,
    /// The folder of plugins that give pods their network.
    pub cni: PathBuf,
    /// What starts pods.
    pub kubelet: PathBuf,
    /// What leads from Services to pods.
    pub kube_proxy: PathBuf,
    /// What decides where pods go.
    pub kube_scheduler: PathBuf,
    /// What starts one container: a package of the machine.
    pub runc: PathBuf,
    /// A shell and what goes with it, linked to nothing: a package of the machine.
    pub busybox: PathBuf,
}

/// Installs what a node needs, and tells where it is. An error where this machine allows none.
pub fn node() -> Result<NodeTools> {
    node::check()?;
    let cache = cache_dir()?;
    // One after the other: each keeps all cores busy.
    let (kubernetes, containerd, cni) =
        (go::node().ensure(&cache)?, go::containerd().ensure(&cache)?, go::cni().ensure(&cache)?);
    let package = |name: &str| node::find(name).ok_or_else(|| anyhow!("there is no program {name}"));
    Ok(NodeTools {
        containerd: containerd.join("containerd"),
        ctr: containerd.join("ctr"),
        cni,
        kubelet: kubernetes.join("kubelet"),
        kube_proxy: kubernetes.join("kube-proxy"),
        kube_scheduler: kubernetes.join("kube-scheduler"),
        runc: package("runc")?,
        busybox: package("busybox")?,
    })
}

/// `csi-sanity`, by which a CSI driver is believed.
pub fn csi_sanity() -> Result<PathBuf> {
    Ok(go::csi_sanity().ensure(&cache_dir()?)?.join("csi-sanity"))
}

/// Helm alone: the other programs are those of the testbed, which runs.
pub fn helm() -> Result<PathBuf> {
    Ok(go::helm().ensure(&cache_dir()?)?.join("helm"))
}

/// `age`, by which files of ours are believed.
pub fn age() -> Result<PathBuf> {
    Ok(go::age().ensure(&cache_dir()?)?.join("age"))
}

/// `sops`, by whose files ours are believed. Takes minutes to build the first time.
pub fn sops() -> Result<PathBuf> {
    Ok(go::sops().ensure(&cache_dir()?)?.join("sops"))
}

/// The readers of variables of docker compose and docker.
pub fn env_readers() -> Result<PathBuf> {
    Ok(go::env_readers().ensure(&cache_dir()?)?.join("env-readers"))
}

/// `kubeseal`, by whose SealedSecrets ours are believed.
pub fn kubeseal() -> Result<PathBuf> {
    Ok(go::kubeseal().ensure(&cache_dir()?)?.join("kubeseal"))
}

/// The folder of `promtool` and `prometheus`, by which alerts and dashboards are believed.
pub fn prometheus() -> Result<PathBuf> {
    go::prometheus().ensure(&cache_dir()?)
}

/// The script of axe-core, by which a page is believed to be for everybody.
pub fn axe() -> Result<PathBuf> {
    Ok(npm::axe().ensure(&cache_dir()?)?.join(npm::AXE))
}

/// A Python that has the clients of vendors, by which doubles of their servers are believed.
pub fn clients() -> Result<PathBuf> {
    Ok(python::interpreter(&python::clients().ensure(&cache_dir()?)?))
}

/// A Python that has Barbican and Keystone.
pub fn barbican() -> Result<PathBuf> {
    Ok(python::interpreter(&python::barbican().ensure(&cache_dir()?)?))
}

/// Installs what is missing and tells where everything is. Takes minutes the first
/// time (progress goes to stderr) and a few file lookups after that.
pub fn ensure() -> Result<Tools> {
    let cache = cache_dir()?;
    match std::env::var_os(KUBEBUILDER_ASSETS).filter(|folder| !folder.is_empty()) {
        Some(assets) => with_assets(&cache, Path::new(&assets)),
        None => all_built(&cache),
    }
}

fn all_built(cache: &Path) -> Result<Tools> {
    let (control_plane, python) = in_parallel(
        || {
            let etcd = go::etcd().ensure(cache)?;
            // One after the other: each keeps all cores busy.
            Ok((etcd, go::kubernetes().ensure(cache)?, go::helm().ensure(cache)?))
        },
        || python::environment().ensure(cache),
    )?;
    let (etcd, kubernetes, helm) = control_plane;
    Ok(Tools {
        etcd: etcd.join("etcd"),
        kube_apiserver: kubernetes.join("kube-apiserver"),
        kube_controller_manager: kubernetes.join("kube-controller-manager"),
        kubectl: kubernetes.join("kubectl"),
        bao: python::bao(&python),
        python: python::interpreter(&python),
        helm: helm.join("helm"),
    })
}

/// What the folder has is used; it usually lacks the controller manager.
fn with_assets(cache: &Path, assets: &Path) -> Result<Tools> {
    let given = |name: &str| {
        let program = assets.join(name);
        if program.is_file() {
            Ok(program)
        } else {
            Err(anyhow!(
                "{KUBEBUILDER_ASSETS} is {}, which has no {name}; put it there, or unset the \
             variable and everything is built",
                assets.display()
            ))
        }
    };
    let (etcd, kube_apiserver, kubectl) = (given("etcd")?, given("kube-apiserver")?, given("kubectl")?);
    let ((kube_controller_manager, helm), python) = in_parallel(
        || {
            let kube_controller_manager = match given("kube-controller-manager") {
                Ok(program) => program,
                Err(_) => go::controller_manager_only().ensure(cache)?.join("kube-controller-manager"),
            };
            Ok((kube_controller_manager, go::helm().ensure(cache)?.join("helm")))
        },
        || python::environment().ensure(cache),
    )?;
    Ok(Tools {
        etcd,
        kube_apiserver,
        kube_controller_manager,
        kubectl,
        bao: python::bao(&python),
        python: python::interpreter(&python),
        helm,
    })
}

/// One waits for the network while the other compiles.
fn in_parallel<A: Send, B>(
    first: impl FnOnce() -> Result<A> + Send,
    second: impl FnOnce() -> Result<B>,
) -> Result<(A, B)> {
    std::thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        let first = first.join().map_err(|_| anyhow!("an installer panicked"))?;
        Ok((first?, second?))
    })
}
