//! The webhook's login by NTLM against pyspnego: by each form of a name, on one connection, with what covers and binds it.

mod acceptor;

use std::sync::Arc;

use keyferry_builders::key;
use keyferry_doubles::Proxy;
use keyferry_provider_core::address::Addresses;
use keyferry_provider_core::proxy::Proxies;
use keyferry_provider_core::{BuildContext, Error, ErrorKind, Origin, Payload, Provider, Push, Reach, Remote};
use keyferry_provider_testkit::MapCredentials;
use keyferry_provider_tests::{Counter, context};
use keyferry_provider_webhook::{GENERATOR, REGISTRATION};
use serde_json::{Value, json};

use acceptor::{Acceptor, NAME, PASSWORD, USERS};

fn spec(acceptor: &Acceptor, how: &str) -> Value {
    let secret = |key: &str| json!({"name": "login", "key": key});
    json!({
        "url": format!("{}/{how}/{{{{ .remoteRef.key }}}}", acceptor.url()),
        "result": {},
        "auth": {"ntlm": {"usernameSecret": secret("user"), "passwordSecret": secret("password")}},
        "caBundle": acceptor.ca(),
        // Which gives way.
        "headers": {"Authorization": "Bearer canary", "X-Other": "kept"},
    })
}

fn logging_in(user: &str, password: &str, counter: &Arc<Counter>) -> BuildContext {
    keyferry_testkit::install_crypto_provider();
    let credentials = MapCredentials::new().with("login/user", format!("{user}\n")).with("login/password", password);
    context(credentials, counter.clone())
}

async fn store_of(acceptor: &Acceptor, how: &str, user: &str, password: &str) -> Arc<dyn Provider> {
    (REGISTRATION.build)(&spec(acceptor, how), logging_in(user, password, &Arc::default())).await.unwrap()
}

async fn store(acceptor: &Acceptor, how: &str) -> Arc<dyn Provider> {
    store_of(acceptor, how, USERS[0], PASSWORD).await
}

/// What the server answers for a key.
async fn read(store: &dyn Provider, name: &str) -> Result<Value, Error> {
    let fetched = store.fetch(&[key(name)]).await?.remove(0)?;
    Ok(serde_json::from_slice(fetched.value.expose()).unwrap())
}

