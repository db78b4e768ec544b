//! The command: JSON lines for programs, files for people.

use std::{
    fs,
    io::Write,
    process::{Command, Output, Stdio},
};

fn gotmpl(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gotmpl"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn lines(args: &[&str], input: &str) -> Vec<serde_json::Value> {
    let output = gotmpl(args, input);
    assert!(output.status.success());
    output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[test]
fn lines_are_answered_in_order_and_broken_ones_too() {
    let answers = lines(
        &[],
        r#"{"template": "{{ .a }}", "data": {"a": "eA=="}}
not json
{"data": {}}
{"template": "{{ .none }}", "data": {"a": "eA=="}}

{"template": "{{ .a }}", "data": {"a": "?"}}
{"template": "{{ .a }}", "data": {"a": "//4="}}
{"template": "no data"}"#,
    );
    let oks: Vec<bool> = answers.iter().map(|answer| answer["ok"].as_bool().unwrap()).collect();
    assert_eq!(oks, [true, false, false, false, false, true, true]);
    assert_eq!(answers[0], serde_json::json!({"ok": true, "output": "eA=="}));
    assert_eq!(answers[3]["error"].as_str().unwrap(), {
        "template: k:1:3: executing \"k\" at <.none>: map has no entry for key \"none\""
    });
    assert_eq!(answers[5]["output"], "//4=");
}

#[test]
fn flags() {
    let request = r#"{"template": "<< .none >>{{", "data": {}}"#;
    for (missing, expected) in [("zero", "e3s="), ("default", "PG5vIHZhbHVlPnt7")] {
        let answers = lines(&["--left", "<<", "--right=>>", "--missingkey", missing], request);
        assert_eq!(answers[0]["output"], expected, "{missing}");
    }
    assert!(gotmpl(&["--help"], "").status.success());
    assert!(!gotmpl(&["--missingkey", "what"], "").status.success());
}

#[test]
fn a_person_renders_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (template, values) = (folder.path().join("a.tmpl"), folder.path().join("values.yaml"));
    fs::write(&template, "user={{ .user }}:{{ index . \"tls.crt\" }}\n").unwrap();
    fs::write(&values, "user: admin\ntls.crt: |\n  x\n").unwrap();
    let (template, values) = (template.to_str().unwrap(), values.to_str().unwrap());
    let output = gotmpl(&["-f", template, "--data", values], "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "user=admin:x\n\n");
    let output = gotmpl(&["-f", template], "");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("a.tmpl:1:8") && error.contains("no entry for key \"user\""), "{error}");
    let output = gotmpl(&["-f", "/nowhere/a.tmpl"], "");
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/a.tmpl"));
}
