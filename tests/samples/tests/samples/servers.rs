//! Counterparts that are real servers of the testbed, and the store that needs none.

use keyferry_conformance::setup;
use keyferry_testkit::{Barbican, Testbed};
use reqwest::Method;
use serde_json::{Value, json};

use crate::counterpart::{Counterpart, VALUE, field};

pub async fn aws(testbed: &Testbed) -> Counterpart {
    let params = json!({"Name": "team/app", "SecretString": field()});
    let create = json!({"aws": {"service": "secretsmanager", "action": "CreateSecret", "params": params}});
    setup::run(testbed, &[create]).await.expect("moto takes a secret");
    let env = vec![("AWS_SECRETSMANAGER_ENDPOINT", testbed.moto_url())];
    Counterpart { env, ..Counterpart::new((), Vec::new()) }
}

pub async fn barbican() -> Counterpart {
    let barbican = Barbican::start().await.expect("Barbican starts");
    let id = barbican.put("app", Some(VALUE.as_bytes())).await.expect("Barbican takes a secret");
    let secret = "the-secret-of-the-application-credential";
    let application = barbican.application_credential(secret).await.expect("Keystone makes a credential");
    let here = vec![
        ("https://keystone.example.com:5000/v3", barbican.auth_url().to_owned()),
        ("1f6b1f0c1f1b4a0f9a3c4d5e6f708192", application),
        ("61000082-2eaa-49fd-98f0-4158c5b89af0", id),
    ];
    Counterpart::new(barbican, here)
}

pub async fn vault(testbed: &Testbed) -> Counterpart {
    let (vault, name) = (testbed.vault(), format!("sample-{:016x}", rand::random::<u64>()));
    vault.put(&name, json!({"password": VALUE})).await.expect("OpenBao takes a secret");
    vault
        .write_policy(&name, format!("path \"secret/data/{name}\" {{ capabilities = [\"read\"] }}"))
        .await
        .expect("OpenBao takes a policy");
    vault.enable_auth(&name, "approle").await.expect("OpenBao takes a method");
    let ask = async |method: Method, path: &str, body: Option<Value>| {
        let path = format!("auth/{name}/role/{path}");
        vault.request(method, &path, body.as_ref()).await.unwrap_or_else(|error| panic!("{path}: {error:#}"))
    };
    ask(Method::POST, "r", Some(json!({"token_policies": [name]}))).await;
    let role = ask(Method::GET, "r/role-id", None).await;
    let secret = ask(Method::POST, "r/secret-id", Some(json!({}))).await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let here = vec![
        ("https://vault.example.com:8200", testbed.vault_url()),
        ("8e1f7a4e-0d43-4c36-9d3b-5a1c6c1b2f10", text(&role["data"]["role_id"])),
        ("replace-me", text(&secret["data"]["secret_id"])),
        ("path: approle", format!("path: {name}")),
        ("key: app,", format!("key: {name},")),
    ];
    Counterpart::new((), here)
}

/// Another cluster is this one here.
pub fn kubernetes(testbed: &Testbed) -> Counterpart {
    let app = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app", "namespace": "default"},
        "stringData": {"password": VALUE},
    });
    let here = vec![("server:\n", format!("server:\n        url: {}\n", testbed.kubernetes().url))];
    Counterpart { operator: true, there: vec![app], ..Counterpart::new((), here) }
}

/// The name of the API server within a cluster leads nowhere here.
pub fn crd(testbed: &Testbed) -> Counterpart {
    let url = testbed.kubernetes().url;
    let long = format!(
        "server: {{ url: \"{url}\", caProvider: {{ type: ConfigMap, name: kube-root-ca.crt, key: ca.crt }} }}
      auth: {{ serviceAccount: {{ name: reader }} }}"
    );
    let here = vec![("serviceAccountRef: { name: reader }", long)];
    let secret = ("app", json!({"password": "not-a-real-one"}));
    Counterpart { operator: true, secret, ..Counterpart::new((), here) }
}

pub fn fake() -> Counterpart {
    let secret = ("app", json!({"password": "not-a-real-one", "password-before": "older"}));
    Counterpart { secret, ..Counterpart::new((), Vec::new()) }
}
