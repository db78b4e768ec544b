//! A double of the Secrets Store CSI Driver, as the real one was seen to work: it mounts memory, asks the provider that a
//! SecretProviderClass names for what belongs into it, writes that, remembers the versions, and makes the class's Secrets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use keyferry_node::rpc::provider::csi_driver_provider_client::CsiDriverProviderClient;
use keyferry_node::rpc::provider::{File, MountRequest, MountResponse, ObjectVersion, VersionRequest, VersionResponse};
use kube::api::{Api, Patch, PatchParams};
use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::{Map, Value, json};
use tonic::{Code, Status};

use crate::kubelet::{Ask, Kubelet, connect};

/// How often a provider that is not available is asked.
const ATTEMPTS: usize = 3;

/// The largest answer that is taken.
const LARGEST: usize = 4 << 20;

/// A SecretProviderClass.
#[derive(Clone, Debug, Default)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// The provider.
    pub provider: String,
    /// Its parameters.
    pub parameters: Vec<(String, String)>,
    /// Its secretObjects: the name of a Secret, and which file is which key of it.
    pub secret_objects: Vec<(String, Vec<(String, String)>)>,
}

impl Class {
    /// One of ours, with these parameters.
    pub fn of(parameters: &[(&str, &str)]) -> Self {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { name: "class".to_owned(), provider: "keyferry".to_owned(), parameters, ..Self::default() }
    }
}

/// The driver.
pub struct SecretsStore<'a> {
    kubelet: &'a Kubelet,
    /// By pod, what its SecretProviderClassPodStatus tells: objects by id, with their versions.
    pub statuses: HashMap<String, BTreeMap<String, String>>,
    /// Errors of rotations, which the kubelet is not told.
    pub hidden: Vec<Status>,
    /// What the Secret of a volume's nodePublishSecretRef holds.
    pub login: Option<Value>,
}

impl<'a> SecretsStore<'a> {
    /// On this node.
    pub fn new(kubelet: &'a Kubelet) -> Self {
        Self { kubelet, statuses: HashMap::new(), hidden: Vec::new(), login: None }
    }

    fn socket(&self, provider: &str) -> Result<PathBuf, Status> {
        let socket = self.kubelet.providers().join(format!("{provider}.sock"));
        let is_fine = provider.len() <= 30 && provider.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        if is_fine && socket.exists() {
            Ok(socket)
        } else {
            Err(Status::unknown(format!("provider not found: provider {provider:?}")))
        }
    }

    async fn client(&self, provider: &str) -> Result<CsiDriverProviderClient<tonic::transport::Channel>, Status> {
        let client = CsiDriverProviderClient::new(connect(&self.socket(provider)?).await?);
        Ok(client.max_decoding_message_size(LARGEST))
    }

    /// What a provider says when it is asked whether it is there.
    pub async fn version(&self, provider: &str) -> Result<VersionResponse, Status> {
        let request = VersionRequest { version: "v1alpha1".to_owned() };
        Ok(self.client(provider).await?.version(request).await?.into_inner())
    }

    /// A call of the kubelet: the first mounts, each later one rotates.
    pub async fn publish(&mut self, ask: &Ask, class: &Class) -> Result<(), Status> {
        let target = self.kubelet.target(&ask.pod);
        if self.kubelet.is_mounted(&ask.pod) {
            if let Err(refused) = self.mount(ask, class, &target).await {
                self.hidden.push(refused);
            }
            return Ok(());
        }
        fs::create_dir_all(&target).expect("the volume's folder");
        rustix::mount::mount("tmpfs", &target, "tmpfs", MountFlags::empty(), None).expect("memory");
        self.statuses.remove(&ask.pod);
        let mounted = self.mount(ask, class, &target).await;
        if mounted.is_err() {
            rustix::mount::unmount(&target, UnmountFlags::empty()).expect("it is unmounted");
        }
        mounted.map_err(|refused| {
            let pod = format!("{}/{}", ask.namespace, ask.pod);
            let (code, why) = (refused.code(), refused.message());
            Status::unknown(format!(
                "failed to mount secrets store objects for pod {pod}, err: rpc error: code = {code:?} desc = {why}"
            ))
        })
    }

    /// The end of a volume.
    pub fn unpublish(&mut self, pod: &str) {
        let target = self.kubelet.target(pod);
        rustix::mount::unmount(&target, UnmountFlags::empty()).expect("it is unmounted");
        fs::remove_dir_all(target.parent().expect("a parent")).expect("the kubelet removes its folders");
        self.statuses.remove(pod);
    }

