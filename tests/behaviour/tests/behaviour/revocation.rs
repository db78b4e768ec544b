//! What is to be deleted while the store is down, denies it, or lets go of half: it is told, nothing is lost sight of, and in the
//! end it is gone.

use anyhow::{anyhow, ensure};
use keyferry_behaviour_tests::Rig;
use keyferry_testkit::process::Signal;
use keyferry_testkit::{OpenBao, OpenBaoOptions, Vault};
use reqwest::Method;
use serde_json::{Value, json};

tests![
    a_push_secret_goes_when_all_that_it_made_is_gone,
    a_source_that_goes_is_undone_once_that_is_allowed,
    no_target_goes_for_a_store_that_is_down_or_denies,
];

/// An OpenBao of a test's own, and what the token of the store may do there.
struct Bao {
    server: OpenBao,
    client: Vault,
    folder: String,
}

/// What may be done with a secret.
const ALL: &str = r#"["create", "read", "update", "patch", "delete", "list"]"#;
const READS: &str = r#"["read", "list"]"#;

impl Bao {
    /// With the SecretStore `s` in the rig's namespace.
    async fn start(rig: &Rig) -> Self {
        let server = OpenBao::start(&OpenBaoOptions::default()).await.expect("OpenBao");
        let client = server.client().expect("a client");
        let bao = Self { server, client, folder: rig.namespace().to_owned() };
        bao.allow(ALL, &[]).await;
        let token = bao.client.create_token(&["store"]).await.expect("a token");
        rig.canaries.add("the token of OpenBao", &token);
        rig.secret("s-token", json!({ "token": token })).await;
        let mut vault = rig.vault_spec("s-token");
        vault["server"] = json!(bao.server.url());
        rig.apply("SecretStore", "s", json!({"spec": {"provider": {"vault": vault}}})).await;
        bao
    }

    /// Allows this with all secrets of the folder, but for some.
    async fn allow(&self, usually: &str, but: &[(&str, &str)]) {
        let rule = |name: &str, what: &str| {
            let folder = &self.folder;
            format!(
                "path \"secret/data/{folder}/{name}\" {{ capabilities = {what} }}
                 path \"secret/metadata/{folder}/{name}\" {{ capabilities = {what} }} "
            )
        };
        let mut rules = rule("*", usually) + r#"path "auth/token/lookup-self" { capabilities = ["read"] }"#;
        rules.extend(but.iter().map(|(name, what)| rule(name, what)));
        self.client.write_policy("store", rules).await.expect("a policy");
    }

    async fn withdraw(&self) {
        let rules = r#"path "auth/token/lookup-self" { capabilities = ["read"] }"#;
        self.client.write_policy("store", rules).await.expect("a policy");
    }

    fn signal(&mut self, signal: Signal) {
        self.server.process().signal(signal).expect("it runs");
    }

    async fn has(&self, name: &str) -> bool {
        let path = format!("secret/metadata/{}/{name}", self.folder);
        self.client.send(Method::GET, &path, None).await.expect("an answer").0.is_success()
    }
}

async fn push(rig: &Rig, secrets: &[&str]) {
    let entry =
        |name: &&str| json!({"match": {"secretKey": "a", "remoteRef": {"remoteKey": rig.key(name), "property": "a"}}});
    let data: Vec<Value> = secrets.iter().map(entry).collect();
    let spec = json!({
        "refreshInterval": "1s", "deletionPolicy": "Delete", "secretStoreRefs": [{"name": "s"}],
        "selector": {"secret": {"name": "src"}}, "data": data,
    });
    rig.secret("src", json!({"a": rig.canaries.value("value")})).await;
    rig.apply("PushSecret", "p", json!({ "spec": spec })).await;
    rig.until_ready("PushSecret", "p", "True", "Synced", &[]).await;
}

/// Waits until deleting has failed, and these are what the message names of the secrets `one` and `two`.
async fn until_told(rig: &Rig, named: &[&str], parts: &[&str]) {
    let (named, parts) = (named.to_vec(), parts.to_vec());
    rig.until(format!("{named:?} could not be deleted"), async |rig: &Rig| {
        let told = rig.ready("PushSecret", "p").await.ok_or_else(|| anyhow!("nothing is told"))?;
        let is_named = |name: &str| told.message.contains(&rig.key(name));
        let begins = told.message.starts_with("Failed to Delete Secrets from Provider");
        let is_right = ["one", "two"].iter().all(|name| is_named(name) == named.contains(name));
        ensure!(begins && is_right && parts.iter().all(|part| told.message.contains(part)), "{told:?}");
        Ok(())
    })
    .await;
}

