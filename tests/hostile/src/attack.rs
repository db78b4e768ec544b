//! What an attack is, and the objects that attacks are made of.

use std::fmt::Display;

use serde_json::{Value, json};

use crate::server::Server;
use crate::stranger::Stranger;

/// What names a limit in a condition.
pub const LIMIT: &[&str] = &["(limit ", "limit exceeded: "];

/// One attack: a line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Its name, which the names of its objects begin with.
    pub name: &'static str,
    /// What is tried, in a line.
    pub about: &'static str,
    /// What the attacker writes.
    pub objects: fn(&Scene) -> Vec<Value>,
    /// What he does once it is written.
    pub press: Press,
    /// For how long it goes on at least.
    pub seconds: u64,
    /// What his objects must say.
    pub expect: Expect,
}

/// What the attacker does once his objects are there.
#[derive(Clone, Copy, Debug)]
pub enum Press {
    /// He waits.
    Wait,
    /// He deletes his objects and makes them anew, again and again.
    Flap,
    /// He patches an object, again and again: kind, name behind that of the attack, and the patch of a round.
    Patch(&'static str, &'static str, fn(usize) -> Value),
    /// He deletes his ExternalSecrets, and leaves it at that.
    Delete,
    /// He does this to the listeners of what is sealed.
    Stranger(Stranger),
}

/// What the attacker's objects must say: one of these texts in a condition, or in the API server's refusal.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// Nothing: what is written is no fault, there is much of it.
    Nothing,
    /// At least one object says it.
    One(&'static [&'static str]),
    /// Every ExternalSecret says it, or every PushSecret or store where there is none.
    Each(&'static [&'static str]),
    /// They say nothing, and so many of his Deployments restart, neither more nor less.
    Restarts(usize),
}

impl Attack {
    /// An attack that need not be told, and lasts some seconds.
    pub const fn new(name: &'static str, about: &'static str, objects: fn(&Scene) -> Vec<Value>) -> Self {
        Self { name, about, objects, press: Press::Wait, seconds: 8, expect: Expect::Nothing }
    }

    /// One of its objects must say one of these.
    pub const fn one(self, words: &'static [&'static str]) -> Self {
        Self { expect: Expect::One(words), ..self }
    }

    /// Each of its objects must say one of these.
    pub const fn each(self, words: &'static [&'static str]) -> Self {
        Self { expect: Expect::Each(words), ..self }
    }

    /// So many of its Deployments restart.
    pub const fn restarts(self, most: usize) -> Self {
        Self { expect: Expect::Restarts(most), ..self }
    }

    /// It lasts so long.
    pub const fn seconds(self, seconds: u64) -> Self {
        Self { seconds, ..self }
    }

    /// What is done once its objects are there.
    pub const fn press(self, press: Press) -> Self {
        Self { press, ..self }
    }

    /// Whether an object of this name is one of its own.
    pub fn owns(&self, name: &str) -> bool {
        name.strip_prefix(self.name).is_some_and(|rest| rest.starts_with("--"))
    }
}

/// What the objects of an attack are made with.
pub struct Scene<'a> {
    /// The attack's name.
    pub attack: &'static str,
    /// The attacker's store.
    pub server: &'a Server,
}

