//! Bad input: each a condition that names the entry, the key, the store and the cause, and nothing else disturbed.

use anyhow::ensure;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keyferry_behaviour_tests::{Rig, cluster};
use keyferry_testkit::{OpenBao, OpenBaoOptions, Operator as Process};
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

tests![
    a_store_without_provider_or_with_two_is_refused,
    what_was_stored_before_the_rules_gets_a_condition,
    an_unknown_provider_says_what_there_is,
    an_unreachable_vault,
    a_certificate_that_nobody_vouches_for,
    a_ca_that_is_not_there,
    a_key_that_is_denied,
    a_key_that_is_not_there,
    a_property_that_is_not_there,
    a_value_that_can_not_be_decoded,
    a_field_that_can_not_be_a_key,
    more_than_a_secret_can_hold,
    a_store_that_does_not_exist,
    what_is_not_built_yet_says_so,
];

/// A rig with a healthy ExternalSecret beside whatever the test breaks.
async fn rig(prefix: &str) -> Rig {
    let rig = Rig::new(prefix).await;
    rig.vault_store("s").await;
    rig.put("healthy", json!({"user": rig.canaries.value("healthy")})).await;
    rig.external_secret("healthy", json!({"refreshInterval": "1s", "data": rig.data("healthy", &["user"])})).await;
    rig.until_synced("healthy").await;
    rig
}

/// The healthy one goes on being refreshed: its next value arrives.
async fn finish(rig: Rig) {
    let value = rig.canaries.value("healthy");
    rig.put("healthy", json!({ "user": value })).await;
    rig.until_texts("healthy", json!({ "user": value })).await;
    assert_eq!(rig.ready("ExternalSecret", "healthy").await.unwrap().status, "True");
    rig.finish().await;
}

/// An ExternalSecret `e` of the key `user` of `app` in the store `bad`.
async fn user_of(rig: &Rig, store: &str) {
    rig.external_secret("e", json!({"secretStoreRef": {"name": store}, "data": rig.data("app", &["user"])})).await;
}

async fn a_store_without_provider_or_with_two_is_refused() {
    let rig = rig("no-provider").await;
    let two = json!({"vault": rig.vault_spec("s-token"), "fake": {"data": []}});
    for (provider, cause) in [(json!({}), "at least 1 properties"), (two, "exactly one")] {
        for kind in ["SecretStore", "ClusterSecretStore"] {
            let spec = json!({"spec": {"provider": provider}});
            let refused = rig.try_apply(kind, rig.namespace(), spec).await.expect_err("it is refused");
            assert!(refused.contains(cause), "{refused}");
        }
    }
    finish(rig).await;
}

/// The CRDs with a schema that takes everything.
async fn open_the_schema(api: &Api<CustomResourceDefinition>) {
    for file in cluster::crd_files().expect("the CRDs are committed") {
        let mut crd = cluster::read_yaml(&file);
        for version in crd["spec"]["versions"].as_array_mut().expect("versions") {
            let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            version["schema"] = json!({"openAPIV3Schema": open});
            version.as_object_mut().expect("a version").remove("selectableFields");
        }
        cluster::put_crd(api, &crd).await;
    }
}

/// Waits until the schemas that were put last are those that objects are judged by.
async fn in_force(rig: &Rig, open: bool) {
    for kind in ["ExternalSecret", "SecretStore"] {
        let probe = json!({
            "apiVersion": cluster::api_version(kind), "kind": kind, "metadata": {"name": "probe"},
            "spec": {"provider": "text", "data": "text"},
        });
        let probe: DynamicObject = serde_json::from_value(probe).expect("an object");
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        rig.until(format!("objects of {kind} are judged anew"), async |rig: &Rig| {
            let judged = rig.cluster.api(kind).create(&dry_run, &probe).await;
            ensure!(judged.is_ok() == open, "{judged:?}");
            Ok(())
        })
        .await;
    }
}

