//! Values that anybody may seal with a public key, and only a cluster opens: SealedSecrets as they lie in git, and keyferry's own
//! `sealed:` texts, by the same keys.
//!
//! A value is sealed for somebody ([`Scope`](keyferry_provider_core::Scope)), which is bound to the ciphertext: whoever copies it elsewhere
//! has nothing. Nothing here asks anybody: which keys there are is said by whoever calls.
//!
//! Modules, in reading order: [`keys`](mod@keys) the pairs, [`envelope`] one value, [`manifest`] SealedSecrets, [`text`] keyferry's own.
//!
//! What is zeroed: private keys in DER and PEM, session keys, values. What is not ours to zero is a private key within the
//! library that computes with it.

#![forbid(unsafe_code)]

pub mod keys;
pub mod envelope;
pub mod manifest;
pub mod text;

pub use envelope::{Tries, open, seal};
pub use keys::{Generated, PublicKey, SealingKey, SealingKeys};
pub use manifest::SealedSecret;
pub use text::Sealed;
