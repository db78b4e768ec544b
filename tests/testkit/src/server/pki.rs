//! Keys and certificates of a control plane, made anew for each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use crate::node;

/// The names under which pods and tests reach the API server.
const API_SERVER_NAMES: [&str; 8] = [
    "127.0.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    node::ADDRESS,
    node::API_SERVICE,
];

/// The files, as the API server wants them.
#[derive(Debug, Clone)]
pub(crate) struct Pki {
    pub ca: PathBuf,
    /// The CA's text, to hand on.
    pub ca_pem: String,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Of the API server, as a client of kubelets.
    pub client_certificate: PathBuf,
    pub client_key: PathBuf,
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
        let client_key = KeyPair::generate()?;
        let client = client_params().signed_by(&client_key, &ca)?;
        let service_account = KeyPair::generate()?;
        Ok(Self {
            ca: write("ca.crt", &ca.pem())?,
            ca_pem: ca.pem(),
            certificate: write("apiserver.crt", &certificate.pem())?,
            key: write("apiserver.key", &key.serialize_pem())?,
            client_certificate: write("apiserver-client.crt", &client.pem())?,
            client_key: write("apiserver-client.key", &client_key.serialize_pem())?,
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

/// An admin, as far as kubelets are concerned.
fn client_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("kube-apiserver");
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}
