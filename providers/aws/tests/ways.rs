//! Where stores of AWS log in and ask, and how much they read, against a double of AWS.

mod double;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use double::{CANARY, Double, Reply, Request, clean, fetch, keys};
use keyferry_provider_aws::REGISTRATION;
use keyferry_provider_core::{BuildContext, Environment, ErrorKind, Provider, Room};
use keyferry_provider_testkit::MapCredentials;
use serde_json::json;

/// STS and Secrets Manager: a session for whoever has the token `jwt`, and who asks as the value of every secret.
fn aws(request: &Request) -> Reply {
    match request.operation.as_str() {
        "AssumeRoleWithWebIdentity" if request.text("WebIdentityToken") == "jwt" => {
            let role = request.text("RoleArn").rsplit('/').next().unwrap_or_default().to_uppercase();
            let session = request.text("RoleSessionName");
            Reply::Body(
                200,
                format!(
                    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                     <AccessKeyId>ASIA{role}{}</AccessKeyId><SecretAccessKey>{CANARY}</SecretAccessKey>\
                     <SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>\
                     </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
                    session.len()
                ),
            )
        }
        "AssumeRoleWithWebIdentity" => Reply::Body(
            403,
            format!(
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>{CANARY}</Message></Error></ErrorResponse>"
            ),
        ),
        "GetParameter" => Reply::ok(json!({"Parameter": {
            "Name": request.text("Name"), "Value": format!("of {}", request.access_key), "Version": 1,
        }})),
        "GetSecretValue" => Reply::ok(json!({
            "ARN": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:a-Ab12Cd", "Name": "a",
            "SecretString": format!("of {}", request.access_key),
        })),
        // A pod's agent.
        "" if request.authorization == "pod-token" => Reply::ok(json!({
            "AccessKeyId": "ASIAPOD", "SecretAccessKey": CANARY, "Token": "t", "Expiration": "2999-01-01T00:00:00Z",
        })),
        other => panic!("{other}"),
    }
}

fn environment(all: Vec<(&'static str, String)>) -> Environment {
    Arc::new(move |name: &str| all.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone()))
}

async fn operator(environment: Environment) -> Arc<dyn Provider> {
    let ctx = BuildContext::new(Arc::new(MapCredentials::new()), Arc::new(())).trusted();
    let spec = json!({"service": "SecretsManager", "region": "eu-west-1"});
    (REGISTRATION.build)(&spec, BuildContext { environment, ..ctx }).await.unwrap()
}

#[tokio::test]
async fn the_operators_own_role_is_assumed_where_the_operator_is_told_to_log_in() {
    let (sts, service) = (Double::start(aws).await, Double::start(aws).await);
    let file = std::env::temp_dir().join(format!("keyferry-token-{}", std::process::id()));
    std::fs::write(&file, "jwt\n").unwrap();
    let all = |role: &str, file: String| {
        let session = ("AWS_ROLE_SESSION_NAME", "four".to_owned());
        let endpoints = [("AWS_STS_ENDPOINT", sts.url()), ("AWS_SECRETSMANAGER_ENDPOINT", service.url())];
        let role = [("AWS_ROLE_ARN", role.to_owned()), ("AWS_WEB_IDENTITY_TOKEN_FILE", file), session];
        environment(endpoints.into_iter().chain(role).collect())
    };
    let name = file.to_str().unwrap().to_owned();
    let store = operator(all("r/op", name.clone())).await;
    store.validate().await.unwrap();
    assert_eq!(fetch(&*store, &keys(&["a"])).await.unwrap()[0].as_ref().unwrap(), "of ASIAOP4");
    assert_eq!((sts.take(), service.take()), (vec!["AssumeRoleWithWebIdentity".into()], vec!["GetSecretValue".into()]));
    assert!(store.identity_note().is_some());

    std::fs::write(&file, "another").unwrap();
    for (environment, words) in [
        (all("r/op", name), "operator's own ServiceAccount"),
        (all("r/op", "/no/such/token".into()), "AWS_WEB_IDENTITY_TOKEN_FILE"),
    ] {
        let error = operator(environment).await.validate().await.unwrap_err();
        clean(&error);
        assert_eq!((error.kind(), error.message().contains(words)), (ErrorKind::Unauthenticated, true), "{error}");
    }
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn each_service_has_an_endpoint_variable_and_the_more_special_counts() {
    let (of_all, of_one) = (Double::start(aws).await, Double::start(aws).await);
    for (service, variable) in [
        ("SecretsManager", "AWS_SECRETSMANAGER_ENDPOINT"),
        ("SecretsManager", "AWS_ENDPOINT_URL_SECRETS_MANAGER"),
        ("ParameterStore", "AWS_SSM_ENDPOINT"),
        ("ParameterStore", "AWS_ENDPOINT_URL_SSM"),
    ] {
        let environment = environment(vec![("AWS_ENDPOINT_URL", of_all.url()), (variable, of_one.url())]);
        let store = of_all.store_in(service, environment).await.unwrap();
        assert_eq!(fetch(&*store, &keys(&["/a"])).await.unwrap()[0].as_ref().unwrap(), "of AKIAONE");
        assert_eq!((of_all.take().len(), of_one.take().len()), (0, 1), "{variable}");
    }
}

/// The SDK's chain reads the variables of the process itself, so that a process of its own plays the pod.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "tells the process that plays the pod from the one that starts it")]
async fn pod_identity_is_the_operators_own() {
    const URL: &str = "KEYFERRY_TEST_POD_URL";
    if let Ok(url) = std::env::var(URL) {
        let store = operator(environment(vec![("AWS_SECRETSMANAGER_ENDPOINT", url)])).await;
        assert_eq!(fetch(&*store, &keys(&["a"])).await.unwrap()[0].as_ref().unwrap(), "of ASIAPOD");
        return;
    }
    let double = Double::start(aws).await;
    let file = std::env::temp_dir().join(format!("keyferry-pod-token-{}", std::process::id()));
    std::fs::write(&file, "pod-token").unwrap();
    let mut pod = tokio::process::Command::new(std::env::current_exe().unwrap());
    pod.args(["--exact", "pod_identity_is_the_operators_own"]).env_clear().env(URL, double.url());
    pod.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1/credentials", double.url()));
    pod.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &file).env("HOME", "/nonexistent");
    let ended = pod.output().await.unwrap();
    std::fs::remove_file(file).unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    assert_eq!(double.take(), ["", "GetSecretValue"]);
}

