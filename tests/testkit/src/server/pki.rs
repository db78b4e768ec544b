//! Keys and certificates of a control plane, made anew for each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// The names under which pods and tests reach the API server.
const API_SERVER_NAMES: [&str; 6] = [
    "127.0.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// The files, as the API server wants them.
#[derive(Debug, Clone)]
pub(super) struct Pki {
    pub ca: PathBuf,
    /// The CA's text, to hand on.
    pub ca_pem: String,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub service_account_key: PathBuf,
    pub service_account_public_key: PathBuf,
}

impl Pki {
    pub fn create(dir: &Path) -> Result<Self> {
        let write = |name: &str, pem: &str| {
            let file = dir.join(name);
            fs::write(&file, pem).with_context(|| format!("cannot write {}", file.display()))?;
            Ok::<_, anyhow::Error>(file)
        };
        let ca = CertifiedIssuer::self_signed(ca_params(), KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = server_params()?.signed_by(&key, &ca)?;
        let service_account = KeyPair::generate()?;
        Ok(Self {
            ca: write("ca.crt", &ca.pem())?,
            ca_pem: ca.pem(),
            certificate: write("apiserver.crt", &certificate.pem())?,
            key: write("apiserver.key", &key.serialize_pem())?,
            service_account_key: write("sa.key", &service_account.serialize_pem())?,
            service_account_public_key: write("sa.pub", &service_account.public_key_pem())?,
        })
    }
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("testbed-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server_params() -> Result<CertificateParams> {
    let names: Vec<String> = API_SERVER_NAMES.map(str::to_owned).into();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = common_name("kube-apiserver");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}
