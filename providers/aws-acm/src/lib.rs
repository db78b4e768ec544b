//! AWS Certificate Manager: reading a certificate is exporting it with its key, pushing is importing.
//!
//! There is no SDK here: nine calls of the JSON protocol of two services are all that is needed, and two SDKs more would take
//! a minute to build. They are signed and sent as those of the SDKs are, by `keyferry-provider-aws-common`.
//!
//! Modules, in reading order: `pem` certificates as text, `sealed` keys under a passphrase, `store` the store and reading
//! it, `push` writing.
//!
//! What is zeroed: answers, keys, passphrases. What is not ours to zero is what `keyferry-provider-aws-common` says, and the
//! answer's texts while they are put together.

#![forbid(unsafe_code)]

mod pem;
mod sealed;
mod store;
mod push;

pub use store::{CAPABILITIES, CertificateManager};
