//! Generators of AWS, against moto: tokens of registries, and sessions.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyferry_provider_aws::{ECR, STS};
use keyferry_provider_core::{ErrorKind, Made};
use keyferry_provider_tests::{Counter, aws_context, aws_keys, aws_spec};
use serde_json::{Value, json};

fn spec(more: Value) -> Value {
    let mut spec = aws_spec("", more);
    spec.as_object_mut().unwrap().remove("service");
    spec
}

fn text<'a>(made: &'a Made, key: &str) -> &'a str {
    made.values[key].expose_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_gives_a_login_with_its_end() {
    let counter = Arc::new(Counter::default());
    let ecr = (ECR.build)(&spec(json!({})), aws_context(aws_keys(), counter.clone())).unwrap();
    let made = ecr.make(&()).await.unwrap();
    assert_eq!(made.values.keys().collect::<Vec<_>>(), ["expires_at", "password", "proxy_endpoint", "username"]);
    assert_eq!(text(&made, "username"), "AWS");
    assert!(text(&made, "proxy_endpoint").contains("eu-west-1"));
    // moto's tokens ended long ago.
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(text(&made, "expires_at").parse().unwrap());
    assert!(made.state.is_none() && made.term.is_some_and(|term| term.end == end && !term.renews));
    assert_eq!(counter.take(), [("AWS/ECR GetAuthorizationToken".to_owned(), 1)].into());
    let elsewhere = (ECR.build)(&spec(json!({"scope": "other"})), aws_context(aws_keys(), Arc::new(()))).unwrap();
    let error = elsewhere.make(&()).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, "spec.scope must be private or public"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_as_long_as_asked_for() {
    let counter = Arc::new(Counter::default());
    let more = json!({"requestParameters": {"sessionDuration": 900}});
    let sts = (STS.build)(&spec(more), aws_context(aws_keys(), counter.clone())).unwrap();
    let made = sts.make(&()).await.unwrap();
    let keys = ["access_key_id", "expiration", "secret_access_key", "session_token"];
    assert_eq!(made.values.keys().collect::<Vec<_>>(), keys);
    let end: u64 = text(&made, "expiration").parse().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!((now + 800..now + 1000).contains(&end), "{end}");
    assert_eq!(counter.take(), [("AWS/STS GetSessionToken".to_owned(), 1)].into());
    let jwt = json!({"auth": {"jwt": {"serviceAccountRef": {"name": "sa"}}}});
    let sts = (STS.build)(&spec(jwt), aws_context(aws_keys(), Arc::new(()))).unwrap();
    let error = sts.make(&()).await.unwrap_err();
    assert!(error.message().starts_with("spec.auth.jwt can't be used"), "{error}");
}
