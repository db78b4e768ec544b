//! Volumes of the Secrets Store CSI Driver, by its double, for which we are the provider.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use k8s_openapi::api::core::v1::Secret;
use keyferry_node_driver_tests::kubelet::{Ask, FOLDER};
use keyferry_node_driver_tests::rig::{APP, LONG, Rig, STRANGER};
use keyferry_node_driver_tests::secrets_store::{Class, SecretsStore};
use keyferry_testkit::{Operator, eventually};
use kube::api::Api;
use serde_json::{Value, json};
use tonic::Code;

tests![
    a_class_that_names_an_external_secret_is_mounted,
    a_version_changes_with_its_value_and_outlives_the_process,
    a_class_may_hold_the_spec,
    what_can_t_be_had_is_said,
    an_error_keeps_what_is_mounted,
    files_go_with_the_external_secret,
    what_is_hostile_is_refused,
    secret_objects_are_made_of_files,
    classes_of_a_cluster_become_external_secrets,
];

const CANARY: &str = "kf-canary-3b9d04";

/// What is left of a volume that has no files.
const NOTHING: &str = ".keyferry-nothing";

async fn rig(name: &str) -> Rig {
    let providers = format!("--secrets-store-providers-dir={FOLDER}/providers");
    Rig::new(name, &[&providers]).await
}

/// A call for a pod of the account that may, with no attribute but what the driver's own is.
async fn ask(rig: &Rig, pod: &str, account: &str) -> Ask {
    Ask { attributes: Vec::new(), ..rig.ask(pod, account, "").await }
}

async fn a_class_that_names_an_external_secret_is_mounted() {
    let rig = rig("sscd").await;
    rig.put("db", json!({"user": "ada", "password": CANARY})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let mut driver = SecretsStore::new(&rig.kubelet);
    let version = driver.version("keyferry").await.expect("it answers");
    assert_eq!((version.version.as_str(), version.runtime_name.as_str()), ("v1alpha1", "keyferry"));
    let socket = rig.kubelet.providers().join("keyferry.sock");
    assert_eq!(fs::metadata(socket).expect("a socket").permissions().mode() & 0o777, 0o600);
    let ask = ask(&rig, "web-0", APP).await;
    driver.publish(&ask, &Class::of(&[("externalSecret", "db")])).await.expect("it mounts");
    assert_eq!(rig.kubelet.read("web-0", "password").as_deref(), Some(CANARY));
    assert_eq!(rig.kubelet.read("web-0", "user").as_deref(), Some("ada"));
    let mode = fs::metadata(rig.kubelet.target("web-0").join("user")).expect("a file").mode();
    assert_eq!(mode & 0o7777, 0o644, "the driver's own");
    assert_eq!(driver.statuses["web-0"].keys().collect::<Vec<_>>(), ["password", "user"]);
    let records = eventually(LONG, || async {
        let log = rig.kubelet.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let records: Vec<Value> = lines.filter(|line| line["action"] == "mounted").collect();
        if records.is_empty() { Err("no record".to_owned()) } else { Ok(records) }
    })
    .await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["workload"], json!({"pod": "web-0", "serviceAccount": APP}));
    // Nothing of the value, nor of a token, is on the disk or in the log; nothing of the value is in a version.
    let disk = String::from_utf8_lossy(&rig.kubelet.on_disk()).into_owned();
    let tokens: Value = serde_json::from_str(&ask.tokens).expect("tokens");
    for secret in [CANARY, tokens[""]["token"].as_str().expect("one"), tokens["vault"]["token"].as_str().expect("one")]
    {
        assert!(!disk.contains(secret), "a secret is on the disk or in the log");
    }
    driver.unpublish("web-0");
}

