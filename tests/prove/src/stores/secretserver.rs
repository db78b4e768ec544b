//! The double of Delinea's Secret Server.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::secretserver::{Double, FOLDER, TEMPLATE, USER};
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::{SESSION, made};

pub struct SecretServer(Double);

impl SecretServer {
    pub fn new() -> Self {
        let double = Double::start();
        double.logins_last(SESSION);
        Self(double)
    }
}

#[async_trait]
impl Counterpart for SecretServer {
    fn name(&self) -> &'static str {
        "secretserver"
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        json!({"secretserver": {
            "serverURL": self.0.server().url(), "username": {"value": USER.0},
            "password": {"secretRef": {"name": secret, "key": "password"}},
        }})
    }

    fn remote(&self) -> Value {
        let [_, password, _] = TEMPLATE.1;
        json!({"key": format!("/{}/proof", FOLDER.1), "property": password})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.0.put("proof", ["", value, ""]);
        Ok(())
    }

    async fn credential(&self) -> Result<Value> {
        let password = made();
        self.0.trust(&password);
        Ok(json!({ "password": password }))
    }

    async fn retire(&self) -> Result<()> {
        self.0.retire();
        Ok(())
    }
}
