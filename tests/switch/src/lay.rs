//! Lays a situation down: each part of each object is written by its recorded field manager.

use std::collections::BTreeMap;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::{Api, Client};
use serde_json::{Map, Value, json};

use crate::Situation;

/// An object that was laid down, as the API server gave it back.
pub struct Laid {
    /// Its kind and name.
    pub name: String,
    /// All of it.
    pub object: Value,
    /// Who owns what, as it was recorded and as it is: by manager and subresource.
    pub managers: [BTreeMap<(String, String), Value>; 2],
}

/// The API of the kind of `object`, in its namespace.
pub fn api(client: &Client, object: &Value) -> Api<DynamicObject> {
    let version = object["apiVersion"].as_str().unwrap_or("v1");
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = object["kind"].as_str().expect("a kind");
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), object["metadata"]["namespace"].as_str().expect("a namespace"), &resource)
}

/// Writes the store, the ExternalSecret, and its target.
pub async fn lay(client: &Client, situation: &Situation) -> Vec<Laid> {
    let mut laid = Vec::new();
    laid.extend(write(client, &situation.store).await);
    let es = write(client, &situation.es).await.expect("it is not there yet");
    let uid = es.object["metadata"]["uid"].clone();
    laid.push(es);
    if let Some(mut secret) = situation.secret.clone() {
        for owner in secret["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
            owner["uid"] = uid.clone();
        }
        laid.extend(write(client, &secret).await);
    }
    laid
}

/// `None` where it is there already: situations share their store.
async fn write(client: &Client, wanted: &Value) -> Option<Laid> {
    let api = api(client, wanted);
    let name = wanted["metadata"]["name"].as_str().expect("a name");
    if api.get_opt(name).await.expect("the API server answers").is_some() {
        return None;
    }
    let mut entries: Vec<&Value> =
        wanted["metadata"]["managedFields"].as_array().expect("managed fields").iter().collect();
    // Whoever wrote the spec began, and a status is last; finalizers and labels come between.
    let turn = |entry: &&Value| match &entry["fieldsV1"] {
        _ if !entry["subresource"].is_null() => 2,
        fields if ["f:spec", "f:type"].iter().any(|field| !fields[*field].is_null()) => 0,
        _ => 1,
    };
    entries.sort_by_key(turn);
    let mut object = json!({
        "apiVersion": wanted["apiVersion"], "kind": wanted["kind"],
        "metadata": {"name": name, "namespace": wanted["metadata"]["namespace"]},
    });
    let mut is_there = false;
    for entry in entries {
        pick(&mut object, wanted, &entry["fieldsV1"]);
        let manager = entry["manager"].as_str().expect("a manager");
        let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
        let sent: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
        let answer = match (is_there, entry["subresource"].is_null()) {
            (false, _) => api.create(&params, &sent).await,
            (true, true) => api.replace(name, &params, &sent).await,
            (true, false) => api.replace_status(name, &params, &sent).await,
        };
        let answer = answer.unwrap_or_else(|error| panic!("{name} by {manager}: {error}"));
        is_there = true;
        object = serde_json::to_value(answer).expect("plain data");
    }
    let managers = [managers(wanted), managers(&object)];
    Some(Laid { name: format!("{} {name}", wanted["kind"].as_str().unwrap_or_default()), object, managers })
}

/// Copies the fields that a manager owns.
fn pick(into: &mut Value, from: &Value, fields: &Value) {
    for (field, inner) in fields.as_object().into_iter().flatten() {
        let Some(name) = field.strip_prefix("f:") else { continue };
        let Some(value) = from.get(name) else { continue };
        let parts = inner.as_object().is_some_and(|inner| inner.keys().any(|key| key.starts_with("f:")));
        if !into.is_object() {
            *into = Value::Object(Map::new());
        }
        if parts && value.is_object() { pick(&mut into[name], value, inner) } else { into[name] = value.clone() }
    }
}

/// Who owns what of an object, by manager and subresource. UIDs are those of another cluster, and times are not compared.
pub fn managers(object: &Value) -> BTreeMap<(String, String), Value> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries
        .map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            ((text("manager"), text("subresource")), without_uids(&entry["fieldsV1"]))
        })
        .collect()
}

fn without_uids(fields: &Value) -> Value {
    match fields {
        Value::Object(fields) => {
            let key = |key: &String| if key.starts_with("k:{\"uid\"") { "k:{uid}".to_owned() } else { key.clone() };
            Value::Object(fields.iter().map(|(name, inner)| (key(name), without_uids(inner))).collect())
        }
        other => other.clone(),
    }
}
