//! Nothing is added but the defaults, and nothing is lost.

use keyferry_crds::{ClusterSecretStore, ExternalSecret, SecretStore};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::{api, client, create, decode, object, spec};

/// A spec as it comes back from the API server.
async fn stored(kind: &str, name: &str, given: Value) -> Value {
    let client = client().await;
    create(&client, &object(kind, name, &given)).await;
    let read = api(&client, kind).get(name).await.expect("it is there");
    match kind {
        "ExternalSecret" => drop(decode::<ExternalSecret>(&read)),
        "SecretStore" => drop(decode::<SecretStore>(&read)),
        _ => drop(decode::<ClusterSecretStore>(&read)),
    }
    spec(&read).clone()
}

#[tokio::test]
async fn the_defaults_of_a_minimal_object() {
    let given = json!({"secretStoreRef": {"name": "s"}, "data": [{"secretKey": "a", "remoteRef": {"key": "a"}}]});
    let mut want = given.clone();
    want["refreshInterval"] = json!("1h0m0s");
    want["target"] = json!({"creationPolicy": "Owner", "deletionPolicy": "Retain"});
    assert_eq!(stored("ExternalSecret", "minimal", given).await, want);
}

#[tokio::test]
async fn the_defaults_of_every_part() {
    let given = json!({
        "secretStoreRef": {"name": "s"},
        "target": {"name": "t", "template": {"templateFrom": [
            {"configMap": {"name": "c", "items": [{"key": "k"}]}},
            {"secret": {"name": "c", "items": [{"key": "k"}]}, "target": "Labels"},
        ]}},
        "data": [{"secretKey": "a", "remoteRef": {"key": "a"}, "sourceRef": {"storeRef": {"name": "o"}}}],
        "dataFrom": [
            {"extract": {"key": "a"}, "rewrite": [{"merge": {}}, {"regexp": {"source": "a", "target": "b"}}]},
            {"find": {"name": {"regexp": "a"}}},
            {"sourceRef": {"generatorRef": {"kind": "Password", "name": "p"}}},
        ],
    });
    let mut want = given.clone();
    want["refreshInterval"] = json!("1h0m0s");
    want["target"]["creationPolicy"] = json!("Owner");
    want["target"]["deletionPolicy"] = json!("Retain");
    want["target"]["template"]["engineVersion"] = json!("v2");
    want["target"]["template"]["mergePolicy"] = json!("Replace");
    want["target"]["template"]["templateFrom"][0]["target"] = json!("Data");
    want["target"]["template"]["templateFrom"][0]["configMap"]["items"][0]["templateAs"] = json!("Values");
    want["target"]["template"]["templateFrom"][1]["secret"]["items"][0]["templateAs"] = json!("Values");
    want["dataFrom"][0]["rewrite"][0]["merge"] =
        json!({"into": "", "priorityPolicy": "Strict", "conflictPolicy": "Error", "strategy": "Extract"});
    want["dataFrom"][2]["sourceRef"]["generatorRef"]["apiVersion"] = json!("generators.external-secrets.io/v1alpha1");
    assert_eq!(stored("ExternalSecret", "every-part", given).await, want);
}

#[tokio::test]
async fn null_is_what_is_not_set() {
    let given = json!({
        "secretStoreRef": {"name": "s", "kind": null},
        "refreshInterval": null, "refreshPolicy": null, "target": null, "dataFrom": null, "syncWindows": null,
        "data": [{"secretKey": "a", "remoteRef": {"key": "a", "property": null}, "sourceRef": null}],
    });
    let want = json!({
        "secretStoreRef": {"name": "s"},
        "refreshInterval": "1h0m0s",
        "target": {"creationPolicy": "Owner", "deletionPolicy": "Retain"},
        "data": [{"secretKey": "a", "remoteRef": {"key": "a"}}],
    });
    assert_eq!(stored("ExternalSecret", "null", given).await, want);
    let given = json!({"provider": {"fake": {"data": []}, "vault": null}, "refreshInterval": null, "conditions": null});
    assert_eq!(stored("SecretStore", "null", given).await, json!({"provider": {"fake": {"data": []}}}));
}

#[tokio::test]
async fn a_store_gets_no_defaults() {
    for (name, given) in [
        ("bare-vault", json!({"provider": {"vault": {"server": "https://v", "auth": {"kubernetes": {"role": "r"}}}}})),
        ("bare-aws", json!({"provider": {"aws": {"service": "SecretsManager", "region": "r"}}, "conditions": [{}]})),
        ("bare-kubernetes", json!({"provider": {"kubernetes": {"server": {}, "auth": {"token": {}}}}})),
    ] {
        assert_eq!(stored("SecretStore", name, given.clone()).await, given);
        assert_eq!(stored("ClusterSecretStore", name, given.clone()).await, given);
    }
}

