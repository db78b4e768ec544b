//! What stores log in with: when it comes late, changes or fails, and what it must never be.

use std::time::Instant;

use anyhow::anyhow;
use keyferry_behaviour_tests::Rig;
use keyferry_behaviour_tests::operator::series;
use keyferry_behaviour_tests::rig::AT_ONCE;
use keyferry_testkit::{Operator as Process, Vault};
use reqwest::Method;
use serde_json::{Value, json};

tests![
    a_credential_that_comes_late_is_noticed,
    a_store_that_turns_healthy_wakes_who_failed,
    a_rotated_credential_is_taken_up,
    a_revoked_token_is_told_and_replaced,
    a_secret_of_another_namespace_is_refused,
    the_operators_own_token_is_not_sent_for_a_secret_store,
    kubernetes_auth,
    app_role,
    there_is_no_login_per_refresh,
    a_target_that_the_store_logs_in_with_is_written_only_if_that_works,
    secrets_of_the_cluster_itself_are_refused,
];

async fn rig(prefix: &str) -> (Rig, String) {
    let rig = Rig::new(prefix).await;
    let user = rig.canaries.value("user");
    rig.put("app", json!({ "user": user })).await;
    (rig, user)
}

async fn put_store(rig: &Rig, name: &str, vault: Value) {
    rig.apply("SecretStore", name, json!({"spec": {"provider": {"vault": vault}}})).await;
}

async fn a_credential_that_comes_late_is_noticed() {
    let (rig, user) = rig("late").await;
    put_store(&rig, "s", rig.vault_spec("token")).await;
    rig.external_secret("e", json!({"refreshInterval": "1h", "data": rig.data("app", &["user"])})).await;
    let absent = ["Secret \"token\"", "does not exist", rig.namespace()];
    rig.until_ready("SecretStore", "s", "False", "InvalidProviderConfig", &absent).await;
    rig.until_failed("e", &["SecretStore \"s\" is not ready", "\"token\""]).await;
    // A key that is wrong is told, and not those that are there: they are another's to tell.
    rig.secret("token", json!({"other": "x"})).await;
    rig.until_ready("SecretStore", "s", "False", "InvalidProviderConfig", &["no key \"token\""]).await;
    rig.secret("token", json!({"token": rig.vault_token().await})).await;
    rig.until_texts("e", json!({ "user": user })).await;
    rig.until_synced("e").await;
    rig.finish().await;
}

async fn a_store_that_turns_healthy_wakes_who_failed() {
    let (rig, user) = rig("healthy").await;
    let port = Process::free_port().expect("a port");
    rig.secret("token", json!({"token": rig.vault_token().await})).await;
    let mut vault = rig.vault_spec("token");
    vault["server"] = json!(format!("http://127.0.0.1:{port}"));
    put_store(&rig, "s", vault).await;
    rig.external_secret("e", json!({"refreshInterval": "1h", "data": rig.data("app", &["user"])})).await;
    rig.until_failed("e", &["refuses connections"]).await;
    rig.let_back_off_grow("e").await;
    let began = Instant::now();
    put_store(&rig, "s", rig.vault_spec("token")).await;
    rig.until_texts("e", json!({ "user": user })).await;
    assert!(began.elapsed() < AT_ONCE, "it took {:?}", began.elapsed());
    rig.finish().await;
}

async fn a_rotated_credential_is_taken_up() {
    let (rig, _) = rig("rotated").await;
    rig.vault_store("s").await;
    rig.external_secret("e", json!({"refreshInterval": "1s", "data": rig.data("app", &["user"])})).await;
    rig.until_synced("e").await;
    // The new one is in place before the old one ends, as in a rotation that is done well: nobody notices.
    let old = rig.texts("s-token").await.unwrap()["token"].clone();
    rig.secret("s-token", json!({"token": rig.vault_token().await})).await;
    revoke(&rig, &old).await;
    for _ in 0..2 {
        let user = rig.canaries.value("rotated");
        rig.put("app", json!({ "user": user })).await;
        rig.until_texts("e", json!({ "user": user })).await;
    }
    rig.finish().await;
}

