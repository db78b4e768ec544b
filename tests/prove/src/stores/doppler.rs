//! Doppler's double.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::doppler::Double;
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::made;

pub struct Doppler(Double);

impl Doppler {
    pub fn new() -> Self {
        Self(Double::start())
    }
}

#[async_trait]
impl Counterpart for Doppler {
    fn name(&self) -> &'static str {
        "doppler"
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("DOPPLER_BASE_URL", self.0.server().url())]
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        let token = json!({"name": secret, "key": "token"});
        json!({"doppler": {"auth": {"secretRef": {"dopplerToken": token}}}})
    }

    fn remote(&self) -> Value {
        json!({"key": "PROOF"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.0.put("PROOF", value);
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
