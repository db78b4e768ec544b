//! What is kept: secrets with labels, annotations and etags, and their versions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::NUMBER;

/// All secrets, and what is wrong with the server.
pub(super) struct Kept {
    secrets: BTreeMap<(Option<String>, String), Secret>,
    changes: u64,
    /// How many a page has at most.
    pub page: usize,
    pub denied: BTreeSet<String>,
    pub damages: bool,
    pub is_off: bool,
    /// Whether somebody else changes what is shown.
    pub is_restless: bool,
    /// How many calls are answered yet, and what others are answered.
    pub instead: Option<(usize, u16, String)>,
}

/// A secret.
#[derive(Default)]
pub(super) struct Secret {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub topics: Value,
    pub replication: Value,
    pub encryption: Value,
    pub aliases: BTreeMap<String, u64>,
    pub etag: String,
    pub versions: Vec<Version>,
}

/// A version; its number is its place.
pub(super) struct Version {
    pub data: Vec<u8>,
    pub state: VersionState,
    pub etag: String,
}

/// What can be done with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// It can be read.
    Enabled,
    /// It can be enabled.
    Disabled,
    /// It is gone.
    Destroyed,
}

impl VersionState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::Disabled => "DISABLED",
            Self::Destroyed => "DESTROYED",
        }
    }
}

impl Secret {
    /// A version by its number.
    pub fn version(&mut self, number: u64) -> Option<&mut Version> {
        self.versions.get_mut(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    /// The number that a name stands for.
    pub fn number(&self, name: &str) -> Option<u64> {
        match name {
            "latest" => u64::try_from(self.versions.len()).ok().filter(|count| *count > 0),
            _ => name.parse().ok().or_else(|| self.aliases.get(name).copied()),
        }
    }
}

impl Kept {
    pub fn new() -> Self {
        let (secrets, denied) = (BTreeMap::new(), BTreeSet::new());
        Self {
            secrets,
            changes: 0,
            page: 25_000,
            denied,
            damages: false,
            is_off: false,
            is_restless: false,
            instead: None,
        }
    }

    /// Another etag, with its quotes.
    pub fn etag(&mut self) -> String {
        self.changes += 1;
        format!("\"{:x}\"", 0x5f00 + self.changes)
    }

    pub fn secret(&mut self, location: Option<&str>, id: &str) -> Option<&mut Secret> {
        self.secrets.get_mut(&(location.map(str::to_owned), id.to_owned()))
    }

    pub fn insert(&mut self, location: Option<&str>, id: &str, secret: Secret) {
        self.secrets.insert((location.map(str::to_owned), id.to_owned()), secret);
    }

    pub fn remove(&mut self, location: Option<&str>, id: &str) {
        self.secrets.remove(&(location.map(str::to_owned), id.to_owned()));
    }

    pub fn put(&mut self, location: Option<&str>, id: &str, value: &[u8], labels: &[(&str, &str)]) -> String {
        let etag = self.etag();
        if self.secret(location, id).is_none() {
            let replication = if location.is_none() { json!({"automatic": {}}) } else { Value::Null };
            self.insert(location, id, Secret { etag: etag.clone(), replication, ..Secret::default() });
        }
        let secret = self.secret(location, id).expect("it was just made");
        secret.labels.extend(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        secret.versions.push(Version { data: value.to_vec(), state: VersionState::Enabled, etag });
        secret.versions.len().to_string()
    }

    /// The ids of all secrets at a place.
    pub fn ids(&self, location: Option<&str>) -> Vec<String> {
        self.secrets.keys().filter(|(place, _)| place.as_deref() == location).map(|(_, id)| id.clone()).collect()
    }

    /// A secret as it is answered: by the number of its project, and what is empty left out.
    pub fn shown(&mut self, location: Option<&str>, id: &str) -> Option<Value> {
        let name = format!("{}/secrets/{id}", parent(location));
        let secret = self.secret(location, id)?;
        let mut shown = json!({"name": name, "etag": secret.etag, "createTime": "2026-01-02T03:04:05.678901Z"});
        let texts = |texts: &BTreeMap<String, String>| if texts.is_empty() { Value::Null } else { json!(texts) };
        for (name, value) in [
            ("labels", texts(&secret.labels)),
            ("annotations", texts(&secret.annotations)),
            ("topics", secret.topics.clone()),
            ("replication", secret.replication.clone()),
            ("customerManagedEncryption", secret.encryption.clone()),
        ] {
            if !value.is_null() {
                shown[name] = value;
            }
        }
        Some(shown)
    }

    /// A version as it is answered.
    pub fn shown_version(&mut self, location: Option<&str>, id: &str, number: u64) -> Option<Value> {
        let name = format!("{}/secrets/{id}/versions/{number}", parent(location));
        let version = self.secret(location, id)?.version(number)?;
        Some(json!({"name": name, "state": version.state.as_str(), "etag": version.etag,
            "createTime": format!("2026-01-02T03:04:{:02}Z", number % 60)}))
    }
}

/// Where secrets are, as the server says it.
pub(super) fn parent(location: Option<&str>) -> String {
    match location {
        Some(location) => format!("projects/{NUMBER}/locations/{location}"),
        None => format!("projects/{NUMBER}"),
    }
}
