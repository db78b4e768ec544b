//! Has what a generator makes written down while it is made, whoever stops waiting for it.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use keyferry_provider_core::{Blame, Error, ErrorKind, Keep, State, Term};

use crate::ports::States;
use crate::states::{Marks, NewState};

/// Has the state of one making written down.
pub struct Keeper {
    states: Arc<dyn States>,
    new: NewState,
    now: fn() -> Timestamp,
    /// Its name, once it has one, and when what it stands for is to be replaced.
    written: Mutex<Option<(String, Marks)>>,
}

impl Keeper {
    /// Nothing is written down yet.
    pub fn new(states: Arc<dyn States>, new: NewState, now: fn() -> Timestamp) -> Self {
        Self { states, new, now, written: Mutex::default() }
    }

    /// The owner key.
    pub fn key(&self) -> &str {
        &self.new.key
    }

    /// The name of what was written down, and what its annotations tell.
    pub fn written(&self) -> Option<(String, Marks)> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// There is nothing to revoke after all.
    pub async fn forget(&self) {
        let Some((name, _)) = self.written() else { return };
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let namespace = &self.new.owner.0;
        if let Err(problem) = self.states.forget(namespace, &name).await {
            tracing::warn!(namespace, name, %problem, "could not delete a GeneratorState that stands for nothing");
        }
    }
}

#[async_trait]
impl Keep for Keeper {
    async fn keep(&self, state: &State, term: Option<Term>) -> Result<(), Error> {
        let marks = Marks::of(term, (self.now)());
        let name = match self.written() {
            None => self.states.begin(&self.new, state, &marks).await,
            Some((name, _)) => {
                let amended = self.states.amend(&self.new.owner.0, &name, state, &marks).await;
                amended.map(|()| name)
            }
        };
        let name = name.map_err(|problem| {
            let kind = if problem.is_temporary { ErrorKind::Unavailable } else { ErrorKind::Denied };
            let message = format!("its state can't be written down, by which it would be revoked: {problem}");
            Error::new(kind, message).with_blame(Blame::Keyferry)
        })?;
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some((name, marks));
        Ok(())
    }
}
