//! Base64 and base32. What cannot be decoded becomes the text of Go's complaint.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::args::function;
use crate::{
    env::Context,
    error::Failure,
    function::Function,
    value::{Str, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    function!("b64enc", (string => string), |context: &mut Context<'_, '_>, text: &Str| -> Result<_, Failure> {
        context.fits(text.len().div_ceil(3).saturating_mul(4))?;
        Ok(BASE64.encode(text))
    }),
    function!("b32enc", (string => string), |context: &mut Context<'_, '_>, text: &Str| -> Result<_, Failure> {
        context.fits(text.len().div_ceil(5).saturating_mul(8))?;
        Ok(to_base32(text))
    }),
    function!("b64dec", (string => string), |context: &mut _, text: &Str| {
        Ok(or_complaint(context, ("b64dec", "base64"), from_base64(text)))
    }),
    function!("b32dec", (string => string), |context: &mut _, text: &Str| {
        Ok(or_complaint(context, ("b32dec", "base32"), from_base32(text)))
    }),
];

/// Padding is a must, the bits that are left over may be anything.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn or_complaint(
    context: &mut Context<'_, '_>,
    (function, encoding): (&'static str, &str),
    decoded: Result<Vec<u8>, usize>,
) -> Value {
    match decoded {
        Ok(bytes) => Value::str(bytes),
        Err(place) => {
            context.complain(function);
            Value::str(format!("illegal {encoding} data at input byte {place}"))
        }
    }
}

fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// The bytes, or where in the text Go finds it to be wrong. Newlines count for nothing.
pub(super) fn from_base64(text: &[u8]) -> Result<Vec<u8>, usize> {
    let stripped: Vec<(usize, u8)> = match BASE64.decode(text) {
        Ok(bytes) => return Ok(bytes),
        Err(_) => text.iter().copied().enumerate().filter(|(_, byte)| !is_newline(*byte)).collect(),
    };
    let characters: Vec<u8> = stripped.iter().map(|(_, byte)| *byte).collect();
    match BASE64.decode(&characters) {
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(fault_in_base64(text.len(), &stripped)),
    }
}

/// Characters with their places in a text that cannot be decoded.
fn fault_in_base64(len: usize, characters: &[(usize, u8)]) -> usize {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let plain = characters.iter().take_while(|(_, byte)| is_plain(*byte)).count();
    let within = plain % 4;
    match (characters.get(plain), within) {
        (None, _) => len - within,
        (Some((place, b'=')), 2) => match (characters.get(plain + 1), characters.get(plain + 2)) {
            (None, _) => len,
            (Some((_, b'=')), Some((garbage, _))) => *garbage,
            (Some((_, b'=')), None) => *place,
            (Some((other, _)), _) => other - 1,
        },
        (Some((place, b'=')), 3) => characters.get(plain + 1).map_or(*place, |(garbage, _)| *garbage),
        (Some((place, _)), _) => *place,
    }
}

fn to_base32(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let number = (0..5).fold(0u64, |sum, at| sum << 8 | u64::from(group.get(at).copied().unwrap_or(0)));
        let used = (group.len() * 8).div_ceil(5);
        out.extend((0..8).map(|at| if at < used { BASE32[(number >> (35 - at * 5)) as usize & 31] } else { b'=' }));
    }
    out
}

/// The bytes, or where in the text, newlines left out, Go finds it to be wrong.
fn from_base32(text: &[u8]) -> Result<Vec<u8>, usize> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !is_newline(*byte)).collect();
    let mut out = Vec::with_capacity(text.len() * 5 / 8);
    let mut at = 0;
    while at < text.len() {
        let mut number = 0u64;
        let mut count = 0;
        let mut ended = false;
        while count < 8 {
            let left = text.len() - at;
            match text.get(at) {
                None => return Err(text.len() - count),
                Some(b'=') if count >= 2 && left <= 8 => {
                    check_base32_padding(&text, at + 1, count)?;
                    ended = true;
                    break;
                }
                Some(byte) => match BASE32.iter().position(|character| character == byte) {
                    Some(value) => number = number << 5 | value as u64,
                    None => return Err(at),
                },
            }
            count += 1;
            at += 1;
        }
        let number = number << (40 - count * 5);
        out.extend((0..count * 5 / 8).map(|byte| (number >> (32 - byte * 8)) as u8));
        if ended {
            break;
        }
    }
    Ok(out)
}

/// `after` is behind the first padding character, which follows `count` characters of a group.
fn check_base32_padding(text: &[u8], after: usize, count: usize) -> Result<(), usize> {
    let rest = &text[after..];
    if rest.len() + count < 7 {
        return Err(text.len());
    }
    match rest.iter().take(7 - count).position(|byte| *byte != b'=') {
        Some(place) => Err(after + place - 1),
        None if matches!(count, 3 | 6) => Err(after - 1),
        None => Ok(()),
    }
}
