//! Files of SOPS: what they say of themselves, whose keys open them, and what is in them.
//!
//! [`Encrypted::read`] gives the key groups, [`Encrypted::data_key`] has them opened by whoever can unwrap a key of each, and
//! [`Encrypted::open`] gives the document, or an error where it was changed since it was encrypted.
//!
//! Modules, in reading order: `metadata` what stands under `sops`, `rules` which values are encrypted, `cipher` one value, `shamir` parts of a key, `keyring` who has them.

mod metadata;
mod rules;
mod cipher;
mod shamir;
mod keyring;

use keyferry_provider_core::{Error, SecretBytes};
use sha2::{Digest as _, Sha512};

pub use keyring::{Calls, Keyring};
pub use metadata::{Key, Service};

use crate::format::{Format, joined, malformed, without_export};
use crate::sops::cipher::{Kind, decrypt};
use crate::sops::metadata::Metadata;
use crate::tree::{Node, float};

/// What the message authentication code begins with where it counts encrypted values only: SHA-256 of `sops`.
const ENCRYPTED_ONLY: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b, 0x97, 0x5b,
    0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// Whether it looks like a file of SOPS.
pub fn is_of_sops(bytes: &[u8], format: Format) -> bool {
    let mark: &[u8] = if format == Format::Dotenv { b"sops_mac=" } else { b"ENC[AES256_GCM," };
    bytes.windows(mark.len()).any(|part| part == mark)
}

/// A file of SOPS that was read, and not opened yet.
#[derive(Debug)]
pub struct Encrypted {
    format: Format,
    /// Its YAML documents; there is one in all other formats. The code is of all of them, in their order.
    documents: Vec<Node>,
    metadata: Metadata,
}

impl Encrypted {
    /// Reads a file.
    ///
    /// # Errors
    /// `Malformed` where it is none, or not whole.
    pub fn read(bytes: &[u8], format: Format) -> Result<Self, Error> {
        let mut read = format.read_encrypted(bytes)?.into_iter();
        let (first, metadata) = metadata::split(read.next().unwrap_or(Node::Null), format)?;
        let further = read.map(metadata::further);
        let documents = std::iter::once(Ok(first)).chain(further).collect::<Result<_, _>>()?;
        Ok(Self { format, documents, metadata })
    }

    /// What it says of its keys, without its values: for whoever waits for a key.
    pub fn without_values(self) -> Self {
        Self { documents: Vec::new(), ..self }
    }

    /// Its key groups: any key of a group opens the group's part.
    pub fn groups(&self) -> &[Vec<Key>] {
        &self.metadata.groups
    }

    /// How many groups must be opened.
    pub fn threshold(&self) -> usize {
        self.metadata.threshold
    }

    /// The key that all values are encrypted with, from whoever has keys: a key of each group is enough, and nobody is asked
    /// for more than must be.
    ///
    /// # Errors
    /// Why each of the keys does not open it; `Malformed` where what they hold does not belong together.
    pub async fn data_key(&self, keyring: &mut dyn Keyring) -> Result<SecretBytes, Error> {
        keyring::data_key(self.groups(), self.threshold(), keyring).await
    }

    /// Decrypts all values, and checks that nothing was changed. Of several YAML documents a list is made, as
    /// [`Format::read`] does.
    ///
    /// # Errors
    /// `Malformed`, with the path of the value or the code that does not match.
    pub fn open(self, data_key: &SecretBytes) -> Result<SecretBytes, Error> {
        let format = self.format;
        match (format, joined(self.decrypted(data_key)?)) {
            (Format::Dotenv, Node::Map(all)) => Some(Node::Map(without_export(all)).to_json()),
            (Format::Binary, Node::Map(all)) => all.into_iter().find_map(|(key, one)| match one {
                Node::Text(text) if key == "data" => Some(text),
                _ => None,
            }),
            (Format::Binary, _) => None,
            (_, tree) => Some(tree.to_json()),
        }
        .ok_or_else(|| malformed("it is no file of any bytes of SOPS: set its format"))
    }

