//! `rsaDecrypt` and `hexdec`.

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA512_MGF1SHA512, OaepPrivateDecryptingKey, PrivateDecryptingKey,
};
use zeroize::Zeroizing;

use super::{keys::PrivateKey, pem};
use crate::{
    env::Context,
    error::Failure,
    strconv::unicode,
    value::{Str, Value},
};

/// What one private operation costs, in steps.
const OPERATION: u64 = 10_000;

pub(super) fn rsa_decrypt(
    context: &mut Context<'_, '_>,
    scheme: &Str,
    hash: &Str,
    ciphertext: &Str,
    key: &Str,
) -> Result<Value, Failure> {
    match &**scheme {
        b"None" => return Ok(Value::Str(ciphertext.clone())),
        b"RSA-OAEP" => {}
        _ => return Err(Failure::new("decryption scheme is not supported")),
    }
    context.spend(OPERATION)?;
    let (block, _) = pem::decode(key);
    let block = block.ok_or(Failure::new("failed to decode PEM block"))?;
    context.work(PrivateKey::work(block.bytes.len()))?;
    let key = PrivateKey::parse(&block.bytes).ok_or(Failure::new("could not parse private key"))?;
    if !key.is_rsa() {
        return Err(Failure::new("could not parse RSA private key"));
    }
    let algorithm = match &**hash {
        b"SHA1" => &OAEP_SHA1_MGF1SHA1,
        b"SHA512" => &OAEP_SHA512_MGF1SHA512,
        _ => &OAEP_SHA256_MGF1SHA256,
    };
    let failed = "error decrypting data with RSA";
    let bytes = key.to_pkcs8().ok_or(Failure::new(failed))?;
    let key = PrivateDecryptingKey::from_pkcs8(&bytes)
        .map_err(|_| Failure::new("only RSA keys of 2048 to 8192 bits can be used"))?;
    let key = OaepPrivateDecryptingKey::new(key).map_err(|_| Failure::new(failed))?;
    let mut plain = Zeroizing::new(vec![0; key.key_size_bytes()]);
    let len = key.decrypt(algorithm, ciphertext, &mut plain, None).map_err(|_| Failure::new(failed))?.len();
    plain.truncate(len);
    Ok(Value::str(plain))
}

/// Decodes, or says in the words of Go what is wrong.
pub(super) fn hexdec(text: &Str) -> Value {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    for pair in text.chunks(2) {
        let wrong = pair.iter().find(|byte| digit(byte).is_none());
        match (wrong, pair) {
            (Some(byte), _) => {
                let rune = char::from(*byte);
                let shown = if unicode::is_print(rune) { format!(" '{rune}'") } else { String::new() };
                return Value::str(format!("encoding/hex: invalid byte: U+{:04X}{shown}", u32::from(rune)));
            }
            (None, [high, low]) => out.push(digit(high).unwrap_or(0) << 4 | digit(low).unwrap_or(0)),
            (None, _) => return Value::str("encoding/hex: odd length hex string"),
        }
    }
    Value::str(out)
}
