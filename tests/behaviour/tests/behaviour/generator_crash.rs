//! kill -9 between any two steps of a generation: at each in turn, before it is done and before anybody hears that it was, and
//! at any moment.

use std::time::Duration;

use anyhow::{Result, ensure};
use keyferry_behaviour_tests::dynamic::{self, GRACE, REVOKES};
use keyferry_behaviour_tests::{Operator, Rig};
use keyferry_doubles::{Faults, Server, gitlab, grafana};
use keyferry_seed::Seed;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Value, json};

tests![
    kill_9_between_any_two_steps_of_a_generation_leaves_nothing_unknown,
    a_lease_that_nobody_came_to_know_of_is_told_where_the_token_has_no_children,
];

/// How often the operator is killed at any moment.
const KILLS: usize = 6;

/// The steps of Vault's: the login, and what is made with it.
const STEPS: [&str; 2] = ["auth/token/create", "/creds/r"];

/// How long each answer takes, so that it is killed between two of them.
const SLOW: Duration = Duration::from_millis(120);

/// Where values come from, each of whose answers takes a while.
struct Counterparts {
    vault: Server,
    grafana: grafana::Double,
    gitlab: gitlab::Double,
}

impl Counterparts {
    fn start(rig: &Rig) -> Self {
        let all = Self {
            vault: Server::before(rig.vault.url()),
            grafana: grafana::Double::start(),
            gitlab: gitlab::Double::start(),
        };
        all.work();
        all
    }

    /// All answer, each after a while.
    fn work(&self) {
        for server in [&self.vault, self.grafana.server(), self.gitlab.server()] {
            server.fail(Faults { delay: SLOW, ..Faults::default() });
        }
    }

    /// None does this step, or none tells that it did; gives where that is to be seen.
    fn stop_at(&self, step: &str, is_done: bool) -> [(&Server, String); 3] {
        let at = [
            (&self.vault, step.to_owned()),
            (self.grafana.server(), "/tokens".to_owned()),
            (self.gitlab.server(), "/deploy_tokens".to_owned()),
        ];
        let (hanging, unheard) = if is_done { (0, 100) } else { (100, 0) };
        for (server, path) in &at {
            server.take_calls();
            server.fail(Faults { hanging, unheard, paths: vec![path.clone()], ..Faults::default() });
        }
        at
    }

    /// Their generators, `v`, `a` and `l`.
    async fn generators(&self, rig: &Rig) {
        let path = format!("{}/creds/r", rig.namespace());
        let otp = dynamic::secret(&self.vault.url(), &path, json!({"parameters": {"ip": "10.0.0.1"}}));
        rig.apply("VaultDynamicSecret", "v", otp).await;
        rig.canaries.add("the token of Grafana", grafana::TOKEN);
        rig.canaries.add("the token of GitLab", gitlab::TOKEN);
        rig.secret("tokens", json!({"grafana": grafana::TOKEN, "gitlab": gitlab::TOKEN})).await;
        let spec = json!({
            "url": self.grafana.server().url(), "serviceAccount": {"name": "robot", "role": "Viewer"},
            "auth": {"token": {"name": "tokens", "key": "grafana"}},
        });
        rig.apply("Grafana", "a", json!({ "spec": spec })).await;
        let spec = json!({
            "url": self.gitlab.server().url(), "projectID": "1", "name": "robot", "scopes": ["read_registry"],
            "auth": {"token": {"secretRef": {"name": "tokens", "key": "gitlab"}}},
        });
        rig.apply("GitlabDeployToken", "l", json!({ "spec": spec })).await;
    }
}

/// Who asks for values, and how: two by a Secret, and two by pushing.
const ASKING: [(&str, &str, &str, &str); 4] = [
    ("ExternalSecret", "ev", "VaultDynamicSecret", "v"),
    ("ExternalSecret", "ea", "Grafana", "a"),
    ("ExternalSecret", "el", "GitlabDeployToken", "l"),
    ("PushSecret", "pa", "Grafana", "a"),
];

async fn ask(rig: &Rig, interval: &str) {
    for (kind, name, generator, of) in ASKING {
        if kind == "ExternalSecret" {
            dynamic::ask(rig, name, generator, of, interval).await;
        } else {
            let entry = json!({"match": {"secretKey": "token", "remoteRef": {"remoteKey": rig.key("pushed"), "property": "token"}}});
            let spec = json!({
                "refreshInterval": interval, "secretStoreRefs": [{"name": "s"}], "data": [entry],
                "selector": {"generatorRef": {"kind": generator, "name": of}},
            });
            rig.apply(kind, name, json!({ "spec": spec })).await;
        }
    }
}

