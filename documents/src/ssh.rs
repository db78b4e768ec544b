//! Keys of SSH, as age uses them: written after its specification of SSH recipients. Those of Ed25519 are here, those of RSA beside it.

use std::collections::HashSet;

use age::secrecy::ExposeSecret as _;
use age::{DecryptError, EncryptError};
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use age_core::primitives::{aead_decrypt, aead_encrypt, hkdf};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::montgomery::MontgomeryPoint;
use keyferry_provider_core::SecretBuf;
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::Zeroizing;

use crate::rsa;

const LABEL: &[u8] = b"age-encryption.org/v1/ssh-ed25519";
const TAG: &str = "ssh-ed25519";
const BROKEN_PUBLIC: &str = "a public key of SSH is not whole";

/// A private key.
pub struct Identity {
    /// The public key as SSH writes it.
    public: Vec<u8>,
    /// The scalar that belongs to it.
    scalar: Zeroizing<[u8; 32]>,
}

/// A public key.
pub struct Recipient {
    public: Vec<u8>,
    point: MontgomeryPoint,
}

/// The parts of a text that SSH wrote, each after its length.
pub struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    /// Those of this.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(part)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// The next.
    pub fn next(&mut self) -> Option<&'a [u8]> {
        let length = self.number()? as usize;
        self.take(length)
    }
}

/// A private key from the file of `ssh-keygen`.
pub fn identity(text: &str) -> Result<Box<dyn age::Identity + Send + Sync>, &'static str> {
    const BROKEN: &str = "the private key of SSH in it is not whole";
    let mut encoded = SecretBuf::with_capacity(text.len());
    for line in text.trim().lines().map(str::trim).filter(|line| !line.starts_with("-----")) {
        encoded.extend(line.as_bytes());
    }
    let bytes = Zeroizing::new(STANDARD.decode(encoded.expose()).map_err(|_| BROKEN)?);
    let mut parts = Parts(bytes.strip_prefix(b"openssh-key-v1\0").ok_or(BROKEN)?);
    let mut next = || parts.next().ok_or(BROKEN);
    let (cipher, _kdf, _options) = (next()?, next()?, next()?);
    if parts.number() != Some(1) {
        return Err(BROKEN);
    }
    let public = parts.next().ok_or(BROKEN)?;
    if cipher != b"none" {
        return Err(
            "the private key of SSH in it has a passphrase: take it off (ssh-keygen -p) in the copy that is kept here",
        );
    }
    let kind = kind_of(public)?;
    let mut private = Parts(parts.next().ok_or(BROKEN)?);
    // The same number twice, the kind and the public key once more, and the seed before the public key.
    private.take(8).ok_or(BROKEN)?;
    let _kind = private.next().ok_or(BROKEN)?;
    if kind == Kind::Rsa {
        return Ok(Box::new(rsa::Identity::read(public, &mut private)?));
    }
    let _public = private.next().ok_or(BROKEN)?;
    let seed = private.next().filter(|key| key.len() == 64).ok_or(BROKEN)?;
    let mut scalar = Zeroizing::new([0; 32]);
    let digest = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(&seed[..32])));
    scalar.copy_from_slice(&digest[..32]);
    Ok(Box::new(Identity { public: public.to_vec(), scalar }))
}

/// A public key from a line of `id_ed25519.pub`, `id_rsa.pub` or `authorized_keys`.
pub fn recipient(line: &str) -> Result<Box<dyn age::Recipient + Send + Sync>, &'static str> {
    let encoded = line.split_whitespace().nth(1).ok_or(BROKEN_PUBLIC)?;
    let public = STANDARD.decode(encoded).map_err(|_| BROKEN_PUBLIC)?;
    let Kind::Ed25519(point) = kind_of(&public)? else { return Ok(Box::new(rsa::Recipient::read(&public)?)) };
    let point = CompressedEdwardsY(point).decompress().ok_or(BROKEN_PUBLIC)?.to_montgomery();
    Ok(Box::new(Recipient { public, point }))
}

/// The kinds of keys that age takes.
#[derive(PartialEq, Eq)]
enum Kind {
    /// With the key itself.
    Ed25519([u8; 32]),
    Rsa,
}

fn kind_of(public: &[u8]) -> Result<Kind, &'static str> {
    let mut parts = Parts(public);
    match (parts.next(), parts.next()) {
        (Some(b"ssh-ed25519"), Some(key)) => key.try_into().map(Kind::Ed25519).map_err(|_| BROKEN_PUBLIC),
        (Some(b"ssh-rsa"), Some(_)) => Ok(Kind::Rsa),
        _ => Err("a key of SSH is not of a kind that age takes: use one of `ssh-keygen -t ed25519`"),
    }
}

/// How a stanza names a public key.
pub fn tag_of(public: &[u8]) -> String {
    STANDARD_NO_PAD.encode(&Sha256::digest(public)[..4])
}

