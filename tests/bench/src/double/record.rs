//! What the double has seen.

use std::collections::BTreeMap;
use std::time::Instant;

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its name in the store's API: `BatchGetSecretValue`, `GetParameter`, `read`, `lookup-self`.
    pub action: String,
    /// Who asked: an access key id, or a token of Vault.
    pub identity: String,
    /// The keys asked for.
    pub keys: Vec<String>,
    /// When it was understood.
    pub at: Instant,
    /// When its answer went out.
    pub ended: Option<Instant>,
    /// Whether the call as a whole failed.
    pub failed: bool,
}

/// Calls, and questions about them.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    log: Vec<Call>,
}

impl Counts {
    pub(super) fn new(log: Vec<Call>) -> Self {
        Self { log }
    }

    /// All calls in the order in which they came.
    pub fn log(&self) -> &[Call] {
        &self.log
    }

    /// How many calls there were of any action.
    pub fn total(&self) -> usize {
        self.log.len()
    }

    /// How many there were of one action.
    pub fn calls(&self, action: &str) -> usize {
        self.of(action).count()
    }

    /// How many there were of each action.
    pub fn by_action(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        self.log.iter().for_each(|call| *counts.entry(call.action.clone()).or_default() += 1);
        counts
    }

    /// How many there were from each identity.
    pub fn by_identity(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        self.log.iter().for_each(|call| *counts.entry(call.identity.clone()).or_default() += 1);
        counts
    }

    /// How many keys each call of an action asked for, in order.
    pub fn batches(&self, action: &str) -> Vec<usize> {
        self.of(action).map(|call| call.keys.len()).collect()
    }

    /// Action and number of keys of every call, in order: for messages of tests.
    pub fn story(&self) -> String {
        let calls = self.log.iter().map(|call| format!("{} of {}", call.action, call.keys.len()));
        calls.collect::<Vec<_>>().join(", ")
    }

    /// How many keys were asked for, all calls together.
    pub fn keys(&self) -> usize {
        self.log.iter().map(|call| call.keys.len()).sum()
    }

    fn of(&self, action: &str) -> impl Iterator<Item = &Call> {
        self.log.iter().filter(move |call| call.action == action)
    }
}
