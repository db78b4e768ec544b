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
    /// When they stop working, where that is known.
    pub expires: Option<SystemTime>,
}

impl From<BTreeMap<String, SecretBytes>> for Made {
    /// Values that need no revocation and have no end.
    fn from(values: BTreeMap<String, SecretBytes>) -> Self {
        Self { values, ..Self::default() }
    }
}

/// A generator, built from its spec and used for one ExternalSecret.
#[async_trait]
pub trait Generator: Send + Sync {
    /// Makes new values at each call.
    ///
    /// - `previous` is the state of what was made last for the same entry, where there is any. What that stands for still
    ///   works and stays as it is: it is revoked apart, once nobody uses it any more.
    /// - Values that somebody has to revoke come with a state. Who fails after something was made elsewhere revokes it
    ///   before the error is answered, as far as that can be.
    /// - The same keys come out at each call, as long as the spec stays the same.
    async fn make(&self, previous: Option<&State>) -> Result<Made, Error>;

    /// Revokes what was made with this state.
    ///
    /// - What is revoked already, or gone, is no error: a revocation is tried until it has worked.
    /// - Where nothing that is made has a state, nothing is ever revoked.
    async fn revoke(&self, state: &State) -> Result<(), Error>;
}
