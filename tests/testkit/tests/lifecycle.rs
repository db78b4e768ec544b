//! Whatever ends the testbed, nothing of it is left.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use keyferry_testkit::description::Description;
use keyferry_testkit::process::{Signal, is_running, send_signal};

const SOON: Duration = Duration::from_secs(120);

#[test]
fn a_closed_stdin_ends_everything() {
    let (mut supervisor, description) = start(&["--until-stdin-closes"]);
    drop(supervisor.stdin.take());
    assert!(supervisor.wait().unwrap().success());
    nothing_is_left(&description);
}

#[test]
fn sigint_ends_everything() {
    let (mut supervisor, description) = start(&[]);
    send_signal(supervisor.id(), Signal::INT).unwrap();
    assert!(supervisor.wait().unwrap().success());
    nothing_is_left(&description);
}

#[test]
fn sigterm_ends_everything_and_a_frozen_server_too() {
    let (mut supervisor, description) = start(&[]);
    send_signal(description.servers["kube-apiserver"].pid, Signal::STOP).unwrap();
    send_signal(supervisor.id(), Signal::TERM).unwrap();
    assert!(supervisor.wait().unwrap().success());
    nothing_is_left(&description);
}

#[test]
fn stopping_before_all_is_ready_is_a_failure_and_leaves_nothing() {
    let mut supervisor = testbed(&["up"]).stdout(Stdio::piped()).spawn().unwrap();
    catches_sigterm(supervisor.id());
    send_signal(supervisor.id(), Signal::TERM).unwrap();
    assert_eq!(supervisor.wait().unwrap().code(), Some(143));
    assert_eq!(first_line(&mut supervisor), "");
}

#[test]
fn kill_9_of_the_supervisor_ends_the_servers() {
    let (mut supervisor, description) = start(&[]);
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    no_process_is_left(&description);
    // The folder stays behind: nobody was there to remove it. The next run does.
    let (mut next, _) = start(&["--until-stdin-closes"]);
    assert!(!description.data_dir.exists(), "left by a killed supervisor");
    drop(next.stdin.take());
    next.wait().unwrap();
}

#[test]
fn kept_data_stays_and_names_the_servers_logs() {
    let (mut supervisor, description) = start(&["--keep"]);
    send_signal(supervisor.id(), Signal::INT).unwrap();
    supervisor.wait().unwrap();
    no_process_is_left(&description);
    for (name, server) in &description.servers {
        assert!(server.log.is_file(), "{name} has no log");
    }
    assert!(description.file().is_file());
    std::fs::remove_dir_all(&description.data_dir).unwrap();
}

#[test]
fn a_command_gets_the_environment_and_its_exit_code_comes_back() {
    let script = "kubectl get namespace default --output=name && test -r \"$KEYFERRY_TESTBED\" && \
                  echo \"$VAULT_ADDR $VAULT_TOKEN $AWS_ENDPOINT_URL $KEYFERRY_TESTBED\"; exit 7";
    let output = testbed(&["up", "--", "sh", "-c", script]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("namespace/default\nhttp://127.0.0.1:"), "{stdout}");
    let file = stdout.split_whitespace().last().unwrap();
    assert!(!Path::new(file).exists(), "the data folder is still there");
}

#[test]
fn a_command_is_ended_when_the_testbed_is_told_to_stop() {
    let mut supervisor =
        testbed(&["up", "--", "sh", "-c", "echo $$; exec sleep 600"]).stdout(Stdio::piped()).spawn().unwrap();
    let command: u32 = first_line(&mut supervisor).trim().parse().unwrap();
    send_signal(supervisor.id(), Signal::TERM).unwrap();
    assert_eq!(supervisor.wait().unwrap().code(), Some(143));
    gone(command);
}

#[test]
fn a_server_that_does_not_start_is_shown_with_its_log() {
    let output = testbed(&["up", "--apiserver-arg=--no-such-flag"]).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("kube-apiserver did not start"), "{said}");
    assert!(said.contains("unknown flag: --no-such-flag"), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_second_install_does_nothing_and_is_quick() {
    let install = || {
        let start = Instant::now();
        let output = testbed(&["install"]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        (start.elapsed(), stderr(&output))
    };
    install();
    let (took, said) = install();
    assert_eq!(said, "");
    assert!(took < Duration::from_secs(10), "it took {took:?}");
}

#[test]
fn an_incomplete_assets_folder_is_refused_with_what_is_missing() {
    let assets = tempfile::tempdir().unwrap();
    std::fs::write(assets.path().join("etcd"), "").unwrap();
    let output = testbed(&["install"]).env("KUBEBUILDER_ASSETS", assets.path()).output().unwrap();
    let said = stderr(&output);
    assert!(!output.status.success());
    assert!(said.contains("which has no kube-apiserver"), "{said}");
}

fn testbed(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.args(args).stdin(Stdio::null());
    command
}

/// A supervisor whose servers are all ready.
fn start(args: &[&str]) -> (Child, Description) {
    let mut supervisor = testbed(&["up"]).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let line = first_line(&mut supervisor);
    let description = match Description::parse(&line) {
        Ok(description) => description,
        Err(error) => panic!("{error:#}: {line:?}, {:?}", ended(&mut supervisor)),
    };
    for (name, server) in &description.servers {
        assert!(is_running(server.pid), "{name} does not run");
    }
    assert_eq!(description.servers.len(), 5);
    (supervisor, description)
}

/// Waits until a process does with SIGTERM what it wants to; before that the signal would just end it.
fn catches_sigterm(pid: u32) {
    let start = Instant::now();
    let catches = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        mask & (1 << (Signal::TERM.as_raw() - 1)) != 0
    };
    while !catches() {
        assert!(start.elapsed() < SOON, "process {pid} does not catch SIGTERM");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    BufReader::new(stdout.by_ref()).read_line(&mut line).unwrap();
    line
}

fn ended(child: &mut Child) -> ExitStatus {
    child.wait().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn nothing_is_left(description: &Description) {
    no_process_is_left(description);
    assert!(!description.data_dir.exists(), "the data folder is still there");
}

#[track_caller]
fn no_process_is_left(description: &Description) {
    for server in description.servers.values() {
        gone(server.pid);
    }
    // And none that the description does not name.
    let dir = description.data_dir.to_str().unwrap();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let cmdline = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let cmdline = String::from_utf8_lossy(&cmdline).replace('\0', " ");
        assert!(!cmdline.contains(dir), "still running: {cmdline}");
    }
}

#[track_caller]
fn gone(pid: u32) {
    let start = Instant::now();
    while is_running(pid) {
        assert!(start.elapsed() < SOON, "process {pid} still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}
