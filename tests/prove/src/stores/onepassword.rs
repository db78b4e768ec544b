//! A Connect server's double.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::onepassword::Double;
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::made;

pub struct OnePassword(Double);

impl OnePassword {
    pub fn new() -> Self {
        let double = Double::start(&made());
        double.vault("prod");
        Self(double)
    }
}

#[async_trait]
impl Counterpart for OnePassword {
    fn name(&self) -> &'static str {
        "onepassword"
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        json!({"onepassword": {
            "connectHost": self.0.server().url(),
            "vaults": {"prod": 1},
            "auth": {"secretRef": {"connectTokenSecretRef": {"name": secret, "key": "token"}}},
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": "proof"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.0.put("prod", "proof", value);
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
