//! A newcomer's way with documents that lie in git, by the program itself: what each step says, and that nothing secret is left anywhere.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const CANARY: &str = "canary-7f3a";

struct Desk(tempfile::TempDir);

impl Desk {
    /// A folder in which `keyferry init` was.
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        assert!(desk.run(&["init"], "").status.success());
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
        command.args(args).current_dir(self.0.path()).env_remove("KEYFERRY_AGE_KEY_FILE");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str], input: &str) -> Output {
        let mut child = self.command(args).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Edits by a command of sed.
    fn edit(&self, file: &str, sed: &str) -> Output {
        self.run(&["edit", file, "--editor", &format!("sed -i '{sed}'")], "")
    }

    fn render(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let output = self.run(&[&["render", "-f", "."], more].concat(), "");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn from_nothing_to_a_secret() {
    let desk = Desk::new();
    let (code, shown, says) = desk.render(&["--show-values"]);
    assert_eq!(code, Some(0), "{says}");
    assert!(shown.contains("PASSWORD: not-a-real-one") && shown.contains("USERNAME: app"), "{shown}");
    let edited = desk.edit("secrets.env", &format!("s/>not-a-real-one</>{CANARY}</"));
    assert!(edited.status.success(), "{}", told(&edited));
    let sealed = desk.run(&["seal"], &format!("{CANARY}-2\n"));
    let line = String::from_utf8(sealed.stdout).unwrap();
    let document = fs::read_to_string(desk.path("secrets.env")).unwrap() + "SECOND=" + &line;
    assert!(!document.contains(CANARY) && document.matches("=age:").count() == 2, "{document}");
    fs::write(desk.path("secrets.env"), document).unwrap();
    let (code, shown, says) = desk.render(&["--show-values"]);
    assert_eq!(code, Some(0), "{says}");
    assert!(
        shown.contains(&format!("PASSWORD: {CANARY}\n")) && shown.contains(&format!("SECOND: {CANARY}-2\n")),
        "{shown}"
    );
    let (_, masked, says) = desk.render(&[]);
    assert!(!masked.contains(CANARY) && !says.contains(CANARY));
}

#[test]
fn three_mistakes_are_answered_with_what_to_do() {
    // The key of somebody else.
    let (desk, other) = (Desk::new(), Desk::new());
    fs::copy(other.path("age.key"), desk.path("age.key")).unwrap();
    let (code, _, says) = desk.render(&[]);
    assert_eq!(code, Some(1));
    for part in [
        "app.yaml:22: error: ExternalSecret default/app",
        "document \"secrets.env\"",
        "value \"PASSWORD\"",
        "add the identity",
    ] {
        assert!(says.contains(part), "{part}: {says}");
    }
    // A property that is not there.
    let desk = Desk::new();
    let manifest = fs::read_to_string(desk.path("app.yaml")).unwrap();
    let misspelled = manifest.replace(
        "  dataFrom:\n    - extract: { key: secrets.env }\n",
        "  data:\n    - secretKey: password\n      remoteRef: { key: secrets.env, property: PASWORD }\n",
    );
    assert_ne!(misspelled, manifest);
    fs::write(desk.path("app.yaml"), misspelled).unwrap();
    let (code, _, says) = desk.render(&[]);
    assert!(code == Some(1) && says.contains("PASWORD"), "{says}");
    // A document that is not there.
    fs::write(desk.path("app.yaml"), manifest.replace("file: secrets.env", "file: secret.env")).unwrap();
    let (code, _, says) = desk.render(&[]);
    assert!(code == Some(1) && says.contains("spec.provider.age.documents names no such document"), "{says}");
    fs::write(desk.path("app.yaml"), manifest).unwrap();
    fs::remove_file(desk.path("secrets.env")).unwrap();
    let (code, _, says) = desk.render(&[]);
    assert!(
        code == Some(1) && says.contains("file \"secrets.env\" is not there: it is looked for beside the manifests"),
        "{says}"
    );
}

/// Folders that an editor works in.
fn desks() -> Vec<PathBuf> {
    let all = fs::read_dir("/dev/shm").into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("keyferry-edit-")))
        .collect()
}

fn wait_for(child: &mut Child) -> Option<i32> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_kill_while_the_editor_is_open_leaves_nothing() {
    killed_by(Signal::TERM);
    // The terminal was closed.
    killed_by(Signal::HUP);
}