    /// What a provider is asked.
    pub fn request(&self, ask: &Ask, class: &Class, target: &Path) -> MountRequest {
        let mut attributes = Map::new();
        for (name, value) in &class.parameters {
            attributes.insert(name.clone(), json!(value));
        }
        // All that the kubelet gave, over what the class says.
        for (name, value) in ask.context() {
            attributes.insert(name, json!(value));
        }
        attributes.insert("secretProviderClass".to_owned(), json!(class.name));
        let held = self.statuses.get(&ask.pod).into_iter().flatten();
        MountRequest {
            attributes: Value::Object(attributes).to_string(),
            secrets: self.login.clone().unwrap_or_default().to_string(),
            target_path: target.display().to_string(),
            permission: "420".to_owned(),
            current_object_version: held
                .map(|(id, version)| ObjectVersion { id: id.clone(), version: version.clone() })
                .collect(),
        }
    }

    /// Asks a provider, as often as it is not available.
    pub async fn ask(&self, provider: &str, request: &MountRequest) -> Result<MountResponse, Status> {
        let mut client = self.client(provider).await?;
        for _ in 1..ATTEMPTS {
            match client.mount(request.clone()).await {
                Err(refused) if refused.code() == Code::Unavailable => tokio::time::sleep(Duration::from_secs(1)).await,
                answer => return answer.map(tonic::Response::into_inner),
            }
        }
        client.mount(request.clone()).await.map(tonic::Response::into_inner)
    }

    async fn mount(&mut self, ask: &Ask, class: &Class, target: &Path) -> Result<(), Status> {
        let answer = self.ask(&class.provider, &self.request(ask, class, target)).await?;
        if let Some(error) = answer.error.filter(|error| !error.code.is_empty()) {
            return Err(Status::unknown(format!("mount request failed with provider error code {}", error.code)));
        }
        if answer.object_version.is_empty() {
            return Err(Status::unknown("missing object versions"));
        }
        // Where there are no files it believes that the provider wrote its own.
        if !answer.files.is_empty() {
            write(target, &answer.files).map_err(Status::unknown)?;
        }
        let objects = answer.object_version.into_iter().map(|object| (object.id, object.version)).collect();
        self.statuses.insert(ask.pod.clone(), objects);
        Ok(())
    }

    /// Makes the Secrets of a class of what a pod mounts.
    pub async fn sync(&self, pod: &str, class: &Class, secrets: Api<Secret>) -> Result<(), String> {
        for (name, data) in &class.secret_objects {
            let mut text = BTreeMap::new();
            for (object, key) in data {
                let read = fs::read_to_string(self.kubelet.target(pod).join(object));
                let value = read.map_err(|_| format!("file matching objectName {object} not found in the pod"))?;
                text.insert(key.clone(), value);
            }
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "stringData": text,
                "metadata": {"name": name, "labels": {"secrets-store.csi.k8s.io/managed": "true"}},
            });
            let manager = PatchParams::apply("secrets-store-csi-driver");
            let written = secrets.patch(name, &manager, &Patch::Apply(secret)).await;
            written.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn is_path(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let is_clean = parts.iter().all(|part| !["", ".", ".."].contains(part) && part.len() <= 255);
    is_clean && path.len() <= 4096 && !path.starts_with("..")
}

/// Swaps the files of a volume, as the kubelet does.
fn write(target: &Path, files: &[File]) -> Result<(), String> {
    if let Some(file) = files.iter().find(|file| !is_path(&file.path) || !(0..=511).contains(&file.mode)) {
        return Err(format!("invalid filepath: {:?}", file.path));
    }
    let data = target.join("..data");
    let before = fs::read_link(&data).ok();
    let is_same = |file: &File| fs::read(data.join(&file.path)).is_ok_and(|held| held == file.contents);
    let top = |path: &str| path.split('/').next().expect("a part").to_owned();
    let tops: BTreeSet<String> = files.iter().map(|file| top(&file.path)).collect();
    let links = || fs::read_dir(target).expect("the volume").flatten();
    let links = links().filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| !name.starts_with(".."));
    let links: BTreeSet<String> = links.collect();
    if before.is_some() && files.iter().all(is_same) && links == tops {
        return Ok(());
    }
    let version = (0..).map(|n| format!("..2026_11_29_15_04_05.{n}")).find(|name| !target.join(name).exists());
    let version = version.expect("a name");
    for file in files {
        let path = target.join(&version).join(&file.path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(&path, &file.contents).expect("a file");
        let mode = u32::try_from(file.mode).expect("a mode");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    for name in tops.difference(&links) {
        symlink(Path::new("..data").join(name), target.join(name)).expect("a link");
    }
    symlink(&version, target.join("..data_tmp")).expect("a link");
    fs::rename(target.join("..data_tmp"), &data).expect("it is swapped");
    for name in links.difference(&tops) {
        fs::remove_file(target.join(name)).expect("a link goes");
    }
    if let Some(before) = before {
        fs::remove_dir_all(target.join(before)).expect("the version before goes");
    }
    Ok(())
}
