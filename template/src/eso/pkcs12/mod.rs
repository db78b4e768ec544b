//! PKCS #12 files, read and written as Go's `go-pkcs12` does.
//!
//! No crate does it without a second generation of the crypto crates that are here already, and reading is small.
//!
//! Modules, in reading order: [`mod@cipher`] keys from passwords and the ciphers, [`mod@read`] and [`mod@write`].

mod cipher;
mod read;
mod write;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    certificates::{self, Certificate},
    keys::PrivateKey,
    pem,
};
use crate::{
    env::Context,
    error::Failure,
    value::{Str, Value},
};

pub(super) const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
pub(super) const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];
const KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 1];
const SHROUDED_KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 2];
const CERTIFICATE_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 3];
const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 22, 1];

/// `pkcs12key`, `pkcs12keyPass`
pub(super) fn key(context: &mut Context<'_, '_>, password: &[u8], file: &Str) -> Result<Value, Failure> {
    let contents = read::read(context, file, password)?;
    let key = contents.key.to_pkcs8().ok_or(Failure::new("unsupported private key"))?;
    Ok(Value::str(pem::text("PRIVATE KEY", &key)))
}

/// `pkcs12cert`, `pkcs12certPass`
pub(super) fn certificates(context: &mut Context<'_, '_>, password: &[u8], file: &Str) -> Result<Value, Failure> {
    let contents = read::read(context, file, password)?;
    let ordered = certificates::order(context, &contents.certificates);
    Ok(Value::str(certificates::text(ordered.as_ref().unwrap_or(&contents.certificates))))
}

/// `pemToPkcs12`, `fullPemToPkcs12` and those with a password
pub(super) fn pack(
    context: &mut Context<'_, '_>,
    certificate: &Str,
    key: &Str,
    password: &[u8],
    with_others: bool,
) -> Result<Value, Failure> {
    let (block, rest) = pem::decode(certificate);
    let leaf = Certificate::parse(&block.ok_or(Failure::new("no certificate"))?.bytes)?;
    let mut all = vec![leaf];
    if with_others {
        all.extend(certificates::all(context, rest)?);
    }
    let (block, _) = pem::decode(key);
    let block = block.ok_or(Failure::new("no private key"))?;
    context.work(PrivateKey::work(block.bytes.len()))?;
    let key = PrivateKey::parse(&block.bytes).ok_or(Failure::new("unable to parse private key type"))?;
    Ok(Value::str(STANDARD.encode(write::key_store(context, &key, &all, password)?)))
}

/// `pemTruststoreToPKCS12` and that with a password
pub(super) fn trust(context: &mut Context<'_, '_>, text: &Str, password: &[u8]) -> Result<Value, Failure> {
    let all = certificates::all(context, text)?;
    Ok(Value::str(STANDARD.encode(write::trust_store(context, &all, password)?)))
}
