//! What the operator says when it can't go on.

use std::process::Command;

use serde_json::Value;

/// What an operator without an API server says, line by line.
fn said(format: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = format!("--kubeconfig={}", folder.path().join("none").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
    command.args(["run", &kubeconfig, "--live-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0"]).args(format);
    let ended = command.output().unwrap();
    assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(1), &b""[..]));
    String::from_utf8(ended.stderr).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_last_words_stand_in_the_log_as_all_others() {
    let last = said(&["--log-format=json"]).pop().unwrap();
    let record: Value = serde_json::from_str(&last).unwrap_or_else(|_| panic!("no JSON: {last}"));
    assert_eq!(record["level"], "ERROR");
    assert!(record["message"].as_str().unwrap().contains("kubeconfig"), "{record}");
    let last = said(&["--log-format=text"]).pop().unwrap();
    assert!(last.contains("ERROR") && last.contains("kubeconfig") && !last.starts_with("keyferry:"), "{last}");
}
