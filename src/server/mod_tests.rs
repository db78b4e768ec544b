use std::io::{Read as _, Write as _};
use std::net::TcpStream as Client;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::threads::control::Control;

/// A health server on the control thread; its address.
fn healthy(control: &Control, ready: bool) -> SocketAddr {
    let (told, bound) = std::sync::mpsc::channel();
    control.spawn(async move {
        let listener = bind(([127, 0, 0, 1], 0).into(), "--live-addr").await.unwrap();
        told.send(listener.local_addr().unwrap()).unwrap();
        let (_ready, readiness) = watch::channel(ready);
        health(listener, readiness).await;
    });
    bound.recv().unwrap()
}

fn connect(address: SocketAddr) -> Client {
    let client = Client::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client
}

/// The whole answer to a request whose connection is closed after it.
fn get(address: SocketAddr, path: &str) -> String {
    let mut client = connect(address);
    write!(client, "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn health_answers_and_time_goes_on_while_all_else_computes() {
    let control = Control::start().unwrap();
    let address = healthy(&control, true);
    let (over, ticks) = (Arc::new(AtomicBool::new(false)), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    // As the Lease is renewed.
    let ticking = ticks.clone();
    control.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            ticking.fetch_add(1, Ordering::Relaxed);
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for _ in 0..8 {
        let over = over.clone();
        runtime.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
    }
    for _ in 0..10 {
        assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 OK"));
    }
    std::thread::sleep(Duration::from_millis(500));
    assert!(ticks.load(Ordering::Relaxed) > 3, "{ticks:?}");
    over.store(true, Ordering::Relaxed);
    runtime.shutdown_background();
}

#[test]
fn ready_is_who_is() {
    let control = Control::start().unwrap();
    assert!(get(healthy(&control, false), "/readyz").starts_with("HTTP/1.1 503"));
    assert!(get(healthy(&control, true), "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(healthy(&control, true), "/else").starts_with("HTTP/1.1 404"));
}

#[test]
fn whoever_holds_all_connections_keeps_nobody_out() {
    let control = Control::start().unwrap();
    let address = healthy(&control, true);
    let mut slow: Vec<Client> = Vec::new();
    for _ in 0..2 * CONNECTIONS {
        let mut client = connect(address);
        write!(client, "GET /healthz HTTP/1.1\r\nHost: ").unwrap();
        slow.push(client);
    }
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 OK"));
    let ended = slow[0].read(&mut [0; 1]);
    let waits = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    assert!(!ended.as_ref().is_err_and(waits), "the oldest is still waited for");
}

#[test]
fn who_is_known_keeps_its_connection() {
    let control = Control::start().unwrap();
    let ((told, bound), (holds, held)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let (go, gate) = watch::channel(false);
    control.spawn(async move {
        let listener = bind(([127, 0, 0, 1], 0).into(), "--live-addr").await.unwrap();
        told.send(listener.local_addr().unwrap()).unwrap();
        let known = move |Extension(connection): Extension<Connection>| {
            let (mut gate, holds) = (gate.clone(), holds.clone());
            async move {
                let _hold = connection.hold();
                holds.send(()).unwrap();
                gate.wait_for(|go| *go).await.unwrap();
                "done"
            }
        };
        serve(listener, Router::new().route("/known", axum::routing::get(known)), None).await;
    });
    let address = bound.recv().unwrap();
    let mut client = connect(address);
    write!(client, "GET /known HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
    held.recv().unwrap();
    let mut slow: Vec<Client> = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = connect(address);
        write!(client, "GET /healthz HTTP/1.1\r\nHost: ").unwrap();
        slow.push(client);
    }
    // Another one is served, so that all before it were seen.
    assert!(get(address, "/else").starts_with("HTTP/1.1 404"));
    go.send(true).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn headers_that_never_end_are_not_waited_for() {
    let (mut client, server) = tokio::io::duplex(1024);
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    client.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    let began = tokio::time::Instant::now();
    let answering = tokio::spawn(answer(server, Router::new()));
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    answering.await.unwrap();
    assert!(began.elapsed() < HEADERS + Duration::from_secs(1), "{:?}", began.elapsed());
    // Nor is somebody who asks nothing more.
    let (mut client, server) = tokio::io::duplex(1024);
    let answering = tokio::spawn(answer(server, Router::new()));
    client.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
    let began = tokio::time::Instant::now();
    answering.await.unwrap();
    assert!(began.elapsed() < HEADERS + Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_body_is_not_read() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (mut client, server) = tokio::io::duplex(1 << 10);
    tokio::spawn(answer(server, Router::new().route("/healthz", get_route())));
    let head = b"GET /healthz HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000000\r\n\r\n";
    client.write_all(head).await.unwrap();
    let mut answered = vec![0; 15];
    client.read_exact(&mut answered).await.unwrap();
    assert_eq!(answered, b"HTTP/1.1 200 OK");
    // Most of a gigabyte finds nobody.
    let sent = timeout(Duration::from_secs(5), client.write_all(&vec![0; 64 << 20])).await;
    assert!(!matches!(sent, Ok(Ok(()))), "the body was taken");
}

fn get_route() -> axum::routing::MethodRouter {
    axum::routing::get(async || "ok")
}

/// What trusts one certificate, or whichever comes.
fn connector(trusted: &[u8]) -> tokio_rustls::TlsConnector {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut roots = rustls::RootCertStore::empty();
    use rustls::pki_types::pem::PemObject as _;
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(trusted).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_renewed_is_served_without_a_restart() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let files = self::tls::Files { certificate: folder.path().join("tls.crt"), key: folder.path().join("tls.key") };
    let renew = |year| {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        std::fs::write(&files.certificate, made.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        made.pem()
    };
    let ends = Arc::<std::sync::Mutex<Vec<String>>>::default();
    let told = ends.clone();
    let missing = Certificate::of(files.clone(), |_| {}).err().unwrap();
    assert!(missing.contains("--metrics-cert-name") && missing.contains("tls.crt"), "{missing}");
    let first = renew(2100);
    let certificate = Certificate::of(files.clone(), move |end| told.lock().unwrap().push(end.to_string())).unwrap();
    let trusts = async |pem: &str| {
        let (client, server) = tokio::io::duplex(1 << 14);
        let name = "localhost".try_into().unwrap();
        let (accepted, connected) =
            tokio::join!(certificate.acceptor().accept(server), connector(pem.as_bytes()).connect(name, client));
        accepted.is_ok() && connected.is_ok()
    };
    assert!(trusts(&first).await);
    let second = renew(2101);
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!(trusts(&second).await);
    std::fs::write(&files.key, "garbage").unwrap();
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!(trusts(&second).await, "what was read before is good");
    assert_eq!(*ends.lock().unwrap(), ["2100-01-01T00:00:00Z", "2101-01-01T00:00:00Z"]);
    Certificate::self_signed().unwrap();
}
