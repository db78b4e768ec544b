//! Kubernetes: Secrets of another cluster, or of another namespace of this one; and, as a store of its own, custom resources.
//!
//! The client is our own, of a few requests over `reqwest`, rather than `kube`: what is read is one kind of object,
//! whose values stay in the answer's base64 until they are used, and what a kubeconfig may hold is a matter of trust.
//! A kubeconfig is data here: commands, plugins, files and proxies in it are refused, and nothing ever runs or reads
//! them. The operator's own identity is never used.
//!
//! Modules, in reading order: `config` the spec as plain data, `kubeconfig` a kubeconfig as plain data, `client`
//! HTTP and what statuses mean, `login` the life of tokens, `answers` what answers mean, `store` the store and reading it,
//! `object` a Secret to be written anew, `push` writing; `whitelist` what may be read of custom resources, `crd` their store.
//!
//! What is zeroed: bodies of answers as we gather them, bodies of requests, values, tokens. What is not ours to zero: the buffers of TLS,
//! HTTP and the kernel that the bytes pass through, a client key inside the TLS library, and header values.

#![forbid(unsafe_code)]

mod config;
mod kubeconfig;
mod client;
mod login;
mod answers;
mod store;
mod object;
mod push;
mod whitelist;
mod crd;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Provider, Registration};

use crate::config::Config;
use crate::crd::CustomResources;
use crate::store::{CAPABILITIES, Kubernetes};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "kubernetes", capabilities: |_| CAPABILITIES, maintained: true, build };

/// How the registry knows the store of custom resources.
pub const CRD: Registration =
    Registration { name: "crd", capabilities: |_| crd::CAPABILITIES, maintained: true, build: build_crd };

fn build_crd(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move {
        let config = crd::Config::new(spec, &ctx.caller)?;
        Ok(Arc::new(CustomResources::new(config, ctx).await?) as Arc<dyn Provider>)
    })
}

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move { Ok(Arc::new(Kubernetes::new(Config::new(spec)?, ctx).await?) as Arc<dyn Provider>) })
}
