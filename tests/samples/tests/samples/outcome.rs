//! What a sample comes to.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_behaviour_tests::Rig;
use keyferry_testkit::{Operator, Testbed, eventually};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::counterpart::Counterpart;
use crate::page::Page;

/// Has `keyferry render` ask the counterpart. The error says what else than the Secret of the page came of it.
pub async fn rendered(page: &Page, counterpart: &Counterpart) -> Result<(), String> {
    let mut items = page.objects(&counterpart.here);
    items.extend(counterpart.there.iter().cloned());
    let mut child = Command::new(Operator::program().expect("keyferry is built"))
        .args(["render", "-f", "-", "--show-values", "-o", "json"])
        .envs(counterpart.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let input = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    // It reads all before it writes anything.
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let list: Value = serde_json::from_slice(&output.stdout).map_err(|_| told.clone())?;
    let (name, texts) = &counterpart.secret;
    let came: Vec<(&str, BTreeMap<String, String>)> =
        list["items"].as_array().into_iter().flatten().map(secret).collect();
    let wanted: BTreeMap<String, String> = serde_json::from_value(texts.clone()).expect("texts");
    if came == [(*name, wanted)] { Ok(()) } else { Err(format!("{came:?} came of it; {told}")) }
}

/// The name and the texts of a Secret.
fn secret(secret: &Value) -> (&str, BTreeMap<String, String>) {
    let entries = |field: &str| secret[field].as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let bytes = |value: &Value| {
        let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).expect("base64");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let texts = entries("stringData").map(|(key, value)| (key.clone(), text(value)));
    let data = entries("data").map(|(key, value)| (key.clone(), bytes(value)));
    (secret["metadata"]["name"].as_str().unwrap_or_default(), data.chain(texts).collect())
}

/// Applies it in two namespaces, one for what it reads in `default`, and waits for the Secret.
pub async fn operated(page: &Page, counterpart: &Counterpart, testbed: &Testbed) -> Result<(), String> {
    let mut rig = Rig::on(testbed, "sample").await;
    let remote = testbed.namespace("sample-remote").await;
    let mut objects = page.objects(&counterpart.here);
    objects.extend(counterpart.there.iter().cloned());
    for mut object in objects {
        let text = object.to_string().replace("\"default\"", &json!(remote.name()).to_string());
        object = serde_json::from_str(&text.replace("\"app-team\"", &json!(rig.namespace()).to_string()))
            .expect("it is JSON still");
        if object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!(rig.namespace());
        }
        if object["kind"] == "SecretStore" {
            object["spec"]["controller"] = json!(rig.namespace());
        }
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let cluster = keyferry_behaviour_tests::cluster::Cluster::new(rig.cluster.client(), namespace);
        cluster.try_apply(&object).await?;
    }
    rig.start(&[]).await;
    match counterpart.pushed {
        Some(is_there) => {
            let ask = || async {
                if is_there(&*counterpart.running) { Ok(()) } else { Err("nothing was pushed".to_owned()) }
            };
            eventually(Duration::from_secs(60), ask).await;
        }
        None => rig.until_texts(counterpart.secret.0, counterpart.secret.1.clone()).await,
    }
    rig.finish().await;
    Ok(())
}
