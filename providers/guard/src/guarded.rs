//! The wrapper (a decorator): it is what the pool and the fetcher call.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyferry_limits::{Limit, SEARCH_TIME, STORE_WAIT};
use keyferry_provider_core::body::attempt;
use keyferry_provider_core::{
    Answer, Capabilities, Dialect, Error, ErrorKind, Key, Page, Provider, Push, Query, Reach, Remote, Search,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::{Retries, refuse};

/// What a search may hold of names without waiting for its turn.
const SMALL_SEARCH: usize = 128 << 10;

/// A store that is asked only for what it can do, again where it failed for now, and never for longer than it may take.
///
/// A store's own client has limits in time too, for each step on the wire; this one holds for each try as a whole,
/// whatever the client does, and another for all tries of a call, so that a refresh always ends.
pub struct Guarded {
    inner: Arc<dyn Provider>,
    limit: Duration,
    retries: Retries,
}

impl Guarded {
    /// `inner`, each of whose tries ends within `limit`.
    pub fn new(inner: Arc<dyn Provider>, limit: Duration, retries: Retries) -> Self {
        Self { inner, limit, retries }
    }

    /// One try.
    async fn within_limit<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        timeout(self.limit, attempt(call)).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("the store did not answer within {:?}", self.limit)))
        })
    }

    /// A search as a whole, sorted. Each of its calls is bounded and made again like any other, and all of them together
    /// are bounded too: a search has as many calls as there is to find. One that holds many names takes a turn of `large`.
    pub async fn find_all(&self, query: &Query, large: &Semaphore) -> Result<Vec<Key>, Error> {
        let gather = async {
            let (mut search, mut turn) = (Search::default(), None);
            while let Some(at) = search.at() {
                let page = self.find(query, at).await?;
                if turn.is_none() && search.held_with(&page) > SMALL_SEARCH {
                    // Who waits holds little: the call is made again.
                    drop(page);
                    turn = Some(large.acquire().await.ok()); // never closed
                    continue;
                }
                search.add(page)?;
            }
            Ok(search.found())
        };
        whole(&SEARCH_TIME, gather).await
    }

    /// Makes a call, again as long as that is worth it.
    async fn retrying<T, F>(&self, call: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        whole(&STORE_WAIT, self.tries(call)).await
    }

    async fn tries<T, F>(&self, call: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let begun = Instant::now();
        for tried in 1.. {
            match self.within_limit(call()).await {
                Err(error) => match self.retries.wait(tried, begun.elapsed(), [&error]) {
                    Some(wait) => sleep(wait).await,
                    None => return Err(error),
                },
                done => return done,
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Fetches `keys`, and of them again only those that failed for now.
    async fn fetch_retrying(&self, keys: &[Key]) -> Result<Vec<Answer>, Error> {
        let mut answers: Vec<Option<Answer>> = keys.iter().map(|_| None).collect();
        // Places in `keys` that have no lasting answer yet.
        let mut open: Vec<usize> = (0..keys.len()).collect();
        let begun = Instant::now();
        for tried in 1.. {
            let asked: Vec<Key> = open.iter().map(|n| keys[*n].clone()).collect();
            let wait = match self.within_limit(self.inner.fetch(&asked)).await {
                Ok(results) if results.len() == asked.len() => {
                    let errors = results.iter().filter_map(|result| result.as_ref().err());
                    let wait = self.retries.wait(tried, begun.elapsed(), errors);
                    for (n, result) in open.iter().zip(results) {
                        answers[*n] = Some(result);
                    }
                    wait
                }
                // Whoever asked knows what to make of it.
                Ok(results) if open.len() == keys.len() => return Ok(results),
                Ok(_) => None,
                Err(error) => match self.retries.wait(tried, begun.elapsed(), [&error]) {
                    // All keys still have their chance, be it one by one; but not those that were answered.
                    None if open.len() == keys.len() => return Err(error),
                    None => {
                        open.iter().for_each(|n| answers[*n] = Some(Err(error.clone())));
                        None
                    }
                    wait => wait,
                },
            };
            let Some(wait) = wait else { break };
            let is_open = |n: &usize| match &answers[*n] {
                None => true,
                Some(answer) => answer.as_ref().is_err_and(Error::is_temporary),
            };
            open.retain(is_open);
            sleep(wait).await;
        }
        Ok(answers.into_iter().flatten().collect())
    }
}

/// Runs what is made of several tries, as long as `limit` lets it.
async fn whole<T>(limit: &Limit, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let patience = Duration::from_secs(limit.most);
    timeout(patience, work).await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, limit.to_string())))
}

#[async_trait]
impl Provider for Guarded {
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
        let can = self.inner.capabilities();
        let refusals: Vec<Option<Error>> = keys.iter().map(|key| refuse::key(&can, key)).collect();
        if refusals.iter().all(Option::is_none) {
            return whole(&STORE_WAIT, self.fetch_retrying(keys)).await;
        }
        let asked: Vec<Key> =
            keys.iter().zip(&refusals).filter(|(_, no)| no.is_none()).map(|(key, _)| key.clone()).collect();
        let answers =
            if asked.is_empty() { Vec::new() } else { whole(&STORE_WAIT, self.fetch_retrying(&asked)).await? };
        let mut answers = answers.into_iter();
        // Where the store left keys unanswered, so do we.
        let merged = refusals.into_iter().filter_map(|no| no.map_or_else(|| answers.next(), |error| Some(Err(error))));
        Ok(merged.collect())
    }

    async fn find(&self, query: &Query, at: &[String]) -> Result<Page, Error> {
        refuse::query(&self.inner.capabilities(), query)?;
        self.retrying(|| self.inner.find(query, at)).await
    }

    async fn push(&self, push: &Push) -> Result<(), Error> {
        refuse::push(&self.inner.capabilities())?;
        self.retrying(|| self.inner.push(push)).await
    }

    async fn delete(&self, remote: &Remote, reach: Reach) -> Result<(), Error> {
        refuse::delete(&self.inner.capabilities())?;
        self.retrying(|| self.inner.delete(remote, reach)).await
    }

    async fn exists(&self, remote: &Remote) -> Result<bool, Error> {
        refuse::push(&self.inner.capabilities())?;
        self.retrying(|| self.inner.exists(remote)).await
    }

    async fn validate(&self) -> Result<(), Error> {
        self.retrying(|| self.inner.validate()).await
    }

    fn identity_note(&self) -> Option<String> {
        self.inner.identity_note()
    }
}

#[cfg(test)]
#[path = "guarded_tests.rs"]
mod tests;
