use serde_json::json;

use super::*;

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

#[test]
fn what_an_external_secret_asks_for() {
    let mut all = ExternalSecrets::default();
    let all_of_it = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": "app", "namespace": "a", "finalizers": [names::FINALIZER_EXTERNAL_SECRET]},
        "spec": {
            "secretStoreRef": {"name": "one"},
            "target": {"manifest": {"apiVersion": "v1", "kind": "ConfigMap"}},
            "data": [
                {"secretKey": "x", "remoteRef": {"key": "x"}, "sourceRef": {"storeRef": {"name": "one", "kind": "SecretStore"}}},
                {"secretKey": "y", "remoteRef": {"key": "y"}, "sourceRef": {"storeRef": {"name": "one", "kind": "ClusterSecretStore"}}},
            ],
            "dataFrom": [
                {"sourceRef": {"generatorRef": {"kind": "BeyondtrustWorkloadCredentialsDynamicSecret", "name": "g"}}},
                {"sourceRef": {"generatorRef": {"kind": "BeyondtrustWorkloadCredentialsDynamicSecret", "name": "h"}}},
            ],
        },
    });
    external_secret(&mut all, &object(all_of_it));
    let odd = json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "odd", "namespace": "a"},
        "spec": {"data": {"not": "a list"}, "target": {"manifest": {"apiVersion": "v1", "kind": "Secret"}}}});
    external_secret(&mut all, &object(odd));
    assert_eq!((all.count, all.held, all.manifests.count), (2, 1, 1));
    let stores: Vec<(String, usize)> = all.by_store.iter().map(|(store, count)| (store.to_string(), *count)).collect();
    // One that names a store twice counts once.
    assert_eq!(stores, [("ClusterSecretStore one".to_owned(), 1), ("SecretStore a/one".to_owned(), 1)]);
    assert_eq!(all.by_generator["BeyondtrustWorkloadCredentialsDynamicSecret"].names, ["a/app"]);
    assert_eq!(all.by_generator["BeyondtrustWorkloadCredentialsDynamicSecret"].count, 1);
}

#[test]
fn with_whose_identity_a_store_logs_in() {
    for (provider, config, expected) in [
        ("vault", json!({"auth": {"kubernetes": {"role": "r"}}}), Identity::ControllerToken),
        ("vault", json!({"auth": {"kubernetes": {"role": "r", "serviceAccountRef": {"name": "a"}}}}), Identity::Own),
        ("vault", json!({"auth": {"kubernetes": {"role": "r", "secretRef": {"name": "a"}}}}), Identity::Own),
        ("vault", json!({"auth": {"kubernetes": {"serviceAccountRef": null}}}), Identity::ControllerToken),
        ("vault", json!({"auth": {"tokenSecretRef": {"name": "a"}}}), Identity::Own),
        ("kubernetes", json!({"remoteNamespace": "b"}), Identity::Missing),
        ("kubernetes", json!({"auth": {}}), Identity::Missing),
        ("kubernetes", json!({"authRef": {"name": "a"}}), Identity::Own),
        ("kubernetes", json!({"auth": {"serviceAccount": {"name": "a"}}}), Identity::Own),
        ("aws", json!({"service": "SecretsManager"}), Identity::Ambient),
        ("aws", json!({"role": "arn"}), Identity::Ambient),
        ("aws", json!({"auth": {"jwt": {"serviceAccountRef": {"name": "a"}}}}), Identity::Own),
        ("aws", json!({"auth": {"secretRef": {}}}), Identity::Own),
        ("gcpsm", json!({"projectID": "p"}), Identity::Ambient),
        ("gcpsm", json!({"auth": {"workloadIdentity": {}}}), Identity::Own),
        ("gcpsm", json!({"auth": {"workloadIdentityFederation": {"audience": "a"}}}), Identity::Own),
        ("azurekv", json!({"authType": "ManagedIdentity"}), Identity::Ambient),
        ("azurekv", json!({"authType": "WorkloadIdentity"}), Identity::Ambient),
        ("azurekv", json!({"authType": "WorkloadIdentity", "serviceAccountRef": {"name": "a"}}), Identity::Own),
        ("azurekv", json!({"authSecretRef": {}}), Identity::Own),
        ("vault", json!({"auth": {"iam": {"region": "r"}}}), Identity::AmbientElsewhere),
        ("vault", json!({"auth": {"iam": {"jwt": {}}}}), Identity::Own),
        ("vault", json!({"auth": {"iam": {"secretRef": {}}}}), Identity::Own),
        ("vault", json!({"auth": {"gcp": {"role": "r"}}}), Identity::AmbientElsewhere),
        ("vault", json!({"auth": {"gcp": {"workloadIdentity": {}}}}), Identity::Own),
        ("vault", json!({"auth": {"gcp": {"secretRef": {}}}}), Identity::Own),
        ("infisical", json!({"auth": {"awsAuthCredentials": {}}}), Identity::Ambient),
        (
            "infisical",
            json!({"hostAPI": "https://app.infisical.com/api", "auth": {"azureAuthCredentials": {}}}),
            Identity::Ambient,
        ),
        (
            "infisical",
            json!({"hostAPI": "https://infisical.example.com", "auth": {"gcpIdTokenAuthCredentials": {}}}),
            Identity::AmbientElsewhere,
        ),
        ("infisical", json!({"auth": {"universalAuthCredentials": {}}}), Identity::Own),
        ("fake", json!({}), Identity::Own),
    ] {
        assert_eq!(identity(provider, &config), expected, "{provider} {config}");
    }
}

