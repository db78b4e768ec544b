//! What makes pods, in files and in a cluster.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use keyferry_cluster::pages;
use kube::Client;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject};
use serde_json::Value;

use super::ask::PREFIX;
use crate::carry::documents;

/// The kinds, and where each says what its pods are.
pub const KINDS: [(&str, &str); 7] = [
    ("Pod", ""),
    ("Deployment", "/spec/template"),
    ("StatefulSet", "/spec/template"),
    ("DaemonSet", "/spec/template"),
    ("ReplicaSet", "/spec/template"),
    ("Job", "/spec/template"),
    ("CronJob", "/spec/jobTemplate/spec/template"),
];

/// Something that makes pods.
pub struct Workload {
    /// The file, or `cluster`.
    pub source: String,
    /// The lines of its document, and in which line of the file that begins; none of a cluster.
    lines: Option<(usize, String)>,
    /// What it says.
    pub manifest: Value,
}

impl Workload {
    /// Where it is said; that of an annotation where that can be found.
    pub fn place(&self, annotation: Option<&str>) -> String {
        let text = |pointer: &str| self.manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let name = format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
        let Some((begin, text)) = &self.lines else { return format!("{}: {name}", self.source) };
        let at = annotation.and_then(|annotation| text.lines().position(|line| line.contains(annotation)));
        format!("{}:{}: {name}", self.source, begin + at.unwrap_or_default())
    }

    /// What a path in its pods leads to.
    pub fn of_pod(&self, path: &str) -> Option<&Value> {
        let (_, template) = KINDS.iter().find(|(kind, _)| self.manifest["kind"] == *kind)?;
        self.manifest.pointer(&format!("{template}{path}"))
    }

    /// The annotations of its pods.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let all = self.of_pod("/metadata/annotations").and_then(Value::as_object);
        all.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    }
}

/// Those of a file; what can't be read of it is told, by lines.
pub fn of_file(file: &Path, text: &str, all: &mut Vec<Workload>) -> Vec<String> {
    let mut problems = Vec::new();
    for (line, document) in documents(text) {
        if !document.contains(PREFIX) {
            continue;
        }
        let options = serde_saphyr::options! { strict_booleans: true };
        match serde_saphyr::from_str_with_options::<Value>(&document, options) {
            Ok(value) => collect(value, &file.display().to_string(), &Some((line, document)), all),
            Err(error) => {
                let at = error.location().map_or(0, |location| location.line() as usize);
                problems.push(format!("{}: it is not YAML; render templates first", line + at.saturating_sub(1)));
            }
        }
    }
    problems
}

fn collect(mut value: Value, source: &str, lines: &Option<(usize, String)>, all: &mut Vec<Workload>) {
    if value["kind"] == "List"
        && let Value::Array(items) = value["items"].take()
    {
        for item in items {
            collect(item, source, lines, all);
        }
    } else if KINDS.iter().any(|(kind, _)| value["kind"] == *kind) {
        all.push(Workload { source: source.to_owned(), lines: lines.clone(), manifest: value });
    }
}

/// Those of a cluster, in one namespace or in all. What others make is left to those who make it. The error is for a person.
pub async fn of_cluster(client: &Client, namespace: Option<&str>) -> Result<Vec<Workload>, String> {
    let resources = [
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<DaemonSet>(&()),
        ApiResource::erase::<CronJob>(&()),
        ApiResource::erase::<Job>(&()),
        ApiResource::erase::<Pod>(&()),
    ];
    let mut all = Vec::new();
    for resource in resources {
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let take = |object: DynamicObject| {
            let owners = object.metadata.owner_references.iter().flatten();
            if owners.clone().any(|owner| owner.controller == Some(true)) {
                return;
            }
            let Ok(mut manifest) = serde_json::to_value(&object) else { return };
            manifest["apiVersion"] = resource.api_version.clone().into();
            manifest["kind"] = resource.kind.clone().into();
            let workload = Workload { source: "cluster".to_owned(), lines: None, manifest };
            if workload.annotations().keys().any(|name| name.starts_with(PREFIX)) {
                all.push(workload);
            }
        };
        let read = pages::all(&api, ListParams::default(), take).await;
        read.map_err(|problem| format!("can't read {}: {}", resource.plural, problem.for_person()))?;
    }
    Ok(all)
}
