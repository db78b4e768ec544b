//! How syncs are carried out: the flags of a mode, as plain data.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use crate::engine::Engine;

/// The same for all syncs of a process.
pub struct Settings {
    /// The controller class that we are.
    pub class: String,
    /// Whether a store must be Ready before it is asked.
    pub flood_gate: bool,
    /// Whether ClusterSecretStores are looked after.
    pub cluster_stores: bool,
    /// Which Secrets of others may be taken over.
    pub adopt: Adopt,
    /// Whether targets may be other than Secrets.
    pub generic_targets: bool,
    /// Whether who asks is a pod that mounts, and logs in as itself.
    pub mounts: bool,
    /// How long what a generator made works on after it was replaced; `None` where no states are written down, so that
    /// nothing is ever revoked.
    pub generator_grace: Option<Duration>,
    /// What renders templates.
    pub engine: Engine,
    /// When this process began to work.
    pub started: Timestamp,
    /// The wall clock: what took a while is scheduled from its end.
    pub now: fn() -> Timestamp,
}

/// Which Secrets that no ExternalSecret manages may be taken over (creationPolicy Owner and Orphan).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopt {
    /// All, as External Secrets Operator does; their data is replaced.
    Any,
    /// Those without data.
    Empty,
    /// None.
    Never,
}

impl Adopt {
    /// The words for them.
    pub const NAMES: [&str; 3] = ["any", "empty", "never"];
}

impl FromStr for Adopt {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "any" => Ok(Self::Any),
            "empty" => Ok(Self::Empty),
            "never" => Ok(Self::Never),
            word => Err(format!("{word:?} is none of {}", Self::NAMES.join(", "))),
        }
    }
}
