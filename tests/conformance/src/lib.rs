//! The conformance cases, run through `keyferry render`, and by the operator at a real API server.
//!
//! Modules, in reading order: [`case`] a file of the folder, [`features`] what is not built yet, [`roads`] which way
//! a case is run, [`setup`] what it says to a store first, [`observe`] the namespace as a case describes it,
//! [`probes`] what stores hold, [`quiet`] when
//! nothing changes any more, [`compare`] what differs, [`rendered`] a case through render, [`run`] one at the API server
//! from its first step to its last.

pub mod case;
pub mod features;
pub mod roads;
pub mod setup;
pub mod observe;
pub mod probes;
pub mod quiet;
pub mod compare;
pub mod rendered;
pub mod run;
