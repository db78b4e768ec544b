//! What the stores of AWS share: the spec, logins and how long they last, the client, and what its errors mean.
//!
//! The SDK's own retries are off and its identity cache is replaced by the sessions of [`login`], which go on with what
//! they have while STS is down and forget what a service refuses. Nothing is read from profile files or the environment for a
//! store that names its credentials; the default chain reads them for one that names none, and can run nothing: the
//! features for SSO, for `credential_process` and for the console's login are not compiled in.
//!
//! Modules, in reading order: [`config`] the spec as plain data, [`login`] from there to credentials, `proxy` HTTP,
//! `reading` answers and their bounds, [`client`] the SDK's configuration, [`error`] what went wrong, [`batch`] several keys at once, [`found`]
//! searches below a prefix, [`tags`] what metadata is and by what we know what we made, [`json`] services without an SDK.
//!
//! What is zeroed: bodies of answers. What is not ours to zero: the buffers of TLS and HTTP, the SDK's requests, and its copies
//! of values while it decodes them. The keys it keeps it zeroes itself.

#![forbid(unsafe_code)]

pub mod config;
pub mod login;
mod proxy;
mod reading;
pub mod client;
pub mod error;
pub mod batch;
pub mod found;
pub mod tags;
pub mod json;

pub use batch::in_batches;
pub use client::{Connection, Service};
pub use config::Config;
pub use error::{Cause, Failure};
pub use json::{JsonApi, JsonClient};
pub use tags::tags_json;
