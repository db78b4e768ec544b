//! What a real Barbican does not do on demand: fail, and answer nonsense. How it behaves otherwise is tried against a real
//! one.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use keyferry_doubles::{Faults, Server};
use keyferry_provider_barbican::REGISTRATION;
use keyferry_provider_core::{BuildContext, Capabilities, Error, ErrorKind, Key, Provider, Query};
use keyferry_provider_testkit::{Fault, MapCredentials, a_search_under_faults};
use serde_json::json;

/// Keystone and Barbican in one: every login is let in and led here, and all else is answered so.
#[derive(Clone)]
struct Stub {
    server: Server,
    shared: Arc<Mutex<Answers>>,
}

struct Answers {
    always: Option<(u16, String)>,
    lists: Option<(usize, u16, String)>,
    endpoint: Option<String>,
}

impl Stub {
    fn start() -> Self {
        let shared = Arc::new(Mutex::new(Answers { always: None, lists: None, endpoint: None }));
        let server = Server::start(Router::new().fallback(answer).with_state(shared.clone()));
        shared.lock().unwrap().endpoint = Some(server.url());
        Self { server, shared }
    }

    fn answer_always(&self, status: u16, body: &str) {
        self.shared.lock().unwrap().always = Some((status, body.to_owned()));
    }
}

async fn answer(State(shared): State<Arc<Mutex<Answers>>>, request: Request) -> Response {
    let mut answers = shared.lock().unwrap();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (status, body) = if request.uri().path() == "/v3/auth/tokens" {
        let endpoints = json!([{"interface": "public", "region": "here", "url": answers.endpoint}]);
        let catalog = json!([{"type": "key-manager", "endpoints": endpoints}]);
        (201, json!({"token": {"expires_at": "2999-01-01T00:00:00.000000Z", "catalog": catalog}}).to_string())
    } else if let Some(always) = &answers.always {
        always.clone()
    } else {
        match &mut answers.lists {
            Some((0, status, body)) => (*status, body.clone()),
            lists => {
                if let Some((left, ..)) = lists {
                    *left -= 1;
                }
                let from: usize = query.rsplit_once("offset=").map_or(0, |(_, from)| from.parse().unwrap());
                let one =
                    |n: usize| json!({"name": format!("secret-{n}"), "secret_ref": format!("http://b/v1/secrets/{n}")});
                let page: Vec<_> = (from..250.min(from + 100)).map(one).collect();
                let mut list = json!({"secrets": page, "total": 250});
                if from + 100 < 250 {
                    list["next"] = json!("http://b/v1/secrets?offset=...");
                }
                (200, list.to_string())
            }
        }
    };
    let answer = Response::builder().status(status).header("x-subject-token", "canary-of-a-token");
    answer.body(Body::from(body)).unwrap()
}

