//! Who may open a document: identities, which open, and recipients, for whom is sealed.

use std::fmt;
use std::str::FromStr as _;

use age::secrecy::ExposeSecret as _;
use keyferry_limits::DOCUMENT_KEYS;
use keyferry_provider_core::{Blame, Error, SecretBytes};

use crate::envelope::Tries;
use crate::{pgp, ssh};

/// Private keys, each of age, of SSH or of PGP.
#[derive(Default)]
pub struct Identities {
    of_age: Vec<Box<dyn age::Identity + Send + Sync>>,
    of_pgp: pgp::Keys,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} identities", self.len())
    }
}

const SSH_BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";

/// Keys that are there, and that we can't use: by what a line begins with, and what to do.
const OTHER_KEYS: [(&str, &str); 4] = [
    (
        "AGE-SECRET-KEY-PQ-",
        "it has a post-quantum key of age, which is not supported yet: use one of `age-keygen` without -pq",
    ),
    ("AGE-PLUGIN-", "it has a key of a plugin of age, which is not run: use one of `age-keygen`"),
    ("-----BEGIN AGE ENCRYPTED FILE-----", "it is encrypted with a passphrase: decrypt it before it is kept here"),
    (
        "-----BEGIN",
        "it is a private key that can't be used here: use one of `age-keygen`, or of `ssh-keygen -t ed25519`",
    ),
];

impl Identities {
    /// Adds those of a file of `age-keygen`, a private key of SSH, or those that `gpg --export-secret-keys --armor` writes.
    ///
    /// # Errors
    /// `Invalid`, by the number of the line.
    pub fn add(&mut self, file: &SecretBytes) -> Result<(), Error> {
        let text = file.expose_str().ok_or_else(|| wrong("it is not text".to_owned()))?;
        let before = self.len();
        if text.trim_start().starts_with(SSH_BEGIN) {
            self.of_age.push(ssh::identity(text).map_err(|problem| wrong(problem.to_owned()))?);
        } else if text.trim_start().starts_with(pgp::BEGIN) {
            self.of_pgp.add(text).map_err(wrong)?;
        } else {
            for (n, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                if let Some((_, what)) = OTHER_KEYS.iter().find(|(start, _)| line.starts_with(start)) {
                    return Err(wrong((*what).to_owned()));
                }
                let identity = age::x25519::Identity::from_str(line);
                let identity = identity.map_err(|_| wrong(format!("line {} is no identity of age", n + 1)))?;
                self.of_age.push(Box::new(identity));
                self.check()?;
            }
        }
        if self.len() == before {
            return Err(wrong("there is no identity in it".to_owned()));
        }
        self.check()
    }

    fn check(&self) -> Result<(), Error> {
        let is_too_much = self.len() > DOCUMENT_KEYS.size();
        if is_too_much { Err(Error::limit(&DOCUMENT_KEYS).with_blame(Blame::Credentials)) } else { Ok(()) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.of_age.len() + self.of_pgp.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Opens a message of PGP, which holds a key.
    ///
    /// # Errors
    /// `Denied` where none of them opens it, `Malformed` where it is damaged, cut off or changed.
    pub fn open_pgp(&self, armored: &[u8], tries: &mut Tries) -> Result<SecretBytes, Error> {
        self.of_pgp.open(armored, |cost| tries.spend(cost))
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.of_age.iter().map(|one| &**one as &dyn age::Identity)
    }
}

fn wrong(message: String) -> Error {
    Error::invalid(message).with_blame(Blame::Credentials)
}

/// A new identity as the file that keeps it, and the recipient that belongs to it.
pub fn generate() -> (SecretBytes, String) {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let file = zeroize::Zeroizing::new(format!(
        "# The key that opens what is sealed here. Keep it out of git, and a copy of it in a safe place.\n# public key: {recipient}\n{}\n",
        identity.to_string().expose_secret()
    ));
    (SecretBytes::from(file.as_str()), recipient)
}

/// Public keys, each of age or of SSH.
#[derive(Default)]
pub struct Recipients(Vec<Box<dyn age::Recipient + Send + Sync>>);

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} recipients", self.0.len())
    }
}

