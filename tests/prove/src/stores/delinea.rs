//! The double of Delinea's DevOps Secrets Vault.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::delinea::{CLIENT, Double};
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::{SESSION, made};

pub struct Delinea(Double);

impl Delinea {
    pub fn new() -> Self {
        let double = Double::start();
        double.logins_last(SESSION);
        Self(double)
    }
}

#[async_trait]
impl Counterpart for Delinea {
    fn name(&self) -> &'static str {
        "delinea"
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        json!({"delinea": {
            "tenant": "tenant", "urlTemplate": format!("{}/%s/%s/v1/%s%s", self.0.server().url()),
            "clientId": {"value": CLIENT.0}, "clientSecret": {"secretRef": {"name": secret, "key": "secret"}},
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": "team/proof", "property": "value"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.0.put("team/proof", json!({ "value": value }));
        Ok(())
    }

    async fn credential(&self) -> Result<Value> {
        let secret = made();
        self.0.trust(&secret);
        Ok(json!({ "secret": secret }))
    }

    async fn retire(&self) -> Result<()> {
        self.0.retire();
        Ok(())
    }
}
