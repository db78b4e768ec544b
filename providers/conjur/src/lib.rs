//! CyberArk Conjur: variables, read over HTTP one by one or many in one call.
//!
//! Conjur answers "not found" for a variable that is not there, for one that the login may not see, and for one that has no
//! value yet. The last is asked for once more, as a resource, and told apart; the first two can't be, by anybody.
//!
//! Several variables travel in one call, which Conjur refuses as a whole where one of them is missing or denied. The call is
//! then made again without the one that the answer names, or by halves, so that the good ones are read whatever the bad
//! one is.
//!
//! Modules, in reading order: `config` the spec as plain data, `client` HTTP and what statuses mean, `login` the life of
//! tokens, `answers` what answers mean, `policy` what is pushed, `store` the store.
//!
//! What is zeroed: bodies of requests and answers, values, tokens, and what logins are made with. What is not ours to zero:
//! the buffers of TLS, HTTP and the kernel that the bytes pass through, a client key inside the TLS library, and header
//! values, while a request is on its way.

#![forbid(unsafe_code)]

mod config;
mod client;
mod login;
mod answers;
mod policy;
mod store;

use std::sync::Arc;

use keyferry_provider_core::{BuildContext, BuildFuture, Provider, Registration};

use crate::config::Config;
use crate::store::{CAPABILITIES, Conjur};

/// How the registry knows this store.
pub const REGISTRATION: Registration =
    Registration { name: "conjur", capabilities: |_| CAPABILITIES, maintained: true, build };

fn build(spec: &serde_json::Value, ctx: BuildContext) -> BuildFuture<'_> {
    Box::pin(async move { Ok(Arc::new(Conjur::new(Config::new(spec)?, ctx).await?) as Arc<dyn Provider>) })
}
