//! What the store answers: what stands in the spec, and what was pushed.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use keyferry_provider_core::property::{self, Left};
use keyferry_provider_core::{
    Answer, Blame, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Metadata, Page, Provider, Push, Query, Reach,
    Remote, filled,
};

use crate::config::{Config, Secret};
use crate::pushed::Pushed;

/// What the store can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    // Nothing is called: all that are asked for at once are answered at once.
    max_batch: 10_000,
    versions: true,
    metadata: Metadata::PassedOver,
    find_by_name: true,
    push: true,
    delete: true,
    ..Capabilities::READ_ONLY
};

/// The values of one store: those of its spec change with that only, those that were pushed live as long as this.
pub struct Fake {
    /// By key and version run together, as External Secrets Operator has it: `("a", "1")` and `("a1", "")` are one.
    secrets: HashMap<String, Secret>,
    pushed: Pushed,
    validation: Result<(), Error>,
}

impl Fake {
    /// From the spec; what is pushed counts for the namespace that asks, empty where that is anybody.
    pub fn new(config: Config, namespace: &str) -> Self {
        let id = |secret: &Secret| format!("{}{}", secret.key, secret.version);
        let secrets = config.secrets.into_iter().map(|secret| (id(&secret), secret)).collect();
        Self { secrets, pushed: Pushed::new(namespace), validation: config.validation }
    }

    fn read(&self, key: &Key) -> Answer {
        let version = key.version.as_deref().unwrap_or_default();
        match self.secrets.get(&format!("{}{version}", key.name)) {
            Some(secret) if secret.version == version => {
                Ok(Fetched::from(secret.value.clone()).of_version(Some(version.to_owned())))
            }
            _ => match self.pushed.get(&key.name) {
                Some(value) if version.is_empty() => Ok(value.into()),
                _ => Err(self.missing(&key.name, version)),
            },
        }
    }

    /// What stands in the spec is the author's: nobody else writes there.
    fn check_free(&self, key: &str) -> Result<(), Error> {
        if self.secrets.values().any(|secret| secret.key == key) {
            let message =
                format!("{key:?} stands in the store's own spec, and can't be pushed to: push to another key");
            return Err(Error::invalid(message).with_blame(Blame::Request));
        }
        Ok(())
    }
}

impl Fake {
    /// Why there is no such value: no secret of this key at all, or other versions of it.
    fn missing(&self, name: &str, version: &str) -> Error {
        let mut versions: Vec<&str> =
            self.secrets.values().filter(|secret| secret.key == name).map(|secret| secret.version.as_str()).collect();
        versions.sort_unstable();
        versions.truncate(10);
        match (versions.is_empty(), version) {
            (true, _) => Error::new(ErrorKind::NotFound, "the secret does not exist"),
            (false, "") => Error::new(
                ErrorKind::NoVersion,
                format!("every value of the secret has a version, and none was asked for: it has {versions:?}"),
            ),
            (false, version) => {
                Error::new(ErrorKind::NoVersion, format!("the secret has no version {version:?}: it has {versions:?}"))
            }
        }
    }
}

