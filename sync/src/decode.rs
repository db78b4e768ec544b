//! Decoding strategies, key conversion, key validation, null bytes: what happens to a fetched value on its way.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, PAD};
use keyferry_crds::{ConversionStrategy, DecodingStrategy};
use keyferry_limits::{Budget, Exceeded};
use keyferry_provider_core::SecretBytes;

// Padded, and what the last digit holds beyond the last byte is passed over, as Go does.
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PAD.with_decode_allow_trailing_bits(true));

/// Applies a decoding strategy. `None` where the value is not of the encoding that was asked for.
///
/// `Auto` tries standard, then URL-safe base64, then leaves the value alone, so that a text which happens to be
/// base64 (`test`) is decoded too: External Secrets Operator's rule.
pub fn decode(
    value: &SecretBytes,
    strategy: &DecodingStrategy,
    budget: &Budget,
) -> Result<Option<SecretBytes>, Exceeded> {
    if !matches!(strategy, DecodingStrategy::None | DecodingStrategy::Unknown(_)) {
        budget.steps(2 * value.len())?;
        budget.bytes(2 * value.len())?;
    }
    let with = |engine: &GeneralPurpose| engine.decode(without_newlines(value)).ok().map(SecretBytes::new);
    Ok(match strategy {
        DecodingStrategy::None | DecodingStrategy::Unknown(_) => Some(value.clone()),
        DecodingStrategy::Base64 => with(&STANDARD),
        DecodingStrategy::Base64URL => with(&URL_SAFE),
        DecodingStrategy::Auto => with(&STANDARD).or_else(|| with(&URL_SAFE)).or_else(|| Some(value.clone())),
    })
}

/// Go's decoder passes over line breaks, so that wrapped base64 decodes; ours must too.
fn without_newlines(value: &SecretBytes) -> zeroize::Zeroizing<Vec<u8>> {
    zeroize::Zeroizing::new(value.expose().iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect())
}

/// Converts a key that a store gave so that it may stand in a Secret: what is not a letter, a number or one of `-._`
/// becomes `_`, or `_U` and its hexadecimal code and `_` with the Unicode strategy.
pub fn convert_key(key: &str, strategy: &ConversionStrategy) -> String {
    let mut converted = String::with_capacity(key.len());
    for c in key.chars() {
        match (is_key_char(c), strategy) {
            (true, _) => converted.push(c),
            (false, ConversionStrategy::Unicode) => converted.push_str(&format!("_U{:04x}_", u32::from(c))),
            (false, _) => converted.push('_'),
        }
    }
    converted
}

/// Letters and numbers of any script pass conversion, as in External Secrets Operator; the API server refuses those
/// beyond ASCII, which [`check_key`] finds.
fn is_key_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '.' | '_')
}

/// Whether fetched data may have this name; says what is wrong with it. External Secrets Operator's rule: a template may
/// take the value to a name that Kubernetes allows.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("is empty"),
        name if name.len() > 253 => Err("is longer than 253 characters"),
        name if !name.chars().all(is_key_char) => Err("may hold letters, digits, '-', '_' and '.' only"),
        _ => Ok(()),
    }
}

/// Whether a key may stand in a Secret, by the API server's rule; says what is wrong with it.
pub fn check_key(key: &str) -> Result<(), &'static str> {
    if key.is_empty() {
        return Err("is empty");
    }
    if key.len() > 253 {
        return Err("is longer than 253 characters");
    }
    if key == "." || key == ".." || key.starts_with("..") {
        return Err("must not begin with two dots, nor be one dot");
    }
    if key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')) {
        Ok(())
    } else {
        Err("may hold letters a-z and A-Z, digits, '-', '_' and '.' only")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str, strategy: DecodingStrategy) -> Option<Vec<u8>> {
        decode(&value.into(), &strategy, &Budget::default()).unwrap().map(|decoded| decoded.expose().to_vec())
    }

    #[test]
    fn decoding() {
        use DecodingStrategy::{Auto, Base64, Base64URL, None as Raw};
        assert_eq!(text("aGVsbG8=", Base64).unwrap(), b"hello");
        assert_eq!(text("aGVs\nbG8=\n", Base64).unwrap(), b"hello");
        assert_eq!(text("aGVsbG8", Base64), None, "padding is required");
        assert_eq!(text("_-8=", Base64), None);
        assert_eq!(text("_-8=", Base64URL).unwrap(), b"\xff\xef");
        assert_eq!(text("_-8=", Auto).unwrap(), b"\xff\xef");
        assert_eq!(text("test", Auto).unwrap(), b"\xb5\xeb\x2d");
        assert_eq!(text("YR==", Base64).unwrap(), b"a", "trailing bits are passed over");
        assert_eq!(text("plain", Auto).unwrap(), b"plain");
        assert_eq!(text("aGVsbG8=", Raw).unwrap(), b"aGVsbG8=");
    }

    #[test]
    fn conversion() {
        use ConversionStrategy::{Default, Unicode};
        assert_eq!(convert_key("a/b c-1_x.é", &Default), "a_b_c-1_x.é");
        assert_eq!(convert_key("a/b😀", &Unicode), "a_U002f_b_U1f600_");
    }

    #[test]
    fn keys_that_the_api_server_takes() {
        for key in ["a", "tls.crt", ".dockerconfigjson", "A-1_b.c"] {
            assert_eq!(check_key(key), Ok(()), "{key}");
        }
        for key in ["", "a/b", "é", "a b", ".", "..", "..data", &"a".repeat(254)] {
            assert!(check_key(key).is_err(), "{key}");
        }
    }
}
