//! Bounds every call in time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyferry_provider_core::{Capabilities, Error, ErrorKind, Key, Provider, Query, SecretBytes};

/// Gives up on a call that takes longer than `limit`.
///
/// A store's own client has limits too, for each step on the wire; this one holds for a call as a whole, whatever the
/// client does, so that a refresh always ends.
pub struct Timeout {
    inner: Arc<dyn Provider>,
    limit: Duration,
}

impl Timeout {
    /// `inner`, each of whose calls ends within `limit`.
    pub fn new(inner: Arc<dyn Provider>, limit: Duration) -> Self {
        Self { inner, limit }
    }

    async fn bound<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::time::timeout(self.limit, call).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("the store did not answer within {:?}", self.limit)))
        })
    }
}

#[async_trait]
impl Provider for Timeout {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Result<SecretBytes, Error>>, Error> {
        self.bound(self.inner.fetch(keys)).await
    }

    fn joins(&self, batch: &[Key], key: &Key) -> bool {
        self.inner.joins(batch, key)
    }

    async fn find(&self, query: &Query) -> Result<Vec<Key>, Error> {
        self.bound(self.inner.find(query)).await
    }

    async fn validate(&self) -> Result<(), Error> {
        self.bound(self.inner.validate()).await
    }

    fn identity_note(&self) -> Option<String> {
        self.inner.identity_note()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    /// Answers every key with its own name after a while.
    struct Slow(Duration);

    #[async_trait]
    impl Provider for Slow {
        fn capabilities(&self) -> Capabilities {
            Capabilities { max_batch: 7, ..Capabilities::default() }
        }

        async fn fetch(&self, keys: &[Key]) -> Result<Vec<Result<SecretBytes, Error>>, Error> {
            sleep(self.0).await;
            Ok(keys.iter().map(|key| Ok(key.name.as_str().into())).collect())
        }

        async fn validate(&self) -> Result<(), Error> {
            sleep(self.0).await;
            Err(Error::new(ErrorKind::Denied, "no"))
        }
    }

    fn wrapped(takes: u64) -> Timeout {
        Timeout::new(Arc::new(Slow(Duration::from_secs(takes))), Duration::from_secs(30))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_passes_unchanged() {
        let key = Key { name: "a".into(), version: None, metadata: false };
        let results = wrapped(29).fetch(&[key]).await.unwrap();
        assert_eq!(results, [Ok("a".into())]);
        assert_eq!(wrapped(29).validate().await.unwrap_err().kind(), ErrorKind::Denied);
        assert_eq!(wrapped(0).capabilities().max_batch, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_a_timeout() {
        let start = Instant::now();
        let fetch = wrapped(3600).fetch(&[]).await.unwrap_err();
        let validate = wrapped(3600).validate().await.unwrap_err();
        assert_eq!(start.elapsed(), Duration::from_secs(60));
        for error in [fetch, validate] {
            assert_eq!(error.kind(), ErrorKind::Timeout);
            assert_eq!(error.message(), "the store did not answer within 30s");
        }
    }
}
