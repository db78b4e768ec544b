//! The kubelet's side: a folder, the driver's process, calls over its sockets, and what is mounted.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyferry_node::rpc::csi::identity_client::IdentityClient;
use keyferry_node::rpc::csi::node_client::NodeClient;
use keyferry_node::rpc::csi::volume_capability::{AccessType, MountVolume};
use keyferry_node::rpc::csi::volume_usage::Unit;
use keyferry_node::rpc::csi::{
    GetPluginInfoRequest, NodeGetVolumeStatsRequest, NodePublishVolumeRequest, NodeUnpublishVolumeRequest,
    VolumeCapability,
};
use keyferry_node::rpc::registration::registration_client::RegistrationClient;
use keyferry_node::rpc::registration::{InfoRequest, PluginInfo};
use keyferry_testkit::{Operator, Testbed, eventually};
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Stands for the kubelet's folder in flags.
pub const FOLDER: &str = "FOLDER";

/// A driver, and the folder of its kubelet.
pub struct Kubelet {
    folder: TempDir,
    driver: Option<Operator>,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    kubeconfig: PathBuf,
    /// Where it tells of its health.
    port: u16,
}

/// A volume of a pod, as the kubelet asks for it.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The pod's name; its UID is made of that.
    pub pod: String,
    /// The namespace.
    pub namespace: String,
    /// The ServiceAccount.
    pub account: String,
    /// The tokens, as the kubelet writes them.
    pub tokens: String,
    /// Whether they come among what is secret.
    pub in_secrets: bool,
    /// The volume's attributes.
    pub attributes: Vec<(String, String)>,
    /// The group.
    pub group: String,
}

/// Who listens at a socket.
pub async fn connect(socket: &Path) -> Result<Channel, Status> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()));
    let endpoint = endpoint.map_err(|error| Status::unknown(error.to_string()))?;
    endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))
}

impl Ask {
    /// The volume's attributes, with what the kubelet adds.
    pub fn context(&self) -> HashMap<String, String> {
        let mut context: HashMap<String, String> = self.attributes.iter().cloned().collect();
        for (name, value) in [
            ("ephemeral", "true"),
            ("pod.name", &self.pod),
            ("pod.namespace", &self.namespace),
            ("pod.uid", &format!("uid-{}", self.pod)),
            ("serviceAccount.name", &self.account),
        ] {
            context.insert(format!("csi.storage.k8s.io/{name}"), value.to_owned());
        }
        if !self.in_secrets {
            context.insert(TOKENS.to_owned(), self.tokens.clone());
        }
        context
    }
}

/// Under this name the kubelet gives tokens.
const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";

fn needs_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "these tests mount memory, which takes root: run them as root, or leave this suite out"
    );
}

impl Kubelet {
    /// A folder, and a driver that has begun with these flags more, and this in its environment.
    pub async fn start(kubeconfig: PathBuf, args: &[&str], environment: &[(&str, String)]) -> Self {
        needs_root();
        let folder = tempfile::Builder::new().prefix("kf-node-").tempdir().expect("a folder");
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut kubelet = Self { folder, driver: None, args, environment, kubeconfig, port: 0 };
        kubelet.begin().await;
        kubelet
    }

    /// Starts the driver, anew where it was killed.
    pub async fn begin(&mut self) {
        self.port = Operator::free_port().expect("a port");
        let builder = Operator::builder().args(["node", "--node-name=node-1", "--loglevel=debug"]);
        let builder = builder.arg(format!("--kubelet-dir={}", self.folder.path().display()));
        let builder = builder.arg(format!("--kubeconfig={}", self.kubeconfig.display()));
        let builder = builder.arg(format!("--metrics-addr=127.0.0.1:{}", self.port));
        let folder = self.folder.path().display().to_string();
        let args: Vec<String> = self.args.iter().map(|arg| arg.replace(FOLDER, &folder)).collect();
        let builder = builder.arg("--allow-store-addresses=127.0.0.0/8").args(&args).log_file(self.log_file());
        let builder = self.environment.iter().fold(builder, |builder, (name, value)| builder.env(name, value));
        self.driver = Some(builder.spawn().expect("the driver starts"));
        eventually(Duration::from_secs(60), || async { self.name().await }).await;
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("driver.log")
    }

    /// All that the driver has told, its records of deliveries among it.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Where it tells of its health.
    pub fn health_url(&self) -> String {
        format!("http://127.0.0.1:{}/healthz", self.port)
    }

    /// Where it serves its metrics: host and port.
    pub fn metrics_address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The most memory that it has had, in MiB; what is mounted is none of it.
    pub fn peak_mib(&self) -> f64 {
        let id = self.driver.as_ref().expect("it runs").id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
    }

    /// Ends it as a crash does.
    pub fn kill9(&mut self) {
        if let Some(driver) = &mut self.driver {
            driver.kill9();
        }
        self.driver = None;
    }

