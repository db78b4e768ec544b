//! What tests say to moto behind the back of a store.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_testkit::Testbed;
use serde_json::{Value, json};

/// Where the tests live.
pub const REGION: &str = "eu-west-1";

/// How often a request is made before moto is taken for broken.
const TRIES: usize = 5;

/// A service of moto.
#[derive(Clone, Copy)]
pub enum Moto {
    /// Secrets Manager.
    SecretsManager,
    /// Parameter Store.
    Ssm,
}

/// Calls an action of Certificate Manager, which must succeed.
pub async fn acm(action: &str, params: &Value) -> Value {
    let (status, answer) = post("acm", &format!("CertificateManager.{action}"), params).await;
    assert_eq!(status, 200, "{action}: {answer}");
    answer
}

/// Calls an action of KMS, which must succeed.
pub async fn kms(action: &str, params: &Value) -> Value {
    let (status, answer) = post("kms", &format!("TrentService.{action}"), params).await;
    assert_eq!(status, 200, "{action}: {answer}");
    answer
}

/// One for all: making one takes longer than a call. No connection outlives its test's runtime.
static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    keyferry_testkit::install_crypto_provider();
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap()
});

async fn post(service: &str, target: &str, params: &Value) -> (u16, Value) {
    // moto takes any signature, and reads the region and the service from its scope.
    let scope = format!("AKIAIOSFODNN7EXAMPLE/20260101/{REGION}/{service}/aws4_request");
    // moto's threads share its state without a lock: now and then one stumbles over another and answers 500.
    for _ in 0..TRIES {
        let answer = CLIENT
            .post(Testbed::shared().moto_url())
            .header("Content-Type", "application/x-amz-json-1.1")
            .header("X-Amz-Target", target)
            .header("Authorization", format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"))
            .body(params.to_string())
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        if status < 500 {
            return (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default());
        }
    }
    panic!("{target}: moto answers with an internal error {TRIES} times");
}

impl Moto {
    /// Calls an action of the JSON protocol; gives the status and the answer.
    pub async fn send(self, action: &str, params: &Value) -> (u16, Value) {
        let (service, prefix) = match self {
            Self::SecretsManager => ("secretsmanager", "secretsmanager"),
            Self::Ssm => ("ssm", "AmazonSSM"),
        };
        post(service, &format!("{prefix}.{action}"), params).await
    }

    /// The same, for what must succeed.
    pub async fn call(self, action: &str, params: &Value) -> Value {
        let (status, answer) = self.send(action, params).await;
        assert_eq!(status, 200, "{action}: {answer}");
        answer
    }

    /// Gives a secret these tags.
    pub async fn tag(self, name: &str, tags: &[(&str, &str)]) {
        let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
        match self {
            Self::SecretsManager => self.call("TagResource", &json!({"SecretId": name, "Tags": tags})).await,
            Self::Ssm => {
                let params = json!({"ResourceType": "Parameter", "ResourceId": name, "Tags": tags});
                self.call("AddTagsToResource", &params).await
            }
        };
    }

    /// Writes a secret, as a new version where there was one; gives the version as a store names it.
    pub async fn put(self, name: &str, value: &[u8]) -> String {
        match self {
            Self::SecretsManager => {
                let mut params = match std::str::from_utf8(value) {
                    Ok(text) => json!({ "SecretString": text }),
                    Err(_) => json!({ "SecretBinary": STANDARD.encode(value) }),
                };
                params["Name"] = json!(name);
                params["SecretId"] = json!(name);
                let answer = match self.send("CreateSecret", &params).await {
                    (200, answer) => answer,
                    (_, refusal) if refusal["__type"].as_str().is_some_and(|kind| kind.contains("Exists")) => {
                        self.call("PutSecretValue", &params).await
                    }
                    (status, refusal) => panic!("CreateSecret: {status} {refusal}"),
                };
                format!("uuid/{}", answer["VersionId"].as_str().unwrap())
            }
            Self::Ssm => {
                let value = std::str::from_utf8(value).unwrap();
                let params = json!({"Name": name, "Value": value, "Type": "SecureString", "Overwrite": true});
                self.call("PutParameter", &params).await["Version"].to_string()
            }
        }
    }
}