async fn a_version_changes_with_its_value_and_outlives_the_process() {
    let mut rig = rig("versions").await;
    rig.put("db", json!({"a": "1", "b": "1"})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let class = Class::of(&[("externalSecret", "db")]);
    let asked = ask(&rig, "web", APP).await;
    let mut driver = SecretsStore::new(&rig.kubelet);
    driver.publish(&asked, &class).await.expect("it mounts");
    let first = driver.statuses["web"].clone();
    assert_ne!(first["a"], first["b"], "equal values are not told to be equal");
    rig.put("db", json!({"a": "1", "b": "2"})).await;
    let mut rotated = first.clone();
    for _ in 0..100 {
        driver.publish(&asked, &class).await.expect("what stands is answered for");
        rotated = driver.statuses["web"].clone();
        if rotated != first {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!(rig.kubelet.read("web", "b").as_deref(), Some("2"));
    assert_eq!(rotated["a"], first["a"]);
    assert_ne!(rotated["b"], first["b"]);
    // Another process knows none of it, and finds what is mounted.
    let statuses = driver.statuses.clone();
    rig.kubelet.kill9();
    rig.kubelet.begin().await;
    let mut driver = SecretsStore::new(&rig.kubelet);
    driver.statuses = statuses;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    driver.publish(&asked, &class).await.expect("what stands is answered for");
    driver.publish(&asked, &class).await.expect("what stands is answered for");
    assert!(driver.hidden.is_empty(), "{:?}", driver.hidden);
    assert_eq!(driver.statuses["web"], rotated, "read anew, and the same");
    // The driver does not say that a volume has ended, nor did anybody see it.
    rig.kubelet.kill9();
    SecretsStore::new(&rig.kubelet).unpublish("web");
    let known = rig.kubelet.state().join("provided");
    assert_eq!(fs::read_dir(&known).expect("a folder").count(), 1);
    rig.kubelet.begin().await;
    eventually(LONG, || async {
        let left = fs::read_dir(&known).expect("a folder").count();
        if left == 0 { Ok(()) } else { Err("what has ended is not forgotten".to_owned()) }
    })
    .await;
}

async fn a_class_may_hold_the_spec() {
    let rig = rig("inline").await;
    rig.put("db", json!({"user": "ada", "password": CANARY})).await;
    rig.declare("db", json!({}));
    // For its store alone.
    rig.grant("db", APP).await;
    let key = format!("{}/db", rig.namespace.name());
    let spec = format!(
        "refreshInterval: 1s\nsecretStoreRef: {{name: vault, kind: SecretStore}}\ntarget:\n  template:\n    data:\n      url: 'db://{{{{ .user }}}}:{{{{ .password }}}}'\n\
         data:\n- secretKey: user\n  remoteRef: {{key: {key}, property: user}}\n- secretKey: password\n  remoteRef: {{key: {key}, property: password}}\n"
    );
    let items = "- {key: url, path: db/url, mode: '0400'}\n";
    let class = Class::of(&[("spec", &spec), ("items", items)]);
    let mut driver = SecretsStore::new(&rig.kubelet);
    driver.publish(&ask(&rig, "web", APP).await, &class).await.expect("it mounts");
    assert_eq!(rig.kubelet.read("web", "db/url"), Some(format!("db://ada:{CANARY}")));
    let mode = fs::metadata(rig.kubelet.target("web").join("db/url")).expect("a file").mode();
    assert_eq!(mode & 0o7777, 0o400);
    // Whoever may not read the store may not mount of it, whatever spec he writes.
    let refused = driver.publish(&ask(&rig, "other", STRANGER).await, &class).await.expect_err("it is refused");
    for part in ["ServiceAccount \"stranger\" may not get secretstores \"vault\"", "bind it to a Role with the rule"] {
        assert!(refused.message().contains(part), "{refused}");
    }
    assert!(!refused.message().contains("keyferry grant"), "there is no ExternalSecret to name: {refused}");
    driver.unpublish("web");
}

async fn what_can_t_be_had_is_said() {
    let rig = rig("refused").await;
    rig.put("db", json!({"password": CANARY})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let class = Class::of(&[("externalSecret", "db")]);
    let mut driver = SecretsStore::new(&rig.kubelet);
    let stranger = ask(&rig, "web", STRANGER).await;
    let refused = driver.publish(&stranger, &class).await.expect_err("it is refused");
    for part in ["ServiceAccount \"stranger\"", "keyferry grant db --to stranger"] {
        assert!(refused.message().contains(part), "{refused}");
    }
    let good = ask(&rig, "web", APP).await;
    let without = |audience: &str| {
        let mut tokens: Value = serde_json::from_str(&good.tokens).expect("tokens");
        tokens.as_object_mut().expect("tokens").remove(audience);
        Ask { tokens: tokens.to_string(), ..good.clone() }
    };
    for (ask, parts) in [
        (Ask { tokens: String::new(), ..good.clone() }, ["set tokenRequests, a value of its chart", "audience: \"\""]),
        (without(""), ["add {audience: \"\"} to tokenRequests", "no token of the pod for the API server"]),
        (without("vault"), ["audience \"vault\"", "tokenRequests, a value of the Secrets Store CSI Driver's chart"]),
    ] {
        let refused = driver.publish(&ask, &class).await.expect_err("it is refused");
        for part in parts {
            assert!(refused.message().contains(part), "{refused}");
        }
    }
    // A login out of a Secret: the volume's, and the store's.
    driver.login = Some(json!({"token": CANARY}));
    let refused = driver.publish(&good, &class).await.expect_err("it is refused");
    assert!(refused.message().contains("nodePublishSecretRef") && !refused.message().contains(CANARY), "{refused}");
    driver.login = None;
    rig.apply("SecretStore", "fake", json!({"provider": {"fake": {"data": [{"key": "k", "value": CANARY}]}}}));
    let spec = json!({
        "secretStoreRef": {"name": "fake", "kind": "SecretStore"}, "target": {"creationPolicy": "None"},
        "data": [{"secretKey": "a", "remoteRef": {"key": "k"}}],
    });
    rig.apply("ExternalSecret", "static", spec);
    rig.grant("static", APP).await;
    let class = Class::of(&[("externalSecret", "static")]);
    let refused = driver.publish(&good, &class).await.expect_err("it is refused");
    assert!(refused.message().contains("spec.loginBy: Mount"), "{refused}");
    assert!(rig.kubelet.mounts().is_empty());
    let left = rig.kubelet.state().join("provided");
    assert_eq!(fs::read_dir(left).expect("a folder").count(), 0, "nothing is written down of what was refused");
}

async fn an_error_keeps_what_is_mounted() {
    let rig = rig("keeps").await;
    rig.put("db", json!({"password": CANARY})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let class = Class::of(&[("externalSecret", "db")]);
    let ask = ask(&rig, "web", APP).await;
    let mut driver = SecretsStore::new(&rig.kubelet);
    driver.publish(&ask, &class).await.expect("it mounts");
    let versions = driver.statuses["web"].clone();
    rig.vault
        .write_policy(rig.namespace.name(), "path \"secret/none\" { capabilities = [\"read\"] }")
        .await
        .expect("a policy");
    for _ in 0..100 {
        driver.publish(&ask, &class).await.expect("it is hidden from the kubelet");
        if !driver.hidden.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let told = driver.hidden.last().expect("an error").message().to_owned();
    assert!(told.contains("SecretStore \"vault\"") && !told.contains(CANARY), "{told}");
    let event = rig.event("web", "MountNotRefreshed", "").await;
    assert!(event.contains("SecretStore \"vault\""), "{event}");
    assert_eq!(rig.kubelet.read("web", "password").as_deref(), Some(CANARY));
    assert_eq!(driver.statuses["web"], versions);
    driver.unpublish("web");
}

async fn files_go_with_the_external_secret() {
    let rig = rig("gone").await;
    rig.put("db", json!({"password": CANARY})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let class = Class::of(&[("externalSecret", "db")]);
    let ask = ask(&rig, "web", APP).await;
    let mut driver = SecretsStore::new(&rig.kubelet);
    driver.publish(&ask, &class).await.expect("it mounts");
    rig.kubectl(&["delete", "externalsecret", "db"], "");
    driver.publish(&ask, &class).await.expect("what stands is answered for");
    driver.publish(&ask, &class).await.expect("what stands is answered for");
    assert!(driver.hidden.is_empty(), "{:?}", driver.hidden);
    assert_eq!(rig.kubelet.read("web", "password"), None);
    assert_eq!(rig.kubelet.read("web", NOTHING).as_deref(), Some(""));
    let event = rig.event("web", "MountNotRefreshed", "").await;
    assert!(event.contains("the files were taken away"), "{event}");
    rig.declare("db", json!({}));
    driver.publish(&ask, &class).await.expect("what stands is answered for");
    assert_eq!(rig.kubelet.read("web", "password").as_deref(), Some(CANARY), "{:?}", driver.hidden);
    assert_eq!(rig.kubelet.read("web", NOTHING), None);
    // Files that another provider gave stay while the class names nothing that there is.
    for file in fs::read_dir(rig.kubelet.state().join("provided")).expect("a folder").flatten() {
        fs::remove_file(file.path()).expect("it is as if they were another's");
    }
    rig.declare("none", json!({}));
    rig.grant("none", APP).await;
    rig.kubectl(&["delete", "externalsecret", "none"], "");
    driver.publish(&ask, &Class::of(&[("externalSecret", "none")])).await.expect("what stands is answered for");
    assert_eq!(rig.kubelet.read("web", "password").as_deref(), Some(CANARY));
    let told = driver.hidden.pop().expect("an error").message().to_owned();
    assert!(told.contains("ExternalSecret \"none\"") && told.contains("does not exist"), "{told}");
    driver.unpublish("web");
}

async fn what_is_hostile_is_refused() {
    let rig = rig("hostile").await;
    rig.put("db", json!({"password": CANARY})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let good = ask(&rig, "web", APP).await;
    let mut driver = SecretsStore::new(&rig.kubelet);
    let huge = "x".repeat(1 << 20);
    let up = r#"[{"key": "password", "path": "../../../../etc/password"}]"#;
    let hidden = r#"[{"key": "password", "path": "..data/password"}]"#;
    let other = format!("{}/db", rig.namespace.name());
    for (parameters, part) in [
        (vec![("externalSecret", "db"), ("items", up)], "has the path"),
        (vec![("externalSecret", "db"), ("items", hidden)], "has the path"),
        (vec![("spec", huge.as_str())], "is longer than 256 KiB"),
        (vec![("externalSecret", "db"), ("items", huge.as_str())], "is longer than 256 KiB"),
        (vec![("externalSecret", other.as_str())], "either externalSecret names"),
        (vec![("externalSecret", "db"), ("owner", "0")], "\"owner\" is none that there is"),
    ] {
        let refused = driver.publish(&good, &Class::of(&parameters)).await.expect_err("it is refused");
        assert!(refused.message().contains(part) && refused.message().len() < 1000, "{refused}");
    }
    // What the class says of the pod counts for nothing.
    let class = Class::of(&[("externalSecret", "db"), ("csi.storage.k8s.io/serviceAccount.name", APP)]);
    let refused = driver.publish(&ask(&rig, "web", STRANGER).await, &class).await.expect_err("it is refused");
    assert!(refused.message().contains("ServiceAccount \"stranger\""), "{refused}");
    // A namespace that the pod's tokens are not of.
    let elsewhere = Ask { namespace: "default".to_owned(), ..good.clone() };
    let class = Class::of(&[("externalSecret", "db")]);
    let refused = driver.publish(&elsewhere, &class).await.expect_err("it is refused");
    assert!(refused.message().contains("may not get externalsecrets"), "{refused}");
    // A place that is no volume's, and more than is ever asked.
    for (target, length, code) in [("/etc", 0, Code::InvalidArgument), ("/etc", 5 << 20, Code::OutOfRange)] {
        let mut request = driver.request(&good, &class, std::path::Path::new(target));
        request.secrets = format!("{}{}", request.secrets, " ".repeat(length));
        let refused = driver.ask("keyferry", &request).await.err().expect("it is refused");
        assert_eq!(refused.code(), code, "{refused}");
    }
    assert!(rig.kubelet.mounts().is_empty());
    driver.publish(&good, &class).await.expect("it serves still");
    driver.unpublish("web");
}

async fn secret_objects_are_made_of_files() {
    let rig = rig("objects").await;
    rig.put("db", json!({"password": CANARY})).await;
    rig.declare("db", json!({}));
    rig.grant("db", APP).await;
    let mut class = Class::of(&[("externalSecret", "db")]);
    class.secret_objects = vec![("db".to_owned(), vec![("password".to_owned(), "pw".to_owned())])];
    let mut driver = SecretsStore::new(&rig.kubelet);
    driver.publish(&ask(&rig, "web", APP).await, &class).await.expect("it mounts");
    let secrets: Api<Secret> = rig.namespace.api();
    driver.sync("web", &class, secrets.clone()).await.expect("the Secret is made");
    let made = secrets.get("db").await.expect("it is there").data.expect("data");
    assert_eq!(made["pw"].0, CANARY.as_bytes());
    driver.unpublish("web");
}

async fn classes_of_a_cluster_become_external_secrets() {
    let rig = rig("migrate").await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "secretproviderclasses.secrets-store.csi.x-k8s.io"},
        "spec": {
            "group": "secrets-store.csi.x-k8s.io", "scope": "Namespaced",
            "names": {"kind": "SecretProviderClass", "plural": "secretproviderclasses"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            }}}],
        },
    });
    rig.kubectl(&["apply", "--filename=-"], &definition.to_string());
    let name = "crd/secretproviderclasses.secrets-store.csi.x-k8s.io";
    rig.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", name], "");
    let objects = "- {objectName: password, secretPath: secret/data/db, secretKey: password}\n";
    let class = json!({
        "apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass",
        "metadata": {"name": "db", "namespace": rig.namespace.name()},
        "spec": {"provider": "vault", "parameters": {"roleName": "app", "vaultAddress": rig.url, "objects": objects}},
    });
    rig.kubectl(&["apply", "--filename=-"], &class.to_string());
    let mut command = std::process::Command::new(Operator::program().expect("the program"));
    command.args(["migrate", "secrets-store", "--classes", "--kubeconfig"]).arg(rig.testbed.kubeconfig());
    let printed = command.output().expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&printed.stdout), String::from_utf8_lossy(&printed.stderr));
    assert_eq!(printed.status.code(), Some(1), "something is left to do: {err}");
    assert!(err.contains(&format!("SecretProviderClass {}/db: to do:", rig.namespace.name())), "{err}");
    // What is printed an API server takes, as it is.
    rig.kubectl(&["apply", "--filename=-"], &out);
    let made = rig.kubectl(&["get", "externalsecret", "db", "--output=jsonpath={.spec.target.creationPolicy}"], "");
    assert_eq!(made, "None");
}