fn killed_by(signal: Signal) {
    let desk = Desk::new();
    let before = fs::read(desk.path("secrets.env")).unwrap();
    let (note, go) = (desk.path("note"), desk.path("go"));
    let editor = format!("f() {{ echo \"$1\" > {}; mv {0} {}; exec sleep 60; }}; f", note.display(), go.display());
    let mut child = desk.command(&["edit", "secrets.env", "--editor", &editor]).spawn().unwrap();
    let began = Instant::now();
    while !go.exists() {
        assert!(began.elapsed() < Duration::from_secs(30), "the editor does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    let opened = PathBuf::from(fs::read_to_string(&go).unwrap().trim());
    assert!(fs::read_to_string(&opened).unwrap().contains("not-a-real-one"));
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    // Ctrl-C is the editor's.
    kill_process(pid, Signal::INT).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none() && opened.exists());
    // Neither the command line nor the environment of the editor says what is in it.
    for process in children(child.id()) {
        for name in ["cmdline", "environ"] {
            let told = fs::read(Path::new("/proc").join(process.to_string()).join(name)).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&told).contains("not-a-real-one"));
        }
    }
    kill_process(pid, signal).unwrap();
    assert_eq!(wait_for(&mut child), Some(1));
    assert!(!opened.exists() && !desks().contains(&opened.parent().unwrap().to_owned()));
    assert_eq!(fs::read(desk.path("secrets.env")).unwrap(), before);
}

/// The processes that this one started.
fn children(of: u32) -> Vec<u32> {
    let all = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    all.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// `make quickstart` shows what it says: it ends with an error where anything does not come.
#[test]
fn the_quickstart_shows_what_it_says() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/quickstart");
    let out = Command::new(script).env("KEYFERRY_BIN", env!("CARGO_BIN_EXE_keyferry")).output().unwrap();
    let (said, trouble) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said}{trouble}");
    for shown in ["PASSWORD=age:", "not-a-real-one", "a-new-one", "app.yaml:22: error: ExternalSecret default/app"] {
        assert!(said.contains(shown), "{shown}: {said}");
    }
}

/// A Secret whose store has its credentials from a Secret, which is encrypted in git.
#[test]
fn secrets_among_the_manifests_may_be_encrypted() {
    let desk = Desk::new();
    fs::create_dir(desk.path("m")).unwrap();
    let seal = |text: &str| {
        let sealed = desk.run(&["seal"], text);
        assert!(sealed.status.success(), "{}", told(&sealed));
        String::from_utf8(sealed.stdout).unwrap().trim().to_owned()
    };
    let key = fs::read_to_string(desk.path("age.key")).unwrap();
    let inner = seal(CANARY);
    let (sealed, encoded) = (seal(&key), seal("Y2FuYXJ5LTdmM2E="));
    fs::write(desk.path("m/secret.yaml"), format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: age}}\nstringData:\n  age.key: {sealed}\ndata:\n  other: {encoded}\n")).unwrap();
    let manifests = format!(
        "apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {{name: s}}\nspec: {{provider: {{age: {{documents: [{{name: d.yaml, \
         inline: 'password: {inner}'}}], identities: [{{secretRef: {{name: age, key: age.key}}}}]}}}}}}\n---\n\
         apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {{name: app}}\nspec:\n  secretStoreRef: {{name: s}}\n  \
         data: [{{secretKey: password, remoteRef: {{key: d.yaml, property: password}}}}]\n"
    );
    fs::write(desk.path("m/app.yaml"), manifests).unwrap();
    // What is no manifest is told as what it is, and is no error.
    fs::write(desk.path("m/values.yaml"), format!("password: {inner}\n")).unwrap();
    fs::write(desk.path("m/sops.yaml"), "password: ENC[AES256_GCM,data:x]\nsops: {mac: x, lastmodified: y}\n").unwrap();
    let render = |more: &[&str]| {
        let output = desk.run(&[&["render", "-f", "m", "--show-values"], more].concat(), "");
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    // Without an identity the Secret does not open, which is said with its place; the store is then without its key.
    let (code, _, says) = render(&[]);
    assert!(
        code == Some(2) && says.contains("m/secret.yaml:1: error: this Secret does not open: there is no identity"),
        "{says}"
    );
    let (code, shown, says) = render(&["--identity", "age.key"]);
    assert_eq!(code, Some(0), "{says}");
    assert!(shown.contains(&format!("password: {CANARY}")), "{shown}");
    assert!(says.contains("m/values.yaml: note: age encrypted it, and it is no manifest"), "{says}");
    assert!(says.contains("m/sops.yaml: note: SOPS encrypted it, and it is no manifest"), "{says}");
    // The key beside them is found unasked; sync does the same.
    fs::rename(desk.path("age.key"), desk.path("m/age.key")).unwrap();
    let output = desk.run(&["sync", "-f", "m", "--to", "out", "-o", "text"], "");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(desk.path("out/app/password")).unwrap(), CANARY);
    // One that is for somebody else.
    let other = Desk::new();
    fs::copy(other.path("age.key"), desk.path("m/age.key")).unwrap();
    let (code, _, says) = render(&[]);
    assert!(
        code == Some(2)
            && says.contains("this Secret does not open: data[\"other\"]: the identity does not open it")
            && !says.contains(CANARY),
        "{says}"
    );
}

