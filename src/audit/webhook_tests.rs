use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use keyferry_sync::audit::Audit as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::tests::{counts, delivery};
use super::super::{Counts, Log, open};
use super::*;
use crate::server::serve;
use crate::server::tls::{Certificate, Files};

/// Whoever takes the lines, and answers what is told: the requests, and of those that were taken the lines.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Collected>>);

#[derive(Default)]
struct Collected {
    /// What the next requests are answered; then they are taken.
    answers: VecDeque<Answer>,
    asked: Vec<(HeaderMap, usize)>,
    lines: Vec<Value>,
}

enum Answer {
    Status(u16),
    /// Nothing comes.
    Nothing,
    /// The status for any batch in which a line names this object.
    Unless(u16, &'static str),
}

impl Collector {
    async fn post(self, headers: HeaderMap, body: String) -> StatusCode {
        let answer = {
            let mut collected = self.0.lock().unwrap();
            collected.asked.push((headers, body.lines().count()));
            match collected.answers.pop_front() {
                Some(Answer::Unless(status, name)) => {
                    collected.answers.push_front(Answer::Unless(status, name));
                    body.contains(&format!("\"name\":\"{name}\"")).then_some(Some(status))
                }
                Some(Answer::Status(status)) => Some(Some(status)),
                Some(Answer::Nothing) => Some(None),
                None => None,
            }
        };
        match answer {
            Some(Some(status)) => StatusCode::from_u16(status).unwrap(),
            Some(None) => std::future::pending().await,
            None => {
                let lines = body.lines().map(|line| serde_json::from_str(line).unwrap());
                self.0.lock().unwrap().lines.extend(lines);
                StatusCode::NO_CONTENT
            }
        }
    }

    fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.0.lock().unwrap().answers.extend(answers);
    }

    fn names(&self) -> Vec<String> {
        let collected = self.0.lock().unwrap();
        collected.lines.iter().map(|line| line["object"]["name"].as_str().unwrap().to_owned()).collect()
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }

    fn router(&self) -> Router {
        let collector = self.clone();
        Router::new().route("/audit", post(move |headers: HeaderMap, body: String| collector.post(headers, body)))
    }

    /// Listens on this port, or on any; gives the port.
    async fn listen(&self, port: u16, certificate: Option<Certificate>) -> (u16, JoinHandle<()>) {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        (listener.local_addr().unwrap().port(), tokio::spawn(serve(listener, self.router(), certificate)))
    }
}

fn to(url: String) -> Webhook {
    Webhook { audit_webhook: Some(url), ..Webhook::default() }
}

/// A collector over plain HTTP, and a log that goes there.
async fn started(counts: &Counts) -> (Collector, Arc<Log>) {
    let collector = Collector::default();
    let (port, _) = collector.listen(0, None).await;
    let log = open(None, &to(format!("http://127.0.0.1:{port}/audit?from=test")), "run", counts).unwrap();
    (collector, log)
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let reached = async {
        while !is_so() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), reached).await.unwrap_or_else(|_| panic!("{what}"));
}

