//! AWS through a proxy: its services, and STS on the way to them.

mod double;

use std::sync::Arc;

use double::{Double, Reply, Request, fetch, keys};
use keyferry_doubles::Proxy;
use keyferry_provider_aws::REGISTRATION;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::proxy::Proxies;
use keyferry_provider_core::{BuildContext, ErrorKind, Provider};
use keyferry_provider_testkit::MapCredentials;
use serde_json::json;

const SECRET: &str = "canary-of-the-secret-key";

fn answer(request: &Request) -> Reply {
    let session = "<Credentials><AccessKeyId>ASIAONE</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
                   <SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>";
    match request.operation.as_str() {
        "AssumeRole" => Reply::Body(
            200,
            format!("<AssumeRoleResponse><AssumeRoleResult>{session}</AssumeRoleResult></AssumeRoleResponse>"),
        ),
        "GetParameter" => Reply::ok(json!({"Parameter": {"Name": "a", "Value": "v"}})),
        _ => Reply::ok(json!({"ARN": "arn:aws:x:1:secret:a", "Name": "a", "SecretString": "v"})),
    }
}

/// A store that assumes a role, of a process with these proxies and AWS behind this name.
async fn store(service: &str, endpoint: &str, proxies: Proxies) -> Arc<dyn Provider> {
    let credentials = MapCredentials::new().with("aws/id", "AKIAONE").with("aws/secret", SECRET);
    let spec = json!({
        "service": service, "region": "eu-west-1", "role": "arn:aws:iam::1:role/one",
        "auth": {"secretRef": {
            "accessKeyIDSecretRef": {"name": "aws", "key": "id"},
            "secretAccessKeySecretRef": {"name": "aws", "key": "secret"},
        }},
    });
    let endpoint = endpoint.to_owned();
    let context = BuildContext {
        environment: Arc::new(move |name| (name == "AWS_ENDPOINT_URL").then(|| endpoint.clone())),
        addresses: Addresses::anywhere().through(proxies),
        ..BuildContext::new(Arc::new(credentials), Arc::new(()))
    };
    (REGISTRATION.build)(&spec, context).await.unwrap()
}

fn proxies(url: &str) -> Proxies {
    Proxies::of(&|name| name.starts_with("HTTP").then(|| url.to_owned())).unwrap()
}

#[tokio::test]
async fn all_services_and_logins_go_through_the_proxy() {
    let double = Double::start(answer).await;
    let proxy = Proxy::start();
    proxy.leads("aws.stores.test:8000", &double.url());
    for (service, read) in [("SecretsManager", "GetSecretValue"), ("ParameterStore", "GetParameter")] {
        let store = store(service, "http://aws.stores.test:8000", proxies(&proxy.url())).await;
        assert_eq!(fetch(&*store, &keys(&["a"])).await.unwrap()[0].as_ref().unwrap(), "v");
        assert_eq!(double.take(), ["AssumeRole", read]);
        let passed = proxy.take();
        assert!(passed.len() == 2 && passed.iter().all(|passage| passage.passed), "{passed:?}");
    }
    // Loopback needs none.
    let store = store("SecretsManager", &double.url(), proxies(&proxy.url())).await;
    fetch(&*store, &keys(&["a"])).await.unwrap()[0].as_ref().unwrap();
    assert!(proxy.take().is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_a_proxy_is_said_of_it() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://me:{SECRET}@{}", nobody.local_addr().unwrap());
    drop(nobody);
    let proxy = Proxy::start();
    proxy.wants("me", "canary-of-a-proxy");
    for (endpoint, url, words) in [
        ("http://aws.stores.test", gone.as_str(), "refuses connections: check HTTP_PROXY of the operator"),
        ("https://aws.stores.test", &gone, "refuses connections: check HTTPS_PROXY of the operator"),
        ("http://aws.stores.test", "http://no-such-proxy.invalid", "has a name that can't be resolved"),
        ("https://aws.stores.test", &proxy.url(), "wants a login: put user and password into HTTPS_PROXY"),
    ] {
        let store = store("SecretsManager", endpoint, proxies(url)).await;
        let error = fetch(&*store, &keys(&["a"])).await.and_then(|mut answers| answers.remove(0)).unwrap_err();
        assert!(error.to_string().contains(words) && error.message().starts_with("the proxy "), "{error}");
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Invalid), "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}
