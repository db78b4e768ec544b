//! What a client costs: there may be one for each of ten thousand stores.

use keyferry_provider_core::address::Addresses;
use keyferry_provider_http::{Fields, Way};

/// The most that one may take, in KiB: it takes three. Whom the system trusts is a hundred.
const MOST: usize = 8;

/// The memory of this process that is there, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_client_takes_little() {
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = |n: usize| {
        let server = format!("https://store-{n}.example").parse().unwrap();
        let way = Way::new(server, Fields { server: "server", ca: "ca", identity: "identity" });
        way.client(way.client_builder(&Addresses::default()).unwrap(), None, None).unwrap()
    };
    let first = client(0);
    let before = resident();
    let clients: Vec<_> = (1..=1000).map(client).collect();
    let each = (resident() - before) / clients.len();
    assert!(each <= MOST, "a client takes {each} KiB");
    drop(first);
}
