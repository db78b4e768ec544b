//! Keys of PGP, which files of SOPS may be encrypted with.
//!
//! A crate of its own: the workspace builds and tests it always, and a program has it only where its cargo feature `pgp`
//! says so. What reads PGP is as large as a store, and deciphers RSA in a time that tells something of the key.

#![forbid(unsafe_code)]

use std::io::Read as _;

use keyferry_provider_core::{Error, ErrorKind, SecretBuf, SecretBytes};
use pgp::composed::{DecryptionOptions, Deserializable as _, Message, SignedSecretKey, TheRing};
use pgp::errors::Error as Cause;
use pgp::types::Password;
use zeroize::Zeroizing;

/// The longest thing that is encrypted with a key: a data key has 32 bytes, a part of one a byte more.
const LONGEST: usize = 64;

/// The longest message: a data key for one recipient, armoured. One for many would be tried with each key for each of them.
const LARGEST: usize = 8 << 10;

/// What a message costs for each key, in tries of a key of age.
const COST: u64 = 40;

/// Private keys without passphrases.
#[derive(Default)]
pub struct Keys(Vec<SignedSecretKey>);

impl Keys {
    /// Adds those of a file.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let broken = || "the private key of PGP in it is not whole".to_owned();
        let (keys, _) = SignedSecretKey::from_armor_many(text.trim_start().as_bytes()).map_err(|_| broken())?;
        for key in keys {
            let key = key.map_err(|_| broken())?;
            let mut subkeys = key.secret_subkeys.iter();
            if key.primary_key.secret_params().is_encrypted()
                || subkeys.any(|subkey| subkey.key.secret_params().is_encrypted())
            {
                return Err("the private key of PGP in it has a passphrase: take it off (gpg --edit-key, passwd) in \
                            the copy that is kept here"
                    .to_owned());
            }
            self.0.push(key);
        }
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a message holds. `spend` is told what it costs, in tries of a key of age, before anything is tried.
    ///
    /// # Errors
    /// `Denied` where none of the keys opens it, `Malformed` where it is damaged or cut off, or what `spend` says.
    pub fn open(&self, armored: &[u8], spend: impl FnOnce(u64) -> Result<(), Error>) -> Result<SecretBytes, Error> {
        let other = || Error::new(ErrorKind::Denied, "no key of PGP of the store belongs to it");
        let malformed = |message| Error::new(ErrorKind::Malformed, message);
        let damaged = || malformed("what it holds is no whole message of PGP: it was cut off or changed");
        if self.is_empty() {
            return Err(other());
        }
        if armored.len() > LARGEST {
            return Err(malformed("a message of PGP for a data key is longer than one that sops makes"));
        }
        let keys: usize = self.0.iter().map(|key| 1 + key.secret_subkeys.len()).sum();
        spend(COST * keys as u64)?;
        let (message, _) = Message::from_armor(armored).map_err(|_| damaged())?;
        let none = Password::empty();
        let ring = TheRing {
            secret_keys: self.0.iter().collect(),
            key_passwords: vec![&none],
            decrypt_options: DecryptionOptions::new().enable_gnupg_aead(),
            ..TheRing::default()
        };
        let (message, _) = message.decrypt_the_ring(ring, true).map_err(|error| match error {
            Cause::MissingKey => other(),
            _ => damaged(),
        })?;
        let message = if message.is_compressed() { message.decompress().map_err(|_| damaged())? } else { message };
        let mut plain = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
        message.take(LONGEST as u64 + 1).read_to_end(&mut plain).map_err(|_| damaged())?;
        if plain.len() > LONGEST {
            return Err(damaged());
        }
        let mut out = SecretBuf::with_capacity(plain.len());
        out.extend(&plain);
        Ok(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = include_str!("../../testdata/pgp.key");

    fn keys() -> Keys {
        let mut keys = Keys::default();
        keys.add(KEY).unwrap();
        keys
    }

    fn kind(opened: Result<SecretBytes, Error>) -> ErrorKind {
        opened.unwrap_err().kind()
    }

    #[test]
    fn a_message_for_many_is_not_tried() {
        let error = keys().open(&[b'x'; 9 << 10], |_| panic!("it is not tried")).unwrap_err();
        assert!(error.kind() == ErrorKind::Malformed && error.message().contains("longer than"), "{error}");
    }

    #[test]
    fn what_gpg_encrypted_opens_with_keys_of_both_kinds() {
        let keys = keys();
        assert_eq!(keys.len(), 2);
        let messages = [include_str!("../../testdata/pgp-curve.asc"), include_str!("../../testdata/pgp-rsa.asc")];
        for message in messages {
            let mut spent = 0;
            let opened = keys.open(message.as_bytes(), |cost| {
                spent += cost;
                Ok(())
            });
            assert!(opened.unwrap().expose() == [b'k'; 32]);
            assert_eq!(spent, 4 * COST, "two keys, each with one below it");
            assert_eq!(kind(Keys::default().open(message.as_bytes(), |_| Ok(()))), ErrorKind::Denied);
            let too_dear = Error::new(ErrorKind::Throttled, "too dear");
            assert_eq!(kind(keys.open(message.as_bytes(), |_| Err(too_dear))), ErrorKind::Throttled);
            let lines: Vec<&str> = message.lines().collect();
            let cut = lines[..lines.len() - 4].join("\n");
            assert_eq!(kind(keys.open(cut.as_bytes(), |_| Ok(()))), ErrorKind::Malformed);
        }
    }

    #[test]
    fn a_key_with_a_passphrase_or_one_that_was_cut_off_is_refused() {
        let mut keys = Keys::default();
        let error = keys.add(include_str!("../../testdata/pgp-locked.key")).unwrap_err();
        assert!(error.contains("has a passphrase"), "{error}");
        assert!(keys.add(&KEY[..KEY.len() / 2]).is_err() && keys.is_empty());
    }
}
