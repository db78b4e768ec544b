//! Logins of Microsoft's clouds: who somebody is to Entra ID, and the tokens that come of it. Stores and generators of Azure
//! share it; which service the tokens are for they say themselves.
//!
//! There is no SDK here. That of Azure keeps tokens in a cache of its own, which nobody can tell that one was refused; signs
//! with OpenSSL where somebody logs in with a certificate; chooses a managed identity by variables of the process, which a
//! store of a namespace must not get at; and asks a vault first how to log in, a call that says nothing new to who knows
//! the cloud.
//!
//! Modules, in reading order: [`cloud`] which clouds there are, [`identity`] who logs in, `tenant` its ids, `assertion` what a
//! certificate signs, `endpoint` HTTP to whoever gives tokens, `entra` and `machine` who that is, [`login`] the token that is
//! held.
//!
//! What is zeroed: secrets, keys, assertions, bodies of requests and answers. What is not ours to zero: the buffers of TLS,
//! HTTP and the kernel, a key while the crypto library has it, and header values.

#![forbid(unsafe_code)]

pub mod cloud;
pub mod identity;
mod tenant;
mod assertion;
mod endpoint;
mod entra;
mod machine;
pub mod login;

pub use cloud::{Authority, Cloud};
pub use identity::{Federation, Identity, Named, Proof};
pub use login::{Audience, Login};
