//! The node is real: what other tests will lean on works.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};

use keyferry_testkit::Testbed;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_says_hello() {
    let namespace = Testbed::with_node().namespace("hello").await;
    let pod = namespace.run_script("hello", "echo hello from $(hostname)").await;
    pod.until_phase("Succeeded").await;
    assert_eq!(pod.logs().unwrap(), "hello from hello\n");
    let events = pod.events().await;
    assert!(events.iter().any(|event| event.starts_with("Started: ")), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_in_pods_and_servers_of_tests_are_reached_from_there() {
    let testbed = Testbed::with_node();
    let namespace = testbed.namespace("reach").await;
    let pod = namespace.run_script("reach", "sleep 600").await;
    pod.until_ready().await;
    assert_eq!(pod.exec(&["sh", "-c", "echo $((6 * 7))"]).unwrap(), "42\n");
    pod.exec(&["false"]).expect_err("its status comes back");

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut word = [0; 4];
            let _ = stream.read_exact(&mut word).and_then(|()| stream.write_all(&word));
        }
    });
    let url = testbed.node().url(&format!("http://127.0.0.1:{port}/")).unwrap();
    assert_eq!(testbed.node().url(&format!("http://127.0.0.1:{port}/")).unwrap(), url, "asked for again");
    let host = url.trim_start_matches("http://").trim_end_matches('/').replace(':', " ");
    assert_eq!(pod.exec(&["sh", "-c", &format!("echo ping | nc {host}")]).unwrap(), "ping");
    pod.delete().await;
}
