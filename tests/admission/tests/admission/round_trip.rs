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
async fn a_store_gets_the_defaults_of_eso_and_no_others() {
    for (name, given, more) in [
        (
            "bare-vault",
            json!({"vault": {"server": "https://v", "auth": {"kubernetes": {"role": "r"}}}}),
            json!({"vault": {"version": "v2", "auth": {"kubernetes": {"mountPath": "kubernetes"}}}}),
        ),
        (
            "bare-aws",
            json!({"aws": {"service": "SecretsManager", "region": "r"}}),
            json!({"aws": {"sessionTagsPolicy": "None"}}),
        ),
        (
            "bare-kubernetes",
            json!({"kubernetes": {"server": {}, "auth": {"token": {}}}}),
            json!({"kubernetes": {"server": {"url": "kubernetes.default"}, "remoteNamespace": "default"}}),
        ),
    ] {
        for kind in ["SecretStore", "ClusterSecretStore"] {
            let mut want = given.clone();
            merge(&mut want, &more);
            assert_eq!(stored(kind, name, json!({"provider": given})).await, json!({"provider": want}));
        }
    }
}

/// Puts the fields of `more` into `target`, all the way down.
fn merge(target: &mut Value, more: &Value) {
    match more {
        Value::Object(fields) if target.is_object() => {
            for (name, more) in fields {
                merge(&mut target[name], more);
            }
        }
        other => *target = other.clone(),
    }
}

/// Where the defaults of a node's own fields stand in its CRD, with each: `provider.vault.version`.
fn defaults(path: &[String], node: &Value, found: &mut Vec<(Vec<String>, Value)>) {
    for (name, field) in node["properties"].as_object().into_iter().flatten() {
        let path = [path, std::slice::from_ref(name)].concat();
        if let Some(default) = field.get("default") {
            found.push((path.clone(), default.clone()));
        }
        defaults(&path, field, found);
    }
}

/// What a provider requires beside a default, so that each is reached alone: those of a login below that one.
fn required(provider: &str, login: Option<&str>) -> Value {
    let secret = json!({"name": "n", "key": "k"});
    let logins = match login {
        Some("appRole") => json!({"appRole": {"roleId": "r", "secretRef": secret}}),
        Some("kubernetes") if provider == "openBao" => json!({"kubernetes": {"role": "r", "secretRef": secret}}),
        Some(login @ ("kubernetes" | "gcp")) => json!({login: {"role": "r"}}),
        Some(login @ ("ldap" | "userPass")) => json!({login: {"username": "u", "secretRef": secret}}),
        Some(login) => json!({login: {}}),
        None => json!({"tokenSecretRef": secret}),
    };
    match provider {
        "aws" => json!({"service": "SecretsManager", "region": "r"}),
        "azurekv" => json!({"vaultUrl": "https://v"}),
        "barbican" => {
            json!({"authURL": "https://k", "auth": {"username": {"value": "u"}, "password": {"secretRef": secret}}})
        }
        "crd" => json!({"resource": {"group": "g", "version": "v1", "kind": "K"}, "server": {},
            "auth": {"token": {"bearerToken": secret}}}),
        "doppler" => {
            json!({"auth": {"oidcConfig": {"identity": "i", "serviceAccountRef": {"name": "n"}}}})
        }
        "github" => json!({"appID": 1, "installationID": 1, "organization": "o", "auth": {"privateKey": secret}}),
        "infisical" => json!({"auth": {"tokenAuthCredentials": {"accessToken": secret}},
            "secretsScope": {"projectSlug": "p", "environmentSlug": "e"}}),
        "kubernetes" => json!({"server": {}}),
        "ngrok" => json!({"auth": {"apiKey": {"secretRef": secret}}, "vault": {"name": "v"}}),
        "onepasswordSDK" => {
            json!({"vault": "v", "auth": {"serviceAccountSecretRef": secret}, "cache": {}, "integrationInfo": {}})
        }
        "openBao" | "vault" => json!({"server": "https://s", "auth": logins}),
        "ovh" => json!({"server": "https://s", "okmsid": "o", "auth": {"token": {"tokenSecretRef": secret}}}),
        _ => json!({}),
    }
}

