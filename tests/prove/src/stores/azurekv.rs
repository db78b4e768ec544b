//! Azure Key Vault's double, in a cloud of its own.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::azurekv::{CLIENT, Double, RESOURCE, TENANT};
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::{SESSION, made};

pub struct AzureKv(Double);

impl AzureKv {
    pub fn new() -> Self {
        let double = Double::start_plain();
        double.live_for(SESSION);
        Self(double)
    }
}

#[async_trait]
impl Counterpart for AzureKv {
    fn name(&self) -> &'static str {
        "azurekv"
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        let url = self.0.server().url();
        json!({"azurekv": {
            "vaultUrl": url,
            "tenantId": TENANT,
            "environmentType": "AzureStackCloud",
            "customCloudConfig": {"activeDirectoryEndpoint": url, "keyVaultEndpoint": RESOURCE},
            "authSecretRef": {
                "clientId": {"name": secret, "key": "id"},
                "clientSecret": {"name": secret, "key": "secret"},
            },
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": "proof"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.0.put("proof", value);
        Ok(())
    }

    async fn credential(&self) -> Result<Value> {
        let secret = made();
        self.0.trust_secret(&secret);
        Ok(json!({"id": CLIENT, "secret": secret}))
    }

    async fn retire(&self) -> Result<()> {
        self.0.retire_secrets();
        Ok(())
    }
}
