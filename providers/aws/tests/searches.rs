//! Searching and missing versions, against a double of AWS.

mod double;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use double::{CANARY, Double, Reply, Request, fetch, key};
use keyferry_provider_aws::REGISTRATION;
use keyferry_provider_core::{BuildContext, ErrorKind, Key, Provider, Query, find_all};
use keyferry_provider_testkit::{Fault, MapCredentials, a_search_under_faults};
use serde_json::{Value, json};

const SM: &str = "SecretsManager";
const PS: &str = "ParameterStore";

/// A page of three: each of two names, one of which is looked for.
fn page(request: &Request) -> (Vec<Value>, Option<&'static str>) {
    let (name, next) = match request.text("NextToken") {
        "" => ("/app-1", Some("two")),
        "two" => ("/app-2", Some("three")),
        "three" => ("/app-3", None),
        other => panic!("{other}"),
    };
    ([name, "/other"].map(|name| json!({ "Name": name })).into(), next)
}

fn lists(request: &Request) -> Reply {
    let (names, next) = page(request);
    match request.operation.as_str() {
        "ListSecrets" => Reply::ok(json!({"SecretList": names, "NextToken": next})),
        "GetParametersByPath" | "DescribeParameters" => Reply::ok(json!({"Parameters": names, "NextToken": next})),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let query = Query { name: Some("app".parse().unwrap()), ..Query::default() };
    for service in [SM, PS] {
        let build = async |fault: Option<(usize, Fault)>| -> Arc<dyn Provider> {
            let asked = AtomicUsize::new(0);
            let double = Double::start(move |request| {
                match fault.filter(|(call, _)| asked.fetch_add(1, Ordering::SeqCst) >= *call) {
                    None => lists(request),
                    Some((_, Fault::Status(status))) => Reply::Body(status, CANARY.into()),
                    Some((_, Fault::Garbage)) => Reply::Body(200, CANARY.into()),
                    Some((_, Fault::Cut)) => Reply::Cut,
                }
            });
            double.await.store(service).await
        };
        a_search_under_faults(&query, 3, build).await;
    }
}

/// Names on pages of ten, as AWS gives them; as many pages as there need be.
fn many(request: &Request, names: usize) -> Reply {
    let from: usize = request.text("NextToken").parse().unwrap_or(0);
    let to = (from + 10).min(names);
    let page: Vec<Value> = (from..to).map(|n| json!({"Name": format!("/n{n}")})).collect();
    let next = (to < names).then(|| to.to_string());
    let list = if request.operation == "ListSecrets" { "SecretList" } else { "Parameters" };
    Reply::ok(json!({list: page, "NextToken": next}))
}

#[tokio::test]
async fn what_lies_behind_ten_thousand_others_is_found() {
    let double = Double::start(|request| many(request, 10_500)).await;
    for service in [SM, PS] {
        let query = Query { name: Some("^/?n10499$".parse().unwrap()), ..Query::default() };
        let found = find_all(&*double.store(service).await, &query).await.unwrap();
        assert_eq!(found, [key("/n10499")], "{service}");
        let all = Query { name: Some("n".parse().unwrap()), ..Query::default() };
        let error = find_all(&*double.store(service).await, &all).await.unwrap_err();
        assert!(error.message().contains("search-found"), "{service}: {error}");
    }
}

#[tokio::test]
async fn who_may_not_list_below_a_path_describes_all() {
    let double = Double::start(|request| match request.operation.as_str() {
        "GetParametersByPath" => Reply::error("AccessDeniedException", "not authorized"),
        _ => lists(request),
    })
    .await;
    let query = Query { name: Some("app".parse().unwrap()), ..Query::default() };
    assert_eq!(find_all(&*double.store(PS).await, &query).await.unwrap().len(), 3);
    assert_eq!(
        double.take(),
        ["GetParametersByPath", "DescribeParameters", "DescribeParameters", "DescribeParameters"]
    );
}

/// Secrets Manager with one secret, in AWS's words.
fn secrets_manager(request: &Request) -> Reply {
    let there = ["app", "undescribed"].contains(&request.text("SecretId"));
    match request.operation.as_str() {
        "DescribeSecret" if request.text("SecretId") == "undescribed" => Reply::error("AccessDeniedException", "no"),
        "DescribeSecret" if request.text("SecretId") == "marked" => {
            Reply::ok(json!({"Name": "marked", "DeletedDate": 1.0}))
        }
        "DescribeSecret" if there => Reply::ok(json!({
            "Name": "app", "VersionIdsToStages": {"a": ["AWSCURRENT", "live"], "b": ["AWSPREVIOUS"]},
        })),
        "GetSecretValue" if there && request.body.get("VersionId").is_some() => Reply::error(
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for VersionId: x",
        ),
        "GetSecretValue" if there => Reply::error(
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for staging label: x",
        ),
        _ => Reply::error("ResourceNotFoundException", "Secrets Manager can't find the specified secret."),
    }
}

#[tokio::test]
async fn a_version_that_is_not_there_is_told_from_a_secret_that_is_not() {
    let double = Double::start(secrets_manager).await;
    let store = double.store(SM).await;
    let uuid = "6f3b0a51-8a3c-4f0e-9d5e-0c1d2e3f4a5b";
    for (name, version, kind, words) in [
        ("app", "latest", ErrorKind::NoVersion, "its stages are AWSCURRENT, AWSPREVIOUS, live"),
        ("app", uuid, ErrorKind::NoVersion, "\"uuid/6f3b0a51-8a3c-4f0e-9d5e-0c1d2e3f4a5b\""),
        ("app", "uuid/6f3b0a51", ErrorKind::NoVersion, "no version has that id"),
        ("app", "", ErrorKind::NoVersion, "AWSCURRENT"),
        ("undescribed", "latest", ErrorKind::NoVersion, "without a version the current one is read"),
        ("missing", "latest", ErrorKind::NotFound, "has no secret"),
        ("missing", "", ErrorKind::NotFound, "has no secret"),
        ("marked", "latest", ErrorKind::NotFound, "marked for deletion"),
    ] {
        let asked = Key { version: Some(version.into()), ..key(name) };
        let error = fetch(&*store, &[asked]).await.unwrap().remove(0).unwrap_err();
        assert_eq!((error.kind(), error.message().contains(words)), (kind, true), "{name} {version}: {error}");
    }
    double.take();
    fetch(&*store, &[key("missing")]).await.unwrap().remove(0).unwrap_err();
    assert_eq!(double.take(), ["GetSecretValue"], "the word for a secret that is missing needs no second question");
}

#[tokio::test]
async fn a_secret_whose_answer_does_not_tell_is_not_taken_for_missing() {
    // As doubles and gateways of AWS say it: the code alone.
    let double = Double::start(|request| match request.operation.as_str() {
        "DescribeSecret" => Reply::error("AccessDeniedException", "no"),
        _ => Reply::error("ResourceNotFoundException", ""),
    })
    .await;
    let asked = Key { version: Some("latest".into()), ..key("app") };
    let error = fetch(&*double.store(SM).await, &[asked]).await.unwrap().remove(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoVersion);
    assert!(error.message().contains("allow secretsmanager:DescribeSecret"), "{error}");
}

#[tokio::test]
async fn a_label_that_is_not_there_is_told_from_a_parameter_that_is_not() {
    let double = Double::start(|request| match request.operation.as_str() {
        "GetParameter" => match request.text("Name") {
            "/app" => Reply::ok(json!({"Parameter": {"Name": "/app", "Value": CANARY, "Version": 7}})),
            "/app:9" => Reply::error("ParameterVersionNotFound", ""),
            "/hidden" => Reply::error("AccessDeniedException", "no"),
            _ => Reply::error("ParameterNotFound", ""),
        },
        "GetParameters" => Reply::ok(json!({"Parameters": [], "InvalidParameters": request.list("Names")})),
        other => panic!("{other}"),
    })
    .await;
    let store = double.store(PS).await;
    let asked = |name: &str, version: &str| Key { version: Some(version.into()), ..key(name) };
    let all = [asked("/app", "9"), asked("/missing", "blue"), asked("/hidden", "blue"), key("/gone")];
    let single = [asked("/app", "blue"), key("/app:blue"), asked("/missing", "9"), asked("/hidden", "9"), key("/gone")];
    let mut answers: Vec<_> = all.iter().cloned().zip(fetch(&*store, &all).await.unwrap()).collect();
    for key in single {
        let answer = fetch(&*store, std::slice::from_ref(&key)).await.unwrap().remove(0);
        answers.push((key, answer));
    }
    for (key, answer) in answers {
        let (kind, words) = match key.name.split(':').next().unwrap() {
            "/app" => (ErrorKind::NoVersion, "which is 7"),
            "/hidden" => (ErrorKind::NoVersion, "no such parameter, or no such version"),
            _ => (ErrorKind::NotFound, "has no parameter"),
        };
        let error = answer.unwrap_err();
        assert_eq!((error.kind(), error.message().contains(words)), (kind, true), "{key:?}: {error}");
    }
}

#[tokio::test]
async fn the_operators_own_identity_is_kept_where_that_is_asked_for() {
    let double = Double::start(lists).await;
    let spec = json!({"service": SM, "region": "eu-west-1"});
    let context = BuildContext { ambient_identity: false, ..double.context(MapCredentials::new()) };
    let error = (REGISTRATION.build)(&spec, context).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("--ambient-identity"), "{error}");
    assert!((REGISTRATION.build)(&spec, double.context(MapCredentials::new())).await.is_ok());
}
