//! What stores and generators of Google Cloud share: logins, the way to Google's servers, and what their refusals mean.
//!
//! A [`Login`] is built of what a spec says under `auth`, in External Secrets Operator's words: a key file, GKE's workload
//! identity, workload identity federation, or nothing, which is the operator's own identity. It holds an access token in a
//! session, and makes calls with it. Who needs the token itself, as a generator does, asks for [`Login::token`].
//!
//! Documents that log in (key files, `credConfig`) are data. What they name beyond Google is refused before anything is
//! asked: executables, files, and URLs that the spec does not name too. Only the document that the operator's own
//! environment names may say where the operator's own files are.
//!
//! Modules, in reading order: [`spec`] what stands under `auth`, as plain data, [`host`] one server and what it answers,
//! [`endpoints`] where Google's servers are, [`text`] bodies of logins and what is read out of answers, [`key`] key files
//! and what they sign, [`aws`] an identity of AWS as Google takes it, [`document`] what a `credConfig` comes to,
//! [`metadata`] the server that knows the machine, [`exchange`] one token for another, [`login`] the session.
//!
//! What is zeroed: keys, assertions and tokens as we gather them, bodies of requests and answers. What is not ours to
//! zero: the signing key inside the cryptographic library, the buffers of TLS and HTTP, and header values.

#![forbid(unsafe_code)]

pub mod spec;
pub mod host;
pub mod endpoints;
pub mod text;
pub mod key;
pub mod aws;
pub mod document;
pub mod metadata;
pub mod exchange;
pub mod login;

pub use endpoints::{Api, endpoint};
pub use host::{Call, Host, Response, Word};
pub use login::Login;
pub use metadata::Metadata;
pub use spec::{Auth, AuthSpec, Identity};
