//! Values that stand in for those of stores.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{
    Answer, Dialect, Error, ErrorKind, Fetched, Keep, Key, Made, Query, SecretBytes, State, Term,
};
use keyferry_sync::asking::Asking;
use keyferry_sync::data::SecretJson;
use keyferry_sync::dependency::Dependency;
use keyferry_sync::ports::{Change, Entered, Generator, Planning, Stores};
use keyferry_sync::store::{Store, StoreId};
use serde_json::Value;

/// Stores whose values are given, so that none is asked; generators are those of `inner`.
pub struct Given {
    /// The values by key.
    pub values: Arc<BTreeMap<String, SecretJson>>,
    /// Who makes what is generated.
    pub inner: Arc<dyn Stores>,
}

#[async_trait]
impl Stores for Given {
    fn planning(&self) -> Planning {
        Box::new(())
    }

    fn asking(&self, _: &StoreId) -> Planning {
        Box::new(())
    }

    async fn enter(&self, _: &Store, _: &str) -> Result<Arc<dyn Entered>, Error> {
        Ok(Arc::new(GivenStore(self.values.clone())))
    }

    async fn rehearse(&self, _: &Store, _: &str, _: Change<'_>, _: Option<&Key>) -> Result<(), Error> {
        Ok(())
    }

    fn generators(&self) -> &[&'static str] {
        self.inner.generators()
    }

    fn generator_field(&self, kind: &str) -> Option<&'static str> {
        self.inner.generator_field(kind)
    }

    fn has_state(&self, kind: &str) -> bool {
        self.inner.has_state(kind)
    }

    async fn make(&self, generator: &Generator<'_>, keep: Arc<dyn Keep>) -> Result<Made, Error> {
        self.inner.make(generator, keep).await
    }

    async fn revoke(&self, generator: &Generator<'_>, state: &State) -> Result<(), Error> {
        self.inner.revoke(generator, state).await
    }

    async fn renew(&self, generator: &Generator<'_>, state: &State) -> Result<Option<(State, Term)>, Error> {
        self.inner.renew(generator, state).await
    }
}

struct GivenStore(Arc<BTreeMap<String, SecretJson>>);

impl GivenStore {
    fn read(&self, key: &Key) -> Answer {
        let Some(value) = self.0.get(&key.name) else {
            return Err(Error::new(ErrorKind::NotFound, "--values has no such key"));
        };
        let value = match value.get() {
            Value::String(text) => SecretBytes::from(text.as_str()),
            other => SecretBytes::new(other.to_string().into_bytes()),
        };
        Ok(Fetched::from(value))
    }
}

#[async_trait]
impl Entered for GivenStore {
    fn dialect(&self) -> Dialect {
        Dialect::default()
    }

    fn logs_in_with(&self, _: &Dependency) -> bool {
        false
    }

    async fn fetch(&self, asking: &Arc<Asking>, keys: Vec<Key>, _: Planning) -> HashMap<Key, Answer> {
        keys.into_iter().map(|key| (key.clone(), asking.paid(self.read(&key)))).collect()
    }

    async fn find(&self, _: &str, query: &Query) -> Result<Vec<Key>, Error> {
        if !query.tags.is_empty() {
            return Err(Error::new(ErrorKind::Unsupported, "values that are given with --values have no tags"));
        }
        let path = query.path.as_deref().unwrap_or_default();
        let found = self.0.keys().filter(|name| name.starts_with(path) && query.matches(name));
        Ok(found.map(|name| Key { name: name.clone(), version: None, metadata: false }).collect())
    }
}
