//! The contract between keyferry and the stores that keep secrets.
//!
//! A store implements [`Provider`]; it asks for what it logs in with through the port [`Credentials`] and reports
//! the calls it makes to [`Calls`]. Nothing here knows Kubernetes objects, a cloud SDK, or an async runtime, so a
//! provider crate can be read, built and tested alone.
//!
//! Modules, in reading order: [`mod@secret`] the type that carries values, [`mod@error`] the one error,
//! [`mod@provider`] the trait, [`mod@credentials`] the port, [`mod@json`] taking values out of JSON without copies,
//! [`mod@address`] where a store must not lead.

#![forbid(unsafe_code)]

pub mod address;
pub mod credentials;
pub mod error;
pub mod json;
pub mod provider;
pub mod secret;

pub use credentials::{CaRef, CaSource, Credentials, SecretRef, ServiceAccountRef, Token};
pub use error::{Error, ErrorKind, causes};
pub use provider::{
    Access, BuildContext, BuildFuture, Caller, Calls, Capabilities, Environment, Key, MOST_FOUND, Metadata,
    PropertyLookup, Provider, Query, Registration,
};
pub use secret::{SecretBuf, SecretBytes};