async fn revoke(rig: &Rig, token: &str) {
    let body = json!({ "token": token });
    rig.vault.request(Method::POST, "auth/token/revoke", Some(&body)).await.expect("OpenBao revokes");
}

async fn a_revoked_token_is_told_and_replaced() {
    let (rig, user) = rig("revoked").await;
    rig.vault_store("s").await;
    rig.external_secret("e", json!({"refreshInterval": "1s", "data": rig.data("app", &["user"])})).await;
    rig.until_synced("e").await;
    revoke(&rig, &rig.texts("s-token").await.unwrap()["token"]).await;
    rig.until_failed("e", &["could not get secret data from provider", "SecretStore \"s\"", "token"]).await;
    rig.holds("e", &json!({ "user": user })).await.expect("the target stays");
    rig.respec("e", json!({"refreshInterval": "1h"})).await;
    let user = rig.canaries.value("new");
    rig.put("app", json!({ "user": user })).await;
    rig.secret("s-token", json!({"token": rig.vault_token().await})).await;
    rig.until_texts("e", json!({ "user": user })).await;
    rig.until_synced("e").await;
    rig.finish().await;
}

async fn a_secret_of_another_namespace_is_refused() {
    let (rig, _) = rig("foreign").await;
    let mut vault = rig.vault_spec("token");
    vault["auth"]["tokenSecretRef"]["namespace"] = json!("kube-system");
    put_store(&rig, "s", vault).await;
    let parts = ["Secret \"token\"", "its own namespace only", "\"kube-system\"", "ClusterSecretStore"];
    rig.until_ready("SecretStore", "s", "False", "InvalidProviderConfig", &parts).await;
    // Naming its own is fine.
    rig.secret("token", json!({"token": rig.vault_token().await})).await;
    let mut vault = rig.vault_spec("token");
    vault["auth"]["tokenSecretRef"]["namespace"] = json!(rig.namespace());
    put_store(&rig, "s", vault).await;
    rig.until_ready("SecretStore", "s", "True", "Valid", &["store validated"]).await;
    rig.finish().await;
}

/// Enables an auth method of the test's own; gives its path.
async fn mount(rig: &Rig, kind: &str) -> String {
    let path = format!("{}-{kind}", rig.namespace());
    match kind {
        "kubernetes" => rig.vault.enable_kubernetes_auth(&path, &rig.testbed.kubernetes()).await,
        kind => rig.vault.enable_auth(&path, kind).await,
    }
    .expect("OpenBao enables an auth method");
    path
}

/// A role of the kubernetes auth method for the ServiceAccount `app`.
async fn kubernetes_role(rig: &Rig, path: &str) {
    let role = json!({
        "bound_service_account_names": "app", "bound_service_account_namespaces": rig.namespace(),
        "token_policies": rig.vault_policy().await, "token_ttl": "1h",
    });
    rig.vault.request(Method::POST, &format!("auth/{path}/role/app"), Some(&role)).await.expect("a role");
    rig.apply("ServiceAccount", "app", json!({})).await;
}

async fn the_operators_own_token_is_not_sent_for_a_secret_store() {
    let (rig, _) = rig("own-token").await;
    let path = mount(&rig, "kubernetes").await;
    kubernetes_role(&rig, &path).await;
    let mut vault = rig.vault_spec("unused");
    vault["auth"] = json!({"kubernetes": {"mountPath": path, "role": "app"}});
    // A server that is not there shows that nothing is sent: the refusal comes first.
    vault["server"] = json!(format!("http://127.0.0.1:{}", Process::free_port().unwrap()));
    put_store(&rig, "s", vault).await;
    let parts = ["unable to create client", "serviceAccountRef"];
    let ready = rig.until_ready("SecretStore", "s", "False", "InvalidProviderConfig", &parts).await;
    assert!(!ready.message.contains("refuses connections"), "{}", ready.message);
    rig.finish().await;
}