#[async_trait]
impl Provider for Fake {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect { find_converts_names: true, ..Dialect::default() }
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        true
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        Ok(keys.iter().map(|key| self.read(key)).collect())
    }

    /// Of several versions of one key, the last in the order of strings is found.
    async fn find(&self, query: &Query, _: &[String]) -> Result<Page, Error> {
        let mut found: BTreeMap<&str, &str> = BTreeMap::new();
        for Secret { key, version, .. } in self.secrets.values().filter(|secret| query.matches(&secret.key)) {
            let best = found.entry(key).or_insert(version);
            *best = (*best).max(version);
        }
        let pushed = self.pushed.keys();
        found.extend(pushed.iter().filter(|key| query.matches(key)).map(|key| (key.as_str(), "")));
        let key = |(name, version): (&str, &str)| Key {
            name: name.to_owned(),
            version: filled(Some(version.to_owned())),
            metadata: false,
        };
        Ok(Page { keys: found.into_iter().map(key).collect(), next: Vec::new() })
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        let Remote { key, property, metadata } = &push.remote;
        if metadata.as_ref().is_some_and(|metadata| !metadata.is_null()) {
            return Err(Error::invalid("metadata: this store keeps none").with_blame(Blame::Request));
        }
        self.check_free(key)?;
        let value = push.payload.whole()?;
        match property.as_deref() {
            None | Some("") => self.pushed.put(key, value),
            Some(property) => {
                let there = self.pushed.get(key).unwrap_or_default();
                self.pushed.put(key, property::set(there.expose(), property, &value)?)
            }
        }
    }

    async fn delete(&self, remote: &Remote, _: Reach) -> Result<(), Error> {
        let Some(there) = self.pushed.get(&remote.key) else { return Ok(()) };
        let left = match remote.property.as_deref() {
            None | Some("") => Left::Nothing,
            Some(property) => property::remove(there.expose(), property),
        };
        match left {
            Left::All => Ok(()),
            Left::Nothing => {
                self.pushed.remove(&remote.key);
                Ok(())
            }
            Left::Rest(rest) => self.pushed.put(&remote.key, rest),
        }
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        let key = Key { name: remote.key.clone(), version: None, metadata: false };
        let Ok(there) = self.read(&key) else {
            // It may be there in versions only.
            return Ok(self.check_free(&remote.key).is_err());
        };
        Ok(match remote.property.as_deref() {
            None | Some("") => true,
            Some(property) => property::get(there.value.expose(), property).is_some(),
        })
    }

    async fn validate(&self) -> Result<(), Error> {
        self.validation.clone()
    }

    fn identity_note(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::{Origin, Payload};
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    const CANARY: &str = "canary-7f3a";

    fn fake(spec: serde_json::Value) -> Fake {
        Fake::new(Config::new(&spec).unwrap(), "store-tests")
    }

    fn read(fake: &Fake, name: &str, version: Option<&str>) -> Result<String, ErrorKind> {
        let key = Key { name: name.into(), version: version.map(str::to_owned), metadata: false };
        let fetched = fake.read(&key).map_err(|error| {
            assert!(!error.message().contains(CANARY), "{error}");
            error.kind()
        })?;
        assert_eq!(fetched.version.as_deref(), version.filter(|version| !version.is_empty()), "{name}");
        Ok(fetched.value.expose_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn of_several_versions_the_last_is_found() {
        let data = json!([{"key": "db/a", "value": "x", "version": "v1"}, {"key": "db/a", "value": "y", "version": "v2"},
            {"key": "db/b", "value": "z"}, {"key": "other", "value": "o"}]);
        let fake = fake(json!({"data": data}));
        let query = Query { name: Some("^db/".parse().unwrap()), ..Query::default() };
        let found = fake.find(&query, &[]).await.unwrap().keys;
        let found: Vec<_> = found.iter().map(|key| (key.name.as_str(), key.version.as_deref())).collect();
        assert_eq!(found, [("db/a", Some("v2")), ("db/b", None)]);
    }

    #[test]
    fn a_secret_is_found_by_key_and_version_run_together() {
        let fake = fake(json!({"data": [
            {"key": "app", "value": CANARY},
            {"key": "app", "value": "one", "version": "v1"},
            {"key": "twice", "value": "first"},
            {"key": "twice", "value": "second"},
            {"key": "ab", "value": "lost", "version": "c"},
            {"key": "a", "value": "kept", "version": "bc"},
        ]}));
        for (name, version, expected) in [
            ("app", None, Ok(CANARY)),
            ("app", Some(""), Ok(CANARY)),
            ("app", Some("v1"), Ok("one")),
            ("app", Some("v2"), Err(ErrorKind::NoVersion)),
            ("appv1", None, Err(ErrorKind::NotFound)), // the id is there, the version is another
            ("twice", None, Ok("second")),
            ("a", Some("bc"), Ok("kept")),
            ("ab", Some("c"), Err(ErrorKind::NotFound)), // overwritten by the one above
            ("", None, Err(ErrorKind::NotFound)),
        ] {
            assert_eq!(read(&fake, name, version), expected.map(str::to_owned), "{name} {version:?}");
        }
    }

    #[test]
    fn nulls_and_absence_are_one() {
        for spec in [json!({}), json!({"data": null, "validationResult": null}), json!({"data": []})] {
            let fake = fake(spec);
            assert_eq!(read(&fake, "a", None), Err(ErrorKind::NotFound));
            assert_eq!(fake.validation, Ok(()));
        }
        let fake = fake(json!({"data": [{"key": "a", "value": "b", "version": null}]}));
        assert_eq!(read(&fake, "a", None), Ok("b".to_owned()));
    }

    #[test]
    fn an_empty_value_is_a_value() {
        let fake = fake(json!({"data": [{"key": "a", "value": ""}]}));
        assert_eq!(read(&fake, "a", None), Ok(String::new()));
    }

    fn remote(key: &str, property: Option<&str>) -> Remote {
        Remote { key: key.into(), property: property.map(str::to_owned), metadata: None }
    }

    async fn push(fake: &Fake, remote: Remote, value: &str) -> Result<(), Error> {
        let payload = Payload::Value(value.into());
        fake.push(&Push { remote, payload, origin: Origin::default(), reach: Reach::Ours }).await
    }

    #[tokio::test]
    async fn what_was_pushed_is_read_found_and_deleted() {
        let fake =
            fake(json!({"data": [{"key": "app", "value": "spec"}, {"key": "old", "value": "v", "version": "1"}]}));
        push(&fake, remote("new", None), "pushed").await.unwrap();
        push(&fake, remote("object", Some("a.b")), "x").await.unwrap();
        push(&fake, remote("object", Some("c")), "y").await.unwrap();
        assert_eq!(read(&fake, "new", None).as_deref(), Ok("pushed"));
        assert_eq!(read(&fake, "new", Some("1")), Err(ErrorKind::NotFound));
        assert_eq!(read(&fake, "object", None).as_deref(), Ok(r#"{"a":{"b":"x"},"c":"y"}"#));
        let query = Query { name: Some("^(new|object|app)$".parse().unwrap()), ..Query::default() };
        let found: Vec<_> = fake.find(&query, &[]).await.unwrap().keys.into_iter().map(|key| key.name).collect();
        assert_eq!(found, ["app", "new", "object"]);
        for (there, expected) in [
            (remote("new", None), true),
            (remote("object", Some("a.b")), true),
            (remote("object", Some("a.c")), false),
            (remote("app", None), true),
            (remote("old", None), true),
            (remote("nothing", None), false),
        ] {
            assert_eq!(fake.exists(&there).await, Ok(expected), "{there:?}");
        }
        fake.delete(&remote("object", Some("a.b")), Reach::Ours).await.unwrap();
        assert_eq!(read(&fake, "object", None).as_deref(), Ok(r#"{"c":"y"}"#));
        for gone in [remote("object", Some("c")), remote("new", None), remote("nothing", None), remote("app", None)] {
            fake.delete(&gone, Reach::Ours).await.unwrap();
        }
        assert_eq!(read(&fake, "object", None), Err(ErrorKind::NotFound));
        assert_eq!(read(&fake, "new", None), Err(ErrorKind::NotFound));
        assert_eq!(read(&fake, "app", None).as_deref(), Ok("spec"));
    }

    #[tokio::test]
    async fn what_can_not_be_pushed_is_refused_without_its_value() {
        let fake = fake(json!({"data": [{"key": "app", "value": "v", "version": "1"}]}));
        push(&fake, remote("text", None), CANARY).await.unwrap();
        let metadata = Remote { metadata: Some(json!({"any": CANARY})), ..remote("new", None) };
        for (to, blame, words) in [
            (remote("app", None), Blame::Request, "stands in the store's own spec"),
            (remote("text", Some("a")), Blame::Store, "no JSON object"),
            (metadata, Blame::Request, "this store keeps none"),
        ] {
            let error = push(&fake, to, CANARY).await.unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, blame));
            assert!(error.message().contains(words) && !error.message().contains(CANARY), "{error}");
        }
    }
}
