//! Google's double, where a key file may lead a store of the cluster only.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_behaviour_tests::Rig;
use keyferry_doubles::Server;
use keyferry_doubles::gcpsm::{Double, PROJECT};
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::SESSION;

pub struct GcpSm {
    double: Double,
    namespace: String,
}

impl GcpSm {
    pub fn new(rig: &Rig) -> Self {
        let double = Double::start();
        double.tokens_last(SESSION);
        Self { double, namespace: rig.namespace().to_owned() }
    }
}

#[async_trait]
impl Counterpart for GcpSm {
    fn name(&self) -> &'static str {
        "gcpsm"
    }

    fn kind(&self) -> &'static str {
        "ClusterSecretStore"
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", self.double.server().url())]
    }

    fn server(&self) -> Option<&Server> {
        Some(self.double.server())
    }

    fn provider(&self, secret: &str) -> Value {
        let key = json!({"name": secret, "key": "key.json", "namespace": self.namespace});
        json!({"gcpsm": {"projectID": PROJECT, "auth": {"secretRef": {"secretAccessKeySecretRef": key}}}})
    }

    fn remote(&self) -> Value {
        json!({"key": "proof"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.double.put("proof", value.as_bytes());
        Ok(())
    }

    async fn credential(&self) -> Result<Value> {
        Ok(json!({"key.json": self.double.new_key()}))
    }

    async fn retire(&self) -> Result<()> {
        self.double.retire_keys();
        Ok(())
    }
}
