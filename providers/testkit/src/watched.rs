//! A store whose every answer is looked at: no value and no credential shows in an error, however it is printed.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use keyferry_provider_core::{Answer, Capabilities, Dialect, Error, Key, Page, Provider, Push, Query, Reach, Remote};

use crate::{CANARY, Fixture, logs};

/// Part of what a server says that answers garbage.
const GARBAGE: &str = "canary-of-garbage";

/// The fixture's store, watched.
pub async fn provider(fixture: &dyn Fixture) -> Arc<dyn Provider> {
    watch(fixture, fixture.provider().await)
}

/// This store of the fixture's, watched.
pub fn watch(fixture: &dyn Fixture, inner: Arc<dyn Provider>) -> Arc<dyn Provider> {
    Arc::new(Watched { inner, canaries: canaries(fixture) })
}

/// All that must show up nowhere.
pub fn canaries(fixture: &dyn Fixture) -> Vec<String> {
    let mut all = fixture.credentials();
    assert!(all.iter().all(|text| text.len() >= 4), "what is shorter is found by chance");
    all.extend([CANARY.to_owned(), GARBAGE.to_owned()]);
    logs::search_for(&all);
    all
}

struct Watched {
    inner: Arc<dyn Provider>,
    canaries: Vec<String>,
}

impl Watched {
    fn look<T: Debug>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        self.search(&format!("{answer:?}"));
        answer.inspect_err(|error| self.look_at(error))
    }

    fn look_at(&self, error: &Error) {
        let text = error.to_string();
        self.search(&text);
        assert!(!text.chars().any(char::is_control), "a message holds control characters: {text:?}");
    }

    fn search(&self, text: &str) {
        let found = self.canaries.iter().any(|canary| text.contains(canary.as_str()));
        assert!(!found, "an answer or an error shows a value or a credential");
    }
}

#[async_trait]
impl Provider for Watched {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    fn joins(&self, batch: &[Key], key: &Key) -> bool {
        self.inner.joins(batch, key)
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        let answers = self.look(self.inner.fetch(keys).await)?;
        answers.iter().filter_map(|answer| answer.as_ref().err()).for_each(|error| self.look_at(error));
        Ok(answers)
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        self.look(self.inner.find(query, at).await)
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        self.look(self.inner.push(push).await)
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        self.look(self.inner.delete(remote, reach).await)
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        self.look(self.inner.exists(remote).await)
    }

    async fn validate(&self) -> Result<(), Error> {
        self.look(self.inner.validate().await)
    }

    fn identity_note(&self) -> Option<String> {
        self.inner.identity_note().inspect(|note| self.search(note))
    }
}
