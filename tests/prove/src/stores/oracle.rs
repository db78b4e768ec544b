//! Oracle's double, which checks signatures.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use async_trait::async_trait;
use keyferry_doubles::oracle::{Double, PLACE, USER};
use keyferry_doubles::{Call, Server};
use serde_json::{Value, json};

use crate::Counterpart;

pub struct Oracle {
    double: Double,
    keys: AtomicUsize,
}

impl Oracle {
    pub fn new() -> Self {
        Self { double: Double::start(), keys: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl Counterpart for Oracle {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("OCI_VAULT_ENDPOINT", self.double.server().url())]
    }

    fn server(&self) -> Option<&Server> {
        Some(self.double.server())
    }

    /// A check asks for a secret that nobody has: the answer shows whether the signature is good.
    fn is_wanted(&self, call: &Call) -> bool {
        call.status == 404 && call.path.ends_with("/getByName")
    }

    fn provider(&self, secret: &str) -> Value {
        let of = |key: &str| json!({"name": secret, "key": key});
        json!({"oracle": {
            "region": "eu-frankfurt-1", "vault": PLACE[0],
            "auth": {
                "tenancy": USER.0, "user": USER.1,
                "secretRef": {"privatekey": of("key"), "fingerprint": of("fingerprint")},
            },
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": "proof"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.double.put("proof", value.as_bytes(), &[]);
        Ok(())
    }

    async fn credential(&self) -> Result<Value> {
        let fingerprint = format!("cc:{:02x}", self.keys.fetch_add(1, Ordering::Relaxed));
        self.double.add_key(&fingerprint);
        Ok(json!({"key": self.double.user().private_key(), "fingerprint": fingerprint}))
    }

    async fn retire(&self) -> Result<()> {
        self.double.retire();
        Ok(())
    }
}
