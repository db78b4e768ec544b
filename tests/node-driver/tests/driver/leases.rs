//! What generators make for pods: a lease for each, prolonged while its volume stands and revoked with it.

use std::time::Duration;

use keyferry_node_driver_tests::kubelet::{Ask, FOLDER};
use keyferry_node_driver_tests::rig::{APP, LONG, Rig};
use keyferry_node_driver_tests::secrets_store::{Class, SecretsStore};
use keyferry_testkit::eventually;
use reqwest::Method;
use serde_json::{Value, json};

tests![
    each_pod_has_a_lease_that_ends_with_its_volume,
    what_ends_soon_is_prolonged_while_the_volume_stands,
    what_a_killed_process_could_not_revoke_is_revoked_for_the_next_pod,
    files_that_go_take_their_lease_along,
    what_another_driver_mounts_has_a_lease_too,
];

/// The rights without which nothing is revoked or prolonged.
const REVOKES: &str = "path \"auth/token/revoke-accessor\" { capabilities = [\"update\"] }
    path \"auth/token/renew-accessor\" { capabilities = [\"update\"] }";

/// A rig whose OpenBao gives one-time passwords for SSH, each with a lease of 32 days, to whoever mounts `otp`; a login lives two
/// hours. `tokens` makes tokens that live some seconds.
async fn with_engine(name: &str, args: &[&str]) -> Rig {
    let rig = Rig::new(name, args).await;
    let engine = rig.namespace.name().to_owned();
    rig.vault.mount(&engine, "ssh", json!({})).await.expect("OpenBao mounts an engine");
    let role = json!({"key_type": "otp", "default_user": "u", "cidr_list": "0.0.0.0/0"});
    rig.vault.request(Method::POST, &format!("{engine}/roles/r"), Some(&role)).await.expect("a role");
    let role = json!({
        "bound_service_account_names": APP, "bound_service_account_namespaces": engine, "audience": "vault",
        "policies": engine, "ttl": "2h",
    });
    rig.vault.request(Method::POST, &format!("auth/{engine}/role/app"), Some(&role)).await.expect("a role");
    let rules = format!(
        "path \"{engine}/creds/r\" {{ capabilities = [\"create\", \"update\"] }}
         path \"auth/token/create\" {{ capabilities = [\"create\", \"update\"] }} {REVOKES}"
    );
    rig.vault.write_policy(&engine, rules).await.expect("a policy");
    declare(&rig, "otp", &format!("{engine}/creds/r"), json!({"parameters": {"ip": "10.0.0.1"}}));
    let more = json!({"parameters": {"ttl": "6s", "renewable": true}, "resultType": "Auth"});
    declare(&rig, "tokens", "auth/token/create", more);
    for name in ["otp", "tokens"] {
        rig.grant(name, APP).await;
    }
    rig
}