/// A store that may write into the namespace's folder, which is asked without delay.
async fn store(rig: &Rig) {
    let folder = rig.namespace();
    let all = "[\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\"]";
    let rules = format!(
        "path \"secret/data/{folder}/*\" {{ capabilities = {all} }}
         path \"secret/metadata/{folder}/*\" {{ capabilities = {all} }}
         path \"auth/token/lookup-self\" {{ capabilities = [\"read\"] }}"
    );
    let policy = format!("{folder}-push");
    rig.vault.write_policy(&policy, rules).await.expect("a policy");
    let token = rig.vault.create_token(&[&policy]).await.expect("a token");
    rig.canaries.add("the token of the store", &token);
    rig.secret("s-token", json!({ "token": token })).await;
    rig.apply("SecretStore", "s", json!({"spec": {"provider": {"vault": rig.vault_spec("s-token")}}})).await;
}

async fn states(rig: &Rig) -> Vec<Value> {
    rig.cluster.list("GeneratorState").await
}

/// While nobody runs, each token of Grafana's is named by a state.
async fn nothing_is_unknown(rig: &Rig, all: &Counterparts) {
    let states = states(rig).await;
    let named = |name: &str| states.iter().any(|state| state["spec"]["state"]["tokenName"] == name);
    for name in all.grafana.token_names() {
        assert!(named(&name), "nobody knows of {name}");
    }
}

/// Waits until all have what they ask for.
async fn until_synced(rig: &Rig) {
    for (kind, name, ..) in ASKING {
        match kind {
            "ExternalSecret" => rig.until_synced(name).await,
            kind => drop(rig.until_ready(kind, name, "True", "Synced", &[]).await),
        }
    }
}

/// Asks for other values, and kills the operator when all are at this step; another one makes them.
async fn kill_at(rig: &mut Rig, all: &Counterparts, step: &str, is_done: bool) {
    let at = all.stop_at(step, is_done);
    let asked = format!("{:016x}", rand::random::<u64>());
    for (kind, name, ..) in ASKING {
        let patch = json!({"metadata": {"annotations": {"external-secrets.io/force-sync": asked}}});
        rig.cluster.patch(kind, name, &patch).await;
    }
    rig.until(format!("all are at {step}"), async |_: &Rig| {
        for (server, path) in &at {
            let makes = |method: &str| ["POST", "PUT"].contains(&method);
            let is_there = server.calls().iter().any(|call| makes(&call.method) && call.path.contains(path.as_str()));
            ensure!(is_there, "not yet at {path}");
        }
        Ok(())
    })
    .await;
    rig.kill9();
    all.work();
    nothing_is_unknown(rig, all).await;
    rig.start(&[GRACE]).await;
    until_synced(rig).await;
}

/// How often the log names a deploy token that may have been left.
fn named_in_the_log(rig: &Rig) -> usize {
    rig.log().matches("a deploy token of this name may have been made").count()
}

/// Whether all that is left is what is in use.
async fn is_settled(rig: &Rig, all: &Counterparts) -> Result<()> {
    let states = states(rig).await;
    ensure!(states.len() == ASKING.len(), "{} states", states.len());
    let leases = dynamic::leases(rig, &format!("{}/creds/r", rig.namespace())).await;
    ensure!(leases.len() == 1, "{} leases", leases.len());
    ensure!(all.grafana.tokens() == 2, "{} tokens of Grafana", all.grafana.tokens());
    Ok(())
}

