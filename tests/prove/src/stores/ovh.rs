//! OVHcloud's double.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::ovh::{DOMAIN, Double};
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::made;

pub struct Ovh(Double);

impl Ovh {
    pub fn new() -> Self {
        Self(Double::start())
    }
}

#[async_trait]
impl Counterpart for Ovh {
    fn name(&self) -> &'static str {
        "ovh"
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        json!({"ovh": {
            "server": self.0.server().url(), "okmsid": DOMAIN,
            "auth": {"token": {"tokenSecretRef": {"name": secret, "key": "token"}}},
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": "proof", "property": "value"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.0.put("proof", json!({ "value": value }));
        Ok(())
    }

    async fn credential(&self) -> Result<Value> {
        let token = made();
        self.0.trust(&token);
        Ok(json!({ "token": token }))
    }

    async fn retire(&self) -> Result<()> {
        self.0.retire();
        Ok(())
    }
}
