//! What the store answers: all of it stands in the spec.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Metadata, Page, Provider, Push, Query, Reach,
    Remote, filled,
};

use crate::config::{Config, Secret};

/// What the store can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    // Nothing is called: all that are asked for at once are answered at once.
    max_batch: 10_000,
    versions: true,
    metadata: Metadata::PassedOver,
    find_by_name: true,
    ..Capabilities::READ_ONLY
};

/// The values of one store's spec: they change with that only.
pub struct Fake {
    /// By key and version run together, as External Secrets Operator has it: `("a", "1")` and `("a1", "")` are one.
    secrets: HashMap<String, Secret>,
    validation: Result<(), Error>,
}

impl Fake {
    /// From the spec.
    pub fn new(config: Config) -> Self {
        let id = |secret: &Secret| format!("{}{}", secret.key, secret.version);
        let secrets = config.secrets.into_iter().map(|secret| (id(&secret), secret)).collect();
        Self { secrets, validation: config.validation }
    }

    fn read(&self, key: &Key) -> Answer {
        let version = key.version.as_deref().unwrap_or_default();
        match self.secrets.get(&format!("{}{version}", key.name)) {
            Some(secret) if secret.version == version => {
                Ok(Fetched::from(secret.value.clone()).of_version(Some(version.to_owned())))
            }
            _ => Err(self.missing(&key.name, version)),
        }
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
        let key = |(name, version): (&str, &str)| Key {
            name: name.to_owned(),
            version: filled(Some(version.to_owned())),
            metadata: false,
        };
        Ok(Page { keys: found.into_iter().map(key).collect(), next: Vec::new() })
    }

    async fn push(&self, _: &Push) -> Result<(), Error> {
        Err(Error::cannot("pushed to"))
    }

    async fn delete(&self, _: &Remote, _: Reach) -> Result<(), Error> {
        Err(Error::cannot("deleted from"))
    }

    async fn exists(&self, _: &Remote) -> Result<bool, Error> {
        Err(Error::cannot("pushed to"))
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
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    const CANARY: &str = "canary-7f3a";

    fn fake(spec: serde_json::Value) -> Fake {
        Fake::new(Config::new(&spec).unwrap())
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
}