/// Notes how much is asked for.
#[derive(Default)]
struct Asked(Mutex<Vec<usize>>);

#[async_trait]
impl Room for Asked {
    async fn take(&self, bytes: usize) -> Box<dyn Send + Sync> {
        self.0.lock().unwrap().push(bytes);
        Box::new(())
    }
}

#[tokio::test]
async fn answers_wait_for_room_and_have_a_bound() {
    let double = Double::start(|request| {
        let size: usize = request.text("SecretId").parse().unwrap();
        Reply::ok(json!({
            "ARN": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:a-Ab12Cd", "Name": request.text("SecretId"),
            "SecretString": "v".repeat(size),
        }))
    })
    .await;
    for (size, asked, fails) in [(1000, &[][..], false), (100_000, &[1 << 17], false), (17 << 20, &[16 << 20], true)] {
        let room = Arc::new(Asked::default());
        let store = double.store_with_room("SecretsManager", room.clone()).await;
        let answer = fetch(&*store, &keys(&[&size.to_string()])).await;
        assert_eq!(*room.0.lock().unwrap(), asked, "{size}");
        match answer {
            Ok(answers) => assert!(!fails && answers[0].as_ref().unwrap().len() == size),
            Err(error) => {
                assert!(fails && error.kind() == ErrorKind::Malformed, "{error}");
                assert!(error.message().contains("larger than 16 MiB"), "{error}");
            }
        }
    }
}

/// STS of a place where `AKIAONE` is known, and no other key.
fn known(request: &Request) -> Reply {
    match (request.operation.as_str(), request.access_key.as_str()) {
        ("GetCallerIdentity", "AKIAONE") => Reply::Body(
            200,
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult>\
             </GetCallerIdentityResponse>"
                .to_owned(),
        ),
        ("GetCallerIdentity", _) => Reply::Body(
            403,
            format!(
                "<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>{CANARY}</Message></Error></ErrorResponse>"
            ),
        ),
        _ => aws(request),
    }
}

#[tokio::test]
async fn keys_that_nobody_knows_make_no_store_that_is_ready() {
    for service in ["SecretsManager", "ParameterStore", "CertificateManager"] {
        let double = Double::start(known).await;
        let store = double.store_with(service, "AKIAONE", json!({})).await.unwrap();
        store.validate().await.unwrap();
        assert_eq!((double.take(), store.identity_note()), (vec!["GetCallerIdentity".to_owned()], None), "{service}");
        let store = double.store_with(service, "AKIATWO", json!({})).await.unwrap();
        let error = store.validate().await.unwrap_err();
        clean(&error);
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert!(error.message().contains("does not know the access key"), "{error}");
    }
}

#[tokio::test]
async fn where_sts_can_not_be_asked_a_store_is_ready_and_says_so() {
    let (double, silent) = (Double::start(known).await, Double::start(|_| Reply::Cut).await);
    let down = Double::start(|_| Reply::Body(503, String::new())).await;
    for sts in [&silent, &down] {
        let all = vec![("AWS_STS_ENDPOINT", sts.url()), ("AWS_SECRETSMANAGER_ENDPOINT", double.url())];
        let store = double.store_in("SecretsManager", environment(all)).await.unwrap();
        assert_eq!(store.identity_note(), None, "nobody has asked yet");
        store.validate().await.unwrap();
        assert!(store.identity_note().unwrap().contains("STS can't be asked here"));
    }
    // A service in a place of its own, and nothing said of STS: the usual one does not know these keys.
    let all = vec![("AWS_SECRETSMANAGER_ENDPOINT", double.url())];
    let store = double.store_in("SecretsManager", environment(all)).await.unwrap();
    store.validate().await.unwrap();
    assert!(store.identity_note().unwrap().contains("STS can't be asked here"));
    assert!(double.take().is_empty());
}
