//! The node is real: what other tests will lean on works.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};

use keyferry_testkit::Testbed;
use serde_json::json;

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

/// What drivers of volumes stand on: a process of the node mounts for pods, and a privileged pod for the node.
#[tokio::test(flavor = "multi_thread")]
async fn mounts_pass_between_the_node_and_its_pods() {
    let testbed = Testbed::with_node();
    let (namespace, node) = (testbed.namespace("mounts").await, testbed.node());
    let folder = format!("/run/keyferry/{}", namespace.name());
    let container = |name: &str, propagation: &str, privileged: bool| {
        json!({
            "name": name, "image": node.busybox().unwrap(), "command": ["sleep", "600"],
            "volumeMounts": [{"name": "shared", "mountPath": "/shared", "mountPropagation": propagation}],
            "securityContext": {"privileged": privileged},
        })
    };
    let volume = json!({"name": "shared", "hostPath": {"path": folder, "type": "DirectoryOrCreate"}});
    let spec = |container| json!({"containers": [container], "volumes": [volume]});
    let reader = namespace.run_pod("reader", spec(container("reader", "HostToContainer", false))).await;
    let driver = namespace.run_pod("driver", spec(container("driver", "Bidirectional", true))).await;
    reader.until_ready().await;
    driver.until_ready().await;

    let mine = format!("{folder}/mine");
    node.run("mkdir", &[&mine]).unwrap();
    node.run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", &mine]).unwrap();
    std::fs::write(node.path(format!("{mine}/word")), "from the node").unwrap();
    assert_eq!(reader.exec(&["cat", "/shared/mine/word"]).unwrap(), "from the node");

    let script = "mkdir /shared/its && mount -t tmpfs tmpfs /shared/its && printf 'from a pod' > /shared/its/word";
    driver.exec(&["sh", "-c", script]).unwrap();
    assert_eq!(reader.exec(&["cat", "/shared/its/word"]).unwrap(), "from a pod");
    assert_eq!(std::fs::read_to_string(node.path(format!("{folder}/its/word"))).unwrap(), "from a pod");
    assert!(!std::path::Path::new(&folder).exists(), "the machine sees nothing of it");
    node.run("umount", &[&mine, &format!("{folder}/its")]).unwrap();
}
