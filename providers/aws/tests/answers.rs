//! What the stores make of answers, against a double of AWS.

mod double;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use double::{CANARY, Double, Reply, Request, clean, fetch, key, keys};
use keyferry_provider_core::{Caller, ErrorKind, Key};
use keyferry_provider_testkit::MapCredentials;
use serde_json::{Value, json};

const SM: &str = "SecretsManager";
const PS: &str = "ParameterStore";

fn arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:eu-west-1:111122223333:secret:{name}-Ab12Cd")
}

fn value(name: &str) -> String {
    format!("{CANARY} {name}")
}

fn entry(name: &str) -> Value {
    json!({"ARN": arn(name), "Name": name, "SecretString": value(name), "VersionStages": ["AWSCURRENT"]})
}

/// Secrets Manager: answers every id with a value, but for ids that say what is wrong with them.
fn secrets_manager(request: &Request) -> Reply {
    match request.operation.as_str() {
        "BatchGetSecretValue" => {
            let ids = request.list("SecretIdList");
            assert!((1..=20).contains(&ids.len()), "AWS takes at most twenty");
            let (mut values, mut errors) = (Vec::new(), Vec::new());
            for id in &ids {
                let refused =
                    |code: &str, message: &str| json!({"SecretId": id, "ErrorCode": code, "Message": message});
                match id.as_str() {
                    "missing" => errors.push(refused("ResourceNotFoundException", CANARY)),
                    "denied" => errors.push(refused("AccessDeniedException", CANARY)),
                    "deleted" => errors.push(refused("InvalidRequestException", "it was marked for deletion")),
                    "undecryptable" => errors.push(refused("DecryptionFailure", CANARY)),
                    "kms" => errors.push(refused("AccessDeniedException", "Access to KMS is not allowed")),
                    "slow" => errors.push(refused("ThrottlingException", CANARY)),
                    "left-out" => {}
                    "empty" => values.push(json!({"ARN": arn(id), "Name": id})),
                    id => values.push(entry(id)),
                }
            }
            values.reverse(); // AWS promises no order
            Reply::ok(json!({"SecretValues": values, "Errors": errors}))
        }
        "GetSecretValue" => match request.text("SecretId") {
            "missing" => Reply::error("ResourceNotFoundException", "can't find"),
            "denied" => Reply::error("AccessDeniedException", "not authorized"),
            id => Reply::ok(entry(id)),
        },
        other => Reply::error("ValidationException", other),
    }
}

#[tokio::test]
async fn errors_of_a_batch_are_those_of_their_keys() {
    let double = Double::start(secrets_manager).await;
    let store = double.store(SM).await;
    let names = ["a", "missing", "denied", "b", "deleted", "undecryptable", "kms", "slow", "left-out", "empty", "c"];
    let results = fetch(&*store, &keys(&names)).await.unwrap();
    for (name, result) in names.iter().zip(results) {
        let expected = match *name {
            "missing" | "deleted" => (ErrorKind::NotFound, "secret"),
            "denied" => (ErrorKind::Denied, "secretsmanager:GetSecretValue"),
            "undecryptable" | "kms" => (ErrorKind::Denied, "kms:Decrypt"),
            "slow" => (ErrorKind::Throttled, "slow down"),
            "left-out" => (ErrorKind::Malformed, "unanswered"),
            "empty" => (ErrorKind::Malformed, "without a value"),
            name => {
                assert_eq!(result.unwrap(), value(name));
                continue;
            }
        };
        let error = result.expect_err(name);
        assert_eq!((error.kind(), error.message().contains(expected.1)), (expected.0, true), "{error}");
        assert!(error.message().contains(name), "{error}");
    }
    assert_eq!(double.take(), ["BatchGetSecretValue"]);
}

#[tokio::test]
async fn never_more_than_twenty_ids() {
    let double = Double::start(secrets_manager).await;
    let store = double.store(SM).await;
    let all: Vec<Key> = (0..45).map(|n| key(&n.to_string())).collect();
    assert!(store.joins(&all[..19], &all[19]) && store.capabilities().max_batch == 20);
    let results = fetch(&*store, &all).await.unwrap();
    assert!(results.iter().zip(&all).all(|(result, key)| result.as_ref().unwrap() == &value(&key.name)));
    assert_eq!(double.take().len(), 3);
}

