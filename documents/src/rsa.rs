//! RSA keys of SSH, as age uses them: written after its specification. What deciphers is aws-lc, which takes the same time whatever it
//! deciphers; the feature of age's library would bring a crate along of which that is not so.

use std::collections::HashSet;

use age::secrecy::ExposeSecret as _;
use age::{DecryptError, EncryptError};
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use keyferry_provider_core::SecretBuf;
use zeroize::Zeroizing;

use crate::ssh::{Parts, tag_of};

/// What a stanza for such a key is called.
pub const TAG: &str = "ssh-rsa";

const LABEL: &[u8] = b"age-encryption.org/v1/ssh-rsa";

/// The longest number that is read, in bytes: no key that is taken has a longer one.
const LONGEST: usize = 1025;

const NOT_TAKEN: &str = "the RSA key of SSH is not whole, or not of 2048 to 8192 bits: use one of \
                         `ssh-keygen -t ed25519`, or of `age-keygen`";

/// A private key.
pub struct Identity {
    tag: String,
    key: OaepPrivateDecryptingKey,
}

/// A public key.
pub struct Recipient {
    tag: String,
    key: OaepPublicEncryptingKey,
}

impl Identity {
    /// From what stands behind the kind in a private key of SSH.
    pub fn read(public: &[u8], private: &mut Parts<'_>) -> Result<Self, &'static str> {
        let mut numbers = [&[][..]; 6];
        for number in &mut numbers {
            *number = trimmed(private.next().filter(|number| number.len() <= LONGEST).ok_or(NOT_TAKEN)?);
        }
        let der = private_der(numbers).ok_or(NOT_TAKEN)?;
        let key = PrivateDecryptingKey::from_pkcs8(der.expose()).map_err(|_| NOT_TAKEN)?;
        let key = OaepPrivateDecryptingKey::new(key).map_err(|_| NOT_TAKEN)?;
        Ok(Self { tag: tag_of(public), key })
    }
}

impl Recipient {
    /// From a public key as SSH writes it.
    pub fn read(public: &[u8]) -> Result<Self, &'static str> {
        let mut parts = Parts::new(public);
        let (_kind, e, n) = (parts.next(), parts.next(), parts.next());
        let (e, n) = e.zip(n).filter(|(e, n)| e.len() <= LONGEST && n.len() <= LONGEST).ok_or(NOT_TAKEN)?;
        let key = PublicEncryptingKey::from_der(&public_der(trimmed(n), trimmed(e))).map_err(|_| NOT_TAKEN)?;
        let key = OaepPublicEncryptingKey::new(key).map_err(|_| NOT_TAKEN)?;
        Ok(Self { tag: tag_of(public), key })
    }
}

impl age::Identity for Identity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if stanza.tag != TAG || stanza.args != [self.tag.as_str()] {
            return None;
        }
        let mut plain = Zeroizing::new(vec![0; self.key.min_output_size()]);
        let plain = self.key.decrypt(&OAEP_SHA256_MGF1SHA256, &stanza.body, &mut plain, Some(LABEL));
        Some(match plain {
            Ok(plain) if plain.len() == FILE_KEY_BYTES => Ok(FileKey::init_with_mut(|key| key.copy_from_slice(plain))),
            _ => Err(DecryptError::DecryptionFailed),
        })
    }
}

impl age::Recipient for Recipient {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let mut body = vec![0; self.key.ciphertext_size()];
        let sealed = self.key.encrypt(&OAEP_SHA256_MGF1SHA256, file_key.expose_secret(), &mut body, Some(LABEL));
        let body = sealed.map_err(|_| std::io::Error::other("RSA does not encrypt"))?.to_vec();
        Ok((vec![Stanza { tag: TAG.to_owned(), args: vec![self.tag.clone()], body }], HashSet::new()))
    }
}

/// A number without the zeros that it begins with.
fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The algorithm's name in DER: `rsaEncryption`, without parameters.
const ALGORITHM: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const BYTES: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// Appends a part in DER.
fn put(out: &mut SecretBuf, tag: u8, content: &[u8]) {
    out.push(tag);
    let length = content.len().to_be_bytes();
    match content.len() {
        short @ 0..128 => out.push(short as u8),
        _ => {
            let length = trimmed(&length);
            out.push(0x80 | length.len() as u8);
            out.extend(length);
        }
    }
    out.extend(content);
}

