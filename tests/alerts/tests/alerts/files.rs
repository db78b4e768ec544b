//! The alerts, their cases and the dashboard, as files; and what the docs say of them.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file of the workspace.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// Its text.
pub fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Where the alerts are.
pub const ALERTS: &str = "config/chart/files/alerts.yaml";

/// The rules, changed by `change`, as a file of rules: JSON is YAML.
pub fn rules(change: impl Fn(&mut Value)) -> String {
    let mut file: Value = serde_saphyr::from_str(&text(ALERTS)).expect("it is YAML");
    let groups = file["groups"].as_array_mut().expect("there are groups");
    for rule in groups.iter_mut().flat_map(|group| group["rules"].as_array_mut().expect("it has rules")) {
        change(rule);
    }
    file.to_string()
}

/// The names of all alerts.
pub fn alerts() -> Vec<String> {
    let file: Value = serde_saphyr::from_str(&text(ALERTS)).expect("it is YAML");
    let groups = file["groups"].as_array().expect("there are groups");
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("it has rules"));
    rules.map(|rule| rule["alert"].as_str().expect("a name").to_owned()).collect()
}

/// The title and the queries of each panel of the dashboard.
pub fn panels() -> Vec<(String, Vec<String>)> {
    let dashboard: Value = serde_json::from_str(&text("config/chart/files/dashboard.json")).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("there are panels");
    let queries = |panel: &Value| -> Vec<String> {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| target["expr"].as_str().expect("a query").to_owned()).collect()
    };
    let all = panels.iter().map(|panel| (panel["title"].as_str().unwrap_or_default().to_owned(), queries(panel)));
    all.filter(|(_, queries)| !queries.is_empty()).collect()
}

#[test]
fn the_page_has_a_heading_for_each_alert_and_no_other() {
    let page = text("docs/monitoring.md");
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### Keyferry")).collect();
    let alerts = alerts();
    let names: Vec<&str> = alerts.iter().map(|alert| alert.strip_prefix("Keyferry").expect("ours")).collect();
    assert_eq!(headings, names, "in the order of {ALERTS}");
}

#[test]
fn each_alert_says_what_is_wrong_what_to_run_and_where_to_read() {
    let _ = rules(|rule| {
        let name = rule["alert"].as_str().unwrap_or_default();
        let annotation = |key: &str| rule["annotations"][key].as_str().unwrap_or_default();
        let heading = format!("docs/monitoring.md#{}", name.to_lowercase());
        assert!(annotation("runbook_url").ends_with(&heading), "{name}: {}", annotation("runbook_url"));
        assert!(annotation("summary").ends_with('.') && !annotation("summary").contains('$'), "{name}");
        let commands = ["keyferry ", "kubectl "];
        assert!(commands.iter().any(|command| annotation("description").contains(command)), "{name}: what to run?");
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
    });
}

/// Rules and panels name metrics that the page lists; a part of a histogram is of its metric.
#[test]
fn what_is_asked_for_is_listed() {
    let page = text("docs/monitoring.md");
    let listed: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut asked: Vec<String> = panels().into_iter().flat_map(|(_, queries)| queries).collect();
    asked.push(text(ALERTS));
    let words = asked.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    let is_metric = |word: &&str| {
        ["keyferry_", "externalsecret_", "secretstore_", "pushsecret_"].iter().any(|ours| word.contains(ours))
    };
    let mut found = 0;
    for word in words.filter(is_metric) {
        let whole = ["_bucket", "_sum", "_count"].iter().filter_map(|part| word.strip_suffix(part)).next();
        let is_listed = listed.contains(&word) || whole.is_some_and(|whole| listed.contains(&whole));
        assert!(is_listed, "docs/monitoring.md does not list {word}");
        found += 1;
    }
    assert!(found > 50, "the check found its subjects");
}
