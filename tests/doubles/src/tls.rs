//! A CA of tests, and what it signs.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;

/// A CA that signs a server's certificate, and clients' where they log in with one.
pub struct Authority {
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// Where no key can be made.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Another name than that of what it signs, which OpenSSL would take for signed by itself.
        params.distinguished_name.push(rcgen::DnType::CommonName, "A CA of tests");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        Self { ca }
    }

    /// Its certificate, as PEM: what clients trust.
    pub fn pem(&self) -> String {
        self.ca.pem()
    }

    /// A client's certificate with this common name, and its key, as PEM.
    ///
    /// # Panics
    /// Where the name can't stand in a certificate.
    pub fn client(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.ca).expect("a certificate").pem(), key.serialize_pem())
    }

    /// For a server on loopback, which takes clients' certificates of this CA and asks nobody for one.
    pub(crate) fn server(&self) -> ServerConfig {
        // An error means that a provider is installed already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // The last are for servers behind a proxy, which alone knows them by such names.
        let names = ["127.0.0.1", "localhost", "*.stores.test", "*.vault.double", "*.vault.azure.net"];
        let names = names.map(str::to_owned);
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.ca).expect("a certificate");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.der().clone()).expect("a CA");
        let clients =
            WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build().expect("a verifier");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("a key that fits")
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
