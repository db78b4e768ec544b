//! AWS Systems Manager Parameter Store. A crate of its own, because its SDK takes longer to build than all the rest
//! of AWS.
//!
//! Modules, in reading order: `name` what a parameter is called, `place` where a search is, `store` the store and reading
//! it, `metadata` what a push says beside the value, `push` writing. The spec, logins, the client and what answers mean are
//! those of all stores of AWS, in `keyferry-provider-aws-common`.

#![forbid(unsafe_code)]

mod name;
mod place;
mod store;
mod metadata;
mod push;

pub use store::{CAPABILITIES, ParameterStore};
