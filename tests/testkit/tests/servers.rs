//! The servers are real: what tests will lean on works.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec, TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace as NamespaceObject, Secret, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use keyferry_testkit::process::is_running;
use keyferry_testkit::{Namespace, OpenBao, OpenBaoOptions, Testbed, Vault, eventually};
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use reqwest::Method;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(120);

#[tokio::test]
async fn the_api_server_says_its_version() {
    let client = Testbed::shared().kube_client().await;
    let version = client.apiserver_version().await.unwrap();
    let expected = format!("v{}.{}.", version.major, version.minor);
    assert!(version.git_version.starts_with(&expected), "{version:?}");
    assert_ne!(version.major, "0");
}

#[tokio::test]
async fn a_namespace_gets_its_service_account_and_goes_when_dropped() {
    let testbed = Testbed::shared();
    let namespace = testbed.namespace("account").await;
    let name = namespace.name().to_owned();
    default_account(&namespace).await;
    drop(namespace);

    let namespaces: Api<NamespaceObject> = Api::all(testbed.kube_client().await);
    eventually(SOON, || async {
        match namespaces.get_opt(&name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_namespace_can_have_a_fixed_name() {
    let namespace = Testbed::shared().namespace_named("fixed-name").await;
    assert_eq!(namespace.name(), "fixed-name");
}

#[tokio::test]
async fn tokens_of_service_accounts_are_real() {
    let namespace = Testbed::shared().namespace("token").await;
    let token = token(&namespace, &["store"]).await;
    let review = TokenReview {
        spec: TokenReviewSpec { token, audiences: Some(vec!["store".into()]) },
        ..TokenReview::default()
    };
    let reviews: Api<TokenReview> = Api::all(namespace.client());
    let review = reviews.create(&PostParams::default(), &review).await.unwrap();
    let user = review.status.unwrap().user.unwrap().username.unwrap();
    assert_eq!(user, format!("system:serviceaccount:{}:default", namespace.name()));
}

#[tokio::test]
async fn what_is_owned_is_garbage_collected() {
    let namespace = Testbed::shared().namespace("garbage").await;
    let (owners, secrets) = (namespace.api::<ConfigMap>(), namespace.api::<Secret>());
    let owner = ConfigMap { metadata: named("owner"), ..ConfigMap::default() };
    let owner = owners.create(&PostParams::default(), &owner).await.unwrap();
    let mut owned = Secret { metadata: named("owned"), ..Secret::default() };
    owned.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: "owner".into(),
        uid: owner.metadata.uid.unwrap(),
        ..OwnerReference::default()
    }]);
    secrets.create(&PostParams::default(), &owned).await.unwrap();
    owners.delete("owner", &DeleteParams::default()).await.unwrap();
    eventually(SOON, || async {
        match secrets.get_opt("owned").await {
            Ok(None) => Ok(()),
            other => Err(format!("{:?}", other.map(|s| s.is_some()))),
        }
    })
    .await;
}

#[tokio::test]
async fn openbao_keeps_secrets() {
    let vault = Testbed::shared().vault();
    assert_eq!(vault.get("kept/secret").await.unwrap(), None);
    assert_eq!(vault.put("kept/secret", json!({ "key": "one" })).await.unwrap(), 1);
    assert_eq!(vault.put("kept/secret", json!({ "key": "two" })).await.unwrap(), 2);
    let value = vault.get("kept/secret").await.unwrap();
    assert_eq!(value, Some(json!({ "key": "two" })));
    vault.delete("kept/secret").await.unwrap();
    assert_eq!(vault.get("kept/secret").await.unwrap(), None);
}

#[tokio::test]
async fn openbao_has_other_mounts_policies_and_namespaces() {
    let vault = Testbed::shared().vault();
    vault.mount("old", "kv", json!({ "version": "1" })).await.unwrap();
    let body = json!({ "key": "value" });
    vault.request(Method::POST, "old/thing", Some(&body)).await.unwrap();

    let rules = r#"path "old/thing" { capabilities = ["read"] }"#;
    vault.write_policy("read-old", rules).await.unwrap();
    let reader = vault.with_token(&vault.create_token(&["read-old"]).await.unwrap());
    let answer = reader.request(Method::GET, "old/thing", None).await.unwrap();
    assert_eq!(answer["data"], body);
    let denied = reader.request(Method::POST, "old/thing", Some(&body)).await;
    let denied = denied.unwrap_err().to_string();
    assert!(denied.contains("403") && denied.contains("permission denied"), "{denied}");

    vault.request(Method::POST, "sys/namespaces/team", None).await.unwrap();
    let team = vault.with_namespace("team");
    team.mount("secret", "kv", json!({ "version": "2" })).await.unwrap();
    eventually(SOON, || team.put("thing", json!({ "of": "team" }))).await;
    assert_eq!(vault.get("thing").await.unwrap(), None);
}

#[tokio::test]
async fn openbao_checks_service_accounts_at_the_api_server() {
    let testbed = Testbed::shared();
    let namespace = testbed.namespace("login").await;
    let vault = testbed.vault();
    vault.enable_kubernetes_auth("k8s", &testbed.kubernetes()).await.unwrap();
    let role = json!({
        "bound_service_account_names": ["default"],
        "bound_service_account_namespaces": [namespace.name()],
    });
    vault.request(Method::POST, "auth/k8s/role/app", Some(&role)).await.unwrap();
    let login = json!({ "role": "app", "jwt": token(&namespace, &[]).await });
    let answer = vault.request(Method::POST, "auth/k8s/login", Some(&login)).await.unwrap();
    assert!(answer["auth"]["client_token"].is_string());
}

#[tokio::test]
async fn a_second_openbao_has_tls_and_can_be_broken() {
    let options = OpenBaoOptions { tls: true, ..OpenBaoOptions::default() };
    let mut bao = OpenBao::start(&options).await.unwrap();
    bao.client().unwrap().put("over/tls", json!({ "a": "b" })).await.unwrap();

    let stranger = Vault::new(bao.url(), bao.token(), None).unwrap();
    let refused = stranger.get("over/tls").await.unwrap_err();
    assert!(format!("{refused:#}").contains("certificate"), "{refused:#}");

    let (url, old) = (bao.url().to_owned(), bao.process().id());
    bao.process().kill();
    bao.client().unwrap().get("over/tls").await.unwrap_err();
    bao.restart().await.unwrap();
    assert_eq!(bao.url(), url);
    bao.client().unwrap().put("over/tls", json!({ "a": "b" })).await.unwrap();
    let new = bao.process().id();
    drop(bao);
    assert!(!is_running(old) && !is_running(new));
}

#[tokio::test]
async fn moto_keeps_secrets() {
    let url = Testbed::shared().moto_url();
    let call = |action: &str, body: Value| {
        let action = action.to_owned();
        let request = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap()
            .post(&url)
            .header("X-Amz-Target", format!("secretsmanager.{action}"))
            .header("Content-Type", "application/x-amz-json-1.1")
            // It looks for the service here and checks nothing else.
            .header(
                "Authorization",
                "AWS4-HMAC-SHA256 Credential=any/20260101/eu-west-1/secretsmanager/aws4_request, \
                 SignedHeaders=host, Signature=any",
            )
            .body(body.to_string());
        async move {
            let text = request.send().await.unwrap().text().await.unwrap();
            serde_json::from_str::<Value>(&text).unwrap()
        }
    };
    keyferry_testkit::install_crypto_provider();
    let secret = json!({ "Name": "kept", "SecretString": "of moto", "ClientRequestToken": "t".repeat(32) });
    call("CreateSecret", secret).await;
    let answer = call("GetSecretValue", json!({ "SecretId": "kept" })).await;
    assert_eq!(answer["SecretString"], "of moto");
}

/// One testbed of its own for all that breaks servers: starting one takes seconds.
#[tokio::test]
async fn servers_can_be_broken_and_brought_back() {
    let crd = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(crd.path(), CRD).unwrap();
    let manifest = format!("--manifest={}", crd.path().display());
    let testbed = Testbed::private(&[&manifest]).unwrap();
    let supervisor = testbed.supervisor_pid().unwrap();
    let client = testbed.kube_client().await;

    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.get("things.test.keyferry.io").await.expect("the manifest was applied");

    let namespace = testbed.namespace("survivor").await;
    let url = testbed.kubernetes().url;
    let old = testbed.pid("kube-apiserver").unwrap();
    testbed.kill("kube-apiserver").unwrap();
    eventually(SOON, || async { gone(old) }).await;
    client.apiserver_version().await.expect_err("the API server was killed");
    testbed.restart("kube-apiserver").unwrap();
    assert_ne!(testbed.pid("kube-apiserver").unwrap(), old);
    assert_eq!(testbed.kubernetes().url, url);
    let namespaces: Api<NamespaceObject> = Api::all(client);
    namespaces.get(namespace.name()).await.expect("etcd kept the data");

    let vault = testbed.vault();
    testbed.freeze("openbao").unwrap();
    let frozen = tokio::time::timeout(Duration::from_millis(500), vault.get("any"));
    frozen.await.expect_err("a frozen server answers nothing");
    testbed.thaw("openbao").unwrap();
    vault.get("any").await.unwrap();

    vault.put("forgotten", json!({ "a": "b" })).await.unwrap();
    testbed.restart("openbao").unwrap();
    assert_eq!(vault.get("forgotten").await.unwrap(), None);
    assert!(testbed.log("openbao").unwrap().contains("OpenBao"));

    let unknown = format!("{:#}", testbed.restart("kubelet").unwrap_err());
    assert!(unknown.contains("there are etcd, kube-apiserver"), "{unknown}");

    let attached = Testbed::attach(&testbed.description().file()).unwrap();
    assert_eq!(attached.kubernetes().url, url);
    drop(attached);
    assert!(is_running(supervisor), "who attached must not end it");

    let servers = testbed.description().servers;
    drop((namespace, testbed));
    assert!(!is_running(supervisor));
    assert!(servers.values().all(|server| !is_running(server.pid)));
}

const CRD: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.test.keyferry.io}
spec:
  group: test.keyferry.io
  scope: Namespaced
  names: {kind: Thing, plural: things, singular: thing}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object}}
";

fn gone(pid: u32) -> Result<(), String> {
    if is_running(pid) { Err(format!("process {pid} still runs")) } else { Ok(()) }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() }
}

async fn default_account(namespace: &Namespace) -> ServiceAccount {
    let accounts = namespace.api::<ServiceAccount>();
    eventually(SOON, || accounts.get("default")).await
}

async fn token(namespace: &Namespace, audiences: &[&str]) -> String {
    default_account(namespace).await;
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(audiences.iter().map(|&a| a.to_owned()).collect()),
            expiration_seconds: Some(600),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let accounts = namespace.api::<ServiceAccount>();
    let created = accounts.create_token_request("default", &PostParams::default(), &request).await.unwrap();
    created.status.unwrap().token.unwrap()
}
