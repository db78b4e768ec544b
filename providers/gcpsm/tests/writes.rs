//! How this store is written to, where others would do otherwise.

mod around;

use around::{fetch, key, push, remote, store, text};
use keyferry_doubles::gcpsm::{Double, VersionState};
use keyferry_provider_core::{Blame, ErrorKind, Push, Reach, Remote};
use serde_json::{Value, json};

fn with(remote: Remote, spec: &Value) -> Remote {
    let metadata =
        json!({"apiVersion": "kubernetes.external-secrets.io/v1alpha1", "kind": "PushSecretMetadata", "spec": spec});
    Remote { metadata: Some(metadata), ..remote }
}

fn ours(remote: Remote, value: &str) -> Push {
    push(remote, value, Reach::Ours)
}

/// How often the API was asked to do something, by method.
fn writes(double: &Double) -> Vec<String> {
    let calls = double.server().take_calls().into_iter();
    calls.filter(|call| call.method != "GET" && call.path != "/token").map(|call| call.method).collect()
}

/// TRAP: External Secrets Operator guards what others made only against whole values: a push of a property takes the secret
/// over, and a deletion then removes it whole.
#[tokio::test]
async fn a_property_does_not_take_over_what_others_made() {
    let double = Double::start();
    double.put_in(None, "theirs", br#"{"kept":"1"}"#, &[("team", "red")]);
    let store = store(&double, &json!({})).await;
    let property = remote("theirs", Some("added"));
    let error = store.push(&ours(property.clone(), "canary")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(!error.message().contains("canary"), "{error}");
    store.delete(&property, Reach::Ours).await.unwrap();
    assert!(writes(&double).is_empty() && double.shown(None, "theirs")["labels"] == json!({"team": "red"}));
    // Where that is asked for, it is taken over: the mark is added, and nothing else is touched.
    store.push(&push(property.clone(), "2", Reach::All)).await.unwrap();
    assert_eq!(text(&*store, "theirs").await, r#"{"added":"2","kept":"1"}"#);
    assert_eq!(double.shown(None, "theirs")["labels"], json!({"team": "red", "managed-by": "external-secrets"}));
    store.delete(&property, Reach::Ours).await.unwrap();
    assert_eq!(text(&*store, "theirs").await, r#"{"kept":"1"}"#);
}

#[tokio::test]
async fn what_is_made_is_marked_and_placed_as_was_wanted_in_two_calls() {
    let double = Double::start();
    let store_ = store(&double, &json!({})).await;
    let wanted =
        json!({"labels": {"team": "blue"}, "annotations": {"note": "x"}, "replicationLocations": ["eu", "us"]});
    store_.push(&ours(with(remote("app", None), &wanted), "v")).await.unwrap();
    assert_eq!(writes(&double), ["POST", "POST"]);
    let shown = double.shown(None, "app");
    assert_eq!(shown["labels"], json!({"team": "blue", "managed-by": "external-secrets"}));
    assert_eq!(shown["annotations"], json!({"note": "x"}));
    assert_eq!(shown["replication"]["userManaged"]["replicas"], json!([{"location": "eu"}, {"location": "us"}]));
    // The same again is nothing.
    store_.push(&ours(with(remote("app", None), &wanted), "v")).await.unwrap();
    assert!(writes(&double).is_empty());
    let regional = store(&double, &json!({"location": "europe-west1"})).await;
    let key = json!({"cmekKeyName": "projects/p/k", "replicationLocation": "us"});
    regional.push(&ours(with(remote("app", None), &key), "v")).await.unwrap();
    let shown = double.shown(Some("europe-west1"), "app");
    assert_eq!(shown["customerManagedEncryption"], json!({"kmsKeyName": "projects/p/k"}));
    assert!(shown["replication"].is_null());
}

/// BUG of External Secrets Operator: topics are compared, and not among what is updated, so that each refresh updates.
#[tokio::test]
async fn topics_that_differ_are_updated_once() {
    let double = Double::start();
    let store = store(&double, &json!({})).await;
    store.push(&ours(remote("app", None), "v")).await.unwrap();
    let wanted = ours(with(remote("app", None), &json!({"topics": ["projects/p-1/topics/t"]})), "v");
    writes(&double);
    store.push(&wanted).await.unwrap();
    assert_eq!(writes(&double), ["PATCH"]);
    assert_eq!(double.shown(None, "app")["topics"], json!([{"name": "projects/p-1/topics/t"}]));
    store.push(&wanted).await.unwrap();
    assert!(writes(&double).is_empty());
}

#[tokio::test]
async fn labels_are_replaced_unless_they_are_to_be_merged() {
    let double = Double::start();
    let store = store(&double, &json!({})).await;
    store.push(&ours(with(remote("app", None), &json!({"labels": {"a": "1", "b": "2"}})), "v")).await.unwrap();
    let labels = || double.shown(None, "app")["labels"].clone();
    let merge = json!({"labels": {"b": "3"}, "mergePolicy": "Merge"});
    store.push(&ours(with(remote("app", None), &merge), "v")).await.unwrap();
    assert_eq!(labels(), json!({"a": "1", "b": "3", "managed-by": "external-secrets"}));
    store.push(&ours(with(remote("app", None), &json!({"labels": {"c": "4"}})), "v")).await.unwrap();
    assert_eq!(labels(), json!({"c": "4", "managed-by": "external-secrets"}));
    // A property leaves them as they are.
    store.push(&ours(remote("json", Some("a")), "v")).await.unwrap();
    let before = labels();
    store.push(&ours(remote("json", Some("b")), "v")).await.unwrap();
    assert_eq!(labels(), before);
}

#[tokio::test]
async fn what_can_not_be_written_is_refused_before_anything_is() {
    let double = Double::start();
    double.put_in(None, "text", b"canary", &[("managed-by", "external-secrets")]);
    let store = store(&double, &json!({})).await;
    let large = "v".repeat((64 << 10) + 1);
    for (push, kind, blame) in [
        (ours(remote("new", None), ""), ErrorKind::Invalid, Blame::Request),
        (ours(remote("new", None), &large), ErrorKind::Invalid, Blame::Request),
        (ours(remote("new", Some("a..b")), "v"), ErrorKind::Invalid, Blame::Request),
        (ours(remote("a/b", None), "v"), ErrorKind::Invalid, Blame::Request),
        (ours(with(remote("new", None), &json!({"unknown": 1})), "v"), ErrorKind::Invalid, Blame::Request),
        (ours(with(remote("new", Some("a")), &json!({})), "v"), ErrorKind::Invalid, Blame::Request),
        (ours(remote("text", Some("a")), "v"), ErrorKind::Invalid, Blame::Store),
        (ours(with(remote("new", None), &json!({"labels": {"A B": "x"}})), "v"), ErrorKind::Invalid, Blame::Request),
    ] {
        let error = store.push(&push).await.unwrap_err();
        assert_eq!((error.kind(), error.blame()), (kind, blame), "{:?}: {error}", push.remote);
        assert!(!error.message().contains("canary"), "{error}");
    }
    assert_eq!(fetch(&*store, &key("new")).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(double.versions("text"), 1);
}

#[tokio::test]
async fn what_somebody_else_changed_meanwhile_is_looked_at_again() {
    let double = Double::start();
    let store = store(&double, &json!({})).await;
    store.push(&ours(remote("app", None), "v")).await.unwrap();
    double.change_meanwhile();
    let labelled = ours(with(remote("app", None), &json!({"labels": {"a": "1"}})), "v");
    let errors =
        [store.push(&labelled).await.unwrap_err(), store.delete(&remote("app", None), Reach::Ours).await.unwrap_err()];
    for error in errors {
        assert!(error.is_temporary() && error.message().contains("somebody else"), "{error}");
    }
    assert_eq!(text(&*store, "app").await, "v");
}

#[tokio::test]
async fn two_properties_at_once_are_both_kept() {
    let double = Double::start();
    // Two stores, as two namespaces would have them.
    let stores = [store(&double, &json!({})).await, store(&double, &json!({})).await];
    let pushes: Vec<_> = (0..8)
        .map(|n| {
            let store = stores[n % 2].clone();
            tokio::spawn(async move { store.push(&ours(remote("shared", Some(&format!("p{n}"))), "v")).await })
        })
        .collect();
    for push in pushes {
        push.await.unwrap().unwrap();
    }
    let whole: Value = serde_json::from_str(&text(&*stores[0], "shared").await).unwrap();
    assert_eq!(whole.as_object().unwrap().len(), 8, "{whole}");
}

#[tokio::test]
async fn only_what_can_be_read_exists() {
    let double = Double::start();
    double.put("app", br#"{"a":{"b":"1"}}"#);
    double.put("app", b"text");
    let store = store(&double, &json!({})).await;
    let exists = async |property| store.exists(&remote("app", property)).await.unwrap();
    assert!(exists(None).await && !exists(Some("a.b")).await);
    double.set_state("app", 2, VersionState::Disabled);
    assert!(exists(None).await && exists(Some("a.b")).await && !exists(Some("a.c")).await);
    // What is there is not known: nothing is written over it.
    let error = store.push(&push(remote("app", Some("c")), "v", Reach::All)).await.unwrap_err();
    assert!(error.message().contains("disabled or destroyed"), "{error}");
    double.set_state("app", 1, VersionState::Destroyed);
    assert!(!exists(None).await && !exists(Some("a.b")).await);
    double.deny("secretmanager.versions.list");
    assert_eq!(store.exists(&remote("app", None)).await.unwrap_err().kind(), ErrorKind::Denied);
}
