//! Pushes and deletions, where more than the suite asks for is to be seen.

use keyferry_provider_core::{Origin, Payload, Push, Reach, Remote};

use super::*;

fn remote(key: &str, property: Option<&str>) -> Remote {
    Remote { key: key.to_owned(), property: property.map(str::to_owned), metadata: None }
}

fn push_of(remote: Remote, value: &str) -> Push {
    Push { remote, payload: Payload::Value(value.into()), origin: Origin::default(), reach: Reach::Ours }
}

/// What a push does on the wire: as little as it can.
#[tokio::test]
async fn what_a_push_asks_and_writes() {
    let kv = Kv::new(2).await;
    let relay = Relay::to(kv.url.trim_start_matches("http://")).await;
    let spec = json!({"server": relay.url(), "path": kv.mount, "auth": {"tokenSecretRef": {"name": "t", "key": "k"}}});
    let provider = build(spec, MapCredentials::new().with("t/k", &kv.token)).await.unwrap();
    let (data, metadata) = (format!("/v1/{}/data/app", kv.mount), format!("/v1/{}/metadata/app", kv.mount));
    let mount = format!("GET /v1/sys/internal/ui/mounts/{}/data/app", kv.mount);
    let push = push_of(remote("app", Some("a")), CANARY);
    provider.push(&push).await.unwrap();
    let made =
        [format!("GET {data}"), mount, format!("GET {metadata}"), format!("POST {metadata}"), format!("POST {data}")];
    assert_eq!(relay.take(), made);
    provider.push(&push).await.unwrap();
    assert_eq!(relay.take(), [format!("GET {data}")], "what is equal costs one look");
    provider.push(&push_of(remote("app", Some("b")), CANARY)).await.unwrap();
    assert_eq!(relay.take(), [format!("GET {data}"), format!("POST {data}")]);
    let told = request(&kv.vault, "GET", &format!("{}/metadata/app", kv.mount), Value::Null).await;
    assert_eq!(told["data"]["custom_metadata"], json!({"managed-by": "external-secrets"}));
    assert_eq!(told["data"]["current_version"], 2);
    // BUG in External Secrets Operator: nested values that are equal make it panic.
    let nested = push_of(remote("nested", None), r#"{"a":{"x":[1,{"y":null}]},"n":9007199254740993}"#);
    for _ in 0..3 {
        provider.push(&nested).await.unwrap();
    }
    let told = request(&kv.vault, "GET", &format!("{}/metadata/nested", kv.mount), Value::Null).await;
    assert_eq!(told["data"]["current_version"], 1);
}

/// BUG in External Secrets Operator: it does not say over which version it writes when it deletes a property, and fails
/// where the engine wants to be told.
#[tokio::test]
async fn an_engine_that_wants_to_be_told_what_is_written_over() {
    let kv = Kv::new(2).await;
    request(&kv.vault, "POST", &format!("{}/config", kv.mount), json!({"cas_required": true})).await;
    let provider = kv.provider().await;
    for (property, value) in [("a", "1"), ("b", "1"), ("a", "2")] {
        provider.push(&push_of(remote("app", Some(property)), value)).await.unwrap();
    }
    provider.delete(&remote("app", Some("a")), Reach::Ours).await.unwrap();
    assert_eq!(fetch(&*provider, &key("app")).await.unwrap(), r#"{"b":"1"}"#);
    // What was deleted in the store's own way still has its versions, over which is written.
    kv.delete("app").await;
    assert!(!provider.exists(&remote("app", None)).await.unwrap());
    provider.push(&push_of(remote("app", Some("c")), "3")).await.unwrap();
    assert_eq!(fetch(&*provider, &key("app")).await.unwrap(), r#"{"c":"3"}"#);
}

/// Keys that repeat the mount: the mark is where it belongs, and one that went astray until 2.13 counts.
#[tokio::test]
async fn marks_of_keys_that_repeat_the_mount() {
    let kv = Kv::new(2).await;
    let provider = kv.provider().await;
    let long = format!("{}/data/app", kv.mount);
    provider.push(&push_of(remote(&long, Some("a")), "1")).await.unwrap();
    let path = format!("{}/metadata/app", kv.mount);
    let told = request(&kv.vault, "GET", &path, Value::Null).await;
    assert_eq!(told["data"]["custom_metadata"]["managed-by"], "external-secrets");
    provider.push(&push_of(remote("app", Some("b")), "2")).await.unwrap();

    let mark = json!({"custom_metadata": {"managed-by": "external-secrets"}});
    let long = format!("{}/old", kv.mount);
    kv.put("old", b"theirs").await;
    request(&kv.vault, "POST", &format!("{}/metadata/{long}", kv.mount), mark).await;
    let refused = provider.push(&push_of(remote("old", Some("a")), "1")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "a short key says nothing of a stray mark");
    provider.push(&push_of(remote(&long, Some("a")), "1")).await.unwrap();
    provider.push(&push_of(remote("old", Some("b")), "2")).await.unwrap();
}

/// Custom metadata of others stay, and those that a PushSecret asks for come.
#[tokio::test]
async fn custom_metadata_of_a_push() {
    let kv = Kv::new(2).await;
    let provider = kv.provider().await;
    let path = format!("{}/metadata/app", kv.mount);
    let of = async || request(&kv.vault, "GET", &path, Value::Null).await["data"]["custom_metadata"].clone();
    request(&kv.vault, "POST", &path, json!({"custom_metadata": {"owner": "team"}})).await;
    let with = |spec: Value| {
        let mut push = push_of(remote("app", Some("a")), "1");
        push.remote.metadata = Some(json!({"apiVersion": "kubernetes.external-secrets.io/v1alpha1",
            "kind": "PushSecretMetadata", "spec": spec}));
        push
    };
    provider.push(&with(json!({"customMetadata": {"cost": "low"}}))).await.unwrap();
    assert_eq!(of().await, json!({"managed-by": "external-secrets", "owner": "team", "cost": "low"}));
    provider.push(&with(json!({"customMetadata": {"cost": "high"}, "mergePolicy": "Replace"}))).await.unwrap();
    assert_eq!(of().await, json!({"managed-by": "external-secrets", "cost": "high"}));
    let error = provider.push(&with(json!({"tags": {}}))).await.unwrap_err();
    clean(&error);
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

/// On version 1 the mark is a field, as External Secrets Operator has it, which is none of the secret's.
#[tokio::test]
async fn the_mark_of_version_1_is_no_field() {
    let kv = Kv::new(1).await;
    let provider = kv.provider().await;
    provider.push(&push_of(remote("app", Some("a")), "1")).await.unwrap();
    assert_eq!(fetch(&*provider, &key("app")).await.unwrap(), r#"{"a":"1"}"#);
    let stored = request(&kv.vault, "GET", &kv.path("app"), Value::Null).await;
    assert_eq!(stored["data"], json!({"a": "1", "custom_metadata": {"managed-by": "external-secrets"}}));
    // A field of that name that says more is one like any other.
    let more = json!({"a": "1", "custom_metadata": {"managed-by": "external-secrets", "team": "x"}});
    request(&kv.vault, "POST", &kv.path("more"), more).await;
    let value = fetch(&*provider, &key("more")).await.unwrap();
    assert_eq!(value, r#"{"a":"1","custom_metadata":{"managed-by":"external-secrets","team":"x"}}"#);
    let found = find_all(&*provider, &Query { name: Some("^ap".parse().unwrap()), ..Query::default() }).await.unwrap();
    assert_eq!(found, [key("app")]);
}

#[tokio::test]
async fn a_push_without_the_right_to_it() {
    let kv = Kv::new(2).await;
    let name = random();
    let rules = format!("path \"{}/data/*\" {{ capabilities = [\"read\"] }}", kv.mount);
    kv.vault.write_policy(&name, rules).await.unwrap();
    kv.put("app", b"v").await;
    let token = kv.vault.create_token(&[&name]).await.unwrap();
    let provider = with_token(Testbed::shared(), &token, json!({"path": kv.mount})).await;
    let error = provider.push(&push_of(remote("new", Some("a")), CANARY)).await.unwrap_err();
    clean(&error);
    let words = format!("must allow read on {}/metadata/new", kv.mount);
    assert!(error.kind() == ErrorKind::Denied && error.message().contains(&words), "{error}");
    let all = Push { reach: Reach::All, ..push_of(remote("app", Some("a")), CANARY) };
    let error = provider.push(&all).await.unwrap_err();
    let words = format!("must allow create and update on {}/metadata/app", kv.mount);
    assert!(error.kind() == ErrorKind::Denied && error.message().contains(&words), "{error}");
    let error = provider.delete(&remote("app", None), Reach::All).await.unwrap_err();
    let words = format!("must allow delete on {}/metadata/app", kv.mount);
    assert!(error.kind() == ErrorKind::Denied && error.message().contains(&words), "{error}");
}
