//! Strangers: whoever reaches the listeners of what is sealed, without being anybody to the cluster. All of it stays on this machine.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use keyferry_testkit::{Operator as Program, install_crypto_provider};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// What a stranger does to both listeners for as long as an attack lasts.
#[derive(Clone, Copy, Debug)]
pub enum Stranger {
    /// He opens connections, and says nothing.
    Connections,
    /// He sends headers a byte at a time, and never the last.
    SlowHeaders,
    /// He sends bodies that have no end.
    HugeBodies,
    /// He asks as fast as he can, for what takes long to compute and with tokens that nobody gave him.
    Floods,
}

/// How many connections he has to each listener.
const CONNECTIONS: usize = 400;

/// How many of him send at once.
const SENDERS: usize = 32;

/// How long one who behaves may wait for the certificate when it is over: as long as a body may take, and a rest.
const SERVED_IN: Duration = Duration::from_secs(30);

/// Where the operator serves what is sealed.
#[derive(Clone, Copy, Debug)]
pub struct Listeners {
    seal: SocketAddr,
    unseal: SocketAddr,
}

impl Listeners {
    /// Two that are free.
    pub fn new() -> Result<Self> {
        let free = || Ok::<_, anyhow::Error>(SocketAddr::from(([127, 0, 0, 1], Program::free_port()?)));
        Ok(Self { seal: free()?, unseal: free()? })
    }

    /// The flags that have an operator serve them, with sealing keys in this namespace; a certificate is made in `folder`.
    pub fn flags(&self, namespace: &str, folder: &Path) -> Result<Vec<String>> {
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(["127.0.0.1".to_owned()])?.self_signed(&key)?;
        std::fs::write(folder.join("tls.crt"), certificate.pem())?;
        std::fs::write(folder.join("tls.key"), key.serialize_pem())?;
        Ok(vec![
            format!("--sealing-keys={namespace}"),
            format!("--seal-listen={}", self.seal),
            format!("--unseal-listen={}", self.unseal),
            format!("--unseal-cert-dir={}", folder.display()),
        ])
    }

    /// Does it until then. An error where somebody who behaves is not served afterwards.
    pub async fn press(&self, stranger: Stranger, end: Instant) -> Result<()> {
        match stranger {
            Stranger::Connections => join_all(self.crowd().map(|at| hold(at, end, b""))).await,
            Stranger::SlowHeaders => {
                join_all(self.crowd().map(|at| hold(at, end, b"POST /v1/verify HTTP/1.1\r\nhost: x\r\nx-"))).await
            }
            Stranger::HugeBodies => join_all((0..SENDERS).map(|_| endless(self.seal, end))).await,
            Stranger::Floods => {
                let ask = join_all((0..SENDERS).map(|n| self.flood(n, end))).await;
                ask.into_iter().collect::<Result<Vec<()>>>()?
            }
        };
        self.serves().await
    }

    /// As many as there are connections, to both in turn.
    fn crowd(&self) -> impl Iterator<Item = SocketAddr> {
        (0..2 * CONNECTIONS).map(|n| if n % 2 == 0 { self.seal } else { self.unseal })
    }

    async fn flood(&self, sender: usize, end: Instant) -> Result<()> {
        // Whose certificate it is does not matter to him.
        let http = client()?;
        let junk = STANDARD.encode([&[2, 0][..], &[7; 512], &[9; 64]].concat());
        let values: serde_json::Map<_, _> = (0..100).map(|n| (format!("k{n}"), json!(junk))).collect();
        let sealed = json!({"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
            "metadata": {"name": "a", "namespace": "b"}, "spec": {"encryptedData": values}});
        let asked = json!({"sealed": vec!["sealed:attacker:x:AAAA"; 100]});
        for round in 0.. {
            if Instant::now() >= end {
                break;
            }
            let request = match round % 3 {
                0 => http.post(format!("http://{}/v1/verify", self.seal)).body(sealed.to_string()),
                1 => http.post(format!("http://{}/v1/rotate", self.seal)).body(sealed.to_string()),
                _ => http
                    .post(format!("https://{}/v1/unseal", self.unseal))
                    // Each is another: none is known by the answer for one before.
                    .bearer_auth(format!("made-up-{sender}-{round}"))
                    .body(asked.to_string()),
            };
            // He is refused, or cut off: he goes on.
            let _ = timeout(Duration::from_secs(15), request.send()).await;
        }
        Ok(())
    }

    /// Whether somebody who behaves has the certificate.
    async fn serves(&self) -> Result<()> {
        let (http, begun) = (client()?, Instant::now());
        loop {
            let asked = http.get(format!("http://{}/v1/cert.pem", self.seal)).timeout(Duration::from_secs(5));
            if asked.send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            ensure!(begun.elapsed() < SERVED_IN, "after strangers nobody has the certificate within {SERVED_IN:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }
}

fn client() -> Result<reqwest::Client> {
    install_crypto_provider();
    let builder = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true).pool_max_idle_per_host(0);
    builder.build().context("a client")
}

/// Holds a connection, and sends a byte more from time to time, where anything is sent; whenever it ends another is opened.
async fn hold(at: SocketAddr, end: Instant, first: &[u8]) {
    while Instant::now() < end {
        let Ok(Ok(mut stream)) = timeout(Duration::from_secs(5), TcpStream::connect(at)).await else {
            sleep(Duration::from_millis(200)).await;
            continue;
        };
        let mut is_open = first.is_empty() || stream.write_all(first).await.is_ok();
        while is_open && Instant::now() < end {
            if first.is_empty() {
                let left = end.saturating_duration_since(Instant::now());
                is_open = timeout(left, stream.read(&mut [0; 64])).await.is_err();
            } else {
                sleep(Duration::from_millis(500)).await;
                is_open = stream.write_all(b"a").await.is_ok();
            }
        }
    }
}

/// Sends a body of which there is always more.
async fn endless(at: SocketAddr, end: Instant) {
    let head = b"POST /v1/verify HTTP/1.1\r\nhost: x\r\ncontent-length: 1099511627776\r\n\r\n";
    let part = vec![b'a'; 64 << 10];
    while Instant::now() < end {
        let Ok(Ok(mut stream)) = timeout(Duration::from_secs(5), TcpStream::connect(at)).await else { continue };
        let mut sent = stream.write_all(head).await;
        while sent.is_ok() && Instant::now() < end {
            // Who reads nothing any more is left.
            sent =
                timeout(Duration::from_secs(5), stream.write_all(&part)).await.unwrap_or_else(|late| Err(late.into()));
        }
        sleep(Duration::from_millis(10)).await;
    }
}
