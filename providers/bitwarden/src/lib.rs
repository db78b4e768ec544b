//! Secrets of Bitwarden Secrets Manager, read, searched and written through bitwarden-sdk-server: only the vendor's library can
//! decrypt them, and that server wraps it.
//!
//! The server logs in anew with the token of each call. What went wrong at Bitwarden it tells as text, out of which no more
//! is taken than the status that Bitwarden answered.
//!
//! Modules, in reading order: `config` the spec as plain data, `client` HTTP and what statuses mean, `answers` what answers
//! mean and what is written, `store` the store.
//!
//! What is zeroed: bodies of requests and answers, values. What is not ours to zero: the buffers of TLS, HTTP and the
//! kernel, and the header with the token.

#![forbid(unsafe_code)]

mod config;
mod client;
mod answers;
mod store;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Provider, Registration};

use crate::config::Config;
use crate::store::{Bitwarden, CAPABILITIES};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "bitwardensecretsmanager", capabilities: |_| CAPABILITIES, maintained: true, build };

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move { Ok(Arc::new(Bitwarden::new(Config::new(spec)?, ctx).await?) as Arc<dyn Provider>) })
}
