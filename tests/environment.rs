//! What the process adds to its environment: whom it trusts, and when it gives memory back.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the process may take to be what it will be.
const LIMIT: Duration = Duration::from_secs(30);

/// A `keyferry` that waits for its input, and is told of this file alone.
fn waiting(file: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
    command.args(["render", "-f", "-"]).env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("keyferry starts")
}

/// What the environment of a process says of a variable.
fn variable(child: &Child, name: &str) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{}/environ", child.id())).unwrap_or_default();
    let text = String::from_utf8_lossy(&environment).into_owned();
    text.split('\0').find_map(|pair| Some(pair.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

#[test]
fn a_file_of_certificates_stands_beside_the_usual_folders() {
    let usual =
        ["/etc/ssl/certs", "/etc/pki/tls/certs"].into_iter().filter(|folder| std::path::Path::new(folder).is_dir());
    let usual = usual.collect::<Vec<_>>().join(":");
    assert!(!usual.is_empty(), "this machine has no usual folder of certificates");
    let mut child = waiting("/some/file.pem");
    let begun = Instant::now();
    while variable(&child, "SSL_CERT_DIR").is_none() {
        assert!(begun.elapsed() < LIMIT && child.try_wait().unwrap().is_none(), "it never looks at the folders");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(variable(&child, "SSL_CERT_DIR"), Some(usual));
    assert_eq!(variable(&child, "SSL_CERT_FILE").as_deref(), Some("/some/file.pem"));
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// The size from which on a block of memory is given back at once, and how many heaps there are.
const THRESHOLD: &str = "MALLOC_MMAP_THRESHOLD_";
const HEAPS: &str = "MALLOC_ARENA_MAX";

#[test]
fn memory_goes_back_to_the_system_unless_somebody_said_when() {
    for (name, other, said, holds) in [
        (THRESHOLD, HEAPS, None, "262144"),
        (THRESHOLD, HEAPS, Some("1048576"), "1048576"),
        (HEAPS, THRESHOLD, None, "2"),
        (HEAPS, THRESHOLD, Some("4"), "4"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
        command.args(["render", "-f", "-"]).env_remove(name).env_remove(other).envs(said.map(|said| (name, said)));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("keyferry starts");
        let begun = Instant::now();
        while variable(&child, name).is_none() || variable(&child, other).is_none() {
            assert!(begun.elapsed() < LIMIT && child.try_wait().unwrap().is_none(), "it never says when");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(variable(&child, name).as_deref(), Some(holds));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
