//! `keyferry migrate eso`, against a real API server and real Helm releases.
//!
//! One program, so that its tests share a testbed.
//!
//! Modules, in reading order: [`journey`] the whole way, [`words`] the same by what is printed, [`versions`] and [`leftovers`] parts of it, [`problems`] where
//! it is blocked; [`agent`] another command, `keyferry migrate vault-agent`.

mod journey;
mod words;
mod versions;
mod leftovers;
mod problems;

mod agent;
