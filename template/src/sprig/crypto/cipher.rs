//! AES-256 in CBC mode, with a password for a key.

use aes::{
    Aes256, Block,
    cipher::{BlockDecrypt, BlockEncrypt, KeyInit},
};
use base64::Engine;
use zeroize::Zeroizing;

use super::super::encoding::{BASE64, from_base64};
use crate::{env::Context, error::Failure, value::Str};

const BLOCK: usize = 16;

/// The password itself, cut or filled up with zeros: that is all sprig does with it.
fn key(password: &[u8]) -> Aes256 {
    let mut key = Zeroizing::new([0u8; 32]);
    let len = password.len().min(key.len());
    key[..len].copy_from_slice(&password[..len]);
    Aes256::new((&*key).into())
}

/// Base64 of a random vector and the encrypted text; nothing for nothing.
pub(super) fn encrypt(context: &mut Context<'_, '_>, password: &Str, text: &Str) -> Result<String, Failure> {
    if text.is_empty() {
        return Ok(String::new());
    }
    context.fits((text.len() + 2 * BLOCK).div_ceil(3).saturating_mul(4))?;
    context.spend(text.len() as u64 / 64)?;
    let cipher = key(password);
    let mut last = Block::default();
    context.random().fill(&mut last)?;
    let padding = BLOCK - text.len() % BLOCK;
    let mut padded = text.to_zeroizing();
    padded.resize(text.len() + padding, padding as u8);
    let mut out = last.to_vec();
    for plain in padded.chunks(BLOCK) {
        for (byte, plain) in last.iter_mut().zip(plain) {
            *byte ^= plain;
        }
        cipher.encrypt_block(&mut last);
        out.extend_from_slice(&last);
    }
    Ok(BASE64.encode(out))
}

/// The other way round. The padding is believed, as sprig does: what it says is cut off.
pub(super) fn decrypt(context: &mut Context<'_, '_>, password: &Str, text: &Str) -> Result<Str, Failure> {
    if text.is_empty() {
        return Ok(text.clone());
    }
    context.spend(text.len() as u64 / 64)?;
    let bytes = from_base64(text).map_err(|_| Failure::new("illegal base64 data"))?;
    let wrong = || Failure::new("crypto/cipher: input not full blocks");
    let (first, rest) = bytes.split_at_checked(BLOCK).ok_or_else(wrong)?;
    if rest.len() % BLOCK != 0 {
        return Err(wrong());
    }
    let cipher = key(password);
    let mut plain = Zeroizing::new(Vec::with_capacity(rest.len()));
    let mut before = first;
    for encrypted in rest.chunks(BLOCK) {
        let mut block = Block::clone_from_slice(encrypted);
        cipher.decrypt_block(&mut block);
        plain.extend(block.iter().zip(before).map(|(byte, before)| byte ^ before));
        before = encrypted;
    }
    let padding = plain.last().copied().ok_or_else(wrong)?;
    let len = plain.len().checked_sub(padding.into()).ok_or(Failure::new("slice bounds out of range"))?;
    plain.truncate(len);
    Ok(plain.into())
}