#[tokio::test]
async fn an_answer_in_pages_is_read_to_its_end() {
    let double = Double::start(|request| {
        let ids = request.list("SecretIdList");
        let page: usize = request.text("NextToken").parse().unwrap_or(0);
        let next = (page + 1 < ids.len()).then(|| (page + 1).to_string());
        Reply::ok(json!({"SecretValues": [entry(&ids[page])], "NextToken": next}))
    });
    let double = double.await;
    let results = fetch(&*double.store(SM).await, &keys(&["a", "b", "c"])).await.unwrap();
    assert_eq!(results.into_iter().map(Result::unwrap).collect::<Vec<_>>(), ["a", "b", "c"].map(value));
    // One that never ends is given up.
    let endless = Double::start(|_| Reply::ok(json!({"SecretValues": [], "NextToken": "more"}))).await;
    let results = fetch(&*endless.store(SM).await, &keys(&["a", "b"])).await.unwrap();
    assert!(results.iter().all(|result| result.as_ref().unwrap_err().kind() == ErrorKind::Malformed));
    assert!(endless.take().len() <= 21);
}

#[tokio::test]
async fn one_name_in_two_accounts() {
    let other = "arn:aws:secretsmanager:eu-west-1:999999999999:secret:app-Zz99Zz";
    let double = Double::start(move |request| match request.operation.as_str() {
        "BatchGetSecretValue" => panic!("the answers could not be told apart"),
        _ if request.text("SecretId") == other => {
            Reply::ok(json!({"ARN": other, "Name": "app", "SecretString": "theirs"}))
        }
        _ => Reply::ok(entry("app")),
    })
    .await;
    let store = double.store(SM).await;
    let keys = keys(&["app", other]);
    assert!(!store.joins(&keys[..1], &keys[1]));
    let results = fetch(&*store, &keys).await.unwrap();
    assert_eq!(results.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [value("app"), "theirs".into()]);
}

#[tokio::test]
async fn a_batch_that_iam_refuses_is_told_from_a_secret_that_it_refuses() {
    let refusals = [
        Reply::error("AccessDeniedException", "not authorized to perform: secretsmanager:BatchGetSecretValue"),
        // As moto and gateways say it.
        Reply::Body(
            403,
            format!(
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>{CANARY}</Message></Error></ErrorResponse>"
            ),
        ),
    ];
    for refusal in refusals {
        let refusal = std::sync::Mutex::new(Some(refusal));
        let double = Double::start(move |request| match request.operation.as_str() {
            "BatchGetSecretValue" => refusal.lock().unwrap().take().unwrap(),
            _ => secrets_manager(request),
        })
        .await;
        let store = double.store(SM).await;
        let error = fetch(&*store, &keys(&["a", "b"])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BatchDenied, "{error}");
        assert!(error.message().contains("secretsmanager:BatchGetSecretValue"), "{error}");
        // The fetcher goes on one by one, which needs the permission of single secrets only.
        assert_eq!(fetch(&*store, &keys(&["a"])).await.unwrap()[0].as_ref().unwrap(), &value("a"));
        let denied = fetch(&*store, &keys(&["denied"])).await.unwrap().remove(0).unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::Denied);
        assert_eq!(double.take(), ["BatchGetSecretValue", "GetSecretValue", "GetSecretValue"]);
    }
}

#[tokio::test]
async fn versions_stages_and_ids() {
    let double = Double::start(|request| {
        let version = request.text("VersionId");
        let stage = request.text("VersionStage");
        match (version, stage) {
            ("gone", _) => Reply::error("ResourceNotFoundException", "can't find the version"),
            _ => Reply::ok(json!({"ARN": arn("a"), "Name": "a", "SecretString": format!("[{version}][{stage}]")})),
        }
    })
    .await;
    let store = double.store(SM).await;
    for (version, expected) in
        [("uuid/x", "[x][]"), ("AWSPREVIOUS", "[][AWSPREVIOUS]"), ("", "[][]"), ("AWSCURRENT", "[][AWSCURRENT]")]
    {
        let key = Key { version: Some(version.into()), ..key("a") };
        assert_eq!(fetch(&*store, &[key]).await.unwrap()[0].as_ref().unwrap(), expected);
    }
    let gone = Key { version: Some("uuid/gone".into()), ..key("a") };
    let error = fetch(&*store, &[gone]).await.unwrap().remove(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoVersion);
    assert!(error.message().contains("uuid/gone"), "{error}");
}

