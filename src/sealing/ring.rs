//! The sealing keys of a cluster, as they are now. Private keys leave here by no way.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use keyferry_cluster::client::Turns;
use keyferry_cluster::pairs::{Pair, Pairs};
use keyferry_limits::Budget;
use keyferry_provider_core::{Blame, Error, ErrorKind, Scope, SecretBytes, Unseal};
use keyferry_sealing::{Generated, SealingKey, SealingKeys, Tries, open_within};
use keyferry_sync::ports::{Compute, Problem};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How often it is looked whether there are other keys.
const READ_EVERY: Duration = Duration::from_secs(60);

/// The same where something did not open: it may be sealed with a key that has just come.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// How many tries of keys are made in one turn: others wait so long. Some tens of milliseconds.
const AT_ONCE: usize = 10;

/// How many pairs are read at most; more than are tried, so that it is known which are the latest.
const MOST_READ: usize = 1000;

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
    held: Mutex<Held>,
    reading: Semaphore,
}

/// The keys as they were read.
#[derive(Default)]
struct Held {
    keys: Arc<SealingKeys>,
    parsed: Arc<Parsed>,
    /// Whether there are more than are tried.
    are_more: bool,
    read: Option<Instant>,
}

/// What Secrets with the label came to, by name and certificate: parsing takes longer than reading.
type Parsed = HashMap<(String, Vec<u8>), Arc<SealingKey>>;

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
        self.held().keys.clone()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads them, where they were not read within `age`. Answers whether they were.
    pub async fn read(&self, age: Duration) -> Result<bool, Problem> {
        let _one = self.reading.acquire().await;
        let (read, known) = {
            let held = self.held();
            (held.read, held.parsed.clone())
        };
        if read.is_some_and(|read| read.elapsed() < age) {
            return Ok(false);
        }
        let pairs = self.keep.all().await?;
        let (keys, parsed) = tokio::task::spawn_blocking(move || parse(pairs, &known))
            .await
            .map_err(|_| failed("they could not be read"))?;
        let are_more = parsed.len() > keys.all().len();
        if are_more {
            let most = keys.all().len();
            tracing::warn!(
                most,
                "there are more sealing keys than are tried: the oldest are passed over, and none is made; take the label off those that sealed nothing that is still there"
            );
        }
        *self.held() = Held { keys: Arc::new(keys), parsed: Arc::new(parsed), are_more, read: Some(Instant::now()) };
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
        if self.held().are_more || !is_due(self.keys().latest().map(SealingKey::since), period, now) {
            return Ok(());
        }
        let made = tokio::task::spawn_blocking(move || Generated::new(now, BITS)).await;
        let made = made.map_err(|_| failed("it could not be made"))?;
        let made = made.map_err(|error| failed(&error.to_string()))?;
        pairs.add(turns, &made.certificate, &made.private).await?;
        self.read(Duration::ZERO).await?;
        tracing::info!(key = self.keys().latest().map(|key| key.public().id()), "a sealing key is made");
        Ok(())
    }

    /// Opens what was sealed for `scope`, whoever that is, in turns of `lane`; answers each, in their order.
    pub async fn open(
        &self,
        lane: &str,
        scope: &Scope,
        sealed: &[Vec<u8>],
        tries: &mut Tries,
    ) -> Vec<Result<SecretBytes, Error>> {
        let before = self.keys();
        let mut opened = self.try_keys(lane, scope, &sealed.iter().collect::<Vec<_>>(), tries).await;
        let is_denied =
            |one: &Result<SecretBytes, Error>| one.as_ref().is_err_and(|error| error.kind() == ErrorKind::Denied);
        if opened.iter().any(is_denied) {
            // Another may have read them since, who did not find its key either.
            _ = self.read(READ_AGAIN).await;
            if Arc::ptr_eq(&before, &self.keys()) {
                return opened;
            }
            let again: Vec<usize> = (0..opened.len()).filter(|n| is_denied(&opened[*n])).collect();
            let denied: Vec<&Vec<u8>> = again.iter().map(|n| &sealed[*n]).collect();
            let anew = self.try_keys(lane, scope, &denied, tries).await;
            for (n, one) in again.into_iter().zip(anew) {
                opened[n] = one;
            }
        }
        opened
    }

    async fn try_keys(
        &self,
        lane: &str,
        scope: &Scope,
        sealed: &[&Vec<u8>],
        tries: &mut Tries,
    ) -> Vec<Result<SecretBytes, Error>> {
        let (keys, mut all) = (self.keys(), Vec::with_capacity(sealed.len()));
        while all.len() < sealed.len() {
            let budget = Arc::new(Budget::default());
            let _turn = self.compute.turn(lane, &budget).await;
            self.compute.run(&mut || {
                let mut left = AT_ONCE;
                for one in &sealed[all.len()..] {
                    let Some(done) = open_within(&keys, scope, one, tries, &mut left) else { break };
                    all.push(done);
                }
            });
        }
        all
    }
}

fn failed(message: &str) -> Problem {
    Problem { message: message.to_owned(), is_temporary: true, is_not_found: false }
}

/// The keys that pairs come to, and all that is one. Those that are known are not parsed again.
fn parse(mut pairs: Vec<Pair>, known: &Parsed) -> (SealingKeys, Parsed) {
    pairs.sort_by_key(|pair| Reverse(pair.since));
    let mut parsed = Parsed::new();
    for pair in pairs.into_iter().take(MOST_READ) {
        let name = (pair.name, pair.certificate.expose().to_vec());
        let key = known
            .get(&name)
            .cloned()
            .map_or_else(|| SealingKey::of_pem(&name.1, pair.private.expose(), Some(pair.since)).map(Arc::new), Ok);
        match key {
            Ok(key) => {
                parsed.insert(name, key);
            }
            Err(error) => tracing::warn!(secret = name.0, %error, "a Secret with the label of sealing keys is none"),
        }
    }
    (SealingKeys::latest_of(parsed.values().cloned().collect()), parsed)
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
        Ok(self.open(namespace, scope, &sealed, &mut Tries::default()).await)
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
pub(crate) mod tests;
