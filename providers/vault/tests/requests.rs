//! What the store sends, and where.

mod double;

use double::{CANARY, Double, Reply, answer, build, context, crypto, expect, fetch, kv2};
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::{BuildContext, ErrorKind};
use keyferry_provider_testkit::MapCredentials;
use keyferry_provider_vault::REGISTRATION;
use serde_json::json;

#[tokio::test]
async fn headers_of_a_read() {
    let double = Double::new(|_| answer(200, kv2(json!({})))).await;
    let store = double
        .store(json!({
            "namespace": "team/a", "readYourWrites": true, "forwardInconsistent": true,
            "headers": {"X-Plain": "one", "X-Object": {"value": "two"},
                "X-Secret": {"secretKeyRef": {"name": "token", "key": "key"}}},
        }))
        .await;
    fetch(&*store, "a b/ü").await.unwrap();
    let [request] = &double.take()[..] else { panic!("one request") };
    assert_eq!(request.line, "GET /v1/secret/data/a%20b/%C3%BC");
    let token = format!("{CANARY}-token");
    for (name, value) in [
        ("x-vault-token", &*token),
        ("x-vault-request", "true"),
        ("x-vault-namespace", "team/a"),
        ("x-vault-inconsistent", "forward-active-node"),
        ("x-plain", "one"),
        ("x-object", "two"),
        ("x-secret", &token),
        ("user-agent", concat!("keyferry/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn nothing_is_sent_that_was_not_asked_for() {
    let double = Double::new(|_| answer(200, kv2(json!({})))).await;
    let spec = json!({"server": format!("{}/prefix/", double.url()), "forwardInconsistent": true});
    let store = build(spec, MapCredentials::new()).await.unwrap();
    fetch(&*store, "secret/app").await.unwrap();
    let [request] = &double.take()[..] else { panic!("one request") };
    assert_eq!(request.line, "GET /prefix/v1/secret/data/app");
    for name in ["x-vault-token", "x-vault-namespace", "x-vault-inconsistent", "x-vault-index"] {
        assert_eq!(request.header(name), None);
    }
    // An agent in between adds the token; without one the server's answer says what is missing.
    let double = Double::new(|_| answer(403, json!({"errors": ["permission denied"]}))).await;
    let store = build(json!({"server": double.url()}), MapCredentials::new()).await.unwrap();
    expect(&fetch(&*store, "secret/app").await.unwrap_err(), ErrorKind::Denied, "secret/data/app");
    expect(&store.validate().await.unwrap_err(), ErrorKind::Unauthenticated, "set spec.provider.vault.auth");
    assert_eq!(double.take().len(), 2);
}

#[tokio::test]
async fn a_login_and_the_state_it_left() {
    let double = Double::new(|request| match request.line.as_str() {
        "POST /v1/auth/approle/login" => {
            let body =
                json!({"auth": {"client_token": format!("{CANARY}-new"), "lease_duration": 0, "renewable": false}});
            Reply::Http(200, "X-Vault-Index: state-1\r\n", body.to_string().into_bytes())
        }
        _ => answer(200, kv2(json!({}))),
    })
    .await;
    let mut spec = json!({"server": double.url(), "path": "secret", "namespace": "child",
        "auth": {"namespace": "parent", "appRole": {"roleRef": {"name": "r", "key": "k"},
            "secretRef": {"name": "s", "key": "k"}}}});
    let credentials = || MapCredentials::new().with("r/k", "role\n").with("s/k", "se\"cr\\et-ü\n");
    for (wanted, index) in [(json!(true), Some("state-1")), (json!(null), None)] {
        spec["readYourWrites"] = wanted;
        let store = build(spec.clone(), credentials()).await.unwrap();
        fetch(&*store, "app").await.unwrap();
        let requests = double.take();
        // The token of the store of before is revoked when that suits.
        let mut asked = requests.iter().filter(|request| !request.line.ends_with("/revoke-self"));
        let (Some(login), Some(read), None) = (asked.next(), asked.next(), asked.next()) else {
            panic!("two requests")
        };
        assert_eq!(login.body, r#"{"role_id":"role","secret_id":"se\"cr\\et-ü"}"#);
        assert_eq!((login.header("x-vault-token"), login.header("x-vault-namespace")), (None, Some("parent")));
        assert_eq!(read.header("x-vault-token"), Some("canary-96aa1f-new"));
        assert_eq!((read.header("x-vault-index"), read.header("x-vault-namespace")), (index, Some("child")));
    }
}

#[tokio::test]
async fn credentials_that_no_request_can_carry() {
    let header = json!({"headers": {"X-Secret": {"secretKeyRef": {"name": "bad", "key": "key"}}},
        "server": "http://127.0.0.1:1", "auth": null});
    let token = json!({"server": "http://127.0.0.1:1", "auth": {"tokenSecretRef": {"name": "bad", "key": "key"}}});
    let approle = json!({"server": "http://127.0.0.1:1",
        "auth": {"appRole": {"roleId": "r", "secretRef": {"name": "bad", "key": "key"}}}});
    for (spec, value) in [
        (&header, b"canary-96aa1f\n".to_vec()),
        (&header, b"canary-96aa1f\0".to_vec()),
        (&token, b"canary-96aa1f\r\nX-Evil: 1".to_vec()),
        (&token, b"\x7f".to_vec()),
        (&approle, b"\xff\xfe".to_vec()),
    ] {
        let error = build(spec.clone(), MapCredentials::new().with("bad/key", value)).await.err().unwrap();
        expect(&error, ErrorKind::Invalid, "spec.provider.vault");
    }
}

#[tokio::test]
async fn redirects_to_the_same_server_are_followed_three_times() {
    for (hops, works) in [(1, true), (3, true), (4, false)] {
        let double = Double::new(move |request| match request.line.strip_prefix("GET /hop/") {
            Some(n) if n.parse::<usize>().unwrap() == hops => answer(200, kv2(json!({"a": "b"}))),
            Some(n) => hop(n.parse::<usize>().unwrap() + 1),
            None => hop(1),
        })
        .await;
        let result = fetch(&*double.store(json!({})).await, "app").await;
        if works {
            assert_eq!(result.unwrap(), r#"{"a":"b"}"#)
        } else {
            expect(&result.unwrap_err(), ErrorKind::Invalid, "in circles")
        }
    }
}

fn hop(n: usize) -> Reply {
    Reply::Raw(format!("HTTP/1.1 307 x\r\nlocation: /hop/{n}\r\ncontent-length: 0\r\n\r\n").into_bytes())
}

#[tokio::test]
async fn redirects_to_anybody_else_are_not_followed() {
    let other = Double::new(|_| answer(200, kv2(json!({})))).await;
    let port = other.address.rsplit(':').next().unwrap().to_owned();
    for target in [
        other.url(),
        format!("http://localhost:{port}"),
        format!("https://{}", other.address),
        "http://169.254.169.254/latest".to_owned(),
        format!("//{CANARY}"),
    ] {
        let double = Double::new(move |_| {
            Reply::Raw(format!("HTTP/1.1 307 x\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n").into_bytes())
        })
        .await;
        expect(&double.error().await, ErrorKind::Invalid, "redirects to another address");
    }
    assert!(other.take().is_empty());
}

#[tokio::test]
async fn addresses_of_the_machine_are_refused_unless_allowed() {
    crypto();
    let of_namespace = || BuildContext { addresses: Addresses::default(), ..context(MapCredentials::new()) };
    for server in
        ["http://169.254.169.254", "http://[fe80::1]:8200", "https://[::ffff:169.254.0.1]", "http://127.0.0.1"]
    {
        let spec = json!({ "server": server });
        let error = (REGISTRATION.build)(&spec, of_namespace()).await.err().unwrap();
        expect(&error, ErrorKind::Invalid, "--allow-store-addresses");
        let store = (REGISTRATION.build)(&spec, context(MapCredentials::new())).await.unwrap();
        drop(store); // nothing was sent: there is no login
    }
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_leads_to_when_it_is_called() {
    let double = Double::new(|_| answer(200, kv2(json!({})))).await;
    let url = double.url().replace("127.0.0.1", "localhost");
    let context = BuildContext { addresses: Addresses::default(), ..context(MapCredentials::new()) };
    let store = (REGISTRATION.build)(&json!({"server": url, "path": "secret"}), context).await.unwrap();
    expect(&fetch(&*store, "app").await.unwrap_err(), ErrorKind::Invalid, "a loopback address");
    assert!(double.take().is_empty());
}
