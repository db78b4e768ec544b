//! Writing Secrets, against answers that a real API server gives too rarely.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use keyferry_doubles::Server;
use keyferry_provider_core::{BuildContext, ErrorKind, Origin, Payload, Provider, Push, Reach, Remote};
use keyferry_provider_kubernetes::REGISTRATION;
use keyferry_provider_testkit::MapCredentials;
use serde_json::{Value, json};

const CANARY: &str = "canary-c41e08";

/// Has one Secret, and answers whoever writes with a status.
struct Double {
    server: Server,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Double {
    fn start(status: u16, body: Value) -> Self {
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let log = bodies.clone();
        let router = Router::new().fallback(async move |method: Method, sent: Bytes| {
            if method == Method::GET {
                let metadata = json!({"name": "app", "uid": "u1", "resourceVersion": "7"});
                let secret = json!({"kind": "Secret", "metadata": metadata, "data": {"a": "YQ==", "b": "Yg=="}});
                return (StatusCode::OK, secret.to_string());
            }
            log.lock().unwrap().push(serde_json::from_slice(&sent).unwrap());
            (StatusCode::from_u16(status).unwrap(), body.to_string())
        });
        Self { server: Server::start(router), bodies }
    }

    async fn store(&self) -> Arc<dyn Provider> {
        // An error means that a TLS library is installed already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let auth = json!({"token": {"bearerToken": {"name": "t", "key": "k"}}});
        let spec = json!({"server": {"url": self.server.url()}, "auth": auth});
        let credentials = MapCredentials::new().with("t/k", format!("{CANARY}-token"));
        let context = BuildContext::new(Arc::new(credentials), Arc::new(())).trusted();
        (REGISTRATION.build)(&spec, context).await.unwrap()
    }
}

fn remote(property: &str) -> Remote {
    Remote { key: "app".into(), property: Some(property.to_owned()), metadata: None }
}

fn push(property: &str) -> Push {
    let payload = Payload::Value(CANARY.into());
    Push { remote: remote(property), payload, origin: Origin::default(), reach: Reach::Ours }
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let missing = json!({"kind": "Status", "reason": "NotFound", "details": {"name": "app", "kind": "secrets"}});
    let status = || json!({"kind": "Status", "message": CANARY});
    for (status, body, kind, words) in [
        (409, status(), ErrorKind::Unavailable, "at the same time"),
        (404, missing, ErrorKind::Unavailable, "at the same time"),
        (422, status(), ErrorKind::Invalid, "immutable"),
        (401, status(), ErrorKind::Unauthenticated, "does not accept"),
        (403, status(), ErrorKind::Denied, "update secrets"),
        (429, status(), ErrorKind::Throttled, "fewer requests"),
        (500, status(), ErrorKind::Unavailable, "has a problem"),
        (404, json!("not found"), ErrorKind::Malformed, "an API server does"),
    ] {
        let double = Double::start(status, body);
        let store = double.store().await;
        for answer in [store.push(&push("c")).await, store.delete(&remote("a"), Reach::Ours).await] {
            let error = answer.unwrap_err();
            assert_eq!((error.kind(), error.message().contains(words)), (kind, true), "{status}: {error}");
            assert!(!error.to_string().contains(CANARY), "{error}");
        }
    }
}

#[tokio::test]
async fn nobody_who_wrote_in_between_is_overwritten_or_deleted() {
    let double = Double::start(200, json!({}));
    let store = double.store().await;
    store.push(&push("c")).await.unwrap();
    store.delete(&remote("b"), Reach::Ours).await.unwrap();
    store.delete(&Remote { property: None, ..remote("") }, Reach::Ours).await.unwrap();
    let bodies = double.bodies.lock().unwrap().clone();
    let [pushed, without, deleted] = bodies.as_slice() else { panic!("{} calls", bodies.len()) };
    let keys = |body: &Value| body["data"].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!((keys(pushed).as_str(), keys(without).as_str()), ("a b c", "a"));
    for body in [pushed, without] {
        assert_eq!((&body["metadata"]["resourceVersion"], &body["metadata"]["uid"]), (&json!("7"), &json!("u1")));
    }
    assert_eq!(deleted["preconditions"], json!({"uid": "u1", "resourceVersion": "7"}));
    // What is equal costs one read, and what is not there nothing more.
    double.server.take_calls();
    store.delete(&remote("never-was"), Reach::Ours).await.unwrap();
    assert!(!store.exists(&remote("never-was")).await.unwrap());
    let calls: Vec<String> = double.server.take_calls().into_iter().map(|call| call.method).collect();
    assert_eq!(calls, ["GET", "GET"]);
}
