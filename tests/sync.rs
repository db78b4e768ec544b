//! `keyferry sync` as it is run: what it writes and what it does not, who can read that, and what is left of it when it is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;

/// Manifests, and the folder that is written to.
struct Rig {
    folder: tempfile::TempDir,
}

/// A store that holds these.
fn store(values: &[(&str, &str)]) -> String {
    let data: Vec<Value> = values.iter().map(|(key, value)| serde_json::json!({"key": key, "value": value})).collect();
    let data = serde_json::to_string(&data).unwrap();
    format!(
        "---\napiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {{name: s}}\nspec: {{provider: {{fake: \
         {{data: {data}}}}}}}\n"
    )
}

fn external_secret(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {{name: {name}}}\nspec:\n  \
         secretStoreRef: {{name: s}}\n  {spec}\n"
    )
}

/// One that takes each field of the JSON under a key.
fn extract(name: &str, key: &str) -> String {
    external_secret(name, &format!("dataFrom: [{{extract: {{key: {key}}}}}]"))
}

impl Rig {
    fn new(manifests: &str) -> Self {
        let rig = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(rig.path("m")).unwrap();
        rig.put(manifests);
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the manifests, in place of those before: at once, as an editor does.
    fn put(&self, manifests: &str) {
        fs::write(self.path("new"), manifests).unwrap();
        fs::rename(self.path("new"), self.path("m/all.yaml")).unwrap();
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
        command.args(["sync", "-f", "m", "--to", "out"]).args(flags).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, flags: &[&str]) -> Output {
        self.command(flags).output().unwrap()
    }

    /// Runs it, and gives its exit code and what it told, a line for each event.
    fn told(&self, flags: &[&str]) -> (Option<i32>, Vec<Value>) {
        let output = self.run(flags);
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path("out").join(path)).unwrap_or_default()
    }

    /// Waits until something holds.
    fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All that is below a folder, links as links.
fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        into.push(entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), into);
        }
    }
}

/// What any write would move, of all that is below a folder.
fn stamps(folder: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, i64, i64)> {
    let mut all = Vec::new();
    walk(folder, &mut all);
    let stamp = |path: PathBuf| {
        let stat = path.symlink_metadata().ok()?;
        Some((path, (stat.ino(), stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec())))
    };
    all.into_iter().filter_map(stamp).collect()
}

/// What whoever opens the files of a target finds; names that lead nowhere are not there.
fn seen(target: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(target).into_iter().flatten().flatten();
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let files = named.filter(|(name, _)| !name.starts_with(".."));
    files.filter_map(|(name, path)| Some((name, fs::read_to_string(path).ok()?))).collect()
}

fn result<'a>(told: &'a [Value], name: &str) -> &'a str {
    let of = |line: &&Value| line["event"] == "target" && line["externalSecret"] == name;
    told.iter().find(of).and_then(|line| line["result"].as_str()).unwrap_or_default()
}

/// Many targets, each with its own secret of so many keys, all of which hold `value`.
fn many(targets: usize, keys: &[String], value: &str) -> String {
    let object: BTreeMap<&String, &str> = keys.iter().map(|key| (key, value)).collect();
    let object = serde_json::to_string(&object).unwrap();
    let all: String = (0..targets).map(|n| extract(&format!("t{n}"), "all")).collect();
    store(&[("all", &object)]) + &all
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("key-{n}")).collect()
}

#[test]
fn five_hundred_targets_are_written_once() {
    let rig = Rig::new(&many(500, &keys(20), "canary"));
    let (code, told) = rig.told(&[]);
    let summary = told.last().unwrap();
    assert_eq!((code, &summary["changed"], &summary["failed"]), (Some(0), &500.into(), &0.into()), "{summary}");
    let before = stamps(&rig.path("out"));
    assert!(before.len() > 500 * 40, "{} files and links", before.len());
    let (code, told) = rig.told(&[]);
    assert_eq!((code, &told.last().unwrap()["changed"]), (Some(0), &0.into()));
    assert_eq!(told.iter().filter(|line| line["result"] == "unchanged").count(), 500);
    // But for the lock, which is opened.
    assert!(stamps(&rig.path("out")) == before, "the second pass wrote something");
}

