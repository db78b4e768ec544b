//! What the store makes of answers.

mod double;

use std::time::Duration;

use double::{CANARY, Double, Reply, answer, build, expect, fetch, kv2};
use keyferry_provider_core::{ErrorKind, Key};
use keyferry_provider_testkit::MapCredentials;
use serde_json::{Value, json};

#[tokio::test]
async fn digits_and_order_survive() {
    let body = r#"{"data":{"data":{"n":12345678901234567890,"f":1.50,"e":1E400,"b":{"z":0.10,"a":-0}},"metadata":{}}}"#;
    let double = Double::new(|_| Reply::Http(200, "", body.into())).await;
    let value = fetch(&*double.store(json!({})).await, "app").await.unwrap();
    assert_eq!(value, r#"{"b":{"a":-0,"z":0.10},"e":1E400,"f":1.50,"n":12345678901234567890}"#);
}

#[tokio::test]
async fn a_secret_of_too_many_fields_is_refused() {
    let fields: Vec<String> = (0..200_001).map(|n| format!(r#""{n}":"""#)).collect();
    let fields = fields.join(",");
    for (version, body) in [
        ("v1", format!(r#"{{"data":{{{fields}}}}}"#)),
        ("v2", format!(r#"{{"data":{{"data":{{{fields}}},"metadata":{{}}}}}}"#)),
    ] {
        let double = Double::new(move |_| Reply::Http(200, "", body.clone().into())).await;
        let error = fetch(&*double.store(json!({ "version": version })).await, "app").await.unwrap_err();
        expect(&error, ErrorKind::Invalid, "limit secret-parts");
    }
}

#[tokio::test]
async fn every_status_has_its_kind_and_a_next_step() {
    const HTML: &str = "<html>canary-96aa1f</html>";
    let errors = |text: &str| json!({"errors": [text, CANARY]}).to_string();
    for (status, body, kind, words) in [
        (404, r#"{"errors":[]}"#.to_owned(), ErrorKind::NotFound, "there is no secret at secret/data/app"),
        (404, HTML.into(), ErrorKind::Malformed, "check spec.provider.vault.server"),
        (404, String::new(), ErrorKind::Malformed, "check spec.provider.vault.server"),
        (404, r#"{"message":"no Route matched with those values"}"#.into(), ErrorKind::Malformed, "status 404"),
        (404, r#"{"errors":null}"#.into(), ErrorKind::Malformed, "status 404"),
        (404, r#"{"errors":{}}"#.into(), ErrorKind::Malformed, "status 404"),
        (404, r#"{"data":null}"#.into(), ErrorKind::Malformed, "status 404"),
        (404, r#"{"data":{"data":null}}"#.into(), ErrorKind::Malformed, "not one of a KV engine"),
        (404, r#"{"data":null,"warnings":["canary-96aa1f"]}"#.into(), ErrorKind::Invalid, "spec.provider.vault.path"),
        (404, errors("no handler for route"), ErrorKind::Invalid, "no KV engine is mounted at \"secret\""),
        (404, errors("namespace not found"), ErrorKind::Invalid, "spec.provider.vault.namespace"),
        (404, errors("unsupported path"), ErrorKind::Invalid, "check spec.provider.vault.path"),
        (403, errors("permission denied"), ErrorKind::Denied, "must allow read on secret/data/app"),
        (403, HTML.into(), ErrorKind::Denied, "in front of the Vault"),
        (400, errors("bad"), ErrorKind::Invalid, "no valid request"),
        (400, errors("Upgrading from non-versioned to versioned data."), ErrorKind::Unavailable, "setting itself up"),
        (400, "Client sent an HTTP request to an HTTPS server.\n".into(), ErrorKind::Tls, "https://"),
        (401, HTML.into(), ErrorKind::Unauthenticated, "in front of the Vault"),
        (405, errors("unsupported operation"), ErrorKind::Invalid, "can't be read"),
        (412, errors("required index state not present"), ErrorKind::Unavailable, "not caught up"),
        (429, errors("quota"), ErrorKind::Throttled, "slow down"),
        (472, String::new(), ErrorKind::Unavailable, "disaster recovery"),
        (473, String::new(), ErrorKind::Unavailable, "standby"),
        (500, errors("boom"), ErrorKind::Unavailable, "internal error (status 500)"),
        (502, HTML.into(), ErrorKind::Unavailable, "status 502"),
        (503, errors("Vault is sealed"), ErrorKind::Unavailable, "sealed"),
        (504, HTML.into(), ErrorKind::Timeout, "status 504"),
        (200, HTML.into(), ErrorKind::Malformed, "secret/data/app"),
        (200, String::new(), ErrorKind::Malformed, "secret/data/app"),
        (200, r#"{"data":{"data":[1]}}"#.into(), ErrorKind::Malformed, "secret/data/app"),
        (200, r#"{"data":{"data":null}}"#.into(), ErrorKind::Malformed, "secret/data/app"),
        (200, r#"{"data":{"data":null,"metadata":{}}}"#.into(), ErrorKind::NotFound, "deleted"),
        (204, String::new(), ErrorKind::Malformed, "status 204"),
        (304, String::new(), ErrorKind::Malformed, "status 304"),
    ] {
        let double = Double::new(move |request| match request.line.as_str() {
            "GET /v1/secret/data/app" => Reply::Http(status, "", body.clone().into_bytes()),
            line if line.starts_with("GET /v1/sys/internal/ui/mounts/") => mounted("kv", "2"),
            _ => answer(200, json!({"data": {}})),
        })
        .await;
        expect(&double.error().await, kind, words);
    }
}

fn mounted(kind: &str, version: &str) -> Reply {
    answer(200, json!({"data": {"type": kind, "options": {"version": version}}}))
}

#[tokio::test]
async fn retry_after_is_passed_on() {
    for (header, expected) in [
        ("Retry-After: 17\r\n", Some(Duration::from_secs(17))),
        ("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", None),
        ("Retry-After: -1\r\n", None),
        ("", None),
    ] {
        let double = Double::new(move |_| Reply::Http(429, header, vec![])).await;
        assert_eq!(double.error().await.retry_after(), expected);
    }
}

#[tokio::test]
async fn nothing_there_is_believed_only_of_the_right_engine_and_asked_once() {
    for (mount, expected) in [
        (Some(("kv", "2")), ErrorKind::NotFound),
        (Some(("kv", "1")), ErrorKind::Invalid),
        (Some(("pki", "2")), ErrorKind::Invalid),
        (None, ErrorKind::NotFound), // the server does not tell
    ] {
        let double = Double::new(move |request| match (request.line.contains("/sys/"), mount) {
            (true, Some((kind, version))) => mounted(kind, version),
            (true, None) => answer(403, json!({"errors": ["permission denied"]})),
            (false, _) if request.line.contains("lookup-self") => answer(200, json!({})),
            (false, _) => answer(404, json!({"errors": []})),
        })
        .await;
        let store = double.store(json!({})).await;
        for name in ["a", "b", "a"] {
            assert_eq!(fetch(&*store, name).await.unwrap_err().kind(), expected, "{mount:?}");
        }
        let asked = double.take().iter().filter(|request| request.line.contains("/sys/")).count();
        assert_eq!(asked, if expected == ErrorKind::NotFound { 1 } else { 3 });
    }
    // While nobody can say what is mounted, nothing is missing.
    let double = Double::new(|request| {
        if request.line.contains("/sys/") {
            answer(503, json!({"errors": []}))
        } else {
            answer(404, json!({"errors": []}))
        }
    })
    .await;
    assert_eq!(double.error().await.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let huge = format!(r#"{{"data":{{"data":{{"a":"{}"}}}}}}"#, "x".repeat(16 << 20));
    let mut endless = b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..40 {
        endless.extend(format!("{:x}\r\n{}\r\n", 1 << 19, "x".repeat(1 << 19)).bytes());
    }
    for bytes in [Reply::Http(200, "", huge.into_bytes()), Reply::Raw(endless)] {
        let bytes = std::sync::Mutex::new(Some(bytes));
        let double = Double::new(move |_| bytes.lock().unwrap().take().unwrap_or(Reply::Silence)).await;
        expect(&double.error().await, ErrorKind::Malformed, "larger than 16 MiB");
    }
}

#[tokio::test]
async fn a_value_nested_without_end_is_malformed() {
    let nest = format!(r#"{{"data":{{"data":{{"a":{}{}}}}}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    let double = Double::new(move |_| Reply::Http(200, "", nest.clone().into_bytes())).await;
    assert_eq!(double.error().await.kind(), ErrorKind::Malformed);
}

#[tokio::test]
async fn metadata_are_strings_and_may_be_empty() {
    for (status, data, expected) in [
        (
            200,
            json!({"created_time": "then", "current_version": 3, "delete_version_after": null, "max_versions": 5,
                "custom_metadata": {"owner": "me", "current_version": "mine", "deep": {"a": 1}}}),
            Ok(r#"{"created_time":"then","current_version":"mine","deep":"{\"a\":1}","owner":"me"}"#),
        ),
        (200, json!({"custom_metadata": null}), Ok("")),
        (200, json!([]), Err(ErrorKind::Malformed)),
        (404, json!(null), Err(ErrorKind::Malformed)),
        (503, json!(null), Err(ErrorKind::Unavailable)),
    ] {
        let double = Double::new(move |_| answer(status, json!({"data": data}))).await;
        let key = Key { name: "app".into(), version: Some("2".into()), metadata: true };
        let result = double.store(json!({})).await.fetch(&[key]).await.and_then(|mut results| results.remove(0));
        let value = result.map(|fetched| fetched.value.expose_str().unwrap().to_owned()).map_err(|error| error.kind());
        assert_eq!(value, expected.map(str::to_owned));
        assert_eq!(double.take()[0].line, "GET /v1/secret/metadata/app");
    }
}

#[tokio::test]
async fn what_concerns_the_store_fails_the_call_and_what_concerns_a_key_does_not() {
    let double = Double::new(|request| match request.line.rsplit('/').next() {
        Some("good") => answer(200, kv2(json!({"a": "b"}))),
        Some("down") => answer(503, json!({})),
        Some("lookup-self") => answer(200, json!({})),
        _ => answer(403, json!({"errors": ["permission denied"]})),
    })
    .await;
    let store = double.store(json!({})).await;
    let keys = |names: &[&str]| -> Vec<Key> {
        names.iter().map(|name| Key { name: name.to_string(), version: None, metadata: false }).collect()
    };
    let results = store.fetch(&keys(&["good", "bad", "../x", "good"])).await.unwrap();
    let kinds: Vec<_> = results.iter().map(|result| result.as_ref().err().map(|error| error.kind())).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Denied), Some(ErrorKind::Invalid), None]);
    assert_eq!(store.fetch(&keys(&["down"])).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// A small generator, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.next(from.len() as u64)).unwrap()]
    }

    /// Something like an answer of Vault, or like JSON, or like nothing.
    fn body(&mut self) -> Vec<u8> {
        let text = match self.next(10) {
            // The two that matter, and what is nearly one of them.
            8 => format!("{{{:?}:{},\"errors\":[]}}", self.pick(&FIELDS), self.json(2)),
            9 => format!(r#"{{"data":{{"data":null,{:?}:{}}}}}"#, self.pick(&["metadata", "x"]), self.json(2)),
            0 => return (0..self.next(200)).map(|_| u8::try_from(self.next(256)).unwrap()).collect(),
            1..=5 => {
                let mut fields = vec![];
                for _ in 0..self.next(4) {
                    fields.push(format!("{:?}:{}", self.pick(&FIELDS), self.json(4)));
                }
                format!("{{{}}}", fields.join(","))
            }
            _ => self.json(6),
        };
        let mut bytes = text.into_bytes();
        match self.next(12) {
            0 => bytes.truncate(usize::try_from(self.next(bytes.len() as u64 + 1)).unwrap()),
            1 if !bytes.is_empty() => {
                let at = usize::try_from(self.next(bytes.len() as u64)).unwrap();
                bytes[at] = u8::try_from(self.next(256)).unwrap();
            }
            _ => {}
        }
        bytes
    }

    fn json(&mut self, depth: u64) -> String {
        match self.next(if depth == 0 { 6 } else { 10 }) {
            0 => "null".into(),
            1 => self.pick(&["true", "false", "0", "-1", "60", "1e999", "12345678901234567890123"]).into(),
            2 => format!("{CANARY:?}"),
            3 => self.pick(&[r#""""#, r#""\ud800""#, r#""\u0000""#, r#""no handler for route""#, r#""kv""#]).into(),
            4 => "{}".into(),
            5 => "[]".into(),
            6 => format!("[{},{}]", self.json(depth - 1), self.json(depth - 1)),
            _ => {
                let mut fields = vec![];
                for _ in 0..=self.next(3) {
                    fields.push(format!("{:?}:{}", self.pick(&FIELDS), self.json(depth - 1)));
                }
                format!("{{{}}}", fields.join(","))
            }
        }
    }
}

const FIELDS: [&str; 12] = [
    "data",
    "metadata",
    "errors",
    "warnings",
    "auth",
    "client_token",
    "lease_duration",
    "renewable",
    "destroyed",
    "custom_metadata",
    "options",
    "type",
];

const STATUSES: [u16; 18] = [200, 200, 200, 404, 404, 404, 404, 403, 400, 429, 500, 503, 204, 302, 401, 405, 418, 599];

/// Says by other means than the store whether an answer is the engine's word that something is not there.
fn says_not_found(status: u16, body: &[u8]) -> bool {
    // What is JSON, but more than this parser takes.
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let text = text.replace("\\ud800", "half a pair").replace("1e999", "1");
    let Ok(body) = serde_json::from_str::<Value>(&text) else { return false };
    let data = &body["data"];
    let deleted = data.get("data").is_some_and(Value::is_null) && data["metadata"].is_object();
    match status {
        200 => deleted,
        404 if !data.is_null() => deleted,
        404 => body["errors"].as_array().is_some_and(Vec::is_empty),
        _ => false,
    }
}

#[tokio::test]
async fn garbage_never_panics_and_is_never_taken_for_not_found() {
    let current = std::sync::Arc::new(std::sync::Mutex::new((200, Vec::new())));
    let replies = current.clone();
    let double = Double::new(move |request| match request.line.as_str() {
        "GET /v1/auth/token/lookup-self" => answer(200, json!({})),
        line if line.contains("/sys/") => mounted("kv", "2"),
        _ => {
            let (status, body) = replies.lock().unwrap().clone();
            Reply::Http(status, "", body)
        }
    })
    .await;
    let store = double.store(json!({})).await;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut missing = 0;
    for _ in 0..5_000 {
        let status = STATUSES[usize::try_from(random.next(STATUSES.len() as u64)).unwrap()];
        let body = random.body();
        *current.lock().unwrap() = (status, body.clone());
        let result = fetch(&*store, "app").await; // checks messages as well
        let expected = says_not_found(status, &body);
        let got = matches!(&result, Err(error) if error.kind() == ErrorKind::NotFound);
        assert_eq!(got, expected, "{status} {}: {result:?}", String::from_utf8_lossy(&body));
        if let Ok(value) = result {
            assert_eq!(status, 200);
            assert!(serde_json::from_str::<Value>(&value).is_ok_and(|value| value.is_object()), "{value}");
        }
        missing += usize::from(got);
    }
    assert!(missing > 80, "the generator makes too few of what matters: {missing}");
}

#[tokio::test]
async fn garbage_never_breaks_a_login() {
    let current = std::sync::Arc::new(std::sync::Mutex::new((200, Vec::new())));
    let replies = current.clone();
    let double = Double::new(move |request| {
        if request.line.ends_with("/login") {
            let (status, body) = replies.lock().unwrap().clone();
            Reply::Http(status, "", body)
        } else {
            answer(200, kv2(json!({})))
        }
    })
    .await;
    let spec = json!({"server": double.url(), "path": "secret",
        "auth": {"appRole": {"roleId": CANARY, "secretRef": {"name": "s", "key": "k"}}}});
    let mut random = Random(42);
    for _ in 0..500 {
        *current.lock().unwrap() =
            (STATUSES[usize::try_from(random.next(STATUSES.len() as u64)).unwrap()], random.body());
        let credentials = MapCredentials::new().with("s/k", CANARY);
        if let Ok(store) = build(spec.clone(), credentials).await {
            fetch(&*store, "app").await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_not_http_is_unavailable() {
    let mut random = Random(7);
    for n in 0..300 {
        let mut bytes = match n % 3 {
            0 => b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{".to_vec(),
            1 => b"HTTP/1.1 404 x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
            _ => vec![],
        };
        bytes.extend((0..random.next(100)).map(|_| u8::try_from(random.next(256)).unwrap()));
        let double = Double::new(move |_| Reply::Raw(bytes.clone())).await;
        let error = double.error().await;
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Malformed), "{error}");
    }
}
