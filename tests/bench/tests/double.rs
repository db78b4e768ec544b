//! The double is what tests judge the operator by: it must answer as the real ones do, and count truly.

use std::time::{Duration, Instant};

use keyferry_bench::double::{Double, Refusal, Rule};
use reqwest::{Client, Response};
use serde_json::{Value, json};

fn client() -> Client {
    keyferry_testkit::install_crypto_provider();
    Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap()
}

async fn send(double: &Double, identity: &str, target: &str, body: Value) -> Result<Response, reqwest::Error> {
    let scope = format!("AWS4-HMAC-SHA256 Credential={identity}/20260101/eu-west-1/x/aws4_request, Signature=0");
    let request = client().post(double.url()).header("x-amz-target", target).header("authorization", scope);
    request.body(body.to_string()).send().await
}

async fn json_of(answer: Response) -> Value {
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

async fn secrets_manager(double: &Double, action: &str, body: Value) -> (u16, Value) {
    let answer = send(double, "AKIA", &format!("secretsmanager.{action}"), body).await.unwrap();
    (answer.status().as_u16(), json_of(answer).await)
}

async fn batch(double: &Double, ids: &[&str]) -> (u16, Value) {
    secrets_manager(double, "BatchGetSecretValue", json!({ "SecretIdList": ids })).await
}

async fn vault(double: &Double, token: &str, path: &str) -> (u16, Value) {
    let url = format!("{}/v1/{path}", double.url());
    let answer = client().get(url).header("X-Vault-Token", token).send().await.unwrap();
    (answer.status().as_u16(), json_of(answer).await)
}

#[tokio::test]
async fn a_batch_has_a_result_or_an_error_for_each_key() {
    let double = Double::start();
    double.set("a", "1");
    double.set("b", "2");
    double.script(Rule::refuse(Refusal::Denied).key("b"));
    let (status, answer) = batch(&double, &["a", "b", "none"]).await;
    assert_eq!(status, 200);
    assert_eq!(answer["SecretValues"][0]["SecretString"], "1");
    let codes: Vec<&str> =
        answer["Errors"].as_array().unwrap().iter().map(|error| error["ErrorCode"].as_str().unwrap()).collect();
    assert_eq!(codes, ["ResourceNotFoundException", "AccessDeniedException"], "in an order of the store's own");
    assert_eq!(double.counts().batches("BatchGetSecretValue"), [3]);
}

#[tokio::test]
async fn callers_are_held_to_the_size_of_a_batch() {
    let double = Double::start();
    let ids: Vec<String> = (0..21).map(|n| format!("key-{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(batch(&double, &ids[..20]).await.0, 200);
    let (status, answer) = batch(&double, &ids).await;
    assert_eq!((status, &answer["__type"]), (400, &json!("ValidationException")));
    let names = |names: &[&str]| json!({ "Names": names });
    for (names, status) in [(names(&ids[..10]), 200), (names(&ids[..11]), 400), (names(&["p:1", "p:2"]), 400)] {
        let answer = send(&double, "AKIA", "AmazonSSM.GetParameters", names).await.unwrap();
        assert_eq!(answer.status(), status);
    }
}

#[tokio::test]
async fn versions_are_those_that_were_written() {
    let double = Double::start();
    double.set("app", "old");
    double.set("app", "new");
    let get = async |more: Value| {
        let mut body = json!({"SecretId": "arn:aws:secretsmanager:eu-west-1:1:secret:app-AbCdEf"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        secrets_manager(&double, "GetSecretValue", body).await.1
    };
    assert_eq!(get(json!({})).await["SecretString"], "new");
    let old = get(json!({"VersionStage": "AWSPREVIOUS"})).await;
    assert_eq!(old["SecretString"], "old");
    assert_eq!(get(json!({"VersionId": old["VersionId"]})).await["SecretString"], "old");
    assert_eq!(get(json!({"VersionStage": "none"})).await["__type"], "ResourceNotFoundException");
    assert_eq!(vault(&double, "t", "secret/data/app?version=1").await.1["data"]["data"]["value"], "old");
    let answer = send(&double, "AKIA", "AmazonSSM.GetParameter", json!({"Name": "app:2"})).await.unwrap();
    assert_eq!(json_of(answer).await["Parameter"]["Value"], "new");
    double.rotate(|key| format!("{key} rotated"));
    assert_eq!(get(json!({})).await["SecretString"], "app rotated");
    double.remove("app");
    assert_eq!(get(json!({})).await["__type"], "ResourceNotFoundException");
}

#[tokio::test]
async fn who_asks_gets_its_own_answer_and_is_counted() {
    let double = Double::start();
    double.set("app", r#"{"for": "everybody"}"#);
    double.set_for("red", "app", r#"{"for": "red"}"#);
    for (token, is) in [("red", "red"), ("blue", "everybody")] {
        assert_eq!(vault(&double, token, "secret/data/app").await.1["data"]["data"]["for"], is);
        assert_eq!(vault(&double, token, "auth/token/lookup-self").await.0, 200);
    }
    let answer = send(&double, "red", "secretsmanager.GetSecretValue", json!({"SecretId": "app"})).await.unwrap();
    assert_eq!(json_of(answer).await["SecretString"], r#"{"for": "red"}"#);
    let counts = double.reset_counts();
    assert_eq!(counts.by_identity(), [("blue".to_owned(), 2), ("red".to_owned(), 3)].into());
    assert_eq!((counts.calls("read"), counts.calls("lookup-self"), counts.total()), (2, 2, 5));
    assert_eq!(double.counts().total(), 0);
}

#[tokio::test]
async fn it_fails_as_it_is_told() {
    let double = Double::start();
    double.set("app", "1");
    double.script(Rule::refuse(Refusal::Denied).action("BatchGetSecretValue"));
    let (status, answer) = batch(&double, &["app"]).await;
    assert_eq!(status, 400);
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("is not authorized to perform: secretsmanager:BatchGetSecretValue because"), "{message}");
    double.calm();

    double.script(Rule::refuse(Refusal::Undecryptable).key("app").whole_call());
    assert_eq!(batch(&double, &["app", "b"]).await.1["__type"], "DecryptionFailure");
    double.calm();

    double.script(Rule::status_retry_after(503, 7).times(1));
    let answer = send(&double, "x", "secretsmanager.ListSecrets", json!({})).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"7".parse().unwrap()));
    assert_eq!(batch(&double, &["app"]).await.0, 200, "once");

    for rule in [Rule::reset(), Rule::garbage()] {
        double.script(rule.times(1));
        send(&double, "x", "secretsmanager.ListSecrets", json!({})).await.unwrap_err();
    }
    double.script(Rule::nonsense("[").times(1));
    let answer = send(&double, "x", "secretsmanager.ListSecrets", json!({})).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (200, "[".to_owned()));

    double.script(Rule::hang());
    let hanging = send(&double, "x", "secretsmanager.ListSecrets", json!({}));
    tokio::time::timeout(Duration::from_millis(200), hanging).await.unwrap_err();
    double.calm();

    double.script(Rule::throttle_above(0.01));
    assert_eq!([batch(&double, &["app"]).await.0, batch(&double, &["app"]).await.0], [200, 400]);
    assert_eq!(vault(&double, "t", "secret/data/app").await.0, 429);
}

#[tokio::test]
async fn a_delay_holds_up_the_answer_and_not_the_others() {
    let double = Double::start();
    double.script(Rule::delay(Duration::from_secs(2)));
    let begun = Instant::now();
    futures::future::join_all([0; 10].map(|_| batch(&double, &["a"]))).await;
    let took = begun.elapsed();
    assert!((2000..15_000).contains(&took.as_millis()), "{took:?}");
    let counts = double.counts();
    let lasted = |call: &keyferry_bench::double::Call| call.ended.unwrap().duration_since(call.at);
    assert!(counts.log().iter().all(|call| lasted(call) >= Duration::from_secs(2)));
}
