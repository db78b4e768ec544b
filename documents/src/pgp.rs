//! Keys of PGP, which files of SOPS may be encrypted with: behind the cargo feature `pgp`, since what reads them is as large as
//! a store, and deciphers RSA in a time that tells something of the key.

use keyferry_provider_core::{Error, SecretBytes};

use crate::envelope::Tries;

/// What a file of private keys begins with.
pub const BEGIN: &str = "-----BEGIN PGP PRIVATE KEY BLOCK-----";

#[cfg(not(feature = "pgp"))]
mod with {
    use keyferry_provider_core::ErrorKind;

    use super::{Error, SecretBytes, Tries};

    const ABSENT: &str = "this build of keyferry takes no keys of PGP: add a recipient of age with `sops updatekeys`, or \
                          build it with the cargo feature pgp";

    /// There are none in this build.
    #[derive(Default)]
    pub struct Keys;

    impl Keys {
        /// Adds those of a file; the error says what is wrong with it.
        pub fn add(&mut self, _: &str) -> Result<(), String> {
            Err(ABSENT.to_owned())
        }

        /// How many there are.
        pub fn len(&self) -> usize {
            0
        }

        /// What a message holds.
        pub fn open(&self, _: &[u8], _: &mut Tries) -> Result<SecretBytes, Error> {
            Err(Error::new(ErrorKind::Denied, ABSENT))
        }
    }
}

#[cfg(feature = "pgp")]
mod with {
    use std::io::Read as _;

    use keyferry_provider_core::{ErrorKind, SecretBuf};
    use pgp::composed::{DecryptionOptions, Message, SignedSecretKey, TheRing};
    use pgp::types::Password;
    use pgp::{composed::Deserializable as _, errors::Error as Cause};
    use zeroize::Zeroizing;

    use super::{Error, SecretBytes, Tries};
    use crate::format::malformed;

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
        /// Adds those of a file; the error says what is wrong with it.
        pub fn add(&mut self, text: &str) -> Result<(), String> {
            let broken = || "the private key of PGP in it is not whole".to_owned();
            let (keys, _) = SignedSecretKey::from_armor_many(text.trim_start().as_bytes()).map_err(|_| broken())?;
            for key in keys {
                let key = key.map_err(|_| broken())?;
                let subkeys = key.secret_subkeys.iter();
                if key.primary_key.secret_params().is_encrypted()
                    || subkeys.into_iter().any(|subkey| subkey.key.secret_params().is_encrypted())
                {
                    return Err(
                        "the private key of PGP in it has a passphrase: take it off (gpg --edit-key, passwd) in \
                                the copy that is kept here"
                            .to_owned(),
                    );
                }
                self.0.push(key);
            }
            Ok(())
        }

        /// How many there are.
        pub fn len(&self) -> usize {
            self.0.len()
        }

        /// What a message holds.
        pub fn open(&self, armored: &[u8], tries: &mut Tries) -> Result<SecretBytes, Error> {
            let other = || Error::new(ErrorKind::Denied, "no key of PGP of the store belongs to it");
            let damaged = || malformed("what it holds is no whole message of PGP: it was cut off or changed");
            if self.0.is_empty() {
                return Err(other());
            }
            if armored.len() > LARGEST {
                return Err(malformed("a message of PGP for a data key is longer than one that sops makes"));
            }
            let keys: usize = self.0.iter().map(|key| 1 + key.secret_subkeys.len()).sum();
            tries.spend(COST * keys as u64)?;
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
}

pub(crate) use with::Keys;

#[cfg(test)]
mod tests {
    #[cfg(feature = "pgp")]
    use keyferry_provider_core::ErrorKind;

    use super::*;
    use crate::Identities;

    const KEY: &str = include_str!("../testdata/pgp.key");

    #[cfg(not(feature = "pgp"))]
    #[test]
    fn a_build_without_it_names_the_feature() {
        let error = Identities::default().add(&KEY.into()).unwrap_err();
        assert!(error.message().contains("cargo feature pgp"), "{error}");
        let error = Identities::default().open_pgp(b"x", &mut Tries::default()).unwrap_err();
        assert!(error.message().contains("cargo feature pgp"), "{error}");
    }

    #[cfg(feature = "pgp")]
    #[test]
    fn a_message_for_many_is_not_tried() {
        let mut identities = Identities::default();
        identities.add(&KEY.into()).unwrap();
        let error = identities.open_pgp(&[b'x'; 9 << 10], &mut Tries::default()).unwrap_err();
        assert!(error.kind() == ErrorKind::Malformed && error.message().contains("longer than"), "{error}");
    }

    #[cfg(feature = "pgp")]
    #[test]
    fn what_gpg_encrypted_opens_with_keys_of_both_kinds() {
        let mut identities = Identities::default();
        identities.add(&KEY.into()).unwrap();
        assert_eq!(identities.len(), 2);
        let messages = [include_str!("../testdata/pgp-curve.asc"), include_str!("../testdata/pgp-rsa.asc")];
        for message in messages {
            let open =
                |identities: &Identities, text: &str| identities.open_pgp(text.as_bytes(), &mut Tries::default());
            assert!(open(&identities, message).unwrap().expose() == [b'k'; 32]);
            assert_eq!(open(&Identities::default(), message).unwrap_err().kind(), ErrorKind::Denied);
            let lines: Vec<&str> = message.lines().collect();
            let cut = lines[..lines.len() - 4].join("\n");
            assert_eq!(open(&identities, &cut).unwrap_err().kind(), ErrorKind::Malformed);
        }
        let locked = include_str!("../testdata/pgp-locked.key");
        let error = identities.add(&locked.into()).unwrap_err();
        assert!(error.message().contains("has a passphrase"), "{error}");
        assert!(identities.add(&KEY[..KEY.len() / 2].into()).is_err());
    }
}