/// Kind, name and object of what breaks a rule, and of what is not even of the form.
fn odd_objects(rig: &Rig) -> Vec<(&'static str, &'static str, Value)> {
    let vault = rig.vault_spec("s-token");
    let data = rig.data("app", &["user"]);
    let with = |store: &str, more: Value| {
        let mut spec = json!({"secretStoreRef": {"name": store}, "data": data});
        keyferry_behaviour_tests::rig::merge(&mut spec, &more);
        spec
    };
    let merge_delete = json!({"target": {"creationPolicy": "Merge", "deletionPolicy": "Delete"}});
    let stores = [
        ("none", json!({"provider": {}})),
        ("two", json!({"provider": {"vault": vault, "fake": {"data": []}}})),
        ("text", json!({"provider": "fake"})),
        ("odd-vault", json!({"provider": {"vault": {"server": 5, "auth": []}}})),
    ];
    let external_secrets = [
        ("of-none", with("none", json!({}))),
        ("of-two", with("two", json!({}))),
        ("merge-delete", with("s", merge_delete)),
        ("nothing", with("s", json!({"data": null}))),
        ("odd-interval", with("s", json!({"refreshInterval": "often"}))),
        ("no-list", with("s", json!({"data": "user"}))),
        ("no-object", json!({"secretStoreRef": "s", "data": data})),
    ];
    let stores = stores.map(|(name, spec)| ("SecretStore", name, json!({ "spec": spec })));
    let objects = external_secrets.map(|(name, spec)| ("ExternalSecret", name, json!({ "spec": spec })));
    stores.into_iter().chain(objects).chain([("ExternalSecret", "no-spec", json!({}))]).collect()
}

async fn what_was_stored_before_the_rules_gets_a_condition() {
    let testbed = tokio::task::spawn_blocking(|| cluster::private(&[])).await.unwrap().expect("a testbed");
    let mut rig = Rig::on(&testbed, "old-objects").await;
    let crds = Api::all(rig.cluster.client());
    open_the_schema(&crds).await;
    in_force(&rig, true).await;

    for (kind, name, object) in odd_objects(&rig) {
        rig.apply(kind, name, object).await;
    }
    cluster::install_crds(&rig.cluster.client()).await;
    in_force(&rig, false).await;

    rig.start(&[]).await;
    rig.vault_store("s").await;
    rig.put("healthy", json!({"user": rig.canaries.value("healthy")})).await;
    rig.external_secret("healthy", json!({"refreshInterval": "1s", "data": rig.data("healthy", &["user"])})).await;
    for name in ["none", "two"] {
        rig.until_ready("SecretStore", name, "False", "InvalidProviderConfig", &["spec.provider names"]).await;
    }
    for (name, parts) in [
        ("of-none", ["SecretStore \"none\"", "names no provider"]),
        ("of-two", ["SecretStore \"two\"", "spec.provider names"]),
        ("merge-delete", ["invalid spec", "deletionPolicy=Delete needs creationPolicy=Owner"]),
        ("nothing", ["invalid spec", "data"]),
        ("odd-interval", ["invalid spec", "spec.refreshInterval"]),
    ] {
        rig.until_failed(name, &parts).await;
    }
    rig.until_synced("healthy").await;

    // What is not of the form the API server does not let have a status either, before the schema is open again.
    rig.stop().await;
    open_the_schema(&crds).await;
    in_force(&rig, true).await;
    rig.start(&[]).await;
    for (name, part) in [("text", "not of the form"), ("odd-vault", "spec.provider.vault")] {
        rig.until_ready("SecretStore", name, "False", "InvalidProviderConfig", &[part]).await;
    }
    for name in ["no-list", "no-object", "no-spec"] {
        rig.until_failed(name, &["invalid spec"]).await;
    }
    // Once it is put right it is synced, and what is wrong can be deleted.
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    rig.respec("no-list", json!({"data": rig.data("app", &["user"])})).await;
    rig.until_synced("no-list").await;
    rig.cluster.delete("ExternalSecret", "no-object").await;
    rig.until_gone("ExternalSecret", "no-object").await;
    finish(rig).await;
}

async fn an_unknown_provider_says_what_there_is() {
    let rig = rig("unknown-provider").await;
    let provider = json!({"nosuchstore": {"url": "https://example.com"}});
    rig.apply("SecretStore", "bad", json!({"spec": {"provider": provider}})).await;
    let parts = ["unable to create client", "nosuchstore", "it has:", "fake", "vault"];
    rig.until_ready("SecretStore", "bad", "False", "InvalidProviderConfig", &parts).await;
    user_of(&rig, "bad").await;
    rig.until_failed("e", &["SecretStore \"bad\" is not ready", "nosuchstore", "it has:"]).await;
    finish(rig).await;
}

async fn an_unreachable_vault() {
    let rig = rig("unreachable").await;
    let port = Process::free_port().expect("a port");
    let mut vault = rig.vault_spec("s-token");
    vault["server"] = json!(format!("http://127.0.0.1:{port}"));
    rig.apply("SecretStore", "bad", json!({"spec": {"provider": {"vault": vault}}})).await;
    let cause = format!("127.0.0.1:{port} refuses connections");
    rig.until_ready("SecretStore", "bad", "False", "InvalidProviderConfig", &[&cause]).await;
    user_of(&rig, "bad").await;
    rig.until_failed("e", &["SecretStore \"bad\" is not ready", &cause]).await;
    finish(rig).await;
}

