//! By promtool: the rules are as Prometheus wants them, and each alert fires where it should and nowhere else.

use std::collections::BTreeSet;
use std::process::Command;

use keyferry_testkit::install;
use serde_json::{Value, json};

use crate::files::{ALERTS, alerts, path, rules, text};

/// Runs promtool, which must be content; gives what it says.
fn promtool(args: &[&str]) -> String {
    let program = install::prometheus().expect("promtool builds").join("promtool");
    let output = Command::new(program).args(args).output().expect("promtool runs");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn the_file_is_one_of_rules() {
    let said = promtool(&["check", "rules", "--lint=all", "--lint-fatal", path(ALERTS).to_str().unwrap()]);
    assert!(said.contains(&format!("{} rules found", alerts().len())), "{said}");
}

#[test]
fn each_alert_fires_where_it_should_and_nowhere_else() {
    let cases: Vec<Value> = serde_saphyr::from_str(&text("tests/alerts/cases.yaml")).unwrap();
    let (mut fires, mut does_not) = (BTreeSet::new(), BTreeSet::new());
    for test in cases.iter().flat_map(|case| case["alert_rule_test"].as_array().unwrap()) {
        let fired = !test["exp_alerts"].as_array().unwrap().is_empty();
        let set = if fired { &mut fires } else { &mut does_not };
        set.insert(test["alertname"].as_str().unwrap().to_owned());
    }
    let all: BTreeSet<String> = alerts().into_iter().collect();
    assert_eq!(fires, all, "each is tested where it fires");
    assert_eq!(does_not, all, "each is tested where it does not");

    let folder = tempfile::tempdir().unwrap();
    let without_annotations = rules(|rule| _ = rule.as_object_mut().unwrap().remove("annotations"));
    std::fs::write(folder.path().join("rules.yaml"), without_annotations).unwrap();
    let test = json!({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": cases});
    let file = folder.path().join("tests.yaml");
    std::fs::write(&file, test.to_string()).unwrap();
    promtool(&["test", "rules", file.to_str().unwrap()]);
}
