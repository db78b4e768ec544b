//! Searching, against answers that a real Vault gives too rarely, or never.

mod double;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use double::{CANARY, Double, Reply, Request, answer, build, expect, fetch};
use keyferry_provider_core::{Error, ErrorKind, Key, Payload, Provider, Push, Query, Reach, Remote, find_all};
use keyferry_provider_testkit::{Fault, MapCredentials, a_search_under_faults};
use serde_json::{Value, json};

/// How many secrets a search may find.
const MOST: usize = 10_000;

fn by_name(pattern: &str) -> Query {
    Query { name: Some(pattern.parse().unwrap()), ..Query::default() }
}

async fn names(store: &dyn Provider, query: &Query) -> Result<Vec<String>, Error> {
    Ok(find_all(store, query).await?.into_iter().map(|key| key.name).collect())
}

fn keys(names: Value) -> Reply {
    answer(200, json!({"data": {"keys": names}}))
}

fn nothing() -> Reply {
    answer(404, json!({"errors": []}))
}

/// An engine with secrets in three folders; `secret/` is its mount.
fn engine(request: &Request) -> Reply {
    match request.line.as_str() {
        "GET /v1/secret/metadata/?list=true" => keys(json!(["app-1", "team/", "other"])),
        "GET /v1/secret/metadata/team/?list=true" => keys(json!(["app-2", "deep/"])),
        "GET /v1/secret/metadata/team/deep/?list=true" => keys(json!(["app-3"])),
        line if line.starts_with("GET /v1/secret/metadata/") => {
            let team = if line.ends_with('1') { "red" } else { "blue" };
            answer(200, json!({"data": {"custom_metadata": {"team": team}}}))
        }
        "GET /v1/auth/token/lookup-self" => answer(200, json!({})),
        line => panic!("{line}"),
    }
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    for (tags, calls) in [(json!({}), 3), (json!({"team": "blue"}), 6)] {
        let tags: std::collections::BTreeMap<String, String> = serde_json::from_value(tags).unwrap();
        let build = async |fault: Option<(usize, Fault)>| -> Arc<dyn Provider> {
            let asked = AtomicUsize::new(0);
            let double = Double::new(move |request| {
                let is_search = request.line.contains("/metadata/");
                match fault.filter(|(call, _)| is_search && asked.fetch_add(1, Ordering::SeqCst) >= *call) {
                    None => engine(request),
                    Some((_, Fault::Status(status))) => Reply::Http(status, "", CANARY.into()),
                    Some((_, Fault::Garbage)) => Reply::Http(200, "", CANARY.into()),
                    Some((_, Fault::Cut)) => Reply::Raw(b"HTTP/1.1 200 x\r\ncontent-length: 99\r\n\r\n{".to_vec()),
                }
            });
            double.await.store(json!({})).await
        };
        a_search_under_faults(&Query { tags, ..by_name("app") }, calls, build).await;
    }
}

#[tokio::test]
async fn more_than_a_search_may_find_is_an_error() {
    // In two folders; one secret too many.
    let many = async |count: usize| {
        let double = Double::new(move |request| match request.line.as_str() {
            "GET /v1/secret/metadata/?list=true" => keys(json!(["one/", "two/"])),
            "GET /v1/secret/metadata/one/?list=true" => keys((0..5000).map(|n| format!("app-{n}")).collect()),
            "GET /v1/secret/metadata/two/?list=true" => keys((5000..count).map(|n| format!("app-{n}")).collect()),
            "GET /v1/auth/token/lookup-self" => answer(200, json!({})),
            line => panic!("{line}"),
        });
        double.await.store(json!({})).await
    };
    assert_eq!(names(&*many(MOST).await, &by_name("app")).await.unwrap().len(), MOST);
    let too_many = many(MOST + 1).await;
    let error = names(&*too_many, &by_name("app")).await.unwrap_err();
    assert!(error.message().contains("search-found"), "{error}");
    // What it does not find does not count.
    assert_eq!(names(&*too_many, &by_name("app-10000$")).await.unwrap(), ["two/app-10000"]);
}

