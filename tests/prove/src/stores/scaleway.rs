//! Scaleway's double.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::scaleway::{Double, PLACE};
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::made;

pub struct Scaleway(Double);

impl Scaleway {
    pub fn new() -> Self {
        Self(Double::start())
    }
}

#[async_trait]
impl Counterpart for Scaleway {
    fn name(&self) -> &'static str {
        "scaleway"
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        json!({"scaleway": {
            "apiUrl": self.0.server().url(), "region": PLACE.0, "projectId": PLACE.1,
            "accessKey": {"value": "SCWX"}, "secretKey": {"secretRef": {"name": secret, "key": "key"}},
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": "path:/team/proof"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.0.put("/team", "proof", value.as_bytes(), &[]);
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
