//! Whom a store trusts that names nobody: what the environment names.

use std::process::Command;

use axum::Router;
use axum::routing::get;
use keyferry_doubles::Server;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{Error, ErrorKind};
use keyferry_provider_http::{Fields, Way, server_url};

const FIELDS: Fields = Fields { server: "the.server", ca: "the.ca", identity: "the.identity" };

/// Tells the process that it is one of those below, and where the server is.
const URL: &str = "KEYFERRY_TEST_URL";

/// A whole request without a CA of the store's own.
async fn read(url: &str) -> Result<u16, Error> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let way = Way::new(server_url(url, FIELDS.server, "https://example.com")?, FIELDS);
    let client = way.client(way.client_builder(&Addresses::anywhere())?, None, None)?;
    let answer = client.get(format!("{url}/secret")).send().await.map_err(|error| way.error(&error))?;
    Ok(answer.status().as_u16())
}

/// The environment is that of a process of its own, which runs this same test.
#[tokio::test]
async fn certificates_of_the_environment_are_trusted() {
    if let Some(url) = std::env::var_os(URL) {
        assert_eq!(read(url.to_str().unwrap()).await, Ok(200));
        return;
    }
    let server = Server::start_tls(Router::new().route("/secret", get(async || "value")));
    assert_eq!(read(&server.url()).await.unwrap_err().kind(), ErrorKind::Tls);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, server.authority().pem()).unwrap();
    for (variable, place) in [("SSL_CERT_FILE", file.as_path()), ("SSL_CERT_DIR", folder.path())] {
        let ran = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "certificates_of_the_environment_are_trusted"])
            .env(URL, server.url())
            .env_remove("SSL_CERT_FILE")
            .env_remove("SSL_CERT_DIR")
            .env(variable, place)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{variable}: {}", String::from_utf8_lossy(&ran.stdout));
    }
    assert_eq!(server.calls().len(), 2);
}
