//! What a volume asks for, by its attributes, and for which pod, by the kubelet's. Pure.

use std::collections::HashMap;

use keyferry_files::access::{Access, parse_mode};
use keyferry_files::contents::is_file_name;
use keyferry_files::volume::{File, Files, in_the_way, is_path};
use keyferry_limits::MOUNT_ITEMS;
use keyferry_provider_core::names::{is_label, is_name};
use keyferry_sync::data::Data;
use serde::Deserialize;

use crate::refusal::Refusal;
use crate::tokens::Asker;

/// Attributes of the kubelet begin with this.
pub(crate) const OF_KUBELET: &str = "csi.storage.k8s.io/";

/// How attributes are called that stand in the pod's volume.
const ATTRIBUTES: &str = "volumeAttributes";

/// How an item is written.
pub(crate) const ITEM: &str = r#"{"key": ..., "path": ..., "mode": "0440"}"#;

/// Items are written in at most so many bytes.
pub(crate) const ITEMS_TEXT: usize = 256 << 10;

/// A pod that mounts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The ServiceAccount that it runs as.
    pub service_account: String,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The pod.
    pub pod: Pod,
    /// The name of the ExternalSecret, in the pod's namespace.
    pub external_secret: String,
    /// What of it, and where; all of it where nothing is said.
    pub items: Option<Vec<Item>>,
    /// For whom files are.
    pub access: Access,
}

/// A key of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: String,
    /// The path of its file.
    pub path: String,
    /// The mode of that, where it is another than the others'.
    pub mode: Option<u32>,
}

/// The same, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    key: String,
    path: Option<String>,
    mode: Option<String>,
}

impl Wanted {
    /// From the attributes, without tokens, and the group that the kubelet names.
    pub fn of(context: &HashMap<String, String>, group: &str) -> Result<Self, Refusal> {
        let mut own: HashMap<&str, &str> = HashMap::new();
        for (name, value) in context.iter().filter(|(name, _)| !name.starts_with(OF_KUBELET)) {
            own.insert(name, value);
        }
        let name = own.remove("externalSecret").unwrap_or_default();
        if !is_name(name) {
            return Err(attribute(
                ATTRIBUTES,
                "externalSecret",
                "names the ExternalSecret, of the pod's namespace, that is mounted",
            ));
        }
        let items = own.remove("items").map(items).transpose()?;
        let gid = number("the group of the volume", group)?;
        let uid = number("volumeAttributes: owner", own.remove("owner").unwrap_or_default())?;
        let by_default = if gid.is_some() { 0o640 } else { 0o644 };
        let mode = own.remove("mode").map_or(Ok(by_default), |text| parse_mode(text).map_err(Refusal::invalid))?;
        if let Some(name) = own.keys().min() {
            return Err(Refusal::invalid(format!(
                "volumeAttributes: {name:?} is none that there is: externalSecret, items, mode, owner"
            )));
        }
        let access = Access { mode, uid, gid };
        Ok(Self { pod: pod(context, Asker::Kubelet)?, external_secret: name.to_owned(), items, access })
    }

    /// The files that it is to hold, of what the ExternalSecret delivers; the error is for a person.
    pub fn files(&self, data: &Data) -> Result<Files, String> {
        let Some(items) = &self.items else {
            let file = |(key, value): (&String, &_)| {
                is_file_name(key).then(|| (key.clone(), File { value: Clone::clone(value), mode: self.access.mode }))
            };
            // Not told which: a template may have made it.
            return data.iter().map(file).collect::<Option<Files>>().ok_or_else(|| {
                "a key that the ExternalSecret delivers is no name of a file: choose keys and paths with items"
                    .to_owned()
            });
        };
        let file = |item: &Item| {
            let value = data.get(&item.key).cloned().ok_or_else(|| {
                format!("items asks for key {:?}, which the ExternalSecret does not deliver", item.key)
            })?;
            Ok((item.path.clone(), File { value, mode: item.mode.unwrap_or(self.access.mode) }))
        };
        items.iter().map(file).collect()
    }

