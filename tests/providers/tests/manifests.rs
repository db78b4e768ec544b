//! `keyferry render` and `keyferry sync` over manifests that the real `sops` encrypted: of several documents, and with keys that services
//! keep, which are asked with the login that the environment has for them.

use std::process::{Command, Output, Stdio};

use keyferry_doubles::{Proxy, azurekv, gcpsm};
use keyferry_provider_tests::desk::{CANARY, Desk};
use keyferry_provider_tests::{AWS_SECRET, REGION, kms};
use keyferry_testkit::{Operator, Testbed};
use serde_json::json;

/// A store and what asks it, in a file.
fn manifests() -> String {
    format!(
        "# why\napiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata:\n  name: s\nspec:\n  provider:\n    fake:\n      data:\n        \
         - key: app\n          value: {CANARY}\n---\n# nothing\n---\napiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata:\n  \
         name: app\nspec:\n  secretStoreRef:\n    name: s\n  data:\n    - secretKey: password\n      remoteRef:\n        key: app\n"
    )
}

/// Runs keyferry with this and nothing else in its environment.
fn keyferry(desk: &Desk, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(Operator::program().unwrap());
    command.args(args).current_dir(desk.path("")).env_clear().env("HOME", desk.path(""));
    command.envs(environment.iter().copied()).stdin(Stdio::null()).output().unwrap()
}

/// Why the manifest in `in.yaml` does not open; nothing is written then.
#[track_caller]
fn refused(desk: &Desk, environment: &[(&str, &str)]) -> String {
    let output = keyferry(desk, &["sync", "-f", "in.yaml", "--to", "none", "-o", "text"], environment);
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8(told).unwrap();
    assert!(output.status.code() == Some(2) && !told.contains(CANARY), "{told}");
    assert!(told.contains("in.yaml:") && told.contains("SOPS encrypted this manifest"), "{told}");
    assert!(!desk.path("none/app").exists());
    told
}

/// Encrypts the manifests by a rule, and has them written.
#[track_caller]
fn opens(desk: &Desk, document: &str, environment: &[(&str, &str)]) {
    assert!(!document.contains(CANARY));
    desk.write("in.yaml", document);
    let output = keyferry(desk, &["sync", "-f", "in.yaml", "--to", "out", "-o", "text"], environment);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_to_string(desk.path("out/app/password")).unwrap(), CANARY);
    std::fs::remove_dir_all(desk.path("out")).unwrap();
    let output = keyferry(desk, &["render", "-f", "in.yaml", "--show-values"], environment);
    assert!(output.status.success() && String::from_utf8(output.stdout).unwrap().contains(CANARY));
}

fn encrypted(desk: &Desk, environment: &[(&str, &str)], rule: &str) -> String {
    desk.write("plain.yaml", manifests());
    let document = desk.sops_in(environment, "plain.yaml", rule);
    std::fs::remove_file(desk.path("plain.yaml")).unwrap();
    document
}