async fn a_certificate_that_nobody_vouches_for() {
    let rig = rig("certificate").await;
    let bao = OpenBao::start(&OpenBaoOptions { tls: true, ..Default::default() }).await.expect("OpenBao with TLS");
    let value = rig.canaries.value("over-tls");
    let client = bao.client().unwrap();
    client.put(&rig.key("app"), json!({ "user": value })).await.unwrap();
    rig.secret("tls-token", json!({"token": bao.token()})).await;
    let pem = bao.ca_pem().unwrap().expect("a CA");
    rig.secret("tls-ca", json!({ "ca.crt": pem })).await;
    rig.apply("ConfigMap", "tls-ca", json!({"data": {"ca.crt": pem}})).await;
    let vault = |ca: Value| {
        let mut vault = rig.vault_spec("tls-token");
        vault["server"] = json!(bao.url());
        keyferry_behaviour_tests::rig::merge(&mut vault, &ca);
        json!({"spec": {"provider": {"vault": vault}}})
    };
    rig.apply("SecretStore", "bad", vault(json!({}))).await;
    rig.until_ready("SecretStore", "bad", "False", "InvalidProviderConfig", &["certificate", "caBundle"]).await;
    user_of(&rig, "bad").await;
    rig.until_failed("e", &["SecretStore \"bad\" is not ready", "certificate"]).await;

    let provided = |kind: &str| json!({"caProvider": {"type": kind, "name": "tls-ca", "key": "ca.crt"}});
    for (name, ca) in [
        ("bundle", json!({"caBundle": keyferry_behaviour_tests::rig::base64(&pem)})),
        ("config-map", provided("ConfigMap")),
        ("secret", provided("Secret")),
    ] {
        rig.apply("SecretStore", name, vault(ca)).await;
        rig.external_secret(name, json!({"secretStoreRef": {"name": name}, "data": rig.data("app", &["user"])})).await;
        rig.until_texts(name, json!({ "user": value })).await;
    }
    // Put right, the store wakes those that failed.
    rig.apply("SecretStore", "bad", vault(provided("Secret"))).await;
    rig.until_synced("e").await;
    finish(rig).await;
}

async fn a_ca_that_is_not_there() {
    let rig = rig("ca").await;
    for (name, ca, parts) in [
        (
            "absent",
            json!({"caProvider": {"type": "ConfigMap", "name": "nowhere", "key": "ca"}}),
            ["\"nowhere\"", "does not exist"],
        ),
        ("no-pem", json!({"caBundle": "bm8gcGVt"}), ["caBundle", "PEM"]),
    ] {
        let mut vault = rig.vault_spec("s-token");
        keyferry_behaviour_tests::rig::merge(&mut vault, &ca);
        rig.apply("SecretStore", name, json!({"spec": {"provider": {"vault": vault}}})).await;
        rig.until_ready("SecretStore", name, "False", "InvalidProviderConfig", &parts).await;
    }
    finish(rig).await;
}

async fn a_key_that_is_denied() {
    let rig = rig("denied").await;
    let foreign = format!("elsewhere-{}/app", rig.namespace());
    rig.vault.put(&foreign, json!({"user": rig.canaries.value("foreign")})).await.unwrap();
    let data = json!([{"secretKey": "user", "remoteRef": {"key": foreign, "property": "user"}}]);
    rig.external_secret("e", json!({ "data": data })).await;
    let parts = [
        "could not get secret data from provider",
        "spec.data[0] (secretKey \"user\")",
        &foreign,
        "SecretStore \"s\"",
        "polic",
    ];
    rig.until_failed("e", &parts).await;
    assert!(rig.cluster.get("Secret", "e").await.is_none());
    finish(rig).await;
}

async fn a_key_that_is_not_there() {
    let rig = rig("missing").await;
    let extract = json!({"extract": {"key": rig.key("nowhere")}});
    rig.external_secret("e", json!({"data": rig.data("gone", &["user"]), "dataFrom": [extract]})).await;
    let (gone, nowhere) = (rig.key("gone"), rig.key("nowhere"));
    // All that is wrong is said at once.
    let parts = ["spec.data[0] (secretKey \"user\")", &gone, "spec.dataFrom[0].extract", &nowhere, "SecretStore \"s\""];
    rig.until_failed("e", &parts).await;
    // What arrives late is found, no later than the back-off of what often arrives late.
    rig.put("gone", json!({"user": rig.canaries.value("late")})).await;
    rig.put("nowhere", json!({"more": rig.canaries.value("late")})).await;
    rig.until_synced("e").await;
    finish(rig).await;
}

