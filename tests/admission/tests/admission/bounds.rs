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

#[tokio::test]
async fn as_much_as_the_limits_allow() {
    let client = client().await;
    let template = json!({"type": "kubernetes.io/service-account-token", "templateFrom": template_from(1_000)});
    let target = json!({"manifest": {"apiVersion": "v1", "kind": "ConfigMap"}, "template": template});
    let spec = json!({"target": target, "data": data(5_000), "dataFrom": data_from(1_000)});
    let taken = try_create(&client, &object("ExternalSecret", "huge", &spec)).await;
    assert!(taken.is_ok(), "{}", taken.unwrap_err());
}

/// One more than each limit is refused, with the field that holds it.
#[tokio::test]
async fn more_than_the_limits_allow() {
    let client = client().await;
    let entry = json!([{"secretKey": "a", "remoteRef": {"key": "a"}}]);
    let rewrites = |change: Value| json!({"dataFrom": [{"extract": {"key": "a"}, "rewrite": change}]});
    let long = |limit: &keyferry_limits::Limit| "a".repeat(limit.size() + 1);
    let keys = |limit: &keyferry_limits::Limit| -> Value {
        (0..=limit.most).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
    };
    for (field, spec) in [
        ("spec.data", json!({"data": data(keyferry_limits::DATA_ENTRIES.size() + 1)})),
        ("spec.dataFrom", json!({"dataFrom": data_from(keyferry_limits::DATA_FROM_ENTRIES.size() + 1)})),
        (
            "spec.dataFrom[0].rewrite",
            rewrites(
                vec![json!({"regexp": {"source": "a", "target": "b"}}); keyferry_limits::REWRITES.size() + 1].into(),
            ),
        ),
        (
            "spec.dataFrom[0].rewrite[0].regexp.source",
            rewrites(json!([{"regexp": {"source": long(&keyferry_limits::PATTERN_LENGTH), "target": "b"}}])),
        ),
        (
            "spec.dataFrom[0].rewrite[0].regexp.target",
            rewrites(json!([{"regexp": {"source": "a", "target": long(&keyferry_limits::RENAME_LENGTH)}}])),
        ),
        (
            "spec.dataFrom[0].find.name.regexp",
            json!({"dataFrom": [{"find": {"name": {"regexp": long(&keyferry_limits::PATTERN_LENGTH)}}}]}),
        ),
        (
            "spec.data[0].remoteRef.key",
            json!({"data": [{"secretKey": "a", "remoteRef": {"key": long(&keyferry_limits::REFERENCE_LENGTH)}}]}),
        ),
        (
            "spec.target.template.templateFrom",
            json!({"data": entry, "target": {"template": {
                "templateFrom": template_from(keyferry_limits::TEMPLATE_SOURCES.size() + 1),
            }}}),
        ),
        (
            "spec.target.template.data",
            json!({"data": entry, "target": {"template": {"data": keys(&keyferry_limits::TEMPLATE_KEYS)}}}),
        ),
    ] {
        let refusal = try_create(&client, &object("ExternalSecret", "beyond", &spec)).await.expect_err(field);
        assert!(refusal.contains(&format!("{field}: Too ")), "{field}: {refusal}");
    }
}

#[tokio::test]
async fn more_conditions_of_a_store_than_the_limits_allow() {
    let client = client().await;
    let many = |count: u64| -> Vec<&str> { (0..count).map(|_| "a").collect() };
    let long = |limit: &keyferry_limits::Limit| "a".repeat(limit.size() + 1);
    for (field, conditions) in [
        ("spec.conditions", json!(vec![json!({}); keyferry_limits::STORE_CONDITIONS.size() + 1])),
        (
            "spec.conditions[0].namespaceRegexes",
            json!([{"namespaceRegexes": many(keyferry_limits::CONDITION_PATTERNS.most + 1)}]),
        ),
        (
            "spec.conditions[0].namespaceRegexes[0]",
            json!([{"namespaceRegexes": [long(&keyferry_limits::PATTERN_LENGTH)]}]),
        ),
        (
            "spec.conditions[0].namespaces",
            json!([{"namespaces": many(keyferry_limits::CONDITION_NAMESPACES.most + 1)}]),
        ),
    ] {
        for kind in ["SecretStore", "ClusterSecretStore"] {
            let spec = json!({"provider": {"fake": {"data": []}}, "conditions": conditions});
            let refusal = try_create(&client, &object(kind, "beyond", &spec)).await.expect_err(field);
            assert!(refusal.contains(&format!("{field}: Too ")), "{field}: {refusal}");
        }
    }
}
