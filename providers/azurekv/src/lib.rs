//! Azure Key Vault: secrets, keys and certificates, read, searched, pushed and deleted over its REST API.
//!
//! The client is our own, of a few hundred lines over `reqwest`, rather than Azure's: that one keeps tokens to itself, so
//! that one which was refused can't be forgotten, asks each vault how to log in before it asks for anything else, keeps
//! copies of values in buffers that nobody zeroes and of what is pushed in many more, and brings a second client with
//! certificates of its own into memory. What is left of it would be the paths of a dozen requests.
//!
//! Modules, in reading order: `object` from keys to what a vault keeps, `config` the spec as plain data, `client` HTTP and
//! what statuses mean, `answers` what answers mean, `written` what is written, `store` reading and searching, `push`
//! writing, `acr` tokens of registries, `decrypt` with keys that stay in the vault. Logins are those of all that Microsoft's clouds have, in a crate of their own.
//!
//! What is zeroed: bodies of requests and answers, values, keys. What is not ours to zero: the buffers of TLS, HTTP and the
//! kernel that the bytes pass through, and the header with the token.

#![forbid(unsafe_code)]

mod object;
mod config;
mod client;
mod answers;
mod written;
mod store;
mod push;
mod acr;
mod decrypt;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Provider, Registration};

use crate::config::Config;
use crate::store::{CAPABILITIES, KeyVault};
pub use acr::ACR;
pub use decrypt::KEYS;

/// The variables by which programs find what to log in to Azure with: who runs others may keep these from them.
pub const CREDENTIAL_VARIABLES: &[&str] = &[
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_PASSWORD",
    "AZURE_FEDERATED_TOKEN_FILE",
];

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "azurekv", capabilities: |_| CAPABILITIES, maintained: true, build };

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move { Ok(Arc::new(KeyVault::new(Config::new(spec)?, ctx).await?) as Arc<dyn Provider>) })
}
