//! What a new store is copied from: a store of an imaginary vendor, Cellar, that can do all that the contract knows.
//! `docs/a-store-in-half-a-day.md` says how. It is in no registry, so no build of keyferry has it.
//!
//! The first paragraph of a real store says what is read and how, the next what is not obvious: why there is no client
//! library, or why there is one.
//!
//! Modules, in reading order: `config` the spec as plain data, `client` HTTP and what statuses mean, `login` the life of
//! tokens, `answers` what answers mean, `store` the store.
//!
//! What is zeroed: bodies of requests and answers, values, tokens. What is not ours to zero: the buffers of TLS, HTTP and
//! the kernel that the bytes pass through, and header values, while a request is on its way.

#![forbid(unsafe_code)]

mod config;
mod client;
mod login;
mod answers;
mod store;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Provider, Registration};

use crate::config::Config;
use crate::store::{CAPABILITIES, Cellar};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "cellar", capabilities: |_| CAPABILITIES, maintained: true, build };

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move { Ok(Arc::new(Cellar::new(Config::new(spec)?, ctx).await?) as Arc<dyn Provider>) })
}
