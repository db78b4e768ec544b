//! The double of bitwarden-sdk-server.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_behaviour_tests::rig::base64;
use keyferry_doubles::Server;
use keyferry_doubles::bitwarden::Double;
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::made;

const ORGANIZATION: &str = "org";
const PROJECT: &str = "project";

pub struct Bitwarden(Double);

impl Bitwarden {
    pub fn new() -> Self {
        Self(Double::start(&made(), ORGANIZATION))
    }
}

#[async_trait]
impl Counterpart for Bitwarden {
    fn name(&self) -> &'static str {
        "bitwarden"
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        let server = self.0.server();
        json!({"bitwardensecretsmanager": {
            "bitwardenServerSDKURL": server.url(), "caBundle": base64(&server.authority().pem()),
            "organizationID": ORGANIZATION, "projectID": PROJECT,
            "auth": {"secretRef": {"credentials": {"name": secret, "key": "token"}}},
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": "proof"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.0.put(PROJECT, "proof", value);
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
