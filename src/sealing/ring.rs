//! The sealing keys of a cluster, as they are now. Private keys leave here by no way.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use keyferry_cluster::client::Turns;
use keyferry_cluster::pairs::{Pair, Pairs};
use keyferry_limits::Budget;
use keyferry_provider_core::{Blame, Error, ErrorKind, Scope, SecretBytes, Unseal};
use keyferry_sealing::{Generated, SealingKey, SealingKeys, Tries, open};
use keyferry_sync::ports::{Compute, Problem};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How often it is looked whether there are other keys.
const READ_EVERY: Duration = Duration::from_secs(60);

/// The same where something did not open: it may be sealed with a key that has just come.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// How many values are opened in one turn: others wait so long.
const AT_ONCE: usize = 100;

/// The bits of keys that are made.
const BITS: u16 = 4096;

/// Where keys are kept.
#[async_trait]
pub trait Keep: Send + Sync {
    /// All that there are.
    async fn all(&self) -> Result<Vec<Pair>, Problem>;
}

#[async_trait]
impl Keep for Pairs {
    async fn all(&self) -> Result<Vec<Pair>, Problem> {
        Self::all(self).await
    }
}

/// The keys.
pub struct Ring {
    keep: Box<dyn Keep>,
    compute: Arc<dyn Compute>,
    held: Mutex<(Arc<SealingKeys>, Option<Instant>)>,
    reading: Semaphore,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ring").field(&self.keys()).finish()
    }
}

impl Ring {
    /// Those that are kept there; none before they are read.
    pub fn new(keep: impl Keep + 'static, compute: Arc<dyn Compute>) -> Arc<Self> {
        Arc::new(Self { keep: Box::new(keep), compute, held: Mutex::default(), reading: Semaphore::new(1) })
    }

    /// The keys as they were last read.
    pub fn keys(&self) -> Arc<SealingKeys> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Reads them, where they were not read within `age`. Answers whether they were.
    pub async fn read(&self, age: Duration) -> Result<bool, Problem> {
        let _one = self.reading.acquire().await;
        let read = self.held.lock().unwrap_or_else(PoisonError::into_inner).1;
        if read.is_some_and(|read| read.elapsed() < age) {
            return Ok(false);
        }
        let mut all = Vec::new();
        for pair in self.keep.all().await? {
            match SealingKey::of_pem(pair.certificate.expose(), pair.private.expose(), Some(pair.since)) {
                Ok(key) => all.push(key),
                Err(error) => {
                    tracing::warn!(secret = pair.name, %error, "a Secret with the label of sealing keys is none")
                }
            }
        }
        let wrong = |error: Error| Problem { message: error.to_string(), is_temporary: false, is_not_found: false };
        let keys = Arc::new(SealingKeys::new(all).map_err(wrong)?);
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = (keys, Some(Instant::now()));
        Ok(true)
    }

    /// Reads them again and again. What can't be read leaves those that are held.
    pub async fn follow(self: Arc<Self>) {
        loop {
            if let Err(problem) = self.read(Duration::ZERO).await {
                tracing::warn!(%problem, "can't read the sealing keys; trying again");
            }
            tokio::time::sleep(READ_EVERY).await;
        }
    }

    /// Makes a key where there is none, or where the latest is older than `period`; again and again, while we lead.
    pub async fn renew(self: Arc<Self>, pairs: Pairs, turns: Turns, period: Option<Duration>, now: fn() -> Timestamp) {
        loop {
            if let Err(problem) = self.renew_once(&pairs, &turns, period, now()).await {
                tracing::warn!(%problem, "can't make a sealing key; trying again");
            }
            tokio::time::sleep(READ_EVERY).await;
        }
    }

    async fn renew_once(
        &self,
        pairs: &Pairs,
        turns: &Turns,
        period: Option<Duration>,
        now: Timestamp,
    ) -> Result<(), Problem> {
        self.read(Duration::ZERO).await?;
        if !is_due(self.keys().latest().map(SealingKey::since), period, now) {
            return Ok(());
        }
        let made = tokio::task::spawn_blocking(move || Generated::new(now, BITS)).await;
        let failed = |message: String| Problem { message, is_temporary: true, is_not_found: false };
        let made = made.map_err(|_| failed("it could not be made".to_owned()))?;
        let made = made.map_err(|error| failed(error.to_string()))?;
        pairs.add(turns, &made.certificate, &made.private).await?;
        self.read(Duration::ZERO).await?;
        tracing::info!(key = self.keys().latest().map(|key| key.public().id()), "a sealing key is made");
        Ok(())
    }

    /// Opens what was sealed for `scope`, whoever that is; answers each, in their order.
    pub async fn open(&self, namespace: &str, scope: &Scope, sealed: &[Vec<u8>]) -> Vec<Result<SecretBytes, Error>> {
        let opened = self.try_keys(namespace, scope, sealed).await;
        let is_denied =
            |one: &Result<SecretBytes, Error>| one.as_ref().is_err_and(|error| error.kind() == ErrorKind::Denied);
        if opened.iter().any(is_denied) && matches!(self.read(READ_AGAIN).await, Ok(true)) {
            return self.try_keys(namespace, scope, sealed).await;
        }
        opened
    }

    async fn try_keys(&self, namespace: &str, scope: &Scope, sealed: &[Vec<u8>]) -> Vec<Result<SecretBytes, Error>> {
        let (keys, mut tries, mut all) = (self.keys(), Tries::default(), Vec::with_capacity(sealed.len()));
        for part in sealed.chunks(AT_ONCE) {
            let budget = Arc::new(Budget::default());
            let _turn = self.compute.turn(namespace, &budget).await;
            self.compute.run(&mut || all.extend(part.iter().map(|one| open(&keys, scope, one, &mut tries))));
        }
        all
    }
}

fn is_due(latest: Option<i64>, period: Option<Duration>, now: Timestamp) -> bool {
    match (latest, period) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(since), Some(period)) => {
            now.as_second().saturating_sub(since) >= i64::try_from(period.as_secs()).unwrap_or(i64::MAX)
        }
    }
}

#[async_trait]
impl Unseal for Ring {
    async fn unseal(
        &self,
        namespace: &str,
        scope: &Scope,
        sealed: Vec<Vec<u8>>,
    ) -> Result<Vec<Result<SecretBytes, Error>>, Error> {
        if let Scope::ServiceAccount(..) = scope {
            let message = format!("it is sealed for {scope}, and not for an operator to make a Secret of");
            let error = Error::new(ErrorKind::Denied, message).with_blame(Blame::Request);
            return Err(error.with_hint("a pod that runs so has it by `keyferry sync --unseal-from`"));
        }
        Ok(self.open(namespace, scope, &sealed).await)
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