#[test]
fn a_target_is_old_or_new_whenever_it_is_killed() {
    // Keys come and go, so that half a swap would show.
    let names = |from: usize| (from..from + 20).map(|n| format!("key-{n}")).collect::<Vec<_>>();
    let (old, new) = ((names(0), "old"), (names(7), "new"));
    let targets = 40;
    for format in ["files", "json"] {
        let rig = Rig::new(&many(targets, &old.0, old.1));
        rig.run(&["--format", format]);
        let whole: BTreeSet<BTreeMap<String, String>> = [&old, &new]
            .map(|(names, value)| names.iter().map(|name| (name.clone(), (*value).to_owned())).collect())
            .into();
        let mut interrupted = 0;
        for n in 0_u64..40 {
            let (names, value) = if n % 2 == 0 { &new } else { &old };
            rig.put(&many(targets, names, value));
            let mut child = rig.command(&["--format", format]).spawn().unwrap();
            // Once it begins to write, it is killed a little later each time.
            let began = Instant::now();
            let before = stamps(&rig.path("out"));
            while stamps(&rig.path("out")) == before
                && child.try_wait().unwrap().is_none()
                && began.elapsed() < Duration::from_secs(30)
            {}
            std::thread::sleep(Duration::from_micros(n * 200));
            child.kill().unwrap();
            let status = child.wait().unwrap();
            interrupted += usize::from(!status.success() && status.code().is_none());
            for target in 0..targets {
                let found = match format {
                    "files" => seen(&rig.path(&format!("out/t{target}"))),
                    _ => serde_json::from_str(&rig.read(&format!("t{target}.json"))).unwrap(),
                };
                assert!(whole.contains(&found), "run {n}: target {target} is half done: {found:?}");
            }
        }
        assert!(interrupted > 10, "it was killed in the middle {interrupted} times");
        // What was left lying about goes with the next run.
        rig.put(&many(targets, &new.0, new.1));
        assert_eq!(rig.run(&["--format", format]).status.code(), Some(0));
        let mut all = Vec::new();
        walk(&rig.path("out"), &mut all);
        let left = all.iter().filter(|path| path.display().to_string().contains("/..data-")).count();
        assert_eq!(left, if format == "files" { targets * 21 } else { 0 });
    }
}

#[test]
fn nobody_else_reads_a_value_at_any_moment() {
    let rig = Rig::new(&many(40, &keys(20), "canary"));
    let out = rig.path("out");
    // Whoever looks all the time sees no file and no folder that lets others in, although the umask would.
    let ends = AtomicBool::new(false);
    let (looks, wrong) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let (mut looks, mut wrong) = (0, BTreeSet::new());
            while !ends.load(Ordering::Relaxed) {
                let mut all = vec![out.clone()];
                walk(&out, &mut all);
                for path in all {
                    let Ok(stat) = path.symlink_metadata() else { continue };
                    if !stat.is_symlink() && stat.mode() & 0o077 != 0 {
                        wrong.insert((path, format!("{:o}", stat.mode())));
                    }
                    looks += 1;
                }
            }
            (looks, wrong)
        });
        for value in ["canary-1", "canary-2", "canary-3"] {
            for format in ["files", "env", "docker-env", "json", "yaml"] {
                let values = keys(20).iter().map(|key| key.replace('-', "_")).collect::<Vec<_>>();
                rig.put(&many(40, &values, value));
                let mut command = Command::new("sh");
                command.args(["-c", "umask 000; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_keyferry"), "sync"]);
                command.args(["-f", "m", "--to", "out", "--format", format]).current_dir(&rig.folder);
                assert!(command.output().unwrap().status.success());
            }
        }
        ends.store(true, Ordering::Relaxed);
        watching.join().unwrap()
    });
    assert!(wrong.is_empty() && looks > 1000, "{looks} looks: {wrong:?}");
    if geteuid().is_root() {
        // Not by its mode alone: another user tries.
        fs::set_permissions(rig.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for path in ["out/t0/key_0", "out/t0.env", "out/t0.json", "out/t0.yaml"] {
            let mut command = Command::new("cat");
            let output = command.arg(rig.path(path)).uid(65534).gid(65534).output().unwrap();
            assert!(!output.status.success() && output.stdout.is_empty(), "{path}");
        }
    }
}

