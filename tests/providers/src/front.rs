//! A server of ours before real ones, where `Server::before` does not do: they are reached by TLS, or say where they are.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use keyferry_doubles::Server;

/// The most that is passed on.
const MOST: usize = 64 << 20;

/// Passes on what it is asked: by `http` to the server that `to` gives for the path. Where answers name a server at
/// `named`, they name this one in its place, as it was called.
pub fn front(http: reqwest::Client, to: impl Fn(&str) -> String + Send + Sync + 'static, named: &str) -> Server {
    let shared = Arc::new((http, to, named.to_owned()));
    Server::start(Router::new().fallback(move |request: Request| {
        let shared = shared.clone();
        async move {
            let (http, to, named) = &*shared;
            let url = to(request.uri().path());
            pass_on(http, &url, named, request).await.map_err(|_| StatusCode::BAD_GATEWAY)
        }
    }))
}

async fn pass_on(
    http: &reqwest::Client,
    url: &str,
    named: &str,
    request: Request,
) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
    let (mut head, body) = request.into_parts();
    let host = head.headers.remove("host").and_then(|host| Some(host.to_str().ok()?.to_owned())).unwrap_or_default();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let asked = http.request(head.method, format!("{url}{path}")).headers(head.headers);
    let answer = asked.body(to_bytes(body, MOST).await?).send().await?;
    let mut passed = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if !matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection") {
            passed = passed.header(name, value);
        }
    }
    let bytes = answer.bytes().await?;
    let bytes = match std::str::from_utf8(&bytes) {
        Ok(text) if !named.is_empty() => text.replace(named, &format!("http://{host}")).into_bytes(),
        _ => bytes.to_vec(),
    };
    Ok(passed.body(Body::from(bytes))?)
}
