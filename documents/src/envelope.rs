//! Files of age: opening them, and sealing.

use std::io::{Read as _, Write as _};

use age::DecryptError;
use age::armor::{ArmoredReader, ArmoredWriter, Format};
use keyferry_limits::{DOCUMENT_KEYS, DOCUMENT_SIZE, UNSEAL_TRIES};
use keyferry_provider_core::{Blame, Error, ErrorKind, SecretBuf, SecretBytes};
use zeroize::Zeroizing;

use crate::format::malformed;
use crate::keys::{Identities, Recipients};

/// What every file of age begins with.
const MAGIC: &[u8] = b"age-encryption.org/";
/// And what it begins with as text.
pub const ARMOR: &str = "-----BEGIN AGE ENCRYPTED FILE-----";

/// Whether this is a file of age as a whole.
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) || bytes.trim_ascii_start().starts_with(ARMOR.as_bytes())
}

/// How often a key may still be held against a lock. Each try costs some fifty microseconds, and a document can ask for as many
/// as it has values and recipients.
#[derive(Debug)]
pub struct Tries(u64);

impl Default for Tries {
    fn default() -> Self {
        Self(UNSEAL_TRIES.most)
    }
}

impl Tries {
    pub(crate) fn spend(&mut self, tries: u64) -> Result<(), Error> {
        self.0 = self.0.checked_sub(tries).ok_or_else(|| Error::limit(&UNSEAL_TRIES).with_blame(Blame::Store))?;
        Ok(())
    }
}

/// Opens a file of age, armored or not.
///
/// # Errors
/// `Denied` where none of the identities opens it, `Malformed` where it is damaged, cut off or changed.
pub fn open(sealed: &[u8], identities: &Identities, tries: &mut Tries) -> Result<SecretBytes, Error> {
    let mut bytes = Vec::new();
    let most = DOCUMENT_SIZE.most * 2;
    let read = ArmoredReader::new(sealed.trim_ascii_start()).take(most).read_to_end(&mut bytes);
    read.map_err(|_| damaged())?;
    let keys = stanzas(&bytes)?;
    if keys.all > DOCUMENT_KEYS.size() {
        return Err(Error::limit(&DOCUMENT_KEYS).with_blame(Blame::Store));
    }
    tries.spend((keys.all * identities.len() + keys.of_rsa * COST_OF_RSA) as u64)?;
    let opened = age::Decryptor::new_buffered(&*bytes).and_then(|file| file.decrypt(identities.each()));
    let mut opened = opened.map_err(|error| refusal(&error, identities))?;
    let mut out = SecretBuf::with_capacity(bytes.len());
    let mut part = Zeroizing::new(vec![0; 64 << 10]);
    loop {
        match opened.read(&mut part) {
            Ok(0) => return Ok(out.into()),
            Ok(length) => out.extend(&part[..length]),
            Err(_) => return Err(damaged()),
        }
    }
}

/// What a lock of RSA costs, in tries of other keys: it is tried with the one key that it names.
const COST_OF_RSA: usize = 40;

/// How many keys a header names.
#[derive(Default)]
struct Stanzas {
    all: usize,
    of_rsa: usize,
}

/// Those of a file.
fn stanzas(file: &[u8]) -> Result<Stanzas, Error> {
    if !file.starts_with(MAGIC) {
        return Err(damaged());
    }
    let mut keys = Stanzas::default();
    for line in file.split(|byte| *byte == b'\n') {
        if line.starts_with(b"---") {
            return Ok(keys);
        }
        if line.starts_with(b"-> scrypt ") {
            let message =
                "it is encrypted with a passphrase: encrypt it for a recipient instead, since nobody types one here";
            return Err(malformed(message));
        }
        keys.all += usize::from(line.starts_with(b"-> "));
        keys.of_rsa += usize::from(line.starts_with(b"-> ssh-rsa "));
    }
    Err(damaged())
}

fn damaged() -> Error {
    malformed("it is no whole file of age: it was cut off, changed or damaged; take it anew from where it was made")
}

fn refusal(error: &DecryptError, identities: &Identities) -> Error {
    match error {
        DecryptError::NoMatchingKeys => {
            let who = if identities.len() == 1 { "the identity does" } else { "none of the identities does" };
            Error::new(ErrorKind::Denied, format!("{who} not open it: it was encrypted for other recipients"))
                .with_hint(
                    "add the identity that belongs to one of them, or encrypt it anew for the recipient of this one",
                )
        }
        _ => damaged(),
    }
}

/// Seals a value; armored, where it is to be text.
///
/// # Errors
/// `Invalid` where there are no recipients.
pub fn seal(plain: &SecretBytes, recipients: &Recipients, armored: bool) -> Result<Vec<u8>, Error> {
    let sealer = age::Encryptor::with_recipients(recipients.each())
        .map_err(|_| Error::invalid("there are no recipients that it could be sealed for together"))?;
    let written = || {
        let format = if armored { Format::AsciiArmor } else { Format::Binary };
        let mut writer = sealer.wrap_output(ArmoredWriter::wrap_output(Vec::new(), format)?)?;
        writer.write_all(plain.expose())?;
        writer.finish()?.finish()
    };
    written().map_err(|_: std::io::Error| {
        Error::new(ErrorKind::Unavailable, "no random numbers are to be had").with_blame(Blame::Keyferry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::pair;

    const CANARY: &str = "canary-7f3a";

    #[test]
    fn what_is_sealed_is_opened_by_its_identity_and_by_no_other() {
        let ((identities, recipients), (others, _)) = (pair(), pair());
        for armored in [false, true] {
            let sealed = seal(&CANARY.into(), &recipients, armored).unwrap();
            assert!(is_sealed(&sealed));
            assert_eq!(open(&sealed, &identities, &mut Tries::default()).unwrap().expose_str(), Some(CANARY));
            let error = open(&sealed, &others, &mut Tries::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert!(error.message().starts_with("the identity does not open it"), "{error}");
        }
    }

    #[test]
    fn a_file_that_was_cut_off_or_changed_gives_nothing() {
        let (identities, recipients) = pair();
        let long = SecretBytes::new(vec![b'x'; 100_000]);
        for armored in [false, true] {
            let sealed = seal(&long, &recipients, armored).unwrap();
            for cut in [0, 1, 30, 150, sealed.len() / 2, sealed.len() - 40] {
                let error = open(&sealed[..cut], &identities, &mut Tries::default()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Malformed, "{cut}: {error}");
            }
            for at in [60, 130, 300, sealed.len() / 2] {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(open(&changed, &identities, &mut Tries::default()).is_err(), "{at}");
            }
        }
        let error = open(b"age-encryption.org/v1\n-> scrypt abc 18\nx\n--- y\n", &identities, &mut Tries::default());
        assert!(error.unwrap_err().message().contains("passphrase"));
    }

    #[test]
    fn a_header_of_many_keys_costs_nothing() {
        let (identities, _) = pair();
        let header = |keys: usize| format!("age-encryption.org/v1\n{}--- x\n", "-> a b\n\n".repeat(keys));
        let error = |keys| open(header(keys).as_bytes(), &identities, &mut Tries::default()).unwrap_err();
        assert!(error(DOCUMENT_KEYS.size() + 1).message().contains("limit document-keys"));
        assert!(!error(DOCUMENT_KEYS.size()).message().contains("limit"));
        let mut tries = Tries(1);
        let sealed = seal(&CANARY.into(), &pair().1, false).unwrap();
        let _ = open(&sealed, &identities, &mut tries);
        assert!(open(&sealed, &identities, &mut tries).unwrap_err().message().contains("limit unseal-tries"));
    }
}
