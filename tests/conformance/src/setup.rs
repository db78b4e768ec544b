//! What a case says to a store before its first step.

use anyhow::{Context as _, Result, anyhow};
use keyferry_testkit::Testbed;
use reqwest::Method;
use serde_json::{Value, json};

const REGION: &str = "eu-west-1";

/// The words of a case that stand for something of this testbed.
pub fn variables(testbed: &Testbed) -> [(&'static str, String); 4] {
    let kubernetes = testbed.kubernetes();
    [
        ("VAULT_URL", testbed.vault_url()),
        ("KUBE_URL", kubernetes.url),
        ("KUBE_CA", kubernetes.ca_bundle),
        // The bearer token of an admin, where the cases were recorded.
        ("admintoken", kubernetes.token),
    ]
}

/// Says it.
pub async fn run(testbed: &Testbed, setup: &[Value]) -> Result<()> {
    forget(testbed, setup).await?;
    for step in setup {
        match (step.get("vault"), step.get("aws")) {
            (Some(request), None) => vault(testbed, request).await?,
            (None, Some(request)) => aws(testbed, request).await?,
            _ => return Err(anyhow!("a setup is one of vault and aws: {step}")),
        }
    }
    Ok(())
}

/// A testbed that stays up has seen the case before, and versions count on: what a setup writes is removed first.
async fn forget(testbed: &Testbed, setup: &[Value]) -> Result<()> {
    for step in setup {
        let vault_path = step.pointer("/vault/path").and_then(Value::as_str).unwrap_or_default();
        if let Some((mount, path)) = vault_path.split_once("/data/") {
            testbed.vault().send(Method::DELETE, &format!("{mount}/metadata/{path}"), None).await?;
        }
        let name = |field| step.pointer(field).and_then(Value::as_str);
        // Whether it was there does not matter.
        match (name("/aws/action"), name("/aws/params/Name")) {
            (Some("CreateSecret"), Some(name)) => {
                let params = json!({"SecretId": name, "ForceDeleteWithoutRecovery": true});
                send_aws(testbed, "secretsmanager", "DeleteSecret", &params).await?;
            }
            (Some("PutParameter"), Some(name)) => {
                send_aws(testbed, "ssm", "DeleteParameter", &json!({ "Name": name })).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

async fn vault(testbed: &Testbed, request: &Value) -> Result<()> {
    let method = text(request, "method")?.parse().context("no HTTP method")?;
    testbed.vault().request(method, text(request, "path")?, request.get("body")).await.map(drop)
}

async fn aws(testbed: &Testbed, request: &Value) -> Result<()> {
    let action = text(request, "action")?;
    let (status, answer) = send_aws(testbed, text(request, "service")?, action, &request["params"]).await?;
    match status {
        200 => Ok(()),
        _ => Err(anyhow!("{action} was answered with {status}: {answer}")),
    }
}

pub(crate) async fn send_aws(testbed: &Testbed, service: &str, action: &str, params: &Value) -> Result<(u16, String)> {
    let prefix = match service {
        "secretsmanager" => "secretsmanager",
        "ssm" => "AmazonSSM",
        other => return Err(anyhow!("no AWS service {other:?}")),
    };
    // moto takes any signature, and reads the region and the service from its scope.
    let scope = format!("AKIAIOSFODNN7EXAMPLE/20260101/{REGION}/{service}/aws4_request");
    let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
    keyferry_testkit::install_crypto_provider();
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .post(testbed.moto_url())
        .header("Content-Type", "application/x-amz-json-1.1")
        .header("X-Amz-Target", format!("{prefix}.{action}"))
        .header("Authorization", authorization)
        .body(params.to_string())
        .send()
        .await
        .with_context(|| format!("{action} at {}", testbed.moto_url()))?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

fn text<'a>(request: &'a Value, field: &str) -> Result<&'a str> {
    request[field].as_str().ok_or_else(|| anyhow!("a setup has no {field}: {request}"))
}