    /// Who may look into its folders: whoever may read one of its files.
    pub fn folders(&self) -> Access {
        let modes = self.items.iter().flatten().filter_map(|item| item.mode);
        Access { mode: modes.fold(self.access.mode, |all, mode| all | mode), ..self.access }
    }
}

/// What is wrong with one of these attributes.
pub(crate) fn attribute(of: &str, name: &str, what: &str) -> Refusal {
    Refusal::invalid(format!("{of}: {name} {what}"))
}

fn number(what: &str, text: &str) -> Result<Option<u32>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Refusal::invalid(format!("{what}: {text:?} is no number of a user or group")))
}

fn items(text: &str) -> Result<Vec<Item>, Refusal> {
    if text.len() > ITEMS_TEXT {
        return Err(attribute(ATTRIBUTES, "items", &too_long()));
    }
    let written = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let why = format!("is no JSON list of {ITEM} (line {line}, column {column})");
        attribute(ATTRIBUTES, "items", &why)
    })?;
    checked(ATTRIBUTES, written)
}

/// That a text of an attribute is too long.
pub(crate) fn too_long() -> String {
    format!("is longer than {} KiB", ITEMS_TEXT >> 10)
}

/// The items of these attributes, part by part.
pub(crate) fn checked(of: &str, written: Vec<Written>) -> Result<Vec<Item>, Refusal> {
    let wrong = |why: String| attribute(of, "items", &why);
    if written.is_empty() {
        return Err(wrong("is empty: leave it out to have all keys".to_owned()));
    }
    if written.len() > MOUNT_ITEMS.size() {
        return Err(Refusal::new(crate::refusal::Kind::Invalid, keyferry_sync::told!("{}", MOUNT_ITEMS)));
    }
    let item = |written: Written| {
        let path = written.path.unwrap_or_else(|| written.key.clone());
        if !is_path(&path) {
            return Err(wrong(format!(
                "has the path {path:?}: parts of letters, digits, '-', '_' and '.', none of them '..', with '/' between"
            )));
        }
        let mode = written.mode.map(|mode| parse_mode(&mode).map_err(wrong)).transpose()?;
        Ok(Item { key: written.key, path, mode })
    };
    let items: Vec<Item> = written.into_iter().map(item).collect::<Result<_, _>>()?;
    let mut paths: Vec<&String> = items.iter().map(|item| &item.path).collect();
    if let Some((above, path)) = in_the_way(paths.iter().copied()) {
        return Err(wrong(format!("has {above:?} for a file, and for a folder of {path:?}")));
    }
    paths.sort();
    if let Some(twice) = paths.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(wrong(format!("has the path {:?} twice", twice[0])));
    }
    Ok(items)
}

/// The pod, as the kubelet says.
pub(crate) fn pod(context: &HashMap<String, String>, asker: Asker) -> Result<Pod, Refusal> {
    let (driver, is_ours) = match asker {
        Asker::Kubelet => ("csi.keyferry.io", true),
        Asker::SecretsStore => ("secrets-store.csi.k8s.io", false),
    };
    let is_ephemeral = context.get("csi.storage.k8s.io/ephemeral").is_none_or(|text| text == "true");
    if is_ours && !is_ephemeral {
        return Err(Refusal::invalid(format!(
            "{driver} mounts volumes that stand in the pod itself (csi: in its volumes), and no PersistentVolume"
        )));
    }
    let of = |name: &str| {
        let value = context.get(&format!("{OF_KUBELET}{name}")).filter(|value| is_name(value)).cloned();
        value.ok_or_else(|| {
            Refusal::invalid(format!(
                "the kubelet did not say {name}: the CSIDriver object {driver} must have podInfoOnMount: true"
            ))
        })
    };
    let namespace = of("pod.namespace")?;
    if !is_label(&namespace) {
        return Err(Refusal::invalid("the pod's namespace is no name of one".to_owned()));
    }
    let (name, uid, service_account) = (of("pod.name")?, of("pod.uid")?, of("serviceAccount.name")?);
    Ok(Pod { namespace, name, uid, service_account })
}

#[cfg(test)]
#[path = "wanted_tests.rs"]
pub(crate) mod tests;
