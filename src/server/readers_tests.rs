use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::HeaderValue;
use serde_json::{Value, json};

use super::*;

/// An API server that knows two tokens, one of whose owners may read; and how often it was asked.
fn api() -> (kube::Client, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let serve = move |request: Request| {
        let count = count.clone();
        async move {
            count.fetch_add(1, Ordering::Relaxed);
            let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
            let mut body: Value = serde_json::from_slice(&body).unwrap();
            body["status"] = if body["kind"] == "TokenReview" {
                let user = body["spec"]["token"].as_str().and_then(|token| token.strip_prefix("token-of-"));
                json!({"authenticated": user.is_some(), "user": {"username": user, "groups": ["g"]}})
            } else {
                let get = json!({"path": "/metrics", "verb": "get"});
                assert_eq!((&body["spec"]["nonResourceAttributes"], &body["spec"]["groups"]), (&get, &json!(["g"])));
                json!({"allowed": body["spec"]["user"] == "prometheus"})
            };
            ([(header::CONTENT_TYPE, "application/json")], body.to_string())
        }
    };
    (kube::Client::new(Router::new().fallback(serve), "ns"), asked)
}

#[tokio::test(start_paused = true)]
async fn only_those_read_whom_the_api_server_lets() {
    let (client, asked) = api();
    let readers = Readers::new(client);
    let admit = async |authorization: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(authorization));
        }
        readers.admit(&headers).await.map_or_else(|refused| refused.status().as_u16(), |()| 200)
    };
    for (authorization, status, questions) in [
        (None, 401, 0),
        (Some("Basic token-of-prometheus"), 401, 0),
        (Some("Bearer "), 401, 0),
        (Some("Bearer made-up"), 401, 1),
        (Some("Bearer token-of-somebody"), 403, 2),
        (Some("Bearer token-of-somebody"), 403, 0),
        (Some("Bearer token-of-prometheus"), 200, 2),
        (Some("bearer token-of-prometheus"), 200, 0),
    ] {
        assert_eq!(admit(authorization).await, status, "{authorization:?}");
        assert_eq!(asked.swap(0, Ordering::Relaxed), questions, "{authorization:?}");
    }
    tokio::time::advance(KEPT).await;
    assert_eq!(admit(Some("Bearer token-of-prometheus")).await, 200);
    assert_eq!(asked.swap(0, Ordering::Relaxed), 2, "an answer is good for a moment only");
}
