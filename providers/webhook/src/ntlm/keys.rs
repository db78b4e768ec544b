//! What is made of the password: the key that stands for it, and responses to challenges.

use hmac::digest::FixedOutput as _;
use hmac::{Hmac, Mac as _};
use keyferry_provider_core::{SecretBuf, SecretBytes};
use md4::{Digest, Md4};
use md5::Md5;

/// What answers a challenge.
pub struct Responses {
    /// The second version's.
    pub response: SecretBytes,
    /// The second version's in the form of the oldest, for servers that send no time.
    pub older: SecretBytes,
    /// The key of the session that begins.
    pub session: SecretBytes,
}

/// HMAC-MD5 of these, one after the other.
pub fn mac(key: &[u8], parts: &[&[u8]]) -> SecretBytes {
    let mut mac = Hmac::<Md5>::new_from_slice(key).expect("it takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    let mut out = vec![0; 16];
    mac.finalize_into(out.as_mut_slice().into());
    SecretBytes::new(out)
}

/// The key that stands for a password (`NTOWFv2`).
pub fn of_password(password: &str, user: &str, domain: &str) -> SecretBytes {
    let mut hash = vec![0; 16];
    let mut hashing = Md4::new();
    hashing.update(utf16(password.chars()).expose());
    Digest::finalize_into(hashing, hash.as_mut_slice().into());
    let hash = SecretBytes::new(hash);
    mac(hash.expose(), &[utf16(user.chars().map(upper)).expose(), utf16(domain.chars()).expose()])
}

/// The responses to a challenge, by a nonce and a time of ours, with what is said of the target.
pub fn respond(key: &SecretBytes, asked: [u8; 8], nonce: &[u8; 8], time: &[u8; 8], target: &[u8]) -> Responses {
    let begin: [u8; 8] = [1, 1, 0, 0, 0, 0, 0, 0];
    let own = [&begin[..], time, nonce, &[0; 4], target, &[0; 4]].concat();
    let proof = mac(key.expose(), &[&asked, &own]);
    let older = mac(key.expose(), &[&asked, nonce]);
    Responses {
        session: mac(key.expose(), &[proof.expose()]),
        response: joined(&proof, &own),
        older: joined(&older, nonce),
    }
}

fn joined(first: &SecretBytes, then: &[u8]) -> SecretBytes {
    let mut out = SecretBuf::with_capacity(first.len() + then.len());
    out.extend(first.expose());
    out.extend(then);
    out.into()
}

/// Text in UTF-16, little end first.
pub fn utf16(text: impl Iterator<Item = char> + Clone) -> SecretBytes {
    // At once, so that nothing is left behind by growing.
    let mut out = SecretBuf::with_capacity(2 * text.clone().map(char::len_utf16).sum::<usize>());
    for letter in text {
        for unit in letter.encode_utf16(&mut [0; 2]) {
            out.extend(&unit.to_le_bytes());
        }
    }
    out.into()
}

/// The capital letter, as Windows has them: always one for one, so that `ß` is its own.
fn upper(letter: char) -> char {
    let mut capital = letter.to_uppercase();
    match (capital.next(), capital.next()) {
        (Some(one), None) => one,
        _ => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capitals_are_one_for_one() {
        let capitals = |text: &str| text.chars().map(upper).collect::<String>();
        assert_eq!(capitals("ué.ß@ŝ9"), "UÉ.ß@Ŝ9");
    }

    #[test]
    fn text_is_utf16() {
        assert_eq!(utf16("aé𝄞".chars()).expose(), [0x61, 0, 0xe9, 0, 0x34, 0xd8, 0x1e, 0xdd]);
    }
}
