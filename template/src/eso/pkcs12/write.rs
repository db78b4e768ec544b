//! Writing: AES-256 and HMAC-SHA-256, which current OpenSSL, Java and Windows read.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use keyferry_keys::{
    PrivateKey,
    der::{self, Bytes},
    pkcs12::{
        CERTIFICATE_BAG, DATA, ENCRYPTED_DATA, SHROUDED_KEY_BAG, X509_CERTIFICATE,
        cipher::{self, Password, Salt},
    },
};

use crate::{env::Context, error::Failure, eso::certificates::Certificate};

const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 20];
const LOCAL_KEY_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 21];
/// What Java marks certificates with that it is to trust.
const JAVA_TRUSTED: &[u8] = &[0x60, 0x86, 0x48, 1, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 1, 1];
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0];

/// A key with its certificate, which is the first, and others.
pub(super) fn key_store(
    context: &mut Context<'_, '_>,
    key: &PrivateKey,
    certificates: &[Certificate],
    password: &[u8],
) -> Result<Bytes, Failure> {
    let password = Password::new(password)?;
    let leaf = certificates.first().ok_or(Failure::new("certificate missing"))?;
    let fingerprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, &leaf.der);
    let id = attribute(LOCAL_KEY_ID, &der::element(der::OCTET_STRING, fingerprint.as_ref()));
    let mut bags = vec![certificate_bag(leaf, &[&id])];
    bags.extend(certificates.iter().skip(1).map(|other| certificate_bag(other, &[])));

    let key = key.to_pkcs8().ok_or(Failure::new("unsupported private key"))?;
    let drawn = [salt(context)?, salt(context)?];
    let (algorithm, data) = cipher::encrypt(context, &password, &key, drawn)?;
    let shrouded = der::sequence(&[&algorithm, &der::element(der::OCTET_STRING, &data)]);
    let key_bag = bag(SHROUDED_KEY_BAG, &shrouded, &[&id]);

    let parts = [encrypted(context, &bags, &password)?, plain(&concat(&[key_bag]))];
    file(context, &parts, &password)
}

/// Certificates that are to be trusted, named by what they are for.
pub(super) fn trust_store(
    context: &mut Context<'_, '_>,
    certificates: &[Certificate],
    password: &[u8],
) -> Result<Bytes, Failure> {
    let password = Password::new(password)?;
    let trusted = attribute(JAVA_TRUSTED, &der::oid(ANY_USAGE));
    let mut bags = Vec::with_capacity(certificates.len());
    for certificate in certificates {
        let mut name = Vec::new();
        for c in certificate.subject.chars() {
            let code = u16::try_from(u32::from(c))
                .map_err(|_| Failure::new("a name has characters that cannot be encoded in UCS-2"))?;
            name.extend_from_slice(&code.to_be_bytes());
        }
        let name = attribute(FRIENDLY_NAME, &der::element(der::BMP_STRING, &name));
        bags.push(certificate_bag(certificate, &[&trusted, &name]));
    }
    let parts = [encrypted(context, &bags, &password)?];
    file(context, &parts, &password)
}

fn salt(context: &mut Context<'_, '_>) -> Result<Salt, Failure> {
    let mut salt = Salt::default();
    context.random().fill(&mut salt)?;
    Ok(salt)
}

fn concat(parts: &[Bytes]) -> Bytes {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_slice()).collect();
    der::sequence(&parts)
}

fn attribute(oid: &[u8], value: &[u8]) -> Bytes {
    der::sequence(&[&der::oid(oid), &der::element(der::SET, value)])
}

fn bag(kind: &[u8], content: &[u8], attributes: &[&[u8]]) -> Bytes {
    let content = der::element(der::field(0), content);
    // A set is sorted.
    let mut attributes = attributes.to_vec();
    attributes.sort_unstable();
    if attributes.is_empty() {
        der::sequence(&[&der::oid(kind), &content])
    } else {
        der::sequence(&[&der::oid(kind), &content, &der::structure(der::SET, &attributes)])
    }
}

fn certificate_bag(certificate: &Certificate, attributes: &[&[u8]]) -> Bytes {
    let bytes = der::element(der::field(0), &der::element(der::OCTET_STRING, &certificate.der));
    bag(CERTIFICATE_BAG, &der::sequence(&[&der::oid(X509_CERTIFICATE), &bytes]), attributes)
}

fn plain(bags: &[u8]) -> Bytes {
    let content = der::element(der::field(0), &der::element(der::OCTET_STRING, bags));
    der::sequence(&[&der::oid(DATA), &content])
}

fn encrypted(context: &mut Context<'_, '_>, bags: &[Bytes], password: &Password) -> Result<Bytes, Failure> {
    let drawn = [salt(context)?, salt(context)?];
    let (algorithm, data) = cipher::encrypt(context, password, &concat(bags), drawn)?;
    let info = der::sequence(&[&der::oid(DATA), &algorithm, &der::element(der::plain_field(0), &data)]);
    let content = der::element(der::field(0), &der::sequence(&[&der::small(0), &info]));
    Ok(der::sequence(&[&der::oid(ENCRYPTED_DATA), &content]))
}

fn file(context: &mut Context<'_, '_>, parts: &[Bytes], password: &Password) -> Result<Bytes, Failure> {
    let safe = concat(parts);
    let salt = salt(context)?;
    let mac = cipher::sign(context, password, &safe, salt)?;
    Ok(der::sequence(&[&der::small(3), &plain(&safe), &mac]))
}
