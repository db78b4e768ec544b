//! Tries again what fails for a passing reason.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyferry_provider_core::{Capabilities, Error, Key, Provider, Query, SecretBytes};
use rand::Rng as _;
use tokio::time::sleep;

/// The longest that a store may make us wait for the next try. Who asks for more is left alone: the refresh fails,
/// and its schedule knows how long to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How often, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Tries after the first.
    pub most: u32,
    /// The time between two tries.
    pub delay: Delay,
}

/// The time between two tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// This long, then twice as long, and so on, each up to a quarter longer or shorter by chance: many who failed at
    /// once do not come back at once.
    Growing(Duration),
    /// Always this long.
    Fixed(Duration),
}

impl Default for Retries {
    /// For hiccups: what lasts longer is the business of the schedule.
    fn default() -> Self {
        Self { most: 2, delay: Delay::Growing(Duration::from_millis(200)) }
    }
}

/// Tries again what fails for a passing reason, and of a batch only the keys that did.
pub struct Retry {
    inner: Arc<dyn Provider>,
    retries: Retries,
}

impl Retry {
    /// `inner`, with these retries.
    pub fn new(inner: Arc<dyn Provider>, retries: Retries) -> Self {
        Self { inner, retries }
    }

    /// How long to wait before try number `tried` + 1, given the errors of the last; `None` where none is worth it.
    fn wait<'a>(&self, tried: u32, errors: impl IntoIterator<Item = &'a Error>) -> Option<Duration> {
        let temporary: Vec<&Error> = errors.into_iter().filter(|error| error.kind().is_temporary()).collect();
        if temporary.is_empty() || tried > self.retries.most {
            return None;
        }
        let asked = temporary.iter().filter_map(|error| error.retry_after()).max();
        let own = match self.retries.delay {
            Delay::Fixed(delay) => delay,
            Delay::Growing(first) => {
                first.saturating_mul(1 << (tried - 1).min(10)).mul_f64(rand::rng().random_range(0.75..=1.25))
            }
        };
        match asked {
            Some(asked) if asked > LONGEST_WAIT => None,
            asked => Some(own.max(asked.unwrap_or_default())),
        }
    }
}

#[async_trait]
impl Provider for Retry {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn joins(&self, batch: &[Key], key: &Key) -> bool {
        self.inner.joins(batch, key)
    }

    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Result<SecretBytes, Error>>, Error> {
        let mut answers: Vec<Option<Result<SecretBytes, Error>>> = keys.iter().map(|_| None).collect();
        // Places in `keys` that have no lasting answer yet.
        let mut open: Vec<usize> = (0..keys.len()).collect();
        for tried in 1.. {
            let asked: Vec<Key> = open.iter().map(|n| keys[*n].clone()).collect();
            let wait = match self.inner.fetch(&asked).await {
                Ok(results) if results.len() == asked.len() => {
                    let wait = self.wait(tried, results.iter().filter_map(|result| result.as_ref().err()));
                    for (n, result) in open.iter().zip(results) {
                        answers[*n] = Some(result);
                    }
                    wait
                }
                // Whoever asked knows what to make of it.
                Ok(results) if open.len() == keys.len() => return Ok(results),
                Ok(_) => None,
                Err(error) => match self.wait(tried, [&error]) {
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
                Some(answer) => answer.as_ref().is_err_and(|error| error.kind().is_temporary()),
            };
            open.retain(is_open);
            sleep(wait).await;
        }
        Ok(answers.into_iter().flatten().collect())
    }

    async fn find(&self, query: &Query) -> Result<Vec<Key>, Error> {
        for tried in 1.. {
            match self.inner.find(query).await {
                Err(error) => match self.wait(tried, [&error]) {
                    Some(wait) => sleep(wait).await,
                    None => return Err(error),
                },
                found => return found,
            }
        }
        unreachable!("the loop ends by returning")
    }

    async fn validate(&self) -> Result<(), Error> {
        for tried in 1.. {
            match self.inner.validate().await {
                Err(error) => match self.wait(tried, [&error]) {
                    Some(wait) => sleep(wait).await,
                    None => return Err(error),
                },
                good => return good,
            }
        }
        unreachable!("the loop ends by returning")
    }

    fn identity_note(&self) -> Option<String> {
        self.inner.identity_note()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use keyferry_provider_core::ErrorKind;
    use tokio::time::Instant;

    use super::*;

    type Answers = Result<Vec<Result<SecretBytes, Error>>, Error>;

    /// Answers what it is told to, in turn, and remembers when it was asked for what.
    struct Script {
        answers: Mutex<VecDeque<Answers>>,
        asked: Mutex<Vec<(Duration, String)>>,
        start: Instant,
    }

    impl Script {
        fn new(answers: impl IntoIterator<Item = Answers>) -> Arc<Self> {
            let answers = Mutex::new(answers.into_iter().collect());
            Arc::new(Self { answers, asked: Mutex::default(), start: Instant::now() })
        }

        fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().iter().map(|(_, keys)| keys.clone()).collect()
        }

        /// Milliseconds between the calls.
        fn waits(&self) -> Vec<u128> {
            let asked = self.asked.lock().unwrap();
            asked.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_millis()).collect()
        }
    }

