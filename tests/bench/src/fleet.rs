//! The objects of a run: one store, and ExternalSecrets of two entries each, every one with a key of its own.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::ValueEnum;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::bed::{self, Bed};
use crate::double::Double;

/// The store's name, and that of the Secret it logs in with.
pub const STORE: &str = "bench";

/// Where Secrets are that are nobody's, and how large each is, in bytes.
pub const UNRELATED: &str = "bench-unrelated";
const LARGE: usize = 20 << 10;

/// A Secret of 20 KiB that no ExternalSecret writes or reads.
pub fn unrelated(n: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("unrelated-{n:05}"), "namespace": UNRELATED},
        "stringData": {"blob": "x".repeat(LARGE)},
    })
}

/// Which kind of store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// AWS Secrets Manager, played by the double.
    Aws,
    /// AWS Parameter Store, played by the double.
    Ssm,
    /// Vault's KV version 2, played by the double.
    Vault,
    /// Values in the store's own spec: no calls.
    Fake,
}

/// So many ExternalSecrets.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// What they ask.
    pub store: StoreKind,
    /// How many there are.
    pub objects: usize,
    /// How often each refreshes, in seconds.
    pub interval: u64,
    /// Where they are, in turn. The first holds the login too.
    pub namespaces: Vec<String>,
}

impl Fleet {
    /// Writes all values of a round into the store: the first is 1, and every rotation another.
    pub async fn put_values(&self, bed: &Bed, double: &Double, round: usize) -> Result<()> {
        match (self.store, round) {
            (StoreKind::Fake, 1) => {} // they come with the store
            (StoreKind::Fake, _) => {
                let patch = Patch::Merge(json!({"spec": {"provider": self.provider("", round)}}));
                bed.api("ClusterSecretStore", None).patch(STORE, &PatchParams::default(), &patch).await?;
            }
            (_, 1) => (0..self.objects).for_each(|n| double.set(&self.key(n), &value(n, 1))),
            // All at one moment.
            (_, round) => double.rotate(|key| value(number(key), round)),
        }
        Ok(())
    }

    /// Creates the namespaces, the login, and the store.
    pub async fn put_store(&self, bed: &Bed, double: &Double) -> Result<()> {
        for namespace in &self.namespaces {
            bed.namespace(namespace).await?;
        }
        let login = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": STORE, "namespace": self.namespaces[0]},
            "stringData": {"id": "AKIABENCHBENCHBENCH0", "key": "the-key-of-the-bench", "token": "bench-token"},
        });
        let store = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": STORE},
            "spec": {"provider": self.provider(&double.url(), 1)},
        });
        bed::create(bed.client(), &login).await?;
        bed::create(bed.client(), &store).await
    }

    /// All ExternalSecrets.
    pub fn external_secrets(&self) -> Vec<Value> {
        (0..self.objects).map(|n| self.external_secret(n, &format!("{}s", self.interval))).collect()
    }

    /// One ExternalSecret with this interval.
    pub fn external_secret(&self, n: usize, interval: &str) -> Value {
        let entry = |name: &str| json!({"secretKey": name, "remoteRef": {"key": self.key(n), "property": name}});
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": self.name(n), "namespace": self.namespace(n)},
            "spec": {
                "refreshInterval": interval,
                "secretStoreRef": {"name": STORE, "kind": "ClusterSecretStore"},
                "data": [entry("username"), entry("password")],
            },
        })
    }

    /// The name of an ExternalSecret, and of its target.
    pub fn name(&self, n: usize) -> String {
        format!("es-{n:05}")
    }

    /// Where it is.
    pub fn namespace(&self, n: usize) -> &str {
        &self.namespaces[n % self.namespaces.len()]
    }

    /// Its key in the store.
    pub fn key(&self, n: usize) -> String {
        match self.store {
            StoreKind::Ssm => format!("/bench/key-{n:05}"),
            StoreKind::Fake => format!("/key-{n:05}"),
            _ => format!("bench/key-{n:05}"),
        }
    }

    /// What its target must hold in a round.
    pub fn data(&self, n: usize, round: usize) -> BTreeMap<String, String> {
        serde_json::from_str(&value(n, round)).unwrap_or_default()
    }

    fn provider(&self, url: &str, round: usize) -> Value {
        let login = |key: &str| json!({"name": STORE, "namespace": self.namespaces[0], "key": key});
        let aws = |service: &str| {
            let auth =
                json!({"secretRef": {"accessKeyIDSecretRef": login("id"), "secretAccessKeySecretRef": login("key")}});
            json!({"aws": {"service": service, "region": "eu-west-1", "auth": auth}})
        };
        match self.store {
            StoreKind::Aws => aws("SecretsManager"),
            StoreKind::Ssm => aws("ParameterStore"),
            StoreKind::Vault => json!({"vault": {
                "server": url, "path": "secret", "version": "v2", "auth": {"tokenSecretRef": login("token")},
            }}),
            StoreKind::Fake => {
                let entries = (0..self.objects).map(|n| json!({"key": self.key(n), "value": value(n, round)}));
                json!({"fake": {"data": entries.collect::<Vec<_>>()}})
            }
        }
    }
}

fn value(n: usize, round: usize) -> String {
    json!({"username": format!("user-{n:05}"), "password": format!("the password of {n:05} in round {round:05}")})
        .to_string()
}

/// The number of the object whose key this is.
fn number(key: &str) -> usize {
    key.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_its_own_key_and_every_round_its_own_values() {
        let namespaces = vec!["a".to_owned(), "b".to_owned()];
        let fleet = Fleet { store: StoreKind::Ssm, objects: 3, interval: 60, namespaces };
        assert_eq!([0, 1, 2].map(|n| fleet.namespace(n)), ["a", "b", "a"]);
        assert_eq!([0, 1, 2].map(|n| number(&fleet.key(n))), [0, 1, 2]);
        assert_ne!(fleet.data(1, 1), fleet.data(1, 2));
        assert_eq!(fleet.data(1, 1)["username"], "user-00001");
    }
}
