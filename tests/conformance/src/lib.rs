//! The conformance cases, run against the operator and a real API server.
//!
//! Modules, in reading order: [`case`] a file of the folder, [`features`] what is not built yet, [`setup`] what a case
//! says to a store first, [`observe`] the namespace as a case describes it, [`quiet`] when nothing changes any more,
//! [`compare`] what differs, [`run`] one case from its first step to its last.

pub mod case;
pub mod features;
pub mod setup;
pub mod observe;
pub mod quiet;
pub mod compare;
pub mod run;
