//! Keys of PGP, which files of SOPS may be encrypted with: those of `documents/pgp` where the cargo feature `pgp` is on, and
//! elsewhere an error that names it.

/// What a file of private keys begins with.
pub const BEGIN: &str = "-----BEGIN PGP PRIVATE KEY BLOCK-----";

#[cfg(feature = "pgp")]
pub(crate) use keyferry_documents_pgp::Keys;

#[cfg(not(feature = "pgp"))]
pub(crate) use absent::Keys;

#[cfg(not(feature = "pgp"))]
mod absent {
    use keyferry_provider_core::{Error, ErrorKind, SecretBytes};

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
        pub fn open(&self, _: &[u8], _: impl FnOnce(u64) -> Result<(), Error>) -> Result<SecretBytes, Error> {
            Err(Error::new(ErrorKind::Denied, ABSENT))
        }
    }
}

#[cfg(all(test, not(feature = "pgp")))]
mod tests {
    use crate::{Identities, Tries};

    #[test]
    fn a_build_without_it_names_the_feature() {
        let key = include_str!("../testdata/pgp.key");
        let error = Identities::default().add(&key.into()).unwrap_err();
        assert!(error.message().contains("cargo feature pgp"), "{error}");
        let error = Identities::default().open_pgp(b"x", &mut Tries::default()).unwrap_err();
        assert!(error.message().contains("cargo feature pgp"), "{error}");
    }
}
