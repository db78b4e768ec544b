//! Any HTTP service as a store: templates say what is sent, a JSONPath what of the answer is the value.
//!
//! A property goes into the templates, and so to the service: each is a call of its own. The language of the templates is
//! Go's, from the crate `template`, which knows no store; it runs apart from what serves others, within bounds that are
//! narrower than those of an ExternalSecret, and what it makes of secrets is zeroed.
//!
//! Redirects are not followed: headers with secrets would go along.
//!
//! Modules, in reading order: `config` the spec as plain data, `templates` rendering, `jsonpath` values out of answers,
//! `ntlm` a login, `client` HTTP and what statuses mean, `store` the store, `generate` the generator.
//!
//! What is zeroed: bodies of requests and answers, values, what templates make, what NTLM makes of a password. What is not
//! ours to zero: the buffers of TLS, HTTP and the kernel, URLs, header values while a request is on its way, and what hash
//! functions work with.

#![forbid(unsafe_code)]

mod config;
mod templates;
mod jsonpath;
mod ntlm;
mod client;
mod store;
mod generate;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Provider, Registration};

use crate::config::Config;
use crate::store::{CAPABILITIES, Webhook};
pub use generate::GENERATOR;

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "webhook", capabilities: |_| CAPABILITIES, maintained: true, build };

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move { Ok(Arc::new(Webhook::new(Config::new(spec)?, ctx).await?) as Arc<dyn Provider>) })
}