/// The key that a file key is wrapped with.
fn wrapping(
    public: &[u8],
    shared: MontgomeryPoint,
    ephemeral: &MontgomeryPoint,
    own: &MontgomeryPoint,
) -> Zeroizing<[u8; 32]> {
    let tweak = Zeroizing::new(hkdf(public, LABEL, &[]));
    let shared = Zeroizing::new(shared.mul_clamped(*tweak).to_bytes());
    let salt = [ephemeral.to_bytes(), own.to_bytes()].concat();
    Zeroizing::new(hkdf(&salt, LABEL, &*shared))
}

impl age::Identity for Identity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        let [tag, ephemeral] = stanza.args.as_slice() else { return None };
        if stanza.tag != TAG || *tag != tag_of(&self.public) {
            return None;
        }
        let ephemeral = STANDARD_NO_PAD.decode(ephemeral).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let Some(ephemeral) = ephemeral.map(MontgomeryPoint) else { return Some(Err(DecryptError::InvalidHeader)) };
        let own = EdwardsPoint::mul_base_clamped(*self.scalar).to_montgomery();
        let key = wrapping(&self.public, ephemeral.mul_clamped(*self.scalar), &ephemeral, &own);
        Some(aead_decrypt(&key, FILE_KEY_BYTES, &stanza.body).map_err(DecryptError::from).map(|plain| {
            let plain = Zeroizing::new(plain);
            FileKey::init_with_mut(|file_key| file_key.copy_from_slice(&plain))
        }))
    }
}

impl age::Recipient for Recipient {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let mut secret = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *secret).map_err(|_| std::io::Error::other("no random numbers"))?;
        let ephemeral = EdwardsPoint::mul_base_clamped(*secret).to_montgomery();
        let key = wrapping(&self.public, self.point.mul_clamped(*secret), &ephemeral, &self.point);
        let args = vec![tag_of(&self.public), STANDARD_NO_PAD.encode(ephemeral.to_bytes())];
        let body = aead_encrypt(&key, file_key.expose_secret());
        Ok((vec![Stanza { tag: TAG.to_owned(), args, body }], HashSet::new()))
    }
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::SecretBytes;

    use crate::{Identities, Recipients, Tries, open, seal};

    const KEY: &str = include_str!("../testdata/ssh.key");
    const PUBLIC: &str = include_str!("../testdata/ssh.key.pub");

    #[test]
    fn files_of_age_for_a_key_of_ssh_open_and_ours_do() {
        let (mut identities, mut recipients) = (Identities::default(), Recipients::default());
        identities.add(&KEY.into()).unwrap();
        recipients.add(PUBLIC).unwrap();
        let opened = |sealed: &[u8]| {
            open(sealed, &identities, &mut Tries::default()).map(|plain| plain.expose_str().unwrap().to_owned())
        };
        assert_eq!(opened(include_bytes!("../testdata/ssh.age")).as_deref(), Ok("canary-7f3a"));
        let sealed = seal(&SecretBytes::from("ours"), &recipients, true).unwrap();
        assert_eq!(opened(&sealed).as_deref(), Ok("ours"));
    }

    #[test]
    fn files_of_age_for_a_key_of_rsa_open_and_ours_do() {
        let (mut identities, mut recipients) = (Identities::default(), Recipients::default());
        let key = include_str!("../testdata/rsa.key");
        identities.add(&key.into()).unwrap();
        recipients.add(include_str!("../testdata/rsa.key.pub")).unwrap();
        let open = |sealed: &[u8]| open(sealed, &identities, &mut Tries::default());
        let theirs = include_bytes!("../testdata/rsa.age");
        assert_eq!(open(theirs).unwrap().expose_str(), Some("canary-7f3a"));
        let sealed = seal(&SecretBytes::from("ours"), &recipients, true).unwrap();
        assert_eq!(open(&sealed).unwrap().expose_str(), Some("ours"));
        // A lock that was changed, and a key that was: neither is taken for another's.
        let at = theirs.windows(4).position(|part| part == b"\n---").unwrap() - 10;
        let mut changed = theirs.to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(open(&changed).is_err());
        let lines: Vec<&str> = key.lines().collect();
        let cut = [&lines[..10], &lines[lines.len() - 1..]].concat().join("\n");
        assert!(Identities::default().add(&cut.as_str().into()).is_err());
    }

    #[test]
    fn keys_of_other_kinds_are_named() {
        let mut recipients = Recipients::default();
        let rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDE7nIXTGNu x";
        assert!(recipients.add(rsa).unwrap_err().message().contains("RSA"));
        assert!(recipients.add("ssh-dss AAAA").unwrap_err().message().contains("ed25519"));
        let cut = KEY.replace("b3BlbnNzaC1rZXktdjEAAAAABG5vbmU", "b3BlbnNzaC1rZXktdjEAAAAABG5vb25");
        assert!(Identities::default().add(&cut.as_str().into()).is_err());
    }
}