// `server: {url: }`: by every way into the API server.
#[tokio::test]
async fn null_means_the_default_also_in_server_side_apply() {
    let client = client().await;
    let mut found = Vec::new();
    let store = keyferry_crds::crds().into_iter().find(|crd| crd.spec.names.kind == "SecretStore");
    let store = serde_json::to_value(store).expect("plain data");
    defaults(&[], &store["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], &mut found);
    assert!(found.len() >= 11, "{found:?}");
    for (path, default) in &found {
        let provider = &path[1];
        let mut spec = json!({"provider": {provider: required(provider, path.get(3).map(String::as_str))}});
        let at = path.iter().fold(&mut spec, |at, name| &mut at[name]);
        *at = Value::Null;
        let pointer = format!("/{}", path.join("/"));
        for kind in ["SecretStore", "ClusterSecretStore"] {
            let name = path.join("-").to_lowercase();
            let params = PatchParams::apply("somebody");
            let applied = api(&client, kind).patch(&name, &params, &Patch::Apply(object(kind, &name, &spec))).await;
            let applied = applied.unwrap_or_else(|error| panic!("{kind} {spec}: {error}"));
            assert_eq!(super::cluster::spec(&applied).pointer(&pointer), Some(default), "{kind} {spec}");
        }
    }
}

#[tokio::test]
async fn null_means_the_default_in_an_external_secret_too() {
    let client = client().await;
    let data = json!([{"secretKey": "a", "remoteRef": {"key": "a"}}]);
    let extract = json!([{"extract": {"key": "a"}, "rewrite": [{"merge": {"into": null, "strategy": null, "priorityPolicy": null, "conflictPolicy": null}}]}]);
    let from = json!([{"target": null, "secret": {"name": "s", "items": [{"key": "k", "templateAs": null}]}}]);
    let generated = json!([{"sourceRef": {"generatorRef": {"apiVersion": null, "kind": "Fake", "name": "f"}}}]);
    for (name, spec, pointer, default) in [
        ("null-interval", json!({"data": data, "refreshInterval": null}), "/refreshInterval", json!("1h0m0s")),
        ("null-target", json!({"data": data, "target": null}), "/target/creationPolicy", json!("Owner")),
        (
            "null-policy",
            json!({"data": data, "target": {"deletionPolicy": null}}),
            "/target/deletionPolicy",
            json!("Retain"),
        ),
        (
            "null-engine",
            json!({"data": data, "target": {"template": {"engineVersion": null, "mergePolicy": null}}}),
            "/target/template/engineVersion",
            json!("v2"),
        ),
        (
            "null-from",
            json!({"data": data, "target": {"template": {"templateFrom": from}}}),
            "/target/template/templateFrom/0/secret/items/0/templateAs",
            json!("Values"),
        ),
        ("null-merge", json!({"dataFrom": extract}), "/dataFrom/0/rewrite/0/merge/strategy", json!("Extract")),
        (
            "null-generator",
            json!({"dataFrom": generated}),
            "/dataFrom/0/sourceRef/generatorRef/apiVersion",
            json!("generators.external-secrets.io/v1alpha1"),
        ),
    ] {
        let patch = Patch::Apply(object("ExternalSecret", name, &spec));
        let applied = api(&client, "ExternalSecret").patch(name, &PatchParams::apply("somebody"), &patch).await;
        let applied = applied.unwrap_or_else(|error| panic!("{spec}: {error}"));
        assert_eq!(super::cluster::spec(&applied).pointer(pointer), Some(&default), "{spec}");
    }
}

/// Takes the fields off that no schema names.
fn without_new(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let named = fields.iter().filter(|(name, _)| *name != "new");
            named.map(|(name, field)| (name.clone(), without_new(field))).collect()
        }
        Value::Array(items) => items.iter().map(without_new).collect(),
        other => other.clone(),
    }
}

/// Puts one into every object of a spec.
fn with_new(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(with_new);
            fields.insert("new".into(), json!({"deep": [{"list": [1, "a", null, {"x": 1.5}]}]}));
        }
        Value::Array(items) => items.iter_mut().for_each(with_new),
        _ => {}
    }
}

