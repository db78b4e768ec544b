//! Two tenants on one store that takes the credentials of whoever asks.

use std::time::Duration;

use keyferry_bench::{StoreKind, bed};
use serde_json::json;

use crate::stage::{SOON, Stage};

const OBJECTS: usize = 40;
const TENANTS: [(&str, &str); 2] = [("red", "AKIAREDREDREDREDRED0"), ("blue", "AKIABLUEBLUEBLUEBLU0")];

pub async fn test() {
    let namespaces = TENANTS.map(|(namespace, _)| namespace);
    let mut stage = Stage::new(StoreKind::Aws, OBJECTS, 5, &namespaces).await;
    for (namespace, id) in TENANTS {
        // Nobody's own values are those of everybody: they would hide a mistake.
        for n in 0..OBJECTS {
            stage.double.remove(&stage.fleet.key(n));
        }
        let login = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": namespace},
            "stringData": {"id": id, "key": format!("the-key-of-{namespace}")},
        });
        bed::create(stage.bed.client(), &login).await.unwrap();
    }
    write(&stage, "first");
    let login = |key: &str| json!({"name": "login", "key": key});
    let auth = json!({"secretRef": {"accessKeyIDSecretRef": login("id"), "secretAccessKeySecretRef": login("key")}});
    let store = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": "referent"},
        "spec": {"provider": {"aws": {"service": "SecretsManager", "region": "eu-west-1", "auth": auth}}},
    });
    bed::create(stage.bed.client(), &store).await.unwrap();
    // Both tenants ask for the same keys, at the same times.
    let objects: Vec<_> = (0..OBJECTS)
        .map(|n| {
            let mut object = stage.fleet.external_secret(n, "5s");
            object["spec"]["secretStoreRef"]["name"] = json!("referent");
            for entry in object["spec"]["data"].as_array_mut().unwrap() {
                entry["remoteRef"]["key"] = json!(format!("shared-{}", n / 2));
            }
            object
        })
        .collect();
    stage.bed.create(&objects).await.unwrap();
    stage.start();
    for round in ["first", "second", "third"] {
        write(&stage, round);
        let fleet = stage.fleet.clone();
        let missing = move |seen: &keyferry_bench::watch::Seen| {
            let has = |n: &usize| {
                let namespace = fleet.namespace(*n);
                let data = seen.data.get(&(namespace.to_owned(), fleet.name(*n)))?;
                let text = std::str::from_utf8(data.get("password")?).unwrap();
                // Not at the end only: at no moment that anybody sees.
                assert!(text.starts_with(namespace), "{namespace} sees {text:?}");
                text.ends_with(round).then_some(())
            };
            (0..OBJECTS).filter(|n| has(n).is_none()).count()
        };
        stage.until(round, SOON, missing).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let callers = stage.double.counts().by_identity();
    assert_eq!(callers.keys().map(String::as_str).collect::<Vec<_>>(), {
        let mut ids = TENANTS.map(|(_, id)| id);
        ids.sort();
        ids
    });
    stage.finish();
}

fn write(stage: &Stage, round: &str) {
    for (namespace, id) in TENANTS {
        for key in 0..OBJECTS / 2 {
            let value = json!({"username": namespace, "password": format!("{namespace} {key} {round}")});
            stage.double.set_for(id, &format!("shared-{key}"), &value.to_string());
        }
    }
}
