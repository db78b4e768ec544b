//! Runs a case through `keyferry render` and `keyferry sync`, as a user does: manifests go in, Secrets, files and errors come
//! out.

use std::process::Stdio;

use anyhow::{Context as _, Result, anyhow};
use keyferry_behaviour_tests::Canaries;
use keyferry_behaviour_tests::cluster;
use keyferry_behaviour_tests::leaks::Place;
use keyferry_testkit::Operator;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::case::Case;
use crate::compare::differences;
use crate::observe::describe_secret;
use crate::roads::{asks_servers, is_ready};
use crate::run::without_string_data;
use crate::setup;

/// What one run said.
struct Said {
    out: String,
    err: String,
    code: Option<i32>,
}

/// Renders the case of a file twice, with values and without, and compares. The error is what a person reads.
pub async fn run(file: &std::path::Path) -> Result<()> {
    let (mut case, mut env) = (Case::read(file)?, Vec::new());
    if asks_servers(&case) {
        let testbed = cluster::shared().await;
        case = Case::read_with(file, &setup::variables(testbed))?;
        setup::run(testbed, &case.setup).await?;
        env = ["AWS_SECRETSMANAGER_ENDPOINT", "AWS_SSM_ENDPOINT"].map(|name| (name, testbed.moto_url())).into();
    }
    let input = manifests(&case);
    let shown = render(&case, &["--show-values", "-o", "json"], &env, &input).await?;
    let masked = render(&case, &[], &env, &input).await?;
    let mut found = compare(&case, &shown)?;
    if (masked.code, told(&masked)) != (shown.code, told(&shown)) {
        found.push("with values it tells something else than without".to_owned());
    }
    let canaries = Canaries::default();
    case.values().iter().for_each(|value| canaries.add("a value of the case", value));
    found.extend(written(&case, &env, &input).await?.into_iter().map(|differs| format!("as files: {differs}")));
    let places = [("what is told", shown.err), ("what is told without values", masked.err), ("the masks", masked.out)];
    found.extend(canaries.find(&places.map(|(name, text)| Place::new(name, text))));
    if found.is_empty() { Ok(()) } else { Err(anyhow!("rendered it differs:\n  {}", found.join("\n  "))) }
}

/// All objects that the case applies, with the namespace as an API server labels it.
fn manifests(case: &Case) -> String {
    let metadata = json!({"name": case.namespace, "labels": {"kubernetes.io/metadata.name": case.namespace}});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
    let items: Vec<&Value> = case.objects().chain([&namespace]).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

async fn render(case: &Case, flags: &[&str], env: &[(&str, String)], input: &str) -> Result<Said> {
    let args = ["render", "-f", "-", "-n", &case.namespace];
    ask(&[&args, flags].concat(), env, input).await
}

/// What differs between the files that are written and what the case expects of Secrets. What is not a target is no file.
async fn written(case: &Case, env: &[(&str, String)], input: &str) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let to = folder.path().join("out");
    let to = to.to_str().ok_or_else(|| anyhow!("a folder whose name is no text"))?;
    let args = ["sync", "-f", "-", "-n", &case.namespace, "--to", to, "--format", "yaml", "-o", "text"];
    let said = ask(&args, env, input).await?;
    let expect = &case.steps[0].expect;
    let (mut expected, mut found) = (Map::new(), Map::new());
    for (name, secret) in expect["secrets"].as_object().into_iter().flatten() {
        let file = std::path::Path::new(to).join(format!("{name}.yaml"));
        if file.exists() {
            found.insert(name.clone(), describe_secret(&without_string_data(&cluster::read_yaml(&file))));
        } else if case.objects().any(|object| object["kind"] == "Secret" && object["metadata"]["name"] == **name) {
            continue;
        }
        let mut secret = secret.clone();
        secret.as_object_mut().map(|secret| secret.remove("owners"));
        expected.insert(name.clone(), secret);
    }
    let mut differs = differences(&Value::Object(expected), &Value::Object(found));
    let code = if failures(expect).as_object().is_none_or(Map::is_empty) { 0 } else { 1 };
    if said.code != Some(code) {
        differs.push(format!("exit code: expected {code}, got {:?}; it told: {} {}", said.code, said.out, said.err));
    }
    let failed: Vec<String> = failures(expect).as_object().into_iter().flat_map(Map::values).map(first_words).collect();
    differs
        .extend(failed.iter().filter(|words| !said.out.contains(*words)).map(|words| format!("it told no {words:?}")));
    Ok(differs)
}

/// The words of a condition before those of its causes, each of which has a line of its own.
fn first_words(failure: &Value) -> String {
    let message = failure["message"].as_str().unwrap_or_default();
    message.split("; ").next().unwrap_or_default().to_owned()
}