#[tokio::test]
async fn unknown_fields_are_refused_by_strict_clients_and_dropped_for_others() {
    let known = json!({
        "refreshInterval": "1h",
        "secretStoreRef": {"name": "s"},
        "syncWindows": {"kind": "allow", "windows": [{"schedule": "@daily", "duration": "1h"}]},
        "target": {"creationPolicy": "Owner", "deletionPolicy": "Retain", "template": {
            "engineVersion": "v2", "mergePolicy": "Replace",
            "templateFrom": [{"target": "Data", "secret": {"name": "n", "items": [{"key": "k", "templateAs": "Values"}]}}],
        }},
        "data": [{"secretKey": "a", "remoteRef": {"key": "a"}, "sourceRef": {"storeRef": {"name": "o"}}}],
        "dataFrom": [{"find": {"name": {"regexp": "a"}}, "rewrite": [{"transform": {"template": "t"}}]}],
    });
    let secret = json!({"name": "n", "key": "k"});
    let stores = [
        json!({"fake": {"data": [{"key": "a", "value": "b"}]}}),
        json!({"vault": {"server": "s", "version": "v2", "auth": {"appRole": {"path": "p", "secretRef": secret}}}}),
        json!({"aws": {"service": "ParameterStore", "region": "r", "sessionTagsPolicy": "None", "auth": {"jwt": {}}}}),
        json!({"kubernetes": {
            "remoteNamespace": "n", "server": {"url": "u"}, "auth": {"cert": {"clientCert": secret}},
        }}),
    ];
    let stores = stores.into_iter().map(|provider| {
        json!({"provider": provider, "retrySettings": {"maxRetries": 1}, "conditions": [{"namespaces": ["a"]}]})
    });
    let all = stores.flat_map(|spec| ["SecretStore", "ClusterSecretStore"].map(|kind| (kind, spec.clone())));
    for (n, (kind, spec)) in all.chain([("ExternalSecret", known)]).enumerate() {
        let mut given = spec.clone();
        with_new(&mut given);
        // A provider is open for keys that nobody knows, and this is one.
        if given["provider"].is_object() {
            given["provider"].as_object_mut().expect("it is one").remove("new");
        }
        let name = format!("unknown-{n}");
        assert_eq!(stored(kind, &name, given.clone()).await, spec);

        let manifest = object(kind, &format!("{name}-strict"), &given);
        let mut expected = keyferry_crds::pruned(&serde_json::to_value(&manifest).expect("plain data"));
        expected.sort();
        assert_eq!(without_new(&given), spec);
        let refusal = strictly(&super::cluster::client().await, &manifest).await;
        let mut named: Vec<_> = refusal.split('"').filter(|part| part.starts_with("spec")).map(str::to_owned).collect();
        named.sort();
        assert_eq!(named, expected, "what we say is lost is what the server drops: {refusal}");
    }
}