#[test]
fn several_documents_of_a_file_open_together() {
    let desk = Desk::new();
    let age = format!("age: {}", desk.recipients[0]);
    std::fs::copy(desk.path("one.key"), desk.path("age.key")).unwrap();
    let all = encrypted(&desk, &[], &age);
    opens(&desk, &all, &[]);
    let some = encrypted(&desk, &[], &format!("{age}\n    encrypted_regex: ^(value|data)$"));
    assert!(some.contains("kind: ExternalSecret"));
    opens(&desk, &some, &[]);
    // Several files in one, as `cat` makes it of what was encrypted one by one.
    opens(&desk, &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\n---\n{all}"), &[]);
    let parts: Vec<&str> = some.split("\n---\n").collect();
    assert_eq!(parts.len(), 3);
    for changed in [parts[2].to_owned(), format!("{}\n---\n{}", parts[2], parts[0])] {
        desk.write("in.yaml", changed);
        let told = refused(&desk, &[]);
        assert!(told.contains("message authentication code does not match"), "{told}");
    }
    desk.write("in.yaml", &some[..some.len() - 200]);
    refused(&desk, &[]);
    desk.write("in.yaml", &some);
    std::fs::copy(desk.path("two.key"), desk.path("age.key")).unwrap();
    assert!(refused(&desk, &[]).contains("none of its keys opens it"));
    std::fs::remove_file(desk.path("age.key")).unwrap();
    assert!(refused(&desk, &[]).contains("there is no identity to open it with"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_kms_are_asked_for_with_the_login_of_the_environment() {
    let desk = Desk::new();
    let arn = kms("CreateKey", &json!({})).await["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    let document = encrypted(&desk, &[], &format!("kms: {arn}"));
    let moto = Testbed::shared().moto_url();
    // No region: the key's counts.
    let environment = [
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", AWS_SECRET),
        ("AWS_ENDPOINT_URL_KMS", moto.as_str()),
    ];
    opens(&desk, &document, &environment);
    desk.write("in.yaml", document.replace(&arn, &format!("arn:aws:kms:{REGION}:123456789012:key/none")));
    let told = refused(&desk, &environment);
    assert!(told.contains("does not decrypt with"), "{told}");
    desk.write("in.yaml", document.replace(&arn, "alias/none"));
    assert!(refused(&desk, &environment).contains("is not the ARN of a key of KMS"));
    // Who needs no values asks nobody.
    let output = keyferry(&desk, &["validate", "-f", "in.yaml"], &[]);
    assert!(!String::from_utf8(output.stderr).unwrap().contains("alias/none"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_transit_engine_are_asked_for_where_the_environment_says() {
    let (desk, testbed) = (Desk::new(), Testbed::shared());
    let (vault, engine) = (testbed.vault(), format!("manifests-{:08x}", rand::random::<u32>()));
    vault.mount(&engine, "transit", json!({})).await.unwrap();
    vault.request(reqwest::Method::POST, &format!("{engine}/keys/sops"), Some(&json!({}))).await.unwrap();
    let (server, token) = (testbed.vault_url(), testbed.vault_token());
    let document = encrypted(&desk, &[], &format!("hc_vault_transit_uri: {server}/v1/{engine}/keys/sops"));
    // Where the file says that the server is, nobody is asked: a token would go along.
    let elsewhere = document.replace(&format!("vault_address: {server}"), "vault_address: http://127.0.0.1:1");
    assert_ne!(elsewhere, document);
    opens(&desk, &elsewhere, &[("VAULT_ADDR", &server), ("VAULT_TOKEN", &token)]);
    // OpenBao's names go first, and what `vault login` left behind is a token.
    desk.write(".vault-token", format!("{token}\n"));
    opens(&desk, &document, &[("BAO_ADDR", &server), ("VAULT_ADDR", "http://127.0.0.1:1")]);
    desk.write(".vault-token", "");
    desk.write("in.yaml", &document);
    assert!(refused(&desk, &[("VAULT_TOKEN", &token)]).contains("set VAULT_ADDR to the address of its server"));
    let stranger = vault.create_token(&["default"]).await.unwrap();
    let told = refused(&desk, &[("VAULT_ADDR", &server), ("VAULT_TOKEN", &stranger)]);
    assert!(told.contains(&format!("does not let us use {engine}/decrypt/sops")), "{told}");
    // A key of age beside it is tried first, and asks nobody.
    let rule = format!("age: {}\n    hc_vault_transit_uri: {server}/v1/{engine}/keys/sops", desk.recipients[0]);
    let both = encrypted(&desk, &[], &rule);
    opens(&desk, &both, &[("KEYFERRY_AGE_KEY_FILE", desk.path("one.key").to_str().unwrap())]);
    opens(&desk, &both, &[("VAULT_ADDR", &server), ("VAULT_TOKEN", &token)]);
    // Of groups as many open as must.
    let [one, _] = &desk.recipients;
    let uri = format!("{server}/v1/{engine}/keys/sops");
    let groups = format!("shamir_threshold: 2\n    key_groups:\n      - age: [{one}]\n      - hc_vault: [{uri:?}]");
    let document = encrypted(&desk, &[], &groups);
    let identity = desk.path("one.key");
    let identity = ("KEYFERRY_AGE_KEY_FILE", identity.to_str().unwrap());
    opens(&desk, &document, &[("VAULT_ADDR", &server), ("VAULT_TOKEN", &token), identity]);
    assert!(refused(&desk, &[identity]).contains("1 of its 2 key groups open, and 2 must"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_google_are_asked_for_with_what_its_tools_left_behind() {
    let (desk, double) = (Desk::new(), gcpsm::Double::start());
    let (key, url) = ("projects/p-1/locations/global/keyRings/r/cryptoKeys/sops", double.server().url());
    double.make_key(key);
    let environment = [
        ("SOPS_GCP_KMS_ENDPOINT", url.as_str()),
        ("SOPS_GCP_KMS_CLIENT_TYPE", "rest"),
        ("GOOGLE_CREDENTIALS", &double.key()),
    ];
    let document = encrypted(&desk, &environment, &format!("gcp_kms: {key}"));
    let file = desk.write("google.key", double.key());
    let environment = [
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", url.as_str()),
        ("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap()),
    ];
    opens(&desk, &document, &environment);
    double.deny_keys("decrypt");
    assert!(refused(&desk, &environment).contains("cloudkms.cryptoKeyVersions.useToDecrypt"));
}

/// The double stands for a vault of the public cloud, behind a proxy that alone knows it.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_azure_are_asked_for_by_the_machine_and_through_its_proxy() {
    let (desk, double, proxy) = (Desk::new(), azurekv::Double::start(), Proxy::start());
    for name in ["keyferry.vault.double:443", "keyferry.vault.azure.net:443"] {
        proxy.leads(name, &double.server().url());
    }
    let version = double.make_key("sops");
    let ca = desk.write("ca.pem", double.server().authority().pem());
    let (proxy, logins) = (proxy.url(), format!("{}/msi/token", double.server().url()));
    let environment = [
        ("HTTPS_PROXY", proxy.as_str()),
        ("NO_PROXY", "127.0.0.1"),
        ("SSL_CERT_FILE", ca.to_str().unwrap()),
        ("IDENTITY_ENDPOINT", &logins),
        ("IDENTITY_HEADER", "canary-of-the-header"),
        ("AZURE_TOKEN_CREDENTIALS", "managedidentitycredential"),
    ];
    let rule = format!("azure_keyvault: https://keyferry.vault.double/keys/sops/{version}");
    let document = encrypted(&desk, &environment, &rule);
    opens(&desk, &document.replace("keyferry.vault.double", "keyferry.vault.azure.net"), &environment);
    desk.write("in.yaml", &document);
    assert!(refused(&desk, &environment).contains("is in no vault of a cloud of Microsoft's"));
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_among_manifests_are_reached_through_the_proxy_of_the_environment() {
    let (desk, testbed, proxy) = (Desk::new(), Testbed::shared(), Proxy::start());
    let (vault, engine) = (testbed.vault(), format!("proxied-{:08x}", rand::random::<u32>()));
    vault.mount(&engine, "kv", json!({"version": "1"})).await.unwrap();
    vault.request(reqwest::Method::POST, &format!("{engine}/app"), Some(&json!({"v": CANARY}))).await.unwrap();
    proxy.leads("vault.stores.test:80", &testbed.vault_url());
    desk.write(
        "in.yaml",
        format!(
            "apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {{name: s}}\nspec: {{provider: {{vault: {{server: 'http://vault.stores.test', \
             path: {engine}, version: v1, auth: {{tokenSecretRef: {{name: login, key: token}}}}}}}}}}\n---\n\
             apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {{name: app}}\nspec: {{secretStoreRef: {{name: s}}, \
             data: [{{secretKey: password, remoteRef: {{key: app, property: v}}}}]}}\n"
        ),
    );
    let (proxy, token) = (proxy.url(), testbed.vault_token());
    let environment = [("HTTP_PROXY", proxy.as_str()), ("TOKEN", &token)];
    let args = ["sync", "-f", "in.yaml", "--to", "out", "-o", "text", "--credential-env", "default/login/token=TOKEN"];
    let output = keyferry(&desk, &args, &environment);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(std::fs::read_to_string(desk.path("out/app/password")).unwrap(), CANARY);
    let output = keyferry(&desk, &args, &[("HTTP_PROXY", "socks5://127.0.0.1:1"), ("TOKEN", &token)]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("HTTP_PROXY"));
}
