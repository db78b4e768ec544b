//! Refuses what the store can't do before it is asked.

use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{Capabilities, Error, ErrorKind, Key, Metadata, Provider, Query, SecretBytes};

/// Asks the store for nothing that its [`Capabilities`] leave out, so that the answer is the same for all stores.
pub struct Check {
    inner: Arc<dyn Provider>,
}

impl Check {
    /// `inner`, asked only for what it can do.
    pub fn new(inner: Arc<dyn Provider>) -> Self {
        Self { inner }
    }
}

fn refusal(can: &Capabilities, key: &Key) -> Option<Error> {
    let refused = key.metadata && can.metadata == Metadata::Refused;
    refused.then(|| Error::new(ErrorKind::Unsupported, "this store keeps no metadata: remove metadataPolicy"))
}

#[async_trait]
impl Provider for Check {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn joins(&self, batch: &[Key], key: &Key) -> bool {
        self.inner.joins(batch, key)
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Result<SecretBytes, Error>>, Error> {
        let can = self.inner.capabilities();
        let refusals: Vec<Option<Error>> = keys.iter().map(|key| refusal(&can, key)).collect();
        if refusals.iter().all(Option::is_none) {
            return self.inner.fetch(keys).await;
        }
        let asked: Vec<Key> =
            keys.iter().zip(&refusals).filter(|(_, no)| no.is_none()).map(|(key, _)| key.clone()).collect();
        let answers = if asked.is_empty() { Vec::new() } else { self.inner.fetch(&asked).await? };
        let mut answers = answers.into_iter();
        // Where the store left keys unanswered, so do we.
        let merged = refusals.into_iter().filter_map(|no| no.map_or_else(|| answers.next(), |error| Some(Err(error))));
        Ok(merged.collect())
    }

    async fn find(&self, query: &Query) -> Result<Vec<Key>, Error> {
        self.inner.find(query).await
    }

    async fn validate(&self) -> Result<(), Error> {
        self.inner.validate().await
    }

    fn identity_note(&self) -> Option<String> {
        self.inner.identity_note()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every key with its name; can do what it is told.
    struct Echo(Capabilities);

    #[async_trait]
    impl Provider for Echo {
        fn capabilities(&self) -> Capabilities {
            self.0
        }

        async fn fetch(&self, keys: &[Key]) -> Result<Vec<Result<SecretBytes, Error>>, Error> {
            assert!(!keys.is_empty(), "a call for nothing");
            Ok(keys.iter().map(|key| Ok(key.name.as_str().into())).collect())
        }

        async fn validate(&self) -> Result<(), Error> {
            Ok(())
        }
    }

    fn key(name: &str, version: Option<&str>, metadata: bool) -> Key {
        Key { name: name.into(), version: version.map(str::to_owned), metadata }
    }

    async fn kinds(can: Capabilities, keys: &[Key]) -> Vec<Option<ErrorKind>> {
        let answers = Check::new(Arc::new(Echo(can))).fetch(keys).await.unwrap();
        for (key, answer) in keys.iter().zip(&answers) {
            assert!(answer.as_ref().map_or(true, |value| value.expose_str() == Some(&key.name)), "out of order");
        }
        answers.into_iter().map(|answer| answer.err().map(|error| error.kind())).collect()
    }

    #[tokio::test]
    async fn what_the_store_lacks_is_refused_before_the_call() {
        let no = Some(ErrorKind::Unsupported);
        let keys = [key("a", None, false), key("b", Some("1"), false), key("c", None, true)];
        let can = |metadata| Capabilities { metadata, ..Capabilities::default() };
        assert_eq!(kinds(can(Metadata::Answered), &keys).await, [None, None, None]);
        assert_eq!(kinds(can(Metadata::PassedOver), &keys).await, [None, None, None]);
        assert_eq!(kinds(can(Metadata::Refused), &keys).await, [None, None, no]);
    }
}
