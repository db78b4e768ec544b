//! The channel that a login holds for: whoever passes one on through a channel of their own is found out by it.

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use md5::{Digest as _, Md5};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::AlgorithmIdentifier;

/// What a login says of a channel to a server with this certificate (`tls-server-end-point` of RFC 5929); `None` where the
/// certificate is signed in a way for which that says nothing.
pub fn of(certificate: &[u8]) -> Option<[u8; 16]> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = b"tls-server-end-point:";
    let hash = digest(hash_of(&parsed.signature_algorithm)?, certificate);
    let length = u32::try_from(name.len() + hash.as_ref().len()).ok()?;
    // Neither end of the channel has an address here: four numbers of nothing.
    let mut hashing = Md5::new_with_prefix([0_u8; 16]);
    hashing.update(length.to_le_bytes());
    hashing.update(name);
    hashing.update(hash.as_ref());
    Some(hashing.finalize().into())
}

/// The hash of the certificate's own signature, and a better one in the place of those that are broken.
fn hash_of(signature: &AlgorithmIdentifier<'_>) -> Option<&'static Algorithm> {
    let by = signature.algorithm.to_id_string();
    // RSA whose hash is told apart.
    if by == "1.2.840.113549.1.1.10" {
        let told = RsaSsaPssParams::try_from(signature.parameters.as_ref()?).ok()?;
        return match told.hash_algorithm_oid().to_id_string().as_str() {
            "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Some(&SHA256),
            "2.16.840.1.101.3.4.2.2" => Some(&SHA384),
            "2.16.840.1.101.3.4.2.3" => Some(&SHA512),
            _ => None,
        };
    }
    match by.as_str() {
        // RSA with MD5, SHA-1 and SHA-256; ECDSA with SHA-1 and SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Some(&SHA256),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(&SHA384),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(&SHA512),
        _ => None,
    }
}
