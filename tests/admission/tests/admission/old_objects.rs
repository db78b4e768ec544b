//! Objects that are older than the rules, as they are after a change of operator or of schema.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceValidation, JSONSchemaProps,
};
use keyferry_crds::crds;
use keyferry_testkit::Testbed;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::{api, create, from, install, object, refusal, try_create, until};

/// A CRD that takes everything.
fn without_rules(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let open = JSONSchemaProps {
            type_: Some("object".into()),
            x_kubernetes_preserve_unknown_fields: Some(true),
            ..JSONSchemaProps::default()
        };
        version.schema = Some(CustomResourceValidation { open_api_v3_schema: Some(open) });
        version.selectable_fields = None;
    }
    crd
}

/// One object against each rule and against what the schema itself says, and each once more with fields that the
/// schema doesn't name: the API server takes what holds such a field for changed, whatever it holds.
fn bad_objects() -> Vec<(&'static str, String, Value)> {
    let data = json!([{"secretKey": "a", "remoteRef": {"key": "a"}}]);
    let with_target = |target: Value| json!({"data": data, "target": target});
    let account = json!({"kubernetes.io/service-account.name": "a"});
    let token = json!({"type": "kubernetes.io/service-account-token", "metadata": {"annotations": account}});
    let bootstrap = json!({"type": "bootstrap.kubernetes.io/token"});
    let spec_target = json!({"templateFrom": [{"literal": "", "target": "Spec"}]});
    let odd_target = json!({"creationPolicy": "Odd", "name": "No!"});
    let unknown_auth = json!({"vaultUrl": "u", "authSecretRef": {"clientId": {"name": "n", "key": "k"}}});
    let objects = [
        ("ExternalSecret", "rule-1", with_target(json!({"creationPolicy": "Merge", "deletionPolicy": "Delete"}))),
        ("ExternalSecret", "rule-2", with_target(json!({"creationPolicy": "None", "deletionPolicy": "Merge"}))),
        ("ExternalSecret", "rule-3", json!({"data": []})),
        ("ExternalSecret", "rule-4-account", with_target(json!({"template": token}))),
        ("ExternalSecret", "rule-4-bootstrap", with_target(json!({"template": bootstrap}))),
        ("ExternalSecret", "rule-5", with_target(json!({"template": spec_target}))),
        ("ExternalSecret", "rule-6-two", json!({"dataFrom": [{"extract": {"key": "a"}, "find": {}}]})),
        ("ExternalSecret", "rule-6-none", json!({"dataFrom": [{"rewrite": []}]})),
        ("ExternalSecret", "rule-6-source", json!({"dataFrom": [{"sourceRef": {}}]})),
        ("ExternalSecret", "rule-6-data", json!({"data": [{"secretKey": "a", "remoteRef": {}, "sourceRef": {}}]})),
        (
            "ExternalSecret",
            "schema",
            json!({"refreshInterval": 5, "refreshPolicy": "Odd", "target": odd_target, "data": [{}]}),
        ),
        ("SecretStore", "rule-8-none", json!({"provider": {}})),
        ("SecretStore", "rule-8-missing", json!({})),
        ("SecretStore", "rule-8-typed", json!({"provider": {"fake": {"data": []}, "vault": {"server": "s"}}})),
        ("SecretStore", "rule-8-open", json!({"provider": {"fake": {"data": []}, "previder": unknown_auth}})),
        ("SecretStore", "rule-9", json!({"provider": {"previder": unknown_auth}, "refreshInterval": "-5m"})),
        (
            "SecretStore",
            "schema",
            json!({"provider": {"vault": {"server": "s", "version": "v9", "auth": {"iam": 1}}}, "controller": 1}),
        ),
        ("ClusterSecretStore", "rule-8", json!({"provider": {"chef": {}, "previder": unknown_auth}})),
        ("ClusterSecretStore", "rule-9", json!({"provider": {"fake": {"data": []}}, "refreshInterval": -1})),
    ];
    let twice = objects.into_iter().flat_map(|(kind, name, spec)| {
        let mut with_more = spec.clone();
        add_unknown_fields(&mut with_more);
        [(kind, name.to_owned(), spec), (kind, format!("{name}-more"), with_more)]
    });
    // One of them is in order: a provider that nobody knows is a provider.
    twice.filter(|(_, name, _)| name != "rule-8-none-more").collect()
}

/// Puts a field that nobody knows into every object in which the user doesn't choose the keys.
fn add_unknown_fields(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(add_unknown_fields),
        Value::Object(fields) => {
            fields
                .iter_mut()
                .filter(|(name, _)| *name != "annotations")
                .for_each(|(_, field)| add_unknown_fields(field));
            fields.insert("more".into(), json!({"deep": [{"list": [1, null]}]}));
        }
        _ => {}
    }
}

async fn rules_are_on(client: &Client) {
    for (kind, good) in [
        ("ExternalSecret", json!({"data": []})),
        ("SecretStore", json!({"provider": {}})),
        ("ClusterSecretStore", json!({"provider": {}})),
    ] {
        let probe = object(kind, "probe", &good);
        until(|| async { Ok(try_create(client, &probe).await.is_err()) }, "the new schema is in force").await;
    }
}

