//! Keys under a passphrase: PKCS #8 with PBES2 (RFC 8018), which is how AWS exports them.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA384, PBKDF2_HMAC_SHA512};
use keyferry_provider_core::SecretBytes;
use zeroize::Zeroizing;

/// More rounds than this are no key of AWS, and would keep us busy.
const MOST_ROUNDS: u32 = 1_000_000;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
/// What the names of all pseudo-random functions begin with; the last byte is which.
const HMAC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2];
/// The same of ciphers.
const AES: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1];

/// The key as it is without the passphrase; `None` where it is of another form, or the passphrase is not its.
pub fn open(sealed: &[u8], passphrase: &[u8]) -> Option<SecretBytes> {
    let mut whole = Reader(sealed).enter(SEQUENCE)?;
    let mut algorithm = whole.enter(SEQUENCE)?;
    let data = whole.take(OCTET_STRING)?;
    if algorithm.take(OID)? != PBES2 {
        return None;
    }
    let mut parameters = algorithm.enter(SEQUENCE)?;
    let mut derivation = parameters.enter(SEQUENCE)?;
    let mut scheme = parameters.enter(SEQUENCE)?;
    let (cipher, length) = cipher(scheme.take(OID)?)?;
    let vector: [u8; 16] = scheme.take(OCTET_STRING)?.try_into().ok()?;
    let key = derive(&mut derivation, passphrase, length)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(cipher, &key).ok()?).ok()?;
    let mut buffer = Zeroizing::new(data.to_vec());
    let plain = key.decrypt(&mut buffer, DecryptionContext::Iv128(FixedLength::from(vector))).ok()?;
    // A wrong passphrase can look right by chance; a key is a sequence.
    (plain.first() == Some(&SEQUENCE)).then(|| SecretBytes::new(plain.to_vec()))
}

fn cipher(name: &[u8]) -> Option<(&'static Algorithm, usize)> {
    match name.strip_prefix(AES)? {
        [2] => Some((&AES_128, 16)),
        [22] => Some((&AES_192, 24)),
        [42] => Some((&AES_256, 32)),
        _ => None,
    }
}

fn derive(derivation: &mut Reader<'_>, passphrase: &[u8], length: usize) -> Option<Zeroizing<Vec<u8>>> {
    if derivation.take(OID)? != PBKDF2 {
        return None;
    }
    let mut parameters = derivation.enter(SEQUENCE)?;
    let salt = parameters.take(OCTET_STRING)?;
    let rounds = parameters.take(INTEGER)?;
    let rounds = rounds.iter().try_fold(0u32, |all, byte| all.checked_mul(256)?.checked_add(u32::from(*byte)))?;
    let rounds = NonZeroU32::new(rounds).filter(|rounds| rounds.get() <= MOST_ROUNDS)?;
    // The length of the key, which the cipher tells already.
    _ = parameters.take(INTEGER);
    let function = match parameters.enter(SEQUENCE) {
        None => PBKDF2_HMAC_SHA1,
        Some(mut function) => match function.take(OID)?.strip_prefix(HMAC)? {
            [7] => PBKDF2_HMAC_SHA1,
            [9] => PBKDF2_HMAC_SHA256,
            [10] => PBKDF2_HMAC_SHA384,
            [11] => PBKDF2_HMAC_SHA512,
            _ => return None,
        },
    };
    let mut key = Zeroizing::new(vec![0; length]);
    pbkdf2::derive(function, rounds, salt, passphrase, &mut key);
    Some(key)
}

/// Reads DER element by element.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The contents of the next element, where it is one of this kind; else it stays the next.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (length, rest) = match *length {
            short @ 0..=0x7f => (usize::from(short), rest),
            long @ 0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                (digits.iter().fold(0, |all, digit| all << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        if *first != tag {
            return None;
        }
        self.0 = rest;
        Some(contents)
    }

    fn enter(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pem::blocks;

    /// A key of an elliptic curve under "passphrase", and the same without.
    const SEALED: &str = include_str!("../testdata/sealed.pem");
    const OPEN: &str = include_str!("../testdata/open.pem");

    #[test]
    fn a_key_that_openssl_sealed() {
        let sealed = blocks(SEALED).unwrap().remove(0);
        let open_one = blocks(OPEN).unwrap().remove(0);
        assert_eq!((sealed.label, open_one.label), ("ENCRYPTED PRIVATE KEY", "PRIVATE KEY"));
        assert_eq!(open(sealed.der.expose(), b"passphrase"), Some(open_one.der.clone()));
        for wrong in [&b""[..], b"Passphrase", b"passphrase "] {
            assert_eq!(open(sealed.der.expose(), wrong), None);
        }
        assert_eq!(open(open_one.der.expose(), b"passphrase"), None);
    }

    #[test]
    fn what_is_cut_or_changed_is_no_key() {
        let sealed = blocks(SEALED).unwrap().remove(0).der;
        for length in 0..sealed.len() {
            assert_eq!(open(&sealed.expose()[..length], b"passphrase"), None);
        }
        let mut deep = vec![0x84, 0xff, 0xff, 0xff, 0xff];
        deep.insert(0, SEQUENCE);
        assert_eq!(open(&deep, b"passphrase"), None);
    }
}