#[tokio::test]
async fn a_place_that_is_none_is_an_error_and_an_empty_one_is_not() {
    for (listed, mount, expected) in [
        (nothing as fn() -> Reply, json!({"type": "kv", "options": {"version": "2"}}), Ok(())),
        (nothing, json!({"type": "kv", "options": {"version": "1"}}), Err("is of version 1")),
        (nothing, json!({"type": "pki"}), Err("is not a KV engine")),
        (|| answer(404, json!({"errors": ["no handler for route"]})), json!({}), Err("no KV engine is mounted")),
        (|| answer(404, json!({"warnings": ["Invalid path"]})), json!({}), Err("no path of a secret")),
        (|| Reply::Http(404, "", b"<html>".to_vec()), json!({}), Err("does not answer as a Vault")),
    ] {
        let double = Double::new(move |request| {
            if request.line.contains("/sys/internal/ui/mounts/") {
                answer(200, json!({ "data": mount }))
            } else {
                listed()
            }
        })
        .await;
        let found = names(&*double.store(json!({})).await, &by_name("app")).await;
        match (found, expected) {
            (Ok(found), Ok(())) => assert!(found.is_empty()),
            (Err(error), Err(words)) => {
                assert_ne!(error.kind(), ErrorKind::NotFound);
                assert!(error.message().contains(words), "{error}");
            }
            (found, expected) => panic!("{found:?} rather than {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_folder_that_went_meanwhile_is_empty_and_so_is_a_secret() {
    let double = Double::new(|request| match request.line.as_str() {
        "GET /v1/secret/metadata/team/?list=true" | "GET /v1/secret/metadata/other" => nothing(),
        line if line.contains("/sys/internal/ui/mounts/") => {
            answer(200, json!({"data": {"type": "kv", "options": {"version": "2"}}}))
        }
        _ => engine(request),
    })
    .await;
    let store = double.store(json!({})).await;
    assert_eq!(names(&*store, &by_name("app")).await.unwrap(), ["app-1"]);
    let blue = Query { tags: [("team".to_owned(), "blue".to_owned())].into(), ..Query::default() };
    assert!(names(&*store, &blue).await.unwrap().is_empty());
}

async fn without_mount(double: &Double, version: &str) -> Arc<dyn Provider> {
    let spec = json!({"server": double.url(), "version": version, "auth": {"tokenSecretRef": {"name": "token", "key": "key"}}});
    build(spec, MapCredentials::new().with("token/key", format!("{CANARY}-token"))).await.unwrap()
}

#[tokio::test]
async fn without_a_mount_the_path_holds_it() {
    let double = Double::new(|request| match request.line.as_str() {
        "GET /v1/mykv/metadata/team/?list=true" => keys(json!(["app"])),
        "GET /v1/mykv/data/team/app" => answer(200, double::kv2(json!({"a": "b"}))),
        line => panic!("{line}"),
    })
    .await;
    let store = without_mount(&double, "v2").await;
    let query = Query { path: Some("mykv/data/team".to_owned()), ..by_name("app") };
    assert_eq!(names(&*store, &query).await.unwrap(), ["mykv/data/team/app"]);
    assert_eq!(fetch(&*store, "mykv/data/team/app").await.unwrap(), r#"{"a":"b"}"#);
    expect(&names(&*store, &by_name("app")).await.unwrap_err(), ErrorKind::Invalid, "begin find.path with a mount");
}

#[tokio::test]
async fn version_1_is_searched_by_name() {
    let double = Double::new(|request| match request.line.as_str() {
        "GET /v1/kv/?list=true" => keys(json!(["app", "team/", "other"])),
        "GET /v1/kv/team/?list=true" => keys(json!(["app"])),
        line => panic!("{line}"),
    })
    .await;
    let store = double.store(json!({"path": "kv", "version": "v1"})).await;
    assert_eq!(names(&*store, &by_name("app$")).await.unwrap(), ["app", "team/app"]);
    let query = Query { path: Some("team".to_owned()), ..by_name("app$") };
    assert_eq!(names(&*store, &query).await.unwrap(), ["team/app"]);
    let store = without_mount(&double, "v1").await;
    let query = Query { path: Some("kv/team".to_owned()), ..by_name("app$") };
    assert_eq!(names(&*store, &query).await.unwrap(), ["kv/team/app"]);
}

#[tokio::test]
async fn what_vault_keeps_for_itself_is_never_asked_for() {
    let double = Double::new(|request| match request.line.as_str() {
        "GET /v1/sys/internal/ui/mounts/kv/auth/db" => answer(200, json!({"data": {"type": "kv", "options": null}})),
        "GET /v1/kv/auth/db" => answer(200, json!({"data": {"a": "b"}})),
        // The namespace `team`: nothing is told of what is no engine, or it is told that it is none.
        "GET /v1/sys/internal/ui/mounts/team/auth/token/lookup-self" => answer(403, json!({"errors": ["denied"]})),
        "GET /v1/sys/internal/ui/mounts/kv/auth/token/lookup-self" => answer(200, json!({"data": {"type": "token"}})),
        "GET /v1/auth/token/lookup-self" => answer(200, json!({})),
        line => panic!("{line}"),
    })
    .await;
    let store = without_mount(&double, "v1").await;
    for key in [
        "auth/token/lookup-self",
        "/auth/token/lookup-self",
        "//auth//token/lookup-self",
        "./auth/token/lookup-self",
        "sys/mounts",
        "cubbyhole/x",
        "identity/x",
        "team/auth/token/lookup-self",
    ] {
        assert_eq!(fetch(&*store, key).await.unwrap_err().kind(), ErrorKind::Invalid, "{key}");
    }
    // A secret may be called so, and says nothing of others that are.
    assert_eq!(fetch(&*store, "kv/auth/db").await.unwrap(), r#"{"a":"b"}"#);
    expect(&fetch(&*store, "kv/auth/token/lookup-self").await.unwrap_err(), ErrorKind::Invalid, "not a KV engine");
}

#[tokio::test]
async fn a_version_that_is_not_there_is_told_from_a_secret_that_is_not() {
    let ui = || answer(200, json!({"data": {"type": "kv", "options": {"version": "2"}}}));
    let gone = |metadata: Value| answer(404, json!({"data": {"data": null, "metadata": metadata}}));
    let double = Double::new(move |request| match request.line.as_str() {
        "GET /v1/secret/data/app?version=9" | "GET /v1/secret/data/app?version=-1" => nothing(),
        "GET /v1/secret/data/app?version=2" => gone(json!({"destroyed": true})),
        "GET /v1/secret/data/app?version=3" => gone(json!({"destroyed": false, "deletion_time": "2026"})),
        "GET /v1/secret/metadata/app" => answer(200, json!({"data": {"current_version": 7, "oldest_version": 2}})),
        "GET /v1/secret/data/deleted" => gone(json!({"destroyed": false, "deletion_time": "2026"})),
        "GET /v1/secret/data/hidden?version=9" => nothing(),
        "GET /v1/secret/metadata/hidden" => {
            answer(403, json!({"errors": ["1 error occurred:\n\t* permission denied\n\n"]}))
        }
        "GET /v1/auth/token/lookup-self" => answer(200, json!({})),
        line if line.contains("/sys/internal/ui/mounts/") => ui(),
        _ => nothing(),
    })
    .await;
    let store = double.store(json!({})).await;
    for (name, version, kind, words) in [
        ("app", Some("9"), ErrorKind::NoVersion, "versions from 2 to 7"),
        ("app", Some("-1"), ErrorKind::NoVersion, "versions from 2 to 7"),
        ("app", Some("2"), ErrorKind::NoVersion, "is destroyed"),
        ("app", Some("3"), ErrorKind::NoVersion, "is deleted"),
        ("app", Some("latest"), ErrorKind::NoVersion, "without a version the last is read"),
        ("hidden", Some("9"), ErrorKind::NoVersion, "must allow read on secret/metadata/hidden"),
        ("missing", Some("9"), ErrorKind::NotFound, "there is no secret"),
        ("missing", Some("0"), ErrorKind::NotFound, "there is no secret"),
        ("missing", None, ErrorKind::NotFound, "there is no secret"),
        ("deleted", None, ErrorKind::NotFound, "is deleted"),
        ("deleted", Some("0"), ErrorKind::NotFound, "is deleted"),
    ] {
        let key = Key { name: name.into(), version: version.map(str::to_owned), metadata: false };
        let error = store.fetch(&[key]).await.unwrap().remove(0).unwrap_err();
        expect(&error, kind, words);
    }
}

/// It can be undeleted, and what a push marks as its own would go for good with the push.
#[tokio::test]
async fn what_somebody_else_deleted_is_taken_over_no_more_than_what_is_there() {
    let double = Double::new(move |request| {
        let marks = |name: &str| if name == "ours" { json!({"managed-by": "external-secrets"}) } else { Value::Null };
        match request.line.split_once(' ') {
            Some(("GET", path)) if path.starts_with("/v1/secret/data/") => {
                let metadata = json!({"destroyed": false, "deletion_time": "2026", "version": 3});
                answer(404, json!({"data": {"data": null, "metadata": metadata}}))
            }
            Some(("GET", path)) if path.starts_with("/v1/secret/metadata/") => {
                let marks = marks(path.rsplit('/').next().unwrap());
                answer(200, json!({"data": {"current_version": 3, "oldest_version": 0, "custom_metadata": marks}}))
            }
            Some(("POST", path)) if path.starts_with("/v1/secret/") => answer(200, json!({"data": {"version": 4}})),
            _ => answer(200, json!({})),
        }
    })
    .await;
    let store = double.store(json!({})).await;
    let push = |key: &str, reach: Reach| Push {
        remote: Remote { key: key.to_owned(), property: Some("a".to_owned()), metadata: None },
        payload: Payload::Value(CANARY.into()),
        origin: Default::default(),
        reach,
    };
    let error = store.push(&push("theirs", Reach::Ours)).await.unwrap_err();
    expect(&error, ErrorKind::Denied, "secret not managed by external-secrets");
    store.push(&push("ours", Reach::Ours)).await.unwrap();
    store.push(&push("theirs", Reach::All)).await.unwrap();
}
