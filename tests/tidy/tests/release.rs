//! Releases: what workflows call is there, and what a release says of itself agrees. What only a registry and GitHub can do is not tried.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use keyferry_tidy::{files, read, root};
use serde_json::Value;

/// The steps of all jobs of a workflow.
fn steps(workflow: &Value) -> Vec<&Value> {
    let jobs = workflow["jobs"].as_object().into_iter().flatten();
    jobs.flat_map(|(_, job)| job["steps"].as_array().into_iter().flatten()).collect()
}

fn workflows() -> Vec<(String, Value)> {
    let found = files(".github/workflows");
    let parsed = found.into_iter().map(|file| {
        // `on` is a word there.
        let options = serde_saphyr::options! { strict_booleans: true };
        let workflow = serde_saphyr::from_str_with_options(&read(&file), options);
        let workflow = workflow.unwrap_or_else(|error| panic!("{file}: {error}"));
        (file, workflow)
    });
    parsed.collect()
}

/// Runs `scripts/release`.
fn release(args: &[&str]) -> Output {
    Command::new(root().join("scripts/release")).args(args).current_dir(root()).output().expect("python3 runs")
}

#[test]
fn what_workflows_call_is_there() {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> = makefile.lines().filter_map(|line| Some(line.split_once(": ##")?.0)).collect();
    let mut called = BTreeSet::new();
    for (file, workflow) in workflows() {
        for step in steps(&workflow) {
            for line in step["run"].as_str().unwrap_or_default().lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                for script in words.iter().filter(|word| word.starts_with("scripts/")) {
                    assert!(root().join(script).is_file(), "{file} calls {script}, which is not there");
                }
                if words.first() == Some(&"make") {
                    let target = words[1..].iter().find(|word| !word.starts_with('-')).expect("a target");
                    assert!(targets.contains(target), "{file} calls make {target}, which the Makefile does not have");
                    called.insert((*target).to_owned());
                }
            }
        }
    }
    let expected = ["advisories", "chart", "deny", "image", "release-check", "release-notes", "sbom", "test"];
    assert_eq!(called.into_iter().collect::<Vec<_>>(), expected);
}

/// A workflow may read the sources; a job that may more says what. What others wrote is named by a version.
#[test]
fn workflows_have_least_rights() {
    let all = workflows();
    assert!(!all.is_empty());
    for (file, workflow) in &all {
        assert_eq!(workflow["permissions"], serde_json::json!({"contents": "read"}), "{file}");
        for (name, job) in workflow["jobs"].as_object().into_iter().flatten() {
            let may_write =
                job["permissions"].as_object().is_some_and(|rights| rights.values().any(|may| may == "write"));
            let needs: Vec<&str> = job["needs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let is_checked = ["dependencies", "version", "test", "build"].iter().all(|job| needs.contains(job));
            assert!(!may_write || is_checked, "{file}: {name} may write, and does not wait for all that is checked");
        }
        for step in steps(workflow) {
            let Some(action) = step["uses"].as_str() else { continue };
            assert!(action.split_once("@v").is_some_and(|(_, version)| !version.is_empty()), "{file}: {action}");
            let is_checkout = action.starts_with("actions/checkout@");
            assert!(!is_checkout || step["with"]["persist-credentials"] == false, "{file}: credentials stay on disk");
        }
    }
}

#[test]
fn a_release_says_what_does_not_agree_with_its_tag() {
    let refused = release(&["check", "v99.0.0"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    for part in ["Cargo.toml is ", "config/chart/Chart.yaml, version is ", "appVersion is ", "## 99.0.0 - DATE"] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    let version = read("Cargo.toml")
        .lines()
        .find_map(|line| Some(line.strip_prefix("version = \"")?.trim_end_matches('"').to_owned()));
    let said = release(&["check", &format!("v{}", version.expect("the workspace has a version"))]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.contains(" is "), "versions differ:\n{said}");
}

/// The notes of a release are a section of the changelog, so that has to have the form that is read.
#[test]
fn the_notes_of_a_release_are_those_of_the_changelog() {
    let notes = release(&["notes", "Unreleased"]);
    let said = String::from_utf8(notes.stdout).expect("text");
    assert!(notes.status.success() && said.starts_with("### "), "{said}");
    assert!(!said.contains("\n## "), "it ends where the next version begins");
    assert!(!release(&["notes", "99.0.0"]).status.success());
    let changelog = read("CHANGELOG.md");
    let headings = changelog.lines().filter_map(|line| line.strip_prefix("### "));
    let known = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    let others: Vec<&str> = headings.filter(|heading| !known.contains(heading)).collect();
    assert!(others.is_empty(), "CHANGELOG.md has other headings than Keep a Changelog's: {others:?}");
}
