//! Reading.

use super::{
    CERTIFICATE_BAG, DATA, ENCRYPTED_DATA, KEY_BAG, SHROUDED_KEY_BAG, X509_CERTIFICATE,
    cipher::{self, Password},
};
use crate::{
    env::Context,
    error::Failure,
    eso::{
        certificates::Certificate,
        der::{self, Bytes, Reader},
        keys::PrivateKey,
    },
};

/// What a file holds: a key and certificates, the first of which belongs to the key.
pub(super) struct Contents {
    pub key: PrivateKey,
    pub certificates: Vec<Certificate>,
}

fn malformed() -> Failure {
    Failure::new("malformed PKCS #12 file")
}

pub(super) fn read(context: &mut Context<'_, '_>, file: &[u8], password: &[u8]) -> Result<Contents, Failure> {
    let mut password = Password::new(password)?;
    let mut pfx = Reader::only(file, der::SEQUENCE).ok_or_else(malformed)?;
    if pfx.small() != Some(3) {
        return Err(Failure::new("only version 3 of PKCS #12 can be read"));
    }
    let mut safe = pfx.sequence().ok_or_else(malformed)?;
    if safe.oid() != Some(DATA) {
        return Err(Failure::new("only PKCS #12 files that are protected by a password can be read"));
    }
    let safe = safe.take(der::field(0)).and_then(|data| Reader::only(data, der::OCTET_STRING)).ok_or_else(malformed)?;
    match pfx.sequence() {
        Some(mac) => {
            let mut fits = cipher::verify(context, mac, &password, safe.rest())?;
            if !fits && password.is_empty() {
                password = Password::nothing();
                fits = cipher::verify(context, mac, &password, safe.rest())?;
            }
            if !fits {
                return Err(Failure::new("decryption password incorrect"));
            }
        }
        None if !password.is_empty() => return Err(Failure::new("the file has no MAC")),
        None => {}
    }
    let mut parts = Reader::only(safe.rest(), der::SEQUENCE).ok_or_else(malformed)?;
    let mut found = Found::default();
    let mut count = 0;
    while !parts.is_empty() {
        count += 1;
        let part = parts.sequence().ok_or_else(malformed)?;
        let bags = open(context, part, &password)?;
        found.take(context, &bags, &password)?;
    }
    match count {
        1 | 2 => found.contents(),
        _ => Err(Failure::new("only PKCS #12 files of one or two parts can be read")),
    }
}

/// The bags in a part.
fn open(context: &mut Context<'_, '_>, mut part: Reader<'_>, password: &Password) -> Result<Bytes, Failure> {
    let kind = part.oid();
    let content = part.take(der::field(0)).ok_or_else(malformed)?;
    match kind {
        Some(DATA) => {
            let data = Reader::only(content, der::OCTET_STRING).ok_or_else(malformed)?;
            Ok(data.rest().to_vec().into())
        }
        Some(ENCRYPTED_DATA) => {
            let mut encrypted = Reader::only(content, der::SEQUENCE).ok_or_else(malformed)?;
            if encrypted.small() != Some(0) {
                return Err(malformed());
            }
            let mut info = encrypted.sequence().ok_or_else(malformed)?;
            info.oid().ok_or_else(malformed)?;
            let algorithm = info.sequence().ok_or_else(malformed)?;
            let data = info.take(der::plain_field(0)).ok_or_else(malformed)?;
            cipher::decrypt(context, algorithm, password, data)
        }
        _ => Err(Failure::new("the PKCS #12 file has a part of an unknown kind")),
    }
}

#[derive(Default)]
struct Found {
    key: Option<PrivateKey>,
    certificates: Vec<Certificate>,
}

impl Found {
    fn take(&mut self, context: &mut Context<'_, '_>, bags: &[u8], password: &Password) -> Result<(), Failure> {
        let mut bags = Reader::only(bags, der::SEQUENCE).ok_or_else(malformed)?;
        while !bags.is_empty() {
            context.spend(100)?;
            let mut bag = bags.sequence().ok_or_else(malformed)?;
            let kind = bag.oid().ok_or_else(malformed)?;
            let content = bag.take(der::field(0)).ok_or_else(malformed)?;
            match kind {
                CERTIFICATE_BAG => {
                    let mut certificate = Reader::only(content, der::SEQUENCE).ok_or_else(malformed)?;
                    if certificate.oid() != Some(X509_CERTIFICATE) {
                        return Err(Failure::new("only X.509 certificates can be read"));
                    }
                    let field = certificate.take(der::field(0)).ok_or_else(malformed)?;
                    let bytes = Reader::only(field, der::OCTET_STRING).ok_or_else(malformed)?;
                    self.certificates.push(Certificate::parse(bytes.rest())?);
                }
                KEY_BAG => self.set_key(context, content)?,
                SHROUDED_KEY_BAG => {
                    let mut info = Reader::only(content, der::SEQUENCE).ok_or_else(malformed)?;
                    let algorithm = info.sequence().ok_or_else(malformed)?;
                    let data = info.take(der::OCTET_STRING).ok_or_else(malformed)?;
                    let key = cipher::decrypt(context, algorithm, password, data)?;
                    self.set_key(context, &key)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn set_key(&mut self, context: &Context<'_, '_>, bytes: &[u8]) -> Result<(), Failure> {
        context.work(PrivateKey::work(bytes.len()))?;
        if self.key.is_some() {
            return Err(Failure::new("expected exactly one key in the PKCS #12 file"));
        }
        self.key = Some(PrivateKey::pkcs8(bytes).ok_or(Failure::new("malformed or unsupported private key"))?);
        Ok(())
    }

    fn contents(self) -> Result<Contents, Failure> {
        match (self.key, self.certificates.is_empty()) {
            (_, true) => Err(Failure::new("certificate missing")),
            (None, _) => Err(Failure::new("private key missing")),
            (Some(key), false) => Ok(Contents { key, certificates: self.certificates }),
        }
    }
}