#[tokio::test]
async fn what_concerns_the_whole_store() {
    for (reply, kind, word) in [
        (|| Reply::error("ThrottlingException", ""), ErrorKind::Throttled, "slow down"),
        (|| Reply::error("ExpiredTokenException", ""), ErrorKind::Unauthenticated, "expired"),
        (|| Reply::error("UnrecognizedClientException", ""), ErrorKind::Unauthenticated, "access key"),
        (|| Reply::error("InvalidSignatureException", ""), ErrorKind::Unauthenticated, "signature"),
        (|| Reply::Body(500, CANARY.into()), ErrorKind::Unavailable, "internal error"),
        (|| Reply::Body(429, CANARY.into()), ErrorKind::Throttled, "slow down"),
        (|| Reply::Body(403, CANARY.into()), ErrorKind::Denied, "in front of"),
        (|| Reply::Body(200, CANARY.into()), ErrorKind::Malformed, "as AWS does"),
        (
            || Reply::Body(200, "{\"SecretValues\":7,\"Name\":[7],\"Parameters\":7,\"Parameter\":7}".into()),
            ErrorKind::Malformed,
            "as AWS does",
        ),
        (|| Reply::Body(404, format!("<html>{CANARY}")), ErrorKind::Malformed, "as AWS does"),
        (|| Reply::Cut, ErrorKind::Unavailable, "connection"),
    ] as [(fn() -> Reply, ErrorKind, &str); 11]
    {
        let double = Double::start(move |_| reply()).await;
        for (service, names) in [(SM, &["a"][..]), (SM, &["a", "b"]), (PS, &["/a"]), (PS, &["/a", "/b"])] {
            let store = double.store(service).await;
            let error = match fetch(&*store, &keys(names)).await {
                Err(error) => error,
                Ok(mut results) => results.remove(0).unwrap_err(),
            };
            assert_eq!((error.kind(), error.message().contains(word)), (kind, true), "{service} {names:?}: {error}");
        }
    }
}

#[tokio::test]
async fn how_long_to_wait_is_passed_on() {
    let body = || json!({"__type": "ThrottlingException"}).to_string();
    let double = Double::start(move |_| Reply::With(400, "retry-after: 7\r\n", body())).await;
    let error = fetch(&*double.store(SM).await, &keys(&["a"])).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_timeout_and_no_attempt_is_repeated() {
    let double = Double::start(|_| Reply::Hang).await;
    let store = double.store(SM).await;
    let call = tokio::spawn(async move { fetch(&*store, &keys(&["a"])).await });
    let mut asked = double.take().len();
    while asked == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        asked = double.take().len();
    }
    tokio::time::pause(); // from here on time passes as soon as everybody waits: not on the way to the server
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(asked + double.take().len(), 1);
}

#[tokio::test]
async fn every_identity_sees_its_own() {
    let double = Double::start(|request| {
        let own = format!("of {}", request.access_key);
        let ids = request.list("SecretIdList");
        let entry = |id: &String| json!({"ARN": arn(id), "Name": id, "SecretString": own});
        Reply::ok(json!({"SecretValues": ids.iter().map(entry).collect::<Vec<_>>()}))
    })
    .await;
    let (one, two) =
        tokio::join!(double.store_with(SM, "AKIAONE", json!({})), double.store_with(SM, "AKIATWO", json!({})));
    let (one, two) = (one.unwrap(), two.unwrap());
    for _ in 0..5 {
        let (keys, same) = (keys(&["a", "b"]), |results: Vec<Result<String, _>>, own: &str| {
            results.into_iter().all(|result: Result<String, keyferry_provider_core::Error>| result.unwrap() == own)
        });
        let (mine, theirs) = tokio::join!(fetch(&*one, &keys), fetch(&*two, &keys));
        assert!(same(mine.unwrap(), "of AKIAONE") && same(theirs.unwrap(), "of AKIATWO"));
    }
}

