//! Keys and certificates in DER, PEM and PKCS #12, read and written as Go does: what templates compute with, and what
//! stores log in with and are given.
//!
//! Modules, in reading order: [`der`] and [`pem`] the encodings, [`private`] keys, [`pkcs12`] files of a key and its
//! certificates, [`bundle`] whichever of these people keep both in.

#![forbid(unsafe_code)]

pub mod der;
pub mod pem;
pub mod private;
pub mod pkcs12;
pub mod bundle;

pub use bundle::Bundle;
pub use private::{CURVES, Curve, Jwk, PrivateKey, Rsa};

/// Pays for work that a file can ask for in any amount.
pub trait Meter {
    /// What is wrong with a file, or that it asks for too much.
    type Error: From<&'static str>;

    /// Pays for so many short steps, such as a round of a key derivation.
    ///
    /// # Errors
    /// Where that is too many.
    fn spend(&mut self, steps: u64) -> Result<(), Self::Error>;

    /// Pays for checking a private key of so many bytes.
    ///
    /// # Errors
    /// Where that is too much.
    fn check(&mut self, key_bytes: usize) -> Result<(), Self::Error>;
}

/// How many steps of a look a round of a key derivation is worth.
const ROUND: u64 = 16;

/// So many steps, and no more: a [`Meter`] for who has no budget of a look.
#[derive(Debug)]
pub struct Steps(pub u64);

impl Meter for Steps {
    type Error = &'static str;

    fn spend(&mut self, steps: u64) -> Result<(), Self::Error> {
        self.0 = self.0.checked_sub(steps).ok_or("the file asks for too much work")?;
        Ok(())
    }

    fn check(&mut self, key_bytes: usize) -> Result<(), Self::Error> {
        self.spend(PrivateKey::work(key_bytes) / ROUND)
    }
}
