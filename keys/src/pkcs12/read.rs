//! Reading.

use super::cipher::{self, Password};
use super::{CERTIFICATE_BAG, DATA, ENCRYPTED_DATA, KEY_BAG, SHROUDED_KEY_BAG, X509_CERTIFICATE};
use crate::der::{self, Bytes, Reader};
use crate::{Meter, PrivateKey};

const MALFORMED: &str = "malformed PKCS #12 file";

/// What a file holds.
pub struct Contents {
    /// The key.
    pub key: PrivateKey,
    /// The certificates, at least one, each in DER.
    pub certificates: Vec<Vec<u8>>,
}

/// Reads a file that holds one key and its certificates.
///
/// # Errors
/// Where it can't be read with this password, or asks for too much.
pub fn read<M: Meter>(meter: &mut M, file: &[u8], password: &[u8]) -> Result<Contents, M::Error> {
    let mut password = Password::new(password)?;
    let mut pfx = Reader::only(file, der::SEQUENCE).ok_or(MALFORMED)?;
    if pfx.small() != Some(3) {
        return Err("only version 3 of PKCS #12 can be read".into());
    }
    let mut safe = pfx.sequence().ok_or(MALFORMED)?;
    if safe.oid() != Some(DATA) {
        return Err("only PKCS #12 files that are protected by a password can be read".into());
    }
    let safe = safe.take(der::field(0)).and_then(|data| Reader::only(data, der::OCTET_STRING)).ok_or(MALFORMED)?;
    match pfx.sequence() {
        Some(mac) => {
            let mut fits = cipher::verify(meter, mac, &password, safe.rest())?;
            if !fits && password.is_empty() {
                password = Password::nothing();
                fits = cipher::verify(meter, mac, &password, safe.rest())?;
            }
            if !fits {
                return Err("decryption password incorrect".into());
            }
        }
        None if !password.is_empty() => return Err("the file has no MAC".into()),
        None => {}
    }
    let mut parts = Reader::only(safe.rest(), der::SEQUENCE).ok_or(MALFORMED)?;
    let mut found = Found::default();
    let mut count = 0;
    while !parts.is_empty() {
        count += 1;
        let part = parts.sequence().ok_or(MALFORMED)?;
        let bags = open(meter, part, &password)?;
        found.take(meter, &bags, &password)?;
    }
    match count {
        1 | 2 => Ok(found.contents()?),
        _ => Err("only PKCS #12 files of one or two parts can be read".into()),
    }
}

/// The bags in a part.
fn open<M: Meter>(meter: &mut M, mut part: Reader<'_>, password: &Password) -> Result<Bytes, M::Error> {
    let kind = part.oid();
    let content = part.take(der::field(0)).ok_or(MALFORMED)?;
    match kind {
        Some(DATA) => {
            let data = Reader::only(content, der::OCTET_STRING).ok_or(MALFORMED)?;
            Ok(data.rest().to_vec().into())
        }
        Some(ENCRYPTED_DATA) => {
            let mut encrypted = Reader::only(content, der::SEQUENCE).ok_or(MALFORMED)?;
            if encrypted.small() != Some(0) {
                return Err(MALFORMED.into());
            }
            let mut info = encrypted.sequence().ok_or(MALFORMED)?;
            info.oid().ok_or(MALFORMED)?;
            let algorithm = info.sequence().ok_or(MALFORMED)?;
            let data = info.take(der::plain_field(0)).ok_or(MALFORMED)?;
            cipher::decrypt(meter, algorithm, password, data)
        }
        _ => Err("the PKCS #12 file has a part of an unknown kind".into()),
    }
}

#[derive(Default)]
struct Found {
    key: Option<PrivateKey>,
    certificates: Vec<Vec<u8>>,
}

impl Found {
    fn take<M: Meter>(&mut self, meter: &mut M, bags: &[u8], password: &Password) -> Result<(), M::Error> {
        let mut bags = Reader::only(bags, der::SEQUENCE).ok_or(MALFORMED)?;
        while !bags.is_empty() {
            meter.spend(100)?;
            let mut bag = bags.sequence().ok_or(MALFORMED)?;
            let kind = bag.oid().ok_or(MALFORMED)?;
            let content = bag.take(der::field(0)).ok_or(MALFORMED)?;
            match kind {
                CERTIFICATE_BAG => {
                    let mut certificate = Reader::only(content, der::SEQUENCE).ok_or(MALFORMED)?;
                    if certificate.oid() != Some(X509_CERTIFICATE) {
                        return Err("only X.509 certificates can be read".into());
                    }
                    let field = certificate.take(der::field(0)).ok_or(MALFORMED)?;
                    let bytes = Reader::only(field, der::OCTET_STRING).ok_or(MALFORMED)?;
                    self.certificates.push(bytes.rest().to_vec());
                }
                KEY_BAG => self.set_key(meter, content)?,
                SHROUDED_KEY_BAG => {
                    let mut info = Reader::only(content, der::SEQUENCE).ok_or(MALFORMED)?;
                    let algorithm = info.sequence().ok_or(MALFORMED)?;
                    let data = info.take(der::OCTET_STRING).ok_or(MALFORMED)?;
                    let key = cipher::decrypt(meter, algorithm, password, data)?;
                    self.set_key(meter, &key)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn set_key<M: Meter>(&mut self, meter: &mut M, bytes: &[u8]) -> Result<(), M::Error> {
        meter.check(bytes.len())?;
        if self.key.is_some() {
            return Err("expected exactly one key in the PKCS #12 file".into());
        }
        self.key = Some(PrivateKey::pkcs8(bytes).ok_or("malformed or unsupported private key")?);
        Ok(())
    }

    fn contents(self) -> Result<Contents, &'static str> {
        match (self.key, self.certificates.is_empty()) {
            (_, true) => Err("certificate missing"),
            (None, _) => Err("private key missing"),
            (Some(key), false) => Ok(Contents { key, certificates: self.certificates }),
        }
    }
}
