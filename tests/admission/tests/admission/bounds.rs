//! Large objects: the cost of CEL must never be what refuses them.

use serde_json::{Value, json};

use crate::cluster::{api, client, create, decode, object, try_create};

/// Entries that make the rules work hardest.
fn data(count: usize) -> Vec<Value> {
    (0..count)
        .map(|i| {
            let remote = json!({"key": format!("path/to/{i}"), "property": "p"});
            json!({"secretKey": format!("key-{i}"), "remoteRef": remote, "sourceRef": {"storeRef": {"name": "o"}}})
        })
        .collect()
}

fn data_from(count: usize) -> Vec<Value> {
    (0..count)
        .map(|i| json!({"extract": {"key": format!("path/to/{i}")}, "sourceRef": {"storeRef": {"name": "o"}}}))
        .collect()
}

fn template_from(count: usize) -> Vec<Value> {
    (0..count).map(|i| json!({"literal": format!("k{i}: v"), "target": "Annotations"})).collect()
}

#[tokio::test]
async fn five_hundred_values_and_a_hundred_sources() {
    let client = client().await;
    let template = json!({"type": "Opaque", "templateFrom": template_from(100)});
    let spec = json!({"target": {"template": template}, "data": data(500), "dataFrom": data_from(100)});
    create(&client, &object("ExternalSecret", "large", &spec)).await;
    let read: keyferry_crds::ExternalSecret =
        decode(&api(&client, "ExternalSecret").get("large").await.expect("it is there"));
    assert_eq!((read.spec.data.len(), read.spec.data_from.len()), (500, 100));
}

/// What is refused is refused for its size: the bounds lie beyond what etcd takes, or a Secret holds.
#[tokio::test]
async fn as_much_as_fits_into_one_object() {
    let client = client().await;
    let template = json!({"type": "kubernetes.io/service-account-token", "templateFrom": template_from(1_000)});
    let target = json!({"manifest": {"apiVersion": "v1", "kind": "ConfigMap"}, "template": template});
    let spec = json!({"target": target, "data": data(8_000), "dataFrom": data_from(4_000)});
    let taken = try_create(&client, &object("ExternalSecret", "huge", &spec)).await;
    assert!(taken.is_ok(), "{}", taken.unwrap_err());
}
