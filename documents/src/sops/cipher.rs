//! One encrypted value: `ENC[AES256_GCM,data:...,iv:...,tag:...,type:...]`.

use aes_gcm::AesGcm;
use aes_gcm::aead::consts::{U12, U32};
use aes_gcm::aead::generic_array::GenericArray;
use aes_gcm::aead::{AeadInPlace, KeyInit};
use aes_gcm::aes::Aes256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::SecretBytes;

use crate::tree::{Node, float};

const BEGIN: &str = "ENC[AES256_GCM,data:";

/// What a value was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text, bytes or a time, which are written as they are.
    Text,
    /// A whole number.
    Int,
    /// Any number.
    Float,
    /// True or false.
    Bool,
    /// No value at all.
    Comment,
}

/// Whether a value has the form of an encrypted one.
pub fn is_encrypted(text: &str) -> bool {
    text.starts_with(BEGIN)
}

/// Decrypts one value that stands where `along` says; nothing where it does not open.
pub fn decrypt(text: &str, key: &SecretBytes, along: &str) -> Option<(Kind, SecretBytes)> {
    let inner = text.trim_end().strip_prefix(BEGIN)?.strip_suffix(']')?;
    let (data, rest) = inner.split_once(",iv:")?;
    let (nonce, rest) = rest.split_once(",tag:")?;
    let (tag, kind) = rest.split_once(",type:")?;
    let kind = match kind {
        "str" | "bytes" | "time" => Kind::Text,
        "int" => Kind::Int,
        "float" => Kind::Float,
        "bool" => Kind::Bool,
        "comment" => Kind::Comment,
        _ => return None,
    };
    let (mut data, nonce, tag) =
        (STANDARD.decode(data).ok()?, STANDARD.decode(nonce).ok()?, STANDARD.decode(tag).ok()?);
    if tag.len() != 16 || key.len() != 32 {
        return None;
    }
    let (key, tag) = (GenericArray::from_slice(key.expose()), GenericArray::from_slice(&tag));
    // SOPS writes nonces of 32 bytes, and once wrote those of 12 that are usual.
    match nonce.len() {
        32 => AesGcm::<Aes256, U32>::new(key)
            .decrypt_in_place_detached(GenericArray::from_slice(&nonce), along.as_bytes(), &mut data, tag)
            .ok()?,
        12 => AesGcm::<Aes256, U12>::new(key)
            .decrypt_in_place_detached(GenericArray::from_slice(&nonce), along.as_bytes(), &mut data, tag)
            .ok()?,
        _ => return None,
    }
    Some((kind, SecretBytes::new(data)))
}

impl Kind {
    /// What was decrypted as a value, and what the message authentication code counts of it. No value where it is none of its
    /// kind.
    pub fn node(self, plain: &SecretBytes) -> (Option<Node>, SecretBytes) {
        let text = plain.expose_str().unwrap_or_default();
        match self {
            Self::Text | Self::Comment => (Some(Node::Text(plain.clone())), plain.clone()),
            Self::Int => (text.parse::<i64>().ok().map(|_| Node::Number(plain.clone())), plain.clone()),
            Self::Float => match text.parse::<f64>().ok().map(float) {
                Some(Node::Number(digits)) => (Some(Node::Number(digits.clone())), digits),
                Some(Node::Text(word)) => (Some(Node::Text(word.clone())), word),
                _ => (None, plain.clone()),
            },
            Self::Bool => match text {
                "True" | "true" | "TRUE" | "1" | "t" | "T" => (Some(Node::Bool(true)), "True".into()),
                "False" | "false" | "FALSE" | "0" | "f" | "F" => (Some(Node::Bool(false)), "False".into()),
                _ => (None, plain.clone()),
            },
        }
    }
}
