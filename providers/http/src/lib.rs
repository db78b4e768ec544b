//! What stores share that are spoken to over HTTP and without an SDK: the way to one server, and how it fails.
//!
//! A provider makes a [`Way`] of its server's URL and the names of its fields, takes the builder of a client from it,
//! adds what is its own (headers, redirects), and lets the way build the client. What answers mean stays with the
//! provider; what comes of a request without one is said here, in the terms of the provider's spec.
//!
//! Modules, in reading order: [`way`] the client and its bounds, `roots` whom it
//! trusts, [`address`] where the way may lead, `proxy` through
//! what, `single` by one connection only, [`path`] paths of what users write, [`form`](mod@form) bodies of forms, [`pem`] certificates and keys, [`trust`] whom a spec has us believe, [`error`] what
//! went wrong.
//!
//! What is not ours to zero: the buffers of TLS, HTTP and the kernel that bytes pass through, a client key inside the
//! TLS library, and header values.

#![forbid(unsafe_code)]

pub mod way;
mod roots;
pub mod address;
mod proxy;
mod single;
pub mod path;
pub mod form;
pub mod pem;
pub mod trust;
pub mod error;

pub use address::{secure_url, server_url};
pub use form::form;
pub use pem::{certificates, identity};
pub use trust::Ca;
pub use way::{Fields, Way, retry_after, shared};

/// Fields as tests name them.
#[cfg(test)]
const FIELDS: Fields = Fields { server: "the.server", ca: "the.ca", identity: "the.identity" };
