//! A server that wants a login by NTLM, of pyspnego.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use keyferry_testkit::process::Process;
use keyferry_testkit::{eventually, install};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SignatureAlgorithm};
use serde_json::Value;
use tempfile::TempDir;

/// The password of all users.
pub const PASSWORD: &str = "canary-of-the-pässword";

/// Users as NTLM names them, one of a domain, one whose domain the server finds out, and one of the server itself.
pub const USERS: [&str; 3] = ["LAB\\app", "app@lab.example", "plain"];

/// A name that the certificates are for, too: for a server behind a proxy.
pub const NAME: &str = "ntlm.stores.test";

/// A running server.
pub struct Acceptor {
    port: u16,
    log: PathBuf,
    ca: Option<String>,
    _process: Process,
    // Declared last: the server ends before its folder goes.
    _folder: TempDir,
}

/// A certificate for loopback with its key and its CA, signed in this way.
struct Identity {
    certificate: String,
    key: String,
    ca: String,
}

impl Identity {
    fn new(by: &'static SignatureAlgorithm) -> Self {
        let mut of_ca = CertificateParams::default();
        of_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        of_ca.distinguished_name.push(rcgen::DnType::CommonName, "A CA of tests");
        let ca = CertifiedIssuer::self_signed(of_ca, KeyPair::generate_for(by).unwrap()).unwrap();
        let key = KeyPair::generate_for(by).unwrap();
        let leaf = CertificateParams::new(["127.0.0.1".to_owned(), NAME.to_owned()]).unwrap();
        let certificate = leaf.signed_by(&key, &ca).unwrap().pem();
        Self { certificate, key: key.serialize_pem(), ca: ca.pem() }
    }
}

impl Acceptor {
    /// By plain HTTP.
    pub async fn start() -> Self {
        Self::begin(None, None).await
    }

    /// By TLS, with a certificate that is signed in this way, which logins must hold for.
    pub async fn start_tls(by: &'static SignatureAlgorithm) -> Self {
        Self::begin(Some(Identity::new(by)), None).await
    }

    /// By TLS, where logins must hold for another channel: as one does that somebody in between passes on.
    pub async fn start_elsewhere() -> Self {
        let by = &rcgen::PKCS_ECDSA_P256_SHA256;
        Self::begin(Some(Identity::new(by)), Some(Identity::new(by))).await
    }

    async fn begin(identity: Option<Identity>, elsewhere: Option<Identity>) -> Self {
        let folder = tempfile::Builder::new().prefix("keyferry-ntlm-").tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let users: String = USERS
            .iter()
            .map(|user| {
                let (domain, name) = user.split_once('\\').unwrap_or(("", user));
                format!("{domain}:{name}:{PASSWORD}\n")
            })
            .collect();
        fs::write(at("users"), users).unwrap();
        let mut command = Command::new(install::clients().unwrap());
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ntlm/acceptor.py"));
        command.env("PORT_FILE", at("port")).env("LOG_FILE", at("requests")).env("NTLM_USER_FILE", at("users"));
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
        if let Some(identity) = &identity {
            fs::write(at("certificate"), &identity.certificate).unwrap();
            fs::write(at("key"), &identity.key).unwrap();
            command.env("CERTIFICATE", at("certificate")).env("KEY", at("key"));
        }
        if let Some(other) = &elsewhere {
            fs::write(at("other"), &other.certificate).unwrap();
            command.env("BOUND_TO", at("other"));
        }
        let process = Process::start("an acceptor of NTLM", command, &at("output")).unwrap();
        // It tells its port once it serves.
        let port = eventually(Duration::from_secs(60), || async {
            fs::read_to_string(at("port")).map_err(|_| fs::read_to_string(at("output")).unwrap_or_default())
        })
        .await;
        let log = at("requests");
        let ca = identity.map(|identity| identity.ca);
        Self { port: port.parse().unwrap(), log, ca, _process: process, _folder: folder }
    }

    /// Where it is, without a slash at the end.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.ca.is_some() { "https" } else { "http" }, self.port)
    }

    /// The same as `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its CA, where it speaks TLS.
    pub fn ca(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    /// The requests since the last time.
    pub fn take(&self) -> Vec<Value> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let _ = fs::remove_file(&self.log);
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
