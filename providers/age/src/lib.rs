//! Encrypted documents as a store: those of age under its key, and files of SOPS under theirs.
//!
//! A secret is a document, called by its name; what it holds is answered as JSON, or as its bytes. Documents and identities are read when
//! the store is built, so that whoever changes a Secret or ConfigMap is noticed as with any credential; a file is read at each
//! fetch. What is decrypted lives as long as the answer: nothing of it is kept.
//!
//! Modules, in reading order: `config` the spec as plain data, `keys` by what, `store` what it answers.
//!
//! What is zeroed: identities, data keys and values. What is not ours to zero is what `keyferry-documents` says.

#![forbid(unsafe_code)]

mod config;
mod keys;
mod store;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Provider, Registration};

use crate::config::{Config, Kind};
use crate::store::{CAPABILITIES, Store};

/// The variables by which programs find what to open documents of age and SOPS with: who runs others may keep these from them.
pub const CREDENTIAL_VARIABLES: &[&str] =
    &["KEYFERRY_AGE_KEY_FILE", "SOPS_AGE_KEY", "SOPS_AGE_KEY_FILE", "SOPS_AGE_SSH_PRIVATE_KEY_FILE"];

/// How the registry knows documents of age.
pub const REGISTRATION: Registration = Registration {
    name: "age",
    capabilities: |_| CAPABILITIES,
    maintained: true,
    build: |spec, ctx| build(Kind::Age, spec, ctx),
};

/// How the registry knows files of SOPS.
pub const SOPS: Registration =
    Registration { name: "sops", build: |spec, ctx| build(Kind::Sops, spec, ctx), ..REGISTRATION };

fn build(kind: Kind, spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move { Ok(Arc::new(Store::new(Config::new(kind, spec)?, ctx).await?) as Arc<dyn Provider>) })
}
