//! SIGTERM and SIGINT, at any moment, to any verb that takes a while. Whatever the program is at, it ends as it says.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// An API server that takes connections and never answers, and a kubeconfig of it.
struct Silent {
    folder: tempfile::TempDir,
    _listener: std::net::TcpListener,
}

impl Silent {
    fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let server = listener.local_addr().unwrap();
        let config = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, clusters: [{{name: c, cluster: {{server: 'http://{server}'}}}}], \
             users: [{{name: c, user: {{}}}}], contexts: [{{name: c, context: {{cluster: c, user: c}}}}]}}"
        );
        fs::write(folder.path().join("kubeconfig"), config).unwrap();
        Self { folder, _listener: listener }
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
        command.args(args).env("KUBECONFIG", self.folder.path().join("kubeconfig"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn run(&self) -> Child {
        let kubeconfig = format!("--kubeconfig={}", self.folder.path().join("kubeconfig").display());
        self.start(&["run", &kubeconfig, "--live-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0"])
    }
}

/// Waits until the program itself has begun: before, the kernel and the loader are at work, and nothing of ours can listen.
/// Who has a second thread has begun; so has who listens.
fn wait_until_begun(child: &Child) {
    let began = Instant::now();
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim).unwrap_or_default().to_owned()
        };
        let caught = u64::from_str_radix(&field("SigCgt:"), 16).unwrap_or_default();
        let listens = caught & (1 << (Signal::TERM.as_raw() - 1)) != 0;
        if listens || field("Threads:") != "1" {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "it does not begin: {status}");
        std::hint::spin_loop();
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn wait(mut child: Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > Duration::from_secs(40) {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_operator_ends_well_whenever_it_is_asked() {
    let silent = Silent::new();
    // One after the other is asked, so that each begins undisturbed; what they end with is looked at in the end, as each
    // waits a moment for the Lease that it may be getting.
    let asked = (0..=50).step_by(2).map(|milliseconds| {
        let child = silent.run();
        wait_until_begun(&child);
        std::thread::sleep(Duration::from_millis(milliseconds));
        signal(&child, if milliseconds % 4 == 0 { Signal::TERM } else { Signal::INT });
        (milliseconds, child)
    });
    for (milliseconds, child) in asked.collect::<Vec<_>>() {
        let status = wait(child);
        assert_eq!((status.signal(), status.code()), (None, Some(0)), "after {milliseconds} ms");
    }
}

#[test]
fn all_other_verbs_end_at_once_with_the_code_of_the_signal() {
    let silent = Silent::new();
    // Each waits: for the API server, for its input.
    let verbs: [&[&str]; 3] = [&["status"], &["migrate", "eso"], &["render", "-f", "-"]];
    for (verb, milliseconds) in verbs.iter().flat_map(|verb| [0, 3, 10, 50].map(|milliseconds| (verb, milliseconds))) {
        let mut child = silent.start(verb);
        let mut input = child.stdin.take().unwrap();
        let _ = input.write_all(b"---\n");
        wait_until_begun(&child);
        std::thread::sleep(Duration::from_millis(milliseconds));
        let (sent, code) = if milliseconds == 3 { (Signal::INT, 130) } else { (Signal::TERM, 143) };
        signal(&child, sent);
        let status = wait(child);
        assert_eq!((status.signal(), status.code()), (None, Some(code)), "{verb:?} after {milliseconds} ms");
        drop(input);
    }
}

#[test]
fn the_page_ends_well_whenever_it_is_asked() {
    let silent = Silent::new();
    for milliseconds in [0, 3, 10, 50, 200] {
        let child = silent.start(&["ui", "--namespace=shop"]);
        wait_until_begun(&child);
        std::thread::sleep(Duration::from_millis(milliseconds));
        signal(&child, if milliseconds == 3 { Signal::INT } else { Signal::TERM });
        let status = wait(child);
        assert_eq!((status.signal(), status.code()), (None, Some(0)), "after {milliseconds} ms");
    }
}

#[test]
fn output_that_nobody_takes_keeps_nobody_from_ending() {
    let silent = Silent::new();
    // Its output is longer than a pipe holds, and nobody reads it.
    let child = silent.start(&["crds"]);
    wait_until_begun(&child);
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::TERM);
    let status = wait(child);
    assert_eq!((status.signal(), status.code()), (None, Some(143)));
}
