//! The real Barbican, and the real Keystone, which gives application credentials. A secret is never changed there: each value is
//! one of its own, by an id.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use async_trait::async_trait;
use keyferry_testkit::Barbican as Server;
use serde_json::{Value, json};

use crate::Counterpart;
use crate::stores::made;

pub struct Barbican {
    server: Server,
    /// The ids of what is kept, the newest last.
    secrets: Mutex<Vec<String>>,
    /// Those of what logs in, likewise.
    applications: Mutex<Vec<String>>,
}

/// Takes all out but so many of the newest.
fn old(of: &Mutex<Vec<String>>, kept: usize) -> Vec<String> {
    let mut all = of.lock().unwrap_or_else(PoisonError::into_inner);
    let old = all.len().saturating_sub(kept);
    all.drain(..old).collect()
}

impl Barbican {
    pub async fn new() -> Self {
        let server = Server::start().await.expect("Barbican and Keystone start");
        Self { server, secrets: Mutex::default(), applications: Mutex::default() }
    }
}

#[async_trait]
impl Counterpart for Barbican {
    fn name(&self) -> &'static str {
        "barbican"
    }

    fn provider(&self, secret: &str) -> Value {
        let of = |key: &str| json!({"secretRef": {"name": secret, "key": key}});
        json!({"barbican": {
            "authURL": self.server.auth_url(), "region": "RegionOne",
            "auth": {
                "authType": "applicationCredential",
                "applicationCredentialID": of("id"), "applicationCredentialSecret": of("secret"),
            },
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": self.secrets.lock().unwrap_or_else(PoisonError::into_inner).last()})
    }

    async fn put(&self, value: &str) -> Result<()> {
        let id = self.server.put("proof", Some(value.as_bytes())).await?;
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        // The last one may still be asked for.
        for id in old(&self.secrets, 2) {
            self.server.delete(&id).await?;
        }
        Ok(())
    }

    async fn credential(&self) -> Result<Value> {
        let secret = made();
        let id = self.server.application_credential(&secret).await?;
        self.applications.lock().unwrap_or_else(PoisonError::into_inner).push(id.clone());
        Ok(json!({"id": id, "secret": secret}))
    }

    async fn retire(&self) -> Result<()> {
        for id in old(&self.applications, 1) {
            self.server.delete_application_credential(&id).await?;
        }
        Ok(())
    }
}
