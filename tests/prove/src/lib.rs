//! Stores of many kinds at once, each against its counterpart, for a while in which values and credentials change: no call
//! may fail for it, no ExternalSecret may be anything but Ready, and every value arrives.
//!
//! A store takes part by a file in `stores` and a line in `stores::all`.
//!
//! Modules, in reading order: [`counterpart`] what a store brings along, [`stores`] those that take part, [`run`] how
//! they are put to the proof.

pub mod counterpart;
pub mod stores;
pub mod run;

pub use counterpart::Counterpart;
pub use run::{Proof, prove};
