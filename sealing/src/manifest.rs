//! SealedSecrets: what a manifest or an object says, and what it comes to.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_documents::Format;
use keyferry_provider_core::{Error, ErrorKind, Scope, SecretBytes, json};
use serde::Deserialize;
use serde_json::Value;

use crate::envelope::{Tries, open, seal};
use crate::keys::{PublicKey, SealingKeys};

/// The group of the kind.
pub const GROUP: &str = "bitnami.com";
/// Its version.
pub const VERSION: &str = "v1alpha1";
/// The kind.
pub const KIND: &str = "SealedSecret";
/// As the API's paths have it.
pub const PLURAL: &str = "sealedsecrets";

const NAMESPACE_WIDE: &str = "sealedsecrets.bitnami.com/namespace-wide";
const CLUSTER_WIDE: &str = "sealedsecrets.bitnami.com/cluster-wide";

/// A SealedSecret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedSecret {
    /// Its metadata.
    #[serde(default)]
    pub metadata: Metadata,
    /// Its spec.
    #[serde(default)]
    pub spec: Spec,
}

/// What of its metadata counts.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Metadata {
    /// Its name.
    pub name: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its annotations, the scope among them.
    pub annotations: Option<BTreeMap<String, String>>,
}

/// Its spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// What was sealed, by the Secret's keys; base64.
    pub encrypted_data: Option<BTreeMap<String, Option<String>>>,
    /// A whole Secret in one, as very old versions sealed it.
    pub data: Option<String>,
    /// What the Secret is to be beside its data.
    pub template: Option<Template>,
}

/// What the Secret is to be beside its data.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Template {
    /// Its labels and annotations.
    pub metadata: Option<TemplateMetadata>,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Whether it may never change.
    pub immutable: Option<bool>,
    /// Values that are rendered of what was unsealed.
    pub data: Option<BTreeMap<String, String>>,
}

/// Labels and annotations of the Secret.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct TemplateMetadata {
    /// Its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Its annotations.
    pub annotations: Option<BTreeMap<String, String>>,
}

impl SealedSecret {
    /// One that is read.
    ///
    /// # Errors
    /// `Invalid` where it is not of the form of a SealedSecret.
    pub fn new(manifest: &Value) -> Result<Self, Error> {
        let read = Self::deserialize(manifest);
        read.map_err(|_| {
            Error::invalid("a SealedSecret is not of its form: metadata, spec.encryptedData and spec.template")
        })
    }

    /// All SealedSecrets of a file: YAML of several documents, or JSON; lists too. What else stands there is passed over.
    pub fn of_file(text: &[u8]) -> Result<Vec<Self>, Error> {
        Self::manifests(text)?.iter().map(Self::new).collect()
    }

    /// The same, as they stand there.
    pub fn manifests(text: &[u8]) -> Result<Vec<Value>, Error> {
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(Error::new(ErrorKind::Malformed, "it is no text: it must be manifests of SealedSecrets"));
        };
        let mut all = Vec::new();
        for document in documents(text) {
            let node = Format::Yaml.read(document.as_bytes())?;
            let value: Value = serde_json::from_slice(node.to_json().expose()).unwrap_or_default();
            collect(value, &mut all);
        }
        Ok(all)
    }

    /// Its name; empty where it has none.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// For whom it is sealed, as one of `namespace`: by its annotations, which can't lie, since they only say what is tried.
    pub fn scope(&self, namespace: &str) -> Scope {
        let says = |name| {
            self.metadata.annotations.as_ref().and_then(|all| all.get(name)).is_some_and(|value| value == "true")
        };
        if says(CLUSTER_WIDE) {
            Scope::AnySecret
        } else if says(NAMESPACE_WIDE) {
            Scope::Secrets(namespace.to_owned())
        } else {
            Scope::Secret(namespace.to_owned(), self.name().to_owned())
        }
    }

    /// What it holds, sealed, by the Secret's keys; under [`WHOLE`] what was sealed in one.
    pub fn values(&self) -> Result<Vec<(&str, Vec<u8>)>, Error> {
        let mut values = self.spec.encrypted_data.iter().flatten().peekable();
        if let Some(text) = &self.spec.data {
            if values.peek().is_some() {
                return Err(Error::invalid("spec.data and spec.encryptedData are both set: keep one"));
            }
            let sealed = STANDARD.decode(text.trim());
            let sealed = sealed.map_err(|_| Error::new(ErrorKind::Malformed, "spec.data is no base64"))?;
            return Ok(vec![(WHOLE, sealed)]);
        }
        let decode = |(key, text): (&'_ String, &Option<String>)| {
            STANDARD
                .decode(text.as_deref().unwrap_or_default().trim())
                .map_err(|_| Error::new(ErrorKind::Malformed, format!("spec.encryptedData {key:?} is no base64")))
        };
        values.map(|(key, text)| Ok((key.as_str(), decode((key, text))?))).collect()
    }

    /// What it holds, as one of `namespace`.
    ///
    /// # Errors
    /// That of the first value that does not open, which names its key.
    pub fn unseal(&self, keys: &SealingKeys, namespace: &str) -> Result<BTreeMap<String, SecretBytes>, Error> {
        let (scope, mut tries) = (self.scope(namespace), Tries::default());
        let open = |(key, sealed): (&str, Vec<u8>)| {
            let value = open(keys, &scope, &sealed, &mut tries).map_err(|error| at(key, error))?;
            Ok((key.to_owned(), value))
        };
        plain(self.values()?.into_iter().map(open).collect::<Result<_, Error>>()?)
    }
}