impl Scene<'_> {
    /// The name of an object of this attack.
    pub fn name(&self, part: impl Display) -> String {
        format!("{}--{part}", self.attack)
    }

    /// Any object.
    pub fn object(&self, api_version: &str, kind: &str, part: impl Display, rest: Value) -> Value {
        let mut object = rest;
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
        object["metadata"]["name"] = json!(self.name(part));
        object
    }

    /// A SecretStore named `s` with this provider.
    pub fn store(&self, provider: Value) -> Value {
        self.store_named("s", provider)
    }

    /// A SecretStore with this provider.
    pub fn store_named(&self, part: impl Display, provider: Value) -> Value {
        self.object("external-secrets.io/v1", "SecretStore", part, json!({"spec": {"provider": provider}}))
    }

    /// A store `s` that has this value under `k` in itself.
    pub fn fake(&self, value: &str) -> Value {
        self.store(json!({"fake": {"data": [{"key": "k", "value": value}]}}))
    }

    /// A store `s` of Vault's kind at the attacker's server, which answers like this.
    pub fn vault(&self, answers: &str) -> Vec<Value> {
        vec![self.token(), self.store(self.vault_provider(&self.server.url(answers)))]
    }

    /// Vault at this URL, with the token of [`Self::token`].
    pub fn vault_provider(&self, url: &str) -> Value {
        let token = json!({"name": self.name("token"), "key": "token"});
        json!({"vault": {"server": url, "path": "secret", "version": "v2", "auth": {"tokenSecretRef": token}}})
    }

    /// The API server of another cluster at the attacker's server.
    pub fn kubernetes_provider(&self, url: &str) -> Value {
        let token = json!({"bearerToken": {"name": self.name("token"), "key": "token"}});
        json!({"kubernetes": {"server": {"url": url}, "remoteNamespace": "default", "auth": {"token": token}}})
    }

    /// A Secret that stores log in with.
    pub fn token(&self) -> Value {
        self.object("v1", "Secret", "token", json!({"stringData": {"token": "the-attackers-own-token"}}))
    }

    /// A ConfigMap.
    pub fn config_map(&self, part: impl Display, data: Value) -> Value {
        self.object("v1", "ConfigMap", part, json!({"data": data}))
    }

    /// A generator.
    pub fn generator(&self, kind: &str, part: impl Display, spec: Value) -> Value {
        self.object("generators.external-secrets.io/v1alpha1", kind, part, json!({"spec": spec}))
    }

    /// An ExternalSecret of the store `s`, which takes `k` where the spec does not say what.
    pub fn es(&self, part: impl Display, spec: Value) -> Value {
        let mut whole = json!({"refreshInterval": "1h", "secretStoreRef": {"name": self.name("s")}});
        if spec["data"].is_null() && spec["dataFrom"].is_null() {
            whole["data"] = json!([entry("k", "k")]);
        }
        merge(&mut whole, spec);
        self.object("external-secrets.io/v1", "ExternalSecret", part, json!({"spec": whole}))
    }

    /// A Secret with the label `push`.
    pub fn source(&self, part: impl Display, data: Value) -> Value {
        let metadata = json!({"labels": {"push": self.attack}});
        self.object("v1", "Secret", part, json!({"metadata": metadata, "stringData": data}))
    }

    /// A PushSecret of the Secret `src` into the store `s`, each second where the spec says nothing else.
    pub fn ps(&self, part: impl Display, spec: Value) -> Value {
        let mut whole = json!({
            "refreshInterval": "1s", "secretStoreRefs": [{"name": self.name("s")}],
            "selector": {"secret": {"name": self.name("src")}},
        });
        merge(&mut whole, spec);
        self.object("external-secrets.io/v1alpha1", "PushSecret", part, json!({"spec": whole}))
    }

    /// An ExternalSecret with a template of one key.
    pub fn template(&self, part: impl Display, text: impl Display) -> Value {
        self.templates(part, json!({"v": text.to_string()}))
    }

    /// An ExternalSecret with these templates by key.
    pub fn templates(&self, part: impl Display, data: Value) -> Value {
        self.es(part, json!({"target": {"template": {"data": data}}}))
    }

    /// A store `s`, and for each of the texts an ExternalSecret with a template of it.
    pub fn each_template(&self, texts: &[&str]) -> Vec<Value> {
        let secrets = texts.iter().enumerate().map(|(n, text)| self.template(n, text));
        std::iter::once(self.fake("value")).chain(secrets).collect()
    }
}

/// An entry of `spec.data`.
pub fn entry(secret_key: impl Display, key: impl Display) -> Value {
    json!({"secretKey": secret_key.to_string(), "remoteRef": {"key": key.to_string()}})
}

/// So many of a thing, by number.
pub fn many<T>(count: usize, make: impl Fn(usize) -> T) -> Vec<T> {
    (0..count).map(make).collect()
}

/// The first things, and then the others.
pub fn with(first: impl IntoIterator<Item = Value>, others: impl IntoIterator<Item = Value>) -> Vec<Value> {
    first.into_iter().chain(others).collect()
}

/// A map of so many keys, all with this value.
pub fn keys(count: usize, value: &str) -> Value {
    Value::Object((0..count).map(|n| (format!("k{n}"), json!(value))).collect())
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attack_knows_its_own_objects_by_name() {
        let attack = Attack::new("names", "", |_| vec![]);
        assert!(attack.owns("names--s"));
        assert!(!attack.owns("names-of-others--s"));
    }
}