/// The end waits, on a thread that the collector does not need.
async fn close(log: &Arc<Log>) -> Result<(), String> {
    let log = log.clone();
    tokio::task::spawn_blocking(move || log.close()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_arrive_once_and_in_order_though_the_receiver_is_away_and_fails() {
    let counts = counts();
    let (collector, log) = started(&counts).await;
    collector.answers([500, 500, 500, 429, 401, 302].map(Answer::Status));
    for n in 0..1500 {
        log.take(delivery(&format!("d{n}")));
    }
    close(&log).await.unwrap();
    let expected: Vec<String> = (0..1500).map(|n| format!("d{n}")).collect();
    assert_eq!(collector.names(), expected);
    assert_eq!(counts.of("webhook"), (1500, 0));
    let asked = std::mem::take(&mut collector.0.lock().unwrap().asked);
    assert!(asked.len() > 7 && asked.iter().all(|(_, lines)| *lines <= LINES), "{asked:?}");
    assert!(asked.iter().all(|(headers, _)| headers["content-type"] == "application/x-ndjson"), "{asked:?}");
    assert!(asked.iter().all(|(headers, _)| !headers.contains_key("authorization")), "{asked:?}");
    log.take(delivery("late"));
    assert_eq!(counts.of("webhook"), (1500, 1), "after the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_never_taken_is_dropped_alone() {
    let counts = counts();
    let (collector, log) = started(&counts).await;
    collector.answers([Answer::Unless(413, "d7")]);
    for n in 0..20 {
        log.take(delivery(&format!("d{n}")));
    }
    close(&log).await.unwrap();
    let expected: Vec<String> = (0..20).filter(|n| *n != 7).map(|n| format!("d{n}")).collect();
    assert_eq!(collector.names(), expected);
    assert_eq!(counts.of("webhook"), (19, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_is_asked_again_and_holds_up_nobody() {
    let (counts, folder) = (counts(), tempfile::tempdir().unwrap());
    let collector = Collector::default();
    collector.answers([Answer::Nothing]);
    let (port, _) = collector.listen(0, None).await;
    let file = folder.path().join("audit.jsonl");
    let log = open(file.to_str(), &to(format!("http://localhost:{port}/audit")), "run", &counts).unwrap();
    let began = Instant::now();
    (0..100).for_each(|n| log.take(delivery(&n.to_string())));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    until("the file has all", || counts.of("log").0 == 100).await;
    until("the webhook is asked", || collector.asked() == 1).await;
    assert_eq!(counts.of("webhook"), (0, 0), "it hangs");
    assert!(log.used() > 0.0);
    until("it is asked again", || counts.of("webhook").0 == 100).await;
    assert!(collector.asked() > 1 && log.used() == 0.0);
    close(&log).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_waits_so_long_and_says_what_is_lost() {
    let counts = counts();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/audit", listener.local_addr().unwrap());
    drop(listener);
    let log = open(None, &to(url), "run", &counts).unwrap();
    (0..3).for_each(|n| log.take(delivery(&n.to_string())));
    let began = Instant::now();
    let problem = close(&log).await.unwrap_err();
    assert!(problem.contains("3 lines to its webhook are lost"), "{problem}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_long_outage_leaves_no_room_for_is_counted() {
    let counts = counts();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let log = open(None, &to(format!("http://127.0.0.1:{port}/audit")), "run", &counts).unwrap();
    let long = "x".repeat(1 << 20);
    let fits = keyferry_limits::AUDIT_QUEUE.size() / (1 << 20) - 1;
    (0..fits + 3).for_each(|_| log.take(delivery(&long)));
    assert_eq!(counts.of("webhook"), (0, 3));
    let collector = Collector::default();
    // Bodies beyond two megabytes are not taken there: each of these goes alone.
    collector.listen(port, None).await;
    until("those that found room arrive", || counts.of("webhook").0 == fits as u64).await;
    log.take(delivery("last"));
    close(&log).await.unwrap();
    let last = collector.0.lock().unwrap().lines.last().cloned().unwrap();
    assert_eq!(last["sequence"], fits + 4, "those that were dropped had numbers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_to_whom_the_authority_has_signed_and_is_read_again() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key, ca, token] = ["tls.crt", "tls.key", "ca.crt", "token"].map(|name| folder.path().join(name));
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (own, other) = (made(), made());
    std::fs::write(&certificate, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    std::fs::write(&ca, other.cert.pem()).unwrap();
    std::fs::write(&token, "first\n").unwrap();
    let collector = Collector::default();
    let served = Certificate::of(Files { certificate, key }, |_| {}).unwrap();
    let (port, _) = collector.listen(0, Some(served)).await;
    let webhook = Webhook {
        audit_webhook_ca_file: Some(ca.clone()),
        audit_webhook_token_file: Some(token.clone()),
        ..to(format!("https://localhost:{port}/audit"))
    };
    let counts = counts();
    let log = open(None, &webhook, "run", &counts).unwrap();
    log.take(delivery("a"));
    sleep(Duration::from_millis(800)).await;
    assert_eq!(collector.asked(), 0, "nobody whom we trust is there");
    std::fs::write(&ca, own.cert.pem()).unwrap();
    until("the authority is read again", || counts.of("webhook").0 == 1).await;
    std::fs::write(&token, "second\n").unwrap();
    log.take(delivery("b"));
    close(&log).await.unwrap();
    let collected = collector.0.lock().unwrap();
    let shown: Vec<&str> =
        collected.asked.iter().map(|(headers, _)| headers["authorization"].to_str().unwrap()).collect();
    assert_eq!(shown, ["Bearer first", "Bearer second"]);
}

#[test]
fn what_is_wrong_with_the_flags_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let refused = |webhook: Webhook| webhook.receiver().unwrap_err();
    let plain = || to("http://collector.example/a?key=canary-of-the-query".to_owned());
    let cases = [
        (to("collector".to_owned()), "is not a URL"),
        (to("ftp://collector.example/a".to_owned()), "is not a URL"),
        (to("https://user:canary-of-the-url@collector.example/a".to_owned()), "--audit-webhook-token-file"),
        (plain(), "--audit-webhook-allow-http"),
        (
            Webhook {
                audit_webhook_allow_http: true,
                audit_webhook_token_file: Some(folder.path().join("token")),
                ..plain()
            },
            "https only",
        ),
        (
            Webhook { audit_webhook_token_file: Some(empty.clone()), ..to("https://collector.example/".to_owned()) },
            "it is empty",
        ),
        (
            Webhook { audit_webhook_ca_file: Some(empty), ..to("https://collector.example/".to_owned()) },
            "can't read certificates",
        ),
    ];
    let mut seen = BTreeSet::new();
    for (webhook, why) in cases {
        let message = refused(webhook);
        assert!(message.contains(why) && !message.contains("canary"), "{message}");
        seen.insert(message);
    }
    assert!(seen.len() >= 6, "{seen:?}");
    let taken = |webhook: Webhook| webhook.receiver().unwrap().unwrap();
    let receiver = taken(Webhook { audit_webhook_allow_http: true, ..plain() });
    assert_eq!((receiver.path.as_str(), receiver.name.as_str()), ("/a?key=canary-of-the-query", "collector.example"));
    for near in ["http://127.0.0.1:9/", "http://[::1]:9/", "http://localhost:9"] {
        taken(to(near.to_owned()));
    }
    assert!(Webhook::default().receiver().unwrap().is_none());
}