/// What was sealed in one stands under no key.
pub const WHOLE: &str = "";

/// The same error, of the value under this key.
pub fn at(key: &str, error: Error) -> Error {
    if key == WHOLE { error.context("spec.data") } else { error.context(format_args!("spec.encryptedData {key:?}")) }
}

/// The values of a Secret of what was opened: of one that was sealed in one, those that stand in it.
///
/// # Errors
/// `Malformed` where that is no Secret.
pub fn plain(mut opened: BTreeMap<String, SecretBytes>) -> Result<BTreeMap<String, SecretBytes>, Error> {
    let Some(whole) = opened.remove(WHOLE) else { return Ok(opened) };
    let read = || {
        let secret = json::object(whole.expose())?;
        let Some(data) = secret.get("data") else { return Some(BTreeMap::new()) };
        // A Secret without values says null.
        let data =
            if data.get() == "null" { return Some(BTreeMap::new()) } else { json::object(data.get().as_bytes())? };
        let value = |(key, text): (String, &serde_json::value::RawValue)| {
            let value = STANDARD.decode(json::to_bytes(text).expose()).ok()?;
            Some((key, SecretBytes::new(value)))
        };
        data.into_iter().map(value).collect()
    };
    read().ok_or_else(|| Error::new(ErrorKind::Malformed, "spec.data: what was sealed is no Secret"))
}

/// Puts a value into a manifest that was sealed anew.
pub fn put(manifest: &mut Value, key: &str, sealed: &[u8]) {
    let place = if key == WHOLE { &mut manifest["spec"]["data"] } else { &mut manifest["spec"]["encryptedData"][key] };
    *place = Value::String(STANDARD.encode(sealed));
}

/// The same manifest with all values sealed anew: nothing else of it changes.
pub fn reseal(manifest: &Value, keys: &SealingKeys) -> Result<Value, Error> {
    let read = SealedSecret::new(manifest)?;
    let namespace = read.metadata.namespace.clone().unwrap_or_default();
    let latest = latest(keys)?;
    let (scope, mut tries, mut anew) = (read.scope(&namespace), Tries::default(), manifest.clone());
    for (key, sealed) in read.values()? {
        let value = open(keys, &scope, &sealed, &mut tries).map_err(|error| at(key, error))?;
        put(&mut anew, key, &seal(latest, &scope, value.expose())?);
    }
    Ok(anew)
}

/// What seals now.
pub fn latest(keys: &SealingKeys) -> Result<&PublicKey, Error> {
    let latest = keys.latest().ok_or_else(|| Error::invalid("there is no sealing key yet"))?;
    Ok(latest.public())
}

/// The documents of a YAML text: what stands between lines of three dashes.
fn documents(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines() {
        let is_mark = line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if is_mark || line.trim_end() == "..." {
            all.push(String::new());
        } else if let Some(last) = all.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    // What holds nothing but comments is none.
    let is_filled = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    all.retain(|document| document.lines().any(is_filled));
    all
}

fn collect(mut value: Value, all: &mut Vec<Value>) {
    let group = value["apiVersion"].as_str().and_then(|version| version.split_once('/')).map(|(group, _)| group);
    if group == Some(GROUP) && value["kind"] == KIND {
        all.push(value);
    } else if value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"))
        && let Value::Array(items) = value["items"].take()
    {
        for item in items {
            collect(item, all);
        }
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