#[test]
fn documents_in_folders_within_are_followed() {
    let desk = Desk::new();
    fs::create_dir_all(desk.path("m/env/.hidden")).unwrap();
    let seal = |text: &str| String::from_utf8(desk.run(&["seal"], text).stdout).unwrap();
    let put = |name: &str, value: &str| {
        fs::write(desk.path("new"), format!("password: {}", seal(value))).unwrap();
        fs::rename(desk.path("new"), desk.path(name)).unwrap();
    };
    let manifests = "apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: s}\nspec: {provider: {age: {documents: [{name: one, format: yaml, file: env/one.yaml}, \
                     {name: two, format: yaml, file: env/.hidden/two.yaml}], identities: [{file: age.key}]}}}\n---\n\
                     apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: app}\nspec:\n  refreshInterval: 24h\n  secretStoreRef: {name: s}\n  \
                     data: [{secretKey: one, remoteRef: {key: one, property: password}}, {secretKey: two, remoteRef: {key: two, property: password}}]\n";
    fs::write(desk.path("m/app.yaml"), manifests).unwrap();
    fs::copy(desk.path("age.key"), desk.path("m/age.key")).unwrap();
    put("m/env/one.yaml", "first");
    let mut child = desk.command(&["sync", "-f", "m", "--to", "out", "--watch"]);
    let child = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let running = Ended(child);
    let wait = |key: &str, expected: &str| {
        let began = Instant::now();
        while fs::read_to_string(desk.path("out/app").join(key)).unwrap_or_default() != expected {
            assert!(began.elapsed() < Duration::from_secs(60), "{key} is not {expected:?} within a minute");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    // One that was sought in vain arrives, and each that changes is read again.
    std::thread::sleep(Duration::from_millis(500));
    assert!(!desk.path("out/app/one").exists(), "one document is missing");
    put("m/env/.hidden/two.yaml", "second");
    wait("one", "first");
    wait("two", "second");
    put("m/env/one.yaml", "changed");
    wait("one", "changed");
    put("m/env/.hidden/two.yaml", "changed too");
    wait("two", "changed too");
    drop(running);
}

/// A process that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A document that arrives cut, of sealed values or sealed as a whole, leaves what was written of it before.
#[test]
fn a_cut_document_leaves_the_target_as_it_was() {
    let desk = Desk::new();
    assert!(desk.edit("secrets.env", &format!("s/>not-a-real-one</>{CANARY}</")).status.success());
    let sync = || {
        let output = desk.run(&["sync", "-f", ".", "--to", "out", "-o", "text"], "");
        let says = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert!(!says.contains(CANARY), "{says}");
        (output.status.code(), says)
    };
    let target = || fs::read_to_string(desk.path("out/app/PASSWORD")).unwrap();
    assert_eq!((sync().0, target().as_str()), (Some(0), CANARY));
    let values = fs::read_to_string(desk.path("secrets.env")).unwrap();
    let armored = desk.run(&["seal", "--armor"], &format!("USERNAME=app\nPASSWORD={CANARY}\n")).stdout;
    fs::write(desk.path("secrets.env"), &armored).unwrap();
    assert_eq!((sync().0, target().as_str()), (Some(0), CANARY));
    for whole in [&values.into_bytes(), &armored] {
        let whole = whole.trim_ascii_end();
        for cut in [whole.len() - 1, whole.len() - 7, whole.len() * 2 / 3] {
            fs::write(desk.path("secrets.env"), &whole[..cut]).unwrap();
            let (code, says) = sync();
            assert_eq!((code, target().as_str()), (Some(1), CANARY), "{cut} of {}: {says}", whole.len());
            assert!(says.contains("error: ExternalSecret default/app: "), "{says}");
        }
    }
}

/// Whoever begins, or is in the wrong folder, is told what to do.
#[test]
fn nothing_at_all_is_told_with_what_to_do() {
    let desk = Desk::new();
    fs::create_dir_all(desk.path("empty/in")).unwrap();
    fs::write(desk.path("empty/in/map.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n").unwrap();
    for (args, code, says) in [
        (
            &["render", "-f", "empty"][..],
            2,
            "empty: error: there are no manifests; --recursive looks into folders within folders; `keyferry init` makes a sample",
        ),
        (&["sync", "-f", "empty", "--to", "out"], 2, "there are no manifests; --recursive"),
        (
            &["render", "-R", "-f", "empty"],
            0,
            "there is no ExternalSecret among the manifests, so that there is nothing to do",
        ),
        (&["sync", "-R", "-f", "empty", "--to", "out"], 0, "there is no ExternalSecret among the manifests"),
        (&["render", "-f", "gone"], 2, "gone: error: there is no such file or folder"),
        (&["migrate", "kes", "gone"], 2, "gone: error: there is no such file or folder: name the folder that"),
        (&["migrate", "manifests", "gone"], 2, "gone: error: there is no such file or folder: name the folder that"),
    ] {
        let output = desk.run(args, "");
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert!(output.status.code() == Some(code) && text.contains(says), "{args:?}: {:?} {text}", output.status);
    }
}