impl Recipients {
    /// Adds one: `age1...`, or a public key of SSH.
    ///
    /// # Errors
    /// `Invalid`, which names it: it is no secret.
    pub fn add(&mut self, word: &str) -> Result<(), Error> {
        let word = word.trim();
        let recipient: Box<dyn age::Recipient + Send + Sync> = if word.starts_with("age1pq1") {
            return Err(Error::invalid(
                "recipients age1pq1... are post-quantum keys of age, which are not supported yet: use one of `age-keygen` without -pq",
            ));
        } else if word.starts_with("ssh-") {
            ssh::recipient(word).map_err(Error::invalid)?
        } else {
            // A private key given by mistake must not be shown.
            let known = age::x25519::Recipient::from_str(word);
            Box::new(known.map_err(|_| Error::invalid("a recipient is neither age1... nor a public key of SSH"))?)
        };
        self.0.push(recipient);
        let is_too_much = self.0.len() > DOCUMENT_KEYS.size();
        if is_too_much { Err(Error::limit(&DOCUMENT_KEYS)) } else { Ok(()) }
    }

    /// Adds those of a file, one a line; lines that begin with `#` are comments.
    ///
    /// # Errors
    /// `Invalid`, by the number of the line.
    pub fn add_file(&mut self, text: &str) -> Result<(), Error> {
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                self.add(line).map_err(|error| error.context(format_args!("line {}", n + 1)))?;
            }
        }
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = &dyn age::Recipient> {
        self.0.iter().map(|one| &**one as &dyn age::Recipient)
    }
}

/// A new identity, and the recipient that belongs to it.
#[cfg(test)]
pub(crate) fn pair() -> (Identities, Recipients) {
    let (file, recipient) = generate();
    let (mut identities, mut recipients) = (Identities::default(), Recipients::default());
    identities.add(&file).unwrap();
    recipients.add(&recipient).unwrap();
    (identities, recipients)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_told_and_not_shown() {
        let (file, _) = generate();
        let key = file.expose_str().unwrap().lines().last().unwrap().to_owned();
        let broken = &key[..key.len() - 1];
        for (text, says) in [
            (format!("# why\n{broken}\n"), "line 2 is no identity"),
            ("# nothing\n".into(), "no identity in it"),
            ("AGE-SECRET-KEY-PQ-1XYZ".into(), "post-quantum"),
            ("AGE-PLUGIN-YUBIKEY-1XYZ".into(), "plugin"),
            ("-----BEGIN RSA PRIVATE KEY-----\nx".into(), "ssh-keygen -t ed25519"),
            ("-----BEGIN AGE ENCRYPTED FILE-----\nx".into(), "passphrase"),
            (format!("{SSH_BEGIN}\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"), "not whole"),
        ] {
            let error = Identities::default().add(&text.as_str().into()).unwrap_err();
            assert!(error.message().contains(says) && !error.message().contains(broken), "{error}");
        }
        let error = Recipients::default().add(&key).unwrap_err();
        assert!(!error.message().contains(&key), "{error}");
        assert!(Recipients::default().add("age1pq1xyz").unwrap_err().message().contains("post-quantum"));
        assert!(Recipients::default().add_file("# a\n\nx").unwrap_err().message().starts_with("line 3: "));
    }

    #[test]
    fn there_is_a_most_of_keys() {
        let (file, recipient) = generate();
        let key = file.expose_str().unwrap().lines().last().unwrap().to_owned() + "\n";
        let most = DOCUMENT_KEYS.size();
        assert!(Identities::default().add(&key.repeat(most).as_str().into()).is_ok());
        let error = Identities::default().add(&key.repeat(most + 1).as_str().into()).unwrap_err();
        assert!(error.message().contains("limit document-keys"), "{error}");
        let mut recipients = Recipients::default();
        assert!((0..most).all(|_| recipients.add(&recipient).is_ok()) && recipients.add(&recipient).is_err());
    }
}
