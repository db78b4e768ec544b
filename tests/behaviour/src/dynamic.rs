//! VaultDynamicSecrets over engines of a real OpenBao, and what it knows of what they made.

use anyhow::{Result, bail};
use reqwest::Method;
use serde_json::{Value, json};

use crate::Rig;
use crate::rig::merge;

/// How long what was replaced works on.
pub const GRACE: &str = "--generator-gc-grace-period=3s";

/// The rights without which nothing is revoked or prolonged.
pub const REVOKES: &str = "path \"auth/token/revoke-accessor\" { capabilities = [\"update\"] }
    path \"auth/token/renew-accessor\" { capabilities = [\"update\"] }";

/// Gives a token that may do what these rules say, and make tokens of its own, into the Secret `login`.
pub async fn login(rig: &Rig, rules: &str) {
    allow(rig, rules).await;
    let token = rig.vault.create_token(&[rig.namespace()]).await.expect("a token");
    rig.canaries.add("the token of OpenBao", &token);
    rig.secret("login", json!({ "token": token })).await;
}

/// Changes what the token may do.
pub async fn allow(rig: &Rig, rules: &str) {
    let rules = format!("path \"auth/token/create\" {{ capabilities = [\"create\", \"update\"] }} {rules}");
    rig.vault.write_policy(rig.namespace(), rules).await.expect("a policy");
}

/// A VaultDynamicSecret of this path, which writes where `more` does not say otherwise.
pub fn secret(server: &str, path: &str, more: Value) -> Value {
    let mut spec = json!({
        "path": path, "method": "POST",
        "provider": {"server": server, "auth": {"tokenSecretRef": {"name": "login", "key": "token"}}},
    });
    merge(&mut spec, &more);
    json!({ "spec": spec })
}

/// An ExternalSecret `name` of the generator `generator`.
pub async fn ask(rig: &Rig, name: &str, kind: &str, generator: &str, interval: &str) {
    let data_from = json!([{"sourceRef": {"generatorRef": {"kind": kind, "name": generator}}}]);
    rig.external_secret(name, json!({"refreshInterval": interval, "dataFrom": data_from})).await;
}

/// The one GeneratorState that is not to be revoked.
pub async fn current(rig: &Rig) -> Result<Value> {
    let all = rig.cluster.list("GeneratorState").await;
    let all: Vec<Value> =
        all.into_iter().filter(|state| state["spec"]["garbageCollectionDeadline"].is_null()).collect();
    match &all[..] {
        [one] => Ok(one.clone()),
        all => bail!("{} states are current", all.len()),
    }
}

/// Whether OpenBao knows the lease of this state.
pub async fn has_lease(rig: &Rig, state: &Value) -> bool {
    let lease = json!({"lease_id": state["spec"]["state"]["leaseID"]});
    assert!(lease["lease_id"].is_string(), "{state}");
    rig.vault.send(Method::POST, "sys/leases/lookup", Some(&lease)).await.expect("an answer").0.is_success()
}

/// Whether OpenBao knows the token of this accessor.
pub async fn has_token(rig: &Rig, accessor: &Value) -> bool {
    let accessor = json!({ "accessor": accessor });
    rig.vault.send(Method::POST, "auth/token/lookup-accessor", Some(&accessor)).await.expect("an answer").0.is_success()
}

/// The names of all leases below this path, without it.
pub async fn leases(rig: &Rig, path: &str) -> Vec<String> {
    let list = Method::from_bytes(b"LIST").expect("a method");
    let (_, answer) = rig.vault.send(list, &format!("sys/leases/lookup/{path}"), None).await.expect("an answer");
    let keys = answer["data"]["keys"].as_array().into_iter().flatten();
    keys.filter_map(|key| Some(key.as_str()?.to_owned())).collect()
}

/// Deletes an ExternalSecret or PushSecret with its states, as the garbage collector of a whole cluster does.
pub async fn delete_with_states(rig: &Rig, kind: &str, name: &str) {
    rig.cluster.delete(kind, name).await;
    for state in rig.cluster.list("GeneratorState").await {
        if state["metadata"]["ownerReferences"][0]["name"] == name {
            rig.cluster.delete("GeneratorState", state["metadata"]["name"].as_str().unwrap_or_default()).await;
        }
    }
}
