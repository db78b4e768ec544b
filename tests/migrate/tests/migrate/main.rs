//! `keyferry migrate eso`, against a real API server and real Helm releases.
//!
//! One program, so that its tests share a testbed.
//!
//! Modules, in reading order: [`journey`] the whole way, [`versions`] and [`leftovers`] parts of it, [`problems`] where
//! it is blocked.

mod journey;
mod versions;
mod leftovers;
mod problems;
