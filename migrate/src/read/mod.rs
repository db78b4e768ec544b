//! Reads a cluster: the only part, with `apply`, that speaks to the API server.
//!
//! Modules, in the order in which they read: [`crds`], [`releases`], [`admission`], [`workloads`], [`objects`], [`generators`], [`needs`].

mod crds;
mod releases;
mod admission;
mod workloads;
mod objects;
mod generators;
mod needs;

use keyferry_cluster::problem::{ApiProblem, timely};
use kube::Client;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

use crate::facts::{Area, Cluster, Crd, Unread};

/// Reads everything. An error only where the API server can't be spoken to at all; what can't be read of it is among
/// the facts.
pub async fn cluster(client: &Client) -> Result<Cluster, ApiProblem> {
    match timely(client.apiserver_version()).await {
        Ok(_) => {}
        // Some clusters show their version to nobody; what matters is asked for below.
        Err(problem) if problem.is_status(403) => {}
        Err(problem) => return Err(problem),
    }
    let mut reader = Reader { client: client.clone(), cluster: Cluster::default() };
    reader.crds().await;
    reader.releases().await;
    reader.webhooks().await;
    reader.deployments().await;
    reader.objects().await;
    Ok(reader.cluster)
}

struct Reader {
    client: Client,
    cluster: Cluster,
}

impl Reader {
    fn unread(&mut self, area: Area, what: impl Into<String>, problem: &ApiProblem) {
        let unread = Unread { area, what: what.into(), why: problem.for_person() };
        self.cluster.unread.push(unread);
    }
}

/// The objects of a CRD's kind at one of its versions.
pub fn resource(crd: &Crd, version: &str) -> ApiResource {
    let gvk = GroupVersionKind::gvk(&crd.group, version, &crd.kind);
    ApiResource::from_gvk_with_plural(&gvk, &crd.plural)
}

/// A text in an object; empty where there is none.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The entries of a list in an object.
fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn label<'a>(object: &'a DynamicObject, key: &str) -> &'a str {
    object.metadata.labels.as_ref().and_then(|all| all.get(key)).map(String::as_str).unwrap_or_default()
}

fn annotation<'a>(object: &'a DynamicObject, key: &str) -> &'a str {
    object.metadata.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str).unwrap_or_default()
}

/// `namespace/name`, or the name of what is in no namespace.
fn full_name(metadata: &kube::api::ObjectMeta) -> String {
    let name = metadata.name.as_deref().unwrap_or_default();
    match metadata.namespace.as_deref() {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

fn is_held(metadata: &kube::api::ObjectMeta, finalizer: &str) -> bool {
    metadata.finalizers.iter().flatten().any(|held| held == finalizer)
}
