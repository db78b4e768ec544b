//! IBM's double, with IAM on the same server.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::ibm::Double;
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::{SESSION, made};

pub struct Ibm(Double);

impl Ibm {
    pub fn new() -> Self {
        let double = Double::start();
        double.logins_last(SESSION);
        Self(double)
    }
}

#[async_trait]
impl Counterpart for Ibm {
    fn name(&self) -> &'static str {
        "ibm"
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        let url = self.0.server().url();
        json!({"ibm": {
            "serviceUrl": url,
            "auth": {"secretRef": {"secretApiKeySecretRef": {"name": secret, "key": "key"}, "iamEndpoint": url}},
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": "team/arbitrary/proof"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.0.put("team", "arbitrary", "proof", json!({ "payload": value }));
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