async fn a_property_that_is_not_there() {
    let rig = rig("property").await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    // Also where deletionPolicy removes what is missing: a typing error removes nothing.
    let target = json!({"deletionPolicy": "Delete"});
    rig.external_secret("e", json!({"data": rig.data("app", &["user"]), "target": target})).await;
    rig.until_synced("e").await;
    rig.respec("e", json!({"data": rig.data("app", &["usr"])})).await;
    let key = rig.key("app");
    rig.until_failed("e", &["spec.data[0]", &key, "SecretStore \"s\"", "no property \"usr\""]).await;
    assert!(rig.cluster.get("Secret", "e").await.is_some());
    finish(rig).await;
}

async fn a_value_that_can_not_be_decoded() {
    let rig = rig("decode").await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    let reference = json!({"key": rig.key("app"), "property": "user", "decodingStrategy": "Base64"});
    rig.external_secret("e", json!({"data": [{"secretKey": "user", "remoteRef": reference}]})).await;
    let key = rig.key("app");
    rig.until_failed("e", &["spec.data[0]", &key, "SecretStore \"s\"", "is not Base64", "decodingStrategy"]).await;
    // The same within what extract takes apart.
    let extract = json!({"key": rig.key("app"), "decodingStrategy": "Base64URL"});
    rig.external_secret("all", json!({"dataFrom": [{"extract": extract}]})).await;
    rig.until_failed("all", &["spec.dataFrom[0].extract", "\"user\"", "is not Base64URL"]).await;
    finish(rig).await;
}

async fn a_field_that_can_not_be_a_key() {
    let rig = rig("key-names").await;
    let value = rig.canaries.value("value");
    rig.put("unicode", json!({"é": value})).await;
    rig.put("long", json!({"k".repeat(254): value})).await;
    rig.put("clash", json!({"a/b": value, "a b": rig.canaries.value("other")})).await;
    rig.external_secret("unicode", json!({"dataFrom": [{"extract": {"key": rig.key("unicode")}}]})).await;
    rig.until_failed("unicode", &["could not update secret: field \"é\" can't be a key"]).await;
    for (name, parts) in
        [("long", ["kkk", "253"]), ("clash", ["secret name collision during conversion: a_b", "conversionStrategy"])]
    {
        rig.external_secret(name, json!({"dataFrom": [{"extract": {"key": rig.key(name)}}]})).await;
        let key = rig.key(name);
        rig.until_failed(name, &["spec.dataFrom[0].extract", &key, "SecretStore \"s\"", parts[0], parts[1]]).await;
    }
    finish(rig).await;
}

async fn more_than_a_secret_can_hold() {
    let rig = rig("large").await;
    let part: String = (0..3000).map(|_| format!("{:0128x}", rand::random::<u128>())).collect();
    rig.canaries.add("the beginning of a large value", &part[..200]);
    rig.put("app", json!({"a": part, "b": part, "c": part})).await;
    rig.external_secret("e", json!({"data": rig.data("app", &["a"])})).await;
    rig.until_synced("e").await;
    rig.respec("e", json!({"data": rig.data("app", &["a", "b", "c"])})).await;
    rig.until_failed("e", &["could not update secret", "1152003 bytes", "1048576"]).await;
    assert_eq!(rig.texts("e").await.unwrap().len(), 1, "the target is as it was");
    finish(rig).await;
}

async fn a_store_that_does_not_exist() {
    let rig = rig("no-store").await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    user_of(&rig, "bad").await;
    rig.until_failed("e", &["SecretStore \"bad\" does not exist", rig.namespace()]).await;
    // It need not wait for its back-off when the store comes.
    rig.vault_store("bad").await;
    rig.until_synced("e").await;
    finish(rig).await;
}

async fn what_is_not_built_yet_says_so() {
    let rig = rig("unsupported").await;
    rig.put("app", json!({"user": rig.canaries.value("user")})).await;
    let oracle =
        json!({"sourceRef": {"generatorRef": {"kind": "BeyondtrustWorkloadCredentialsDynamicSecret", "name": "g"}}});
    rig.external_secret("e", json!({"data": rig.data("app", &["user"]), "dataFrom": [oracle]})).await;
    rig.until_failed(
        "e",
        &[
            "not supported by this version of keyferry",
            "generatorRef.kind \"BeyondtrustWorkloadCredentialsDynamicSecret\"",
        ],
    )
    .await;
    assert!(rig.cluster.get("Secret", "e").await.is_none(), "half of it would be another Secret");
    finish(rig).await;
}
