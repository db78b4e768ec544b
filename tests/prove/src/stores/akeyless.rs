//! Akeyless's double, with a login by key.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::akeyless::{ACCESS, Double};
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::{SESSION, made};

pub struct Akeyless(Double);

impl Akeyless {
    pub fn new() -> Self {
        let double = Double::start_below_v2();
        double.logins_last(SESSION);
        Self(double)
    }
}

#[async_trait]
impl Counterpart for Akeyless {
    fn name(&self) -> &'static str {
        "akeyless"
    }

    fn server(&self) -> Option<&Server> {
        Some(self.0.server())
    }

    fn provider(&self, secret: &str) -> Value {
        let of = |key: &str| json!({"name": secret, "key": key});
        let auth = json!({"accessID": of("id"), "accessType": of("type"), "accessTypeParam": of("key")});
        // A gateway's URL that ends so needs no call to find out where its API is.
        let url = format!("{}/v2", self.0.server().url());
        json!({"akeyless": {"akeylessGWApiURL": url, "authSecretRef": {"secretRef": auth}}})
    }

    fn remote(&self) -> Value {
        json!({"key": "/proof"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.0.put("/proof", value, &[]);
        Ok(())
    }

    async fn credential(&self) -> Result<Value> {
        let key = made();
        self.0.trust(&key);
        Ok(json!({"id": ACCESS.0, "type": "api_key", "key": key}))
    }

    async fn retire(&self) -> Result<()> {
        self.0.retire();
        Ok(())
    }
}
