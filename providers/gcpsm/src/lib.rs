//! Google Cloud Secret Manager: secrets of a project, everywhere or in one location, read, searched and written by its REST
//! API of version 1.
//!
//! The client is our own, over `reqwest`, rather than Google's `google-cloud-secretmanager-v1`: that one makes its HTTP
//! client itself, so that neither our rules for addresses nor our count of calls nor a bound on answers would hold, follows
//! redirects, and shows values in `Debug`. It does not check the checksum that comes with each value; we do.
//!
//! Nothing is locked but the writes of one secret: the API has no way to add a version only if nobody else did, so that of
//! two properties that are written at once one would be lost. External Secrets Operator has one lock for all of Google.
//!
//! Modules, in reading order: `config` the spec as plain data, `place` from keys to names of resources, `checksum` CRC32C,
//! `answers` what answers mean, `metadata` what a push says beside the value, `written` what is written, `turns` one writer
//! at a time, `client` the calls, `store` reading and searching, `push` writing, `registry` tokens for registries, `kms` decrypting with keys of Cloud KMS.
//!
//! What is zeroed: bodies of requests and answers, values, tokens. What is not ours to zero: the buffers of TLS, HTTP and
//! the kernel that the bytes pass through, and header values, while a request is on its way.

#![forbid(unsafe_code)]

mod config;
mod place;
mod checksum;
mod answers;
mod metadata;
mod written;
mod turns;
mod client;
mod store;
mod push;
mod registry;
mod kms;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Provider, Registration};

use crate::config::Config;
use crate::store::{CAPABILITIES, SecretManager};
pub use kms::KMS;
pub use registry::GCR;

/// The variables by which programs find what to log in to Google with: who runs others may keep these from them.
pub const CREDENTIAL_VARIABLES: &[&str] = &[
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CREDENTIALS",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "CLOUDSDK_AUTH_ACCESS_TOKEN",
];

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "gcpsm", capabilities: |_| CAPABILITIES, maintained: true, build };

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move { Ok(Arc::new(SecretManager::new(Config::new(spec)?, ctx).await?) as Arc<dyn Provider>) })
}
