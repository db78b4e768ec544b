//! What the node's programs are told, as files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{ADDRESS, CONTAINERD_SOCKET, NAME};

/// The addresses of pods.
const PODS: &str = "10.244.0.0/24";

/// The image of what holds a pod's namespaces.
pub(crate) const PAUSE_IMAGE: &str = "localhost/pause:1";

/// The files, in one folder.
#[derive(Debug)]
pub(crate) struct Files {
    pub containerd: PathBuf,
    pub kubelet: PathBuf,
    pub proxy: PathBuf,
}

impl Files {
    /// Writes them. `cni` is the folder of network plugins, `ca` the authority of the API server's client certificate,
    /// `proxy_kubeconfig` how kube-proxy reaches the API server.
    pub fn write(dir: &Path, runc: &Path, cni: &Path, ca: &Path, proxy_kubeconfig: &Path) -> Result<Self> {
        let networks = dir.join("networks");
        fs::create_dir_all(&networks).with_context(|| format!("cannot create {}", networks.display()))?;
        let write = |name: &str, text: String| {
            let file = dir.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
            anyhow::Ok(file)
        };
        write("networks/pods.conflist", network().to_string())?;
        Ok(Self {
            containerd: write("containerd.toml", containerd(runc, cni, &networks))?,
            kubelet: write("kubelet.json", kubelet(ca).to_string())?,
            proxy: write("proxy.json", proxy(proxy_kubeconfig).to_string())?,
        })
    }
}

fn containerd(runc: &Path, cni: &Path, networks: &Path) -> String {
    let (runc, cni, networks) = (runc.display(), cni.display(), networks.display());
    format!(
        "version = 3
root = '/run/keyferry/containerd'
state = '/run/containerd'
disabled_plugins = [
  'io.containerd.snapshotter.v1.blockfile', 'io.containerd.snapshotter.v1.btrfs', 'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.erofs', 'io.containerd.snapshotter.v1.zfs',
  'io.containerd.nri.v1.nri', 'io.containerd.tracing.processor.v1.otlp', 'io.containerd.internal.v1.tracing',
]
[grpc]
  address = '{CONTAINERD_SOCKET}'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '{PAUSE_IMAGE}'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE nobody may be made less likely to be killed than containerd itself.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = 'runc'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = '{runc}'
        SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['{cni}']
    conf_dir = '{networks}'
"
    )
}

fn network() -> Value {
    let addresses = json!({
        "type": "host-local",
        "dataDir": "/run/keyferry/addresses",
        "ranges": [[{"subnet": PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    });
    let bridge = json!({
        "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false, "ipam": addresses,
    });
    json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]})
}

fn kubelet(ca: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "port": 10250,
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true, "cacheTTL": "10s"},
            "x509": {"clientCAFile": ca},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        // Nothing answers names: there is nothing to be reached by one.
        "resolvConf": "",
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "podCIDR": PODS,
        // How often mounted volumes are looked at again. By default it is a minute.
        "syncFrequency": "5s",
        "fileCheckFrequency": "5s",
        "nodeStatusUpdateFrequency": "5s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        // However full the machine is, nothing is thrown away or evicted.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
            "imagefs.available": "0%", "imagefs.inodesFree": "0%",
        },
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        "serializeImagePulls": false,
        "shutdownGracePeriod": "0s",
    })
}

fn proxy(kubeconfig: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig},
        "mode": "nftables",
        "clusterCIDR": PODS,
        "hostnameOverride": NAME,
        "healthzBindAddress": "0.0.0.0:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        // What tracks connections has settings of the whole machine.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "nftables": {"minSyncPeriod": "0s"},
    })
}
