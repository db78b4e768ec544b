//! HashiCorp Vault and OpenBao: KV engines of version 1 and 2, read over HTTP.
//!
//! The client is our own, of a few hundred lines over `reqwest`, rather than `vaultrs`: that one decodes answers
//! through `serde_json::Value`, which rounds large numbers and leaves copies of values in memory, panics where a token
//! or namespace holds a control character, and takes CA certificates only as files.
//!
//! Modules, in reading order: `config` the spec as plain data, `path` from keys to paths, `client` HTTP and what
//! statuses mean, `login` logins and tokens, `answers` what answers mean, `store` the store.
//!
//! What is zeroed: bodies of answers as we gather them, values, tokens, and bodies of logins. What is not ours to
//! zero: the buffers of TLS, HTTP and the kernel that the bytes pass through, a client key inside the TLS library,
//! and header values, while a request is on its way.

#![forbid(unsafe_code)]

mod config;
mod path;
mod client;
mod login;
mod answers;
mod store;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Provider, Registration};

use crate::config::Config;
use crate::store::{Vault, capabilities};

/// How the registry knows this store.
pub const REGISTRATION: Registration = Registration {
    name: "vault",
    capabilities: |spec| capabilities(config::version_of(spec)),
    maintained: true,
    build,
};

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move { Ok(Arc::new(Vault::new(Config::new(spec)?, ctx).await?) as Arc<dyn Provider>) })
}
