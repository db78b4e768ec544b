//! ClusterExternalSecrets and ClusterPushSecrets (copiers): which namespaces get a copy of which object, and what becomes
//! of it. Apart from the life of a secret, which begins where a copy arrives.
//!
//! Modules, in reading order: `print` what is compared, `selectors` what is wrong with one, [`copier`] what is asked for, [`copy`] what stands in a namespace, [`plan`] what to do,
//! [`ports`] what it takes, [`record`] status and events, [`mod@run`] the join.

mod print;
mod selectors;
pub mod copier;
pub mod copy;
pub mod plan;
pub mod ports;
pub mod record;
pub mod run;

pub use copier::{Copier, CopierId, CopierKind};
pub use copy::{Owner, Place, Seen, kept_note};
pub use plan::{Memory, Plan, Step, Surroundings, plan};
pub use run::{Looked, run};

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
