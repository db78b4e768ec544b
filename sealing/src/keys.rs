//! Pairs of keys, as Sealed Secrets' controller keeps them: an RSA key, and a certificate in which the public one travels.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{
    KeySize, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use keyferry_keys::pem;
use keyferry_keys::private::PrivateKey;
use keyferry_limits::DOCUMENT_KEYS;
use keyferry_provider_core::{Error, SecretBytes};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_RSA_SHA256, date_time_ymd};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The label of Secrets that hold a pair, as Sealed Secrets has it.
pub const LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";
/// Its value where the pair is in use.
pub const ACTIVE: &str = "active";
/// The key of such a Secret under which the certificate is.
pub const CERTIFICATE: &str = "tls.crt";
/// The key of such a Secret under which the private key is.
pub const PRIVATE: &str = "tls.key";

/// The sizes that a pair may have, in bits.
const SIZES: [(u16, KeySize); 4] =
    [(2048, KeySize::Rsa2048), (3072, KeySize::Rsa3072), (4096, KeySize::Rsa4096), (8192, KeySize::Rsa8192)];

/// For how many years a certificate is made. It is no promise of anybody: what ends is the use of a pair for new values.
const YEARS: i16 = 10;

/// What values are sealed with.
pub struct PublicKey {
    pub(crate) key: OaepPublicEncryptingKey,
    id: String,
}

impl PublicKey {
    /// That of a certificate in PEM: the first of several.
    pub fn of_certificate(text: &[u8]) -> Result<Self, Error> {
        let (key, _) = certified(text)?;
        Ok(key)
    }

    /// A name for it, by which it is known again: it stands in what it sealed.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// The public key of a certificate, and when that begins to be good.
fn certified(text: &[u8]) -> Result<(PublicKey, i64), Error> {
    let wrong = || Error::invalid("the certificate is none: it must be PEM, with an RSA key of 2048 to 8192 bits");
    let mut rest = text;
    let block = loop {
        let (block, after) = pem::decode(rest);
        let block = block.ok_or_else(wrong)?;
        if block.kind == b"CERTIFICATE" {
            break block;
        }
        rest = after;
    };
    let (_, certificate) = X509Certificate::from_der(&block.bytes).map_err(|_| wrong())?;
    let info = certificate.tbs_certificate.subject_pki.raw;
    let key = PublicEncryptingKey::from_der(info).map_err(|_| wrong())?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| wrong())?;
    let id = digest(&SHA256, info).as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((PublicKey { key, id }, certificate.validity().not_before.timestamp()))
}

/// A pair.
pub struct SealingKey {
    pub(crate) private: OaepPrivateDecryptingKey,
    public: PublicKey,
    certificate: String,
    since: i64,
}

impl SealingKey {
    /// From PEM. Of several pairs the one that is there `since` last seals; where nobody says since when, its certificate does.
    ///
    /// # Errors
    /// `Invalid`, where either is not of its form, or they don't belong together.
    pub fn of_pem(certificate: &[u8], private: &[u8], since: Option<i64>) -> Result<Self, Error> {
        let (public, not_before) = certified(certificate)?;
        let wrong = || Error::invalid("the private key is none: it must be PEM, an RSA key of 2048 to 8192 bits");
        let (block, _) = pem::decode(private);
        let block = block.ok_or_else(wrong)?;
        let is_pkcs1 = block.kind == b"RSA PRIVATE KEY";
        let parsed = if is_pkcs1 { PrivateKey::pkcs1(&block.bytes).and_then(|key| key.to_pkcs8()) } else { None };
        let pkcs8 = if is_pkcs1 { parsed.ok_or_else(wrong)? } else { block.bytes };
        let key = PrivateDecryptingKey::from_pkcs8(&pkcs8).map_err(|_| wrong())?;
        let private = OaepPrivateDecryptingKey::new(key).map_err(|_| wrong())?;
        let certificate =
            String::from_utf8(certificate.to_vec()).map_err(|_| Error::invalid("the certificate is not PEM"))?;
        let key = Self { private, public, certificate, since: since.unwrap_or(not_before) };
        key.check()?;
        Ok(key)
    }

    /// Whether what the one key seals the other opens.
    fn check(&self) -> Result<(), Error> {
        let scope = keyferry_provider_core::Scope::AnySecret;
        let sealed = crate::seal(&self.public, &scope, b"")?;
        let opened = crate::envelope::open_with(&self.private, &sealed, &scope.label());
        opened.map(|_| ()).map_err(|_| Error::invalid("the private key is not that of the certificate"))
    }

    /// What others seal with.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The certificate: PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Since when it is there, in seconds.
    pub fn since(&self) -> i64 {
        self.since
    }
}

/// A pair that was made, as a Secret holds it: PEM.
pub struct Generated {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub private: SecretBytes,
}

impl Generated {
    /// A pair of so many bits. Of 4096 it takes a processor up to some seconds.
    pub fn new(now: Timestamp, bits: u16) -> Result<Self, Error> {
        let failed = || Error::invalid("no sealing key could be made, which is a fault of keyferry");
        let size = SIZES.iter().find(|(size, _)| *size == bits);
        let (_, size) = size.ok_or_else(|| Error::invalid("a sealing key has 2048, 3072, 4096 or 8192 bits"))?;
        let key = PrivateDecryptingKey::generate(*size).map_err(|_| failed())?;
        let der: Pkcs8V1Der<'static> = key.as_der().map_err(|_| failed())?;
        let der = zeroize::Zeroizing::new(der.as_ref().to_vec());
        let pair =
            KeyPair::from_pkcs8_der_and_sign_algo(&der.as_slice().into(), &PKCS_RSA_SHA256).map_err(|_| failed())?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let today = now.to_zoned(TimeZone::UTC).date();
        let at = |year: i16| {
            let (month, day) = (today.month().unsigned_abs(), today.day().unsigned_abs());
            // There is such a day in each year.
            date_time_ymd(i32::from(year), month, if (month, day) == (2, 29) { 28 } else { day })
        };
        (params.not_before, params.not_after) = (at(today.year()), at(today.year() + YEARS));
        let certificate = params.self_signed(&pair).map_err(|_| failed())?.pem();
        let private = SecretBytes::new(pem::text("PRIVATE KEY", &der).to_vec());
        Ok(Self { certificate, private })
    }
}

/// All pairs that open, the latest first: that one seals.
#[derive(Default)]
pub struct SealingKeys(Vec<SealingKey>);

impl SealingKeys {
    /// These, in any order.
    pub fn new(mut all: Vec<SealingKey>) -> Result<Self, Error> {
        if all.len() > DOCUMENT_KEYS.size() {
            return Err(Error::limit(&DOCUMENT_KEYS));
        }
        all.sort_by(|one, other| (other.since, &other.public.id).cmp(&(one.since, &one.public.id)));
        Ok(Self(all))
    }

    /// The one that seals.
    pub fn latest(&self) -> Option<&SealingKey> {
        self.0.first()
    }

    /// All of them, the latest first.
    pub fn all(&self) -> &[SealingKey] {
        &self.0
    }
}

impl std::fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| key.public.id())).finish()
    }
}
