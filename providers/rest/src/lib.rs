//! Stores that are a login, a GET, and a list with pages: what is the same for all of them once, and for each vendor the
//! little that is its own.
//!
//! A vendor says how its server is led to and what its words of refusal mean (a `Vendor`), how one logs in
//! (a source of `Pass`), and how one secret is read, found, looked at and written (a `Store`). All else is
//! here: the client and what statuses mean, sessions, properties that are written into what is there, marks, deletions.
//! None has a client library: each would bring an HTTP client of its own, past our bounds and address rules.
//!
//! Modules, in reading order: `config` what specs share, `object` JSON that is sent and kept, `client` HTTP and what answers
//! mean, `login` what calls carry, `store` what a vendor says, `cloud` who the operator is to its cloud; then one module a
//! vendor.
//!
//! Apart from these, [`generate`]: what makes tokens rather than keep them.
//!
//! What is zeroed: bodies of requests and answers, values, tokens. What is not ours to zero: the buffers of TLS, HTTP and
//! the kernel that the bytes pass through, and header values.

#![forbid(unsafe_code)]

mod config;
mod object;
mod client;
mod login;
mod store;
mod cloud;
mod doppler;
mod gitlab;
mod infisical;
mod akeyless;
mod scaleway;
mod delinea;
mod fortanix;
mod secretserver;
mod ngrok;
mod github;
mod ibm;
mod oracle;
mod ovh;
pub mod generate;

pub use akeyless::REGISTRATION as AKEYLESS;
pub use delinea::REGISTRATION as DELINEA;
pub use doppler::REGISTRATION as DOPPLER;
pub use fortanix::REGISTRATION as FORTANIX;
pub use github::REGISTRATION as GITHUB;
pub use gitlab::REGISTRATION as GITLAB;
pub use ibm::REGISTRATION as IBM;
pub use infisical::REGISTRATION as INFISICAL;
pub use ngrok::REGISTRATION as NGROK;
pub use oracle::REGISTRATION as ORACLE;
pub use ovh::REGISTRATION as OVH;
pub use scaleway::REGISTRATION as SCALEWAY;
pub use secretserver::REGISTRATION as SECRET_SERVER;
