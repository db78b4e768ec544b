//! Everything that one test needs: a namespace, an operator of its own that looks after that namespace only, a place
//! in OpenBao, and values that must never be seen.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_testkit::{Namespace, Testbed, Vault, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{self, Cluster, SOON, api_version};
use crate::leaks::{self, Canaries, Place};
use crate::lines;
use crate::operator::{Operator, series};

/// Within this time what is woken is done, on any machine: see [`Rig::let_back_off_grow`].
pub const AT_ONCE: Duration = Duration::from_secs(60);

/// The rig of one test. Ends with [`Rig::finish`], which looks for leaks: a test that forgets it fails.
pub struct Rig {
    /// The testbed.
    pub testbed: Testbed,
    /// The objects of the namespace.
    pub cluster: Cluster,
    /// Values that must never be seen.
    pub canaries: Canaries,
    /// A client of OpenBao with the root token.
    pub vault: Vault,
    /// What the operator's environment has besides what the testbed needs.
    pub env: Vec<(&'static str, String)>,
    /// The operator, while it runs.
    pub operator: Option<Operator>,
    /// What earlier lives of the operator showed.
    seen: Vec<Place>,
    /// How many of them were killed, and a line of the log with each, perhaps.
    pub killed: usize,
    namespace: Namespace,
    finished: bool,
    dir: TempDir,
}

impl Rig {
    /// A namespace and an operator for it.
    pub async fn new(prefix: &str) -> Self {
        let mut rig = Self::idle(prefix).await;
        rig.start(&[]).await;
        rig
    }

    /// A namespace on the shared testbed, and no operator yet.
    pub async fn idle(prefix: &str) -> Self {
        Self::on(cluster::shared().await, prefix).await
    }