/// What a strict client is told of an object.
async fn strictly(client: &kube::Client, object: &kube::api::DynamicObject) -> String {
    let params = kube::api::PostParams { dry_run: true, ..Default::default() };
    let kind = object.types.as_ref().expect("it names its kind").kind.clone();
    let api = api(client, &kind);
    let mut request = kube::core::Request::new(api.resource_url())
        .create(&params, serde_json::to_vec(object).expect("plain data"))
        .expect("a request");
    *request.uri_mut() = format!("{}&fieldValidation=Strict", request.uri()).parse().expect("a URI");
    match client.request::<Value>(request).await {
        Err(kube::Error::Api(status)) => status.message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn providers_that_are_not_built_are_kept_whole() {
    let new = json!({"deep": [{"list": [1, "a", null, {"x": 1.5}]}]});
    for (name, provider) in [
        ("unknown-key", json!({"brandNew": new})),
        (
            "open",
            json!({"previder": {"baseUri": "u", "auth": {"secretRef": {"accessToken": {"name": "n", "key": "k"}}}, "new": new}}),
        ),
        ("gone", json!({"device42": {"host": "h", "new": new}})),
    ] {
        let given = json!({"provider": provider});
        assert_eq!(stored("SecretStore", name, given.clone()).await, given);
        assert_eq!(stored("ClusterSecretStore", name, given.clone()).await, given);
    }
}

/// Kinds that are not built are taken as External Secrets Operator takes them, and kept whole.
#[tokio::test]
async fn kinds_that_are_not_built_are_kept_whole() {
    let client = client().await;
    let new = json!({"deep": [{"list": [1, "a", {"x": 1.5}]}], "text": "t"});
    let mut seen = 0;
    for crd in keyferry_crds::crds() {
        let kind = crd.spec.names.kind.clone();
        if keyferry_crds::is_built(&crd.spec.group, &kind) {
            continue;
        }
        seen += 1;
        let spec = if kind == "GeneratorState" {
            json!({"garbageCollectionDeadline": "2026-01-01T00:00:00Z", "resource": new, "state": new})
        } else {
            new.clone()
        };
        let resource = super::cluster::stored_as(&crd);
        let api: kube::Api<kube::api::DynamicObject> = if crd.spec.scope == "Cluster" {
            kube::Api::all_with(client.clone(), &resource)
        } else {
            kube::Api::default_namespaced_with(client.clone(), &resource)
        };
        let manifest =
            json!({"apiVersion": resource.api_version, "kind": kind, "metadata": {"name": "whole"}, "spec": spec});
        let created = api.create(&Default::default(), &super::cluster::from(manifest)).await;
        let created = created.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(created.data["spec"], spec, "{kind}");
    }
    assert!(seen >= 1, "{seen}");
}

/// What External Secrets Operator last wrote there: who goes back to it loses nothing.
#[tokio::test]
async fn statuses_of_pushes_and_copiers_are_kept() {
    let client = client().await;
    let condition = json!({"type": "Ready", "status": "False", "reason": "Errored", "message": "m", "lastTransitionTime": "2026-11-22T05:47:51Z"});
    let bare = json!({"type": "Ready", "status": "False", "message": "m"});
    let pushed = json!({"SecretStore/s": {"remote/key": {"conversionStrategy": "None", "match": {"secretKey": "k", "remoteRef": {"remoteKey": "remote"}}, "metadata": {"any": [1]}}}});
    let failed = json!([{"namespace": "a", "reason": "r"}]);
    let push = json!({"secretStoreRefs": [{"name": "s"}], "selector": {"secret": {"name": "n"}}});
    let pull = json!({"secretStoreRef": {"name": "s"}, "data": [{"secretKey": "a", "remoteRef": {"key": "a"}}]});
    let namespaces = json!([{"matchLabels": {"a": "b"}}]);
    for (kind, version, spec, status) in [
        (
            "PushSecret",
            "v1alpha1",
            push.clone(),
            json!({"conditions": [condition], "syncedPushSecrets": pushed, "syncedResourceVersion": "1-x", "refreshTime": "2026-11-22T05:47:51Z"}),
        ),
        (
            "ClusterPushSecret",
            "v1alpha1",
            json!({"namespaceSelectors": namespaces, "pushSecretSpec": push}),
            json!({"conditions": [condition], "failedNamespaces": failed, "provisionedNamespaces": ["b"], "pushSecretName": "p"}),
        ),
        (
            "ClusterExternalSecret",
            "v1",
            json!({"namespaceSelectors": namespaces, "externalSecretSpec": pull}),
            json!({"conditions": [bare], "failedNamespaces": failed, "provisionedNamespaces": ["b"], "externalSecretName": "e"}),
        ),
    ] {
        let resource = super::cluster::at_version(kind, version);
        let api: kube::Api<kube::api::DynamicObject> = if kind == "PushSecret" {
            kube::Api::default_namespaced_with(client.clone(), &resource)
        } else {
            kube::Api::all_with(client.clone(), &resource)
        };
        let manifest =
            json!({"apiVersion": resource.api_version, "kind": kind, "metadata": {"name": "status"}, "spec": spec});
        api.create(&Default::default(), &super::cluster::from(manifest)).await.expect("it is taken");
        let patch = Patch::Merge(json!({"status": status}));
        let read = api.patch_status("status", &PatchParams::default(), &patch).await.expect("status is taken");
        assert_eq!(read.data["status"], status, "{kind}");
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
    let status = json!({"binding": {"name": ""}, "conditions": [condition], "refreshTime": null});
    let patch = Patch::Merge(json!({"status": status}));
    let api = api(&client, "ExternalSecret");
    let read = api.patch_status("status", &PatchParams::default(), &patch).await.expect("status is taken");
    let want = json!({"binding": {"name": ""}, "conditions": [condition]});
    assert_eq!(read.data["status"], want);

    // A full update, as a Go client sends it, has the null on the wire.
    let mut whole = read;
    whole.data["status"]["refreshTime"] = Value::Null;
    let read = api.replace_status("status", &Default::default(), &whole).await.expect("status is taken");
    assert_eq!(read.data["status"], want);
    assert_eq!(decode::<ExternalSecret>(&read).status.expect("a status").refresh_time, None);
}
