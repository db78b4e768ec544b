//! HashiCorp Vault and OpenBao: KV engines of version 1 and 2, over HTTP.
//!
//! The client is our own, of a few hundred lines over `reqwest`, rather than `vaultrs`: that one decodes answers
//! through `serde_json::Value`, which rounds large numbers and leaves copies of values in memory, panics where a token
//! or namespace holds a control character, and takes CA certificates only as files.
//!
//! Modules, in reading order: `product` the two servers, `path` from keys to paths, `method` ways to log in as the spec
//! has them, `config` all else of the spec, `client` HTTP and what statuses mean, `proof` what each login shows, `login`
//! logins and tokens, `answers` what answers mean, `write` what is written, `store` the store,
//! `dynamic` the generator, over any engine, `transit` keys that others' documents are encrypted with.
//!
//! What is zeroed: bodies of answers as we gather them, values, tokens, and bodies of logins. What is not ours to
//! zero: the buffers of TLS, HTTP and the kernel that the bytes pass through, a client key inside the TLS library,
//! and header values, while a request is on its way.

#![forbid(unsafe_code)]

mod product;
mod path;
mod method;
mod config;
mod client;
mod proof;
mod login;
mod answers;
mod write;
mod store;
mod dynamic;
mod transit;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, GeneratorRegistration, Provider, Registration};
pub use transit::TRANSIT;

use crate::config::Config;
use crate::product::Product;
use crate::store::{Vault, capabilities};

/// The variables by which programs find what to log in to Vault and OpenBao with: who runs others may keep these from them.
pub const CREDENTIAL_VARIABLES: &[&str] = &["VAULT_TOKEN", "BAO_TOKEN"];

/// How the registry knows a store of Vault, or of an OpenBao that is taken for one.
pub const REGISTRATION: Registration = Registration {
    name: "vault",
    capabilities: |spec| capabilities(config::version_of(spec)),
    maintained: true,
    build: |spec, ctx| build(Product::Vault, spec, ctx),
};

/// How the registry knows a store of OpenBao under its own key.
pub const OPEN_BAO: Registration =
    Registration { name: "openBao", build: |spec, ctx| build(Product::OpenBao, spec, ctx), ..REGISTRATION };

/// How the registry knows the generator.
pub const DYNAMIC: GeneratorRegistration = GeneratorRegistration {
    kind: "VaultDynamicSecret",
    field: "vaultDynamicSecretSpec",
    has_state: true,
    build: dynamic::build,
};

fn build(product: Product, spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move { Ok(Arc::new(Vault::new(Config::new(product, spec)?, ctx).await?) as Arc<dyn Provider>) })
}