async fn kubernetes_auth() {
    let (rig, user) = rig("kubernetes-auth").await;
    let path = mount(&rig, "kubernetes").await;
    kubernetes_role(&rig, &path).await;
    let mut vault = rig.vault_spec("unused");
    let auth = json!({"mountPath": path, "role": "app", "serviceAccountRef": {"name": "app"}});
    vault["auth"] = json!({ "kubernetes": auth });
    put_store(&rig, "s", vault.clone()).await;
    rig.external_secret("e", json!({"data": rig.data("app", &["user"])})).await;
    rig.until_texts("e", json!({ "user": user })).await;
    rig.until_synced("e").await;
    // A ServiceAccount that is not there, and one that the role does not know.
    rig.apply("ServiceAccount", "stranger", json!({})).await;
    for (name, cause) in [("nobody", "nobody"), ("stranger", "\"stranger\"")] {
        vault["auth"]["kubernetes"]["serviceAccountRef"]["name"] = json!(name);
        put_store(&rig, name, vault.clone()).await;
        rig.until_ready("SecretStore", name, "False", "InvalidProviderConfig", &["unable to create client", cause])
            .await;
    }
    rig.finish().await;
}

async fn app_role() {
    let (rig, user) = rig("approle").await;
    let path = mount(&rig, "approle").await;
    let (role_id, secret_id) = app_role_of(&rig, &path).await;
    rig.secret("role", json!({"role-id": role_id, "secret-id": secret_id})).await;
    put_store(&rig, "s", app_role_spec(&rig, &path)).await;
    rig.external_secret("e", json!({"data": rig.data("app", &["user"])})).await;
    rig.until_texts("e", json!({ "user": user })).await;
    rig.until_synced("e").await;
    // A new secret id takes the place of the old one, which ends.
    let body = json!({ "secret_id": secret_id });
    let (_, new) = app_role_of(&rig, &path).await;
    rig.secret("role", json!({"role-id": role_id, "secret-id": new})).await;
    let destroy = format!("auth/{path}/role/app/secret-id/destroy");
    rig.vault.request(Method::POST, &destroy, Some(&body)).await.expect("the old one ends");
    let user = rig.canaries.value("rotated");
    rig.put("app", json!({ "user": user })).await;
    rig.until_texts("e", json!({ "user": user })).await;
    rig.finish().await;
}

/// A role and a new secret id.
async fn app_role_of(rig: &Rig, path: &str) -> (String, String) {
    let vault: &Vault = &rig.vault;
    let role = json!({"token_policies": rig.vault_policy().await, "token_ttl": "1h"});
    vault.request(Method::POST, &format!("auth/{path}/role/app"), Some(&role)).await.expect("a role");
    let id = vault.request(Method::GET, &format!("auth/{path}/role/app/role-id"), None).await.expect("its id");
    let secret =
        vault.request(Method::POST, &format!("auth/{path}/role/app/secret-id"), None).await.expect("a secret id");
    let text = |answer: &Value, pointer| answer.pointer(pointer).and_then(Value::as_str).expect("a text").to_owned();
    let secret = text(&secret, "/data/secret_id");
    rig.canaries.add("a secret id", &secret);
    (text(&id, "/data/role_id"), secret)
}

fn app_role_spec(rig: &Rig, path: &str) -> Value {
    let mut vault = rig.vault_spec("unused");
    let role = json!({"name": "role", "key": "role-id"});
    let secret = json!({"name": "role", "key": "secret-id"});
    vault["auth"] = json!({"appRole": {"path": path, "roleRef": role, "secretRef": secret}});
    vault
}

