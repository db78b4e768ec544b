//! What the operator costs, counted: `make bench`, and what tests need to count the same.
//!
//! Modules, in reading order: [`double`] a store of ours that counts, delays, throttles and fails, [`bed`] the control
//! plane, [`fleet`] the objects of a run, [`subject`] the operator that is measured, [`watch`] what it has done, [`urgent`] how soon,
//! [`api`] and [`usage`] what it needed, [`bare`] what cannot be undercut, [`run`] the phases, [`report`] the table, [`weight`]
//! what the program weighs before it does anything. Apart from these, [`failover`]: what a second replica is worth.

pub mod double;
pub mod bed;
pub mod fleet;
pub mod subject;
pub mod watch;
pub mod urgent;
pub mod api;
pub mod usage;
pub mod bare;
pub mod run;
pub mod report;
pub mod weight;
pub mod failover;

pub use bed::Bed;
pub use double::Double;
pub use fleet::{Fleet, StoreKind};
