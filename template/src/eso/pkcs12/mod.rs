//! PKCS #12 files, read and written as Go's `go-pkcs12` does.
//!
//! What files are is [`keyferry_keys::pkcs12`]'s; here is what templates read of them, and `write`.

mod write;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use keyferry_keys::{Meter, pkcs12};

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

impl Meter for Context<'_, '_> {
    type Error = Failure;

    fn spend(&mut self, steps: u64) -> Result<(), Failure> {
        Self::spend(self, steps)
    }

    fn check(&mut self, key_bytes: usize) -> Result<(), Failure> {
        self.work(PrivateKey::work(key_bytes))
    }
}

/// What a file holds: a key, and certificates, the first of which belongs to it.
fn read(
    context: &mut Context<'_, '_>,
    file: &[u8],
    password: &[u8],
) -> Result<(PrivateKey, Vec<Certificate>), Failure> {
    let contents = pkcs12::read(context, file, password)?;
    let certificates = contents.certificates.iter().map(|der| Certificate::parse(der)).collect::<Result<_, _>>()?;
    Ok((contents.key, certificates))
}

/// `pkcs12key`, `pkcs12keyPass`
pub(super) fn key(context: &mut Context<'_, '_>, password: &[u8], file: &Str) -> Result<Value, Failure> {
    let (key, _) = read(context, file, password)?;
    let key = key.to_pkcs8().ok_or(Failure::new("unsupported private key"))?;
    Ok(Value::str(pem::text("PRIVATE KEY", &key)))
}

/// `pkcs12cert`, `pkcs12certPass`
pub(super) fn certificates(context: &mut Context<'_, '_>, password: &[u8], file: &Str) -> Result<Value, Failure> {
    let (_, all) = read(context, file, password)?;
    let ordered = certificates::order(context, &all);
    Ok(Value::str(certificates::text(ordered.as_ref().unwrap_or(&all))))
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
