//! moto, which takes any key: what changes here is what the store logs in with, and nothing is refused for it.

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use keyferry_behaviour_tests::Rig;
use serde_json::{Value, json};

use crate::Counterpart;

const REGION: &str = "eu-west-1";

/// How often a request is made: moto's threads stumble over each other now and then.
const TRIES: usize = 5;

#[derive(Clone, Copy)]
pub enum Service {
    SecretsManager,
    ParameterStore,
}

pub struct Aws {
    service: Service,
    url: String,
    key: String,
}

impl Aws {
    pub fn new(rig: &Rig, service: Service) -> Self {
        Self { service, url: rig.testbed.moto_url(), key: format!("/{}", rig.key("proof")) }
    }

    /// Calls an action; gives whether it was taken.
    async fn call(&self, action: &str, params: &Value) -> Result<bool> {
        keyferry_testkit::install_crypto_provider();
        let (service, prefix) = match self.service {
            Service::SecretsManager => ("secretsmanager", "secretsmanager"),
            Service::ParameterStore => ("ssm", "AmazonSSM"),
        };
        let scope = format!("AKIAIOSFODNN7EXAMPLE/20260101/{REGION}/{service}/aws4_request");
        let client = reqwest::Client::builder().no_proxy().build()?;
        for _ in 0..TRIES {
            let request = client
                .post(&self.url)
                .header("Content-Type", "application/x-amz-json-1.1")
                .header("X-Amz-Target", format!("{prefix}.{action}"))
                .header(
                    "Authorization",
                    format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
                )
                .body(params.to_string());
            let status = request.send().await?.status();
            if status.as_u16() < 500 {
                return Ok(status.is_success());
            }
        }
        Err(anyhow!("{action}: moto answers with an internal error {TRIES} times"))
    }
}

#[async_trait]
impl Counterpart for Aws {
    fn name(&self) -> &'static str {
        match self.service {
            Service::SecretsManager => "secrets-manager",
            Service::ParameterStore => "parameter-store",
        }
    }

    fn provider(&self, secret: &str) -> Value {
        let service = match self.service {
            Service::SecretsManager => "SecretsManager",
            Service::ParameterStore => "ParameterStore",
        };
        let keys = json!({
            "accessKeyIDSecretRef": {"name": secret, "key": "id"},
            "secretAccessKeySecretRef": {"name": secret, "key": "secret"},
        });
        json!({"aws": {"service": service, "region": REGION, "auth": {"secretRef": keys}}})
    }

    fn remote(&self) -> Value {
        json!({"key": self.key})
    }

    async fn put(&self, value: &str) -> Result<()> {
        let taken = match self.service {
            Service::SecretsManager => {
                let params = json!({"SecretId": self.key, "Name": self.key, "SecretString": value});
                self.call("PutSecretValue", &params).await? || self.call("CreateSecret", &params).await?
            }
            Service::ParameterStore => {
                let params = json!({"Name": self.key, "Value": value, "Type": "SecureString", "Overwrite": true});
                self.call("PutParameter", &params).await?
            }
        };
        if taken { Ok(()) } else { Err(anyhow!("moto takes no value")) }
    }

    async fn credential(&self) -> Result<Value> {
        Ok(json!({"id": format!("AKIA{:08X}EXAMPLE", rand::random::<u32>()), "secret": "not-a-real-secret"}))
    }

    async fn retire(&self) -> Result<()> {
        Ok(())
    }
}
