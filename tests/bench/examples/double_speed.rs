//! How fast the double is, so that it is not the limit of what is measured with it:
//! `cargo run --release -p keyferry-bench --example double_speed`.

#![expect(clippy::print_stdout, reason = "the measure")]
#![expect(clippy::unwrap_used, reason = "what fails here says so by itself")]

use std::time::Instant;

use keyferry_bench::double::Double;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::main]
async fn main() {
    let double = Double::start();
    let ids: Vec<String> = (0..20).map(|n| format!("key-{n}")).collect();
    ids.iter().for_each(|id| double.set(id, r#"{"username": "user", "password": "a password"}"#));
    let body = json!({ "SecretIdList": ids }).to_string();
    for (name, request) in [
        ("read", "GET /v1/secret/data/key-1 HTTP/1.1\r\nx-vault-token: t\r\n\r\n".to_owned()),
        (
            "batch of 20",
            format!(
                "POST / HTTP/1.1\r\nx-amz-target: secretsmanager.BatchGetSecretValue\r\nauthorization: x Credential=A/1/eu/s/a, y\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
        ),
    ] {
        const EACH: usize = 5000;
        let begun = Instant::now();
        let clients = [0; 8].map(|_| {
            let (url, request) = (double.url(), request.clone());
            tokio::spawn(async move {
                let mut stream = tokio::net::TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut buffer = vec![0; 64 * 1024];
                for _ in 0..EACH {
                    stream.write_all(request.as_bytes()).await.unwrap();
                    let mut got = 0;
                    loop {
                        got += stream.read(&mut buffer[got..]).await.unwrap();
                        let text = std::str::from_utf8(&buffer[..got]).unwrap();
                        let Some((head, rest)) = text.split_once("\r\n\r\n") else { continue };
                        let (_, length) = head.rsplit_once("content-length: ").unwrap();
                        if rest.len() == length.parse::<usize>().unwrap() {
                            break;
                        }
                    }
                }
            })
        });
        futures::future::join_all(clients).await;
        let rate = (8 * EACH) as f64 / begun.elapsed().as_secs_f64();
        println!("{name}: {rate:.0} requests a second");
    }
}
