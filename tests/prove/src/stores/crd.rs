//! Objects of the testbed's own API server. Its token is good as long as the testbed is there: what changes is the Secret that it
//! stands in, so that the login is made anew.

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use keyferry_behaviour_tests::Rig;
use keyferry_behaviour_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::Counterpart;

/// The object that is read.
const OBJECT: &str = "proof-crd";

pub struct Crd {
    cluster: Cluster,
    url: String,
    ca_bundle: String,
    token: String,
}

impl Crd {
    pub fn new(rig: &Rig) -> Self {
        let server = rig.testbed.kubernetes();
        Self { cluster: rig.cluster.clone(), url: server.url, ca_bundle: server.ca_bundle, token: server.token }
    }
}

#[async_trait]
impl Counterpart for Crd {
    fn name(&self) -> &'static str {
        "crd"
    }

    fn provider(&self, secret: &str) -> Value {
        json!({"crd": {
            "server": {"url": self.url, "caBundle": self.ca_bundle},
            "auth": {"token": {"bearerToken": {"name": secret, "key": "token"}}},
            "resource": {"group": "", "version": "v1", "kind": "ConfigMap"},
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": OBJECT, "property": "data.value"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": OBJECT}, "data": {"value": value},
        });
        self.cluster.try_apply(&object).await.map(|_| ()).map_err(|refusal| anyhow!("{refusal}"))
    }

    /// The one that there is, beside something that means nothing: what is written is another Secret all the same.
    async fn credential(&self) -> Result<Value> {
        Ok(json!({"token": self.token, "made": format!("{:016x}", rand::random::<u64>())}))
    }

    async fn retire(&self) -> Result<()> {
        Ok(())
    }
}
