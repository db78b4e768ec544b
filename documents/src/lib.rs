//! Encrypted documents, as they lie in git: age files, documents of which single values are encrypted by age, and files of
//! SOPS; out of YAML, JSON, dotenv and INI.
//!
//! Nothing here asks anybody: a key that a service keeps is unwrapped by whoever calls. Errors name the document's parts and
//! never a value, and what goes wrong is told before anything is given.
//!
//! Modules, in reading order: [`tree`] a document that is read, [`format`](mod@format) how it is written, [`keys`] who may open it, `ssh` keys of
//! SSH among them (`rsa` those of that kind), [`pgp`] and of PGP, [`envelope`] age's file format, [`values`] single values, [`edit`] a document in somebody's editor, [`sops`] SOPS; and [`place`] where a store's documents lie.
//!
//! What is zeroed: keys, and values from when they are decrypted. What is not ours to zero are the copies of the YAML
//! parser, which sees values where a whole document was encrypted, and of the age library while it decrypts.

#![forbid(unsafe_code)]

pub mod tree;
pub mod format;
pub mod keys;
mod ssh;
mod rsa;
pub mod pgp;
pub mod envelope;
pub mod values;
pub mod edit;
pub mod sops;
pub mod place;

pub use envelope::{Tries, open, seal};
pub use format::Format;
pub use keys::{Identities, Recipients};
pub use tree::Node;
