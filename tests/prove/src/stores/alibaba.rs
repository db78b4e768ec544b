//! KMS's double, which checks signatures.

use std::sync::Mutex;

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::Server;
use keyferry_doubles::alibaba::Double;
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::made;

pub struct Alibaba {
    double: Double,
    /// The access key that was made last: id and secret.
    last: Mutex<(String, String)>,
}

impl Alibaba {
    pub fn new() -> Self {
        let (id, secret) = (made(), made());
        Self { double: Double::start(&id, &secret, &made()), last: Mutex::new((id, secret)) }
    }
}

#[async_trait]
impl Counterpart for Alibaba {
    fn name(&self) -> &'static str {
        "alibaba"
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("ALIBABA_CLOUD_KMS_ENDPOINT", self.double.server().url())]
    }

    fn server(&self) -> Option<&Server> {
        Some(self.double.server())
    }

    fn provider(&self, secret: &str) -> Value {
        let of = |key: &str| json!({"name": secret, "key": key});
        let keys = json!({"accessKeyIDSecretRef": of("id"), "accessKeySecretSecretRef": of("secret")});
        json!({"alibaba": {"regionID": "cn-hangzhou", "auth": {"secretRef": keys}}})
    }

    fn remote(&self) -> Value {
        json!({"key": "proof"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.double.put("proof", value);
        Ok(())
    }

    async fn credential(&self) -> Result<Value> {
        let (id, secret) = (made(), made());
        self.double.add_key(&id, &secret);
        let credential = json!({"id": id, "secret": secret});
        *self.last.lock().expect("nobody panics with it") = (id, secret);
        Ok(credential)
    }

    async fn retire(&self) -> Result<()> {
        let (id, secret) = self.last.lock().expect("nobody panics with it").clone();
        self.double.set_key(&id, &secret);
        Ok(())
    }
}
