//! Each admission rule refuses what breaks it, says what to do, and takes what only looks like it.

use serde_json::{Value, json};

use crate::cluster::{agrees, client, from, object, try_create};

/// An ExternalSecret that is in order, with some fields set otherwise.
fn external_secret(change: Value) -> Value {
    let mut spec = json!({"secretStoreRef": {"name": "s"}, "data": [{"secretKey": "a", "remoteRef": {"key": "a"}}]});
    merge(&mut spec, change);
    spec
}

/// A store that is in order, with some fields set otherwise.
fn store(change: Value) -> Value {
    let mut spec = json!({"provider": {"fake": {"data": []}}});
    merge(&mut spec, change);
    spec
}

/// A JSON merge patch: null removes.
fn merge(target: &mut Value, change: Value) {
    match change {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::Null => drop(target.as_object_mut().map(|target| target.remove(&name))),
                    field => {
                        if !target[&name].is_object() {
                            target[&name] = json!({});
                        }
                        merge(&mut target[&name], field);
                    }
                }
            }
        }
        other => *target = other,
    }
}

async fn refuses(kind: &str, cases: impl IntoIterator<Item = (Value, &str)>) {
    let client = client().await;
    for (spec, message) in cases {
        let bad = object(kind, "bad", &spec);
        match try_create(&client, &bad).await {
            Ok(_) => panic!("taken, and should not be: {spec}"),
            Err(refusal) => {
                assert!(refusal.contains(message), "{spec}\nrefused with: {refusal}\nand not: {message}");
                agrees(&bad, Some(&refusal));
            }
        }
    }
}

async fn takes(kind: &str, specs: impl IntoIterator<Item = Value>) {
    let client = client().await;
    for spec in specs {
        let good = object(kind, "good", &spec);
        let taken = try_create(&client, &good).await;
        agrees(&good, taken.as_ref().err());
        assert!(taken.is_ok(), "{spec}\nrefused with: {}", taken.unwrap_err());
    }
}

#[tokio::test]
async fn rule_1_delete_needs_an_owner() {
    let target =
        |creation: &str| external_secret(json!({"target": {"deletionPolicy": "Delete", "creationPolicy": creation}}));
    let message = "spec.target.deletionPolicy: Invalid value: \
                   deletionPolicy Delete would delete an object that this creationPolicy does not own: \
                   use creationPolicy Owner, or deletionPolicy Merge or Retain";
    refuses("ExternalSecret", ["Merge", "CreateOrMerge"].map(|creation| (target(creation), message))).await;
    // Orphan passes here as it does in External Secrets Operator; the operator then says that it can't delete.
    // With None it speaks of the files of who mounts.
    takes("ExternalSecret", ["Owner", "Orphan", "None"].map(target)).await;
    takes("ExternalSecret", [external_secret(json!({"target": {"deletionPolicy": "Delete"}}))]).await;
}

#[tokio::test]
async fn rule_2_merge_needs_something_written() {
    let target =
        |creation: &str| external_secret(json!({"target": {"deletionPolicy": "Merge", "creationPolicy": creation}}));
    let message = "spec.target.deletionPolicy: Invalid value: \
                   deletionPolicy Merge removes keys, but creationPolicy None never writes any: \
                   use deletionPolicy Retain or another creationPolicy";
    refuses("ExternalSecret", [(target("None"), message)]).await;
    takes("ExternalSecret", ["Owner", "Orphan", "Merge", "CreateOrMerge"].map(target)).await;
    takes("ExternalSecret", [external_secret(json!({"target": {"creationPolicy": "None"}}))]).await;
}

#[tokio::test]
async fn rule_3_there_is_something_to_fetch() {
    let message = "spec: Invalid value: nothing to fetch: add an entry to data or dataFrom";
    refuses(
        "ExternalSecret",
        [
            (external_secret(json!({"data": null})), message),
            (external_secret(json!({"data": []})), message),
            (external_secret(json!({"data": [], "dataFrom": []})), message),
            (json!({}), message),
        ],
    )
    .await;
    takes("ExternalSecret", [external_secret(json!({"data": null, "dataFrom": [{"extract": {"key": "a"}}]}))]).await;
}

#[tokio::test]
async fn rule_3_needs_a_spec_to_look_at() {
    let client = client().await;
    for kind in ["ExternalSecret", "SecretStore", "ClusterSecretStore"] {
        let empty = json!({"apiVersion": "external-secrets.io/v1", "kind": kind, "metadata": {"name": "bad"}});
        let refusal = try_create(&client, &from(empty)).await.expect_err("no spec");
        assert!(refusal.contains("spec is missing: say what you want in it"), "{refusal}");
    }
}

