use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::HeaderValue;
use keyferry_sealing::text;
use keyferry_sync::compute::Here;
use serde_json::json;

use super::*;
use crate::sealing::ring::tests::{Kept, pair};

/// An API server that knows the tokens of `n/app` and `m/other`; and how often it was asked.
fn api() -> (kube::Client, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let serve = move |request: Request| {
        let count = count.clone();
        async move {
            count.fetch_add(1, Ordering::Relaxed);
            let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
            let mut body: Value = serde_json::from_slice(&body).unwrap();
            let user = body["spec"]["token"].as_str().and_then(|token| token.strip_prefix("token-of-"));
            let user = user.map(|user| format!("system:serviceaccount:{}", user.replace('/', ":")));
            body["status"] =
                json!({"authenticated": user.is_some(), "user": {"username": user}, "audiences": [AUDIENCE]});
            ([(header::CONTENT_TYPE, "application/json")], body.to_string())
        }
    };
    (kube::Client::new(Router::new().fallback(serve), "ns"), asked)
}

async fn made() -> (Arc<Desk>, Arc<AtomicUsize>) {
    let (kept, (client, asked)) = (Kept::default(), api());
    kept.0.0.lock().unwrap().push(pair(1));
    let ring = Ring::new(kept, Arc::new(Here));
    ring.read(Duration::ZERO).await.unwrap();
    (desk(ring, client), asked)
}

async fn ask(desk: &Arc<Desk>, token: &'static str, sealed: &[String]) -> Result<Vec<Came>, StatusCode> {
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(token))]);
    let body = Body::from(json!({"sealed": sealed}).to_string());
    let connection = Connection::default();
    let answer = unseal(State(desk.clone()), Extension(connection), headers, body).await;
    let answer = answer.map_err(|(status, _)| status)?;
    Ok(serde_json::from_slice(&to_bytes(answer.into_body(), usize::MAX).await.unwrap()).unwrap())
}

#[tokio::test]
async fn a_pod_has_what_is_for_it_and_its_token_is_asked_about_once() {
    let (desk, asked) = made().await;
    let keys = desk.ring.keys();
    let of = |whom: &str| {
        Sealed::new(keys.latest().unwrap().public(), text::scope(whom).unwrap(), b"x").unwrap().to_string()
    };
    let all = [of("n/app"), of("n"), of("m"), "sealed:".to_owned()];
    for _ in 0..2 {
        let came = ask(&desk, "Bearer token-of-n/app", &all).await.unwrap();
        let value = STANDARD.encode("x");
        let told: Vec<_> = came.iter().map(|one| (one.value.as_deref() == Some(value.as_str()), one.refused)).collect();
        let expected = [(true, None), (true, None), (false, Some(Refused::NotYours)), (false, Some(Refused::Damaged))];
        assert_eq!(told, expected);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let many: Vec<_> = (0..CROWD / 2).map(|_| desk.crowd.enter("n").unwrap()).collect();
    assert_eq!(ask(&desk, "Bearer token-of-n/app", &all).await.err(), Some(StatusCode::TOO_MANY_REQUESTS));
    assert!(ask(&desk, "Bearer token-of-m/other", &all).await.is_ok(), "another namespace's");
    drop(many);
    assert!(desk.crowd.0.lock().unwrap().is_empty());
    assert_eq!(ask(&desk, "Bearer made-up", &all).await.err(), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(ask(&desk, "Basic made-up", &all).await.err(), Some(StatusCode::UNAUTHORIZED));
}

#[tokio::test]
async fn who_finds_no_place_is_sent_away_before_anything_is_read() {
    let (desk, _) = made().await;
    let held: Vec<_> = (0..PLACES).map(|_| desk.place().unwrap()).collect();
    let asks = async || verify(State(desk.clone()), Body::from("{}")).await.unwrap_err().0;
    assert_eq!(asks().await, StatusCode::TOO_MANY_REQUESTS);
    // Pods have places of their own.
    assert!(ask(&desk, "Bearer token-of-n/app", &[]).await.is_ok());
    drop(held);
    assert_eq!(asks().await, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn a_turn_rests_also_where_nobody_waits_for_the_answer() {
    let (desk, _) = made().await;
    let (turn, _) = desk.turn(ANYBODY, desk.place().unwrap(), Body::empty()).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    drop(turn);
    let lane = Arc::from("other");
    let next = || desk.turns.acquire(&lane);
    assert!(timeout(Duration::from_millis(290), next()).await.is_err());
    assert!(timeout(Duration::from_millis(20), next()).await.is_ok());
}

#[test]
fn what_is_no_name_of_kubernetes_is_refused() {
    let read = |namespace: &str, name: &str| {
        let metadata = json!({"name": name, "namespace": namespace});
        let one = json!({"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": metadata, "spec": {"encryptedData": {"k": "AAAA"}}});
        Manifest::read(one.to_string().as_bytes()).map(|read| read.names)
    };
    assert_eq!(read("n", "a.b").unwrap(), ["k"]);
    for (namespace, name) in [("n/a", "b"), ("n", "a/b"), ("N", "a"), ("n.m", "a")] {
        assert_eq!(read(namespace, name).unwrap_err().0, StatusCode::BAD_REQUEST, "{namespace} {name}");
    }
}

#[tokio::test]
async fn answers_are_counted_and_strangers_make_no_series() {
    use tower_service::Service as _;

    let (kept, (client, _), metrics) = (Kept::default(), api(), Arc::new(Metrics::new()));
    kept.0.0.lock().unwrap().push(pair(1));
    let ring = Ring::new(kept, Arc::new(Here));
    ring.read(Duration::ZERO).await.unwrap();
    let mut served = counted(for_anybody(ring, client), metrics.clone());
    for (method, path) in [("GET", "/v1/cert.pem"), ("PATCH", "/canary-1"), ("BREW", "/v1/verify"), ("GET", "/v1/x")] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        served.call(request).await.unwrap();
    }
    let text = String::from_utf8(metrics.text()).unwrap();
    let all: Vec<&str> =
        text.lines().filter(|line| line.starts_with("sealed_secrets_controller_http_requests_total{")).collect();
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(!text.contains("canary") && !text.contains("BREW"), "{text}");
    assert!(all.iter().any(|line| line.contains(r#"code="200",method="GET",path="/v1/cert.pem""#)), "{all:?}");
}
