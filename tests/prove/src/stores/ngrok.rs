//! ngrok's double, which shows nobody what it holds.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::ngrok::{Double, VAULT};
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::made;

pub struct Ngrok(Double);

impl Ngrok {
    pub fn new() -> Self {
        Self(Double::start())
    }
}

#[async_trait]
impl Counterpart for Ngrok {
    fn name(&self) -> &'static str {
        "ngrok"
    }

    fn is_write_only(&self) -> bool {
        true
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        json!({"ngrok": {
            "apiUrl": self.0.server().url(), "vault": {"name": VAULT},
            "auth": {"apiKey": {"secretRef": {"name": secret, "key": "key"}}},
        }})
    }

    fn remote(&self) -> Value {
        json!({"remoteKey": "proof"})
    }

    fn held(&self) -> Option<String> {
        self.0.held("proof").map(|(value, ..)| value)
    }

    async fn credential(&self) -> Result<Value> {
        let key = made();
        self.0.trust(&key);
        Ok(json!({ "key": key }))
    }

    async fn retire(&self) -> Result<()> {
        self.0.retire();
        Ok(())
    }
}
