//! How what was made is written.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// From the bytes of a password to those of the value.
pub type Encode = fn(&[u8]) -> Vec<u8>;

/// The encoding of this name; the error lists what there is.
pub fn by_name(name: &str) -> Result<Encode, String> {
    match name {
        "" | "raw" => Ok(<[u8]>::to_vec),
        "base64" => Ok(|bytes| STANDARD.encode(bytes).into_bytes()),
        "base64url" => Ok(|bytes| URL_SAFE.encode(bytes).into_bytes()),
        "base32" => Ok(|bytes| base32(bytes).into_bytes()),
        "hex" => Ok(|bytes| hex(bytes).into_bytes()),
        name => Err(format!("encoding is {name:?}: use raw, base64, base64url, base32 or hex")),
    }
}

/// Two digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 4648, padded.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let group = |five: &[u8]| {
        let bits = (0..5).fold(0u64, |bits, n| bits << 8 | u64::from(five.get(n).copied().unwrap_or_default()));
        let letters = (five.len() * 8).div_ceil(5);
        (0..8).map(move |n| if n < letters { char::from(ALPHABET[(bits >> (35 - 5 * n) & 31) as usize]) } else { '=' })
    };
    bytes.chunks(5).flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_those_of_the_rfcs() {
        let sample = "foobar-password".as_bytes();
        for (name, expected) in [
            ("raw", "foobar-password"),
            ("base64", "Zm9vYmFyLXBhc3N3b3Jk"),
            ("base64url", "Zm9vYmFyLXBhc3N3b3Jk"),
            ("base32", "MZXW6YTBOIWXAYLTON3W64TE"),
            ("hex", "666f6f6261722d70617373776f7264"),
        ] {
            assert_eq!(by_name(name).unwrap()(sample), expected.as_bytes(), "{name}");
        }
        for (bytes, expected) in [("f", "MY======"), ("fo", "MZXQ===="), ("foo", "MZXW6==="), ("foob", "MZXW6YQ=")] {
            assert_eq!(base32(bytes.as_bytes()), expected);
        }
    }
}
