//! The chart as files: up to date, and what Helm wants.

use keyferry_chart_tests::{crds, files, folder, helm};
use serde_json::json;

#[test]
fn the_crds_are_those_of_the_generator() {
    let generated = files(&crds());
    assert!(generated.len() >= 3, "the check found its subjects");
    let names = |files: &[(String, String)]| files.iter().map(|file| file.0.clone()).collect::<Vec<_>>();
    let copied = files(&folder().join("files/crds"));
    assert_eq!(names(&copied), names(&generated), "run `make crds`");
    for (ours, theirs) in copied.iter().zip(&generated) {
        assert!(ours == theirs, "{} differs: run `make crds`", ours.0);
    }
}

#[test]
fn it_has_the_version_of_the_operator() {
    let chart = std::fs::read_to_string(folder().join("Chart.yaml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(chart.lines().any(|line| line == format!("version: {version}")), "{version}\n{chart}");
    assert!(chart.lines().any(|line| line == format!("appVersion: \"{version}\"")), "{version}\n{chart}");
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    let chart = folder();
    let everything = json!({
        "scopedRBAC": true, "scopedNamespace": "team", "podDisruptionBudget": {"enabled": true},
        "serviceMonitor": {"enabled": true, "renderMode": "alwaysRender"},
        "prometheusRule": {"enabled": true, "renderMode": "alwaysRender"}, "grafanaDashboard": {"enabled": true}, "systemAuthDelegator": true, "networkPolicy": {"enabled": true},
        "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}"}}],
    });
    for values in
        [json!({}), json!({"installCRDs": false, "createOperator": false, "rbac": {"create": false}}), everything]
    {
        let said = helm(&["lint", "--strict", "--quiet", chart.to_str().unwrap()], &values);
        assert!(said.as_ref().is_ok_and(|said| !said.contains("[WARNING]")), "{values}: {said:?}");
    }
}

/// The README lists every value that does nothing, by way of the file that it is read from.
#[test]
fn the_readme_says_why_each_rule_is_there() {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let rules = keyferry_chart_tests::render(&json!({}));
    for rule in rules.get("ClusterRole", "-controller")["rules"].as_array().unwrap() {
        for resource in rule["resources"].as_array().unwrap() {
            let resource = resource.as_str().unwrap();
            assert!(readme.contains(&format!("`{resource}`")), "config/chart/README.md does not say why {resource}");
        }
    }
}