    /// A namespace on this testbed, and no operator yet.
    pub async fn on(testbed: &Testbed, prefix: &str) -> Self {
        let namespace = testbed.namespace(prefix).await;
        let canaries = Canaries::default();
        // How every JSON web token begins: the tokens of ServiceAccounts are made where we don't see them.
        canaries.add("a token of a ServiceAccount", "eyJhbGciOi");
        Self {
            testbed: testbed.clone(),
            cluster: Cluster::new(namespace.client(), namespace.name()),
            canaries,
            vault: testbed.vault(),
            env: Vec::new(),
            operator: None,
            seen: Vec::new(),
            killed: 0,
            namespace,
            finished: false,
            dir: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// The name of the namespace.
    pub fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// Where all lives of the operator log.
    pub fn log_file(&self) -> PathBuf {
        self.dir.path().join("keyferry.log")
    }

    /// What the operator has logged, in all its lives.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The arguments that confine an operator to the namespace, where `more` does not name another, and to the stores
    /// that [`Rig::apply`] makes.
    pub fn args(&self, more: &[&str]) -> Vec<String> {
        let mut args = vec![format!("--controller-class={}", self.namespace()), "--loglevel=trace".to_owned()];
        if !more.iter().any(|arg| arg.starts_with("--namespace=")) {
            args.push(format!("--namespace={}", self.namespace()));
        }
        // Most tests have one operator and nobody to share with; those about Leases say so.
        if !more.iter().any(|arg| arg.contains("leader-election")) {
            args.push("--enable-leader-election=false".to_owned());
        }
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        args
    }

    /// Starts the operator, and waits until it is at work.
    pub async fn start(&mut self, more: &[&str]) {
        assert!(self.operator.is_none(), "the operator runs already");
        let started = Operator::start(&self.testbed, &self.args(more), &self.env, &self.log_file()).await;
        self.operator = Some(started.unwrap_or_else(|error| panic!("{error:#}")));
    }

    /// The running operator.
    pub fn operator(&mut self) -> &mut Operator {
        self.operator.as_mut().expect("the operator runs")
    }

    /// The text of its `/metrics`.
    pub async fn metrics(&self) -> String {
        let operator = self.operator.as_ref().expect("the operator runs");
        operator.metrics().await.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Ends the operator as a node drain does.
    pub async fn stop(&mut self) {
        let metrics = self.metrics().await;
        self.seen.push(Place::new("/metrics", metrics));
        let mut operator = self.operator.take().expect("the operator runs");
        operator.stop().unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Ends the operator as a crash does.
    pub fn kill9(&mut self) {
        self.operator.take().expect("the operator runs").process().kill9();
        self.killed += 1;
    }

    /// All that anybody can see of what this test did.
    pub async fn places(&self) -> Vec<Place> {
        let mut places = leaks::visible(&self.cluster).await;
        places.push(Place::new("the log", self.log()));
        if let Some(operator) = &self.operator {
            places.push(Place::new("/metrics", operator.metrics().await.unwrap_or_else(|error| panic!("{error:#}"))));
        }
        places.extend(self.seen.iter().map(|place| Place::new(&place.name, &place.text)));
        places
    }

    /// Ends the test: no value may be seen anywhere, every log line is read as it was meant, and the operator ends well.
    pub async fn finish(mut self) {
        if self.operator.is_some() {
            // Before the end: what is deleted with the namespace is not seen any more.
            self.stop().await;
        }
        let found = self.canaries.find(&self.places().await);
        // Those of the cluster do not go with the namespace.
        for store in self.cluster.list("ClusterSecretStore").await {
            if store["spec"]["controller"] == self.namespace() {
                self.cluster.delete("ClusterSecretStore", store["metadata"]["name"].as_str().unwrap_or_default()).await;
            }
        }
        self.finished = true;
        assert_eq!(lines::faulty(&self.log(), self.killed), Vec::<String>::new(), "a parser would misread these");
        assert!(found.is_empty(), "secrets are to be seen:\n  {}", found.join("\n  "));
    }

    /// Creates an object in the namespace, or replaces the one that is there.
    #[track_caller]
    pub fn apply(&self, kind: &str, name: &str, rest: Value) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let applied = self.try_apply(kind, name, rest).await;
            applied.unwrap_or_else(|refusal| panic!("{caller}: {kind} {name}: {refusal}"))
        }
    }

    /// The same; `Err` holds the API server's refusal. `rest` is what the object has beside its names: `spec`, say.
    /// Stores are for this test's operator, where `rest` does not say otherwise.
    pub async fn try_apply(&self, kind: &str, name: &str, rest: Value) -> Result<Value, String> {
        let mut object = rest;
        if kind.ends_with("SecretStore") && object["spec"]["controller"].is_null() {
            object["spec"]["controller"] = json!(self.namespace());
        }
        object["apiVersion"] = json!(api_version(kind));
        object["kind"] = json!(kind);
        object["metadata"]["name"] = json!(name);
        let applied = self.cluster.try_apply(&object).await?;
        Ok(serde_json::to_value(applied).expect("plain data"))
    }

    /// A Secret with these texts.
    pub async fn secret(&self, name: &str, data: Value) -> Value {
        self.apply("Secret", name, json!({ "stringData": data })).await
    }

    /// An ExternalSecret of the store `s` that refreshes every two seconds, where `spec` does not say otherwise.
    #[track_caller]
    pub fn external_secret(&self, name: &str, spec: Value) -> impl Future<Output = Value> {
        let mut whole = json!({"refreshInterval": "2s", "secretStoreRef": {"name": "s"}});
        merge(&mut whole, &spec);
        self.apply("ExternalSecret", name, json!({ "spec": whole }))
    }

    /// A rig with a synced ExternalSecret `e` of this spec, which holds `user` of the secret `app`; gives the value, which
    /// `pass` has too.
    pub async fn synced(prefix: &str, spec: Value) -> (Self, String) {
        let rig = Self::new(prefix).await;
        rig.vault_store("s").await;
        let first = rig.canaries.value("first");
        rig.put("app", json!({"user": first, "pass": first})).await;
        let mut whole = json!({"data": rig.data("app", &["user"])});
        merge(&mut whole, &spec);
        rig.external_secret("e", whole).await;
        rig.until_texts("e", json!({"user": first})).await;
        rig.until_synced("e").await;
        (rig, first)
    }

    /// Changes the spec of an ExternalSecret.
    #[track_caller]
    pub fn respec(&self, name: &str, spec: Value) -> impl Future<Output = Value> {
        let patch = json!({ "spec": spec });
        let caller = std::panic::Location::caller();
        async move {
            let patched = self.cluster.try_patch("ExternalSecret", name, &patch).await;
            patched.unwrap_or_else(|refusal| panic!("{caller}: {name}: {refusal}"))
        }
    }

    /// Asks for a refresh, as people do.
    pub async fn force_sync(&self, name: &str) {
        let annotation = format!("{:016x}", rand::random::<u64>());
        let patch = json!({"metadata": {"annotations": {"external-secrets.io/force-sync": annotation}}});
        self.cluster.patch("ExternalSecret", name, &patch).await;
    }

    /// A SecretStore `name` over the namespace's own folder in OpenBao, with a token that may read that and no more.
    pub async fn vault_store(&self, name: &str) {
        let token = self.vault_token().await;
        let secret = format!("{name}-token");
        self.secret(&secret, json!({ "token": token })).await;
        self.apply("SecretStore", name, json!({ "spec": {"provider": {"vault": self.vault_spec(&secret)}} })).await;
    }

    /// `spec.provider.vault` of a store that logs in with the key `token` of a Secret.
    pub fn vault_spec(&self, secret: &str) -> Value {
        json!({
            "server": self.testbed.vault_url(), "path": "secret", "version": "v2",
            "auth": {"tokenSecretRef": {"name": secret, "key": "token"}},
        })
    }

    /// A new token that may read the namespace's folder in OpenBao.
    pub async fn vault_token(&self) -> String {
        let policy = self.vault_policy().await;
        let token = self.vault.create_token(&[&policy]).await.expect("OpenBao makes a token");
        self.canaries.add("the token of OpenBao", &token);
        token
    }

    /// A policy that lets its holder read the namespace's folder in OpenBao, and ask about itself; gives its name.
    pub async fn vault_policy(&self) -> String {
        let name = self.namespace().to_owned();
        let rules = format!(
            "path \"secret/data/{name}/*\" {{ capabilities = [\"read\"] }}
             path \"auth/token/lookup-self\" {{ capabilities = [\"read\"] }}"
        );
        self.vault.write_policy(&name, rules).await.expect("OpenBao takes a policy");
        name
    }

    /// The key of a secret in the namespace's folder.
    pub fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace())
    }

