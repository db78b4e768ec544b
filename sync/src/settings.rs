//! How syncs are carried out: the flags of a mode, as plain data.

use std::collections::BTreeSet;
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

/// The namespaces that are looked after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All, and what is of no namespace.
    #[default]
    All,
    /// These, which may be none.
    These(Vec<String>),
}

impl Scope {
    /// These namespaces, each once; all where none is named.
    pub fn of(names: impl IntoIterator<Item = String>) -> Self {
        let names: BTreeSet<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
        if names.is_empty() { Self::All } else { Self::These(names.into_iter().collect()) }
    }

    /// Whether this namespace is looked after.
    pub fn has(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|name| name == namespace),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_without_names_is_everything() {
        let of = |names: &[&str]| Scope::of(names.iter().map(|name| (*name).to_owned()));
        assert_eq!([of(&[]), of(&[""])], [Scope::All, Scope::All]);
        assert_eq!(of(&["b", "a", "b", ""]), Scope::These(vec!["a".to_owned(), "b".to_owned()]));
        assert!(of(&[]).has("a") && of(&["a", "b"]).has("b") && !of(&["a"]).has("b"));
        assert!(!Scope::These(Vec::new()).has("a"), "none is not all");
    }
}
