//! What is written: which values Google keeps, and the body that brings one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{Blame, Error, SecretBuf, SecretBytes};

use crate::checksum::crc32c;

/// The largest value that Google keeps.
const LARGEST: usize = 64 << 10;

/// Refuses a value that Google does not keep: to be asked before anything is made for it.
///
/// # Errors
/// `Invalid`, to be blamed on the request.
pub fn check(value: &SecretBytes) -> Result<(), Error> {
    let problem = match value.len() {
        0 => "it is empty",
        length if length > LARGEST => "it is larger than 64 KiB",
        _ => return Ok(()),
    };
    let message = format!("Google Secret Manager does not keep the value: {problem}");
    Err(Error::invalid(message).with_blame(Blame::Request))
}

/// The body that adds a version, with the checksum by which Google tells whether it arrived whole.
pub fn version(value: &SecretBytes) -> SecretBytes {
    let mut encoded = vec![0; value.len().div_ceil(3) * 4];
    let length = STANDARD.encode_slice(value.expose(), &mut encoded).unwrap_or_default();
    encoded.truncate(length);
    let encoded = SecretBytes::new(encoded);
    let mut out = SecretBuf::with_capacity(encoded.len() + 96);
    out.extend(b"{\"payload\":{\"data\":\"");
    out.extend(encoded.expose());
    out.extend(format!("\",\"dataCrc32c\":\"{}\"}}}}", crc32c(value.expose())).as_bytes());
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_bears_its_checksum() {
        assert_eq!(
            version(&"123456789".into()).expose_str(),
            Some(r#"{"payload":{"data":"MTIzNDU2Nzg5","dataCrc32c":"3808858755"}}"#)
        );
        assert!(check(&SecretBytes::new(vec![0; LARGEST])).is_ok());
        for length in [0, LARGEST + 1] {
            assert_eq!(check(&SecretBytes::new(vec![0; length])).unwrap_err().blame(), Blame::Request);
        }
    }
}
