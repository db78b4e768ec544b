use axum::Router;
use axum::routing::{get, post};
use jiff::Timestamp;
use keyferry_sealing::{Generated, text};
use serde_json::json;

use super::*;

fn sealed(whom: &str) -> Sealed {
    Sealed { key: "0a0a0a0a".to_owned(), scope: text::scope(whom).unwrap(), bytes: b"x".to_vec() }
}

fn remote(router: Router) -> Remote {
    Remote { client: Client::new(router, "ns"), base: String::new(), name: "the operator".to_owned() }
}

#[tokio::test]
async fn what_is_answered_is_written_only_where_it_is_the_value_sealed_anew() {
    let before = sealed("a/app").to_string();
    let (of_another, of_old) = (sealed("b/app"), sealed("a/app"));
    let good = Sealed { key: "0b0b0b0b".to_owned(), ..sealed("a/app") }.to_string();
    for (answer, is_taken) in [
        (good.clone(), true),
        (of_old.to_string(), false),
        (Sealed { key: "0b0b0b0b".to_owned(), ..of_another }.to_string(), false),
        (format!("{good}\nkind: Secret"), false),
        ("plain".to_owned(), false),
    ] {
        let answers = json!([{"value": answer}]).to_string();
        let router = Router::new().route("/v1/reseal", post(async move || answers.clone()));
        let came = remote(router).reseal(vec![before.clone()], "0b0b0b0b").await.unwrap().remove(0);
        match came {
            Ok(text) => assert!(is_taken && text == good, "{text}"),
            Err(why) => assert!(!is_taken && why.contains("something else"), "{why}"),
        }
    }
}

#[tokio::test]
async fn what_failed_there_is_asked_for_again_and_what_is_refused_is_not() {
    for (refused, kind) in [("failed", ErrorKind::Unavailable), ("not-yours", ErrorKind::Denied)] {
        let answers = json!([{"refused": refused}]).to_string();
        let router = Router::new().route("/v1/unseal", post(async move || answers.clone()));
        let scope = Scope::Namespace("a".into());
        let opened = remote(router).unseal("a", &scope, vec![b"x".to_vec()]).await.unwrap().remove(0);
        assert_eq!(opened.unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn a_pod_shows_its_own_token_of_our_audience_and_each_the_latest() {
    let value = json!([{"value": STANDARD.encode("canary")}]).to_string();
    let shown = async move |headers: axum::http::HeaderMap| {
        let is_ours = headers.get(header::AUTHORIZATION).is_some_and(|shown| shown == "Bearer second");
        if is_ours {
            (axum::http::StatusCode::OK, value)
        } else {
            (axum::http::StatusCode::UNAUTHORIZED, String::new())
        }
    };
    let remote = Arc::new(remote(Router::new().route("/v1/unseal", post(shown))));
    let current = Arc::new(std::sync::Mutex::new(None));
    let given = current.clone();
    let token: OwnTokens = Arc::new(move |audience| {
        let token: Option<&str> = *given.lock().unwrap();
        let expires = std::time::SystemTime::now() + TIME;
        token
            .filter(|_| audience == "keyferry")
            .map(|text| keyferry_provider_core::Token { secret: text.into(), expires })
            .ok_or("tokenRequests of the driver")
    });
    let pods = ForPods { remote: remote.clone(), token };
    let scope = Scope::ServiceAccount("a".into(), "app".into());
    let ask = async || pods.unseal("a", &scope, vec![b"x".to_vec()]).await;
    let why = ask().await.unwrap_err();
    assert!(why.message().contains("add it to tokenRequests of the driver"), "{why}");
    *current.lock().unwrap() = Some("first");
    assert_eq!(ask().await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    *current.lock().unwrap() = Some("second");
    assert_eq!(ask().await.unwrap().remove(0).unwrap().expose(), b"canary");
    assert!(remote.unseal("a", &scope, vec![b"x".to_vec()]).await.is_err(), "nobody's token is kept");
    for url in ["http://operator:8443", "operator"] {
        assert!(Remote::for_pods(url, None).unwrap_err().contains("no URL of https"), "{url}");
    }
}

#[tokio::test]
async fn a_service_is_reached_by_its_first_port() {
    let made = Generated::new(Timestamp::from_second(1_700_000_000).unwrap(), 2048).unwrap();
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "web", "port": 80}, {"name": "other", "port": 81}]}});
    let at = "/api/v1/namespaces/n/services";
    let certificate = made.certificate.clone();
    let router = Router::new()
        .route(&format!("{at}/s"), get(async move || service.to_string()))
        .route(&format!("{at}/http:s:web/proxy/v1/cert.pem"), get(async move || certificate.clone()))
        .route(&format!("{at}/http:t:/proxy/v1/cert.pem"), get(async || "none"));
    let client = Client::new(router, "ns");
    let operator = Remote::behind(client.clone(), "n", "s").await;
    assert_eq!(operator.certificate().await.unwrap(), made.certificate);
    let error = Remote::behind(client, "n", "t").await.certificate().await.unwrap_err();
    assert!(error.contains("the certificate is none"), "{error}");
}
