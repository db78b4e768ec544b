//! Fortanix's double.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::fortanix::Double;
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::{SESSION, made};

pub struct Fortanix(Double);

impl Fortanix {
    pub fn new() -> Self {
        let double = Double::start();
        double.logins_last(SESSION);
        Self(double)
    }
}

#[async_trait]
impl Counterpart for Fortanix {
    fn name(&self) -> &'static str {
        "fortanix"
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        json!({"fortanix": {
            "apiUrl": self.0.server().url(),
            "apiKey": {"secretRef": {"name": secret, "key": "key"}},
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": "proof"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.0.put("proof", "SECRET", value.as_bytes());
        Ok(())
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