/// All that the operator and a user must be able to do with an object that the API server would no longer take.
async fn can_be_served_and_go(client: &Client, kind: &str, name: &str) {
    let api = api(client, kind);
    let params = PatchParams::default();
    let condition =
        json!({"type": "Ready", "status": "False", "reason": "SecretSyncedError", "message": "say what is wrong"});
    let say = |what: &str, error: kube::Error| -> ! { panic!("{kind}/{name}: {what}: {error}") };

    let finalizer = json!({"metadata": {"finalizers": ["example.com/stay"]}});
    api.patch(name, &params, &Patch::Merge(finalizer)).await.unwrap_or_else(|error| say("add a finalizer", error));
    let status = json!({"status": {"conditions": [condition]}});
    api.patch_status(name, &params, &Patch::Merge(status)).await.unwrap_or_else(|error| say("write status", error));
    let label = json!({"metadata": {"labels": {"a": "b"}, "annotations": {"external-secrets.io/force-sync": "1"}}});
    api.patch(name, &params, &Patch::Merge(label)).await.unwrap_or_else(|error| say("label", error));

    // Also by a full update, as controller-runtime writes.
    let mut whole = api.get(name).await.expect("it is there");
    whole.data["status"]["conditions"][0]["message"] = json!("say it again");
    let mut whole =
        api.replace_status(name, &Default::default(), &whole).await.unwrap_or_else(|error| say("update status", error));
    assert_eq!(whole.data["status"]["conditions"][0]["message"], "say it again", "{kind}/{name}");
    whole.labels_mut().insert("c".into(), "d".into());
    api.replace(name, &Default::default(), &whole).await.unwrap_or_else(|error| say("update labels", error));

    api.delete(name, &DeleteParams::default()).await.unwrap_or_else(|error| say("delete", error));
    let going = api.get(name).await.expect("its finalizer holds it");
    assert!(going.metadata.deletion_timestamp.is_some(), "{kind}/{name}");
    let patch = json!({"metadata": {"finalizers": null}});
    api.patch(name, &params, &Patch::Merge(patch)).await.unwrap_or_else(|error| say("remove the finalizer", error));
    assert!(api.get_opt(name).await.expect("an answer").is_none(), "{kind}/{name} is still there");
}

#[tokio::test]
async fn they_can_still_be_served_and_deleted() {
    let testbed = Testbed::private(&[]).expect("a testbed");
    let client = testbed.kube_client().await;
    install(&client, crds().into_iter().map(without_rules).collect()).await;
    for (kind, name, spec) in bad_objects() {
        create(&client, &object(kind, &name, &spec)).await;
    }
    for kind in ["ExternalSecret", "SecretStore", "ClusterSecretStore"] {
        create(
            &client,
            &from(json!({"apiVersion": "external-secrets.io/v1", "kind": kind, "metadata": {"name": "no-spec"}})),
        )
        .await;
    }

    install(&client, crds()).await;
    rules_are_on(&client).await;

    for (kind, name, spec) in bad_objects() {
        let again = try_create(&client, &object(kind, "again", &spec)).await;
        assert!(again.is_err(), "{kind}/{name} would still be taken, so it tests nothing");
    }
    // What was at fault may be so on; once mended it stays in order.
    let es = api(&client, "ExternalSecret");
    let params = PatchParams::default();
    let elsewhere = Patch::Merge(json!({"spec": {"target": {"name": "x"}, "refreshInterval": "5m"}}));
    es.patch("rule-1", &params, &elsewhere).await.expect("it is no worse");
    let mend = Patch::Merge(json!({"spec": {"target": {"deletionPolicy": "Retain"}}}));
    es.patch("rule-1", &params, &mend).await.expect("it is in order now");
    let again = Patch::Merge(json!({"spec": {"target": {"deletionPolicy": "Delete"}}}));
    let refused = refusal(es.patch("rule-1", &params, &again).await.expect_err("it was in order"));
    assert!(refused.contains("deletionPolicy Delete would delete"), "{refused}");

    for (kind, name, _) in bad_objects() {
        can_be_served_and_go(&client, kind, &name).await;
    }
    for kind in ["ExternalSecret", "SecretStore", "ClusterSecretStore"] {
        can_be_served_and_go(&client, kind, "no-spec").await;
    }
}

