//! Hashes, passwords, keys and certificates.
//!
//! Modules, in reading order: [`mod@password`] bcrypt and derived passwords, [`cipher`] AES, [`keys`] private keys in
//! PEM, [`dsa`] those of an algorithm of the past, [`certificates`] authorities and what they sign.

use aws_lc_rs::digest::{self, Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};

use super::args::function;
use crate::{
    env::Context,
    error::Failure,
    function::Function,
    value::{Str, Type, UintKind, Value},
};

mod password;
mod cipher;
mod keys;
mod dsa;
mod certificates;

use certificates::CERTIFICATE;

const UINT32: Type = Type::Uint(UintKind::Uint32);

pub(super) const FUNCTIONS: &[Function] = &[
    function!("sha1sum", (string => string), |context: &mut _, text: &Str| {
        hash(context, text, &SHA1_FOR_LEGACY_USE_ONLY)
    }),
    function!("sha256sum", (string => string), |context: &mut _, text: &Str| hash(context, text, &SHA256)),
    function!("sha512sum", (string => string), |context: &mut _, text: &Str| hash(context, text, &SHA512)),
    function!("adler32sum", (string => string), |_: &mut _, text: &Str| Ok(adler32(text).to_string())),
    function!("bcrypt", (string => string), password::bcrypt),
    function!("htpasswd", (string, string, ..string => string), password::htpasswd),
    crate::f(
        "derivePassword",
        crate::sig!(UINT32, string, string, string, string => string),
        password::derive_password,
    ),
    function!("encryptAES", (string, string => string), cipher::encrypt),
    function!("decryptAES", (string, string => string), cipher::decrypt),
    function!("genPrivateKey", (string => string), keys::generate),
    function!("buildCustomCert", (string, string => CERTIFICATE), certificates::build_custom),
    function!("genCA", (string, int => CERTIFICATE), |context: &mut _, name: &Str, days| {
        let key = keys::rsa(context, keys::CERTIFICATE_BITS)?;
        certificates::authority(context, name, days, &key)
    }),
    function!("genCAWithKey", (string, int, string => CERTIFICATE), |context: &mut _, name: &Str, days, key: &Str| {
        let key = keys::parse(context, key)?;
        certificates::authority(context, name, days, &key)
    }),
    crate::f("genSelfSignedCert", crate::sig!(string, list, list, int => CERTIFICATE), certificates::self_signed),
    crate::f(
        "genSelfSignedCertWithKey",
        crate::sig!(string, list, list, int, string => CERTIFICATE),
        certificates::self_signed,
    ),
    crate::f("genSignedCert", crate::sig!(string, list, list, int, CERTIFICATE => CERTIFICATE), certificates::signed),
    crate::f(
        "genSignedCertWithKey",
        crate::sig!(string, list, list, int, CERTIFICATE, string => CERTIFICATE),
        certificates::signed,
    ),
];

fn hash(context: &mut Context<'_, '_>, text: &Str, algorithm: &'static Algorithm) -> Result<String, Failure> {
    context.spend(text.len() as u64 / 256)?;
    Ok(digest::digest(algorithm, text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn adler32(bytes: &[u8]) -> u32 {
    /// The largest prime below 2^16.
    const PRIME: u32 = 65_521;
    /// So many bytes can be added up before anything overflows.
    const RUN: usize = 5552;
    let (low, high) = bytes.chunks(RUN).fold((1u32, 0u32), |(low, high), run| {
        let (low, high) = run.iter().fold((low, high), |(low, high), byte| {
            let low = low + u32::from(*byte);
            (low, high + low)
        });
        (low % PRIME, high % PRIME)
    });
    high << 16 | low
}

/// For methods and arguments that must be there, since the signature says so.
fn internal() -> Failure {
    Failure::new("internal error: wrong argument")
}

/// The answer to a certificate function.
fn certificate(value: certificates::Certificate) -> Value {
    Value::object(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums() {
        assert_eq!(adler32(b""), 1);
        assert_eq!(adler32(b"hello world"), 436_929_629);
    }
}