async fn with(stub: &Stub, more: serde_json::Value, trusted: bool) -> Result<Arc<dyn Provider>, Error> {
    // An error means that a TLS library is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut spec = json!({"authURL": stub.server.url(), "domainName": "Default", "tenantName": "lab",
        "auth": {"username": {"value": "app"}, "password": {"secretRef": {"name": "b", "key": "p"}}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let ctx = BuildContext::new(Arc::new(MapCredentials::new().with("b/p", "canary-of-a-password")), Arc::new(()));
    (REGISTRATION.build)(&spec, if trusted { ctx.trusted() } else { ctx }).await
}

async fn store(stub: &Stub) -> Arc<dyn Provider> {
    with(stub, json!({}), true).await.unwrap()
}

fn key(name: &str) -> Key {
    Key { name: name.into(), version: None, metadata: false }
}

#[tokio::test]
async fn a_token_ends_with_its_store() {
    let stub = Stub::start();
    drop(store(&stub).await);
    let is_ended = || {
        let calls = stub.server.calls();
        calls.iter().any(|call| (call.method.as_str(), call.path.as_str()) == ("DELETE", "/v3/auth/tokens"))
    };
    for _ in 0..500 {
        if is_ended() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("nobody ends it");
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let stub = Stub::start();
    let query = Query { name: Some("^secret-".parse().unwrap()), ..Query::default() };
    let build = async |fault: Option<(usize, Fault)>| {
        let not_found = r#"{"code":404,"title":"Not Found","description":"canary"}"#;
        let lists = fault.map(|(lists, fault)| match fault {
            Fault::Status(404) => (lists, 404, not_found.to_owned()),
            Fault::Status(status) => (lists, status, "canary".to_owned()),
            Fault::Garbage => (lists, 200, "canary".to_owned()),
            Fault::Cut => (lists, 200, r#"{"secrets":[{"name":"sec"#.to_owned()),
        });
        stub.shared.lock().unwrap().lists = lists;
        store(&stub).await
    };
    a_search_under_faults(&query, 3, build).await;
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let stub = Stub::start();
    let store = store(&stub).await;
    for (status, body, expected) in [
        (404, r#"{"code":404,"title":"Not Found","description":"canary"}"#, ErrorKind::NotFound),
        (404, "<html>canary", ErrorKind::Malformed),
        (401, "canary", ErrorKind::Unauthenticated),
        (403, "canary", ErrorKind::Denied),
        (406, "canary", ErrorKind::Malformed),
        (413, "canary", ErrorKind::Throttled),
        (429, "canary", ErrorKind::Throttled),
        (504, "canary", ErrorKind::Timeout),
        (500, "canary", ErrorKind::Unavailable),
        (302, "canary", ErrorKind::Malformed),
    ] {
        stub.answer_always(status, body);
        let answers = store.fetch(&[key("1")]).await;
        let error = answers.and_then(|mut answers| answers.remove(0).map(|_| ())).unwrap_err();
        assert_eq!(error.kind(), expected, "{status}: {error}");
        assert!(!error.to_string().contains("canary"), "{error}");
        let error = store.find(&Query::default(), &[]).await.unwrap_err();
        assert!(error.kind() != ErrorKind::NotFound && !error.to_string().contains("canary"), "{error}");
    }
    // A page of somebody in between, which is of no type that was asked for, is no value.
    stub.answer_always(200, "canary");
    let read = store.fetch(&[key("1")]).await.and_then(|mut answers| answers.remove(0));
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Malformed);
    assert_eq!(store.find(&Query::default(), &[]).await.unwrap_err().kind(), ErrorKind::Malformed);
    assert_eq!(store.validate().await.unwrap_err().kind(), ErrorKind::Malformed);
    assert_eq!((REGISTRATION.capabilities)(&json!({})), Capabilities { ..store.capabilities() });
}

#[tokio::test]
async fn keystone_leads_no_further_than_the_spec_may() {
    let stub = Stub::start();
    let error = with(&stub, json!({}), false).await.err().unwrap();
    assert!(error.message().contains("spec.provider.barbican.authURL leads to 127.0.0.1"), "{error}");
    assert!(stub.server.calls().is_empty());
    // The login is answered; its catalog is not followed to what only the operator's machine may reach.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let allowed = keyferry_provider_core::address::Addresses::not_local_but(["127.0.0.1".parse().unwrap()]);
    stub.shared.lock().unwrap().endpoint = Some("http://169.254.169.254".to_owned());
    let spec = json!({"authURL": stub.server.url(), "domainName": "Default",
        "auth": {"username": {"value": "app"}, "password": {"secretRef": {"name": "b", "key": "p"}}}});
    let ctx = BuildContext::new(Arc::new(MapCredentials::new().with("b/p", "canary")), Arc::new(()));
    let error = (REGISTRATION.build)(&spec, BuildContext { addresses: allowed, ..ctx }).await.err().unwrap();
    assert!(
        error.message().starts_with("the endpoint of the key manager in Keystone's catalog leads to 169.254"),
        "{error}"
    );
}

#[tokio::test]
async fn a_region_without_barbican_is_told() {
    let stub = Stub::start();
    with(&stub, json!({"region": "here"}), true).await.unwrap();
    let error = with(&stub, json!({"region": "there"}), true).await.err().unwrap();
    assert!(error.message().contains("no public endpoint of a key manager in region \"there\""), "{error}");
}

#[tokio::test]
async fn what_keystone_says_of_logins_goes_nowhere() {
    for (faults, expected) in [
        (Faults { throttled: 100, ..Faults::default() }, ErrorKind::Throttled),
        (Faults { broken: 100, ..Faults::default() }, ErrorKind::Unavailable),
        (Faults { garbage: 100, ..Faults::default() }, ErrorKind::Malformed),
        (Faults { reset: 100, ..Faults::default() }, ErrorKind::Unavailable),
    ] {
        let stub = Stub::start();
        stub.server.fail(faults);
        let error = with(&stub, json!({}), true).await.err().unwrap();
        assert_eq!(error.kind(), expected, "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}