/// Appends a number, which begins with a zero where it would be taken for a negative one.
fn put_number(out: &mut SecretBuf, number: &[u8]) {
    let mut positive = SecretBuf::with_capacity(number.len() + 1);
    if number.first().is_none_or(|first| first & 0x80 != 0) {
        positive.push(0);
    }
    positive.extend(number);
    put(out, INTEGER, positive.expose());
}

/// `SubjectPublicKeyInfo`.
fn public_der(n: &[u8], e: &[u8]) -> Vec<u8> {
    let (mut numbers, mut bits, mut content, mut out) = Default::default();
    put_number(&mut numbers, n);
    put_number(&mut numbers, e);
    SecretBuf::push(&mut bits, 0);
    put(&mut bits, SEQUENCE, SecretBuf::expose(&numbers));
    SecretBuf::extend(&mut content, ALGORITHM);
    put(&mut content, BITS, bits.expose());
    put(&mut out, SEQUENCE, content.expose());
    SecretBuf::expose(&out).to_vec()
}

/// `PrivateKeyInfo` of the numbers that SSH keeps: n, e, d, the coefficient, p and q.
fn private_der([n, e, d, coefficient, p, q]: [&[u8]; 6]) -> Option<SecretBuf> {
    let (of_p, of_q) = (remainder(d, p)?, remainder(d, q)?);
    let (mut numbers, mut key, mut content, mut out): (SecretBuf, SecretBuf, SecretBuf, SecretBuf) = Default::default();
    for number in [&[], n, e, d, p, q, &of_p, &of_q, coefficient] {
        put_number(&mut numbers, number);
    }
    put(&mut key, SEQUENCE, numbers.expose());
    put_number(&mut content, &[]);
    content.extend(ALGORITHM);
    put(&mut content, BYTES, key.expose());
    put(&mut out, SEQUENCE, content.expose());
    Some(out)
}

/// What is left of `number` when it is divided by `prime - 1`; `None` where that is no prime. Bit by bit, so that no copy is left behind.
fn remainder(number: &[u8], prime: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // A prime is odd: one less is without its last bit.
    let (last, most) = prime.split_last().filter(|(last, most)| *last & 1 == 1 && !most.is_empty())?;
    let mut divisor = Zeroizing::new(vec![0]);
    divisor.extend_from_slice(most);
    divisor.push(last ^ 1);
    let mut rest = Zeroizing::new(vec![0_u8; divisor.len()]);
    for bit in number.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        let mut carry = bit;
        for byte in rest.iter_mut().rev() {
            (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
        }
        if *rest >= *divisor {
            let mut borrow = false;
            for (byte, less) in rest.iter_mut().zip(divisor.iter()).rev() {
                let (once, first) = byte.overflowing_sub(*less);
                let (twice, second) = once.overflowing_sub(u8::from(borrow));
                (*byte, borrow) = (twice, first || second);
            }
        }
    }
    let zeros = rest.iter().take_while(|byte| **byte == 0).count();
    rest.drain(..zeros);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_are_those_of_division() {
        for (number, prime) in
            [(0x1234_5678_9abc_def0_u64, 0xfff1_u64), (5, 0x101), (0x100, 0x101), (u64::MAX, 0xffff_fffb)]
        {
            let (number_bytes, prime_bytes) = (number.to_be_bytes(), prime.to_be_bytes());
            let found = remainder(&number_bytes, trimmed(&prime_bytes)).unwrap();
            let expected = (number % (prime - 1)).to_be_bytes();
            assert_eq!(*found, trimmed(&expected), "{number} {prime}");
        }
        assert!(remainder(&[1], &[4]).is_none() && remainder(&[1], &[]).is_none());
    }

    #[test]
    fn lengths_are_as_der_has_them() {
        for (length, head) in
            [(5, vec![4, 5]), (127, vec![4, 127]), (128, vec![4, 0x81, 128]), (300, vec![4, 0x82, 1, 44])]
        {
            let mut out = SecretBuf::default();
            put(&mut out, BYTES, &vec![7; length]);
            assert_eq!(out.expose()[..head.len()], head, "{length}");
            assert_eq!(out.len(), head.len() + length);
        }
    }
}
