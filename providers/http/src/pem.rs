//! Certificates and keys in PEM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_provider_core::{Error, SecretBuf, SecretBytes};
use reqwest::{Certificate, Identity};

/// The certificates of a CA bundle in PEM; `field` is where the spec has it.
///
/// # Errors
/// `Invalid` where there is none, or one that can't be read.
pub fn certificates(pem: &[u8], field: &str) -> Result<Vec<Certificate>, Error> {
    match Certificate::from_pem_bundle(pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(Error::invalid(format!("{field} holds no PEM certificate that can be read"))),
    }
}

/// PEM out of what users put into `caBundle`: base64 of it by the field's type, but base64 of base64 and PEM itself
/// are common, and External Secrets Operator takes them too. `None` where it is neither.
pub(crate) fn bundle(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    const MARK: &[u8] = b"-----BEGIN ";
    for _ in 0..3 {
        if bytes.windows(MARK.len()).any(|window| window == MARK) {
            return Some(bytes);
        }
        bytes.retain(|byte| !byte.is_ascii_whitespace());
        bytes = STANDARD.decode(&bytes).ok()?;
    }
    None
}

/// The identity we show to a server: a certificate, with those between it and its CA, and its key, all in PEM. `field`
/// is where the spec names them.
///
/// # Errors
/// `Invalid` where one of them can't be read. Whether they belong together is found out by
/// [`Way::client`](crate::Way::client).
pub fn identity(cert: &SecretBytes, key: &SecretBytes, field: &str) -> Result<Identity, Error> {
    let mut pem = SecretBuf::with_capacity(cert.len() + 1 + key.len());
    pem.extend(cert.expose());
    pem.push(b'\n');
    pem.extend(key.expose());
    Identity::from_pem(pem.expose())
        .map_err(|_| Error::invalid(format!("{field} must name a PEM certificate and its PEM private key")))
}

#[cfg(test)]
mod tests {
    use keyferry_provider_core::ErrorKind;

    use super::*;

    const CANARY: &str = "canary-7b20";

    #[test]
    fn what_is_no_pem_is_refused_by_its_field() {
        let broken = format!("-----BEGIN CERTIFICATE-----\n{CANARY}\n-----END CERTIFICATE-----\n");
        for pem in ["", CANARY, &broken] {
            let refusals = [
                certificates(pem.as_bytes(), "the.ca").map(|_| ()).unwrap_err(),
                identity(&pem.into(), &CANARY.into(), "the.ca").map(|_| ()).unwrap_err(),
            ];
            for error in refusals {
                assert_eq!(error.kind(), ErrorKind::Invalid);
                assert!(error.message().starts_with("the.ca ") && !error.message().contains(CANARY), "{error}");
            }
        }
    }
}
