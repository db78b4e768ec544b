//! What the audit log tells of deliveries: in a file, and at whoever collects it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use futures::stream::{self, StreamExt as _};
use keyferry_behaviour_tests::Rig;
use keyferry_behaviour_tests::operator::series;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

tests![
    a_thousand_deliveries_are_a_thousand_lines,
    what_is_pushed_and_deleted_is_written_down,
    a_receiver_that_hangs_holds_up_no_refresh,
];

/// Collects lines over plain HTTP. It can go away with all its connections, and come back.
struct Receiver {
    address: SocketAddr,
    held: Arc<Mutex<Held>>,
    serving: Mutex<JoinHandle<()>>,
}

#[derive(Default)]
struct Held {
    lines: Vec<Value>,
    /// How many requests are answered with 500 first.
    fails: usize,
    failed: usize,
    /// Whether requests are not answered at all.
    hangs: bool,
    asked: usize,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, held) = (listener.local_addr().expect("it has one"), Arc::<Mutex<Held>>::default());
        let serving = Mutex::new(tokio::spawn(serve(listener, held.clone())));
        Self { address, held, serving }
    }

    fn url(&self) -> String {
        format!("http://{}/audit", self.address)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nobody panicked")
    }

    fn lines(&self) -> Vec<Value> {
        self.held().lines.clone()
    }

    fn goes(&self) {
        self.serving.lock().expect("nobody panicked").abort();
    }

    async fn comes_back(&self) {
        let listener = TcpListener::bind(self.address).await.expect("the port is still there");
        *self.serving.lock().expect("nobody panicked") = tokio::spawn(serve(listener, self.held.clone()));
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Held) -> bool) {
        let until = Instant::now() + Duration::from_secs(120);
        while !is_so(&self.held()) {
            assert!(Instant::now() < until, "{what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn serve(listener: TcpListener, held: Arc<Mutex<Held>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, held.clone()));
    }
}

/// Answers requests, one after the other, until the other side goes.
async fn converse(mut stream: TcpStream, held: Arc<Mutex<Held>>) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let (head, length) = loop {
            let end = read.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
            let head = end.map(|end| (end, String::from_utf8_lossy(&read[..end]).to_ascii_lowercase()));
            if let Some((end, head)) = head {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
                break (end, length.unwrap_or(0_usize));
            }
            more(&mut stream, &mut read).await?;
        };
        while read.len() < head + length {
            more(&mut stream, &mut read).await?;
        }
        let body: Vec<u8> = read.drain(..head + length).skip(head).collect();
        let status = {
            let mut held = held.lock().expect("nobody panicked");
            held.asked += 1;
            let fails = held.failed < held.fails;
            held.failed += usize::from(fails);
            (!held.hangs).then_some(if fails { "500 Internal Server Error" } else { "200 OK" })
        };
        let Some(status) = status else { return std::future::pending().await };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 3\r\n\r\nso\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
        // With nothing in between: who has the answer knows that these are kept.
        if status == "200 OK" {
            let text = String::from_utf8(body).expect("text");
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            held.lock().expect("nobody panicked").lines.extend(lines);
        }
    }
}

