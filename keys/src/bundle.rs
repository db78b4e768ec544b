//! A certificate with its key, in whichever form people keep them.

use std::fmt;

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Meter, PrivateKey, pem, pkcs12};

/// What a file holds.
pub struct Bundle {
    /// The key, where there is one.
    pub key: Option<PrivateKey>,
    /// The certificates, each in DER, as they stand in the file.
    pub certificates: Vec<Vec<u8>>,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("certificates", &self.certificates.len()).finish_non_exhaustive()
    }
}

impl Bundle {
    /// Reads PEM blocks, a PKCS #12 file without a password, or one certificate in DER.
    ///
    /// # Errors
    /// Where it is none of these, holds no certificate, or asks for too much.
    pub fn read<M: Meter>(meter: &mut M, file: &[u8]) -> Result<Self, M::Error> {
        let bundle = if pem::decode(file).0.is_some() {
            Self::of_pem(meter, file)?
        } else if is_certificate(file) {
            Self { key: None, certificates: vec![file.to_vec()] }
        } else {
            let pkcs12::Contents { key, certificates } = pkcs12::read(meter, file, b"")?;
            Self { key: Some(key), certificates }
        };
        if bundle.certificates.is_empty() {
            return Err("there is no certificate".into());
        }
        if !bundle.certificates.iter().all(|der| is_certificate(der)) {
            return Err("a certificate is malformed".into());
        }
        Ok(bundle)
    }

    fn of_pem<M: Meter>(meter: &mut M, text: &[u8]) -> Result<Self, M::Error> {
        let (mut bundle, mut rest) = (Self { key: None, certificates: Vec::new() }, text);
        while let (Some(block), after) = pem::decode(rest) {
            meter.spend(100)?;
            match block.kind.as_slice() {
                b"CERTIFICATE" => bundle.certificates.push(block.bytes.to_vec()),
                b"PRIVATE KEY" | b"RSA PRIVATE KEY" | b"EC PRIVATE KEY" if bundle.key.is_some() => {
                    return Err("there are several private keys".into());
                }
                b"PRIVATE KEY" | b"RSA PRIVATE KEY" | b"EC PRIVATE KEY" => {
                    meter.check(block.bytes.len())?;
                    bundle.key = Some(PrivateKey::parse(&block.bytes).ok_or("the private key can't be read")?);
                }
                b"ENCRYPTED PRIVATE KEY" => return Err("the private key is encrypted".into()),
                // Parameters of a curve, attributes of a bag, and the like.
                _ => {}
            }
            rest = after;
        }
        Ok(bundle)
    }

    /// The certificate that belongs to the key.
    pub fn own_certificate(&self) -> Option<&[u8]> {
        let public = self.key.as_ref()?.public_bits()?;
        self.certificates.iter().map(Vec::as_slice).find(|der| {
            let parsed = X509Certificate::from_der(der).ok();
            parsed.is_some_and(|(_, parsed)| *parsed.public_key().subject_public_key.data == *public)
        })
    }
}

fn is_certificate(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(rest, _)| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};

    use super::*;
    use crate::Steps;

    fn read(file: &[u8]) -> Result<Bundle, &'static str> {
        Bundle::read(&mut Steps(1_000_000), file)
    }

    #[test]
    fn pem_in_any_order_and_der() {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        let other = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (key_pem, pem) = (key.serialize_pem(), certificate.pem());
        for text in [format!("{key_pem}{pem}{}", other.pem()), format!("words\n{}{pem}{key_pem}\n\n", other.pem())] {
            let bundle = read(text.as_bytes()).unwrap();
            assert!(bundle.key.is_some() && bundle.certificates.len() == 2);
            assert_eq!(bundle.own_certificate(), Some(certificate.der().as_ref()));
        }
        let bundle = read(certificate.der()).unwrap();
        assert!(bundle.key.is_none() && bundle.certificates.len() == 1 && bundle.own_certificate().is_none());
        let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let certificate = CertificateParams::default().self_signed(&rsa).unwrap();
        let bundle = read(format!("{}{}{}", other.pem(), rsa.serialize_pem(), certificate.pem()).as_bytes()).unwrap();
        assert_eq!(bundle.own_certificate(), Some(certificate.der().as_ref()));
    }

    #[test]
    fn what_holds_no_certificate_is_refused() {
        let key = KeyPair::generate().unwrap().serialize_pem();
        for (file, words) in [
            (String::new(), "malformed PKCS #12"),
            ("canary".to_owned(), "malformed PKCS #12"),
            (key.clone(), "no certificate"),
            (format!("{key}{key}"), "several private keys"),
            (pem_of("CERTIFICATE"), "malformed"),
            (pem_of("PRIVATE KEY"), "can't be read"),
            (pem_of("ENCRYPTED PRIVATE KEY"), "encrypted"),
        ] {
            assert!(read(file.as_bytes()).unwrap_err().contains(words), "{words}");
        }
        assert_eq!(Bundle::read(&mut Steps(99), key.as_bytes()).unwrap_err(), "the file asks for too much work");
    }

    #[test]
    fn pkcs12_without_a_password_protected_or_not() {
        let pem = read(include_bytes!("../tests/fixtures/bundle.pem")).unwrap();
        for file in
            [&include_bytes!("../tests/fixtures/bundle.p12")[..], include_bytes!("../tests/fixtures/protected.p12")]
        {
            let bundle = read(file).unwrap();
            assert_eq!(bundle.own_certificate(), pem.own_certificate());
            assert_eq!(bundle.key.unwrap().to_pkcs8(), pem.key.as_ref().unwrap().to_pkcs8());
        }
        let locked = include_bytes!("../tests/fixtures/locked.p12");
        assert_eq!(read(locked).unwrap_err(), "decryption password incorrect");
        assert_eq!(Bundle::read(&mut Steps(1000), locked).unwrap_err(), "the file asks for too much work");
    }

    fn pem_of(kind: &str) -> String {
        String::from_utf8(pem::text(kind, b"canary").to_vec()).unwrap()
    }
}