    /// The driver's socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("plugins/csi.keyferry.io/csi.sock")
    }

    /// The socket that the kubelet finds it by.
    pub fn registration(&self) -> PathBuf {
        self.folder.path().join("plugins_registry/csi.keyferry.io-reg.sock")
    }

    /// Where is written down what is mounted.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("plugins/csi.keyferry.io/volumes")
    }

    /// Where sockets of providers are.
    pub fn providers(&self) -> PathBuf {
        self.folder.path().join("providers")
    }

    /// What the driver calls itself.
    pub async fn name(&self) -> Result<String, Status> {
        let mut identity = IdentityClient::new(connect(&self.socket()).await?);
        Ok(identity.get_plugin_info(GetPluginInfoRequest {}).await?.into_inner().name)
    }

    /// What it says when it is found.
    pub async fn info(&self) -> Result<PluginInfo, Status> {
        let mut registration = RegistrationClient::new(connect(&self.registration()).await?);
        Ok(registration.get_info(InfoRequest {}).await?.into_inner())
    }

    /// The modes of both sockets.
    pub fn modes(&self) -> [u32; 2] {
        [self.socket(), self.registration()]
            .map(|path| fs::metadata(path).expect("a socket").permissions().mode() & 0o777)
    }

    /// Where a pod's volume is.
    pub fn target(&self, pod: &str) -> PathBuf {
        self.folder.path().join(format!("pods/uid-{pod}/volumes/kubernetes.io~csi/secrets/mount"))
    }

    /// A connection to the driver that stays.
    pub async fn calls(&self) -> NodeClient<Channel> {
        NodeClient::new(connect(&self.socket()).await.expect("it listens"))
    }

    /// Lets the driver have so many files open, and no more; gives how many it might before.
    pub fn may_open(&self, files: Option<u64>) -> Option<u64> {
        use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
        let driver = self.driver.as_ref().expect("it runs").id();
        let pid = i32::try_from(driver).ok().and_then(Pid::from_raw);
        let maximum = getrlimit(Resource::Nofile).maximum;
        prlimit(pid, Resource::Nofile, Rlimit { current: files, maximum }).expect("it is taken").current
    }

    /// Asks for a volume.
    pub async fn publish(&self, ask: &Ask) -> Result<(), Status> {
        self.publish_by(&mut NodeClient::new(connect(&self.socket()).await?), ask).await
    }

    /// The same, by a connection that there is.
    pub async fn publish_by(&self, calls: &mut NodeClient<Channel>, ask: &Ask) -> Result<(), Status> {
        let target = self.target(&ask.pod);
        // The kubelet makes all but the last folder.
        fs::create_dir_all(target.parent().expect("a parent")).expect("the pod's folder");
        let mut secrets = HashMap::new();
        if ask.in_secrets {
            secrets.insert(TOKENS.to_owned(), ask.tokens.clone());
        }
        let mount = MountVolume { volume_mount_group: ask.group.clone(), ..MountVolume::default() };
        let request = NodePublishVolumeRequest {
            volume_id: format!("csi-{}", ask.pod),
            target_path: target.display().to_string(),
            volume_capability: Some(VolumeCapability { access_type: Some(AccessType::Mount(mount)) }),
            readonly: false,
            secrets,
            volume_context: ask.context(),
        };
        calls.node_publish_volume(request).await.map(|_| ())
    }

    /// Asks for the end of one.
    pub async fn unpublish(&self, pod: &str) -> Result<(), Status> {
        let target_path = self.target(pod).display().to_string();
        let request = NodeUnpublishVolumeRequest { volume_id: format!("csi-{pod}"), target_path };
        let mut node = NodeClient::new(connect(&self.socket()).await?);
        node.node_unpublish_volume(request).await.map(|_| ())
    }

    /// How full a pod's volume is: what there may be of each unit, and what there is.
    pub async fn usage(&self, pod: &str) -> Result<Vec<(Unit, i64, i64)>, Status> {
        let volume_path = self.target(pod).display().to_string();
        let request = NodeGetVolumeStatsRequest { volume_id: format!("csi-{pod}"), volume_path };
        let mut node = NodeClient::new(connect(&self.socket()).await?);
        let usage = node.node_get_volume_stats(request).await?.into_inner().usage;
        Ok(usage.iter().map(|usage| (usage.unit(), usage.total, usage.used)).collect())
    }

    /// A file of a pod's volume.
    pub fn read(&self, pod: &str, path: &str) -> Option<String> {
        fs::read_to_string(self.target(pod).join(path)).ok()
    }

    /// The lines of all that is mounted below the folder: number, place, options.
    pub fn mounts(&self) -> Vec<String> {
        let folder = self.folder.path().display().to_string();
        let table = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
        table.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect()
    }

    /// Whether anything is mounted for a pod.
    pub fn is_mounted(&self, pod: &str) -> bool {
        let target = self.target(pod).display().to_string();
        self.mounts().iter().any(|line| line.split(' ').nth(4) == Some(&target))
    }

    /// All bytes that are on the disk below the folder: memory that is mounted there is not.
    pub fn on_disk(&self) -> Vec<u8> {
        let mut all = self.log().into_bytes();
        let folders = [self.state(), self.state().join("provided")];
        for file in folders.iter().flat_map(fs::read_dir).flatten().flatten() {
            all.extend(fs::read(file.path()).unwrap_or_default());
        }
        all
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.kill9();
        for line in self.mounts() {
            if let Some(place) = line.split(' ').nth(4) {
                // What a failed test left.
                let _ = rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH);
            }
        }
    }
}

/// Where nobody has the CustomResourceDefinitions of the program under test yet, it is given them.
pub fn install_definitions(testbed: &Testbed) {
    use std::sync::OnceLock;
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let program = Operator::program().expect("the program");
        let printed = std::process::Command::new(program).arg("crds").output().expect("the definitions");
        let text = String::from_utf8_lossy(&printed.stdout).into_owned();
        testbed
            .kubectl(&["apply", "--server-side", "--force-conflicts", "--filename=-"], &text)
            .expect("definitions are taken");
        testbed
            .kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"], "")
            .expect("definitions are served");
    });
}
