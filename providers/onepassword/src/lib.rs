//! Items of 1Password vaults, read, searched and written through a Connect server.
//!
//! A key is an item, by its title or id, in the first of the store's vaults that has it; an answer is the item as a whole,
//! its fields and its files, so that ten fields of one item are one read. Titles of many keys are looked up by one list
//! of each vault.
//!
//! There is no client library for Rust by the vendor. A Connect server answers from a copy that lags behind what was
//! written through it: what we wrote a moment ago is remembered by its version (never by its value), and whoever reads or
//! writes it next waits until the server shows it. Else the second property of a push would take back the first, or
//! make a second item of the same title.
//!
//! Modules, in reading order: `config` the spec as plain data, `client` HTTP and what statuses mean, `answers` what answers
//! mean, `written` items as we write them, `recent` what we wrote a moment ago, `vaults` which vault is which, `items` where an item is,
//! `store` the store.
//!
//! What is zeroed: bodies of requests and answers, values, the token outside of its header. What is not ours to zero: the
//! buffers of TLS, HTTP and the kernel, and the header with the token.

#![forbid(unsafe_code)]

mod config;
mod client;
mod answers;
mod written;
mod recent;
mod vaults;
mod items;
mod store;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Provider, Registration};

use crate::config::Config;
use crate::store::{CAPABILITIES, OnePassword};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "onepassword", capabilities: |_| CAPABILITIES, maintained: true, build };

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move { Ok(Arc::new(OnePassword::new(Config::new(spec)?, ctx).await?) as Arc<dyn Provider>) })
}
