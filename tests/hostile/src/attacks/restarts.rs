//! Restarts: workloads by the thousand, that never end, or that are larger than they need be, for a Secret that changes all the
//! time. It is waited for a minute until nobody tells of another change, so that each of these lasts longer.

use serde_json::{Value, json};

use crate::attack::{Attack, Press, Scene, entry, many, with};

/// What asks for restarts.
pub const ATTACKS: &[Attack] = &[
    Attack::new("restarts-of-thousands", "2,000 workloads that restart for a Secret that changes all the time", |s| {
        let workloads = many(2000, |n| workload(s, n, true, &s.name("e")));
        with([s.fake("0"), changing(s, "e", json!({}))], workloads)
    })
    .press(CHANGES)
    .seconds(80),
    Attack::new("restarts-without-end", "30 workloads whose new pods never serve", |s| {
        let workloads = many(30, |n| workload(s, n, false, &s.name("e")));
        with([s.fake("0"), changing(s, "e", json!({}))], workloads)
    })
    .press(CHANGES)
    .seconds(80)
    .restarts(5),
    Attack::new(
        "restarts-named",
        "100 ExternalSecrets that name thousands of workloads, in Secrets of large annotations",
        |s| {
            let named = json!({"keyferry.io/restart": "Deployment/nobody,".repeat(13_000)});
            let target = json!({"template": {"metadata": {"annotations": {"large": "x".repeat(200_000)}}}});
            let secrets = many(100, |n| {
                let mut secret = changing(s, n, json!({"refreshInterval": "20s", "target": target}));
                secret["metadata"]["annotations"] = named.clone();
                secret
            });
            with([s.fake("0")], secrets)
        },
    )
    .press(CHANGES)
    .seconds(80),
    Attack::new("restarts-of-large", "200 workloads that name thousands of Secrets", |s| {
        let named = format!("{},{}", s.name("e"), "nothing,".repeat(28_000));
        let workloads = many(200, |n| workload(s, n, true, &named));
        with([s.fake("0"), changing(s, "e", json!({}))], workloads)
    })
    .press(CHANGES)
    .seconds(80),
];

/// The store has another value, all the time.
const CHANGES: Press = Press::Patch(
    "SecretStore",
    "s",
    |round| json!({"spec": {"provider": {"fake": {"data": [{"key": "k", "value": round.to_string()}]}}}}),
);

/// An ExternalSecret that takes what the store has each second, where the spec says nothing else.
fn changing(s: &Scene, part: impl std::fmt::Display, spec: Value) -> Value {
    let mut whole = json!({"refreshInterval": "1s", "data": [entry("k", "k")]});
    if let (Some(whole), Value::Object(spec)) = (whole.as_object_mut(), spec) {
        whole.extend(spec);
    }
    s.es(part, whole)
}

/// A Deployment that restarts for this Secret. Nobody waits for one that is paused.
fn workload(s: &Scene, part: usize, paused: bool, secret: &str) -> Value {
    let labels = json!({"app": s.name(part)});
    let pods = json!({"containers": [{"name": "app", "image": "localhost/none"}]});
    let spec = json!({
        "replicas": 1, "paused": paused, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pods},
    });
    let metadata = json!({"annotations": {"keyferry.io/restart": secret}});
    s.object("apps/v1", "Deployment", part, json!({"metadata": metadata, "spec": spec}))
}