    /// Writes a secret into the namespace's folder in OpenBao.
    pub async fn put(&self, name: &str, data: Value) {
        self.vault.put(&self.key(name), data).await.expect("OpenBao takes a secret");
    }

    /// Removes one.
    pub async fn remove(&self, name: &str) {
        self.vault.delete(&self.key(name)).await.expect("OpenBao deletes a secret");
    }

    /// `data` of an ExternalSecret: for each of these keys the property of the same name of `secret`.
    pub fn data(&self, secret: &str, keys: &[&str]) -> Value {
        let entry = |key: &&str| json!({"secretKey": key, "remoteRef": {"key": self.key(secret), "property": key}});
        keys.iter().map(entry).collect()
    }

    /// The texts in a Secret, where it exists.
    pub async fn texts(&self, name: &str) -> Option<BTreeMap<String, String>> {
        Some(texts(&self.cluster.get("Secret", name).await?))
    }

    /// Waits until a Secret holds exactly these texts.
    #[track_caller]
    pub fn until_texts(&self, name: &str, wanted: Value) -> impl Future<Output = ()> {
        self.until(format!("Secret {name} holds what it should"), async move |rig: &Self| {
            rig.holds(name, &wanted).await
        })
    }

    /// Lets an ExternalSecret fail until it would be tried again by itself long after [`AT_ONCE`] only. What is over
    /// within that time then was woken. Its interval must be long, as the wait is never longer than that.
    #[track_caller]
    pub fn let_back_off_grow(&self, name: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let value = |text: &str, metric: &str| series(text, metric, &[("name", name)]);
            // Each failure doubles the wait: many more than these would say that it does not grow.
            for _ in 0..20 {
                let metrics = self.metrics().await;
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs_f64();
                let next = value(&metrics, "keyferry_externalsecret_next_try_timestamp_seconds");
                if next > now + 1.5 * AT_ONCE.as_secs_f64() {
                    return;
                }
                let before = value(&metrics, "keyferry_externalsecret_failed_attempts");
                self.force_sync(name).await;
                self.until(format!("{name} failed again"), async |rig: &Self| {
                    match value(&rig.metrics().await, "keyferry_externalsecret_failed_attempts") {
                        tries if tries > before => Ok(()),
                        tries => Err(anyhow!("{tries} failures")),
                    }
                })
                .await;
            }
            panic!("{caller}: the back-off of {name} does not grow");
        }
    }

    /// Waits until an object is gone.
    #[track_caller]
    pub fn until_gone(&self, kind: &str, name: &str) -> impl Future<Output = ()> {
        self.until(format!("{kind} {name} is gone"), async move |rig: &Self| match rig.cluster.get(kind, name).await {
            None => Ok(()),
            Some(object) => Err(anyhow!("it is there: {}", object["metadata"])),
        })
    }

    /// The Ready condition of an object.
    pub async fn ready(&self, kind: &str, name: &str) -> Option<Ready> {
        Ready::of(&self.cluster.get(kind, name).await?)
    }

    /// Waits until an ExternalSecret is synced as it stands now.
    #[track_caller]
    pub fn until_synced(&self, name: &str) -> impl Future<Output = ()> {
        self.until(format!("ExternalSecret {name} is synced"), async move |rig: &Self| {
            let object = rig.cluster.get("ExternalSecret", name).await.ok_or_else(|| anyhow!("there is none"))?;
            let generation = format!("{}-", object["metadata"]["generation"]);
            let synced = object["status"]["syncedResourceVersion"].as_str().unwrap_or_default();
            match Ready::of(&object) {
                Some(ready) if ready.is("True", "SecretSynced") && synced.starts_with(&generation) => Ok(()),
                found => Err(anyhow!("{found:?}, synced at {synced}, now at {generation}")),
            }
        })
    }

