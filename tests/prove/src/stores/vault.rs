//! OpenBao, with a token for a while.

use std::sync::Mutex;

use anyhow::Result;
use async_trait::async_trait;
use keyferry_behaviour_tests::Rig;
use keyferry_testkit::vault;
use reqwest::Method;
use serde_json::{Value, json};

use crate::Counterpart;

pub struct Vault {
    /// The key of its provider.
    kind: &'static str,
    root: vault::Vault,
    policy: String,
    key: String,
    spec: Value,
    /// From the first that is still good to the last.
    tokens: Mutex<Vec<String>>,
}

impl Vault {
    /// As `vault`, or as `openBao`.
    pub async fn new(rig: &Rig, kind: &'static str) -> Self {
        let (policy, key) = (rig.vault_policy().await, rig.key(&format!("proof-{kind}")));
        Self { kind, root: rig.vault.clone(), policy, key, spec: rig.vault_spec("x"), tokens: Mutex::default() }
    }
}

#[async_trait]
impl Counterpart for Vault {
    fn name(&self) -> &'static str {
        if self.kind == "vault" { "vault" } else { "openbao" }
    }

    fn provider(&self, secret: &str) -> Value {
        let mut spec = self.spec.clone();
        spec["auth"]["tokenSecretRef"]["name"] = json!(secret);
        json!({ self.kind: spec })
    }

    fn remote(&self) -> Value {
        json!({"key": self.key, "property": "value"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        self.root.put(&self.key, json!({ "value": value })).await.map(|_| ())
    }

    async fn credential(&self) -> Result<Value> {
        let token = self.root.create_token(&[&self.policy]).await?;
        self.tokens.lock().expect("nobody panics with it").push(token.clone());
        Ok(json!({ "token": token }))
    }

    async fn retire(&self) -> Result<()> {
        let old: Vec<String> = {
            let mut tokens = self.tokens.lock().expect("nobody panics with it");
            let last = tokens.len().saturating_sub(1);
            tokens.drain(..last).collect()
        };
        for token in old {
            self.root.request(Method::POST, "auth/token/revoke", Some(&json!({ "token": token }))).await?;
        }
        Ok(())
    }
}
