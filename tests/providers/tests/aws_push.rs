//! Writing to the stores of AWS, against moto.

use std::sync::Arc;

use keyferry_provider_aws::REGISTRATION;
use keyferry_provider_core::{
    BuildContext, Caller, Error, ErrorKind, Origin, Payload, Provider, Push, Reach, Remote, SecretBytes,
};
use keyferry_provider_tests::{Counter, Moto, acm, aws_context, aws_keys, aws_spec, build_aws};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

const SM: &str = "SecretsManager";
const PS: &str = "ParameterStore";
const CANARY: &str = "canary-5e20b7";

fn random() -> String {
    format!("{:08x}", rand::random::<u32>())
}

fn metadata(spec: Value) -> Value {
    json!({"apiVersion": "kubernetes.external-secrets.io/v1alpha1", "kind": "PushSecretMetadata", "spec": spec})
}

fn remote(key: &str, spec: Value) -> Remote {
    let metadata = Some(spec).filter(|spec| !spec.is_null()).map(metadata);
    Remote { key: key.to_owned(), property: None, metadata }
}

fn push_of(key: &str, value: &str, spec: Value) -> Push {
    let payload = Payload::Value(value.into());
    Push { remote: remote(key, spec), payload, origin: Origin::default(), reach: Reach::Ours }
}

/// Pushes, and looks at the message where it fails.
async fn push(store: &dyn Provider, push: &Push) -> Result<(), Error> {
    store.push(push).await.inspect_err(|error| assert!(!error.to_string().contains(CANARY), "{error}"))
}

async fn described(name: &str) -> Value {
    Moto::SecretsManager.call("DescribeSecret", &json!({ "SecretId": name })).await
}

/// Tags as one text, sorted.
fn tags(described: &Value, list: &str) -> String {
    let tags = described[list].as_array().into_iter().flatten();
    let mut tags: Vec<_> = tags.map(|tag| format!("{}={}", tag["Key"], tag["Value"]).replace('"', "")).collect();
    tags.sort_unstable();
    tags.join(" ")
}

/// A store that counts, and whose caller has a namespace.
async fn counting(service: &str, more: Value) -> (Arc<dyn Provider>, Arc<Counter>) {
    let counter = Arc::new(Counter::default());
    let caller = Caller { store_kind: "SecretStore", store: "s".into(), namespace: Some("team".into()) };
    let credentials = aws_keys().with("policies/one", policy("one")).with("policies/two", policy("two"));
    let credentials = credentials.with("policies/none", "no JSON");
    let ctx = BuildContext { caller, ..aws_context(credentials, counter.clone()) };
    ((REGISTRATION.build)(&aws_spec(service, more), ctx).await.unwrap(), counter)
}

