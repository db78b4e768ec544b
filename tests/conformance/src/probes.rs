//! What stores hold, in the words of a case: `expect.probes` names the places.

use anyhow::{Context as _, Result};
use keyferry_testkit::Testbed;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::case::Case;
use crate::setup::send_aws;

/// Adds to what was observed what is at the places that `expect` names.
pub async fn ask(testbed: &Testbed, expect: &Value, got: &mut Value) -> Result<()> {
    let Some(places) = expect["probes"].as_object() else { return Ok(()) };
    let mut found = Map::new();
    for place in places.keys() {
        found.insert(place.clone(), ask_one(testbed, place).await?);
    }
    got["probes"] = Value::Object(found);
    Ok(())
}

/// Removes what is at the places that a case names: a testbed that stays up has seen it before.
pub async fn forget(testbed: &Testbed, case: &Case) -> Result<()> {
    let places = case.steps.iter().filter_map(|step| step.expect["probes"].as_object()).flat_map(Map::keys);
    for place in places {
        let place: Value = serde_json::from_str(place).context("a probe is JSON")?;
        if let Some((mount, path)) = place["vault"].as_str().and_then(|path| path.split_once("/data/")) {
            testbed.vault().send(Method::DELETE, &format!("{mount}/metadata/{path}"), None).await?;
        }
        if let Some(name) = place["aws"].as_str() {
            let params = json!({"SecretId": name, "ForceDeleteWithoutRecovery": true});
            send_aws(testbed, "secretsmanager", "DeleteSecret", &params).await?;
        }
    }
    Ok(())
}

async fn ask_one(testbed: &Testbed, place: &str) -> Result<Value> {
    let place: Value = serde_json::from_str(place).context("a probe is JSON")?;
    if let Some(path) = place["vault"].as_str() {
        let (status, answer) = testbed.vault().send(Method::GET, path, None).await?;
        if !status.is_success() {
            return Ok(json!({"error": status.as_u16()}));
        }
        let (metadata, data) = (&answer["data"]["metadata"], &answer["data"]["data"]);
        return Ok(match metadata {
            Value::Null => json!({"data": answer["data"]}),
            _ => json!({"custom": metadata["custom_metadata"], "data": data, "version": metadata["version"]}),
        });
    }
    let name = place["aws"].as_str().unwrap_or_default();
    let id = json!({ "SecretId": name });
    let (status, value) = send_aws(testbed, "secretsmanager", "GetSecretValue", &id).await?;
    if status != 200 {
        return Ok(json!({ "error": status }));
    }
    let value: Value = serde_json::from_str(&value)?;
    let (_, described) = send_aws(testbed, "secretsmanager", "DescribeSecret", &id).await?;
    let described: Value = serde_json::from_str(&described)?;
    let (_, versions) = send_aws(testbed, "secretsmanager", "ListSecretVersionIds", &id).await?;
    let versions: Value = serde_json::from_str(&versions)?;
    let count = versions["Versions"].as_array().map_or(0, Vec::len);
    Ok(json!({
        "binary": value["SecretBinary"], "string": value["SecretString"], "tags": described["Tags"], "versions": count,
    }))
}
