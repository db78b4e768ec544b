//! The way to the server, and how it fails: each cause has a message of its own.

mod double;

use std::sync::Arc;
use std::time::Duration;

use double::{CANARY, Double, Reply, answer, build, crypto, expect, fetch, kv2, store};
use keyferry_provider_core::{Error, ErrorKind};
use keyferry_provider_testkit::MapCredentials;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

async fn error(url: &str, more: Value) -> Error {
    fetch(&*store(url, more).await.unwrap(), "app").await.unwrap_err()
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    expect(&error(&url, json!({})).await, ErrorKind::Unavailable, "refuses connections");
}

#[tokio::test]
async fn the_name_does_not_resolve() {
    let error = error("http://no-such-host.invalid:8200", json!({})).await;
    expect(&error, ErrorKind::Unavailable, "the name no-such-host.invalid can't be resolved");
}

#[tokio::test]
async fn no_answer_in_time() {
    let double = Double::new(|_| Reply::Silence).await;
    let store = double.store(json!({})).await;
    let call = tokio::spawn(async move { fetch(&*store, "app").await });
    while double.take().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::pause(); // from here on time passes as soon as everybody waits
    let start = tokio::time::Instant::now();
    expect(&call.await.unwrap().unwrap_err(), ErrorKind::Timeout, "within 30s");
    assert!(start.elapsed() > Duration::from_secs(25));
}

#[tokio::test]
async fn the_connection_ends_in_the_middle() {
    for bytes in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\""] {
        let double = Double::new(move |_| Reply::Raw(bytes.into())).await;
        expect(&double.error().await, ErrorKind::Unavailable, "closed the connection");
    }
}

/// A CA and what it signs.
struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

struct Leaf {
    certificate: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Ca {
    fn new() -> Self {
        Self::named("a test's CA")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    fn sign(&self, name: &str, years: (i32, i32)) -> Leaf {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        Leaf { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.params.self_signed(&self.key).unwrap().der().clone()).unwrap();
        Arc::new(roots)
    }
}

/// A server that shows `leaf`, and wants certificates of `clients`.
async fn server(leaf: &Leaf, clients: Option<&Ca>) -> Double {
    crypto();
    let config = match clients {
        Some(ca) => ServerConfig::builder()
            .with_client_cert_verifier(WebPkiClientVerifier::builder(ca.roots()).build().unwrap()),
        None => ServerConfig::builder().with_no_client_auth(),
    };
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf.key.serialize_der()));
    let config = config.with_single_cert(vec![leaf.certificate.clone()], key).unwrap();
    let reply = |_: &_| answer(200, kv2(json!({"a": "b"})));
    Double::with_tls(Some(TlsAcceptor::from(Arc::new(config))), reply).await
}

#[tokio::test]
async fn certificates() {
    let ca = Ca::new();
    let good = server(&ca.sign("127.0.0.1", (2020, 2100)), None).await;
    let url = format!("https://{}", good.address);
    let trusting = json!({"caBundle": ca.pem});

    assert_eq!(fetch(&*store(&url, trusting.clone()).await.unwrap(), "app").await.unwrap(), r#"{"a":"b"}"#);
    let spec =
        json!({"server": url, "path": "secret", "caProvider": {"type": "ConfigMap", "name": "ca", "key": "pem"}});
    let with_ca = |pem: &str| MapCredentials::new().with("ca/pem", pem);
    assert!(fetch(&*build(spec.clone(), with_ca(&ca.pem)).await.unwrap(), "app").await.is_ok());
    let stranger = Ca::new().pem;
    let both = format!("{stranger}\n{}", ca.pem);
    assert!(fetch(&*build(spec.clone(), with_ca(&both)).await.unwrap(), "app").await.is_ok());

    for stranger in [stranger, Ca::named("somebody else").pem] {
        expect(&error(&url, json!({"caBundle": stranger})).await, ErrorKind::Tls, "unknown authority: set or renew");
    }
    expect(&error(&url, json!({})).await, ErrorKind::Tls, "unknown authority"); // the system's do not know it
    for bad in ["-----BEGIN CERTIFICATE-----\ncanary-96aa1f\n-----END CERTIFICATE-----\n", CANARY, ""] {
        let error = build(spec.clone(), with_ca(bad)).await.err().unwrap();
        expect(&error, ErrorKind::Invalid, "spec.provider.vault.caProvider");
    }

    for (name, years, words) in [
        ("vault.example.com", (2020, 2100), "is for another name"),
        ("127.0.0.1", (2020, 2021), "has expired"),
        ("127.0.0.1", (2099, 2100), "is not valid yet"),
    ] {
        let server = server(&ca.sign(name, years), None).await;
        let error = error(&format!("https://{}", server.address), trusting.clone()).await;
        expect(&error, ErrorKind::Tls, words);
    }
}

#[tokio::test]
async fn client_certificates() {
    let (ca, clients) = (Ca::new(), Ca::new());
    let server = server(&ca.sign("127.0.0.1", (2020, 2100)), Some(&clients)).await;
    let url = format!("https://{}", server.address);
    let spec = |tls: Value| json!({"server": url, "path": "secret", "caBundle": ca.pem, "tls": tls});
    let named = || json!({"certSecretRef": {"name": "mine"}, "keySecretRef": {"name": "mine"}});
    let with = |leaf: &Leaf| {
        MapCredentials::new().with("mine/tls.crt", &leaf.pem).with("mine/tls.key", leaf.key.serialize_pem())
    };
    let mine = clients.sign("keyferry", (2020, 2100));
    let store = build(spec(named()), with(&mine)).await.unwrap();
    assert_eq!(fetch(&*store, "app").await.unwrap(), r#"{"a":"b"}"#);

    for credentials in [None, Some(with(&Ca::new().sign("keyferry", (2020, 2100))))] {
        let spec = spec(if credentials.is_some() { named() } else { json!(null) });
        let store = build(spec, credentials.unwrap_or_default()).await.unwrap();
        expect(&fetch(&*store, "app").await.unwrap_err(), ErrorKind::Tls, "spec.provider.vault.tls");
    }
    let other = clients.sign("keyferry", (2020, 2100));
    for (cert, key) in [
        (mine.pem.as_str(), CANARY),
        (CANARY, &*mine.key.serialize_pem()),
        (&mine.pem, &mine.pem),
        (&mine.pem, &other.key.serialize_pem()),
    ] {
        let credentials = MapCredentials::new().with("mine/tls.crt", cert).with("mine/tls.key", key);
        let error = build(spec(named()), credentials).await.err().unwrap();
        expect(&error, ErrorKind::Invalid, "spec.provider.vault.tls");
    }
}

#[tokio::test]
async fn tls_against_plain_http_and_the_reverse() {
    let ca = Ca::new();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", plain.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            // What a server says to bytes that are no request.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    expect(&error(&url, json!({"caBundle": ca.pem})).await, ErrorKind::Tls, "may need http://");

    let server = server(&ca.sign("127.0.0.1", (2020, 2100)), None).await;
    let error = error(&server.url(), json!({})).await;
    expect(&error, ErrorKind::Unavailable, "does not speak HTTP: check spec.provider.vault.server");
}
