//! Logins at HashiCorp's own Vault which OpenBao has no method for. `make prove-vault` builds it and runs this; `make test`
//! does not.

mod servers;

use std::sync::Arc;

use keyferry_builders::key;
use keyferry_provider_core::{BuildContext, Error, ErrorKind, Provider};
use keyferry_provider_testkit::MapCredentials;
use keyferry_provider_tests::context;
use keyferry_provider_vault::REGISTRATION;
use keyferry_testkit::Testbed;
use reqwest::Method;
use serde_json::{Value, json};

use crate::servers::{Ldap, Server};

const CANARY: &str = "canary-5e8f20";

async fn build(spec: Value, credentials: MapCredentials) -> Result<Arc<dyn Provider>, Error> {
    let moto = Testbed::shared().moto_url();
    let environment = move |name: &str| (name == "AWS_STS_ENDPOINT").then(|| moto.clone());
    let context = BuildContext { environment: Arc::new(environment), ..context(credentials, Arc::new(())) };
    (REGISTRATION.build)(&spec, context).await.inspect_err(|error| {
        assert!(!error.message().contains(CANARY) && !error.message().contains("hvs."), "{error}");
    })
}

/// Reads the secret that the server has, and checks the token.
async fn reads(store: &dyn Provider) {
    let answer = store.fetch(&[key("app")]).await.unwrap().remove(0).unwrap();
    assert_eq!(answer.value.expose_str().unwrap(), format!("{{\"password\":\"{CANARY}\"}}"));
    store.validate().await.unwrap();
}

fn refused(result: Result<Arc<dyn Provider>, Error>, words: &str) {
    let error = result.err().expect("the login was refused");
    assert_eq!((error.kind(), error.message().contains(words)), (ErrorKind::Unauthenticated, true), "{error}");
}

/// A server with a secret that logins of a method may read.
async fn server(method: &str) -> Server {
    keyferry_testkit::install_crypto_provider();
    let server = Server::start().await;
    let vault = server.client();
    vault.put("app", json!({"password": CANARY})).await.unwrap();
    vault.write_policy("reader", "path \"secret/data/app\" { capabilities = [\"read\"] }").await.unwrap();
    vault.enable_auth(method, method).await.unwrap();
    server
}

async fn write(server: &Server, path: &str, body: Value) {
    server.client().request(Method::POST, path, Some(&body)).await.unwrap();
}

#[tokio::test]
async fn ldap() {
    let (server, ldap) = (server("ldap").await, Ldap::start(CANARY));
    let config = json!({"url": ldap.url(), "userdn": "dc=lab", "userattr": "uid", "groupdn": "dc=lab"});
    write(&server, "auth/ldap/config", config).await;
    write(&server, "auth/ldap/users/app", json!({"policies": "reader"})).await;
    let login = async |user: &str, password: &str| {
        let login = json!({"username": user, "secretRef": {"name": "p", "key": "k"}});
        let spec = json!({"server": server.url(), "path": "secret", "auth": {"ldap": login}});
        build(spec, MapCredentials::new().with("p/k", password)).await
    };
    reads(&*login("app", &format!("{CANARY}\n")).await.unwrap()).await;
    refused(login("app", "canary-5e8f20-wrong").await, "check the user \"app\" and its password");
    refused(login("nobody", CANARY).await, "check the user \"nobody\" and its password");
}

/// The signed call goes to moto, which says who signed it.
#[tokio::test]
async fn iam() {
    let server = server("aws").await;
    let moto = Testbed::shared().moto_url();
    let client = json!({"sts_endpoint": moto, "iam_endpoint": moto, "endpoint": moto, "sts_region": "us-east-1",
        "iam_server_id_header_value": "vault.example.com"});
    write(&server, "auth/aws/config/client", client).await;
    let role = |arn: &str| {
        json!({"auth_type": "iam", "bound_iam_principal_arn": [arn], "resolve_aws_unique_ids": false,
            "token_policies": ["reader"]})
    };
    write(&server, "auth/aws/role/app", role(&servers::caller(&moto).await)).await;
    write(&server, "auth/aws/role/assumed", role("arn:aws:iam::123456789012:role/app")).await;
    let login = async |more: Value| {
        let secret = |key: &str| json!({"name": "aws", "key": key});
        let keys = json!({"accessKeyIDSecretRef": secret("id"), "secretAccessKeySecretRef": secret("key")});
        let mut iam = json!({"vaultRole": "app", "vaultAwsIamServerID": "vault.example.com", "secretRef": keys});
        iam.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec = json!({"server": server.url(), "path": "secret", "auth": {"iam": iam}});
        let credentials = MapCredentials::new().with("aws/id", servers::KEY_ID).with("aws/key", CANARY);
        build(spec, credentials).await
    };
    reads(&*login(json!({})).await.unwrap()).await;
    let assumed = json!({"vaultRole": "assumed", "role": "arn:aws:iam::123456789012:role/app"});
    reads(&*login(assumed).await.unwrap()).await;
    refused(login(json!({"vaultAwsIamServerID": "another"})).await, "wants the same vaultAwsIamServerID");
    refused(login(json!({"vaultRole": "nobody"})).await, "check that the role \"nobody\" exists");
}