async fn kill_9_between_any_two_steps_of_a_generation_leaves_nothing_unknown() {
    let seed = Seed::new("moments to kill at");
    let mut random = StdRng::seed_from_u64(seed.number());
    let mut rig = Rig::idle("generator-kill9").await;
    let engine = rig.namespace().to_owned();
    rig.vault.mount(&engine, "ssh", json!({})).await.expect("OpenBao mounts an engine");
    let role = json!({"key_type": "otp", "default_user": "u", "cidr_list": "0.0.0.0/0"});
    rig.vault.request(Method::POST, &format!("{engine}/roles/r"), Some(&role)).await.expect("a role");
    dynamic::login(&rig, &format!("path \"{engine}/creds/r\" {{ capabilities = [\"update\"] }} {REVOKES}")).await;
    store(&rig).await;
    let all = Counterparts::start(&rig);
    all.generators(&rig).await;
    ask(&rig, "1h").await;
    rig.start(&[GRACE]).await;
    until_synced(&rig).await;
    for (step, is_done) in [(STEPS[0], false), (STEPS[0], true), (STEPS[1], false), (STEPS[1], true)] {
        kill_at(&mut rig, &all, step, is_done).await;
    }
    rig.until("all else is revoked".into(), async |rig: &Rig| is_settled(rig, &all).await).await;
    assert_eq!(all.gitlab.deploy_tokens("projects/1"), 1 + 2, "one for each answer that was not heard");
    // Something is always being made.
    rig.stop().await;
    ask(&rig, "1s").await;
    let (args, log) = (rig.args(&[GRACE]), rig.log_file());
    for _ in 0..KILLS {
        let mut operator = Operator::spawn(&rig.testbed, &args, &[], &log).expect("it starts");
        tokio::time::sleep(Duration::from_millis(random.random_range(700..4000))).await;
        operator.process().kill9();
        rig.killed += 1;
        nothing_is_unknown(&rig, &all).await;
    }
    ask(&rig, "1h").await;
    rig.start(&[GRACE]).await;
    until_synced(&rig).await;
    rig.until("all else is revoked".into(), async |rig: &Rig| is_settled(rig, &all).await).await;
    let orphans = all.gitlab.deploy_tokens("projects/1") - 1;
    assert!(
        orphans <= rig.killed && orphans <= named_in_the_log(&rig),
        "{orphans} tokens of GitLab that nobody tells of"
    );
    // What was recorded is not made anew.
    let before = states(&rig).await;
    rig.kill9();
    rig.start(&[GRACE]).await;
    let name = |state: &Value| state["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let names: Vec<String> = before.iter().map(name).collect();
    rig.stays("nothing is made anew", Duration::from_secs(5), async |rig: &Rig| {
        let now: Vec<String> = states(rig).await.iter().map(name).collect();
        ensure!(now == names, "{now:?}");
        Ok(())
    })
    .await;
    rig.finish().await;
}

async fn a_lease_that_nobody_came_to_know_of_is_told_where_the_token_has_no_children() {
    let mut rig = Rig::idle("generator-childless").await;
    let engine = rig.namespace().to_owned();
    rig.vault.mount(&engine, "ssh", json!({})).await.expect("OpenBao mounts an engine");
    let role = json!({"key_type": "otp", "default_user": "u", "cidr_list": "0.0.0.0/0"});
    rig.vault.request(Method::POST, &format!("{engine}/roles/r"), Some(&role)).await.expect("a role");
    dynamic::login(&rig, "").await;
    // It may revoke leases, and make no tokens.
    let rules = format!(
        "path \"{engine}/creds/r\" {{ capabilities = [\"update\"] }}
         path \"sys/leases/revoke\" {{ capabilities = [\"update\"] }}"
    );
    rig.vault.write_policy(&engine, rules).await.expect("a policy");
    let server = Server::before(rig.vault.url());
    let otp = dynamic::secret(&server.url(), &format!("{engine}/creds/r"), json!({"parameters": {"ip": "10.0.0.1"}}));
    rig.apply("VaultDynamicSecret", "v", otp).await;
    dynamic::ask(&rig, "e", "VaultDynamicSecret", "v", "1h").await;
    // It is made, and nobody hears of it.
    let paths = vec![STEPS[1].to_owned()];
    server.fail(Faults { unheard: 100, paths, ..Faults::default() });
    rig.start(&[GRACE]).await;
    rig.until("it was made".into(), async |rig: &Rig| {
        ensure!(!dynamic::leases(rig, &format!("{engine}/creds/r")).await.is_empty(), "not yet");
        Ok(())
    })
    .await;
    rig.kill9();
    server.fail(Faults::default());
    rig.start(&[GRACE]).await;
    rig.until_synced("e").await;
    rig.until("it is told".into(), async |rig: &Rig| {
        let told = rig.log().contains("a lease of this path may have been made just before keyferry was stopped");
        ensure!(told && states(rig).await.len() == 1, "not yet");
        Ok(())
    })
    .await;
    // The others are revoked one by one.
    rig.force_sync("e").await;
    rig.until("the one before it is revoked".into(), async |rig: &Rig| {
        let (states, leases) =
            (states(rig).await.len(), dynamic::leases(rig, &format!("{engine}/creds/r")).await.len());
        ensure!(states == 1 && leases <= 2, "{states} states, {leases} leases");
        Ok(())
    })
    .await;
    rig.finish().await;
}
