//! What an old manifest says: its spec as plain data, which reads whatever was stored.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The spec. Very old manifests have it under `secretDescriptor`, and entries under `properties`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Where values are.
    pub backend_type: String,
    /// Single values.
    pub data: Vec<Entry>,
    /// The same, of old.
    pub properties: Vec<Entry>,
    /// Whole secrets.
    pub data_from: Vec<String>,
    /// Whole secrets, and which version of them.
    pub data_from_with_options: Vec<Entry>,
    /// What is merged into the Secret.
    pub template: Option<Map<String, Value>>,
    /// AWS: a role to assume.
    pub role_arn: Option<String>,
    /// AWS: the region.
    pub region: Option<String>,
    /// Vault: the mount of the login, and the role.
    pub vault_mount_point: Option<String>,
    /// Vault: the role.
    pub vault_role: Option<String>,
    /// Vault: the version of the engine.
    pub kv_version: Option<u8>,
    /// Azure: the vault.
    pub key_vault_name: Option<String>,
    /// Google: the project.
    pub project_id: Option<String>,
    /// IBM: whether keys are names.
    pub key_by_name: Option<bool>,
    /// Which of several controllers looks after it.
    pub controller_id: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A value, or a whole secret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry {
    /// What it is called in the backend.
    pub key: Option<String>,
    /// What it is called in the Secret.
    pub name: Option<String>,
    /// Which part of it.
    pub property: Option<String>,
    /// Whether it is base64 there.
    pub is_binary: Option<bool>,
    /// AWS: a stage of it.
    pub version_stage: Option<String>,
    /// AWS: a version of it.
    pub version_id: Option<String>,
    /// Google, Azure: a version of it.
    pub version: Option<Value>,
    /// Parameter Store: all below this path.
    pub path: Option<String>,
    /// And what is below that.
    pub recursive: Option<bool>,
    /// IBM: what kind of secret it is.
    pub secret_type: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl Spec {
    /// Of a manifest; `None` where it is not of that form.
    pub fn of(manifest: &Value) -> Option<Self> {
        let spec = [&manifest["spec"], &manifest["secretDescriptor"]].into_iter().find(|spec| spec.is_object())?;
        // A null is none.
        let mut spec = spec.clone();
        if let Some(fields) = spec.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        let mut read = Self::deserialize(spec).ok()?;
        read.data.append(&mut read.properties);
        Some(read)
    }
}
