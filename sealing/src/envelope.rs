//! One value: a key of its own by RSA-OAEP (SHA-256), which the scope is bound to, and the value by AES-256-GCM.
//!
//! `length of the first part, 2 bytes` `RSA-OAEP of 32 bytes` `AES-256-GCM, nonce zero since no key seals twice`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand::fill;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey};
use keyferry_limits::PRIVATE_KEY_TRIES;
use keyferry_provider_core::{Blame, Error, ErrorKind, Scope, SecretBytes};
use zeroize::Zeroizing;

use crate::keys::{PublicKey, SealingKeys};

/// Bytes of the key of a value.
const SESSION: usize = 32;

/// How often private keys were used for one who asks, and which fitted last: that one is tried first.
#[derive(Clone, Debug, Default)]
pub struct Tries {
    made: usize,
    fitted: usize,
}

/// Seals a value for `scope`.
pub fn seal(key: &PublicKey, scope: &Scope, plain: &[u8]) -> Result<Vec<u8>, Error> {
    let failed = || Error::invalid("it could not be sealed, which is a fault of keyferry");
    let mut session = Zeroizing::new([0; SESSION]);
    fill(&mut *session).map_err(|_| failed())?;
    let mut first = vec![0; key.key.ciphertext_size()];
    let first = key.key.encrypt(&OAEP_SHA256_MGF1SHA256, &*session, &mut first, Some(&scope.label()));
    let first = first.map_err(|_| failed())?;
    let length = u16::try_from(first.len()).map_err(|_| failed())?;
    let mut out = length.to_be_bytes().to_vec();
    out.extend_from_slice(first);
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*session).map_err(|_| failed())?);
    let start = out.len();
    // What the value is written into is of its final size: it is not copied, and becomes the ciphertext.
    out.reserve_exact(plain.len() + AES_256_GCM.tag_len());
    out.extend_from_slice(plain);
    let tag = cipher.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut out[start..]).map_err(|_| failed())?;
    out.extend_from_slice(tag.as_ref());
    Ok(out)
}

/// Opens a value that was sealed for `scope`, by whichever key fits.
///
/// # Errors
/// `Malformed` where it was changed or cut off, `Denied` where no key fits it and this scope.
pub fn open(keys: &SealingKeys, scope: &Scope, sealed: &[u8], tries: &mut Tries) -> Result<SecretBytes, Error> {
    let (label, all) = (scope.label(), keys.all());
    let order = std::iter::once(tries.fitted).chain((0..all.len()).filter(|n| *n != tries.fitted));
    for n in order.collect::<Vec<_>>() {
        let Some(key) = all.get(n) else { continue };
        if tries.made >= PRIVATE_KEY_TRIES.size() {
            return Err(Error::limit(&PRIVATE_KEY_TRIES).with_blame(Blame::Store));
        }
        tries.made += 1;
        match open_with(&key.private, sealed, &label) {
            Ok(value) => {
                tries.fitted = n;
                return Ok(value);
            }
            Err(Misfit::Key) => {}
            Err(Misfit::Value) => return Err(damaged()),
        }
    }
    if split(sealed).is_none() {
        return Err(damaged());
    }
    Err(Error::new(
        ErrorKind::Denied,
        format!("none of the {} sealing keys opens it for {scope}", all.len()),
    )
    .with_blame(Blame::Store)
    .with_hint("it was sealed for another name, namespace or scope, or with a key that is not here: seal it anew with the current certificate"))
}

fn damaged() -> Error {
    Error::new(
        ErrorKind::Malformed,
        "what is sealed was changed or cut off: take it from where it was sealed once more",
    )
}

/// What does not fit.
pub(crate) enum Misfit {
    /// The private key, or the label.
    Key,
    /// What was sealed with it.
    Value,
}

/// What the private key opens, and the rest.
fn split(sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = sealed.split_first_chunk::<2>()?;
    let (first, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    (!first.is_empty() && rest.len() >= AES_256_GCM.tag_len()).then_some((first, rest))
}

pub(crate) fn open_with(key: &OaepPrivateDecryptingKey, sealed: &[u8], label: &[u8]) -> Result<SecretBytes, Misfit> {
    let (first, rest) = split(sealed).ok_or(Misfit::Key)?;
    if first.len() != key.key_size_bytes() {
        return Err(Misfit::Key);
    }
    let mut session = Zeroizing::new(vec![0; key.min_output_size()]);
    let session = key.decrypt(&OAEP_SHA256_MGF1SHA256, first, &mut session, Some(label)).map_err(|_| Misfit::Key)?;
    let cipher = UnboundKey::new(&AES_256_GCM, session).map_err(|_| Misfit::Value)?;
    let mut value = Zeroizing::new(rest.to_vec());
    let plain = LessSafeKey::new(cipher).open_in_place(nonce(), Aad::empty(), &mut value).map_err(|_| Misfit::Value)?;
    let length = plain.len();
    value.truncate(length);
    Ok(SecretBytes::new(std::mem::take(&mut *value)))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
pub(crate) mod tests;
