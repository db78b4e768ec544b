//! The Helm chart: how tests render it, and how they read what comes out.

use std::path::{Path, PathBuf};
use std::process::Command;

use keyferry_testkit::{Testbed, install};
use serde_json::Value;

/// The release that tests render, where it does not matter which.
pub const RELEASE: &str = "keyferry";

/// And its namespace.
pub const NAMESPACE: &str = "secrets";

/// The folder of the chart.
pub fn folder() -> PathBuf {
    Testbed::chart().expect("the chart is in the workspace")
}

/// The folder of the CRDs that `make crds` writes and users apply.
pub fn crds() -> PathBuf {
    folder().join("../../crds/yaml")
}

/// The names and texts of the files of a folder.
pub fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<(String, String)> = entries
        .map(|entry| {
            let path = entry.expect("a file").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect();
    files.sort();
    files
}

/// Runs helm without a cluster. `Err` holds what it says.
pub fn helm(args: &[&str], values: &Value) -> Result<String, String> {
    // A file, not --set: values arrive as a user writes them.
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), values.to_string()).expect("JSON is YAML");
    let output = Command::new(install::helm().expect("helm builds"))
        .args(args)
        .arg("--values")
        .arg(file.path())
        .output()
        .expect("helm runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{}{}", text(&output.stdout), text(&output.stderr)))
    }
}

/// `helm template` with these values, and more arguments.
pub fn try_render(values: &Value, more: &[&str]) -> Result<Rendered, String> {
    let chart = folder();
    let mut args = vec!["template", RELEASE, chart.to_str().expect("a path of text"), "--namespace", NAMESPACE];
    args.extend(more);
    helm(&args, values).map(|text| Rendered::parse(&text))
}

/// What `helm template` makes of a release of another name with these values, which the chart must take.
#[track_caller]
pub fn template(release: &str, values: &Value) -> String {
    let chart = folder();
    let args = ["template", release, chart.to_str().expect("a path of text"), "--namespace", NAMESPACE];
    helm(&args, values).unwrap_or_else(|error| panic!("{release} {values}: {error}"))
}

/// `helm template` with these values, which the chart must take.
#[track_caller]
pub fn render(values: &Value) -> Rendered {
    try_render(values, &[]).unwrap_or_else(|error| panic!("{values}: {error}"))
}

/// What an installation with these values says.
pub fn notes(values: &Value) -> String {
    let chart = folder();
    let chart = chart.to_str().expect("a path of text");
    let said = helm(&["install", RELEASE, chart, "--namespace", NAMESPACE, "--dry-run=client"], values);
    let said = said.unwrap_or_else(|error| panic!("{values}: {error}"));
    let (_, notes) = said.split_once("\nNOTES:\n").expect("there are notes");
    notes.to_owned()
}

/// Objects in the order in which they were rendered.
pub struct Rendered(pub Vec<Value>);

impl Rendered {
    /// Reads a stream of YAML documents.
    pub fn parse(text: &str) -> Self {
        // CRDs hold words like `y` and `n`, which YAML 1.1 takes for booleans, and Kubernetes does not.
        let options = serde_saphyr::options! { strict_booleans: true };
        let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
            .unwrap_or_else(|error| panic!("no YAML: {error}\n{text}"));
        Self(documents.into_iter().filter(|document| !document.is_null()).collect())
    }

    /// Kind and name of each.
    pub fn names(&self) -> Vec<String> {
        let name = |object: &Value| format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"));
        self.0.iter().map(name).collect()
    }

    /// The object of this kind whose name ends so.
    #[track_caller]
    pub fn get(&self, kind: &str, name: &str) -> &Value {
        let is_it = |object: &&Value| text(object, "/kind") == kind && text(object, "/metadata/name").ends_with(name);
        self.0.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}; there are {:?}", self.names()))
    }

    /// Those of a kind.
    pub fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |object| text(object, "/kind") == kind)
    }

    /// The operator's pod.
    #[track_caller]
    pub fn pod(&self) -> &Value {
        &self.get("Deployment", "")["spec"]["template"]["spec"]
    }

    /// The operator's container.
    #[track_caller]
    pub fn container(&self) -> &Value {
        &self.pod()["containers"][0]
    }

    /// The operator's arguments.
    #[track_caller]
    pub fn args(&self) -> Vec<String> {
        let args = self.container()["args"].as_array().expect("it has arguments");
        args.iter().map(|arg| arg.as_str().expect("text").to_owned()).collect()
    }
}

/// A text in an object; empty where there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
