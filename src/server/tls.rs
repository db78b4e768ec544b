//! The certificate that `/metrics` is served with: from files, which whoever renews it replaces, or one of our own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// How old what was read from files may get.
const READ_EVERY: Duration = Duration::from_secs(10);

/// The certificate and its key.
pub struct Certificate {
    files: Option<Files>,
    held: Mutex<(TlsAcceptor, Instant)>,
    tell: Tell,
}

/// Is told when the certificate ends, whenever it was read.
pub type Tell = Box<dyn Fn(Timestamp) + Send + Sync>;

/// Where a certificate is: PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificate {
    /// That of these files; the error says which can't be read. `tell` is told when it ends.
    pub fn of(files: Files, tell: impl Fn(Timestamp) + Send + Sync + 'static) -> Result<Self, String> {
        let (acceptor, end) = files.read()?;
        end.into_iter().for_each(&tell);
        Ok(Self { files: Some(files), held: Mutex::new((acceptor, Instant::now())), tell: Box::new(tell) })
    }

    /// One that nobody has signed but itself, for as long as this process lives: who reads can't tell us from others.
    pub fn self_signed() -> Result<Self, String> {
        let failed = || "can't make a certificate for --metrics-secure".to_owned();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(|_| failed())?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(|_| failed())?;
        let acceptor = acceptor(vec![made.cert.der().clone()], key).ok_or_else(failed)?;
        Ok(Self { files: None, held: Mutex::new((acceptor, Instant::now())), tell: Box::new(|_| {}) })
    }

    /// What takes TLS connections with it, as it is now. While its files can't be read, what they held last is good.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = &self.files
            && held.1.elapsed() >= READ_EVERY
        {
            held.1 = Instant::now();
            match files.read() {
                Ok((acceptor, end)) => {
                    held.0 = acceptor;
                    end.into_iter().for_each(&self.tell);
                }
                Err(problem) => tracing::warn!("{problem}; the certificate that was read before is still served"),
            }
        }
        held.0.clone()
    }
}

impl Files {
    /// What takes connections with them, and when the certificate ends.
    fn read(&self) -> Result<(TlsAcceptor, Option<Timestamp>), String> {
        let problem = |what: &str, file: &PathBuf| format!("can't read the {what} of /metrics from {}", file.display());
        let chain =
            CertificateDer::pem_file_iter(&self.certificate).and_then(|chain| chain.collect::<Result<Vec<_>, _>>());
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| problem("certificate (--metrics-cert-name)", &self.certificate))?;
        let key = PrivateKeyDer::from_pem_file(&self.key);
        let key = key.map_err(|_| problem("key (--metrics-key-name)", &self.key))?;
        let files = || format!("{} and {}", self.certificate.display(), self.key.display());
        let end = chain.first().and_then(|certificate| end_of(certificate));
        acceptor(chain, key)
            .map(|acceptor| (acceptor, end))
            .ok_or_else(|| format!("the certificate and key of /metrics don't fit together: {}", files()))
    }
}

/// When a certificate ends.
fn end_of(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

fn acceptor(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Option<TlsAcceptor> {
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).ok()?;
    Some(TlsAcceptor::from(Arc::new(config)))
}
