//! Objects of any kind, as plain JSON.

use anyhow::{Context as _, Result};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;

/// The objects of a kind in a namespace; all objects of kinds that have none.
pub fn api(client: &Client, namespace: &str, api_version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match kind {
        "Namespace" => Api::all_with(client.clone(), &resource),
        _ => Api::namespaced_with(client.clone(), namespace, &resource),
    }
}

/// The apiVersion and kind of an object, and its name.
pub fn of(object: &Value) -> (&str, &str, &str) {
    let [api_version, kind, name] = [&object["apiVersion"], &object["kind"], &object["metadata"]["name"]];
    (api_version.as_str().unwrap_or_default(), kind.as_str().unwrap_or_default(), name.as_str().unwrap_or_default())
}

/// Creates an object, or gives the one that is there these fields.
pub async fn put(client: &Client, namespace: &str, object: &Value) -> Result<()> {
    let (api_version, kind, name) = of(object);
    let manager = PatchParams::apply("keyferry-hostile").force();
    let api = api(client, namespace, api_version, kind);
    api.patch(name, &manager, &Patch::Apply(object)).await.with_context(|| format!("cannot write {kind} {name}"))?;
    Ok(())
}
