//! The trait that every generator implements: values that are made up at each refresh.

use std::collections::BTreeMap;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::{Error, SecretBytes};

/// What a generator must know to revoke what it made: ids, never a value, since it is written into the cluster as it is.
pub type State = serde_json::Value;

/// What a generator made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Made {
    /// The values by key.
    pub values: BTreeMap<String, SecretBytes>,
    /// What it takes to revoke them; `None` where there is nothing to revoke.
    pub state: Option<State>,
    /// How long they work, where that is known.
    pub term: Option<Term>,
}

impl From<BTreeMap<String, SecretBytes>> for Made {
    /// Values that need no revocation and have no end.
    fn from(values: BTreeMap<String, SecretBytes>) -> Self {
        Self { values, ..Self::default() }
    }
}

/// How long something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// When it stops working.
    pub end: SystemTime,
    /// Whether it may be prolonged, before that.
    pub renews: bool,
}

/// Where a state is written down before, and after, something is made with it: what nobody wrote down nobody revokes.
#[async_trait]
pub trait Keep: Send + Sync {
    /// Writes down the state of what is being made, in place of what was written before. Whoever can't is not to make it.
    async fn keep(&self, state: &State, term: Option<Term>) -> Result<(), Error>;
}

/// Nobody writes anything down: for what need not be revoked.
#[async_trait]
impl Keep for () {
    async fn keep(&self, _: &State, _: Option<Term>) -> Result<(), Error> {
        Ok(())
    }
}

/// A generator, built from its spec and used for one ExternalSecret.
#[async_trait]
pub trait Generator: Send + Sync {
    /// Makes new values at each call. What was made before still works and stays as it is: it is revoked apart, once
    /// nobody uses it any more.
    ///
    /// - Values that somebody has to revoke come with a state. Where something is known of it beforehand by which it can be
    ///   revoked, that is kept first, so that a process that ends in the middle leaves nothing behind.
    /// - Who fails after something was made elsewhere, and not kept, revokes it before the error is answered, as far as that
    ///   can be.
    /// - The same keys come out at each call, as long as the spec stays the same.
    async fn make(&self, keep: &dyn Keep) -> Result<Made, Error>;

    /// Revokes what was made with this state.
    ///
    /// - What is revoked already, or gone, is no error: a revocation is tried until it has worked.
    /// - Where nothing that is made has a state, nothing is ever revoked.
    async fn revoke(&self, state: &State) -> Result<(), Error>;

    /// Prolongs what was made with this state. Answers its state and term since; `None` where that can't be done, or not
    /// any more: it works until its end.
    async fn renew(&self, state: &State) -> Result<Option<(State, Term)>, Error>;
}
