//! What a machine of Oracle's cloud is there: a certificate and its key, for which the cloud gives a token to a key that is made
//! here for that.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_keys::pem;
use keyferry_provider_core::{Error, ErrorKind, SecretBytes};

use crate::oracle::Signer;

/// What stands before the tenancy's id in a certificate.
const TENANCY: &[u8] = b"opc-tenant:";

/// A machine, by its certificate.
pub struct Machine {
    /// Its certificate, and the one that vouches for that, in base64.
    certificates: [String; 2],
    signer: Signer,
}

/// The bytes of the first block of a PEM.
fn bytes(file: &SecretBytes) -> Option<Vec<u8>> {
    pem::decode(file.expose()).0.map(|block| block.bytes.to_vec())
}

/// The tenancy that a certificate is of. It stands there as a text, whose length is the byte before it.
fn tenancy(certificate: &[u8]) -> Option<&str> {
    let at = certificate.windows(TENANCY.len()).position(|window| window == TENANCY)?;
    let length = usize::from(*certificate.get(at.checked_sub(1)?)?);
    let id = certificate.get(at + TENANCY.len()..at.checked_add(length)?)?;
    let is_id = id.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(byte));
    std::str::from_utf8(id).ok().filter(|id| is_id && !id.is_empty())
}

impl Machine {
    /// Reads what the cloud's metadata service has of it, as PEM: its certificate, the key of that, and who vouches for it.
    ///
    /// # Errors
    /// `Malformed` where that is not of this form, and those of the key.
    pub fn new(certificate: &SecretBytes, key: &SecretBytes, issuer: &SecretBytes) -> Result<Self, Error> {
        let malformed = || {
            let message = "the metadata service of Oracle's cloud answers without a certificate that tells the tenancy";
            Error::new(ErrorKind::Malformed, message)
        };
        let (certificate, issuer) = (bytes(certificate).ok_or_else(malformed)?, bytes(issuer).ok_or_else(malformed)?);
        let of = tenancy(&certificate).ok_or_else(malformed)?;
        let print = digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate);
        let print: Vec<String> = print.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let signer = Signer::new([of, "fed-x509", &print.join(":")], key, None, "the key of the machine")?;
        Ok(Self { certificates: [&certificate, &issuer].map(|bytes| STANDARD.encode(bytes)), signer })
    }

    /// What is asked of the cloud: a token for this key.
    ///
    /// # Errors
    /// Where the key has no public half, which is never so.
    pub fn question(&self, key: &SessionKey) -> Result<SecretBytes, Error> {
        let [certificate, issuer] = &self.certificates;
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(key.0.public_key()).map_err(|_| no_key())?;
        let public = STANDARD.encode(public.as_ref());
        let body = format!(
            r#"{{"certificate":"{certificate}","publicKey":"{public}","intermediateCertificates":["{issuer}"]}}"#
        );
        Ok(body.as_str().into())
    }

    /// Who signs that.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }
}

fn no_key() -> Error {
    Error::new(ErrorKind::Unavailable, "no key can be made for a login at Oracle's cloud")
}

/// A key that is made for one token.
pub struct SessionKey(RsaKeyPair);

impl SessionKey {
    /// Makes one.
    ///
    /// # Errors
    /// Where the machine has no randomness to give.
    pub fn new() -> Result<Self, Error> {
        RsaKeyPair::generate(KeySize::Rsa2048).map(Self).map_err(|_| no_key())
    }

    /// Who signs with it, since the cloud has given this token for it.
    pub fn signer(self, token: &SecretBytes) -> Signer {
        Signer::of_token(token, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_tells_its_tenancy() {
        // A name that goes on with bytes that are letters, too: the next set begins with 1.
        let of = |text: &str| [b"\x0c", &[text.len() as u8][..], text.as_bytes(), b"1\x1f0"].concat();
        assert_eq!(tenancy(&of("opc-tenant:ocid1.tenancy.oc1..aa")), Some("ocid1.tenancy.oc1..aa"));
        for other in ["opc-instance:ocid1.instance.x", "opc-tenant:", "opc-tenant:a\"b"] {
            assert_eq!(tenancy(&of(other)), None, "{other}");
        }
        assert_eq!(tenancy(b"opc-tenant:x"), None);
        assert_eq!(tenancy(b"\xffopc-tenant:x"), None, "it is cut off");
    }
}
