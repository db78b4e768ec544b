//! Infisical's double, with a universal login.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::infisical::{CLIENT, Double};
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::{SESSION, made};

pub struct Infisical(Double);

impl Infisical {
    pub fn new() -> Self {
        let double = Double::start();
        double.logins_last(SESSION);
        Self(double)
    }
}

#[async_trait]
impl Counterpart for Infisical {
    fn name(&self) -> &'static str {
        "infisical"
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        let of = |key: &str| json!({"name": secret, "key": key});
        json!({"infisical": {
            "hostAPI": self.0.server().url(),
            "auth": {"universalAuthCredentials": {"clientId": of("id"), "clientSecret": of("secret")}},
            "secretsScope": {"projectSlug": "shop", "environmentSlug": "dev"},
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": "PROOF"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.0.put("/", "PROOF", value);
        Ok(())
    }

    async fn credential(&self) -> Result<Value> {
        let secret = made();
        self.0.trust(&secret);
        Ok(json!({"id": CLIENT.0, "secret": secret}))
    }

    async fn retire(&self) -> Result<()> {
        self.0.retire();
        Ok(())
    }
}
