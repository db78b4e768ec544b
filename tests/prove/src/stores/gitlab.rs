//! GitLab's double.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::gitlab::Double;
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::made;

pub struct GitLab(Double);

impl GitLab {
    pub fn new() -> Self {
        Self(Double::start())
    }
}

#[async_trait]
impl Counterpart for GitLab {
    fn name(&self) -> &'static str {
        "gitlab"
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        json!({"gitlab": {
            "url": self.0.server().url(),
            "auth": {"SecretRef": {"accessToken": {"name": secret, "key": "token"}}},
            "projectID": "1",
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": "PROOF"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.0.put("projects/1", "PROOF", value, "*");
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