#[tokio::test]
async fn rule_4_no_secrets_that_are_keys_to_the_cluster() {
    let template = |template: Value| external_secret(json!({"target": {"template": template}}));
    let token = "kubernetes.io/service-account-token";
    let account = json!({"kubernetes.io/service-account.name": "admin"});
    let fill = "Kubernetes would fill this Secret with a token of the annotated ServiceAccount: use another type, \
                or drop the annotation kubernetes.io/service-account.name and every templateFrom whose target is Annotations";
    let join =
        "a bootstrap token lets its holder join the cluster, so it can't be written from a store: use another type";
    let from = |target: &str| json!([{"literal": "x: y", "target": target}]);
    let of_kind = |kind: &str, template: Value| {
        external_secret(json!({"target": {"manifest": {"apiVersion": "v1", "kind": kind}, "template": template}}))
    };
    let annotated = json!({"type": token, "metadata": {"annotations": account}});
    let bootstrap = json!({"type": "bootstrap.kubernetes.io/token"});
    let only_labels = json!({"annotations": {"other": "a"}, "labels": account});
    let opaque = json!({"type": "Opaque", "metadata": {"annotations": account}});
    refuses(
        "ExternalSecret",
        [
            (template(annotated.clone()), fill),
            (template(json!({"type": token, "templateFrom": from("Annotations")})), fill),
            (template(json!({"type": token, "templateFrom": from("aNNOTATIONS")})), fill),
            (template(bootstrap.clone()), join),
            (of_kind("Secret", annotated.clone()), fill),
            (of_kind("Secret", bootstrap.clone()), join),
        ],
    )
    .await;
    takes(
        "ExternalSecret",
        [
            template(json!({"type": token})),
            template(json!({"type": token, "metadata": only_labels, "templateFrom": from("Labels")})),
            template(opaque),
            of_kind("ConfigMap", annotated),
            of_kind("ConfigMap", bootstrap),
        ],
    )
    .await;
}

#[tokio::test]
async fn rule_5_a_secret_has_three_places_for_results() {
    let from = |target: &str| json!([{"literal": "x: y"}, {"literal": "x: y", "target": target}]);
    let target = |target: &str| external_secret(json!({"target": {"template": {"templateFrom": from(target)}}}));
    let generic = |kind: &str, target: &str| {
        let manifest = json!({"apiVersion": "v1", "kind": kind});
        external_secret(json!({"target": {"manifest": manifest, "template": {"templateFrom": from(target)}}}))
    };
    let message = "a Secret has only Data, Annotations and Labels: correct the target of this templateFrom, \
                   or set target.manifest for another kind of object";
    refuses(
        "ExternalSecret",
        [target("Spec"), target("spec.a[0].b"), target(" Data"), generic("Secret", "Spec")].map(|spec| (spec, message)),
    )
    .await;
    takes("ExternalSecret", ["", "Data", "data", "ANNOTATIONS", "Labels"].map(target)).await;
    takes(
        "ExternalSecret",
        [generic("ConfigMap", "Spec"), generic("ConfigMap", "a.b[0].c"), generic("Secret", "labels")],
    )
    .await;
}

#[tokio::test]
async fn rule_6_each_entry_has_one_source() {
    let entry = |entry: Value| external_secret(json!({"dataFrom": [{"extract": {"key": "fine"}}, entry]}));
    let generator = json!({"generatorRef": {"kind": "Password", "name": "p"}});
    let other_store = json!({"storeRef": {"name": "o"}});
    let both = json!({"storeRef": {"name": "o"}, "generatorRef": {"kind": "Password", "name": "p"}});
    let (extract, find) = (json!({"key": "k"}), json!({"name": {"regexp": "."}}));
    refuses(
        "ExternalSecret",
        [
            (
                entry(json!({"extract": extract, "find": find})),
                "extract and find are two sources: make two entries of them",
            ),
            (
                entry(json!({"extract": extract, "sourceRef": generator})),
                "a generator has nothing to extract or find: make two entries, or name a storeRef",
            ),
            (entry(json!({"find": find, "sourceRef": generator})), "a generator has nothing to extract or find"),
            (
                entry(json!({})),
                "spec.dataFrom[1]: Invalid value: this entry has no source: add extract, find or sourceRef",
            ),
            (entry(json!({"rewrite": []})), "this entry has no source"),
            (
                entry(json!({"sourceRef": {}})),
                "spec.dataFrom[1].sourceRef: Invalid value: name a storeRef or a generatorRef",
            ),
            (
                entry(json!({"extract": extract, "sourceRef": {"storeref": {"name": "o"}}})),
                "name a storeRef or a generatorRef",
            ),
            (entry(json!({"sourceRef": both})), "keep one of storeRef and generatorRef"),
            (
                external_secret(json!({"data": [{"secretKey": "a", "remoteRef": {"key": "a"}, "sourceRef": {}}]})),
                "spec.data[0].sourceRef: Invalid value: name a storeRef or a generatorRef",
            ),
        ],
    )
    .await;
    takes(
        "ExternalSecret",
        [
            entry(json!({"extract": extract, "sourceRef": other_store})),
            entry(json!({"find": find, "sourceRef": other_store})),
            entry(json!({"sourceRef": generator})),
            // As in External Secrets Operator: it fetches nothing.
            entry(json!({"sourceRef": other_store})),
        ],
    )
    .await;
}

