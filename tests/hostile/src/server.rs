//! The attacker's own store. How it answers stands in the path, so that one server plays all of them at once:
//! `http://127.0.0.1:PORT/hang` is a Vault, or an API server, that never answers.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use tokio::sync::oneshot;

/// Less than what the operator reads of a body at most, which is 16 MiB.
const BIG: usize = 15 << 20;

/// A running server; it ends with this.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    _end: oneshot::Sender<()>,
}

/// What must never come here, and what of it came.
struct Seen {
    canaries: Vec<(String, String)>,
    caught: Mutex<BTreeSet<String>>,
}

impl Server {
    /// A server that looks for these texts, each with its name, in all that is sent to it.
    ///
    /// # Panics
    /// Where there is no loopback network.
    pub fn start(canaries: Vec<(String, String)>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Seen { canaries, caught: Mutex::default() });
        let router = Router::new().fallback(answer).with_state(seen.clone());
        let (end, ended) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                tokio::select! {
                    served = async { axum::serve(listener, router).await } => served.expect("it serves"),
                    _ = ended => {}
                }
            });
            // Answers that never end are not waited for.
            runtime.shutdown_background();
        });
        Self { address, seen, _end: end }
    }

    /// The URL of a store that answers like this.
    pub fn url(&self, answers: &str) -> String {
        format!("http://{}/{answers}", self.address)
    }

    /// The names of what was sent here and never should have been.
    pub fn caught(&self) -> Vec<String> {
        self.seen.caught.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Seen {
    fn look(&self, text: &str) {
        for (name, _) in self.canaries.iter().filter(|(_, canary)| text.contains(canary)) {
            self.caught.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        }
    }
}

async fn answer(State(seen): State<Arc<Seen>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, BIG).await.unwrap_or_default();
    seen.look(&format!("{} {:?} {}", head.uri, head.headers, String::from_utf8_lossy(&body)));
    let path = head.uri.path().trim_start_matches('/').to_owned();
    let (how, rest) = path.split_once('/').unwrap_or((&path, ""));
    match how {
        "dead" => std::future::pending().await,
        "busy" => busy("31536000"),
        // All others know whoever logs in, so that their stores are taken for good.
        _ if rest.contains("auth/") => login(how, rest),
        "hang" => std::future::pending().await,
        "trickle" => trickle(),
        "loop" => redirect(&path),
        "away" => redirect("http://169.254.169.254/latest/meta-data/"),
        "garbage" => Bytes::from_static(b"\0\xff{{{ not what anybody asked for").into_response(),
        "retry-year" => busy("31536000"),
        "retry-huge" => busy("1000000000000000000"),
        "retry-date" => busy("Fri, 31 Dec 9999 23:59:59 GMT"),
        "big" => body_of(&BIG_VALUE),
        "million-keys" => body_of(&MILLION_KEYS),
        "big-list" => body_of(&BIG_LIST),
        "deep" => body_of(&DEEP),
        "list" => body_of(&LIST),
        "long-list" => body_of(&LONG_LIST),
        "names" => body_of(&NAMES),
        // Folders without end, as Vault lists them, and pages without end, as an API server does.
        "endless" if rest.contains("/metadata/") => json(r#"{"data": {"keys": ["deeper/"]}}"#),
        "wide" if rest.contains("/metadata/") => body_of(&WIDE),
        // What can be read and never written.
        "unwritable" if rest.contains("/data/") && head.method == axum::http::Method::GET => body_of(&QUERIED),
        "unwritable" => (StatusCode::SERVICE_UNAVAILABLE, "{\"errors\": []}").into_response(),
        "pages" => json(
            r#"{"kind": "SecretList", "metadata": {"continue": "more"}, "items": [{"metadata": {"name": "one"}}]}"#,
        ),
        _ => json(r#"{"data": {"data": {"value": "of-the-attacker"}, "metadata": {"version": 1}}}"#),
    }
}

fn login(how: &str, rest: &str) -> Response {
    match (how, rest.ends_with("/login")) {
        ("lease", true) => {
            json(r#"{"auth": {"client_token": "a-token", "lease_duration": 9223372036854775808, "renewable": true}}"#)
        }
        ("brief", true) => json(r#"{"auth": {"client_token": "a-token", "lease_duration": 1, "renewable": true}}"#),
        (_, true) => json(r#"{"auth": {"client_token": "a-token", "lease_duration": 3600, "renewable": true}}"#),
        _ => json(
            r#"{"data": {"type": "service", "ttl": 0, "expire_time": null, "policies": ["own-token-of-the-store"]}}"#,
        ),
    }
}

fn json(text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn body_of(body: &LazyLock<Bytes>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Bytes::clone(body)).into_response()
}

fn busy(retry_after: &str) -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, retry_after.to_owned())], "{\"errors\": [\"busy\"]}")
        .into_response()
}

fn redirect(to: &str) -> Response {
    let to = if to.contains("://") { to.to_owned() } else { format!("/{to}") };
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
}

/// A byte now and then, for ever.
fn trickle() -> Response {
    let bytes = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
    });
    Body::from_stream(bytes).into_response()
}

