//! Values that are sealed: those of `sealed` stand in the store itself, and the operator's keys open them; SealedSecrets lie in a
//! ConfigMap, and a key that the store names opens them. Nobody logs in: what changes is the key, or the Secret that it stands in.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keyferry_behaviour_tests::Rig;
use keyferry_behaviour_tests::cluster::Cluster;
use keyferry_provider_core::Scope;
use keyferry_sealing::{Generated, PublicKey, Sealed as Text, keys, seal};
use serde_json::{Value, json};

use crate::Counterpart;

/// A pair, as the Secret that keeps it has it.
fn made() -> Generated {
    Generated::new(Timestamp::try_from(SystemTime::now()).expect("a time"), 2048).expect("a pair")
}

fn public(pair: &Generated) -> PublicKey {
    PublicKey::of_certificate(pair.certificate.as_bytes()).expect("a certificate")
}

fn texts(pair: &Generated) -> Value {
    json!({
        "tls.crt": pair.certificate,
        "tls.key": pair.private.expose_str(),
        "made": format!("{:016x}", rand::random::<u64>()),
    })
}

async fn apply(cluster: &Cluster, object: &Value) -> Result<()> {
    cluster.try_apply(object).await.map(|_| ()).map_err(|refusal| anyhow!("{refusal}"))
}

pub struct Sealed {
    cluster: Cluster,
    namespace: String,
    /// What seals now, and the last value.
    now: Mutex<(PublicKey, String)>,
}

impl Sealed {
    pub async fn new(rig: &Rig) -> Self {
        let (pair, namespace) = (made(), rig.namespace().to_owned());
        let sealed = Self { cluster: rig.cluster.clone(), namespace, now: Mutex::new((public(&pair), String::new())) };
        sealed.keep(&pair).await.expect("the sealing key is kept");
        sealed
    }

    /// Gives a pair to the operator.
    async fn keep(&self, pair: &Generated) -> Result<()> {
        let name = format!("sealing-{:08x}", rand::random::<u32>());
        let metadata = json!({"name": name, "labels": {keys::LABEL: keys::ACTIVE}});
        let mut secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls"});
        secret["stringData"] = texts(pair);
        apply(&self.cluster, &secret).await
    }

    /// What the store has now.
    fn values(&self) -> Value {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let scope = Scope::Namespace(self.namespace.clone());
        let text = Text::new(&now.0, scope, now.1.as_bytes()).expect("it is sealed");
        json!({"sealed": {"values": {"proof": text.to_string()}}})
    }
}

#[async_trait]
impl Counterpart for Sealed {
    fn name(&self) -> &'static str {
        "sealed"
    }

    fn args(&self) -> Vec<String> {
        vec![format!("--sealing-keys={}", self.namespace)]
    }

    fn provider(&self, _: &str) -> Value {
        self.values()
    }

    fn remote(&self) -> Value {
        json!({"key": "proof"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        value.clone_into(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner).1);
        let store = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": self.name()},
            "spec": {"provider": self.values(), "refreshInterval": 10},
        });
        apply(&self.cluster, &store).await
    }

    /// Another sealing key, with which what is put from now on is sealed; the operator has it first.
    async fn credential(&self) -> Result<Value> {
        let pair = made();
        self.keep(&pair).await?;
        self.now.lock().unwrap_or_else(PoisonError::into_inner).0 = public(&pair);
        Ok(texts(&pair))
    }

    async fn retire(&self) -> Result<()> {
        Ok(())
    }
}

pub struct SealedSecrets {
    cluster: Cluster,
    namespace: String,
    pair: Generated,
}

/// The ConfigMap that it lies in, and the SealedSecret.
const PLACE: &str = "proof-sealedsecrets";

impl SealedSecrets {
    pub fn new(rig: &Rig) -> Self {
        Self { cluster: rig.cluster.clone(), namespace: rig.namespace().to_owned(), pair: made() }
    }
}

#[async_trait]
impl Counterpart for SealedSecrets {
    fn name(&self) -> &'static str {
        "sealedsecrets"
    }

    fn provider(&self, secret: &str) -> Value {
        json!({"sealedsecrets": {
            "documents": [{"configMapRef": {"name": PLACE, "key": "sealed.json"}}],
            "keys": [{"secretRef": {"name": secret}}],
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": PLACE, "property": "value"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        let scope = Scope::Secret(self.namespace.clone(), PLACE.to_owned());
        let sealed = seal(&public(&self.pair), &scope, value.as_bytes()).map_err(|error| anyhow!("{error}"))?;
        let document = json!({
            "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
            "metadata": {"name": PLACE, "namespace": self.namespace},
            "spec": {"encryptedData": {"value": STANDARD.encode(sealed)}},
        });
        let data = json!({"sealed.json": document.to_string()});
        apply(
            &self.cluster,
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": PLACE}, "data": data}),
        )
        .await
    }

    async fn credential(&self) -> Result<Value> {
        Ok(texts(&self.pair))
    }

    async fn retire(&self) -> Result<()> {
        Ok(())
    }
}
