//! The machine: what is held, and the one attempt at a time to get or renew it.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyferry_provider_core::{Error, ErrorKind};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use crate::{Grant, Life, Source};

/// How old something must be before a refusal is taken for its end rather than for a mistake of ours.
pub const TOO_YOUNG_TO_END: Duration = Duration::from_secs(10);

/// How long to go on with what could not be renewed, before that is tried again.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(10);

/// How long a source may take, whatever its own client does: all who come meanwhile wait for the same attempt.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(30);

/// What is held for a while, for all who ask.
pub struct Session<T> {
    shared: Arc<Shared<T>>,
}

/// What to make a call with.
pub struct Held<T> {
    value: Arc<T>,
    number: u64,
}

struct Shared<T> {
    source: Box<dyn Source<T>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    current: Option<Current<T>>,
    /// How many logins there were.
    logins: u64,
    /// The attempt under way.
    attempt: Option<Attempt<T>>,
}

struct Current<T> {
    held: Held<T>,
    /// When the login answered.
    since: Instant,
    renew_at: Option<Instant>,
    end: Option<Instant>,
}

struct Attempt<T> {
    /// What came of it, once that is known.
    outcome: watch::Receiver<Option<Result<Held<T>, Error>>>,
    task: AbortHandle,
}

impl<T: Send + Sync + 'static> Session<T> {
    /// A session that gets what it holds from `source`, when somebody asks.
    pub fn new(source: impl Source<T> + 'static) -> Self {
        let state = Mutex::new(State { current: None, logins: 0, attempt: None });
        Self { shared: Arc::new(Shared { source: Box::new(source), state }) }
    }

    /// What to make a call with. Waits only where nothing good is held, for the attempt that gets it, and then the
    /// attempt's error is the answer.
    pub async fn get(&self) -> Result<Held<T>, Error> {
        let mut outcome = {
            let mut state = self.shared.lock();
            let (held, is_due) = match state.good() {
                Some(current) => (Some(current.held.clone()), current.is_due()),
                None => (None, true),
            };
            let attempt = match state.attempt.take().filter(Attempt::is_under_way) {
                None if is_due => Some(self.begin()),
                attempt => attempt,
            };
            let outcome = attempt.as_ref().map(|attempt| attempt.outcome.clone());
            state.attempt = attempt;
            match (held, outcome) {
                (Some(held), _) => return Ok(held),
                (None, outcome) => outcome.expect("nothing good is held, so there is an attempt"),
            }
        };
        match outcome.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            Ok(None) | Err(_) => Err(Error::new(ErrorKind::Unavailable, "the login was broken off")),
        }
    }

    /// Makes a call with what is held; where the store refuses it as one from somebody who has not logged in, once more
    /// with another, if [`refused`](Self::refused) says that it is worth it.
    ///
    /// # Errors
    /// Those of the source and of the call.
    pub async fn call<A, F>(&self, make: impl Fn(Held<T>) -> F, is_refused: impl FnOnce(&A) -> bool) -> Result<A, Error>
    where
        F: Future<Output = Result<A, Error>>,
    {
        let held = self.get().await?;
        let answer = make(held.clone()).await?;
        if is_refused(&answer) && self.refused(Some(held.number())) {
            make(self.get().await?).await
        } else {
            Ok(answer)
        }
    }

    /// What is held and good, without waiting for anything.
    pub fn held(&self) -> Option<Held<T>> {
        self.shared.lock().good().map(|current| current.held.clone())
    }

    /// Takes note that a store refused a call as one from somebody who has not logged in. `used` is the number of what
    /// the call was made with, `None` where nothing was held before it.
    ///
    /// It is forgotten, unless it is young. Answers whether the call is worth making once more: with another that is there
    /// meanwhile, or can be got.
    pub fn refused(&self, used: Option<u64>) -> bool {
        let mut state = self.shared.lock();
        match (&state.current, used) {
            // Of several calls that met the same end, another came first.
            (None, Some(_)) => true,
            (Some(current), Some(used)) if current.held.number != used => true,
            (Some(current), _) if current.since.elapsed() >= TOO_YOUNG_TO_END => {
                state.current = None;
                true
            }
            // There was none, or what there is was got for this call.
            (Some(_) | None, _) => false,
        }
    }

    /// Forgets what has this number, however young it is: for stores that say themselves that it has ended.
    pub fn forget(&self, number: u64) {
        let mut state = self.shared.lock();
        state.current = state.current.take().filter(|current| current.held.number != number);
    }

    /// A task, so that nobody's patience decides about an attempt that all wait for, and so that who has a good one
    /// waits for nothing.
    fn begin(&self) -> Attempt<T> {
        let (sender, outcome) = watch::channel(None);
        let shared = self.shared.clone();
        let task = tokio::spawn(async move {
            let outcome = shared.attempt().await;
            // Only those who wait keep what came of it: what is forgotten must be gone.
            shared.lock().attempt = None;
            sender.send_replace(Some(outcome));
        });
        Attempt { outcome, task: task.abort_handle() }
    }
}

