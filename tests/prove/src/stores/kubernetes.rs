//! The testbed's own API server. Its token is good as long as the testbed is there: what changes is the Secret that it
//! stands in, so that the login is made anew.

use anyhow::Result;
use async_trait::async_trait;
use keyferry_behaviour_tests::Rig;
use keyferry_behaviour_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::Counterpart;

/// The Secret that is read.
const REMOTE: &str = "proof-remote";

pub struct Kubernetes {
    cluster: Cluster,
    namespace: String,
    url: String,
    ca_bundle: String,
    token: String,
}

impl Kubernetes {
    pub fn new(rig: &Rig) -> Self {
        let server = rig.testbed.kubernetes();
        Self {
            cluster: rig.cluster.clone(),
            namespace: rig.namespace().to_owned(),
            url: server.url,
            ca_bundle: server.ca_bundle,
            token: server.token,
        }
    }
}

#[async_trait]
impl Counterpart for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn provider(&self, secret: &str) -> Value {
        json!({"kubernetes": {
            "server": {"url": self.url, "caBundle": self.ca_bundle},
            "auth": {"token": {"bearerToken": {"name": secret, "key": "token"}}},
            "remoteNamespace": self.namespace,
        }})
    }

    fn remote(&self) -> Value {
        json!({"key": REMOTE, "property": "value"})
    }

    async fn put(&self, value: &str) -> Result<()> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": REMOTE}, "stringData": {"value": value},
        });
        self.cluster.try_apply(&secret).await.map(|_| ()).map_err(|refusal| anyhow::anyhow!("{refusal}"))
    }

    /// The one that there is, beside something that means nothing: what is written is another Secret all the same.
    async fn credential(&self) -> Result<Value> {
        Ok(json!({"token": self.token, "made": format!("{:016x}", rand::random::<u64>())}))
    }

    async fn retire(&self) -> Result<()> {
        Ok(())
    }
}