async fn more(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<()> {
    let count = stream.read_buf(read).await.ok()?;
    (count > 0).then_some(())
}

/// The receiver goes away in the middle of so many lines, comes back, and fails three times.
async fn trouble(receiver: &Receiver, of: usize) {
    receiver.until("the first lines arrive", |held| held.lines.len() > of / 10).await;
    receiver.goes();
    tokio::time::sleep(Duration::from_secs(2)).await;
    receiver.held().fails = 3;
    receiver.comes_back().await;
    receiver.until("it has failed three times", |held| held.failed == 3).await;
}

/// The lines of an audit log.
fn audited(file: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("the audit log");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

async fn a_thousand_deliveries_are_a_thousand_lines() {
    const COUNT: usize = 1000;
    let mut rig = Rig::idle("desk-audit").await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    let receiver = Receiver::start().await;
    rig.start(&[&format!("--audit-log={}", file.display()), &format!("--audit-webhook={}", receiver.url())]).await;
    let value = rig.canaries.value("delivered");
    let data = json!([{"key": "app", "value": value, "version": "v1"}]);
    rig.apply("SecretStore", "f", json!({"spec": {"provider": {"fake": {"data": data}}}})).await;
    let spec = json!({
        "refreshInterval": "1h", "secretStoreRef": {"name": "f"},
        "data": [{"secretKey": "k", "remoteRef": {"key": "app", "version": "v1"}}],
    });
    let (shared, spec) = (&rig, &spec);
    let all = (0..COUNT).map(|n| async move {
        shared.apply("ExternalSecret", &format!("e{n}"), json!({ "spec": spec })).await;
    });
    let creation = stream::iter(all).buffer_unordered(16).collect::<Vec<()>>();
    tokio::join!(creation, trouble(&receiver, COUNT));
    rig.until("all are delivered".into(), async |rig: &Rig| {
        let secrets = rig.cluster.list("Secret").await;
        let ours = secrets
            .iter()
            .filter(|secret| secret["metadata"]["labels"]["reconcile.external-secrets.io/managed"] == "true");
        match ours.count() {
            COUNT => Ok(()),
            count => Err(anyhow!("{count}")),
        }
    })
    .await;
    rig.stop().await;
    let lines = audited(&file);
    assert_eq!(receiver.lines(), lines, "the receiver has each once, in order, and nothing else");
    let numbers: Vec<u64> = lines.iter().filter_map(|line| line["sequence"].as_u64()).collect();
    assert_eq!(numbers, (1..=COUNT as u64).collect::<Vec<_>>(), "each once, in order, and nothing else");
    let names: BTreeSet<&str> = lines.iter().filter_map(|line| line["object"]["name"].as_str()).collect();
    assert_eq!(names.len(), COUNT);
    let line = &lines[0];
    assert_eq!((&line["action"], &line["outcome"], &line["mode"]), (&json!("written"), &json!("done"), &json!("run")));
    assert_eq!(line["target"]["kind"], "Secret");
    assert_eq!((&line["sources"][0]["name"], &line["sources"][0]["keys"][0]["key"]), (&json!("f"), &json!("app")));
    assert!(!std::fs::read_to_string(&file).expect("the audit log").contains(&value), "a value is in it");
    rig.finish().await;
}

async fn what_is_pushed_and_deleted_is_written_down() {
    let mut rig = Rig::idle("desk-pushed").await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    rig.start(&[&format!("--audit-log={}", file.display())]).await;
    rig.apply("SecretStore", "f", json!({"spec": {"provider": {"fake": {"data": []}}}})).await;
    let value = rig.canaries.value("pushed");
    rig.secret("src", json!({"a": value})).await;
    let spec = json!({
        "refreshInterval": "1h", "deletionPolicy": "Delete", "secretStoreRefs": [{"name": "f"}], "selector": {"secret": {"name": "src"}},
        "data": [{"match": {"secretKey": "a", "remoteRef": {"remoteKey": "there", "property": "p"}}}],
    });
    rig.apply("PushSecret", "p", json!({"spec": spec})).await;
    let has = |action: &str| {
        let lines = if file.exists() { audited(&file) } else { Vec::new() };
        let found = lines.into_iter().find(|line| line["action"] == action);
        found.ok_or_else(|| anyhow!("nothing was {action}"))
    };
    let line = rig.until("the push is written down".into(), async |_: &Rig| has("pushed")).await;
    assert_eq!((&line["object"]["kind"], &line["object"]["name"]), (&json!("PushSecret"), &json!("p")));
    let key = &line["sources"][0]["keys"][0];
    assert_eq!((&key["key"], &key["property"]), (&json!("there"), &json!("p")));
    rig.cluster.delete("PushSecret", "p").await;
    rig.until("its deletion is written down".into(), async |_: &Rig| has("unpushed")).await;
    assert!(!std::fs::read_to_string(&file).expect("the audit log").contains(&value), "a value is in it");
    rig.finish().await;
}

async fn a_receiver_that_hangs_holds_up_no_refresh() {
    let mut rig = Rig::idle("audit-hangs").await;
    let receiver = Receiver::start().await;
    receiver.held().hangs = true;
    rig.start(&[&format!("--audit-webhook={}", receiver.url())]).await;
    rig.vault_store("s").await;
    let mut value = rig.canaries.value("first");
    rig.put("app", json!({"user": value})).await;
    rig.external_secret("e", json!({"refreshInterval": "1s", "data": rig.data("app", &["user"])})).await;
    rig.until_texts("e", json!({"user": value})).await;
    receiver.until("the receiver is asked", |held| held.asked > 0).await;
    for round in 0..3 {
        let began = Instant::now();
        value = rig.canaries.value(&format!("round-{round}"));
        rig.put("app", json!({"user": value})).await;
        rig.until_texts("e", json!({"user": value})).await;
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    let metrics = rig.metrics().await;
    assert_eq!(series(&metrics, "keyferry_audit_records_total", &[("to", "webhook")]), 0.0, "{metrics}");
    assert!(series(&metrics, "keyferry_limit_used_ratio", &[("limit", "audit-queue")]) > 0.0, "{metrics}");
    receiver.held().hangs = false;
    rig.stop().await;
    let names: Vec<(u64, Value)> =
        receiver.lines().iter().map(|line| (line["sequence"].as_u64().unwrap_or(0), line["action"].clone())).collect();
    let expected: Vec<(u64, Value)> = (1..=4).map(|n| (n, json!("written"))).collect();
    assert_eq!(names, expected, "a clean stop loses nothing");
    rig.finish().await;
}