#[test]
fn a_store() {
    let read = store(&object(json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore",
        "metadata": {"name": "it", "finalizers": [names::FINALIZER_STORE], "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"controller": "blue", "provider": {"aws": {}, "vault": null}},
    })));
    assert_eq!(read.name.to_string(), "ClusterSecretStore it");
    assert_eq!((read.class.as_str(), read.providers), ("blue", vec!["aws".to_owned()]));
    assert!(read.held && read.deleting);
}

#[test]
fn which_hosts_of_a_store_are_the_operators_own_machine() {
    for (config, local) in [
        (json!({"server": "http://127.0.0.1:8200"}), &["127.0.0.1"][..]),
        (json!({"server": " HTTPS://LocalHost.:8200/v1"}), &["localhost"]),
        (json!({"server": {"url": "https://[::1]:6443"}}), &["::1"]),
        (json!({"server": {"url": "https://[::ffff:127.0.0.1]"}}), &["::ffff:127.0.0.1"]),
        (json!({"a": [{"url": "http://user@169.254.169.254?x"}, "http://0.0.0.0#x"]}), &["0.0.0.0", "169.254.169.254"]),
        (json!({"url": "https://[fe80::1]"}), &["fe80::1"]),
        (json!({"server": "https://vault.example:8200", "path": "127.0.0.1", "ca": "localhost"}), &[]),
        (json!({"server": "https://10.0.0.1", "url": "https://127.0.0.1.example", "port": 127}), &[]),
        (json!({"server": "redis://localhost", "url": "https://"}), &[]),
    ] {
        assert_eq!(Vec::from_iter(local_hosts(&config)), local, "{config}");
    }
    let of = |provider: &str| {
        let provider = json!({provider: {"data": [{"value": "http://localhost"}]}});
        let store = json!({"apiVersion": "external-secrets.io/v1", "kind": "SecretStore",
            "metadata": {"name": "it", "namespace": "a"}, "spec": {"provider": provider}});
        super::store(&object(store)).local.len()
    };
    assert_eq!((of("fake"), of("webhook")), (0, 1), "values are no servers");
}

#[test]
fn which_stores_a_push_secret_may_need() {
    let read = push_secret(&object(json!({
        "apiVersion": "external-secrets.io/v1alpha1", "kind": "PushSecret",
        "metadata": {"name": "it", "namespace": "a"},
        "spec": {
            "deletionPolicy": "Delete",
            "secretStoreRefs": [{"name": "asked"}, {"name": "shared", "kind": "ClusterSecretStore"}],
            "dataTo": [{"storeRef": {"name": "to"}}],
        },
        "status": {"syncedPushSecrets": {"SecretStore/pushed": {}, "odd": {}}},
    })));
    let named: Vec<String> = read.stores.iter().map(ToString::to_string).collect();
    assert_eq!(named, ["ClusterSecretStore shared", "SecretStore a/asked", "SecretStore a/pushed", "SecretStore a/to"]);
    assert!(read.deletes && !read.selects && !read.held);
    let selects = |spec: Value| {
        push_secret(&object(json!({
            "apiVersion": "external-secrets.io/v1alpha1", "kind": "PushSecret", "metadata": {"name": "it"}, "spec": spec,
        })))
        .selects
    };
    assert!(selects(json!({"secretStoreRefs": [{"labelSelector": {}}]})));
    assert!(selects(json!({"dataTo": [{"storeRef": {"labelSelector": {}}}]})));
    assert!(!selects(json!({"secretStoreRefs": [{"name": "a"}]})));
}