impl<T> Drop for Session<T> {
    fn drop(&mut self) {
        if let Some(attempt) = &self.shared.lock().attempt {
            attempt.task.abort();
        }
    }
}

impl<T> Held<T> {
    /// Which login it is from. A renewal changes it only where it is a login.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), number: self.number }
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Sync> Shared<T> {
    /// Renews what is held, or logs in. What is held and good is the answer where that fails.
    async fn attempt(&self) -> Result<Held<T>, Error> {
        let good = self.lock().good().map(|current| current.held.clone());
        if let Some(held) = good {
            let asked = Instant::now();
            // What was refused meanwhile, or ended, is not good for having been prolonged.
            let next = match bounded(self.source.renew(&held)).await {
                Ok(Some(grant)) => self.prolong(grant, asked),
                Ok(None) => None,
                Err(error) => self.put_off(&error),
            };
            if let Some(held) = next {
                return Ok(held);
            }
        }
        let asked = Instant::now();
        match bounded(self.source.get()).await {
            Ok(grant) => Ok(self.keep(grant, asked)),
            Err(error) => self.put_off(&error).ok_or(error),
        }
    }

    fn keep(&self, Grant { value, life }: Grant<T>, asked: Instant) -> Held<T> {
        let mut state = self.lock();
        state.logins += 1;
        let held = Held { value: Arc::new(value), number: state.logins };
        state.current = Some(Current::new(held.clone(), Instant::now(), asked, life));
        held
    }

    /// The same login, good for longer; `None` where it was forgotten. It can't be another: attempts alone log in.
    fn prolong(&self, Grant { value, life }: Grant<T>, asked: Instant) -> Option<Held<T>> {
        let mut state = self.lock();
        let current = state.current.as_mut()?;
        let held = Held { value: Arc::new(value), number: current.held.number };
        *current = Current::new(held.clone(), current.since, asked, life);
        Some(held)
    }

    /// What is held, where it is good yet, left in peace for a while.
    fn put_off(&self, error: &Error) -> Option<Held<T>> {
        let pause = error.retry_after().unwrap_or_default().max(BETWEEN_RENEWALS);
        let mut state = self.lock();
        let current = state.current.as_mut().filter(|current| !current.is_over())?;
        current.renew_at = Instant::now().checked_add(pause);
        Some(current.held.clone())
    }
}

impl<T> State<T> {
    fn good(&self) -> Option<&Current<T>> {
        self.current.as_ref().filter(|current| !current.is_over())
    }
}

impl<T> Current<T> {
    fn new(held: Held<T>, since: Instant, asked: Instant, life: Life) -> Self {
        let (renew_at, end) = life.times(asked);
        Self { held, since, renew_at, end }
    }

    fn is_due(&self) -> bool {
        self.renew_at.is_some_and(|due| Instant::now() >= due)
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }
}

impl<T> Attempt<T> {
    /// One that was broken off leaves nobody who could say so.
    fn is_under_way(&self) -> bool {
        self.outcome.has_changed().is_ok()
    }
}

async fn bounded<A>(step: impl Future<Output = Result<A, Error>>) -> Result<A, Error> {
    timeout(LONGEST_ATTEMPT, step).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, format!("the login did not come to an end within {LONGEST_ATTEMPT:?}")))
    })
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