#[tokio::test]
async fn rule_8_one_provider() {
    for kind in ["SecretStore", "ClusterSecretStore"] {
        let several = "spec.provider: Invalid value: keep exactly one of these providers: fake vault";
        refuses(
            kind,
            [
                (json!({}), "spec: Invalid value: no provider: set exactly one"),
                (json!({"provider": null}), "no provider: set exactly one"),
                (json!({"provider": {}}), "spec.provider in body should have at least 1 properties"),
                (store(json!({"provider": {"vault": {"server": "https://v"}}})), several),
                (
                    json!({"provider": {"chef": {}, "dvls": {}, "previder": {}}}),
                    "keep exactly one of these providers: chef dvls previder",
                ),
            ],
        )
        .await;
        // What we don't know is taken: the operator names it in a condition.
        takes(
            kind,
            [
                store(json!({})),
                json!({"provider": {"device42": {"host": "h"}}}),
                json!({"provider": {"brandNew": {}}}),
                json!({"provider": {"brandNew": {}, "fake": {"data": []}}}),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn rule_9_the_time_between_two_checks() {
    let every = |interval: Value| store(json!({"refreshInterval": interval}));
    let message = "write seconds (300) or a duration (5m, 1h30m) that is not negative";
    for kind in ["SecretStore", "ClusterSecretStore"] {
        refuses(
            kind,
            [json!(-1), json!("-1"), json!("-5m"), json!("5"), json!("soon"), json!(""), json!("1d")]
                .map(|interval| (every(interval), message)),
        )
        .await;
        takes(
            kind,
            [json!(0), json!(300), json!("0"), json!("0s"), json!("5m"), json!("1h30m"), json!("1.5h"), json!("10µs")]
                .map(every),
        )
        .await;
    }
}

/// Whatever goes into a path of the API must not lead elsewhere.
#[tokio::test]
async fn names_are_names() {
    let group = "generators.external-secrets.io";
    let elsewhere = format!("{group}/v1alpha1/namespaces/other/fakes/theirs?");
    let entry = json!({"secretKey": "a", "remoteRef": {"key": "a"}});
    let generator = |field: &str, text: &str| {
        let mut generator = json!({"kind": "Fake", "name": "f"});
        generator[field] = json!(text);
        external_secret(json!({"dataFrom": [{"sourceRef": {"generatorRef": generator}}]}))
    };
    let manifest = |field: &str, text: &str| {
        let mut manifest = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        manifest[field] = json!(text);
        external_secret(json!({"target": {"manifest": manifest}}))
    };
    let from = |field: &str, text: &str| {
        let from = json!([{field: {"name": text, "items": []}}]);
        external_secret(json!({"target": {"template": {"templateFrom": from}}}))
    };
    for text in ["../x", "a/b", "a?b", "a%2fb", "..", "a#b", elsewhere.as_str()] {
        let own = json!([{"secretKey": "a", "remoteRef": {"key": "a"}, "sourceRef": {"storeRef": {"name": text}}}]);
        refuses(
            "ExternalSecret",
            [
                (generator("apiVersion", text), "generatorRef.apiVersion: "),
                (generator("kind", text), "generatorRef.kind: "),
                (generator("name", text), "generatorRef.name: "),
                (manifest("apiVersion", text), "spec.target.manifest.apiVersion: "),
                (manifest("kind", text), "spec.target.manifest.kind: "),
                (from("configMap", text), "configMap.name: "),
                (from("secret", text), "secret.name: "),
                (external_secret(json!({"target": {"name": text}})), "spec.target.name: "),
                (external_secret(json!({"secretStoreRef": {"name": text}})), "spec.secretStoreRef.name: "),
                (external_secret(json!({"data": own})), "storeRef.name: "),
            ],
        )
        .await;
    }
    takes(
        "ExternalSecret",
        [
            generator("apiVersion", ""),
            generator("apiVersion", "v1alpha1"),
            generator("apiVersion", &format!("{group}/v1beta1")),
            manifest("apiVersion", "apps/v1"),
            manifest("apiVersion", "argoproj.io/v1alpha1"),
            external_secret(json!({"data": [entry], "target": {"name": "a.b-c"}})),
        ],
    )
    .await;
}
