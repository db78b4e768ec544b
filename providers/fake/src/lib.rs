//! A store whose secrets stand in its own spec, for tests and demonstrations.
//!
//! The rules are External Secrets Operator's: a secret is found by its key followed by its version, of two entries
//! with the same such name the later one counts, and an entry found that way must be of the version that was asked
//! for; `metadataPolicy` is passed over. Pushing is not there yet.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, BuildContext, BuildFuture, Capabilities, Dialect, Error, ErrorKind, Fetched, Key, Metadata, Provider, Push,
    Query, Reach, Registration, Remote, SecretBytes, filled,
};
use serde::Deserialize;

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "fake", capabilities: |_| CAPABILITIES, maintained: false, build };

const CAPABILITIES: Capabilities = Capabilities {
    // Nothing is called: all that are asked for at once are answered at once.
    max_batch: 10_000,
    versions: true,
    metadata: Metadata::PassedOver,
    find_by_name: true,
    ..Capabilities::READ_ONLY
};

/// `spec.provider.fake`. Nulls are taken as absent.
#[derive(Deserialize)]
struct Config {
    data: Option<Vec<Entry>>,
    #[serde(rename = "validationResult")]
    validation_result: Option<i64>,
}

#[derive(Deserialize)]
struct Entry {
    key: Option<String>,
    value: Option<String>,
    version: Option<String>,
}

struct Secret {
    key: String,
    version: String,
    value: SecretBytes,
}

struct Fake {
    /// By key and version run together, as ESO has it: `("a", "1")` and `("a1", "")` are one.
    secrets: HashMap<String, Secret>,
    validation: Result<(), Error>,
}

fn build(spec: &serde_json::Value, _: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move { Ok(Arc::new(Fake::new(spec)?) as Arc<dyn Provider>) })
}

impl Fake {
    fn new(spec: &serde_json::Value) -> Result<Self, Error> {
        // The parser's own error would quote the value it stumbles over.
        let config = Config::deserialize(spec)
            .map_err(|_| Error::invalid("spec.provider.fake must hold a list of {key, value, version} under data"))?;
        let mut secrets = HashMap::new();
        for (n, entry) in config.data.unwrap_or_default().into_iter().enumerate() {
            let key = filled(entry.key);
            let key =
                key.ok_or_else(|| Error::invalid(format!("spec.provider.fake.data[{n}].key must not be empty")))?;
            // The peer's webhook asks for more than nothing here; its controller takes nothing for a value.
            let value =
                entry.value.ok_or_else(|| Error::invalid(format!("spec.provider.fake.data[{n}].value is missing")))?;
            let value = SecretBytes::new(value.into_bytes());
            let version = entry.version.unwrap_or_default();
            secrets.insert(format!("{key}{version}"), Secret { key, version, value });
        }
        Ok(Self { secrets, validation: validation(config.validation_result.unwrap_or(0)) })
    }

    fn read(&self, key: &Key) -> Answer {
        let version = key.version.as_deref().unwrap_or_default();
        match self.secrets.get(&format!("{}{version}", key.name)) {
            Some(secret) if secret.version == version => {
                Ok(Fetched::from(secret.value.clone()).of_version(Some(version.to_owned())))
            }
            _ if version.is_empty() => Err(Error::new(ErrorKind::NotFound, "the secret does not exist")),
            _ => Err(Error::new(ErrorKind::NotFound, format!("the secret has no version {version:?}"))),
        }
    }
}

/// What a user set the store's check to come out as.
fn validation(result: i64) -> Result<(), Error> {
    match result {
        0 => Ok(()),
        1 => {
            Err(Error::new(ErrorKind::Unverified, "spec.provider.fake.validationResult is 1, which stands for unknown"))
        }
        _ => Err(Error::invalid("spec.provider.fake.validationResult is set to fail")),
    }
}

#[async_trait]
impl Provider for Fake {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn dialect(&self) -> Dialect {
        Dialect { find_converts_names: true, missing_property_is_not_found: true, ..Dialect::default() }
    }

    fn joins(&self, _: &[Key], _: &Key) -> bool {
        true
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        Ok(keys.iter().map(|key| self.read(key)).collect())
    }

    /// Of several versions of one key, the last in the order of strings is found.
    async fn find(&self, query: &Query) -> Result<Vec<Key>, Error> {
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
        Ok(found.into_iter().map(key).collect())
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
    use super::*;
    use serde_json::json;

    const CANARY: &str = "canary-7f3a";

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
        let fake = Fake::new(&json!({"data": data})).unwrap();
        let query = Query { name: Some(regex::Regex::new("^db/").unwrap()), ..Query::default() };
        let found = fake.find(&query).await.unwrap();
        let found: Vec<_> = found.iter().map(|key| (key.name.as_str(), key.version.as_deref())).collect();
        assert_eq!(found, [("db/a", Some("v2")), ("db/b", None)]);
    }

    #[test]
    fn a_secret_is_found_by_key_and_version_run_together() {
        let fake = Fake::new(&json!({"data": [
            {"key": "app", "value": CANARY},
            {"key": "app", "value": "one", "version": "v1"},
            {"key": "twice", "value": "first"},
            {"key": "twice", "value": "second"},
            {"key": "ab", "value": "lost", "version": "c"},
            {"key": "a", "value": "kept", "version": "bc"},
        ]}))
        .unwrap();
        for (name, version, expected) in [
            ("app", None, Ok(CANARY)),
            ("app", Some(""), Ok(CANARY)),
            ("app", Some("v1"), Ok("one")),
            ("app", Some("v2"), Err(ErrorKind::NotFound)),
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
            let fake = Fake::new(&spec).unwrap();
            assert_eq!(read(&fake, "a", None), Err(ErrorKind::NotFound));
            assert_eq!(fake.validation, Ok(()));
        }
        let fake = Fake::new(&json!({"data": [{"key": "a", "value": "b", "version": null}]})).unwrap();
        assert_eq!(read(&fake, "a", None), Ok("b".to_owned()));
    }

    #[test]
    fn an_empty_value_is_a_value() {
        let fake = Fake::new(&json!({"data": [{"key": "a", "value": ""}]})).unwrap();
        assert_eq!(read(&fake, "a", None), Ok(String::new()));
    }

    #[test]
    fn a_wrong_spec_is_named_without_its_values() {
        for (spec, expected) in [
            (json!({"data": [{"key": "a", "value": "b"}, {"value": CANARY}]}), "data[1].key"),
            (json!({"data": [{"key": "a"}]}), "data[0].value"),
            (json!({"data": CANARY}), "under data"),
            (json!({"data": [{"key": "a", "value": [CANARY]}]}), "under data"),
        ] {
            let error = Fake::new(&spec).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains(expected) && !error.message().contains(CANARY), "{error}");
        }
    }

    #[test]
    fn the_check_comes_out_as_the_spec_says() {
        for (result, expected) in [(0, None), (1, Some(ErrorKind::Unverified)), (2, Some(ErrorKind::Invalid))] {
            let fake = Fake::new(&json!({"validationResult": result})).unwrap();
            assert_eq!(fake.validation.err().map(|error| error.kind()), expected);
        }
    }
}
