//! OpenStack Barbican: secrets by their ids, with logins to Keystone.
//!
//! There is no client library: a login is one request, and its answer says where Barbican is. That address is Keystone's
//! word, so it is judged like one that the spec names. Every value is asked for as bytes, which text is too: External Secrets
//! Operator asks for text, and can't read what is none.
//!
//! Modules, in reading order: `config` the spec as plain data, `client` HTTP and what statuses mean, `answers` what answers
//! mean, `login` the life of tokens, `store` the store.
//!
//! What is zeroed: bodies of requests and answers, values, passwords and tokens. What is not ours to zero: the buffers of
//! TLS, HTTP and the kernel that the bytes pass through, and header values, while a request is on its way.

#![forbid(unsafe_code)]

mod config;
mod client;
mod answers;
mod login;
mod store;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Provider, Registration};

use crate::config::Config;
use crate::store::{Barbican, CAPABILITIES};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "barbican", capabilities: |_| CAPABILITIES, maintained: true, build };

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move { Ok(Arc::new(Barbican::new(Config::new(spec)?, ctx).await?) as Arc<dyn Provider>) })
}
