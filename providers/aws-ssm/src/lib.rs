//! AWS Systems Manager Parameter Store. A crate of its own, because its SDK takes longer to build than all the rest
//! of AWS.
//!
//! Modules, in reading order: `name` what a parameter is called, `place` where a search is, `store` the
//! store. The spec, logins, the client and what
//! answers mean are those of both stores, in `keyferry-provider-aws-common`.

#![forbid(unsafe_code)]

mod name;
mod place;
mod store;

pub use store::{CAPABILITIES, ParameterStore};
