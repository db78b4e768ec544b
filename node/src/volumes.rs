//! What a process remembers of volumes: which stand, what was told of them, and whose turn it is.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use keyferry_cluster::turns::{Lanes, Permit};
use keyferry_limits::MOUNTS_AT_ONCE;
use keyferry_sync::look::Memory;
use keyferry_sync::told;
use tokio::time::{Instant, timeout_at};

use crate::refusal::{Kind, Refusal};

/// What is remembered of volumes.
pub struct Volumes {
    all: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<Remembered>>>>,
    /// Where files were there once.
    standing: Mutex<HashSet<PathBuf>>,
    turns: Arc<Lanes>,
}

impl Default for Volumes {
    fn default() -> Self {
        Self { all: Mutex::default(), standing: Mutex::default(), turns: Lanes::with_reserve(MOUNTS_AT_ONCE.size()) }
    }
}

impl Volumes {
    /// None yet, which have their turns with these.
    pub fn beside(others: &Self) -> Self {
        Self { turns: others.turns.clone(), ..Self::default() }
    }

    /// What is remembered of the volume there.
    pub fn of(&self, place: &Path) -> Arc<tokio::sync::Mutex<Remembered>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(place.to_owned()).or_default().clone()
    }

    /// Takes note of whether a volume stands.
    pub fn stands(&self, place: &Path, stands: bool) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if stands {
            standing.insert(place.to_owned());
        } else {
            standing.remove(place);
        }
    }

    /// Whether one stands, as far as this process has seen: nothing has to be opened for that.
    pub fn is_standing(&self, place: &Path) -> bool {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).contains(place)
    }

    /// One of a few that are under way at once, by turns of the pods' namespaces.
    pub async fn turn(&self, namespace: &str, until: Instant) -> Result<Permit, Refusal> {
        let turn = timeout_at(until, self.turns.acquire(&Arc::from(namespace))).await;
        turn.map_err(|_| Refusal::new(Kind::Late, told!("{}", MOUNTS_AT_ONCE)))
    }

    /// Forgets one, which whoever calls this has alone, unless somebody waits for it: two must not have it at once.
    pub fn forget(&self, place: &Path) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(place).is_some_and(|volume| Arc::strong_count(volume) <= 2) {
            all.remove(place);
        }
    }
}

/// What is remembered of one.
#[derive(Default)]
pub struct Remembered {
    /// What looks at its ExternalSecret leave.
    pub memory: Memory,
    /// What it held when it was written last, as a hash.
    pub shown: Option<String>,
    /// When it is tried again after a failure, and the version that failed.
    pub again: Option<(Timestamp, String)>,
    /// What was told last that is wrong.
    pub told: Option<String>,
    /// What was told last that is wrong with what generators made.
    pub lease_told: Option<String>,
}