    /// Waits until the Ready condition of an object has this status and reason, and its message all these parts.
    #[track_caller]
    pub fn until_ready(
        &self,
        kind: &str,
        name: &str,
        status: &str,
        reason: &str,
        parts: &[&str],
    ) -> impl Future<Output = Ready> {
        self.until(format!("{kind} {name} is {status} {reason}"), async move |rig: &Self| {
            match rig.ready(kind, name).await {
                Some(ready) if ready.is(status, reason) && parts.iter().all(|part| ready.message.contains(part)) => {
                    Ok(ready)
                }
                found => Err(anyhow!("{found:?}, wanted: {parts:?}")),
            }
        })
    }

    /// Waits until an ExternalSecret has failed with a message that has all these parts.
    #[track_caller]
    pub fn until_failed(&self, name: &str, parts: &[&str]) -> impl Future<Output = Ready> {
        self.until_ready("ExternalSecret", name, "False", "SecretSyncedError", parts)
    }

    /// Waits for anything.
    #[track_caller]
    pub fn until<T>(&self, what: String, ask: impl AsyncFn(&Self) -> Result<T>) -> impl Future<Output = T> {
        let caller = std::panic::Location::caller();
        async move {
            let (ask, what) = (&ask, &format!("{caller}: not so that {what}"));
            eventually(SOON, || async move { ask(self).await.map_err(|error| error.context(what.clone())) }).await
        }
    }

    /// Asks again and again that something is so, and goes on being so, for a time: for what must not happen.
    #[track_caller]
    pub fn stays<T>(
        &self,
        what: &str,
        time: Duration,
        ask: impl AsyncFn(&Self) -> Result<T>,
    ) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let began = Instant::now();
            while began.elapsed() < time {
                if let Err(error) = ask(self).await {
                    panic!("{caller}: after {:?} it is no longer so that {what}: {error:#}", began.elapsed());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// An error where a Secret does not hold exactly these texts.
    pub async fn holds(&self, name: &str, wanted: &Value) -> Result<()> {
        let wanted: BTreeMap<String, String> = serde_json::from_value(wanted.clone())?;
        match self.texts(name).await {
            Some(found) if found == wanted => Ok(()),
            // Keys only: a test's output is a log too.
            Some(found) => Err(anyhow!("Secret {name} has the keys {:?}", found.keys())),
            None => Err(anyhow!("there is no Secret {name}")),
        }
    }

    /// The events about an object of the namespace.
    pub async fn events(&self, name: &str) -> Vec<Value> {
        let mut events = self.cluster.list("Event").await;
        events.retain(|event| event.pointer("/involvedObject/name") == Some(&json!(name)));
        events
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        match (self.finished, std::thread::panicking()) {
            (true, _) => {}
            (false, true) => {
                let log = self.log();
                let tail: Vec<&str> = log.lines().rev().take(120).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                let _ = std::io::Write::write_all(
                    &mut std::io::stderr(),
                    format!("the end of the log of {}:\n{}\n", self.namespace(), tail.join("\n")).as_bytes(),
                );
            }
            (false, false) => panic!("a test must end with Rig::finish, which looks for leaks"),
        }
    }
}

/// A Ready condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// True or False.
    pub status: String,
    /// The reason, a word.
    pub reason: String,
    /// The message.
    pub message: String,
    /// When the status last changed.
    pub since: String,
}

impl Ready {
    /// That of an object, where it has one.
    pub fn of(object: &Value) -> Option<Self> {
        let conditions = object["status"]["conditions"].as_array()?;
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
        let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
        Some(Self {
            status: text("status"),
            reason: text("reason"),
            message: text("message"),
            since: text("lastTransitionTime"),
        })
    }

    fn is(&self, status: &str, reason: &str) -> bool {
        self.status == status && self.reason == reason
    }
}

/// The texts in a Secret. Bytes that are no text are shown as their base64 with `b64:` before it.
pub fn texts(secret: &Value) -> BTreeMap<String, String> {
    let data = secret["data"].as_object().into_iter().flatten();
    data.map(|(key, value)| {
        let encoded = value.as_str().unwrap_or_default();
        let bytes = STANDARD.decode(encoded).expect("the API server gives base64");
        (key.clone(), String::from_utf8(bytes).unwrap_or_else(|_| format!("b64:{encoded}")))
    })
    .collect()
}

/// The base64 of a text, as fields for bytes want it.
pub fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

/// Merges as a JSON merge patch does.
pub fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                match value {
                    Value::Null => drop(into.remove(key)),
                    value => merge(into.entry(key.clone()).or_insert(Value::Null), value),
                }
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}