    #[async_trait]
    impl Provider for Script {
        fn capabilities(&self) -> Capabilities {
            Capabilities { max_batch: 7, ..Capabilities::default() }
        }

        fn joins(&self, _: &[Key], key: &Key) -> bool {
            key.name == "joins"
        }

        async fn fetch(&self, keys: &[Key]) -> Answers {
            let names: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
            self.asked.lock().unwrap().push((self.start.elapsed(), names.join(" ")));
            self.answers.lock().unwrap().pop_front().expect("one call too many")
        }

        async fn validate(&self) -> Result<(), Error> {
            self.fetch(&[]).await.map(|_| ())
        }

        fn identity_note(&self) -> Option<String> {
            Some("a note".into())
        }
    }

    fn keys(names: &str) -> Vec<Key> {
        names.split(' ').map(|name| Key { name: name.into(), version: None, metadata: false }).collect()
    }

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "no")
    }

    fn down() -> Error {
        error(ErrorKind::Unavailable)
    }

    fn value() -> Result<SecretBytes, Error> {
        Ok("v".into())
    }

    async fn fetch(script: &Arc<Script>, retries: Retries, names: &str) -> Answers {
        Retry::new(script.clone(), retries).fetch(&keys(names)).await
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_keys_that_failed_for_now_are_asked_for_again() {
        let denied = || Err(error(ErrorKind::Denied));
        let throttled = || Err(error(ErrorKind::Throttled));
        let script = Script::new([
            Ok(vec![value(), Err(down()), denied(), throttled()]),
            Ok(vec![throttled(), value()]),
            Ok(vec![value()]),
        ]);
        let answers = fetch(&script, Retries::default(), "a b c d").await.unwrap();
        assert_eq!(answers, [value(), value(), denied(), value()]);
        assert_eq!(script.asked(), ["a b c d", "b d", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_and_are_spread() {
        let script = Script::new([Err(down()), Err(down()), Err(down())]);
        assert_eq!(fetch(&script, Retries::default(), "a b").await, Err(down()));
        assert!(matches!(script.waits()[..], [150..=251, 300..=501]), "{:?}", script.waits());
    }

    #[tokio::test(start_paused = true)]
    async fn the_settings_of_the_store_win() {
        let retries = Retries { most: 4, delay: Delay::Fixed(Duration::from_secs(3)) };
        let script = Script::new((0..5).map(|_| Err(down())));
        assert_eq!(fetch(&script, retries, "a").await, Err(down()));
        assert_eq!(script.waits(), [3000; 4]);
        let script = Script::new([Err(down())]);
        assert_eq!(fetch(&script, Retries { most: 0, ..retries }, "a").await, Err(down()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_not_tried_again() {
        for kind in [
            ErrorKind::NotFound,
            ErrorKind::Denied,
            ErrorKind::BatchDenied,
            ErrorKind::Unauthenticated,
            ErrorKind::Invalid,
            ErrorKind::Malformed,
            ErrorKind::Tls,
        ] {
            let script = Script::new([Err(error(kind))]);
            assert_eq!(fetch(&script, Retries::default(), "a").await, Err(error(kind)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_asks_for_time_gets_it_within_bounds() {
        let asks = |seconds| Err(error(ErrorKind::Throttled).with_retry_after(Some(Duration::from_secs(seconds))));
        let script = Script::new([asks(2), Ok(vec![value()])]);
        assert_eq!(fetch(&script, Retries::default(), "a").await, Ok(vec![value()]));
        assert_eq!(script.waits(), [2000]);
        let script = Script::new([asks(60)]);
        assert_eq!(fetch(&script, Retries::default(), "a").await, asks(60));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_kept_when_a_later_try_fails_as_a_whole() {
        let denied = || error(ErrorKind::BatchDenied);
        let script = Script::new([Ok(vec![value(), Err(down()), Err(down())]), Err(denied())]);
        let answers = fetch(&script, Retries::default(), "a b c").await.unwrap();
        assert_eq!(answers, [value(), Err(denied()), Err(denied())]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_is_tried_again_too() {
        let script = Script::new([Err(down()), Ok(vec![])]);
        Retry::new(script.clone(), Retries::default()).validate().await.unwrap();
        assert_eq!(script.asked().len(), 2);
    }

    #[test]
    fn the_rest_passes_through() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _guard = runtime.enter();
        let retry = Retry::new(Script::new([]), Retries::default());
        assert_eq!(retry.capabilities().max_batch, 7);
        assert!(retry.joins(&[], &keys("joins")[0]) && !retry.joins(&[], &keys("other")[0]));
        assert_eq!(retry.identity_note().as_deref(), Some("a note"));
    }
}
