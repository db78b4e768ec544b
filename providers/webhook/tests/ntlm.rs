//! What a server may answer to a login by NTLM instead of taking it. Who takes it, pyspnego, is in `tests/providers`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use keyferry_doubles::{Faults, Server};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, Error, ErrorKind, Key, Provider};
use keyferry_provider_testkit::MapCredentials;
use keyferry_provider_webhook::REGISTRATION;
use serde_json::{Value, json};

/// A challenge of the second version that says nothing of who makes it.
const CHALLENGE: &str = "TlRMTVNTUAACAAAAAAAAADgAAAABAoAAASNFZ4mrze8AAAAAAAAAAAAAAAA4AAAA";

async fn store(url: &str, more: Value, addresses: Addresses) -> Result<Arc<dyn Provider>, Error> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let credentials = MapCredentials::new().with("login/user", "canary-user").with("login/password", "canary-word");
    let secret = |key: &str| json!({"name": "login", "key": key});
    let mut spec = json!({
        "url": format!("{url}/{{{{ .remoteRef.key }}}}"),
        "result": {},
        "auth": {"ntlm": {"usernameSecret": secret("user"), "passwordSecret": secret("password")}},
    });
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    let mut ctx = BuildContext::new(Arc::new(credentials), Arc::new(())).trusted();
    ctx.addresses = addresses;
    (REGISTRATION.build)(&spec, ctx).await
}

/// The error of a read.
async fn refusal(store: &dyn Provider) -> Error {
    let key = Key { name: "k".into(), version: None, metadata: false };
    let error = match store.fetch(&[key]).await {
        Ok(mut answers) => answers.remove(0).unwrap_err(),
        Err(error) => error,
    };
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    error
}

/// A server that answers the first request by 401 and these offers, and all others by this status.
fn offering(offers: &[String], then: u16) -> Server {
    let (offers, asked) = (offers.to_vec(), Arc::new(AtomicUsize::new(0)));
    Server::start(Router::new().fallback(move || {
        let mut headers = HeaderMap::new();
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        for offer in offers.iter().filter(|_| first) {
            headers.append("www-authenticate", offer.parse().unwrap());
        }
        let status = StatusCode::from_u16(if first { 401 } else { then }).unwrap();
        async move { (status, headers, "canary of a body") }
    }))
}

#[tokio::test]
async fn what_is_no_challenge_is_told_and_not_answered() {
    let long = format!("NTLM {}", "A".repeat(64 << 10));
    for (offers, kind, words) in [
        (&[][..], ErrorKind::Unauthenticated, "offers no login by NTLM"),
        (&["Basic realm=\"canary\""], ErrorKind::Unauthenticated, "offers no login by NTLM"),
        (&["NTLM"], ErrorKind::Unauthenticated, "begins the login by NTLM anew"),
        (&["Negotiate", "NTLM"], ErrorKind::Unauthenticated, "begins the login by NTLM anew"),
        (&["NTLM canary!"], ErrorKind::Malformed, "no challenge"),
        (&["NTLM Y2FuYXJ5"], ErrorKind::Malformed, "no challenge"),
        // A message of the first step, sent back.
        (
            &["NTLM TlRMTVNTUAABAAAAAAAAADgAAAABAoAAASNFZ4mrze8AAAAAAAAAAAAAAAA4AAAA"],
            ErrorKind::Malformed,
            "no challenge",
        ),
        // One that says it is longer than it is.
        (&["NTLM TlRMTVNTUAACAAAAAAAAADgAAAABAoAAASNFZ4mrze8AAAAAAAAAAP//AAA4AAAA"], ErrorKind::Malformed, "is broken"),
        // One that knows no Unicode.
        (
            &["NTLM TlRMTVNTUAACAAAAAAAAADgAAAACAoAAASNFZ4mrze8AAAAAAAAAAAAAAAA4AAAA"],
            ErrorKind::Malformed,
            "in Unicode",
        ),
        (&[long.as_str()], ErrorKind::Malformed, "no challenge"),
    ] {
        let offers: Vec<_> = offers.iter().map(|offer| (*offer).to_owned()).collect();
        let server = offering(&offers, 200);
        let error = refusal(&*store(&server.url(), json!({}), Addresses::anywhere()).await.unwrap()).await;
        assert!(error.kind() == kind && error.message().contains(words), "{offers:?}: {error}");
        assert_eq!(server.calls().len(), 1, "{offers:?}");
    }
}

#[tokio::test]
async fn a_status_after_the_login_has_its_usual_meaning() {
    for (status, kind, words) in [
        (401, ErrorKind::Unauthenticated, "check spec.provider.webhook.auth.ntlm"),
        (403, ErrorKind::Denied, "does not let us use"),
        (404, ErrorKind::NotFound, "has no"),
        (302, ErrorKind::Invalid, "redirects"),
        (503, ErrorKind::Unavailable, "has a problem"),
    ] {
        let server = offering(&[format!("NTLM {CHALLENGE}")], status);
        let error = refusal(&*store(&server.url(), json!({}), Addresses::anywhere()).await.unwrap()).await;
        assert!(error.kind() == kind && error.message().contains(words), "{status}: {error}");
        assert_eq!(server.calls().len(), 2, "{status}");
    }
}

#[tokio::test]
async fn the_login_is_within_the_time_of_the_call_and_the_addresses_of_the_store() {
    let server = offering(&[format!("NTLM {CHALLENGE}")], 200);
    server.fail(Faults { delay: Duration::from_millis(400), ..Faults::default() });
    let slow = store(&server.url(), json!({"timeout": "600ms"}), Addresses::anywhere()).await.unwrap();
    let error = refusal(&*slow).await;
    assert!(error.kind() == ErrorKind::Timeout && error.message().contains("within 600ms"), "{error}");
    server.take_calls();
    let confined = store(&server.url(), json!({}), Addresses::default()).await.unwrap();
    let error = refusal(&*confined).await;
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("leads to 127.0.0.1"), "{error}");
    assert!(server.calls().is_empty());
}
