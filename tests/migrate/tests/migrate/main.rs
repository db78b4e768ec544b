//! `keyferry migrate eso`, against a real API server and real Helm releases.
//!
//! One program, so that its tests share a testbed.

mod journey;
mod leftovers;
mod problems;
mod versions;