/// Our CRDs go over those of a cluster that began when v1beta1 was the stored version.
#[tokio::test]
async fn objects_of_v1beta1_are_there_in_v1() {
    let testbed = Testbed::private(&[]).expect("a testbed");
    let client = testbed.kube_client().await;
    let old = |mut crd: CustomResourceDefinition| {
        crd = without_rules(crd);
        crd.spec.versions.retain(|version| version.name == "v1beta1");
        crd.spec.versions[0].served = true;
        crd.spec.versions[0].storage = true;
        crd
    };
    let api = kube::Api::<CustomResourceDefinition>::all(client.clone());
    let owner = PatchParams::apply("eso").force();
    // Not every kind had that version.
    let had = crds().into_iter().filter(|crd| crd.spec.versions.iter().any(|version| version.name == "v1beta1"));
    for crd in had.map(old) {
        api.patch(&crd.name_any(), &owner, &Patch::Apply(crd)).await.expect("the old CRD");
    }
    let old_object = |name: &str, spec: Value| {
        let version = "external-secrets.io/v1beta1";
        from(json!({"apiVersion": version, "kind": "ExternalSecret", "metadata": {"name": name}, "spec": spec}))
    };
    let good = json!({"data": [{"secretKey": "a", "remoteRef": {"key": "a"}}], "target": {"name": "t"}});
    let template = json!({"type": "bootstrap.kubernetes.io/token", "templateFrom": [{"target": "Spec"}]});
    let bad = json!({"data": [], "target": {"deletionPolicy": "Delete", "manifest": {}, "template": template}});
    let old_kind = kube::api::ApiResource {
        group: "external-secrets.io".into(),
        version: "v1beta1".into(),
        api_version: "external-secrets.io/v1beta1".into(),
        kind: "ExternalSecret".into(),
        plural: "externalsecrets".into(),
    };
    let old_api = kube::Api::<kube::api::DynamicObject>::default_namespaced_with(client.clone(), &old_kind);
    until(|| async { old_api.list(&Default::default()).await.map(|_| true) }, "v1beta1 is served").await;
    for (name, spec) in [("good", good.clone()), ("bad", bad)] {
        old_api.create(&Default::default(), &old_object(name, spec)).await.expect("an old object");
    }

    install(&client, crds()).await;
    rules_are_on(&client).await;
    let read = crate::cluster::api(&client, "ExternalSecret").get("good").await.expect("it is there in v1");
    // What was stored without defaults is read with those that its version has today.
    let mut with_defaults = good.clone();
    with_defaults["refreshInterval"] = json!("1h0m0s");
    with_defaults["target"]["creationPolicy"] = json!("Owner");
    with_defaults["target"]["deletionPolicy"] = json!("Retain");
    assert_eq!(read.data["spec"], with_defaults);
    until(|| async { Ok(old_api.list(&Default::default()).await.is_err()) }, "v1beta1 is no longer served").await;
    for name in ["good", "bad"] {
        can_be_served_and_go(&client, "ExternalSecret", name).await;
    }
}

/// Manifests that say v1beta1 are taken where that is asked for, with all the rules and defaults of v1.
#[tokio::test]
async fn v1beta1_is_served_on_demand() {
    let testbed = Testbed::private(&[]).expect("a testbed");
    let client = testbed.kube_client().await;
    install(&client, crds()).await;
    let old = |kind: &str| {
        let resource = crate::cluster::at_version(kind, "v1beta1");
        if kind.starts_with("Cluster") {
            kube::Api::<kube::api::DynamicObject>::all_with(client.clone(), &resource)
        } else {
            kube::Api::default_namespaced_with(client.clone(), &resource)
        }
    };
    let kinds = ["ExternalSecret", "SecretStore", "ClusterSecretStore", "ClusterExternalSecret"];
    for kind in kinds {
        assert!(old(kind).list(&Default::default()).await.is_err(), "{kind} is served in v1beta1 unasked");
    }
    let mut served = crds();
    keyferry_crds::serve_v1beta1(&mut served);
    install(&client, served).await;
    for kind in kinds {
        until(|| async { old(kind).list(&Default::default()).await.map(|_| true) }, "v1beta1 is served").await;
    }
    let manifest = |kind: &str, spec: Value| {
        from(
            json!({"apiVersion": "external-secrets.io/v1beta1", "kind": kind, "metadata": {"name": "old"}, "spec": spec}),
        )
    };
    let data = json!([{"secretKey": "a", "remoteRef": {"key": "a"}}]);
    for (kind, spec) in [
        ("ExternalSecret", json!({"secretStoreRef": {"name": "s"}, "data": data})),
        ("SecretStore", json!({"provider": {"vault": {"server": "s"}}})),
        ("ClusterSecretStore", json!({"provider": {"vault": {"server": "s"}}})),
        ("ClusterExternalSecret", json!({"externalSecretSpec": {"data": data}, "namespaces": ["a"]})),
    ] {
        let created = old(kind).create(&Default::default(), &manifest(kind, spec)).await;
        let created = created.unwrap_or_else(|error| panic!("{kind}: {error}"));
        let read = api(&client, kind).get("old").await.expect("it is there in v1");
        assert_eq!(read.data["spec"], created.data["spec"], "{kind}");
        let known = match kind {
            "ExternalSecret" => read.data["spec"]["refreshInterval"] == "1h0m0s",
            "ClusterExternalSecret" => read.data["spec"]["namespaces"][0] == "a",
            _ => read.data["spec"]["provider"]["vault"]["version"] == "v2",
        };
        assert!(known, "{kind}: {}", read.data["spec"]);
    }
    let bad = old("ExternalSecret").create(&Default::default(), &manifest("ExternalSecret", json!({"data": []}))).await;
    assert!(refusal(bad.expect_err("it has no data")).contains("nothing to fetch"));
}