async fn there_is_no_login_per_refresh() {
    let (rig, _) = rig("logins").await;
    let path = mount(&rig, "approle").await;
    let (role_id, secret_id) = app_role_of(&rig, &path).await;
    rig.secret("role", json!({"role-id": role_id, "secret-id": secret_id})).await;
    put_store(&rig, "s", app_role_spec(&rig, &path)).await;
    for name in ["a", "b", "c", "d"] {
        rig.external_secret(name, json!({"refreshInterval": "1s", "data": rig.data("app", &["user"])})).await;
    }
    let reads =
        |metrics: &str| series(metrics, "externalsecret_provider_api_calls_count", &[("call", "ReadSecretData")]);
    rig.until("there were some refreshes".into(), async |rig: &Rig| match reads(&rig.metrics().await) {
        count if count >= 6.0 => Ok(()),
        count => Err(anyhow!("{count} reads so far")),
    })
    .await;
    let metrics = rig.metrics().await;
    let logins = series(&metrics, "externalsecret_provider_api_calls_count", &[("call", "Login")]);
    assert_eq!(logins, 1.0, "one login for the store and all that use it");
    rig.finish().await;
}

async fn a_target_that_the_store_logs_in_with_is_written_only_if_that_works() {
    let (rig, user) = rig("own-login").await;
    rig.vault_store("s").await;
    let before = rig.texts("s-token").await;
    // Without a token in it the store would be locked out, with a wrong one too.
    let wrong = json!({"data": {"token": "{{ .user }}"}});
    for (name, target) in [
        ("none", json!({"name": "s-token"})),
        ("wrong", json!({"name": "s-token", "creationPolicy": "Merge", "template": wrong})),
    ] {
        rig.external_secret(name, json!({"data": rig.data("app", &["user"]), "target": target})).await;
        let told = ["could not update secret", "SecretStore \"s\" logs in with Secret \"s-token\"", "is not let in"];
        rig.until_failed(name, &told).await;
        assert!(rig.texts("s-token").await == before, "the credential is as it was");
        rig.cluster.delete("ExternalSecret", name).await;
    }
    // What leaves the token in place works, and is written.
    let target = json!({"name": "s-token", "creationPolicy": "Merge"});
    rig.external_secret("merge", json!({"data": rig.data("app", &["user"]), "target": target})).await;
    let mut merged = before.unwrap();
    merged.insert("user".to_owned(), user);
    rig.until_texts("s-token", json!(merged)).await;
    rig.until_ready("SecretStore", "s", "True", "Valid", &[]).await;
    rig.finish().await;
}

async fn secrets_of_the_cluster_itself_are_refused() {
    let (rig, _) = rig("cluster-secrets").await;
    rig.vault_store("s").await;
    rig.apply("ServiceAccount", "app", json!({})).await;
    let token = json!({
        "type": "kubernetes.io/service-account-token",
        "metadata": {"annotations": {"kubernetes.io/service-account.name": "app"}},
    });
    let release = json!({"type": "helm.sh/release.v1", "stringData": {"release": rig.canaries.value("release")}});
    for (name, secret, cause) in
        [("account", token, "kubernetes.io/service-account-token"), ("release", release, "helm.sh/release.v1")]
    {
        rig.apply("Secret", name, secret).await;
        for policy in ["Owner", "Merge", "Orphan", "CreateOrMerge"] {
            let target = json!({"name": name, "creationPolicy": policy});
            let es = format!("{name}-{}", policy.to_lowercase());
            rig.external_secret(&es, json!({"data": rig.data("app", &["user"]), "target": target})).await;
            rig.until_failed(&es, &["could not update secret", &format!("Secret \"{name}\""), cause]).await;
            let secret = rig.cluster.get("Secret", name).await.expect("it is there");
            assert!(secret["data"].get("user").is_none(), "{name} {policy}: it was written to");
        }
    }
    rig.finish().await;
}