/// The statuses of requests that all came by one connection.
fn on_one_connection(requests: &[Value]) -> Vec<u64> {
    assert!(requests.iter().all(|request| request["connection"] == requests[0]["connection"]), "{requests:?}");
    requests.iter().map(|request| request["status"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn each_form_of_a_name_is_let_in_on_one_connection() {
    let acceptor = Acceptor::start().await;
    for user in USERS {
        let counter = Arc::new(Counter::default());
        let store = (REGISTRATION.build)(&spec(&acceptor, "ntlm"), logging_in(user, PASSWORD, &counter)).await.unwrap();
        assert_eq!(read(&*store, "db").await.unwrap(), json!({"who": user, "asked": "db", "other": "kept"}));
        let requests = acceptor.take();
        assert_eq!(on_one_connection(&requests), [401, 200], "{user}");
        let last = &requests[1];
        assert_eq!(
            [&last["target"], &last["covered"], &last["bound"]],
            [&json!("HTTP/127.0.0.1"), &json!(true), &json!(false)]
        );
        // The first step is none that failed.
        assert_eq!(counter.take(), [("Webhook HTTPRequest".to_owned(), 2)].into());
    }
}

#[tokio::test]
async fn many_logins_at_once_keep_to_their_connections() {
    let acceptor = Acceptor::start().await;
    let store = store(&acceptor, "ntlm").await;
    let keys: Vec<_> = (0..40).map(|n| key(format!("key-{n}"))).collect();
    for (n, answer) in store.fetch(&keys).await.unwrap().into_iter().enumerate() {
        let read: Value = serde_json::from_slice(answer.unwrap().value.expose()).unwrap();
        assert_eq!((&read["who"], &read["asked"]), (&json!(USERS[0]), &json!(format!("key-{n}"))));
    }
    let requests = acceptor.take();
    assert_eq!(requests.len(), 80);
    assert!(requests.iter().filter(|request| request["status"] == 401).count() == 40, "each login is made once");
}

#[tokio::test]
async fn who_does_not_know_the_password_is_refused_and_told_so() {
    let acceptor = Acceptor::start().await;
    for (user, password) in [(USERS[0], "canary-wrong"), ("LAB\\nobody", PASSWORD), ("OTHER\\app", PASSWORD)] {
        let error = read(&*store_of(&acceptor, "ntlm", user, password).await, "db").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{user}: {error}");
        let expected =
            format!("{} does not accept the login: check spec.provider.webhook.auth.ntlm", acceptor.address());
        assert_eq!(error.message(), expected);
    }
    let store = store_of(&acceptor, "ntlm", USERS[0], PASSWORD).await;
    // Nothing is kept of a login that failed.
    assert_eq!(read(&*store, "db").await.unwrap()["who"], USERS[0]);
    assert_eq!(read(&*store, "missing").await.unwrap_err().kind(), ErrorKind::NotFound);
    let long = "x".repeat(2000);
    let mut empty = vec![];
    for (user, password) in [(&*long, PASSWORD), ("\n", PASSWORD), (USERS[0], "")] {
        let built = (REGISTRATION.build)(&spec(&acceptor, "ntlm"), logging_in(user, password, &Arc::default())).await;
        empty.push(built.err().unwrap());
    }
    assert!(empty.iter().all(|error| error.kind() == ErrorKind::Invalid), "{empty:?}");
    assert!(empty[2].message().contains("auth.ntlm.passwordSecret"), "{empty:?}");
}

#[tokio::test]
async fn what_is_pushed_and_deleted_arrives_with_the_login() {
    let acceptor = Acceptor::start().await;
    let store = store(&acceptor, "ntlm").await;
    let remote = Remote { key: "db".into(), ..Remote::default() };
    let value = "canary-".repeat(5000);
    let payload = Payload::Value(value.as_str().into());
    store.push(&Push { remote: remote.clone(), payload, origin: Origin::default(), reach: Reach::Ours }).await.unwrap();
    let requests = acceptor.take();
    assert_eq!(on_one_connection(&requests), [401, 200]);
    assert_eq!((&requests[1]["method"], &requests[1]["body"]), (&json!("POST"), &json!(value)));
    store.delete(&remote, Reach::Ours).await.unwrap();
    let requests = acceptor.take();
    assert_eq!((on_one_connection(&requests), &requests[1]["method"]), (vec![401, 200], &json!("DELETE")));
}

#[tokio::test]
async fn a_server_may_name_it_otherwise_or_want_no_login() {
    let acceptor = Acceptor::start().await;
    let read_by = async |how: &str| read(&*store(&acceptor, how).await, "db").await;
    assert_eq!(read_by("negotiate").await.unwrap()["who"], USERS[0]);
    assert_eq!(on_one_connection(&acceptor.take()), [401, 401, 200]);
    assert_eq!(read_by("open").await.unwrap()["who"], Value::Null);
    assert_eq!(on_one_connection(&acceptor.take()), [200]);
}

#[tokio::test]
async fn a_login_that_is_cut_off_is_not_taken_up_elsewhere() {
    let acceptor = Acceptor::start().await;
    for (how, kind, words) in [
        ("closing", ErrorKind::Unavailable, "closed the connection that was to be logged in"),
        ("anew", ErrorKind::Unauthenticated, "begins the login by NTLM anew"),
    ] {
        let error = read(&*store(&acceptor, how).await, "db").await.unwrap_err();
        assert!(error.kind() == kind && error.message().contains(words), "{how}: {error}");
        on_one_connection(&acceptor.take());
    }
}

#[tokio::test]
async fn under_tls_a_login_holds_for_the_channel_and_speaks_no_http_2() {
    for by in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let acceptor = Acceptor::start_tls(by).await;
        assert_eq!(read(&*store(&acceptor, "ntlm").await, "db").await.unwrap()["who"], USERS[0]);
        let requests = acceptor.take();
        assert_eq!((on_one_connection(&requests), &requests[1]["bound"]), (vec![401, 200], &json!(true)));
    }
    // What somebody in between passes on is of their channel.
    let acceptor = Acceptor::start_elsewhere().await;
    let error = read(&*store(&acceptor, "ntlm").await, "db").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
}

#[tokio::test]
async fn through_a_proxy_a_login_goes_under_tls_alone() {
    let proxy = Proxy::start();
    let proxies = Proxies::of(&|name| ["HTTP_PROXY", "HTTPS_PROXY"].contains(&name).then(|| proxy.url())).unwrap();
    let acceptor = Acceptor::start_tls(&rcgen::PKCS_ECDSA_P256_SHA256).await;
    proxy.leads(&format!("{NAME}:443"), &acceptor.address());
    let store = async |scheme: &str| {
        let mut context = logging_in(USERS[0], PASSWORD, &Arc::default());
        context.addresses = Addresses::anywhere().through(proxies.clone());
        let mut spec = spec(&acceptor, "ntlm");
        spec["url"] = json!(format!("{scheme}://{NAME}/ntlm/{{{{ .remoteRef.key }}}}"));
        (REGISTRATION.build)(&spec, context).await.unwrap()
    };
    assert_eq!(read(&*store("https").await, "db").await.unwrap()["who"], USERS[0]);
    // The channel is not seen through a proxy.
    let requests = acceptor.take();
    assert_eq!((on_one_connection(&requests), &requests[1]["bound"]), (vec![401, 200], &json!(false)));
    assert_eq!(proxy.take().len(), 1, "one tunnel");
    let error = read(&*store("http").await, "db").await.unwrap_err();
    assert!(error.message().starts_with("spec.provider.webhook.url must begin with https://"), "{error}");
    assert!(proxy.take().is_empty(), "nothing is asked");
}

#[tokio::test]
async fn the_generator_logs_in_the_same_way() {
    let acceptor = Acceptor::start().await;
    let make = async |password: &str| {
        let context = logging_in(USERS[1], password, &Arc::default());
        let mut spec = spec(&acceptor, "ntlm");
        spec["url"] = json!(format!("{}/ntlm/token", acceptor.url()));
        (GENERATOR.build)(&spec, context)?.make(&()).await
    };
    let made = make(PASSWORD).await.unwrap();
    assert_eq!(made.values["who"].expose_str(), Some(USERS[1]));
    let error = make("canary-wrong").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().ends_with("does not accept the login: check spec.auth.ntlm"), "{error}");
}
