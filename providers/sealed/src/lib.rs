//! Values that anybody may seal as a store: keyferry's own under `sealed`, whose ciphertexts stand in the store's spec, and SealedSecrets
//! under theirs, as they lie in git.
//!
//! Both are opened for the namespace that asks, and no other: what is sealed for somebody else stays closed, whoever copies it
//! into a store of theirs. Whose private keys these are is the operator's to know, who is asked through the contract; a store of
//! SealedSecrets may name keys of its own.
//!
//! Modules, in reading order: `config` the spec as plain data, `opener` by whom is opened, `store` what it answers.
//!
//! What is zeroed: private keys and values. What is not ours to zero is what `keyferry-sealing` says.

#![forbid(unsafe_code)]

mod config;
mod opener;
mod store;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Provider, Registration};

use crate::config::Kind;
use crate::store::{CAPABILITIES, Store};

/// How the registry knows values that stand in the store's spec.
pub const REGISTRATION: Registration = Registration {
    name: "sealed",
    capabilities: |_| CAPABILITIES,
    maintained: true,
    build: |spec, ctx| build(Kind::Sealed, spec, ctx),
};

/// How the registry knows SealedSecrets.
pub const SEALED_SECRETS: Registration =
    Registration { name: "sealedsecrets", build: |spec, ctx| build(Kind::SealedSecrets, spec, ctx), ..REGISTRATION };

fn build(kind: Kind, spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move { Ok(Arc::new(Store::new(kind, spec, ctx).await?) as Arc<dyn Provider>) })
}
