//! The state of a namespace in the words of a case.

use keyferry_behaviour_tests::{Cluster, rig};
use serde_json::{Map, Value, json};

/// All Secrets, and the status of all ExternalSecrets, PushSecrets and stores; `cluster_stores` are the case's own, and so is
/// the ClusterExternalSecret of the namespace's name, if it has them.
pub async fn observe(cluster: &Cluster, cluster_stores: &[String]) -> Value {
    let mut secrets = Map::new();
    for secret in cluster.list("Secret").await {
        secrets.insert(name(&secret), describe_secret(&secret));
    }
    let mut statuses = Map::new();
    for es in cluster.list("ExternalSecret").await {
        let mut status = pick(&es["status"], &["conditions", "binding", "syncedResourceVersion"]);
        let owners = es["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let owners: Vec<Value> = owners.map(|owner| owner["kind"].clone()).collect();
        if !owners.is_empty() {
            status["owners"] = Value::Array(owners);
        }
        statuses.insert(name(&es), status);
    }
    for push in cluster.list("PushSecret").await {
        let mut status = pick(&push["status"], &["conditions"]);
        if let pushed @ Value::Object(_) = &push["status"]["syncedPushSecrets"] {
            status["synced"] = pushed.clone();
        }
        statuses.insert(format!("push/{}", name(&push)), status);
    }
    for store in cluster.list("SecretStore").await {
        statuses.insert(format!("store/{}", name(&store)), describe_store(&store));
    }
    for store in cluster_stores {
        let found = cluster.get("ClusterSecretStore", store).await;
        let key =
            if store == cluster.namespace() { "clusterstore".to_owned() } else { format!("clusterstore/{store}") };
        statuses.extend(found.map(|store| (key, describe_store(&store))));
    }
    let copier = cluster.get("ClusterExternalSecret", cluster.namespace()).await;
    statuses.extend(copier.map(|copier| ("ces".to_owned(), describe_copier(&copier))));
    json!({"secrets": secrets, "status": statuses})
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// What is compared of a Secret.
pub fn describe_secret(secret: &Value) -> Value {
    let metadata = &secret["metadata"];
    let mut described = pick(metadata, &["labels", "annotations", "finalizers"]);
    described["data"] = json!(rig::texts(secret));
    described["type"] = secret["type"].clone();
    match &secret["immutable"] {
        Value::Null => {}
        immutable => described["immutable"] = immutable.clone(),
    }
    let owners: Vec<Value> = metadata["ownerReferences"].as_array().into_iter().flatten().map(owner).collect();
    if !owners.is_empty() {
        described["owners"] = Value::Array(owners)
    }
    described
}

fn owner(reference: &Value) -> Value {
    pick(reference, &["kind", "name"])
}

/// A case tells its status in words of its own.
fn describe_copier(copier: &Value) -> Value {
    let mut described = pick(&copier["status"], &["conditions"]);
    for (field, word) in
        [("externalSecretName", "name"), ("provisionedNamespaces", "provisioned"), ("failedNamespaces", "failed")]
    {
        if !copier["status"][field].is_null() {
            described[word] = copier["status"][field].clone();
        }
    }
    described
}

fn describe_store(store: &Value) -> Value {
    pick(&store["status"], &["conditions", "capabilities"])
}

/// These fields, where they hold anything. Times are left out: they are never compared.
fn pick(from: &Value, fields: &[&str]) -> Value {
    let mut picked = Map::new();
    for field in fields {
        match &from[*field] {
            Value::Null => {}
            Value::Object(empty) if empty.is_empty() => {}
            Value::Array(empty) if empty.is_empty() => {}
            value => drop(picked.insert((*field).to_owned(), without_times(value))),
        }
    }
    Value::Object(picked)
}

fn without_times(value: &Value) -> Value {
    let mut value = value.clone();
    for condition in value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        condition.remove("lastTransitionTime");
    }
    value
}