fn policy(sid: &str) -> String {
    let statement = json!({
        "Sid": sid, "Effect": "Deny", "Principal": "*", "Action": "secretsmanager:DeleteSecret", "Resource": "*",
    });
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

#[tokio::test]
async fn what_a_push_says_of_a_secret() {
    let (store, counter) = counting(SM, json!({})).await;
    let name = format!("push-{}", random());
    let spec = json!({"tags": {"team": "a", "x": "y"}, "description": "d", "secretPushFormat": "string",
        "kmsKeyId": "alias/mine"});
    push(&*store, &push_of(&name, "one", spec.clone())).await.unwrap();
    let calls = ["CreateSecret", "DescribeSecret"].map(|call| (format!("AWS/SecretsManager {call}"), 1));
    let missing = ("!AWS/SecretsManager DescribeSecret".to_owned(), 1);
    assert_eq!(counter.take(), [missing, calls[0].clone()].into());
    let there = described(&name).await;
    assert_eq!((there["Description"].as_str(), there["KmsKeyId"].as_str()), (Some("d"), Some("alias/mine")));
    assert_eq!(tags(&there, "Tags"), "managed-by=external-secrets team=a x=y");
    let versions = there["VersionIdsToStages"].as_object().unwrap();
    assert!(versions.contains_key("00000000-0000-0000-0000-000000000001"), "{versions:?}");

    // The same costs two reads, and another value is text, too.
    push(&*store, &push_of(&name, "one", spec.clone())).await.unwrap();
    let reads = ["DescribeSecret", "GetSecretValue"].map(|call| (format!("AWS/SecretsManager {call}"), 1));
    assert_eq!(counter.take(), reads.into());
    push(&*store, &push_of(&name, "two", spec)).await.unwrap();
    let value = Moto::SecretsManager.call("GetSecretValue", &json!({ "SecretId": name })).await;
    assert_eq!(value["SecretString"], "two");
    push(&*store, &push_of(&name, "three", Value::Null)).await.unwrap();
    let value = Moto::SecretsManager.call("GetSecretValue", &json!({ "SecretId": name })).await;
    assert_eq!(value["SecretBinary"], "dGhyZWU=");
    assert_eq!(described(&name).await["Description"], "d", "what is not said stays");
}

#[tokio::test]
async fn tags_change_only_where_a_push_has_some() {
    let store = build_aws(aws_spec(SM, json!({}))).await;
    let name = format!("tags-{}", random());
    for (spec, expected) in [
        (Value::Null, "managed-by=external-secrets"),
        (json!({"tags": {"a": "1", "b": "2"}}), "a=1 b=2 managed-by=external-secrets"),
        (json!({}), "a=1 b=2 managed-by=external-secrets"),
        (json!({"tags": {"b": "3", "c": "4"}}), "b=3 c=4 managed-by=external-secrets"),
    ] {
        push(&*store, &push_of(&name, "v", spec)).await.unwrap();
        assert_eq!(tags(&described(&name).await, "Tags"), expected);
    }
    let error = push(&*store, &push_of(&name, CANARY, json!({"tags": {"managed-by": "me"}}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_policy_of_others_stays_and_one_of_ours_goes_when_it_is_not_wanted() {
    let (store, counter) = counting(SM, json!({})).await;
    let name = format!("policy-{}", random());
    let attached = async || {
        let answer = Moto::SecretsManager.call("GetResourcePolicy", &json!({ "SecretId": name })).await;
        answer["ResourcePolicy"].as_str().map(str::to_owned)
    };
    let wanted = |kind: &str, key: &str| {
        let source = json!({"kind": kind, "name": "policies", "key": key});
        json!({"resourcePolicy": {"policySourceRef": source, "blockPublicPolicy": true}})
    };
    push(&*store, &push_of(&name, "v", Value::Null)).await.unwrap();
    let theirs = json!({"SecretId": name, "ResourcePolicy": policy("theirs")});
    Moto::SecretsManager.call("PutResourcePolicy", &theirs).await;
    counter.take();
    push(&*store, &push_of(&name, "w", Value::Null)).await.unwrap();
    assert!(attached().await.unwrap().contains("theirs"));
    let calls = counter.take();
    assert!(calls.keys().all(|call| !call.contains("ResourcePolicy")), "{calls:?}");

    for (kind, key) in [("Secret", "one"), ("ConfigMap", "two")] {
        push(&*store, &push_of(&name, "w", wanted(kind, key))).await.unwrap();
        assert!(attached().await.unwrap().contains(key));
        assert_eq!(counter.take()["AWS/SecretsManager PutResourcePolicy"], 1);
        push(&*store, &push_of(&name, "w", wanted(kind, key))).await.unwrap();
        assert_eq!(counter.take().get("AWS/SecretsManager PutResourcePolicy"), None, "it is there already");
    }
    let error = push(&*store, &push_of(&name, CANARY, wanted("Secret", "none"))).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("policySourceRef"), "{error}");
    push(&*store, &push_of(&name, "w", json!({"tags": {"a": "b"}}))).await.unwrap();
    assert_eq!(attached().await, None);
    assert_eq!(tags(&described(&name).await, "Tags"), "a=b managed-by=external-secrets");
}

#[tokio::test]
async fn copies_in_other_regions() {
    let store = build_aws(aws_spec(SM, json!({"secretsManager": {"forceDeleteWithoutRecovery": true}}))).await;
    let name = format!("copies-{}", random());
    let regions = async || {
        let there = described(&name).await;
        let all = there["ReplicationStatus"].as_array().cloned().unwrap_or_default();
        let mut all: Vec<_> = all.iter().map(|one| one["Region"].as_str().unwrap().to_owned()).collect();
        all.sort_unstable();
        all
    };
    for (spec, expected) in [
        (json!({"replicationLocations": ["us-east-1"]}), &["us-east-1"][..]),
        (Value::Null, &["us-east-1"]),
        (json!({"replicationLocations": ["us-east-1", "us-east-2"]}), &["us-east-1", "us-east-2"]),
        (json!({"replicationLocations": ["us-east-2"]}), &["us-east-2"]),
    ] {
        push(&*store, &push_of(&name, "v", spec)).await.unwrap();
        assert_eq!(regions().await, expected);
    }
    store.delete(&remote(&name, Value::Null), Reach::Ours).await.unwrap();
    let (status, _) = Moto::SecretsManager.send("DescribeSecret", &json!({ "SecretId": name })).await;
    assert!(status >= 400, "{status}");
}

#[tokio::test]
async fn what_is_deleted_can_be_restored_and_is_not_written_to() {
    let store = build_aws(aws_spec(SM, json!({"secretsManager": {"recoveryWindowInDays": 7}}))).await;
    let name = format!("deleted-{}", random());
    push(&*store, &push_of(&name, "v", Value::Null)).await.unwrap();
    for _ in 0..2 {
        store.delete(&remote(&name, Value::Null), Reach::Ours).await.unwrap();
        assert!(!store.exists(&remote(&name, Value::Null)).await.unwrap());
    }
    let error = push(&*store, &push_of(&name, CANARY, Value::Null)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "nothing is to be deleted for it: {error}");
    assert!(error.message().contains("restore it"), "{error}");
    Moto::SecretsManager.call("RestoreSecret", &json!({ "SecretId": name })).await;
    push(&*store, &push_of(&name, "v", Value::Null)).await.unwrap();
}

#[tokio::test]
async fn properties_in_json_and_in_nothing_else() {
    for (service, name) in [(SM, format!("props-{}", random())), (PS, format!("/props-{}", random()))] {
        let store = build_aws(aws_spec(service, json!({}))).await;
        let of = |property: &str, value: &str| {
            let mut push = push_of(&name, value, Value::Null);
            push.remote.property = Some(property.to_owned());
            push
        };
        let whole = async || {
            let key = keyferry_builders::key(&name);
            store.fetch(&[key]).await.unwrap().remove(0).unwrap().value.expose_str().unwrap().to_owned()
        };
        push(&*store, &push_of(&name, r#"{"n": 12345678901234567890}"#, Value::Null)).await.unwrap();
        push(&*store, &of("db.password", "p")).await.unwrap();
        assert_eq!(whole().await, r#"{"db":{"password":"p"},"n":12345678901234567890}"#, "{service}");
        assert!(store.exists(&of("db.password", "").remote).await.unwrap());
        assert!(!store.exists(&of("db.user", "").remote).await.unwrap());
        store.delete(&of("db.password", "").remote, Reach::Ours).await.unwrap();
        assert_eq!(whole().await, r#"{"n":12345678901234567890}"#, "{service}");

        push(&*store, &push_of(&name, &format!("no JSON: {CANARY}"), Value::Null)).await.unwrap();
        let error = push(&*store, &of("a", CANARY)).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains("would be lost"), "{error}");
        assert!(error.message().contains(&name), "{error}");
        assert_eq!(whole().await, format!("no JSON: {CANARY}"));
    }
}

#[tokio::test]
async fn what_a_push_says_of_a_parameter() {
    let (store, counter) = counting(PS, json!({})).await;
    let name = format!("/push-{}", random());
    let spec = json!({"secretType": "SecureString", "kmsKeyID": "alias/mine", "tags": {"a": "1"}, "description": "d",
        "tier": {"type": "Advanced"}});
    push(&*store, &push_of(&name, "one", spec.clone())).await.unwrap();
    let expected =
        [("!AWS/ParameterStore GetParameter".to_owned(), 1), ("AWS/ParameterStore PutParameter".to_owned(), 1)];
    assert_eq!(counter.take(), expected.into());
    let filter = json!({"ParameterFilters": [{"Key": "Name", "Values": [name]}]});
    let there = Moto::Ssm.call("DescribeParameters", &filter).await["Parameters"][0].clone();
    assert_eq!(
        ["Type", "KeyId", "Description", "Tier"].map(|field| there[field].as_str().unwrap_or_default()),
        ["SecureString", "alias/mine", "d", "Advanced"]
    );
    let listed = async || {
        let ask = json!({"ResourceType": "Parameter", "ResourceId": name});
        tags(&Moto::Ssm.call("ListTagsForResource", &ask).await, "TagList")
    };
    assert_eq!(listed().await, "a=1 managed-by=external-secrets");

    // The same value, and other tags: no new version for it.
    let mut other = spec.clone();
    other["tags"] = json!({"b": "2"});
    push(&*store, &push_of(&name, "one", other)).await.unwrap();
    assert_eq!(listed().await, "b=2 managed-by=external-secrets");
    let kept = Moto::Ssm.call("GetParameter", &json!({"Name": name, "WithDecryption": true})).await;
    assert_eq!((&kept["Parameter"]["Value"], &kept["Parameter"]["Version"]), (&json!("one"), &json!(1)));
    push(&*store, &push_of(&name, "two", spec)).await.unwrap();
    let kept = Moto::Ssm.call("GetParameter", &json!({"Name": name, "WithDecryption": true})).await;
    assert_eq!((&kept["Parameter"]["Value"], &kept["Parameter"]["Version"]), (&json!("two"), &json!(2)));

    let mut binary = push_of(&name, "", Value::Null);
    binary.payload = Payload::Value(SecretBytes::new(vec![0xff]));
    assert_eq!(push(&*store, &binary).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_whole_secret_as_a_parameter() {
    let store = build_aws(aws_spec(PS, json!({}))).await;
    let fields = [("b", "2"), ("a", "<1>")].map(|(name, value)| (name.to_owned(), SecretBytes::from(value)));
    for (spec, expected) in
        [(Value::Null, r#"{"a":"PDE+","b":"Mg=="}"#), (json!({"encodeAsDecoded": true}), r#"{"a":"<1>","b":"2"}"#)]
    {
        let name = format!("/whole-{}", random());
        let mut whole = push_of(&name, "", spec);
        whole.payload = Payload::Fields(fields.clone().into());
        push(&*store, &whole).await.unwrap();
        let kept = Moto::Ssm.call("GetParameter", &json!({ "Name": name })).await;
        assert_eq!(kept["Parameter"]["Value"], expected);
    }
}

/// A certificate and its key, PEM.
fn certificate(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_certificate_is_exported_with_its_key() {
    let counter = Arc::new(Counter::default());
    let spec = aws_spec("CertificateManager", json!({"prefix": "not-for-arns/"}));
    let store = (REGISTRATION.build)(&spec, aws_context(aws_keys(), counter.clone())).await.unwrap();
    store.validate().await.unwrap();
    let request = |export: &str| json!({"DomainName": "app.example.com", "Options": {"Export": export}});
    let arn = acm("RequestCertificate", &request("ENABLED")).await["CertificateArn"].as_str().unwrap().to_owned();
    let kept_in = acm("RequestCertificate", &request("DISABLED")).await["CertificateArn"].as_str().unwrap().to_owned();
    let gone = format!("{}00000000", &arn[..arn.len() - 8]);
    let keys = [&arn, &gone, &kept_in].map(keyferry_builders::key);
    let answers = store.fetch(&keys).await.unwrap();
    let text = answers[0].as_ref().unwrap().value.expose_str().unwrap();
    let labels: Vec<_> = text.lines().filter(|line| line.starts_with("-----BEGIN")).collect();
    let certificates = labels.len() - 1;
    assert!(certificates >= 1 && labels[..certificates].iter().all(|label| *label == "-----BEGIN CERTIFICATE-----"));
    assert_eq!(labels[certificates], "-----BEGIN PRIVATE KEY-----");
    assert!(text.ends_with("-----END PRIVATE KEY-----\n"));
    let key = &text[text.find("-----BEGIN PRIVATE KEY").unwrap()..];
    assert!(rustls_key(key), "the key is one");
    let error = answers[1].as_ref().unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.message().contains(&gone), "{error}");
    let error = answers[2].as_ref().unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("export enabled"), "{error}");
    let calls = [
        ("AWS/CertificateManager ExportCertificate".to_owned(), 1),
        ("!AWS/CertificateManager ExportCertificate".to_owned(), 2),
        // Whether the keys are good.
        ("AWS/STS GetCallerIdentity".to_owned(), 1),
    ];
    assert_eq!(counter.take(), calls.into());
}

/// Whether it is a key that can be used.
fn rustls_key(pem: &str) -> bool {
    let der: Vec<u8> = {
        use base64::Engine as _;
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        base64::engine::general_purpose::STANDARD.decode(body).unwrap()
    };
    // PKCS #8 of RSA: its length, and the name of the algorithm.
    der.len() > 1000 && der.windows(9).any(|part| part == [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1])
}

#[tokio::test]
async fn a_certificate_is_imported_known_again_and_deleted() {
    let build = async || {
        let (store, counter) = counting("CertificateManager", json!({"prefix": "team/"})).await;
        (store, counter)
    };
    let (store, counter) = build().await;
    let key = format!("cert-{}", random());
    let of = |(crt, key_pem): &(String, String), spec: Value| {
        let mut push = push_of(&key, "", spec);
        let fields = [("tls.crt", crt), ("tls.key", key_pem)];
        push.payload = Payload::Fields(fields.map(|(name, value)| (name.to_owned(), value.as_str().into())).into());
        push
    };
    let (one, two) = (certificate("one.example.com"), certificate("two.example.com"));
    assert!(!store.exists(&remote(&key, Value::Null)).await.unwrap());
    counter.take();
    push(&*store, &of(&one, json!({"tags": {"a": "b"}}))).await.unwrap();
    let named = |calls: &[(&str, usize)]| {
        calls.iter().map(|(call, count)| (format!("AWS/CertificateManager {call}"), *count)).collect()
    };
    assert_eq!(counter.take(), named(&[("GetResources", 1), ("ImportCertificate", 1)]));
    // Another process finds it by its tags, and what is equal is not imported again.
    let (other, counter) = build().await;
    push(&*other, &of(&one, Value::Null)).await.unwrap();
    assert_eq!(counter.take(), named(&[("GetResources", 1), ("GetCertificate", 1)]));
    push(&*store, &of(&two, Value::Null)).await.unwrap();
    assert!(store.exists(&remote(&key, Value::Null)).await.unwrap());
    let all = acm("ListCertificates", &json!({})).await["CertificateSummaryList"].as_array().unwrap().clone();
    let of_name = |name: &str| all.iter().filter(|one| one["DomainName"] == name).count();
    assert_eq!((of_name("two.example.com"), of_name("one.example.com")), (1, 0), "one took the place of the other");
    for _ in 0..2 {
        store.delete(&remote(&key, Value::Null), Reach::Ours).await.unwrap();
    }
    assert!(!store.exists(&remote(&key, Value::Null)).await.unwrap());
    // Deleted behind the store's back, and pushed again.
    push(&*store, &of(&one, Value::Null)).await.unwrap();
    other.delete(&remote(&key, Value::Null), Reach::Ours).await.unwrap();
    push(&*store, &of(&one, Value::Null)).await.unwrap();
    assert!(store.exists(&remote(&key, Value::Null)).await.unwrap());
    let wrong = push_of(&key, CANARY, Value::Null);
    assert_eq!(push(&*store, &wrong).await.unwrap_err().kind(), ErrorKind::Invalid);
    store.delete(&remote(&key, Value::Null), Reach::Ours).await.unwrap();
}
