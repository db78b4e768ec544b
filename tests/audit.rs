//! What `keyferry sync` delivered has been told to the webhook of its audit log when it ends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

/// A value, which is to be seen in files alone.
const CANARY: &str = "canary-of-the-webhook";

/// Two ExternalSecrets of a store that holds its values itself.
fn manifests() -> String {
    let store = format!(
        "apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {{name: s}}\nspec: {{provider: {{fake: {{data: \
         [{{key: app, value: {CANARY}}}]}}}}}}\n"
    );
    let external_secret = |name: &str| {
        format!(
            "---\napiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {{name: {name}}}\nspec:\n  \
             secretStoreRef: {{name: s}}\n  data: [{{secretKey: k, remoteRef: {{key: app}}}}]\n"
        )
    };
    [store, external_secret("a"), external_secret("b")].concat()
}

/// Takes one request, answers it with this status, and gives its body.
fn take(listener: &TcpListener, status: &str) -> String {
    let mut stream = BufReader::new(listener.accept().unwrap().0);
    let (mut length, mut line) = (0, String::new());
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).unwrap();
        if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = told.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    write!(stream.get_mut(), "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    String::from_utf8(body).unwrap()
}

#[test]
fn what_was_delivered_has_been_told_when_it_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("--audit-webhook=http://{}/audit", listener.local_addr().unwrap());
    let collecting = std::thread::spawn(move || {
        let refused = take(&listener, "503 Service Unavailable");
        let mut all = String::new();
        while all.lines().count() < 2 {
            all += &take(&listener, "200 OK");
        }
        (refused, all)
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.yaml"), manifests()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
    command.args(["sync", "-f", "all.yaml", "--to", "out", &url]).current_dir(&folder);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let (refused, all) = collecting.join().unwrap();
    assert!(all.starts_with(&refused), "what was refused comes again, first: {refused}{all}");
    let lines: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<(u64, &str)> =
        lines.iter().map(|line| (line["sequence"].as_u64().unwrap(), line["mode"].as_str().unwrap())).collect();
    assert_eq!(told, [(1, "sync"), (2, "sync")]);
    assert!(!all.contains(CANARY), "a value is in it: {all}");
}