async fn ask(args: &[&str], env: &[(&str, String)], input: &str) -> Result<Said> {
    let mut child = Command::new(Operator::program()?)
        .args(args)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("can't start keyferry")?;
    // It reads all before it writes anything.
    let mut stdin = child.stdin.take().ok_or_else(|| anyhow!("keyferry has no standard input"))?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said { out: text(&output.stdout), err: text(&output.stderr), code: output.status.code() })
}

/// What differs between what was printed and what the case expects of Secrets, and of conditions that are not Ready.
fn compare(case: &Case, said: &Said) -> Result<Vec<String>> {
    let expect = &case.steps[0].expect;
    let mut expected = expect["secrets"].clone();
    for secret in expected.as_object_mut().into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        secret.remove("owners");
    }
    let list: Value =
        serde_json::from_str(&said.out).map_err(|_| anyhow!("it printed no JSON, and told: {}", said.err))?;
    let there = case.objects().filter(|object| object["kind"] == "Secret");
    let mut secrets = Map::new();
    // What is printed takes the place of what was there.
    for secret in there.chain(list["items"].as_array().into_iter().flatten()) {
        let mut secret = without_string_data(secret);
        if secret["type"].is_null() {
            secret["type"] = json!("Opaque");
        }
        let name = secret["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        secrets.insert(name, describe_secret(&secret));
    }
    let mut found = differences(&expected, &Value::Object(secrets));
    let failures = failures(expect);
    found.extend(differences(&failures, &told(said)));
    let code = if failures.as_object().is_none_or(Map::is_empty) { 0 } else { 1 };
    if said.code != Some(code) {
        found.push(format!("exit code: expected {code}, got {:?}; it told: {}", said.code, said.err));
    }
    Ok(found)
}

/// The messages of the ExternalSecrets that are not Ready, by name.
fn failures(expect: &Value) -> Value {
    let mut failures = Map::new();
    for (name, status) in expect["status"].as_object().into_iter().flatten() {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
        if let (false, Some(false), Some(ready)) = (name.contains("store/"), is_ready(status), ready) {
            failures.insert(name.clone(), json!({"message": ready["message"]}));
        }
    }
    Value::Object(failures)
}

/// The errors that it told, in the same form: of each ExternalSecret the first.
fn told(said: &Said) -> Value {
    let mut told = Map::new();
    for line in said.err.lines() {
        let Some((_, rest)) = line.split_once(": error: ") else { continue };
        let (name, message) = match rest.strip_prefix("ExternalSecret ").and_then(|rest| rest.split_once(": ")) {
            Some((name, message)) => (name.rsplit('/').next().unwrap_or_default(), message),
            None => ("", rest),
        };
        told.entry(name).or_insert_with(|| json!({ "message": message }));
    }
    Value::Object(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        let secret =
            json!({"data": {"a": "alpha"}, "type": "Opaque", "owners": [{"kind": "ExternalSecret", "name": "e"}]});
        let failed = json!({"conditions": [{"type": "Ready", "status": "False", "message": "could not"}]});
        let there =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "m"}, "stringData": {"own": "1"}});
        let expect = json!({
            "secrets": {"e": secret, "m": {"data": {"own": "1"}, "type": "Opaque"}},
            "status": {"f": failed, "store/s": failed},
        });
        serde_json::from_value(json!({"namespace": "n", "steps": [{"apply": [there], "expect": expect}]})).unwrap()
    }

    fn said(value: &str, err: &str, code: i32) -> Said {
        let item = json!({"kind": "Secret", "metadata": {"name": "e", "namespace": "n"}, "stringData": {"a": value}});
        Said { out: json!({ "items": [item] }).to_string(), err: err.to_owned(), code: Some(code) }
    }

    #[test]
    fn secrets_messages_and_the_exit_code_must_be_as_recorded() {
        let fine = "stdin:1: error: ExternalSecret n/f: could not: why\n1 of 2 rendered, 1 failed\n";
        assert_eq!(compare(&case(), &said("alpha", fine, 1)).unwrap(), [""; 0]);
        for (value, err, code, differs) in [
            ("beta", fine, 1, "e.data.a: expected"),
            ("alpha", "stdin:1: error: ExternalSecret n/f: can not\n", 1, "f.message: expected"),
            ("alpha", "", 1, "f: expected"),
            ("alpha", &format!("{fine}stdin:2: error: this is not YAML\n"), 1, ": expected nothing"),
            ("alpha", fine, 0, "exit code: expected 1"),
        ] {
            let found = compare(&case(), &said(value, err, code)).unwrap();
            assert!(found.len() == 1 && found[0].starts_with(differs), "{differs}: {found:?}");
        }
    }
}
