//! A store whose secrets stand in its own spec, for tests and demonstrations.
//!
//! The rules are External Secrets Operator's: a secret is found by its key followed by its version, of two entries
//! with the same such name the later one counts, and an entry found that way must be of the version that was asked
//! for; `metadataPolicy` is passed over. What is pushed is kept in memory.
//!
//! Modules, in reading order: `config` the spec as plain data, `pushed` what was pushed, `store` what it answers.

#![forbid(unsafe_code)]

mod config;
mod pushed;
mod store;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Provider, Registration};

use crate::config::Config;
use crate::store::{CAPABILITIES, Fake};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "fake", capabilities: |_| CAPABILITIES, maintained: false, build };

fn build(spec: &serde_json::Value, context: BuildContext) -> BuildFuture<'_> {
    let namespace = context.caller.namespace.unwrap_or_default();
    Box::pin(async move { Ok(Arc::new(Fake::new(Config::new(spec)?, &namespace)) as Arc<dyn Provider>) })
}