#[tokio::test]
async fn unknown_fields_survive() {
    let new = json!({"deep": [{"list": [1, "a", null, {"x": 1.5}]}]});
    let given = json!({
        "new": new,
        "refreshInterval": "1h",
        "secretStoreRef": {"name": "s", "new": new},
        "syncWindows": {"kind": "allow", "windows": [{"schedule": "@daily", "duration": "1h", "new": new}], "new": new},
        "target": {"creationPolicy": "Owner", "deletionPolicy": "Retain", "new": new, "template": {
            "engineVersion": "v2", "mergePolicy": "Replace", "new": new, "metadata": {"new": new},
            "templateFrom": [{
                "target": "Data", "new": new,
                "secret": {"name": "n", "new": new, "items": [{"key": "k", "templateAs": "Values", "new": new}]},
            }],
        }},
        "data": [{
            "secretKey": "a", "new": new,
            "remoteRef": {"key": "a", "new": new},
            "sourceRef": {"storeRef": {"name": "o"}, "new": new},
        }],
        "dataFrom": [{
            "new": new,
            "find": {"name": {"regexp": "a", "new": new}, "new": new},
            "rewrite": [{"transform": {"template": "t", "new": new}}, {"new": new}],
        }],
    });
    assert_eq!(stored("ExternalSecret", "unknown", given.clone()).await, given);

    let secret = json!({"name": "n", "key": "k", "new": new});
    for (name, provider) in [
        ("unknown-key", json!({"brandNew": new})),
        (
            "open",
            json!({"azurekv": {"vaultUrl": "u", "authSecretRef": {"clientId": {"name": "n", "key": "k"}}, "new": new}}),
        ),
        ("gone", json!({"alibaba": {"regionID": "r", "new": new}})),
        ("fake", json!({"fake": {"data": [{"key": "a", "value": "b", "new": new}], "new": new}})),
        (
            "vault",
            json!({"vault": {"server": "s", "new": new, "auth": {"appRole": {"secretRef": secret, "new": new}}}}),
        ),
        (
            "aws",
            json!({"aws": {"service": "ParameterStore", "region": "r", "auth": {"jwt": {"new": new}, "new": new}}}),
        ),
        (
            "kubernetes",
            json!({"kubernetes": {"server": {"new": new}, "auth": {"cert": {"clientCert": secret}}, "new": new}}),
        ),
    ] {
        let given = json!({
            "provider": provider, "new": new,
            "retrySettings": {"maxRetries": 1, "new": new},
            "conditions": [{"new": new, "namespaceSelector": {"matchLabels": {"a": "b"}, "new": new}}],
        });
        assert_eq!(stored("SecretStore", &format!("unknown-{name}"), given.clone()).await, given);
        assert_eq!(stored("ClusterSecretStore", &format!("unknown-{name}"), given.clone()).await, given);
    }
}

#[tokio::test]
async fn status_takes_what_eso_writes() {
    let client = client().await;
    let given = json!({"secretStoreRef": {"name": "s"}, "data": [{"secretKey": "a", "remoteRef": {"key": "a"}}]});
    create(&client, &object("ExternalSecret", "status", &given)).await;
    let since = "2026-11-22T05:47:51Z";
    let condition =
        json!({"type": "Ready", "status": "False", "reason": "R", "message": "m", "lastTransitionTime": since});
    let status = json!({"binding": {"name": ""}, "conditions": [condition], "refreshTime": null, "new": 1});
    let patch = Patch::Merge(json!({"status": status}));
    let api = api(&client, "ExternalSecret");
    let read = api.patch_status("status", &PatchParams::default(), &patch).await.expect("status is taken");
    let want = json!({"binding": {"name": ""}, "conditions": [condition], "new": 1});
    assert_eq!(read.data["status"], want);

    // A full update, as a Go client sends it, has the null on the wire.
    let mut whole = read;
    whole.data["status"]["refreshTime"] = Value::Null;
    let read = api.replace_status("status", &Default::default(), &whole).await.expect("status is taken");
    assert_eq!(read.data["status"], want);
    assert_eq!(decode::<ExternalSecret>(&read).status.expect("a status").refresh_time, None);
}
