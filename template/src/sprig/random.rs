//! Random text and numbers, from the randomness the context lends.

use super::{args::function, encoding::BASE64};
use crate::{
    env::Context,
    error::Failure,
    function::Function,
    strconv::unicode::runes,
    value::{Str, Value},
};
use base64::Engine;

/// Functions whose answers differ from call to call.
pub(super) const FUNCTIONS: &[Function] = &[
    function!("randAlphaNum", (int => string), |context: &mut _, count| {
        text(context, count, |byte| byte.is_ascii_alphanumeric())
    }),
    function!("randAlpha", (int => string), |context: &mut _, count| text(context, count, |byte| byte.is_ascii_alphabetic())),
    function!("randNumeric", (int => string), |context: &mut _, count| text(context, count, |byte| byte.is_ascii_digit())),
    function!("randAscii", (int => string), |context: &mut _, count| text(context, count, |byte| matches!(byte, b' '..=b'~'))),
    function!("randBytes", (int => string), rand_bytes),
    function!("randInt", (int, int => int), rand_int),
    function!("shuffle", (string => string), shuffle),
    function!("uuidv4", (=> string), uuid),
];

pub(super) fn bytes(context: &mut Context<'_, '_>, count: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; count];
    context.random().fill(&mut bytes)?;
    Ok(bytes)
}

/// A number below `bound`, each as likely as the other.
fn below(context: &mut Context<'_, '_>, bound: u64) -> Result<u64, Failure> {
    let rest = (u64::MAX % bound + 1) % bound;
    loop {
        let mut bytes = [0; 8];
        context.random().fill(&mut bytes)?;
        match u64::from_le_bytes(bytes) {
            number if number <= u64::MAX - rest => return Ok(number % bound),
            _ => {}
        }
    }
}

/// So many characters of a set; fewer than none gives none.
fn text(context: &mut Context<'_, '_>, count: i64, wanted: fn(u8) -> bool) -> Result<Vec<u8>, Failure> {
    let count = usize::try_from(count).unwrap_or(0);
    context.fits(count)?;
    context.spend(count as u64 / 64)?;
    let set: Vec<u8> = (0..128).filter(|byte| wanted(*byte)).collect();
    // Bytes beyond the last whole round through the set are thrown away: what is left is evenly spread.
    let fair = 256 - 256 % set.len();
    let mut out = Vec::with_capacity(count);
    while out.len() < count {
        let drawn = bytes(context, (count - out.len()).clamp(16, 4096))?;
        let left = count - out.len();
        let drawn = drawn.iter().filter(|byte| usize::from(**byte) < fair);
        out.extend(drawn.map(|byte| set[usize::from(*byte) % set.len()]).take(left));
    }
    Ok(out)
}

fn rand_bytes(context: &mut Context<'_, '_>, count: i64) -> Result<String, Failure> {
    let count = usize::try_from(count).map_err(|_| Failure::new("makeslice: len out of range"))?;
    context.fits(count.div_ceil(3).saturating_mul(4))?;
    Ok(BASE64.encode(bytes(context, count)?))
}

fn rand_int(context: &mut Context<'_, '_>, least: i64, end: i64) -> Result<Value, Failure> {
    match end.wrapping_sub(least) {
        ..=0 => Err(Failure::new("invalid argument to Intn")),
        range => Ok(Value::int(least.wrapping_add(below(context, range.unsigned_abs())?.cast_signed()))),
    }
}

fn shuffle(context: &mut Context<'_, '_>, text: &Str) -> Result<String, Failure> {
    let mut characters: Vec<char> = runes(text).map(|(rune, _)| rune).collect();
    context.spend(characters.len() as u64)?;
    for last in (1..characters.len()).rev() {
        let other = below(context, last as u64 + 1)? as usize;
        characters.swap(last, other);
    }
    Ok(characters.into_iter().collect())
}

fn uuid(context: &mut Context<'_, '_>) -> Result<String, Failure> {
    let mut bytes = [0; 16];
    context.random().fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}