#[tokio::test]
async fn keys_that_are_no_keys_are_refused_by_their_field() {
    let double = Double::start(secrets_manager).await;
    for (id, word) in [("", "is empty"), ("two words", "can't be part of a key"), ("\u{1}", "can't be part of a key")] {
        let error = double.store_with(SM, id, json!({})).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("accessKeyIDSecretRef") && error.message().contains(word), "{error}");
    }
    let error = double.store_with("S3", "AKIAONE", json!({})).await.err().unwrap();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("CertificateManager"), "{error}");
}

/// Parameter Store: strict about names, selectors, and what IAM allows.
fn parameter_store(request: &Request, allows_batches: bool) -> Reply {
    let parameter = |selector: &str| {
        let (name, version) = selector.split_once(':').unwrap_or((selector, "1"));
        json!({"Name": name, "Value": value(selector), "Version": version.parse().unwrap_or(1), "Type": "SecureString",
            "ARN": format!("arn:aws:ssm:eu-west-1:111122223333:parameter{name}")})
    };
    // A parameter that is asked for to find out about a version of it need not be decrypted.
    let is_question = request.operation == "GetParameter" && !request.text("Name").contains(':');
    let is_plain = request.operation == "ListTagsForResource" || is_question;
    assert!(is_plain || request.body["WithDecryption"] == json!(true));
    match request.operation.as_str() {
        "GetParameters" => {
            let names = request.list("Names");
            assert!((1..=10).contains(&names.len()), "AWS takes at most ten");
            let mut bases: Vec<_> = names.iter().map(|name| name.split(':').next()).collect();
            bases.sort_unstable();
            bases.dedup();
            assert_eq!(bases.len(), names.len(), "AWS refuses two selectors of one parameter");
            if !allows_batches || names.iter().any(|name| name == "/denied") {
                return Reply::error("AccessDeniedException", "is not authorized to perform: ssm:GetParameters");
            }
            let (missing, found): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.starts_with("/missing"));
            let found: Vec<_> = found.iter().filter(|name| *name != "/left-out").map(|name| parameter(name)).collect();
            Reply::ok(json!({"Parameters": found, "InvalidParameters": missing}))
        }
        "GetParameter" => match request.text("Name") {
            "/denied" => Reply::error("AccessDeniedException", "is not authorized to perform: ssm:GetParameter"),
            "/missing" => Reply::error("ParameterNotFound", ""),
            name => Reply::ok(json!({"Parameter": parameter(name)})),
        },
        other => Reply::error("ValidationException", other),
    }
}

#[tokio::test]
async fn parameters_in_batches() {
    let double = Double::start(|request| parameter_store(request, true)).await;
    let store = double.store(PS).await;
    let mut all = keys(&["/a", "/missing", "/left-out", "/b"]);
    all.push(Key { version: Some("3".into()), ..key("/c") });
    let results = fetch(&*store, &all).await.unwrap();
    let kinds: Vec<_> = results.iter().map(|result| result.as_ref().err().map(|error| error.kind())).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::NotFound), Some(ErrorKind::Malformed), None, None]);
    assert_eq!(results[4].as_ref().unwrap(), &value("/c:3"));
    assert_eq!(double.take(), ["GetParameters"]);

    let many: Vec<Key> = (0..25).map(|n| key(&format!("/{n}"))).collect();
    assert!(store.joins(&many[..9], &many[9]) && store.capabilities().max_batch == 10);
    fetch(&*store, &many).await.unwrap();
    assert_eq!(double.take(), ["GetParameters"; 3]);
}