/// A generator of this path, and an ExternalSecret of it.
fn declare(rig: &Rig, name: &str, path: &str, more: Value) {
    let auth = json!({
        "mountPath": rig.namespace.name(), "role": "app",
        "serviceAccountRef": {"name": "whoever-mounts", "audiences": ["vault"]},
    });
    let mut spec = json!({
        "path": path, "method": "POST", "provider": {"server": rig.url, "auth": {"kubernetes": auth}},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let generator = json!({
        "apiVersion": "generators.external-secrets.io/v1alpha1", "kind": "VaultDynamicSecret",
        "metadata": {"name": name, "namespace": rig.namespace.name()}, "spec": spec,
    });
    rig.kubectl(&["apply", "--filename=-"], &generator.to_string());
    let spec = json!({
        "refreshInterval": "1h",
        "target": {"creationPolicy": "None"},
        "dataFrom": [{"sourceRef": {"generatorRef": {"kind": "VaultDynamicSecret", "name": name}}}],
    });
    rig.apply("ExternalSecret", name, spec);
}

/// The leases that OpenBao has of the engine.
async fn leases(rig: &Rig) -> usize {
    let list = Method::from_bytes(b"LIST").expect("a method");
    let path = format!("sys/leases/lookup/{}/creds/r", rig.namespace.name());
    let (_, answer) = rig.vault.send(list, &path, None).await.expect("an answer");
    answer["data"]["keys"].as_array().map_or(0, Vec::len)
}

async fn until_leases(rig: &Rig, wanted: usize) {
    eventually(LONG, || async {
        let found = leases(rig).await;
        if found == wanted { Ok(()) } else { Err(format!("{found} leases")) }
    })
    .await;
}

/// What is written down of them on the node.
fn written(rig: &Rig) -> Vec<Value> {
    let files = std::fs::read_dir(rig.kubelet.state()).expect("a folder").flatten();
    let files = files.filter(|file| file.path().extension().is_some_and(|end| end == "leases"));
    files.map(|file| serde_json::from_slice(&std::fs::read(file.path()).expect("a file")).expect("JSON")).collect()
}

async fn token(rig: &Rig, accessor: &Value) -> Option<Value> {
    let body = json!({ "accessor": accessor });
    let answer = rig.vault.send(Method::POST, "auth/token/lookup-accessor", Some(&body)).await.expect("an answer");
    answer.0.is_success().then(|| answer.1["data"].clone())
}

async fn each_pod_has_a_lease_that_ends_with_its_volume() {
    let rig = with_engine("leases", &[]).await;
    let (first, second) = (rig.ask("first", APP, "otp").await, rig.ask("second", APP, "otp").await);
    for ask in [&first, &second, &first, &second] {
        rig.kubelet.publish(ask).await.expect("it mounts");
    }
    assert_eq!(leases(&rig).await, 2, "one for each pod, however often it is asked for");
    let keys = ["first", "second"].map(|pod| rig.kubelet.read(pod, "key").expect("it is there"));
    assert_ne!(keys[0], keys[1]);
    assert_eq!(rig.kubelet.read("first", "username").as_deref(), Some("u"));
    let disk = String::from_utf8_lossy(&rig.kubelet.on_disk()).into_owned();
    assert!(!keys.iter().any(|key| disk.contains(key)), "a value is written down");
    for held in written(&rig) {
        let accessor = &held["leases"][0]["state"]["accessor"];
        let ttl = token(&rig, accessor).await.expect("it works")["ttl"].as_u64().expect("a number");
        assert!((1..=3600).contains(&ttl), "asked for an hour at most, and ends in {ttl} s");
    }
    // The pod's own token is the last that there is; the kubelet gives none for the end.
    rig.kubelet.unpublish("first").await.expect("it ends");
    assert_eq!(leases(&rig).await, 1, "revoked before the end is answered");
    rig.kubelet.publish(&second).await.expect("it stands");
    assert_eq!(rig.kubelet.read("second", "key").as_ref(), Some(&keys[1]), "the other's works on");
    rig.kubelet.unpublish("second").await.expect("it ends");
    assert_eq!((leases(&rig).await, written(&rig).len()), (0, 0));
    assert_eq!(std::fs::read_dir(rig.kubelet.state()).expect("a folder").count(), 0);
    let log = rig.kubelet.log();
    assert_eq!(log.matches("\"action\":\"revoked\"").count(), 2, "{log}");
}

async fn what_ends_soon_is_prolonged_while_the_volume_stands() {
    let rig = with_engine("renewed", &[]).await;
    let ask = rig.ask("web", APP, "tokens").await;
    rig.kubelet.publish(&ask).await.expect("it mounts");
    let shown = rig.kubelet.read("web", "client_token").expect("it is there");
    let accessor = json!(rig.kubelet.read("web", "accessor").expect("it is there"));
    let until = tokio::time::Instant::now() + Duration::from_secs(14);
    while tokio::time::Instant::now() < until {
        rig.kubelet.publish(&ask).await.expect("it stands");
        assert_eq!(rig.kubelet.read("web", "client_token").as_ref(), Some(&shown), "it is the same");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(token(&rig, &accessor).await.is_some(), "without that it would have ended");
    rig.kubelet.unpublish("web").await.expect("it ends");
    assert!(token(&rig, &accessor).await.is_none());
}

async fn what_a_killed_process_could_not_revoke_is_revoked_for_the_next_pod() {
    let mut rig = with_engine("killed", &[]).await;
    let (first, second) = (rig.ask("first", APP, "otp").await, rig.ask("second", APP, "otp").await);
    for ask in [&first, &second] {
        rig.kubelet.publish(ask).await.expect("it mounts");
    }
    let key = rig.kubelet.read("second", "key");
    rig.kubelet.kill9();
    rig.kubelet.begin().await;
    // It knows of both, and has nobody's token.
    rig.kubelet.unpublish("first").await.expect("it ends");
    assert_eq!((leases(&rig).await, written(&rig).len()), (2, 2));
    rig.kubelet.kill9();
    rig.kubelet.begin().await;
    rig.kubelet.publish(&second).await.expect("it stands");
    assert_eq!((leases(&rig).await, written(&rig).len()), (1, 1), "the next of the ServiceAccount has it revoked");
    assert_eq!(rig.kubelet.read("second", "key"), key, "and its own works on");
    rig.kubelet.unpublish("second").await.expect("it ends");
    assert_eq!((leases(&rig).await, written(&rig).len()), (0, 0));
}

async fn files_that_go_take_their_lease_along() {
    let rig = with_engine("gone-lease", &[]).await;
    let ask = rig.ask("web", APP, "otp").await;
    rig.kubelet.publish(&ask).await.expect("it mounts");
    // Who may not revoke is told, and it is done once that is granted.
    let engine = rig.namespace.name().to_owned();
    let rules = format!("path \"{engine}/creds/r\" {{ capabilities = [\"create\", \"update\"] }}");
    rig.vault.write_policy(&engine, rules.clone()).await.expect("a policy");
    rig.kubectl(&["delete", "externalsecret", "otp"], "");
    let told = rig.event_after("web", "MountLease", &ask).await;
    assert!(told.contains("auth/token/revoke-accessor") && told.contains("VaultDynamicSecret \"otp\""), "{told}");
    assert_eq!((rig.kubelet.read("web", "key"), leases(&rig).await), (None, 1));
    rig.vault.write_policy(&engine, format!("{rules} {REVOKES}")).await.expect("a policy");
    rig.kubelet.publish(&ask).await.expect("it stands");
    until_leases(&rig, 0).await;
    rig.kubelet.unpublish("web").await.expect("it ends");
}

async fn what_another_driver_mounts_has_a_lease_too() {
    let providers = format!("--secrets-store-providers-dir={FOLDER}/providers");
    let mut rig = with_engine("another-lease", &[&providers]).await;
    let class = Class::of(&[("externalSecret", "otp")]);
    let ask = async |rig: &Rig, pod: &str| Ask { attributes: Vec::new(), ..rig.ask(pod, APP, "").await };
    let (first, second, third) = (ask(&rig, "first").await, ask(&rig, "second").await, ask(&rig, "third").await);
    let mut driver = SecretsStore::new(&rig.kubelet);
    for ask in [&first, &second, &first, &second] {
        driver.publish(ask, &class).await.expect("it mounts");
    }
    assert!(driver.hidden.is_empty(), "{:?}", driver.hidden);
    assert_eq!(leases(&rig).await, 2, "one for each pod, however often it is asked for");
    let key = rig.kubelet.read("second", "key").expect("it is there");
    assert_ne!(rig.kubelet.read("first", "key").as_ref(), Some(&key));
    // Nobody says that it ends.
    driver.unpublish("first");
    until_leases(&rig, 1).await;
    driver.publish(&second, &class).await.expect("it stands");
    assert_eq!(rig.kubelet.read("second", "key").as_ref(), Some(&key), "the other's works on");
    rig.kubelet.kill9();
    SecretsStore::new(&rig.kubelet).unpublish("second");
    rig.kubelet.begin().await;
    // The process that has begun knows of it, and has nobody's token.
    let mut driver = SecretsStore::new(&rig.kubelet);
    assert_eq!(leases(&rig).await, 1);
    driver.publish(&third, &class).await.expect("it mounts");
    until_leases(&rig, 1).await;
    let shown = rig.kubelet.read("third", "key").expect("it is there");
    assert_ne!(shown, key);
    driver.publish(&third, &class).await.expect("it stands");
    assert_eq!(rig.kubelet.read("third", "key").as_ref(), Some(&shown), "what was revoked is the other's");
    driver.unpublish("third");
    until_leases(&rig, 0).await;
    eventually(LONG, || async {
        let left = std::fs::read_dir(rig.kubelet.state().join("provided")).expect("a folder").count();
        if left == 0 { Ok(()) } else { Err(format!("{left} files")) }
    })
    .await;
}
