use super::*;

fn args() -> Kes {
    let mut args = Kes { refresh_interval: "1m".into(), ..Kes::default() };
    args.place.region = Some("eu-west-1".into());
    args.place.vault_mount_point = "kubernetes".into();
    args
}

fn of(spec: Value) -> Old {
    let metadata = json!({"name": "app", "namespace": "n", "uid": "u", "annotations": {"a": "b", "kubectl.kubernetes.io/last-applied-configuration": "x"}});
    Old {
        place: "f:1".into(),
        manifest: json!({"apiVersion": "kubernetes-client.io/v1", "kind": "ExternalSecret", "metadata": metadata, "spec": spec}),
    }
}

fn texts(converted: &Converted, weight: Weight) -> Vec<&str> {
    converted.notes.iter().filter(|note| note.weight == weight).map(|note| note.text.as_str()).collect()
}

#[test]
fn secrets_manager_with_all_that_an_entry_may_say() {
    let old = of(json!({
        "backendType": "secretsManager", "roleArn": "arn:aws:iam::1:role/reader", "region": null,
        "data": [
            {"key": "a/b", "name": "plain"},
            {"key": "a/b", "name": "part", "property": "db.password", "versionStage": "AWSPREVIOUS"},
            {"key": "c", "name": "bytes", "isBinary": true, "versionId": "id-1"},
            {"key": "whole"},
        ],
        "dataFrom": ["all"],
        "dataFromWithOptions": [{"key": "old", "versionStage": "AWSPREVIOUS"}],
        "template": {"type": "kubernetes.io/tls", "metadata": {
            "labels": {"l": "v", "m": "<%= x %>"}, "annotations": {"a": "{{ x }}", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
        }, "stringData": {"f": "{{ x }}", "g": "<%= data %>"}},
    }));
    let converted = convert(&[old], &args());
    let [store, secret] = converted.manifests.as_slice() else { panic!("a store and an ExternalSecret") };
    assert_eq!(
        store["spec"]["provider"],
        json!({"aws": {"service": "SecretsManager", "region": "eu-west-1", "role": "arn:aws:iam::1:role/reader"}})
    );
    assert_eq!(store["metadata"], json!({"name": "secretsmanager-reader", "namespace": "n"}));
    assert_eq!(secret["metadata"], json!({"name": "app", "namespace": "n", "annotations": {"a": "b"}}));
    let expected = json!({
        "refreshInterval": "1m",
        "secretStoreRef": {"name": "secretsmanager-reader", "kind": "SecretStore"},
        "target": {"creationPolicy": "Owner", "template": {
            "engineVersion": "v2", "mergePolicy": "Merge", "type": "kubernetes.io/tls",
            "metadata": {"labels": {"l": "v"}, "annotations": {"a": "{{ \"{{\" }} x }}"}},
            "data": {"f": "{{ \"{{\" }} x }}"},
        }},
        "data": [
            {"secretKey": "plain", "remoteRef": {"key": "a/b"}},
            {"secretKey": "part", "remoteRef": {"key": "a/b", "property": "db.password", "version": "AWSPREVIOUS"}},
            {"secretKey": "bytes", "remoteRef": {"key": "c", "version": "uuid/id-1", "decodingStrategy": "Base64"}},
        ],
        "dataFrom": [
            {"extract": {"key": "all"}},
            {"extract": {"key": "old", "version": "AWSPREVIOUS"}},
            {"extract": {"key": "whole"}},
        ],
    });
    assert_eq!(secret["spec"], expected);
    let lost = texts(&converted, Weight::Lost);
    let lodash =
        |field: &str| lost.iter().any(|text| text.starts_with(&format!("template.{field} is a template of lodash")));
    assert!(lost.len() == 2 && lodash("stringData.g") && lodash("metadata.labels.m"), "{lost:?}");
}

#[test]
fn each_backend_has_its_store() {
    for (spec, provider, name) in [
        (
            json!({"backendType": "systemManager", "region": "us-east-1"}),
            json!({"aws": {"service": "ParameterStore", "region": "us-east-1"}}),
            "parameterstore-us-east-1",
        ),
        (
            json!({"backendType": "azureKeyVault", "keyVaultName": "kv"}),
            json!({"azurekv": {"vaultUrl": "https://kv.vault.azure.net", "authType": "WorkloadIdentity"}}),
            "azure-kv",
        ),
        (json!({"backendType": "gcpSecretsManager", "projectId": "p"}), json!({"gcpsm": {"projectID": "p"}}), "gcp-p"),
    ] {
        let mut spec = spec;
        spec["data"] = json!([{"key": "k", "name": "n"}]);
        let converted = convert(&[of(spec)], &args());
        assert_eq!(
            (&converted.manifests[0]["spec"]["provider"], &converted.manifests[0]["metadata"]["name"]),
            (&provider, &json!(name))
        );
        assert_eq!(converted.manifests[1]["spec"]["data"][0]["remoteRef"], json!({"key": "k"}));
    }
    for (backend, key) in
        [("alicloudSecretsManager", "alibaba"), ("ibmcloudSecretsManager", "ibm"), ("akeyless", "akeyless")]
    {
        let converted = convert(&[of(json!({"backendType": backend, "data": [{"key": "k", "name": "n"}]}))], &args());
        assert!(
            converted.manifests[0]["spec"]["provider"][key].is_object() && !texts(&converted, Weight::ToDo).is_empty(),
            "{backend}"
        );
    }
    let converted = convert(&[of(json!({"backendType": "other", "data": [{"key": "k", "name": "n"}]}))], &args());
    assert!(
        converted.manifests.is_empty()
            && texts(&converted, Weight::Lost) == ["backendType \"other\" has no counterpart"]
    );
}

#[test]
fn secrets_of_ibm_are_named_by_type_and_id_or_by_group_type_and_name() {
    let mut with = args();
    with.place.ibm_endpoint = Some("https://i.eu-de.secrets-manager.appdomain.cloud".into());
    let spec = |by_name: bool| {
        of(json!({
            "backendType": "ibmcloudSecretsManager", "keyByName": by_name,
            "data": [
                {"key": "k", "name": "user", "property": "username", "secretType": "username_password"},
                {"key": "k", "name": "text", "property": "payload", "secretType": "arbitrary"},
            ],
        }))
    };
    let keys = |converted: &Converted| {
        let data = converted.manifests[1]["spec"]["data"].as_array().unwrap().clone();
        data.into_iter().map(|entry| entry["remoteRef"].clone()).collect::<Vec<_>>()
    };
    let converted = convert(&[spec(false)], &with);
    assert_eq!(
        keys(&converted),
        [json!({"key": "username_password/k", "property": "username"}), json!({"key": "arbitrary/k"})]
    );
    let to_do = texts(&converted, Weight::ToDo);
    assert!(to_do.len() == 1 && to_do[0].contains("make the Secret \"ibm\""), "{to_do:?}");
    let converted = convert(&[spec(true)], &with);
    assert_eq!(
        keys(&converted),
        [json!({"key": "default/username_password/k", "property": "username"}), json!({"key": "default/arbitrary/k"})]
    );
    let to_do = texts(&converted, Weight::ToDo);
    assert!(to_do.len() == 3 && to_do[1].starts_with("data[0]: a secret is named by its group, too"), "{to_do:?}");
    assert!(converted.notes.iter().all(|note| !note.text.contains("External Secrets Operator")));
}

#[test]
fn the_engine_is_taken_out_of_vaults_keys() {
    let mut with = args();
    (with.place.vault_server, with.place.service_account) = (Some("https://v".into()), Some("app".into()));
    let spec = |keys: &[&str], version: Value| {
        let data: Vec<Value> = keys.iter().map(|key| json!({"key": key, "name": "n", "property": "p"})).collect();
        json!({"backendType": "vault", "vaultRole": "r", "vaultMountPoint": "k8s", "kvVersion": version, "data": data})
    };
    let converted = convert(&[of(spec(&["team/kv/data/a/b"], json!(2)))], &with);
    assert_eq!(
        converted.manifests[0]["spec"]["provider"]["vault"],
        json!({
            "server": "https://v", "path": "team/kv", "version": "v2",
            "auth": {"kubernetes": {"mountPath": "k8s", "role": "r", "serviceAccountRef": {"name": "app"}}},
        })
    );
    assert_eq!(converted.manifests[1]["spec"]["data"][0]["remoteRef"], json!({"key": "a/b", "property": "p"}));
    assert!(texts(&converted, Weight::ToDo).is_empty());
    let converted = convert(&[of(spec(&["kv/a/data/b"], json!(1)))], &args());
    assert_eq!(converted.manifests[0]["spec"]["provider"]["vault"]["path"], "kv");
    assert_eq!(converted.manifests[1]["spec"]["data"][0]["remoteRef"]["key"], "a/data/b");
    assert_eq!(texts(&converted, Weight::ToDo).len(), 2, "server and ServiceAccount");
    let converted = convert(&[of(spec(&["a/data/x", "b/data/x"], json!(null)))], &with);
    assert!(
        converted.manifests.is_empty()
            && texts(&converted, Weight::Lost)[0].contains("several engines of Vault (a, b)")
    );
}

#[test]
fn paths_of_parameters_become_searches_and_names_of_google_lose_what_the_store_says() {
    let found = search("/app/", false);
    assert_eq!(found["find"], json!({"path": "/app", "name": {"regexp": "^/app/[^/]+$"}}));
    assert_eq!(search("/a.b", true)["find"]["name"]["regexp"], "^/a\\.b/.+$");
    let spec =
        json!({"backendType": "gcpSecretsManager", "data": [{"key": "projects/p/secrets/s/versions/3", "name": "n"}]});
    let converted = convert(&[of(spec)], &args());
    assert_eq!(converted.manifests[1]["spec"]["data"][0]["remoteRef"], json!({"key": "s", "version": "3"}));
}

#[test]
fn who_asks_the_same_shares_a_store_and_names_stay_apart() {
    let one =
        |role: &str| of(json!({"backendType": "secretsManager", "roleArn": role, "data": [{"key": "k", "name": "n"}]}));
    let all = [one("arn:aws:iam::1:role/r"), one("arn:aws:iam::1:role/r"), one("arn:aws:iam::2:role/r")];
    let converted = convert(&all, &args());
    let names: Vec<_> = converted
        .manifests
        .iter()
        .filter(|one| one["kind"] == "SecretStore")
        .map(|one| &one["metadata"]["name"])
        .collect();
    assert_eq!(names, ["secretsmanager-r", "secretsmanager-r-2a531e72"]);
    let mut cluster = args();
    cluster.cluster_stores = true;
    let converted = convert(&all[..1], &cluster);
    assert_eq!(
        (&converted.manifests[0]["kind"], &converted.manifests[0]["metadata"]),
        (&json!("ClusterSecretStore"), &json!({"name": "secretsmanager-r"}))
    );
}

#[test]
fn what_is_not_known_is_told() {
    let converted = convert(
        &[of(json!({"backendType": "systemManager", "more": 1, "data": [{"key": "k", "name": "n", "extra": 1}, {}]}))],
        &args(),
    );
    assert_eq!(
        texts(&converted, Weight::Lost),
        ["data[0].extra is not known", "data[1] has neither key nor path", "spec.more is not known"]
    );
    let very_old = Old {
        place: "f:1".into(),
        manifest: json!({"metadata": {"name": "o"}, "secretDescriptor": {"backendType": "systemManager", "properties": [{"key": "k", "name": "n"}]}}),
    };
    assert_eq!(convert(&[very_old], &args()).manifests.len(), 2);
}

#[test]
fn of_two_of_one_name_the_first_is_carried_over() {
    let one = || of(json!({"backendType": "secretsManager", "data": [{"key": "a", "name": "b"}]}));
    let second = Old { place: "g:7".into(), ..one() };
    let converted = convert(&[one(), second], &args());
    assert_eq!(converted.manifests.len(), 2, "a store, and an ExternalSecret");
    assert_eq!(
        texts(&converted, Weight::Lost),
        ["it is there already (f:1: ExternalSecret n/app): only that is carried over"]
    );
}
