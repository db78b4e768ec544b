//! PKCS #12 files, as Go's `go-pkcs12` reads and writes them.
//!
//! No crate does it without a second generation of the crypto crates that are here already, and reading is small.
//!
//! Modules, in reading order: [`cipher`] keys from passwords and the ciphers, [`mod@read`].

pub mod cipher;
mod read;

pub use read::{Contents, read};

/// What is not encrypted.
pub const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
/// What is.
pub const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];
const KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 1];
/// A key that is encrypted by itself.
pub const SHROUDED_KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 2];
/// A certificate.
pub const CERTIFICATE_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 3];
/// The kind of certificate.
pub const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 22, 1];
