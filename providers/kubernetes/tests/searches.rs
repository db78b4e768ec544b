//! Searching and missing Secrets, against answers that a real API server gives too rarely, or never.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyferry_provider_core::{BuildContext, ErrorKind, Key, Provider, Query, find_all};
use keyferry_provider_kubernetes::REGISTRATION;
use keyferry_provider_testkit::{Fault, MapCredentials, a_search_under_faults};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

const CANARY: &str = "canary-5b1f30";

/// How many secrets a search may find.
const MOST: usize = 10_000;

/// A store of a server that answers each path with what `answer` says: whole responses, one for each connection.
async fn store(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Arc<dyn Provider> {
    // An error means that a TLS library is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let (mut first, mut line) = (String::new(), String::new());
                stream.read_line(&mut first).await.unwrap();
                while stream.read_line(&mut line).await.unwrap() > 2 {
                    line.clear();
                }
                let path = first.split(' ').nth(1).unwrap_or_default();
                stream.write_all(answer(path).as_bytes()).await.unwrap();
            });
        }
    });
    let spec = json!({"server": {"url": url}, "auth": {"token": {"bearerToken": {"name": "t", "key": "k"}}}});
    let credentials = MapCredentials::new().with("t/k", format!("{CANARY}-token"));
    let context = BuildContext::new(Arc::new(credentials), Arc::new(())).trusted();
    (REGISTRATION.build)(&spec, context).await.unwrap()
}

fn response(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// A list in three pages.
fn list(path: &str) -> String {
    let (name, next) = match path.split("continue=").nth(1) {
        None => ("app-1", "two"),
        Some("two") => ("app-2", "three"),
        Some("three") => ("app-3", ""),
        Some(other) => panic!("{other}"),
    };
    let names = [name, "other"].map(|name| json!({"metadata": {"name": name}}));
    response(200, &json!({"metadata": {"continue": next}, "items": names}).to_string())
}

#[tokio::test]
async fn a_search_is_whole_or_an_error() {
    let build = async |fault: Option<(usize, Fault)>| {
        let asked = AtomicUsize::new(0);
        store(move |path| match fault.filter(|(call, _)| asked.fetch_add(1, Ordering::SeqCst) >= *call) {
            None => list(path),
            Some((_, Fault::Status(status))) => response(status, r#"{"kind":"Status","reason":"NotFound"}"#),
            Some((_, Fault::Garbage)) => response(200, CANARY),
            Some((_, Fault::Cut)) => "HTTP/1.1 200 x\r\ncontent-length: 99\r\n\r\n{".to_owned(),
        })
        .await
    };
    let query = Query { name: Some("^app-".parse().unwrap()), ..Query::default() };
    a_search_under_faults(&query, 3, build).await;
    // The moment that a list is of is forgotten after a while.
    let stale = store(|path| if path.contains("continue") { response(410, "{}") } else { list(path) }).await;
    assert_eq!(find_all(&*stale, &query).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn more_than_a_search_may_find_is_an_error() {
    // On pages of a thousand; one Secret too many.
    let many = async |count: usize| {
        store(move |path| {
            let from: usize = path.split("continue=").nth(1).map_or(0, |from| from.parse().unwrap());
            let to = (from + 1000).min(count);
            let items: Vec<_> = (from..to).map(|n| json!({"metadata": {"name": format!("app-{n}")}})).collect();
            let next = if to < count { to.to_string() } else { String::new() };
            response(200, &json!({"metadata": {"continue": next}, "items": items}).to_string())
        })
        .await
    };
    let query = |pattern: &str| Query { name: Some(pattern.parse().unwrap()), ..Query::default() };
    assert_eq!(find_all(&*many(MOST).await, &query("app")).await.unwrap().len(), MOST);
    let too_many = many(MOST + 1).await;
    let error = find_all(&*too_many, &query("app")).await.unwrap_err();
    assert!(error.message().contains("search-found"), "{error}");
    // What it does not find does not count.
    assert_eq!(find_all(&*too_many, &query("^app-10000$")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn only_what_the_server_says_of_this_secret_makes_it_missing() {
    let status = |details| json!({"kind": "Status", "reason": "NotFound", "details": details, "code": 404}).to_string();
    for (body, kind) in [
        (status(json!({"name": "app", "kind": "secrets"})), ErrorKind::NotFound),
        (status(json!({"name": "other", "kind": "secrets"})), ErrorKind::Malformed),
        (status(json!({"name": "app", "kind": "pods"})), ErrorKind::Malformed),
        (status(json!({})), ErrorKind::Malformed),
        ("404 page not found".to_owned(), ErrorKind::Malformed),
        (CANARY.to_owned(), ErrorKind::Malformed),
    ] {
        let answer = response(404, &body);
        let store = store(move |_| answer.clone()).await;
        let key = |metadata| Key { name: "app".into(), version: None, metadata };
        for metadata in [false, true] {
            let error = store.fetch(&[key(metadata)]).await.unwrap().remove(0).unwrap_err();
            assert_eq!(error.kind(), kind, "{body}: {error}");
            assert!(!error.message().contains(CANARY), "{error}");
        }
    }
}
