//! Secrets of Alibaba Cloud KMS, read one by one or twenty in one call.
//!
//! The client is our own: requests of this API are a query and a signature, and there is no SDK by the vendor for Rust. What
//! External Secrets Operator had until it dropped this store is kept: the spec, and that a version is the id of one.
//!
//! Modules, in reading order: `config` the spec as plain data, `sign` the signature of a request, `client` HTTP and what
//! error codes mean, `login` where access keys come from, `answers` what answers mean, `store` the store.
//!
//! What is zeroed: bodies of requests and answers, values, keys and tokens. What is not ours to zero: the buffers of TLS,
//! HTTP and the kernel that the bytes pass through, the key inside the signature's own state, and header values, while a
//! request is on its way.

#![forbid(unsafe_code)]

mod config;
mod sign;
mod client;
mod login;
mod answers;
mod store;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Provider, Registration};

use crate::config::Config;
use crate::store::{Alibaba, CAPABILITIES};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "alibaba", capabilities: |_| CAPABILITIES, maintained: true, build };

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let config = Config::new(spec, &ctx.environment)?;
        Ok(Arc::new(Alibaba::new(config, ctx).await?) as Arc<dyn Provider>)
    })
}