#[test]
fn modes_and_owners_are_those_asked_for() {
    let rig = Rig::new(&many(1, &keys(1), "canary"));
    let mut flags = vec!["--mode", "0640"];
    if geteuid().is_root() {
        flags.extend(["--owner", "65534:65533"]);
    }
    for _ in 0..2 {
        assert!(rig.run(&flags).status.success());
        for (path, mode) in [("out/t0/key-0", 0o640), ("out/t0/..data", 0o750), ("out/t0", 0o750)] {
            let stat = fs::metadata(rig.path(path)).unwrap();
            assert_eq!(stat.mode() & 0o7777, mode, "{path}");
            if geteuid().is_root() {
                assert_eq!((stat.uid(), stat.gid()), (65534, 65533), "{path}");
            }
        }
    }
    // Other modes for the same values change the files and tell nobody.
    let (_, told) = rig.told(&[]);
    assert_eq!(result(&told, "t0"), "unchanged");
    assert_eq!(fs::metadata(rig.path("out/t0/key-0")).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn a_command_hears_of_changes_and_gets_no_value() {
    let login = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {token: canary-login}\n";
    let template = "target: {template: {templateFrom: [{secret: {name: login, items: [{key: token}]}}]}}\n  \
                    dataFrom: [{extract: {key: all}}]";
    let rig = Rig::new(&(many(2, &keys(2), "canary-value") + login + &external_secret("e", template)));
    let look = "cat /proc/self/cmdline /proc/self/environ /proc/$PPID/cmdline > seen; grep 'Max core' \
                /proc/$PPID/limits >> seen; ls -l /proc/self/fd >> seen; echo \"$@\" >> changed; echo out-of-it";
    let flags = ["--on-change", look, "--credential-env", "default/login/token=LOGIN"];
    // What the stores' own logins are found by is not for the command either.
    let logins = [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AZURE_CLIENT_SECRET",
        "VAULT_TOKEN",
        "GOOGLE_CREDENTIALS",
        "SOPS_AGE_KEY",
    ];
    let mut environment = logins.map(|name| (name, "canary-login")).to_vec();
    environment.extend([("LOGIN", "canary-environment"), ("OTHER", "passed-on")]);
    let run = || rig.command(&flags).envs(environment.iter().copied()).output().unwrap();
    let output = run();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(rig.read("e/token"), "canary-environment");
    assert_eq!(fs::read_to_string(rig.path("changed")).unwrap(), "out/e out/t0 out/t1\n");
    let found = fs::read_to_string(rig.path("seen")).unwrap();
    assert!(!found.contains("canary") && found.contains("Max core file size        0"), "{found}");
    assert!(found.contains("OTHER=passed-on"), "{found}");
    let all = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(!all.contains("canary") && all.contains("out-of-it"), "{all}");
    run();
    assert_eq!(fs::read_to_string(rig.path("changed")).unwrap().lines().count(), 1, "nothing changed");
}

#[test]
fn a_command_that_fails_hears_of_it_again() {
    let rig = Rig::new(&many(1, &keys(1), "a"));
    let command = "echo \"$@\" >> changed; test -e fine";
    let (code, told) = rig.told(&["--on-change", command]);
    let failed = told.iter().find(|line| line["event"] == "command").unwrap();
    assert_eq!(code, Some(1));
    assert!(failed["error"].as_str().unwrap().contains("--on-change ended with exit status: 1"), "{failed}");
    fs::write(rig.path("fine"), "").unwrap();
    assert_eq!(rig.told(&["--on-change", command]).0, Some(0));
    assert_eq!(rig.told(&["--on-change", command]).0, Some(0));
    assert_eq!(fs::read_to_string(rig.path("changed")).unwrap(), "out/t0\nout/t0\n");
}

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let object = r#"{"user": "bob", "password": "canary"}"#;
    let es = external_secret("app", "data: [{secretKey: pw, remoteRef: {key: all, property: passwrod}}]");
    let rig = Rig::new(&(store(&[("all", object)]) + &es));
    let output = rig.run(&["-o", "text"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.starts_with("m/all.yaml:12: error: ExternalSecret default/app: ") && text.contains("passwrod"),
        "{text}"
    );

    rig.put(&(store(&[("all", object)]) + &extract("app", "all")));
    fs::create_dir_all(rig.path("out2/app")).unwrap();
    fs::write(rig.path("out2/app/own"), "").unwrap();
    fs::write(rig.path("file"), "").unwrap();
    for (flags, code, says) in [
        (&["--to", "file"][..], 1, "can't make the folder file: "),
        (&["--to", "m"], 1, "is among the manifests"),
        (&["--to", "out2"], 1, "out2/app is there, and not known to be written by keyferry: move it away"),
        (&["--to", "/proc/out"], 1, "can't make the folder /proc/out: "),
        (&["--to", "out", "--mode", "0200"], 2, "is not a mode such as 0600"),
        (&["--to", "out", "--owner", "nobody-of-that-name"], 2, "there is no user"),
        (&["--to", "out", "--watch", "-f", "-"], 1, "standard input"),
        (&["--to", "out", "--credentials", "none"], 1, "--credentials none is no folder"),
        (&["--to", "out", "--credentials", "file"], 1, "--credentials file is no folder"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
        command.args(["sync", "-o", "text", "-f", "m"]).args(flags).current_dir(&rig.folder).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {text}");
        assert!(text.contains(says) && !text.contains("canary"), "{flags:?}: {text}");
    }
    rig.put(&(store(&[("all", object)]) + &extract("app", "all") + &extract("app", "all")));
    let output = rig.run(&["-o", "text"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("ExternalSecret default/app: it is there already, at m/all.yaml:"), "{text}");
    assert_eq!(rig.read("app/user"), "bob", "the first counts");
    rig.put(&(store(&[("all", object)]) + &extract("app", "all")));
    fs::write(rig.path("m/broken.yaml"), "a: [canary\n").unwrap();
    let output = rig.run(&["-o", "text"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text.starts_with("m/broken.yaml:") && !text.contains("canary") && rig.read("app/user") == "bob", "{text}");
}

#[test]
fn what_is_made_or_read_once_stays_over_runs() {
    let generator = "---\napiVersion: generators.external-secrets.io/v1alpha1\nkind: Password\nmetadata: {name: g}\n\
                     spec: {length: 24, digits: 5, symbols: 0, noUpper: false, allowRepeat: true}\n";
    let made = |every: &str| {
        external_secret(
            "made",
            &format!(
                "refreshInterval: {every}\n  dataFrom: [{{sourceRef: {{generatorRef: {{kind: Password, name: g}}}}}}]"
            ),
        )
    };
    let once = external_secret("once", "refreshPolicy: CreatedOnce\n  dataFrom: [{extract: {key: all}}]");
    let manifests =
        |value: &str, every| store(&[("all", &format!("{{\"v\": \"{value}\"}}"))]) + generator + &made(every) + &once;
    let rig = Rig::new(&manifests("first", "1h"));
    assert_eq!(rig.told(&[]).0, Some(0));
    let password = rig.read("made/password");
    assert_eq!((password.len(), rig.read("once/v").as_str()), (24, "first"));
    rig.put(&manifests("second", "1h"));
    let (_, told) = rig.told(&[]);
    assert_eq!((result(&told, "made"), result(&told, "once")), ("unchanged", "unchanged"));
    assert_eq!((rig.read("made/password"), rig.read("once/v").as_str()), (password.clone(), "first"));
    // It is made anew when its ExternalSecret changes, and when it is gone.
    rig.put(&manifests("second", "2h"));
    rig.told(&[]);
    assert_ne!(rig.read("made/password"), password);
    fs::remove_dir_all(rig.path("out/once")).unwrap();
    rig.told(&[]);
    assert_eq!(rig.read("once/v"), "second");
}

#[test]
fn what_nobody_asks_for_is_removed_only_when_that_is_said() {
    let rig = Rig::new(&many(2, &keys(1), "a"));
    rig.told(&[]);
    rig.put(&many(1, &keys(1), "a"));
    rig.told(&[]);
    assert!(rig.path("out/t1/key-0").exists());
    fs::create_dir(rig.path("out/own")).unwrap();
    // Another form of the same takes its place.
    let (code, told) = rig.told(&["--prune", "--format", "json"]);
    assert_eq!(code, Some(0), "{told:?}");
    let names: BTreeSet<String> =
        fs::read_dir(rig.path("out")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, [".keyferry", "own", "t0.json"].map(str::to_owned).into());
    // Not while something can't be read.
    rig.put(&(many(2, &keys(1), "a")));
    rig.told(&["--format", "json"]);
    rig.put("a: [\n");
    assert_eq!(rig.told(&["--prune", "--format", "json"]).0, Some(2));
    assert!(rig.path("out/t1.json").exists());
}

#[test]
fn what_is_outside_is_not_removed_whatever_is_written_down() {
    let rig = Rig::new(&many(1, &keys(1), "a"));
    rig.told(&[]);
    fs::write(rig.path("victim"), "theirs").unwrap();
    fs::create_dir_all(rig.path("folder/..data-1")).unwrap();
    fs::write(rig.path("folder/..data-1/key"), "theirs").unwrap();
    std::os::unix::fs::symlink("..data-1", rig.path("folder/..data")).unwrap();
    let mark = r#"{"externalSecret": "default/x", "hash": "x", "untold": true}"#;
    for name in ["..%victim", "..%folder", ".%t0", ".keyferry%lock"] {
        fs::write(rig.path("out/.keyferry/marks").join(name), mark).unwrap();
    }
    let (code, told) = rig.told(&["--prune", "--on-change", "echo \"$@\" >> changed"]);
    assert_eq!(code, Some(0), "{told:?}");
    assert!(rig.path("victim").exists() && rig.path("folder/..data/key").exists() && rig.path("out/t0/key-0").exists());
    assert!(!rig.path("changed").exists(), "nobody is told of it either");
}

#[test]
fn folders_follow_the_owner_that_is_named_and_others_stay() {
    let rig = Rig::new(&many(1, &keys(1), "a"));
    rig.told(&["--by-namespace"]);
    fs::create_dir(rig.path("before")).unwrap();
    fs::write(rig.path("before/own"), "").unwrap();
    fs::set_permissions(rig.path("before"), fs::Permissions::from_mode(0o700)).unwrap();
    let is_root = geteuid().is_root();
    let flags: &[&str] = if is_root { &["--owner", "65534:65533", "--mode", "0640"] } else { &["--mode", "0640"] };
    let (code, told) = rig.told(&[flags, &["--by-namespace"]].concat());
    assert_eq!((code, result(&told, "t0")), (Some(0), "unchanged"));
    for path in ["out", "out/default", "out/default/t0"] {
        let stat = fs::metadata(rig.path(path)).unwrap();
        assert_eq!(stat.mode() & 0o7777, 0o750, "{path}");
        assert!(!is_root || (stat.uid(), stat.gid()) == (65534, 65533), "{path}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
    command.args(["sync", "-f", "m", "--to", "before", "-o", "text"]).args(flags).current_dir(&rig.folder);
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(fs::metadata(rig.path("before")).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(told.contains("note: before was there before"), is_root, "{told}");
}

#[test]
fn a_manifest_that_does_not_open_holds_back_what_would_be_removed() {
    let rig = Rig::new(&many(1, &keys(1), "a"));
    let keyferry = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_keyferry")).args(args).current_dir(&rig.folder).output().unwrap();
        assert!(output.status.success(), "{args:?}");
        output.stdout
    };
    keyferry(&["init", "key"]);
    fs::write(rig.path("more.yaml"), extract("more", "all")).unwrap();
    let seal = ["seal", "--armor", "-R", "key/.age-recipients", "-f", "more.yaml"];
    fs::write(rig.path("m/more.yaml"), keyferry(&seal)).unwrap();
    let with_key = ["--prune", "-i", "key/age.key"];
    assert_eq!(rig.told(&with_key).0, Some(0));
    assert_eq!(rig.read("more/key-0"), "a");
    let (code, told) = rig.told(&["--prune"]);
    assert_eq!((code, rig.read("more/key-0").as_str()), (Some(2), "a"));
    let says = "m/more.yaml:1: error: age encrypted this file as a whole, and it does not open: ";
    assert!(told.iter().any(|line| line["message"].as_str().is_some_and(|text| text.starts_with(says))), "{told:?}");
    fs::remove_file(rig.path("m/more.yaml")).unwrap();
    assert_eq!(rig.told(&["--prune"]).0, Some(0));
    assert!(!rig.path("out/more").exists());
}

#[test]
fn whoever_watches_follows_all_that_changes() {
    let value = |value: &str| format!("{{\"v\": \"{value}\"}}");
    let slow = |value: &str| {
        store(&[("all", value)]) + &external_secret("app", "refreshInterval: 1h\n  dataFrom: [{extract: {key: all}}]")
    };
    let rig = Rig::new(&slow(&value("one")));
    let flags = ["--watch", "--on-change", "echo \"$@\" >> changed"];
    let mut running = Running(rig.command(&flags).spawn().unwrap());
    let heard = || fs::read_to_string(rig.path("changed")).unwrap_or_default().lines().count();
    rig.wait("the first", || rig.read("app/v") == "one" && heard() == 1);
    rig.put(&slow(&value("two")));
    rig.wait("a store that changes", || rig.read("app/v") == "two" && heard() == 2);
    rig.put("a: [");
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(rig.read("app/v"), "two", "what can't be read removes nothing");
    rig.put(&(slow(&value("three")) + &extract("more", "all")));
    rig.wait("what is new", || rig.read("app/v") == "three" && rig.read("more/v") == "three" && heard() == 3);
    // What another wrote stands until the next refresh.
    let fast = external_secret("app", "refreshInterval: 1s\n  dataFrom: [{extract: {key: all}}]");
    rig.put(&(store(&[("all", &value("three"))]) + &fast));
    std::thread::sleep(Duration::from_millis(800));
    fs::write(rig.path("out/app/v"), "edited").unwrap();
    rig.wait("what was edited", || rig.read("app/v") == "three");
    let second = rig.run(&["--once"]);
    assert_eq!(second.status.code(), Some(1), "one writes at a time");
    assert!(String::from_utf8(second.stderr).unwrap().contains("another keyferry writes there now"));
    let pid = Pid::from_raw(i32::try_from(running.0.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    let mut told = String::new();
    running.0.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"].as_str().is_some_and(|text| text.contains("not YAML"))), "{told}");
}

#[test]
fn credentials_that_arrive_are_taken() {
    let template = "target: {template: {templateFrom: [{secret: {name: login, items: [{key: token}, {key: .dockerconfigjson}]}}]}}\n  \
                    dataFrom: [{extract: {key: all}}]";
    let rig = Rig::new(&(store(&[("all", "{\"v\": \"1\"}")]) + &external_secret("app", template)));
    fs::create_dir_all(rig.path("c/default/login")).unwrap();
    let running = Running(rig.command(&["--watch", "--credentials", "c"]).spawn().unwrap());
    std::thread::sleep(Duration::from_millis(500));
    assert!(!rig.path("out/app/token").exists());
    fs::write(rig.path("c/default/login/.dockerconfigjson"), "").unwrap();
    // Keys may be hidden.
    for (key, value) in
        [("token", "first"), ("token", "second"), (".dockerconfigjson", "first"), (".dockerconfigjson", "second")]
    {
        fs::write(rig.path("c/default/login").join(key), value).unwrap();
        rig.wait("a credential", || rig.read(&format!("app/{key}")) == value);
    }
    drop(running);
}
