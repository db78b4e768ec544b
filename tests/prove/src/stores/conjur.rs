//! Conjur's double, with an API key that is rotated.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::conjur::{ACCOUNT, Double, HOST};
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::{SESSION, made};

pub struct Conjur(Double);

impl Conjur {
    pub fn new() -> Self {
        let double = Double::start(&made(), &made());
        double.set_life(SESSION);
        Self(double)
    }
}

#[async_trait]
impl Counterpart for Conjur {
    fn name(&self) -> &'static str {
        "conjur"
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        let of = |key: &str| json!({"name": secret, "key": key});
        json!({"conjur": {
            "url": self.0.server().url(),
            "auth": {"apikey": {"account": ACCOUNT, "userRef": of("user"), "apiKeyRef": of("key")}},
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": "apps/proof"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.0.put("apps/proof", value.as_bytes());
        Ok(())
    }

    async fn credential(&self) -> Result<Value> {
        let key = made();
        self.0.trust(&key);
        Ok(json!({"user": HOST, "key": key}))
    }

    async fn retire(&self) -> Result<()> {
        self.0.retire();
        Ok(())
    }
}