#[tokio::test]
async fn a_denied_parameter_is_told_from_a_denied_batch() {
    let allowing = Double::start(|request| parameter_store(request, true)).await;
    let error = fetch(&*allowing.store(PS).await, &keys(&["/denied", "/a", "/b"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "the fetcher splits the batch then: {error}");

    let denying = Double::start(|request| parameter_store(request, false)).await;
    let error = fetch(&*denying.store(PS).await, &keys(&["/denied", "/a", "/b"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BatchDenied, "{error}");
    assert!(error.message().contains("ssm:GetParameters"), "{error}");
    assert!(denying.take().len() <= 5);

    // Where nothing can be read at all there is nothing to find out.
    let results = fetch(&*denying.store(PS).await, &[key("/denied"), key("/missing")]).await.unwrap();
    let kinds: Vec<_> = results.iter().map(|result| result.as_ref().unwrap_err().kind()).collect();
    assert_eq!(kinds, [ErrorKind::Denied, ErrorKind::NotFound]);
}

fn session(id: &str) -> String {
    let credentials = format!(
        "<AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{CANARY}</SecretAccessKey><SessionToken>t</SessionToken>\
         <Expiration>2999-01-01T00:00:00Z</Expiration>"
    );
    ["AssumeRole", "AssumeRoleWithWebIdentity"]
        .map(|name| format!("<{name}Result><Credentials>{credentials}</Credentials></{name}Result>"))
        .join("")
}

/// STS in front of Secrets Manager: a session for every role but those called denied.
fn sts(request: &Request) -> Reply {
    let name = request.operation.clone();
    match (name.as_str(), request.text("RoleArn").rsplit('/').next().unwrap_or_default()) {
        ("AssumeRole" | "AssumeRoleWithWebIdentity", "denied") => Reply::Body(
            403,
            format!(
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>{CANARY}</Message></Error></ErrorResponse>"
            ),
        ),
        ("AssumeRole" | "AssumeRoleWithWebIdentity", role) => {
            let whole = session(&format!("ASIA{}", role.to_uppercase()));
            let begin = whole.find(&format!("<{name}Result>")).unwrap();
            let end = whole.find(&format!("</{name}Result>")).unwrap() + name.len() + 9;
            Reply::Body(200, format!("<{name}Response>{}</{name}Response>", &whole[begin..end]))
        }
        _ => Reply::ok(json!({"ARN": arn("a"), "Name": "a", "SecretString": format!("of {}", request.access_key)})),
    }
}

#[tokio::test]
async fn a_chain_of_roles_ends_with_the_last() {
    let double = Double::start(sts).await;
    let more = json!({"additionalRoles": ["r/one", "r/two"], "role": "r/three", "externalID": "x"});
    let store = double.store_with(SM, "AKIAONE", more).await.unwrap();
    store.validate().await.unwrap();
    assert_eq!(double.take(), ["AssumeRole"; 3]);
    assert_eq!(fetch(&*store, &keys(&["a"])).await.unwrap()[0].as_ref().unwrap(), "of ASIATHREE");
    assert_eq!(double.take(), ["GetSecretValue"]);
}

#[tokio::test]
async fn a_role_that_can_not_be_assumed_is_named() {
    let double = Double::start(sts).await;
    let store = double.store_with(SM, "AKIAONE", json!({"role": "r/denied"})).await.unwrap();
    let refusals = [store.validate().await.unwrap_err(), fetch(&*store, &keys(&["a", "b"])).await.unwrap_err()];
    for error in refusals {
        clean(&error);
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert!(error.message().contains("r/denied") && error.message().contains("trust policy"), "{error}");
    }
    assert!(double.take().iter().all(|operation| operation == "AssumeRole"));
}

/// Refuses the first session once it is told to.
#[tokio::test]
async fn all_calls_that_an_ended_session_was_refused_to_are_made_again() {
    for service in [SM, PS] {
        let (sessions, ended) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
        let told = ended.clone();
        let double = Double::start(move |request| match request.operation.as_str() {
            "AssumeRole" => {
                let whole = session(&format!("ASIA{}", sessions.fetch_add(1, Ordering::SeqCst)));
                let end = whole.find("<AssumeRoleWithWebIdentityResult>").unwrap();
                Reply::Body(200, format!("<AssumeRoleResponse>{}</AssumeRoleResponse>", &whole[..end]))
            }
            _ if told.load(Ordering::SeqCst) && request.access_key == "ASIA0" => {
                Reply::error("ExpiredTokenException", "")
            }
            "GetParameter" => Reply::ok(json!({"Parameter": {"Name": request.text("Name"), "Value": "v"}})),
            _ => Reply::ok(json!({"ARN": arn("a"), "Name": "a", "SecretString": "v"})),
        })
        .await;
        let store = double.store_with(service, "AKIAONE", json!({"role": "r/one"})).await.unwrap();
        let key = [key("k")];
        let one = || fetch(&*store, &key);
        let all = async || <[_; 4]>::from(tokio::join!(one(), one(), one(), one()));
        assert!(all().await.iter().all(Result::is_ok));
        double.take();

        // Refused that soon it would be taken for a mistake.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(11)).await;
        tokio::time::resume();
        ended.store(true, Ordering::SeqCst);
        for results in all().await {
            assert_eq!(results.unwrap()[0].as_ref().unwrap(), "v", "{service}");
        }
        let (logins, reads): (Vec<_>, Vec<_>) = double.take().into_iter().partition(|call| call == "AssumeRole");
        assert_eq!((logins.len(), reads.len()), (1, 8), "{service}: one login for all, and each read twice");
    }
}

#[tokio::test]
async fn the_role_of_a_service_account() {
    let double = Double::start(|request| {
        if request.operation == "AssumeRoleWithWebIdentity" {
            assert_eq!(request.text("WebIdentityToken"), "jwt");
            assert_eq!(request.text("RoleSessionName"), "external-secrets-provider-aws");
        }
        sts(request)
    })
    .await;
    let build = async |role: &str| {
        let credentials =
            MapCredentials::new().with("sa/token", "jwt").with("sa/annotations/eks.amazonaws.com/role-arn", role);
        let spec = json!({
            "service": SM, "region": "eu-west-1", "auth": {"jwt": {"serviceAccountRef": {"name": "sa"}}},
        });
        (keyferry_provider_aws::REGISTRATION.build)(&spec, double.context(credentials)).await
    };
    let store = build("r/app").await.unwrap();
    assert_eq!(fetch(&*store, &keys(&["a"])).await.unwrap()[0].as_ref().unwrap(), "of ASIAAPP");
    let error = fetch(&*build("r/denied").await.unwrap(), &keys(&["a"])).await.unwrap_err();
    assert!(error.message().contains("\"sa\"") && error.message().contains("trust policy"), "{error}");
}

#[tokio::test]
async fn session_tags_tell_who_asks_and_need_to_know() {
    let double = Double::start(|request| {
        if request.operation == "AssumeRole" {
            let tags: Vec<_> = (1..=3)
                .map(|n| {
                    let part = |part: &str| request.text(&format!("Tags.member.{n}.{part}")).to_owned();
                    (part("Key"), part("Value"))
                })
                .collect();
            let expected = [("esoNamespace", "team"), ("esoStoreName", "s"), ("esoStoreKind", "ClusterSecretStore")];
            assert_eq!(tags, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        }
        sts(request)
    })
    .await;
    let spec = json!({
        "service": SM, "region": "eu-west-1", "role": "r/tagged", "sessionTagsPolicy": "Simple",
        "auth": {"secretRef": {
            "accessKeyIDSecretRef": {"name": "aws", "key": "id"},
            "secretAccessKeySecretRef": {"name": "aws", "key": "secret"},
        }},
    });
    let build = async |namespace: Option<&str>| {
        let mut ctx = double.context(MapCredentials::new().with("aws/id", "AKIA").with("aws/secret", "s"));
        ctx.caller =
            Caller { store_kind: "ClusterSecretStore", store: "s".into(), namespace: namespace.map(str::to_owned) };
        (keyferry_provider_aws::REGISTRATION.build)(&spec, ctx).await
    };
    assert_eq!(build(None).await.err().unwrap().kind(), ErrorKind::Referent);
    let store = build(Some("team")).await.unwrap();
    assert_eq!(fetch(&*store, &keys(&["a"])).await.unwrap()[0].as_ref().unwrap(), "of ASIATAGGED");
}

#[tokio::test]
async fn the_operators_own_identity_is_told() {
    let double = Double::start(secrets_manager).await;
    let spec = json!({"service": SM, "region": "eu-west-1"});
    let store =
        (keyferry_provider_aws::REGISTRATION.build)(&spec, double.context(MapCredentials::new())).await.unwrap();
    assert!(store.identity_note().unwrap().contains("operator's own AWS identity"));
    assert_eq!(double.store(SM).await.identity_note(), None);
}