    /// The same, and each of its YAML documents by itself, those without anything in them too.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_each(self, data_key: &SecretBytes) -> Result<Vec<SecretBytes>, Error> {
        Ok(self.decrypted(data_key)?.iter().map(Node::to_json).collect())
    }

    fn decrypted(mut self, data_key: &SecretBytes) -> Result<Vec<Node>, Error> {
        let mut hash = Sha512::new();
        if self.metadata.mac_only_encrypted {
            hash.update(ENCRYPTED_ONLY);
        }
        let opening = Opening { data_key, metadata: &self.metadata };
        for document in &mut self.documents {
            opening.at(document, &mut Vec::new(), &mut hash)?;
        }
        let expected = hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect::<String>();
        let (_, told) = decrypt(&self.metadata.mac, data_key, &self.metadata.last_modified).ok_or_else(changed)?;
        if told.expose() != expected.as_bytes() {
            return Err(changed());
        }
        Ok(self.documents)
    }
}

fn changed() -> Error {
    malformed("it was changed after it was encrypted: its message authentication code does not match what it holds")
        .with_hint(
            "edit it with `sops edit` only; if the change was meant, `sops edit --ignore-mac` writes the code anew",
        )
}

/// One opening of a document.
struct Opening<'a> {
    data_key: &'a SecretBytes,
    metadata: &'a Metadata,
}

impl Opening<'_> {
    /// Decrypts what is at this path and below. Gives whether it turned out to be a comment.
    fn at(&self, node: &mut Node, path: &mut Vec<String>, hash: &mut Sha512) -> Result<bool, Error> {
        match node {
            Node::Map(all) => {
                for (key, one) in all {
                    path.push(key.clone());
                    self.at(one, path, hash)?;
                    path.pop();
                }
                Ok(false)
            }
            Node::List(all) => {
                let mut kept = Vec::with_capacity(all.len());
                for mut one in all.drain(..) {
                    // Comments within lists became elements of them.
                    if !self.at(&mut one, path, hash)? {
                        kept.push(one);
                    }
                }
                *all = kept;
                Ok(false)
            }
            Node::Null => Ok(false),
            leaf => self.leaf(leaf, path, hash),
        }
    }

    fn leaf(&self, leaf: &mut Node, path: &[String], hash: &mut Sha512) -> Result<bool, Error> {
        let is_encrypted = self.metadata.rules.encrypts(path, leaf);
        let mut counted = None;
        if is_encrypted {
            let named = || path.join(".");
            let text =
                leaf.text().ok_or_else(|| malformed(format!("value {:?} is to be encrypted, and is not", named())))?;
            if !text.is_empty() {
                let along = path.iter().map(|part| format!("{part}:")).collect::<String>();
                let (kind, plain) = decrypt(text, self.data_key, if path.is_empty() { ":" } else { &along })
                    .ok_or_else(|| malformed(format!("value {:?} does not open: it was changed or moved", named())))?;
                if kind == Kind::Comment {
                    return Ok(true);
                }
                let (node, bytes) = kind.node(&plain);
                *leaf =
                    node.ok_or_else(|| malformed(format!("value {:?} is not of the type that it says", named())))?;
                counted = Some(bytes);
            }
        }
        if is_encrypted || !self.metadata.mac_only_encrypted {
            hash.update(counted.unwrap_or_else(|| Self::bytes(leaf)).expose());
        }
        Ok(false)
    }

    /// What the code counts of a value that is not encrypted: whole numbers as they are, others as floats.
    fn bytes(leaf: &Node) -> SecretBytes {
        match leaf {
            Node::Bool(is) => if *is { "True" } else { "False" }.into(),
            Node::Number(digits) => {
                let text = digits.expose_str().unwrap_or_default();
                match (text.parse::<i64>(), text.parse().map(float)) {
                    (Err(_), Ok(Node::Number(digits) | Node::Text(digits))) => digits,
                    _ => digits.clone(),
                }
            }
            Node::Text(text) => text.clone(),
            Node::Null | Node::List(_) | Node::Map(_) => SecretBytes::default(),
        }
    }
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
