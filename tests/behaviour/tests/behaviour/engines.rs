//! VaultDynamicSecrets over engines of a real OpenBao: what each makes works where it is meant for, and ends with its use.

use anyhow::{anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_behaviour_tests::Rig;
use keyferry_behaviour_tests::dynamic::{self, GRACE, REVOKES, current, has_lease, has_token};
use keyferry_behaviour_tests::postgres::{self, Postgres};
use reqwest::Method;
use serde_json::{Value, json};

tests![
    users_of_a_database_are_let_in_while_their_values_are_in_use,
    certificates_are_made_and_revoked_where_they_have_a_lease,
    keys_that_leave_nothing_behind_have_no_state,
];

/// A rig whose OpenBao has an engine of this kind at the namespace's name.
async fn with_engine(prefix: &str, kind: &str, rules: &str) -> Rig {
    let mut rig = Rig::idle(prefix).await;
    let engine = rig.namespace().to_owned();
    rig.vault.mount(&engine, kind, json!({})).await.expect("OpenBao mounts an engine");
    dynamic::login(&rig, &format!("{} {REVOKES}", rules.replace("ENGINE", &engine))).await;
    rig.start(&[GRACE]).await;
    rig
}

async fn configure(rig: &Rig, path: &str, body: Value) -> Value {
    let path = format!("{}/{path}", rig.namespace());
    rig.vault.request(Method::POST, &path, Some(&body)).await.unwrap_or_else(|error| panic!("{path}: {error:#}"))
}

/// A VaultDynamicSecret of the engine, and an ExternalSecret of the same name.
async fn ask(rig: &Rig, name: &str, path: &str, more: Value) -> Value {
    let path = format!("{}/{path}", rig.namespace());
    rig.apply("VaultDynamicSecret", name, dynamic::secret(rig.vault.url(), &path, more)).await;
    dynamic::ask(rig, name, "VaultDynamicSecret", name, "1h").await;
    rig.until_synced(name).await;
    json!(rig.texts(name).await.expect("it is there"))
}

async fn users_of_a_database_are_let_in_while_their_values_are_in_use() {
    let rig = with_engine("database", "database", r#"path "ENGINE/creds/*" { capabilities = ["read"] }"#).await;
    let password = rig.canaries.value("password");
    let database = Postgres::start(&password).await.expect("PostgreSQL: Debian's package `postgresql` has it");
    let config = json!({
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "r", "connection_url": database.url(),
        "username": postgres::ADMIN, "password": password,
    });
    configure(&rig, "config/pg", config).await;
    let create = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'";
    configure(&rig, "roles/r", json!({"db_name": "pg", "creation_statements": [create], "default_ttl": "1h"})).await;
    let first = ask(&rig, "e", "creds/r", json!({"method": "GET"})).await;
    let login =
        |values: &Value| database.login(values["username"].as_str().unwrap(), values["password"].as_str().unwrap());
    rig.canaries.add("a password of a database", first["password"].as_str().unwrap());
    login(&first).expect("it is let in");
    let old = rig.until("its state is there".into(), async |rig: &Rig| current(rig).await).await;
    rig.force_sync("e").await;
    rig.until("it is replaced".into(), async |rig: &Rig| match rig.holds("e", &first).await {
        Ok(()) => bail!("still the same"),
        Err(_) => Ok(()),
    })
    .await;
    let second = json!(rig.texts("e").await.expect("it is there"));
    rig.canaries.add("a password of a database", second["password"].as_str().unwrap());
    login(&second).expect("the new one is let in");
    rig.until("the old one is not".into(), async |_: &Rig| match login(&first) {
        Ok(()) => bail!("it is let in still"),
        Err(_) => Ok(()),
    })
    .await;
    assert!(!has_lease(&rig, &old).await);
    login(&second).expect("the one that is in use is let in");
    dynamic::delete_with_states(&rig, "ExternalSecret", "e").await;
    rig.until("no user is left".into(), async |_: &Rig| match login(&second) {
        Ok(()) => bail!("it is let in still"),
        Err(_) => Ok(()),
    })
    .await;
    rig.finish().await;
}

async fn certificates_are_made_and_revoked_where_they_have_a_lease() {
    let rig = with_engine("pki", "pki", r#"path "ENGINE/issue/*" { capabilities = ["update"] }"#).await;
    configure(&rig, "root/generate/internal", json!({"common_name": "root of a test", "ttl": "2h"})).await;
    let role =
        |leases: bool| json!({"allowed_domains": "example.com", "allow_subdomains": true, "generate_lease": leases});
    configure(&rig, "roles/plain", role(false)).await;
    configure(&rig, "roles/leased", role(true)).await;
    let parameters = json!({"parameters": {"common_name": "app.example.com", "ttl": "1h"}});
    let plain = ask(&rig, "plain", "issue/plain", parameters.clone()).await;
    let leased = ask(&rig, "leased", "issue/leased", parameters).await;
    for made in [&plain, &leased] {
        let text = |key: &str| made[key].as_str().unwrap_or_else(|| panic!("there is no {key}")).to_owned();
        assert!(text("certificate").starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(text("private_key").starts_with("-----BEGIN "));
        assert!(text("issuing_ca").starts_with("-----BEGIN CERTIFICATE-----"));
        // Digit for digit.
        assert!(text("expiration").parse::<u64>().is_ok_and(|second| second > 1_700_000_000));
        rig.canaries.add("a private key", text("private_key").lines().nth(1).expect("a line of it"));
    }
    // Of that without a lease nothing is left to revoke.
    let state = rig.until("one state is there".into(), async |rig: &Rig| current(rig).await).await;
    assert_eq!(state["metadata"]["ownerReferences"][0]["name"], "leased");
    assert!(has_token(&rig, &state["spec"]["state"]["accessor"]).await);
    let revoked = async |made: &Value| {
        let path = format!("{}/cert/{}", rig.namespace(), made["serial_number"].as_str().expect("a number"));
        let answer = rig.vault.request(Method::GET, &path, None).await.expect("a certificate");
        answer["data"]["revocation_time"].as_u64().unwrap_or_default() > 0
    };
    assert!(!revoked(&leased).await);
    dynamic::delete_with_states(&rig, "ExternalSecret", "leased").await;
    rig.until("its certificate is revoked".into(), async |_: &Rig| {
        if revoked(&leased).await { Ok(()) } else { Err(anyhow!("it is not")) }
    })
    .await;
    assert!(!revoked(&plain).await, "the other one is not");
    rig.finish().await;
}

async fn keys_that_leave_nothing_behind_have_no_state() {
    let rules = r#"path "ENGINE/datakey/plaintext/k" { capabilities = ["update"] }
        path "ENGINE/encrypt/k" { capabilities = ["update"] }
        path "ENGINE/export/encryption-key/k/1" { capabilities = ["read"] }"#;
    let rig = with_engine("transit", "transit", rules).await;
    configure(&rig, "keys/k", json!({"exportable": true})).await;
    let decrypted = async |ciphertext: &Value| {
        let answer = configure(&rig, "decrypt/k", json!({ "ciphertext": ciphertext })).await;
        answer["data"]["plaintext"].clone()
    };
    let key = ask(&rig, "key", "datakey/plaintext/k", json!({"parameters": {"bits": 256}})).await;
    rig.canaries.add("a key", key["plaintext"].as_str().unwrap());
    assert_eq!(decrypted(&key["ciphertext"]).await, key["plaintext"]);
    let text = STANDARD.encode("a text");
    let sealed = ask(&rig, "sealed", "encrypt/k", json!({"parameters": {"plaintext": text}})).await;
    assert_eq!(decrypted(&sealed["ciphertext"]).await, json!(text));
    let exported = ask(&rig, "exported", "export/encryption-key/k/1", json!({"method": "GET"})).await;
    let keys: Value = serde_json::from_str(exported["keys"].as_str().unwrap()).expect("an object");
    let material = keys["1"].as_str().expect("the key of version 1");
    rig.canaries.add("a key", material);
    assert_eq!(STANDARD.decode(material).expect("base64").len(), 32);
    rig.until("no state is left".into(), async |rig: &Rig| match rig.cluster.list("GeneratorState").await.len() {
        0 => Ok(()),
        left => Err(anyhow!("{left} are left")),
    })
    .await;
    rig.finish().await;
}