/// What is recorded of the store, by the names of its secrets.
async fn recorded(rig: &Rig) -> Vec<String> {
    let push = rig.cluster.get("PushSecret", "p").await.expect("it waits");
    let places = push["status"]["syncedPushSecrets"]["SecretStore/s"].as_object().cloned().unwrap_or_default();
    places.keys().map(|place| place.trim_start_matches(&rig.key("")).trim_end_matches("/a").to_owned()).collect()
}

async fn a_push_secret_goes_when_all_that_it_made_is_gone() {
    let rig = Rig::new("undo").await;
    let mut bao = Bao::start(&rig).await;
    push(&rig, &["one", "two"]).await;
    // Nothing of it may be deleted.
    bao.allow(READS, &[]).await;
    rig.cluster.delete("PushSecret", "p").await;
    until_told(&rig, &["one", "two"], &["SecretStore/s"]).await;
    assert_eq!(recorded(&rig).await, ["one", "two"]);
    // Half of it may.
    bao.allow(READS, &[("one", ALL)]).await;
    until_told(&rig, &["two"], &["SecretStore/s"]).await;
    assert_eq!((recorded(&rig).await, bao.has("one").await), (vec!["two".to_owned()], false));
    // Nobody answers; and when somebody does, the last is let go.
    bao.signal(Signal::STOP);
    rig.until("it is told".into(), async |rig: &Rig| {
        let told = rig.ready("PushSecret", "p").await.ok_or_else(|| anyhow!("nothing is told"))?;
        ensure!(
            ["no answer", "did not answer", "in time", "not ready"].iter().any(|part| told.message.contains(part)),
            "{told:?}"
        );
        Ok(())
    })
    .await;
    assert_eq!(recorded(&rig).await, ["two"]);
    bao.signal(Signal::CONT);
    bao.allow(ALL, &[]).await;
    rig.until_gone("PushSecret", "p").await;
    assert!(!bao.has("one").await && !bao.has("two").await);
    rig.finish().await;
}

async fn a_source_that_goes_is_undone_once_that_is_allowed() {
    let rig = Rig::new("undo-source").await;
    let bao = Bao::start(&rig).await;
    push(&rig, &["one", "two"]).await;
    bao.allow(READS, &[("two", ALL)]).await;
    rig.cluster.delete("Secret", "src").await;
    until_told(&rig, &["one"], &["SecretStore/s"]).await;
    assert_eq!((recorded(&rig).await, bao.has("two").await), (vec!["one".to_owned()], false));
    bao.allow(ALL, &[]).await;
    rig.until_ready("PushSecret", "p", "False", "SourceDeleted", &[]).await;
    assert!(!bao.has("one").await && recorded(&rig).await.is_empty());
    rig.finish().await;
}

async fn no_target_goes_for_a_store_that_is_down_or_denies() {
    let rig = Rig::new("undo-target").await;
    let mut bao = Bao::start(&rig).await;
    let user = rig.canaries.value("user");
    bao.client.put(&rig.key("app"), json!({ "user": user })).await.expect("OpenBao takes a secret");
    let target = json!({"deletionPolicy": "Delete"});
    let spec = json!({"refreshInterval": "1s", "target": target, "data": rig.data("app", &["user"])});
    rig.external_secret("e", spec).await;
    let held = json!({ "user": user });
    rig.until_texts("e", held.clone()).await;
    rig.until_synced("e").await;
    bao.signal(Signal::STOP);
    rig.until_failed("e", &["SecretStore \"s\""]).await;
    rig.holds("e", &held).await.expect("it stays");
    bao.signal(Signal::CONT);
    rig.until_synced("e").await;
    bao.withdraw().await;
    let key = rig.key("app");
    rig.until_failed("e", &[&key, "SecretStore \"s\""]).await;
    rig.holds("e", &held).await.expect("it stays");
    // What is gone takes the target along as soon as that may be known, and not before.
    bao.client.delete(&key).await.expect("OpenBao deletes a secret");
    rig.force_sync("e").await;
    rig.stays("it stays", std::time::Duration::from_secs(3), async |rig: &Rig| rig.holds("e", &held).await).await;
    bao.allow(ALL, &[]).await;
    rig.until_gone("Secret", "e").await;
    rig.until_ready("ExternalSecret", "e", "True", "SecretDeleted", &[]).await;
    rig.finish().await;
}