/// An answer of KV version 2 with these fields.
fn secret(fields: &str) -> Bytes {
    format!(r#"{{"data": {{"data": {{{fields}}}, "metadata": {{"version": 1}}}}}}"#).into()
}

static BIG_VALUE: LazyLock<Bytes> = LazyLock::new(|| secret(&format!(r#""value": "{}""#, "x".repeat(BIG))));

static MILLION_KEYS: LazyLock<Bytes> = LazyLock::new(|| {
    let fields: Vec<String> = (0..1_000_000).map(|n| format!(r#""{n}":"""#)).collect();
    secret(&fields.join(","))
});

static BIG_LIST: LazyLock<Bytes> = LazyLock::new(|| secret(&format!(r#""value": [{}7]"#, "7,".repeat(BIG / 2))));

static DEEP: LazyLock<Bytes> =
    LazyLock::new(|| secret(&format!(r#""value": {}{}"#, "[".repeat(BIG / 2), "]".repeat(BIG / 2))));

static LIST: LazyLock<Bytes> = LazyLock::new(|| format!("[{}0]", "0,".repeat(1_000)).into());

static QUERIED: LazyLock<Bytes> = LazyLock::new(|| {
    let items: Vec<String> = (0..8_000).map(|n| format!(r#"{{"b":{n},"c":"{}"}}"#, "x".repeat(60))).collect();
    secret(&format!(r#""a": [{}]"#, items.join(",")))
});

static LONG_LIST: LazyLock<Bytes> = LazyLock::new(|| format!("[{}0]", "0,".repeat(BIG / 2 - 2)).into());

static NAMES: LazyLock<Bytes> = LazyLock::new(|| {
    let names: Vec<String> = (0..800_000).map(|n| format!(r#""name-{n}""#)).collect();
    format!(r#"{{"data": {{"keys": [{}]}}}}"#, names.join(",")).into()
});

static WIDE: LazyLock<Bytes> = LazyLock::new(|| {
    let names: Vec<String> = (0..1000).map(|n| format!(r#""folder-{n}/""#)).collect();
    format!(r#"{{"data": {{"keys": [{}]}}}}"#, names.join(",")).into()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_answers_as_the_path_says_and_knows_what_came() {
        keyferry_testkit::install_crypto_provider();
        let server = Server::start(vec![("a canary".into(), "s3cr3t".into()), ("another".into(), "h1dd3n".into())]);
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let get = async |how: &str| http.get(format!("{}/v1/secret/data/k", server.url(how))).send().await.unwrap();
        assert!(get("good").await.text().await.unwrap().contains("of-the-attacker"));
        assert_eq!(get("retry-year").await.headers()["retry-after"], "31536000");
        assert_eq!(get("loop").await.headers()["location"], "/loop/v1/secret/data/k");
        for how in ["big", "million-keys", "big-list", "deep"] {
            let length = get(how).await.bytes().await.unwrap().len();
            assert!((8 << 20..16 << 20).contains(&length), "{how}: {length}");
        }
        assert!(server.caught().is_empty());
        http.get(server.url("good")).header("x-vault-token", "a s3cr3t of others").send().await.unwrap();
        assert_eq!(server.caught(), ["a canary"]);
    }
}
